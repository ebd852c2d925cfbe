// SPDX-License-Identifier: Apache-2.0
// Ends as `crashed: triple fault`: an exception without an IDT.
#include "runtime/tiny.h"

void test(void) {
    const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } none = {0, 0};
    __asm__ volatile("lidt %0; ud2" : : "m"(none));
}
