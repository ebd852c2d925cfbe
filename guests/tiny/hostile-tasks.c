// SPDX-License-Identifier: Apache-2.0
// Hardware task switches. Long mode has none: far jumps, calls and IRET with NT, from 64 and 32
// bits, to descriptors of all system types, and gates of all types in the IDT raise exceptions, and
// so do LTR and LLDT of most. With the word `protected` the guest leaves long mode and switches
// tasks for good, which ends the VM: by `jump`, `gate`, or `iret`.
#include "lib/string.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"

#define ROUND_US 2000u
#define LOW      0x20000u // where the code of protected mode lies

#define BASE_AND_LIMIT 0x000000ffffffffffULL
#define TYPE_TSS       9u

// A descriptor of any type, present mostly, at the first free entry. What it names is the TSS that
// is in use, since the way back needs one; its gate forms lead into the code.
static void put_descriptor(void) {
    uint64_t type = random_below(16), dpl = random_below(4);
    uint64_t rights = type | dpl << 5 | (random_one_in(8) ? 0 : 0x80);
    attack_gdt[ATTACK_FREE / 8] = (attack_gdt[ATTACK_TSS / 8] & BASE_AND_LIMIT) | rights << 40;
    if (random_one_in(2)) // a call, interrupt, trap or task gate
        attack_gdt[ATTACK_FREE / 8] = (ATTACK_BASE & 0xffff) |
                                      (uint64_t)(random_one_in(2) ? ATTACK_CODE64 : ATTACK_TSS)
                                          << 16 |
                                      rights << 40 | (ATTACK_BASE >> 16) << 48;
    attack_gdt[ATTACK_FREE / 8 + 1] = random_one_in(8) && type != TYPE_TSS ? random64() : 0;
}

// Far jumps and calls through memory, IRET with NT, LTR, LLDT, LAR, LSL, VERR of a descriptor; then
// UD2.
static size_t put_code(uint8_t *to) {
    static const struct {
        uint8_t size;
        uint8_t bytes[8];
    } codes[] = {
        {2, {0xff, 0x28}},       // jmp far (rax)
        {2, {0xff, 0x18}},       // call far (rax)
        {3, {0x48, 0xff, 0x28}}, // with 64-bit offset
        {3, {0x48, 0xff, 0x18}}, //
        {2, {0x48, 0xcf}},       // iretq
        {1, {0xcf}},             // iretd
        {3, {0x0f, 0x00, 0xdb}}, // ltr ebx
        {3, {0x0f, 0x00, 0xd3}}, // lldt ebx
        {3, {0x0f, 0x02, 0xcb}}, // lar
        {3, {0x0f, 0x03, 0xcb}}, // lsl
        {3, {0x0f, 0x00, 0xe3}}, // verr
        {2, {0x8e, 0xe3}},       // mov fs, ebx
        {2, {0x8e, 0xd3}},       // mov ss, ebx
        {2, {0xcd, 0x40}},       // int 0x40
        {2, {0x8e, 0xdb}},       // mov ds, ebx
    };
    size_t i = random_below(ARRAY_COUNT(codes));
    memcpy(to, codes[i].bytes, codes[i].size);
    memcpy(to + codes[i].size, "\x0f\x0b", 2);
    return codes[i].size;
}

static uint16_t selector(void) {
    if (random_one_in(4))
        return (uint16_t)random64();
    if (random_one_in(4))
        return (uint16_t)((ATTACK_TSS & ~7) + random_below(8));
    return (uint16_t)(ATTACK_FREE + random_below(8));
}

static void attack_descriptors(void) {
    static const uint16_t segments[] = {ATTACK_CODE64, ATTACK_CODE32, ATTACK_USER64, ATTACK_USER32};
    uint32_t faults = 0;
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        struct attack attack = {.rip = ATTACK_BASE, .rflags = RFLAGS_ONE};
        uint8_t *operand = attack_memory + ATTACK_DATA * PAGE_SIZE;
        uint16_t to = selector();
        attack.cs = segments[random_below(ARRAY_COUNT(segments))];
        attack.ss = (attack.cs & 3) != 0 ? ATTACK_USER_DATA : ATTACK_DATA0;
        attack.rflags |= random_one_in(4) ? RFLAGS_NT : 0;
        attack.gpr[0] = ATTACK_PAGE(ATTACK_DATA);
        attack.gpr[3] = to;
        attack.gpr[4] = ATTACK_PAGE(ATTACK_DATA + 1);
        put_descriptor();
        memset(operand, 0, 64);
        memcpy(operand + 4, &to, sizeof(to)); // 32-bit offset
        memcpy(operand + (random_one_in(2) ? 8 : 4), &to, sizeof(to));
        (void)put_code(attack_memory);
        faults += attack_run(&attack, ROUND_US).vector != EXC_NMI;
    }
    CHECK(faults > 0 && faults <= hostile_rounds);
}

// ---- protected mode -----------------------------------------------------------------------------

// Copied to LOW. 0x08: 32-bit code, 0x10: data, 0x18 and 0x20: task segments, 0x28: a task gate to
// 0x20.
extern const uint8_t tasks_begin[], tasks_end[], tasks_gdt[], tasks_mode[];
__asm__(".section .text\n"
        "tasks_begin:\n"
        ".code64\n"
        "    lgdt 0x20000 + tasks_gdtr - tasks_begin\n"
        "    lidt 0x20000 + tasks_idtr - tasks_begin\n"
        "    mov $0x2f000, %esp\n"
        "    push $0x08\n"
        "    push $(0x20000 + tasks_32 - tasks_begin)\n"
        "    lretq\n"
        ".code32\n"
        "tasks_32:\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        "    mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n"
        "    mov $0x18, %eax; ltr %ax\n"
        "    mov 0x20000 + tasks_mode - tasks_begin, %eax\n"
        "    cmp $1, %eax; je 1f\n"
        "    cmp $2, %eax; je 2f\n"
        "    ljmp $0x20, $0\n"
        "1:  int $0\n"                                 // the IDT's one entry is a task gate
        "2:  pushf; orl $0x4000, (%esp); popf; iret\n" // NT: back to the task that the TSS links to
        "    .balign 8\n"
        "tasks_gdt: .skip 64\n"
        "tasks_idt: .skip 8\n"
        "tasks_gdtr: .word 63; .quad 0x20000 + tasks_gdt - tasks_begin\n"
        "tasks_idtr: .word 7; .quad 0x20000 + tasks_idt - tasks_begin\n"
        "tasks_mode: .long 0\n"
        "    .balign 16\n"
        "tasks_end:\n"
        ".code64\n"
        ".text\n");

static uint64_t task_segment(const void *at) {
    uint64_t base = (uintptr_t)at;
    return 0x67 | (base & 0xffffff) << 16 | 0x89ULL << 40 | (base >> 24 & 0xff) << 56;
}

static void switch_task(uint32_t mode) {
    static uint16_t tss[2][64] __attribute__((aligned(128)));
    uint8_t *low = (uint8_t *)(uintptr_t)LOW;
    memcpy(low, tasks_begin, (size_t)(tasks_end - tasks_begin));
    uint64_t gdt[9] = {0,
                       0x00cf9b000000ffffULL,
                       0x00cf93000000ffffULL,
                       task_segment(tss[0]),
                       task_segment(tss[1]),
                       0x0000850000200000ULL,
                       0,
                       0,
                       0x0000850000200000ULL};
    tss[0][0] = 0x20; // the task before
    memcpy(low + (tasks_gdt - tasks_begin), gdt, sizeof(gdt));
    memcpy(low + (tasks_mode - tasks_begin), &mode, sizeof(mode));
    ((void (*)(void))(uintptr_t)LOW)();
}

void test(void) {
    hostile_init(1500);
    if (cmdline_has("protected"))
        switch_task(cmdline_has("gate") ? 1 : cmdline_has("iret") ? 2 : 0);
    attack_init();
    attack_descriptors();
}
