// SPDX-License-Identifier: Apache-2.0
// drivers/console/screen.c: after any text the pixels are the cells' glyphs, and nothing else was
// touched.
#define screen_init  fb_test_init
#define screen_size  fb_test_size
#define screen_write fb_test_write
#include "drivers/console/screen.c"

#include "lib/types.h"
#include <criterion/criterion.h>
#include <stdlib.h>

static struct screen screen;
static uint32_t *screen_pixels;

static void fb_test_open(uint32_t width, uint32_t height, uint32_t stride) {
    struct boot_framebuffer boot = {0x1000, width, height, stride, BOOT_PIXEL_BGRX};
    cr_assert_eq(fb_test_size(&boot), (uint64_t)stride * height * 4);
    screen_pixels = malloc(fb_test_size(&boot)); // exact: the sanitizer watches its ends
    memset(screen_pixels, 0xaa, fb_test_size(&boot));
    cr_assert(fb_test_init(&screen, &boot, screen_pixels));
}

static void fb_test_close(void) {
    free(screen_pixels);
    screen_pixels = NULL;
}

static void fb_test_text(const char *text) {
    fb_test_write(&screen, text, strlen(text));
}

static uint32_t fb_test_pixel(uint32_t x, uint32_t y) {
    uint32_t column = x / 8, row = y / 16;
    if (column >= screen.columns || row >= screen.rows)
        return 0;
    uint8_t bits = font_glyphs[screen.cell[row][column] - FONT_FIRST][y % 16];
    return (bits << (x % 8) & 0x80) != 0 ? (uint32_t)INK : 0;
}

static void fb_test_compare(uint32_t height) {
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < screen.stride; x++)
            cr_assert_eq(screen_pixels[y * screen.stride + x], fb_test_pixel(x, y), "at %u,%u", x,
                         y);
}

static void fb_test_row(uint32_t row, const char *expected) {
    char text[SCREEN_COLUMNS_MAX + 1];
    memcpy(text, screen.cell[row], screen.columns);
    uint32_t length = screen.columns;
    while (length > 0 && text[length - 1] == ' ')
        length--;
    text[length] = '\0';
    cr_assert_str_eq(text, expected);
}

Test(drivers_screen, text_is_drawn) {
    fb_test_open(80, 64, 80);
    fb_test_compare(64);
    fb_test_text("Hi~\tA\r\n\x01\xff");
    fb_test_row(0, "Hi~ A");
    fb_test_row(1, "??");
    fb_test_compare(64);
    fb_test_close();
}

Test(drivers_screen, long_lines_wrap) {
    fb_test_open(80, 64, 80);
    fb_test_text("0123456789\n0123456789ab");
    fb_test_row(0, "0123456789"); // no empty line after a full one
    fb_test_row(1, "0123456789");
    fb_test_row(2, "ab");
    fb_test_close();
}

Test(drivers_screen, scroll_keeps_the_last_lines) {
    fb_test_open(80, 64, 80);
    fb_test_text("one\ntwo\nthree\nfour\nfive");
    fb_test_row(0, "three");
    fb_test_row(1, "four");
    fb_test_row(2, "five");
    fb_test_row(3, "");
    fb_test_compare(64);
    fb_test_close();
}

Test(drivers_screen, same_glyph_lines_are_not_drawn_again) {
    fb_test_open(80, 64, 80);
    fb_test_text("a");
    memset(screen_pixels, 0xaa, 80u * 64 * 4);
    screen.column = 0;
    fb_test_text("a");
    for (uint32_t i = 0; i < 80u * 64; i++)
        cr_assert_eq(screen_pixels[i], 0xaaaaaaaa);
    fb_test_close();
}

Test(drivers_screen, odd_sizes_stay_within) {
    static const uint32_t size[][3] = {{8, 16, 8}, {83, 37, 91}, {15, 47, 15}, {1400, 1200, 1401}};
    for (size_t i = 0; i < ARRAY_COUNT(size); i++) {
        uint32_t state = 7;
        fb_test_open(size[i][0], size[i][1], size[i][2]);
        for (uint32_t round = 0; round < 3000; round++) {
            state = state * 1664525u + 1013904223u;
            char byte = state >> 28 == 0 ? '\n' : (char)(state >> 16);
            fb_test_write(&screen, &byte, 1);
        }
        fb_test_compare(size[i][1]);
        fb_test_close();
    }
}

Test(drivers_screen, unusable_is_refused) {
    struct boot_framebuffer boot = {0x1000, 640, 480, 640, BOOT_PIXEL_NONE};
    cr_assert_eq(fb_test_size(&boot), 0);
    boot.format = BOOT_PIXEL_RGBX;
    boot.stride = 639;
    cr_assert_eq(fb_test_size(&boot), 0);
    boot.stride = 640;
    boot.height = 15;
    cr_assert_eq(fb_test_size(&boot), 0);
    cr_assert_not(fb_test_init(&screen, &boot, NULL));
    fb_test_text("nothing happens");
}
