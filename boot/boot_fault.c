// SPDX-License-Identifier: Apache-2.0
// See boot/boot_fault.h.
#include "boot/boot_fault.h"

#include "lib/fmt.h"
#include "lib/string.h"

#define GLYPH_WIDTH 8u
#define INK         0x00c0c0c0u // the same grey in RGBX and BGRX, on black

void boot_fault_print(char text[BOOT_FAULT_TEXT_MAX], const struct boot_fault *fault,
                      uint64_t address, uint32_t nmi_count) {
    fmt_format(
        text, BOOT_FAULT_TEXT_MAX,
        "bulkhead: exception %llu, error 0x%llx, at 0x%llx, CR2 0x%llx, after %u NMIs, before "
        "the kernel was ready: halted, please report this",
        (unsigned long long)fault->vector, (unsigned long long)fault->error,
        (unsigned long long)fault->rip, (unsigned long long)address, nmi_count);
}

static void draw_glyph(const struct boot_info *info, volatile uint32_t *to, char letter) {
    const uint8_t *glyph = info->font[letter > ' ' && letter <= '~' ? letter - ' ' : 0];
    for (uint32_t line = 0; line < BOOT_GLYPH_HEIGHT; line++, to += info->framebuffer.stride)
        for (uint32_t x = 0; x < GLYPH_WIDTH; x++)
            to[x] = (glyph[line] >> (GLYPH_WIDTH - 1 - x) & 1) != 0 ? INK : 0;
}

void boot_fault_draw(const struct boot_info *info, const char *text) {
    const struct boot_framebuffer *screen = &info->framebuffer;
    const uint32_t columns = screen->width / GLYPH_WIDTH;
    const size_t cells = (size_t)columns * (screen->height / BOOT_GLYPH_HEIGHT);
    volatile uint32_t *pixels = (volatile uint32_t *)(uintptr_t)screen->base;
    if (screen->format == BOOT_PIXEL_NONE || pixels == NULL || screen->stride < screen->width)
        return;
    for (size_t i = 0; i < cells && text[i] != '\0'; i++)
        draw_glyph(info,
                   pixels + i / columns * BOOT_GLYPH_HEIGHT * screen->stride +
                       i % columns * GLYPH_WIDTH,
                   text[i]);
}
