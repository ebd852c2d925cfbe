// SPDX-License-Identifier: Apache-2.0
// See kernel/screen.h.
#include "kernel/screen.h"

#include "kernel/kspace.h"
#include "kernel/machine.h"

#define GLYPH_WIDTH 8u
#define INK         0x00c0c0c0u // the same grey in RGBX and BGRX, on black

static volatile uint32_t *pixels; // NULL: none

void screen_init(void) {
    const struct boot_framebuffer *screen = &machine.framebuffer;
    if (screen->format != BOOT_PIXEL_NONE && screen->base != 0 && screen->stride >= screen->width)
        pixels = kspace_map_device((hpa_t){screen->base},
                                   (uint64_t)screen->stride * screen->height * sizeof(*pixels));
}

static void draw_glyph(volatile uint32_t *to, const char *letter) {
    const uint8_t *glyph = machine.font[*letter > ' ' && *letter <= '~' ? *letter - ' ' : 0];
    for (uint32_t line = 0; line < BOOT_GLYPH_HEIGHT; line++, to += machine.framebuffer.stride)
        for (uint32_t x = 0; x < GLYPH_WIDTH; x++)
            to[x] = (glyph[line] >> (GLYPH_WIDTH - 1 - x) & 1) != 0 ? INK : 0;
}

void screen_draw(uint32_t row, const char *text, size_t size) {
    if (pixels == NULL || row >= machine.framebuffer.height / BOOT_GLYPH_HEIGHT)
        return;
    volatile uint32_t *to = pixels + (size_t)row * BOOT_GLYPH_HEIGHT * machine.framebuffer.stride;
    for (uint32_t column = 0; column < machine.framebuffer.width / GLYPH_WIDTH; column++)
        draw_glyph(to + column * GLYPH_WIDTH, column < size ? &text[column] : " ");
}
