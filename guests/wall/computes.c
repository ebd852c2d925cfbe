// SPDX-License-Identifier: Apache-2.0
// A process that never leaves ring 3: whatever comes to its CPU finds it there
// (tests/boot/banks/run).
#include "runtime/wall.h"

void wall_main(void) {
    say("in ring 3 from here on");
    for (;;)
        __asm__ volatile("pause");
}
