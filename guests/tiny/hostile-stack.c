// SPDX-License-Identifier: Apache-2.0
// Stacks and descriptor tables where there are devices or nothing, as the command line says: `stack`, `idt`, `gdt`, `ldt`,
// `tss`, `push`, `call`, `iret`, each with `lapic`, `ioapic`, `nowhere` or `beyond` (the end of RAM). The VM ends, and says why.
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

static void raise_on(uint64_t stack) {
    __asm__ volatile("mov %0, %%rsp; ud2" : : "r"(stack) : "memory");
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
    if (is_tss)
        __asm__ volatile("ltr %w0; int $8"
                         :
                         : "r"(0x20)
                         : "memory"); // the gate of #DF has a stack of its own
    else
        __asm__ volatile("lldt %w0; mov %w1, %%fs" : : "r"(0x20), "r"(0x0c) : "memory");
}

void test(void) {
    uint64_t there = place();
    if (cmdline_has("stack"))
        raise_on(there);
    if (cmdline_has("push"))
        __asm__ volatile("mov %0, %%rsp; pushfq; popfq" : : "r"(there) : "memory");
    if (cmdline_has("call"))
        __asm__ volatile("mov %0, %%rsp; call 1f\n1:" : : "r"(there) : "memory");
    if (cmdline_has("iret"))
        __asm__ volatile("mov %0, %%rsp; iretq" : : "r"(there) : "memory");
    if (cmdline_has("gdt"))
        use_gdt(there);
    if (cmdline_has("idt"))
        use_idt(there);
    if (cmdline_has("tss"))
        use_descriptor(there, 0x89, true);
    if (cmdline_has("ldt"))
        use_descriptor(there, 0x82, false);
    CHECK(false);
}
