// SPDX-License-Identifier: Apache-2.0
// Ends as `reset`, by the way that the command line names.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define RESET_CONTROL 0xcf9
#define CONTROL_A     0x92
#define KEYBOARD      0x64

void test(void) {
    if (cmdline_has("control")) {
        out8(RESET_CONTROL, 0x02);
        out8(RESET_CONTROL, 0x06);
    } else if (cmdline_has("keyboard")) {
        out8(KEYBOARD, 0xfe);
    } else if (cmdline_has("fast")) {
        out8(CONTROL_A, in8(CONTROL_A) | 1);
    }
    CHECK(false); // runs on
}
