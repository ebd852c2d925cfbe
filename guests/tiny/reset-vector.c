// SPDX-License-Identifier: Apache-2.0
// Whatever reaches the address at which a processor starts resets the machine, in any mode,
// whatever the guest has written to low memory: a jump there, or an INIT to the boot processor.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"

#define LOW       0x8000u // where the way into real mode runs
#define RESET_LOW 0xffff0u
#define RESET     0xfffffff0u

extern const uint8_t way_begin[], way_end[];

// From long mode to F000:FFF0, or in a flat 32-bit segment to FFFFFFF0, as EDI says (0: real mode).
__asm__(".set LOW, 0x8000\n"
        ".text\n"
        "way_begin:\n"
        ".code64\n"
        "    lgdt LOW + way_gdtr - way_begin\n"
        "    mov $0x7000, %esp\n"
        "    push $0x08\n"
        "    push $(LOW + way_32 - way_begin)\n"
        "    lretq\n"
        ".code32\n"
        "way_32:\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        "    mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n"
        "    test %edi, %edi; jz 1f\n"
        "    jmp *%edi\n"
        "1:  ljmp $0x18, $(LOW + way_16 - way_begin)\n"
        ".code16\n"
        "way_16:\n"
        "    mov $0x20, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss\n"
        "    mov %cr0, %eax; and $~1, %eax; mov %eax, %cr0\n"
        "    ljmp $0xffff, $0\n"
        ".balign 8\n"
        "way_gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00009b000000ffff, "
        "0x000093000000ffff\n"
        "way_gdtr: .word way_gdtr - way_gdt - 1; .quad LOW + way_gdt - way_begin\n"
        "way_end:\n"
        ".code64\n");

// What stood there before is the guest's to destroy, but not what the processor finds.
static void overwrite(void) {
    volatile uint64_t *at = (volatile uint64_t *)(uintptr_t)RESET_LOW;
    at[0] = at[1] = 0xf4f4f4f4f4f4f4f4;
    memset((void *)0x600, 0xf4, 0x6000); // below the zero page
}

static _Noreturn void go(uint32_t target) {
    memcpy((void *)(uintptr_t)LOW, way_begin, (size_t)(way_end - way_begin));
    __asm__ volatile("jmp *%0" : : "r"((uint64_t)LOW), "D"(target) : "memory");
    __builtin_unreachable();
}

static void init_boot_processor(void) {
    lapic_send(0, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
}

void test(void) {
    interrupts_off();
    overwrite();
    if (cmdline_has("init"))
        init_boot_processor();
    else if (cmdline_has("real"))
        go(0);
    else if (cmdline_has("protected"))
        go(RESET);
    else if (cmdline_has("long"))
        __asm__ volatile("jmp *%0" : : "r"((uint64_t)RESET));
    else {
        smp_start(cmdline_has("x2apic"));
        smp_run(1, init_boot_processor);
    }
    for (;;)
        __asm__ volatile("pause");
}
