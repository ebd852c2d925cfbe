// SPDX-License-Identifier: Apache-2.0
// boot/boot_fault: the line of an early exception, and a screen of paper that shows it.
#include "boot/boot_fault.h"

#include <criterion/criterion.h>
#include <string.h>

#define WIDTH  40u // 5 letters
#define STRIDE 44u
#define ROWS   2u
#define HEIGHT (ROWS * BOOT_GLYPH_HEIGHT + 3)

static struct boot_info info;
static uint32_t pixels[HEIGHT + 1][STRIDE];

static void make_screen(void) {
    info.framebuffer.base = (uint64_t)pixels;
    info.framebuffer.format = BOOT_PIXEL_NONE + 1;
    info.framebuffer.width = WIDTH;
    info.framebuffer.height = HEIGHT;
    info.framebuffer.stride = STRIDE;
    for (uint32_t i = 0; i < BOOT_GLYPHS; i++)
        info.font[i][3] = (uint8_t)i; // the letter's number, in its fourth line
}

// The letter that stands there.
static char shown(uint32_t row, uint32_t column) {
    uint32_t number = 0;
    for (uint32_t x = 0; x < 8; x++)
        number = number << 1 | (pixels[row * BOOT_GLYPH_HEIGHT + 3][column * 8 + x] != 0);
    return (char)(' ' + number);
}

TestSuite(boot_fault, .init = make_screen);

Test(boot_fault, line_has_what_a_report_needs) {
    const struct boot_fault fault = {.vector = 14, .error = 2, .rip = 0x123456789abcdef0};
    char text[BOOT_FAULT_TEXT_MAX];
    boot_fault_print(text, &fault, 0xfed90018, 3);
    const char *start =
        "bulkhead: exception 14, error 0x2, at 0x123456789abcdef0, CR2 0xfed90018, after 3 NMIs, ";
    cr_assert_eq(memcmp(text, start, strlen(start)), 0, "%s", text);
}

Test(boot_fault, longest_line_is_whole) {
    struct boot_fault fault;
    char text[BOOT_FAULT_TEXT_MAX];
    memset(&fault, 0xff, sizeof(fault));
    fault.vector = 31;
    boot_fault_print(text, &fault, UINT64_MAX, UINT32_MAX);
    cr_assert_not_null(strstr(text, "please report this"), "%s", text);
}

Test(boot_fault, screen_shows_the_text_and_no_more_than_fits) {
    memset(pixels, 0x55, sizeof(pixels));
    boot_fault_draw(&info, "ab\nde~ghijklm");
    const char *const expected = "ab de~ghij";
    for (uint32_t i = 0; i < 10; i++)
        cr_assert_eq(shown(i / 5, i % 5), expected[i], "letter %u", i);
    for (uint32_t y = 0; y < HEIGHT + 1; y++)
        for (uint32_t x = y < ROWS * BOOT_GLYPH_HEIGHT ? WIDTH : 0; x < STRIDE; x++)
            cr_assert_eq(pixels[y][x], 0x55555555, "beyond, at %u, %u", x, y);
}

Test(boot_fault, screen_that_is_none_is_not_touched) {
    info.framebuffer.format = BOOT_PIXEL_NONE;
    boot_fault_draw(&info, "a");
    info.framebuffer.format = BOOT_PIXEL_NONE + 1;
    info.framebuffer.stride = WIDTH - 1;
    boot_fault_draw(&info, "a");
    for (uint32_t i = 0; i < STRIDE; i++)
        cr_assert_eq(pixels[3][i], 0);
}
