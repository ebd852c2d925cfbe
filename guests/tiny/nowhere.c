// SPDX-License-Identifier: Apache-2.0
// A guest that uses addresses where a PC has nothing for what only memory can be: code, its stack,
// its page tables or its IDT, as the command line says. All ones are no instruction and no table,
// so it faults as it would on a PC.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define NOWHERE 0xd0000000ULL

static void use_idt(void) {
    const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } nowhere = {4095, NOWHERE};
    __asm__ volatile("lidt %0; ud2" : : "m"(nowhere));
}

static void check_jump(void) {
    __asm__ volatile(TRY("jmp *%0") : : "r"(NOWHERE) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_UD, 0);
    CHECK_EQ(trap_last.rip, NOWHERE);
}

static void check_stack(void) {
    uint64_t popped = 0;
    __asm__ volatile("mov %%rsp, %%rbx; mov %1, %%rsp; push %%rax; pop %0; mov %%rbx, %%rsp"
                     : "+r"(popped)
                     : "r"(NOWHERE)
                     : "rbx", "memory");
    CHECK_EQ(popped, UINT64_MAX);
}

void test(void) {
    if (cmdline_has("jump")) {
        check_jump();
    } else if (cmdline_has("stack")) {
        check_stack();
    } else {
        if (cmdline_has("tables"))
            write_cr3(NOWHERE);
        else
            use_idt();
        CHECK(false);
    }
}
