// SPDX-License-Identifier: Apache-2.0
// See drivers/framebuffer.h. Pixels are written and never read: the framebuffer is uncached, and an
// emulator pays for each store. So the cells remember what is on the screen, only the lines of a
// glyph that differ are drawn, two pixels a store, and the text jumps up by half a screen at a
// time.
#include "drivers/framebuffer.h"

#include "drivers/font.h"
#include "lib/string.h"

#define FONT_WIDTH  8u
#define PIXEL_BYTES 4u
#define BLANK       ' '

// The same grey in RGBX and BGRX, on black.
#define INK 0x00c0c0c0ULL

// Two pixels from two bits; the left one is the high bit and the low address.
static const uint64_t pixel_pair[4] = {0, INK << 32, INK, INK << 32 | INK};

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

static void set_cell(struct framebuffer *fb, uint32_t row, uint32_t column, uint8_t value) {
    uint8_t *cell = &fb->cell[row][column];
    if (*cell == value)
        return;
    const uint8_t *old = glyph_of(*cell), *new = glyph_of(value);
    size_t start = (size_t)row * FONT_HEIGHT * fb->stride + column * FONT_WIDTH;
    uint8_t *to = (uint8_t *)(fb->pixels + start);
    for (uint32_t line = 0; line < FONT_HEIGHT; line++) {
        if (old[line] != new[line])
            draw_line(to, new[line]);
        to += (size_t)fb->stride * PIXEL_BYTES;
    }
    *cell = value;
}

static void scroll(struct framebuffer *fb) {
    uint32_t jump = (fb->rows + 1) / 2;
    for (uint32_t row = 0; row < fb->rows; row++)
        for (uint32_t column = 0; column < fb->columns; column++)
            set_cell(fb, row, column, row + jump < fb->rows ? fb->cell[row + jump][column] : BLANK);
    fb->row -= jump;
}

static void start_line(struct framebuffer *fb) {
    fb->column = 0;
    fb->row++;
    if (fb->row >= fb->rows)
        scroll(fb);
}

uint64_t framebuffer_size(const struct boot_framebuffer *boot) {
    bool is_usable = boot->format == BOOT_PIXEL_RGBX || boot->format == BOOT_PIXEL_BGRX;
    if (!is_usable || boot->base == 0 || boot->width < FONT_WIDTH || boot->height < FONT_HEIGHT ||
        boot->stride < boot->width)
        return 0;
    return (uint64_t)boot->stride * boot->height * PIXEL_BYTES;
}

bool framebuffer_init(struct framebuffer *fb, const struct boot_framebuffer *boot, void *pixels) {
    uint64_t size = framebuffer_size(boot);
    fb->pixels = NULL;
    if (size == 0)
        return false;
    fb->pixels = pixels;
    fb->stride = boot->stride;
    fb->columns = MIN(boot->width / FONT_WIDTH, FRAMEBUFFER_COLUMNS_MAX);
    fb->rows = MIN(boot->height / FONT_HEIGHT, FRAMEBUFFER_ROWS_MAX);
    fb->column = 0;
    fb->row = 0;
    memset(fb->cell, BLANK, sizeof(fb->cell));
    uint64_t count = size / sizeof(uint32_t);
    __asm__ volatile("rep stosl" : "+D"(pixels), "+c"(count) : "a"(0) : "memory");
    return true;
}

void framebuffer_write(struct framebuffer *fb, const char *text, size_t size) {
    if (fb->pixels == NULL)
        return;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        if (byte == '\r')
            continue;
        if (byte == '\n' || fb->column >= fb->columns)
            start_line(fb);
        if (byte == '\n')
            continue;
        if (byte == '\t')
            byte = ' ';
        else if (byte < FONT_FIRST || byte > FONT_LAST)
            byte = '?';
        set_cell(fb, fb->row, fb->column++, byte);
    }
}
