// SPDX-License-Identifier: Apache-2.0
// Leaves with the debug-exit code that the command line names.
#include "runtime/tiny.h"

void test(void) {
    debug_exit((uint8_t)cmdline_number("code"));
}
