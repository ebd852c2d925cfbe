// SPDX-License-Identifier: Apache-2.0
// The initrd lies where the zero page says, whole: its bytes are those of a sequence that the test
// runner knows, too, of `initrd=BYTES` length.
#include "runtime/tiny.h"

void test(void) {
    uint64_t base = boot_field(BOOT_RAMDISK_IMAGE, 4), size = boot_field(BOOT_RAMDISK_SIZE, 4);
    const volatile uint8_t *bytes = (const volatile uint8_t *)(uintptr_t)base;
    uint64_t wrong = 0;
    CHECK_EQ(size, cmdline_number("initrd"));
    CHECK(base >= (uintptr_t)image_end && base + size <= low_ram_end());
    CHECK(is_aligned(base, PAGE_SIZE));
    for (uint64_t i = 0; i < size; i++)
        wrong += bytes[i] != (uint8_t)(i * 31 + (i >> 8));
    CHECK_EQ(wrong, 0);
}
