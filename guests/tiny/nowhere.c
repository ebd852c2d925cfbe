// SPDX-License-Identifier: Apache-2.0
// A guest that uses addresses where there is no memory for what only memory can be: code, its stack, its page tables or
// its IDT, as the command line says. The VM crashes, and says where.
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define NOWHERE 0xd0000000ULL

static void use_idt(void) {
    const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } nowhere = {4095, NOWHERE};
    __asm__ volatile("lidt %0; ud2" : : "m"(nowhere));
}

void test(void) {
    if (cmdline_has("jump"))
        __asm__ volatile("jmp *%0" : : "r"(NOWHERE));
    if (cmdline_has("stack"))
        __asm__ volatile("mov %0, %%rsp; push %%rax; pop %%rax" : : "r"(NOWHERE) : "rax", "memory");
    if (cmdline_has("tables"))
        write_cr3(NOWHERE);
    if (cmdline_has("idt"))
        use_idt();
    CHECK(false);
}
