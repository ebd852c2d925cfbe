// SPDX-License-Identifier: Apache-2.0
// The guest starts as the 64-bit Linux boot protocol says, can print, and gets its command line.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define HDRS 0x53726448u

void test(void) {
    print("hello, %s\n", boot_cmdline());
    CHECK_EQ(boot_field(BOOT_MAGIC, 4), HDRS);
    CHECK_EQ(boot_field(BOOT_LOADER_TYPE, 1), 0xff);
    CHECK(strcmp(boot_cmdline(), "from the command line") == 0);
    CHECK(cmdline_has("command") && !cmdline_has("comma"));
    CHECK_EQ(read_cr0() & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
    CHECK_EQ(rdmsr(MSR_EFER) & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
    CHECK_EQ(read_rflags() & RFLAGS_IF, 0);
}
