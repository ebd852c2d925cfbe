// SPDX-License-Identifier: Apache-2.0
// Stacks and descriptor tables where there are devices or nothing, as the command line says:
// `stack`, `idt`, `gdt`, `ldt`, `tss`, `push`, `call`, `iret`, each with `lapic`, `ioapic`,
// `nowhere` or `beyond` (the end of RAM). What is written to nothing is lost; on devices it is #GP,
// if need be on top of another exception.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define NOWHERE 0xd0000000ULL

static uint64_t place(void) {
    if (cmdline_has("lapic"))
        return LAPIC_BASE + 0x100;
    if (cmdline_has("ioapic"))
        return IOAPIC_BASE + 0x100;
    return cmdline_has("beyond") ? low_ram_end() : NOWHERE;
}

// With RSP there, and back from there.
#define ON(stack, code)                                                                            \
    __asm__ volatile(TRY("mov %%rsp, %%rbx; mov %0, %%rsp; " code) "mov %%rbx, %%rsp"              \
                     :                                                                             \
                     : "r"(stack)                                                                  \
                     : "rax", "rbx", TRY_CLOBBERS)

// On a device neither the instruction nor #GP gets through, so #DF does, which has a stack of its
// own.
static void check_end(uint64_t stack) {
    if (stack == NOWHERE)
        CHECK_NO_FAULT();
    else
        CHECK_FAULT(EXC_DF, 0);
}

static void use_gdt(uint64_t base) {
    const struct table_pointer there = {0xff, base};
    __asm__ volatile("lgdt %0; mov %1, %%ds" : : "m"(there), "r"(SELECTOR_DATA) : "memory");
}

static void use_idt(uint64_t base) {
    const struct table_pointer there = {0xfff, base};
    __asm__ volatile("lidt %0; int3" : : "m"(there) : "memory");
}

// A system segment at `base`, and what reads it.
static void use_descriptor(uint64_t base, uint64_t type, bool is_tss) {
    static uint64_t gdt[8] = {0, 0, 0x00af9b000000ffffULL, 0x00cf93000000ffffULL};
    const struct table_pointer there = {sizeof(gdt) - 1, (uintptr_t)gdt};
    gdt[4] = 0x67 | (base & 0xffffff) << 16 | type << 40 | (base >> 24 & 0xff) << 56;
    gdt[5] = base >> 32;
    __asm__ volatile("lgdt %0" : : "m"(there) : "memory");
    if (is_tss) {
        // The gate of #DF takes its stack from there: the top of the address space.
        __asm__ volatile(TRY("ltr %w0; int $8") : : "r"(0x20) : TRY_CLOBBERS);
        CHECK_FAULT(EXC_PF, 2);
    } else {
        __asm__ volatile(TRY("lldt %w0; mov %w1, %%fs") : : "r"(0x20), "r"(0x0c) : TRY_CLOBBERS);
        CHECK_FAULT(EXC_GP, 0);
    }
}

void test(void) {
    uint64_t there = place();
    if (cmdline_has("stack")) {
        ON(there, "ud2");
        check_end(there);
    } else if (cmdline_has("push")) {
        ON(there, "pushfq; pop %%rax");
        check_end(there);
    } else if (cmdline_has("call")) {
        ON(there, "call 1f\n1:");
        check_end(there);
    } else if (cmdline_has("iret")) {
        ON(there, "iretq");
        CHECK_EQ(trap_last.vector, EXC_GP);
    } else if (cmdline_has("gdt")) {
        use_gdt(there);
    } else if (cmdline_has("idt")) {
        use_idt(there);
    } else {
        use_descriptor(there, cmdline_has("tss") ? 0x89 : 0x82, cmdline_has("tss"));
    }
}
