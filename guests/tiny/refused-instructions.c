// SPDX-License-Identifier: Apache-2.0
// Instructions of features that CPUID does not show are undefined: VT-x, AMD-V, SMX, MONITOR,
// XSAVES, and others that exit; those that are privileged by the guest's own state fault as they
// should.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define L7_EBX_INVPCID BIT(10)

static uint8_t operand[4096] __attribute__((aligned(4096)));

#define UNDEFINED(code)                                                                            \
    do {                                                                                           \
        __asm__ volatile(TRY(code)                                                                 \
                         :                                                                         \
                         : "D"(operand), "a"(0ULL), "c"(0ULL), "d"(0ULL)                           \
                         : "rbx", TRY_CLOBBERS);                                                   \
        is_right = trap_last.is_taken && trap_last.vector == EXC_UD && trap_last.error == 0;       \
        if (!is_right)                                                                             \
            print("not undefined: %s\n", code);                                                    \
        CHECK(is_right);                                                                           \
    } while (0)

void test(void) {
    bool is_right;
    UNDEFINED("vmlaunch");
    UNDEFINED("vmresume");
    UNDEFINED("vmxoff");
    UNDEFINED("vmxon (%%rdi)");
    UNDEFINED("vmclear (%%rdi)");
    UNDEFINED("vmptrld (%%rdi)");
    UNDEFINED("vmptrst (%%rdi)");
    UNDEFINED("vmread %%rax, (%%rdi)");
    UNDEFINED("vmwrite (%%rdi), %%rax");
    UNDEFINED("invept (%%rdi), %%rax");
    UNDEFINED("invvpid (%%rdi), %%rax");
    UNDEFINED("vmfunc");
    UNDEFINED("getsec");
    if (is_amd())
        UNDEFINED("vmcall");
    else
        UNDEFINED("vmmcall");
    UNDEFINED("vmrun");
    UNDEFINED("vmload");
    UNDEFINED("vmsave");
    UNDEFINED("stgi");
    UNDEFINED("clgi");
    UNDEFINED("skinit");
    UNDEFINED("invlpga");
    UNDEFINED("monitor");
    UNDEFINED("mwait");
    UNDEFINED("xsaves (%%rdi)");
    UNDEFINED("xrstors (%%rdi)");
    UNDEFINED("xsavec (%%rdi)");
    UNDEFINED("xgetbv"); // CR4.OSXSAVE is off
    UNDEFINED("rsm");
    UNDEFINED(".byte 0x0f, 0x01, 0xcf"); // ENCLS
    UNDEFINED(".byte 0x0f, 0x01, 0xd7"); // ENCLU
    UNDEFINED(".byte 0x0f, 0x01, 0xc0"); // ENCLV
    UNDEFINED(".byte 0x0f, 0x01, 0xc5"); // PCONFIG
    UNDEFINED("umwait %%eax");
    UNDEFINED("tpause %%eax");
    UNDEFINED("rdpkru");
    if (cpuid(7, 0).ebx & L7_EBX_INVPCID) {
        __asm__ volatile(TRY("invpcid (%0), %1") : : "r"(operand), "r"(2ULL) : TRY_CLOBBERS);
        CHECK_NO_FAULT();
    } else {
        UNDEFINED("invpcid (%%rdi), %%rax");
    }
    __asm__ volatile(TRY("rdpmc") : : "c"(0) : "rax", "rdx", TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, 0);
    __asm__ volatile(TRY("wbinvd; pause") : : : TRY_CLOBBERS);
    CHECK_NO_FAULT();
    __asm__ volatile(TRY("invd") : : : TRY_CLOBBERS);
    CHECK_NO_FAULT();
}
