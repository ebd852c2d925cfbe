// SPDX-License-Identifier: Apache-2.0
// See drivers/console/screen.h. Pixels are written and never read: the framebuffer is uncached, and
// an emulator pays for each store. So the cells remember what is on the screen, only the lines of a
// glyph that differ are drawn, two pixels a store, and the text jumps up by half a screen at a
// time.
#include "drivers/console/screen.h"

#include "include/font.h"
#include "lib/string.h"

#define FONT_WIDTH  8u
#define PIXEL_BYTES 4u
#define BLANK       ' '

// The same grey in RGBX and BGRX, on black.
#define INK 0x00c0c0c0ULL

// Two pixels from two bits; the left one is the high bit and the low address.
static const uint64_t pixel_pair[4] = {0, INK << 32, INK, INK << 32 | INK};

static uint32_t min(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static const uint8_t *glyph_of(uint8_t cell) {
    return font_glyphs[cell - FONT_FIRST];
}

static void draw_line(uint8_t *to, uint8_t bits) {
    for (uint32_t shift = FONT_WIDTH; shift > 0; shift -= 2) {
        // A plain store on x86; `to` is aligned to 4 only when the stride is odd.
        __builtin_memcpy(to, &pixel_pair[bits >> (shift - 2) & 3], sizeof(pixel_pair[0]));
        to += sizeof(pixel_pair[0]);
    }
}

static void set_cell(struct screen *screen, uint32_t row, uint32_t column, uint8_t value) {
    uint8_t *cell = &screen->cell[row][column];
    if (*cell == value)
        return;
    const uint8_t *old = glyph_of(*cell), *new = glyph_of(value);
    size_t start = (size_t)row * FONT_HEIGHT * screen->stride + column * FONT_WIDTH;
    uint8_t *to = (uint8_t *)(screen->pixels + start);
    for (uint32_t line = 0; line < FONT_HEIGHT; line++) {
        if (old[line] != new[line])
            draw_line(to, new[line]);
        to += (size_t)screen->stride * PIXEL_BYTES;
    }
    *cell = value;
}

static void scroll(struct screen *screen) {
    uint32_t jump = (screen->rows + 1) / 2;
    for (uint32_t row = 0; row < screen->rows; row++)
        for (uint32_t column = 0; column < screen->columns; column++)
            set_cell(screen, row, column,
                     row + jump < screen->rows ? screen->cell[row + jump][column] : BLANK);
    screen->row -= jump;
}

static void start_line(struct screen *screen) {
    screen->column = 0;
    screen->row++;
    if (screen->row >= screen->rows)
        scroll(screen);
}

uint64_t screen_size(const struct boot_framebuffer *boot) {
    bool is_usable = boot->format == BOOT_PIXEL_RGBX || boot->format == BOOT_PIXEL_BGRX;
    if (!is_usable || boot->base == 0 || boot->width < FONT_WIDTH || boot->height < FONT_HEIGHT ||
        boot->stride < boot->width)
        return 0;
    return (uint64_t)boot->stride * boot->height * PIXEL_BYTES;
}

bool screen_init(struct screen *screen, const struct boot_framebuffer *boot, void *pixels) {
    uint64_t size = screen_size(boot);
    screen->pixels = NULL;
    if (size == 0)
        return false;
    screen->pixels = pixels;
    screen->stride = boot->stride;
    screen->columns = min(boot->width / FONT_WIDTH, SCREEN_COLUMNS_MAX);
    screen->rows = min(boot->height / FONT_HEIGHT, SCREEN_ROWS_MAX);
    screen->column = 0;
    screen->row = 0;
    memset(screen->cell, BLANK, sizeof(screen->cell));
    uint64_t count = size / sizeof(uint32_t);
    __asm__ volatile("rep stosl" : "+D"(pixels), "+c"(count) : "a"(0) : "memory");
    return true;
}

void screen_write(struct screen *screen, const char *text, size_t size) {
    if (screen->pixels == NULL)
        return;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte == '\r')
            continue;
        if (byte == '\n' || screen->column >= screen->columns)
            start_line(screen);
        if (byte == '\n')
            continue;
        if (byte == '\t')
            byte = ' ';
        else if (byte < FONT_FIRST || byte > FONT_LAST)
            byte = '?';
        set_cell(screen, screen->row, screen->column++, byte);
    }
}
