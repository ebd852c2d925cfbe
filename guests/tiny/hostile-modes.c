// SPDX-License-Identifier: Apache-2.0
// Random bytes as code outside of long mode: in real mode, and in protected mode without paging in
// 32-bit and 16-bit segments, all in ring 0. The guest leaves long mode for each round and comes
// back by whatever exception or interrupt the code raises, or by the watchdog's NMI. Code that
// turns paging on, moves tables or writes over the way back may take the VM with it, or hang this
// processor: then another one ends the VM (runtime/keeper.h).
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/keeper.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define LOW         0x20000u // the way there and back
#define ATTACK      0x30000u // 64 KiB of code, data and stack
#define ATTACK_SIZE 0x10000u
#define CODE_BYTES  0x1000u
#define WATCH_US    400u
#define IOAPIC_PIT  2u
#define IOAPIC_NMI  0x400u

enum mode { MODE_REAL, MODE_32, MODE_16, MODE_COUNT };

// What the way's code reads. In low memory.
struct way {
    uint32_t cr3, rsp, mode;
    uint16_t watch, unused;
    uint16_t gdt_limit;
    uint64_t gdt_base;
    uint16_t ivt_limit;
    uint32_t ivt_base;
    uint16_t idt_limit;
    uint32_t idt_base;
    uint16_t unused2;
    uint32_t registers[8];
    uint16_t real_sp, real_ss;
    uint32_t esp;
    uint16_t ss;
    uint16_t unused3[3];
    uint64_t gdt[10];
} __attribute__((packed));
_Static_assert(offsetof(struct way, gdt_limit) == 16, "the way's code knows it");
_Static_assert(offsetof(struct way, ivt_limit) == 26, "");
_Static_assert(offsetof(struct way, idt_limit) == 32, "");
_Static_assert(offsetof(struct way, registers) == 40, "");
_Static_assert(offsetof(struct way, real_sp) == 72, "");
_Static_assert(offsetof(struct way, esp) == 76, "");
static volatile struct way *const way = (struct way *)0x1e000;

extern const uint8_t way_begin[], way_end[], way_trap16[], way_trap32[];
__asm__(".section .text\n"
        ".balign 16\n"
        "way_begin:\n"
        ".code64\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, %rax\n"
        "    mov %eax, 0x1e000 + 4\n"
        "    sgdt 0x20000 + way_gdt_saved - way_begin\n"
        "    sidt 0x20000 + way_idt_saved - way_begin\n"
        "    lgdt 0x1e000 + 16\n"
        "    mov $0x2f000, %esp\n"
        "    push $0x18\n"
        "    push $(0x20000 + way_compatibility - way_begin)\n"
        "    lretq\n"
        ".code32\n"
        "way_compatibility:\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        "    mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n"
        "    cmpl $0, 0x1e000 + 8\n"
        "    jne 1f\n"
        "    lidt 0x1e000 + 26\n"
        "    ljmp $0x20, $(way_16bit - way_begin)\n"
        // Protected mode: the watchdog, the registers, then the frame that the attack's stack has.
        "1:  lidt 0x1e000 + 32\n"
        "    mov $0x30, %al; out %al, $0x43\n"
        "    mov 0x1e000 + 12, %al; out %al, $0x40; mov 0x1e000 + 13, %al; out %al, $0x40\n"
        "    mov $(0x1e000 + 40), %esp; popal\n"
        "    lss 0x1e000 + 76, %esp\n"
        "    pop %ds; pop %es; iretl\n"
        ".code16\n"
        "way_16bit:\n"
        "    mov $0x28, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss\n"
        "    mov %cr0, %eax; and $~1, %eax; mov %eax, %cr0\n"
        "    ljmp $0x2000, $(way_real - way_begin)\n"
        "way_real:\n"
        "    mov $0x1e00, %ax; mov %ax, %ds; mov %ax, %ss\n"
        "    mov $0x30, %al; out %al, $0x43\n"
        "    mov 12, %al; out %al, $0x40; mov 13, %al; out %al, $0x40\n"
        "    mov $40, %sp; popal\n"
        "    lss 72, %sp\n"
        "    pop %ds; pop %es; iret\n"
        // And back. The watchdog first, so that it does not come where nobody can take it.
        "way_trap16:\n"
        "    mov $0x30, %al; out %al, $0x43\n"
        "    mov $0x1e00, %ax; mov %ax, %ds\n"
        "    lgdtl 16\n"
        "    mov %cr0, %eax; or $1, %eax; mov %eax, %cr0\n"
        "    ljmpl $0x18, $(0x20000 + way_back - way_begin)\n"
        ".code32\n"
        "way_trap32:\n"
        "    mov $0x30, %al; out %al, $0x43\n"
        "way_back:\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov $0x2f000, %esp\n"
        "    push $2; popfl\n" // NT, which real mode keeps, would fail IRETQ
        "    lgdt 0x1e000 + 16\n"
        "    mov $0x400, %eax; mov %eax, %dr7\n"
        "    mov $0x20, %eax; mov %eax, %cr4\n"
        "    mov 0x1e000, %eax; mov %eax, %cr3\n"
        "    mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
        "    mov $0x80010033, %eax; mov %eax, %cr0\n"
        "    ljmp $0x08, $(0x20000 + way_long - way_begin)\n"
        ".code64\n"
        "way_long:\n"
        "    mov 0x1e000 + 4, %esp\n"
        "    lgdt 0x20000 + way_gdt_saved - way_begin\n"
        "    lidt 0x20000 + way_idt_saved - way_begin\n"
        "    mov $0x18, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov %rsp, %rax\n" // by IRET, which unblocks NMIs
        "    push $0x18; push %rax; push $2; push $0x10\n"
        "    push $(0x20000 + way_left - way_begin)\n"
        "    iretq\n"
        "way_left:\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n"
        "way_gdt_saved: .skip 10\n"
        "way_idt_saved: .skip 10\n"
        "way_end:\n"
        ".text\n");

static volatile uint64_t idt32[256];
static volatile uint64_t root[512] __attribute__((aligned(4096)));
static volatile uint64_t pdpt[512] __attribute__((aligned(4096)));
static volatile uint64_t directories[2][512] __attribute__((aligned(4096)));

// Tables of our own, which lie above what real mode reaches: memory below, devices in the last GiB
// of 4.
static void map(void) {
    const uint64_t flags = 3, large = 0x83, last = 3;
    for (uint64_t i = 0; i < 512; i++) {
        directories[0][i] = i * SIZE_2M | large;
        directories[1][i] = (last * SIZE_1G + i * SIZE_2M) | large;
    }
    pdpt[0] = (uintptr_t)directories[0] | flags;
    pdpt[last] = (uintptr_t)directories[1] | flags;
    root[0] = (uintptr_t)pdpt | flags;
    write_cr3((uintptr_t)root);
}

static void prepare_tables(void) {
    const uint32_t trap16 = (LOW / 16) << 16 | (uint32_t)(way_trap16 - way_begin);
    const uint64_t trap32 = LOW + (uint64_t)(way_trap32 - way_begin);
    volatile uint32_t *ivt;
    memcpy((void *)(uintptr_t)LOW, way_begin, (size_t)(way_end - way_begin));
    way->ivt_limit = 0x3ff;
    way->ivt_base = 0;
    ivt = (volatile uint32_t *)(uintptr_t)way->ivt_base;
    for (uint32_t i = 0; i < 256; i++) {
        ivt[i] = trap16;
        idt32[i] = (trap32 & 0xffff) | 0x18ULL << 16 | 0x8e00ULL << 32 | (trap32 >> 16) << 48;
    }
    way->gdt[1] = 0x00af9b000000ffffULL; // 0x08: 64-bit code
    way->gdt[2] = 0x00cf93000000ffffULL; // 0x10: data, 4 GiB
    way->gdt[3] = 0x00cf9b000000ffffULL; // 0x18: 32-bit code
    way->gdt[4] = 0x00009b020000ffffULL; // 0x20: 16-bit code at LOW
    way->gdt[5] = 0x000093000000ffffULL; // 0x28: 16-bit data
    way->gdt[6] = 0x00409b030000ffffULL; // 0x30: 32-bit code at ATTACK
    way->gdt[7] = 0x004093030000ffffULL; // 0x38: data there
    way->gdt[8] = 0x00009b030000ffffULL; // 0x40: 16-bit code there
    way->gdt_limit = sizeof(way->gdt) - 1;
    way->gdt_base = (uintptr_t)way + offsetof(struct way, gdt);
    way->idt_limit = sizeof(idt32) - 1;
    way->idt_base = (uint32_t)(uintptr_t)idt32;
    way->cr3 = (uint32_t)(uintptr_t)root;
    way->watch = (uint16_t)(PIT_HZ * WATCH_US / 1000000);
}

static void prepare_code(void) {
    static const uint8_t often[] = {0x0f, 0x66, 0x67, 0xf3, 0x8e, 0x9d, 0xcf, 0xf4, 0xcd, 0x20,
                                    0x22, 0x01, 0x00, 0xa2, 0x30, 0x32, 0xc7, 0xae, 0x9a, 0xea,
                                    0xca, 0xcb, 0xc4, 0xc5, 0x0b, 0x09, 0x17, 0x1f, 0xa4, 0xab};
    uint8_t *code = (uint8_t *)(uintptr_t)ATTACK;
    random_fill(code, CODE_BYTES);
    for (uint32_t i = 0; i < CODE_BYTES; i++) {
        if (random_one_in(4))
            code[i] = often[random_below(ARRAY_COUNT(often))];
        // Ports would end the VM too soon: they are what another guest is about.
        if ((code[i] >= 0x6c && code[i] <= 0x6f) || (code[i] & 0xf4) == 0xe4)
            code[i] ^= 0x80;
    }
}

static void prepare_frame(enum mode mode) {
    uint32_t ip = random_below(CODE_BYTES), flags = 2 | (random_one_in(8) ? 0x100 : 0);
    for (uint32_t i = 0; i < ARRAY_COUNT(way->registers); i++)
        way->registers[i] = random_one_in(2) ? random_below(ATTACK_SIZE) : (uint32_t)random_value();
    way->mode = mode;
    if (mode == MODE_REAL) {
        const uint16_t frame[] = {ATTACK / 16, ATTACK / 16, (uint16_t)ip, ATTACK / 16,
                                  (uint16_t)flags};
        way->real_sp = 0xffe0;
        way->real_ss = ATTACK / 16;
        memcpy((void *)(uintptr_t)(ATTACK + way->real_sp), frame, sizeof(frame));
    } else {
        const uint32_t frame[] = {0x38, 0x38, ip, mode == MODE_32 ? 0x30 : 0x40, flags};
        way->esp = 0xffc0;
        way->ss = 0x38;
        memcpy((void *)(uintptr_t)(ATTACK + way->esp), frame, sizeof(frame));
    }
}

static void on_nmi(struct trap_frame *frame) {
    (void)frame; // the watchdog's, too late
}

void test(void) {
    uint32_t rounds[MODE_COUNT] = {0};
    bool is_real_only = cmdline_has("real");
    hostile_init(300);
    keeper_start(KEEPER_S);
    map();
    lapic_init(false);
    pic_init();
    trap_set_handler(EXC_NMI, on_nmi);
    ioapic_write(IOAPIC_ENTRY(IOAPIC_PIT) + 1, 0);
    ioapic_write(IOAPIC_ENTRY(IOAPIC_PIT), IOAPIC_NMI);
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        enum mode mode = is_real_only ? MODE_REAL : random_below(MODE_COUNT);
        keeper_beat();
        prepare_tables();
        prepare_code();
        prepare_frame(mode);
        ((void (*)(void))(uintptr_t)LOW)();
        rounds[mode]++;
    }
    for (uint32_t mode = 0; mode < MODE_COUNT; mode++)
        print("mode %u: %u rounds\n", mode, rounds[mode]);
    CHECK_EQ(rounds[MODE_REAL] + rounds[MODE_32] + rounds[MODE_16], hostile_rounds);
}
