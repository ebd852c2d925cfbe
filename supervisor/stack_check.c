// SPDX-License-Identifier: Apache-2.0
// What libfdt.a of the distribution wants beside lib/string.c: it was compiled with stack
// protection. Its canary is the word at fs:0x28; the kernel lets FS of ring 3 point at the page at
// ABI_CALL_PAGE, which every process can read, so the canary is a constant: enough to find an
// overrun, if no secret.
#include "supervisor/stack_check.h"

#include "lib/syscall.h"

#define STATUS_STACK_SMASHED 2

void __stack_chk_fail(void) {
    sys_process_exit(STATUS_STACK_SMASHED);
}
