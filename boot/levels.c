// SPDX-License-Identifier: Apache-2.0
// Out of the firmware's 5-level paging. CR4.LA57 changes only outside long mode, so the way leads
// through 32-bit code without paging, which has to lie below 4 GiB. SDM 3A 4.1.1 "Four Paging
// Modes", SDM 3A 10.8.5.4 "Switching Out of IA-32e Mode Operation".
//
// levels_prepare takes three pages there, while the firmware still gives some: the code with what
// it needs, and two roots. levels_enter goes over to our own tables first, with a fifth level above
// them: they let any page run. Then the code is entered, and leaves to the kernel with the
// firmware's GDT as it was, which the handlers of fault.c need. An NMI in between resets the
// machine.
#include "boot/loader.h"
#include "lib/string.h"
#include "lib/types.h"

#define CR4_LA57 BIT(12)

enum page { PAGE_CODE, PAGE_PML4, PAGE_PML5, PAGE_COUNT };

// What is copied to the first page. EAX has CR0, ECX CR4 and EDX CR3 as the kernel wants them; of
// all registers, 32-bit mode may lose the upper halves.
extern const uint8_t levels_begin[], levels_end[], levels_32[], levels_64[], levels_last[];
extern const uint8_t levels_far[], levels_gdt[], levels_gdtr[], levels_to_32[], levels_to_last[];
extern const uint8_t levels_stack[], levels_info[], levels_entry[];
__asm__(".text\n"
        "levels_begin:\n"
        "sgdt levels_firmware(%rip)\n"
        "lgdt levels_gdtr(%rip)\n"
        "ljmpl *levels_to_32(%rip)\n"
        ".code32\n"
        "levels_32:\n"
        "btr $31, %eax\n" // CR0.PG
        "mov %eax, %cr0\n"
        "mov %ecx, %cr4\n"
        "mov %edx, %cr3\n"
        "bts $31, %eax\n"
        "mov %eax, %cr0\n" // EFER.LME is still set: long mode
        ".byte 0xea\n"     // a far jump to levels_64
        "levels_far: .long 0; .word 16\n"
        ".code64\n"
        "levels_64:\n"
        "lgdt levels_firmware(%rip)\n"
        "ljmpl *levels_to_last(%rip)\n"
        "levels_last:\n"
        "mov levels_stack(%rip), %rsp\n"
        "mov levels_info(%rip), %rdi\n"
        "xor %ebp, %ebp\n"
        "cld\n"
        "jmp *levels_entry(%rip)\n"
        ".balign 8\n"
        "levels_gdt: .quad 0, 0x00cf9b000000ffff, 0x00af9b000000ffff\n" // 32-bit, 64-bit code
        "levels_stack: .quad 0\n"
        "levels_info: .quad 0\n"
        "levels_entry: .quad 0\n"
        "levels_gdtr: .word 23; .quad 0\n"
        "levels_firmware: .skip 10\n"
        "levels_to_32: .long 0; .word 8\n"
        "levels_to_last: .long 0; .word 0\n" // the firmware's selector
        "levels_end:\n");

static uint64_t block; // of PAGE_COUNT pages; 0: there are 4 levels

static uint64_t page_at(enum page page) {
    return block + (uint64_t)page * BOOT_PAGE;
}

static uint64_t address_of(const uint8_t *label) {
    return page_at(PAGE_CODE) + (uint64_t)(label - levels_begin);
}

static void fill(const uint8_t *label, uint64_t value, uint64_t size) {
    memcpy((void *)(uintptr_t)address_of(label), &value, size);
}

EFI_STATUS levels_prepare(const struct boot_paging *paging) {
    uint64_t cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if ((cr4 & CR4_LA57) == 0)
        return EFI_SUCCESS;
    block = memory_alloc_below(1ull << 32, PAGE_COUNT, BOOT_PAGE, BOOT_MEMORY_LOADER);
    if (block == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory below 4 GiB to leave 5-level paging: give the "
                            "machine more");
    boot_paging_roots(paging, (uint64_t *)(uintptr_t)page_at(PAGE_PML4),
                      (uint64_t *)(uintptr_t)page_at(PAGE_PML5));
    memcpy((void *)(uintptr_t)page_at(PAGE_CODE), levels_begin,
           (uint64_t)(levels_end - levels_begin));
    return EFI_SUCCESS;
}

bool levels_are_five(void) {
    return block != 0;
}

_Noreturn void levels_enter(uint64_t cr0, uint64_t cr4, uint64_t stack, uint64_t info,
                            uint64_t entry) {
    uint16_t selector;
    __asm__ volatile("mov %%cs, %0" : "=r"(selector));
    fill(levels_gdtr + 2, address_of(levels_gdt), sizeof(uint64_t));
    fill(levels_to_32, address_of(levels_32), sizeof(uint32_t));
    fill(levels_far, address_of(levels_64), sizeof(uint32_t));
    fill(levels_to_last, address_of(levels_last), sizeof(uint32_t));
    fill(levels_to_last + 4, selector, sizeof(selector));
    fill(levels_stack, stack, sizeof(stack));
    fill(levels_info, info, sizeof(info));
    fill(levels_entry, entry, sizeof(entry));
    __asm__ volatile("mov %[pml5], %%cr3\n\t"
                     "jmp *%[code]"
                     :
                     : [pml5] "r"(page_at(PAGE_PML5)), [code] "r"(page_at(PAGE_CODE)), "a"(cr0),
                       "c"(cr4 & ~CR4_LA57), "d"(page_at(PAGE_PML4))
                     : "memory");
    __builtin_unreachable();
}
