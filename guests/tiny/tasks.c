// SPDX-License-Identifier: Apache-2.0
// Hardware task switches in 32-bit protected mode, which the hypervisor carries out: by JMP, by
// CALL through a task gate, by IRET, by INT, to 32- and 16-bit TSSs, with another CR3, LDT and
// LDT's segments; exceptions that arrive in a task of their own with an error code, #DF among them;
// a fault in the new task, and its T flag. With 32-bit and with PAE paging. SDM 3A chapter 8 "Task
// Management".
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define LOW    0x20000u // the code, copied
#define WINDOW 0xc0000000u
#define MARKER 0x5ca1ab1eu
#define OTHER  0x0ddba11u

#define PRESENT_WRITE 3u
#define LARGE         0x80u

// Selectors.
enum {
    CODE64 = 0x08,
    DATA = 0x10,
    CODE32 = 0x18,
    CODE16 = 0x20,
    ABSENT = 0x28, // data, not present
    TSS_MAIN = 0x30,
    TSS_A = 0x38,
    TSS_16 = 0x40,
    TSS_DF = 0x48,
    TSS_GP = 0x50,
    TSS_BAD = 0x58, // its DS is ABSENT
    TSS_TRAP = 0x60,
    GATE_A = 0x68,
    LDT = 0x70,
    GDT_SIZE = 0x78,
};
#define LDT_DATA  0x0cu // entry 1 of the LDT
#define LDT_WORD  0x600du
#define BUSY      BIT(41)
#define ACCESSED  BIT(40)
#define WAYS_BACK 8u

struct __attribute__((packed)) tss32 {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, io_map;
};
struct __attribute__((packed)) tss16 {
    uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags;
    uint16_t ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
};
_Static_assert(sizeof(struct tss32) == 0x68 && sizeof(struct tss16) == 0x2c, "the manual's");

// What the code finds and leaves, at fixed places in low memory; the assembly knows the offsets.
struct results {
    uint32_t main_tr[16];                                    // 0x00: TR after each way back
    uint32_t kept, cr0;                                      // 0x40
    uint32_t a_tr, a_flags, a_eax, a_fs, a_ldt, a_window;    // 0x48
    uint32_t a_dr7, a_esp, call_flags, call_link, int_flags; // 0x60
    uint32_t tr_16, ax_16;                                   // 0x74
    uint32_t gp_error, gp_tr, gp_eip;                        // 0x7c
    uint32_t df_error, df_tr, df_esp, df_eip;                // 0x88
    uint32_t np_error, np_tr, db_dr6, db_tr;                 // 0x98
    uint32_t unexpected, unexpected_tr, ldt_word;            // 0xa8
};
_Static_assert(offsetof(struct results, a_dr7) == 0x60 &&
                   offsetof(struct results, ldt_word) == 0xb0,
               "0x..");
struct __attribute__((packed)) trip {
    uint32_t cr3_long, cr3, cr4, rsp;
    uint16_t gdt_limit; // 16
    uint64_t gdt_base;
    uint16_t idt_limit; // 26
    uint64_t idt_base;
};
static volatile struct results *const results = (struct results *)0x1f000;
static volatile struct trip *const trip = (struct trip *)0x1e000;
static volatile uint64_t *const gdt = (uint64_t *)0x31000;
static volatile uint64_t *const idt = (uint64_t *)0x32000;
static volatile uint64_t *const ldt = (uint64_t *)0x33000;

static volatile uint64_t pdpt[2][4] __attribute__((aligned(32)));
static volatile uint64_t directories[2][2][512] __attribute__((aligned(4096)));
static volatile uint32_t directory_32[2][1024] __attribute__((aligned(4096)));

extern const uint8_t tasks_begin[], tasks_end[], in_a[], in_16[], in_df[], in_gp[], in_bad[],
    in_trap[], on_np[], on_db[], on_other[], bad_load[], bad_stack[];

__asm__(".set LOW, 0x20000\n"
        ".set R, 0x1f000\n"
        ".set TRIP, 0x1e000\n"
        ".set TSS0, 0x30000\n"
        ".section .text\n"
        ".balign 16\n"
        "tasks_begin:\n"
        ".code64\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, %rax\n"
        "    mov %eax, TRIP + 12\n"
        "    sgdt LOW + saved_gdt - tasks_begin\n"
        "    sidt LOW + saved_idt - tasks_begin\n"
        "    lgdt TRIP + 16\n"
        "    lidt TRIP + 26\n"
        "    mov $0x3f000, %esp\n"
        "    push $0x18\n"
        "    push $(LOW + in_32 - tasks_begin)\n"
        "    lretq\n"
        ".code32\n"
        "in_32:\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    xor %eax, %eax; mov %eax, %fs; mov %eax, %gs\n"
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        "    mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n"
        "    mov TRIP + 8, %eax; mov %eax, %cr4\n"
        "    mov TRIP + 4, %eax; mov %eax, %cr3\n"
        "    mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
        "    mov $0x30, %eax; ltr %ax\n"
        "    mov $0x401, %eax; mov %eax, %dr7\n"
        "    mov $0x11111111, %ebx\n"
        "    ljmp $0x38, $0\n" // to A
        "    mov %ebx, R + 0x40; mov %cr0, %eax; mov %eax, R + 0x44; clts\n"
        "    str %eax; mov %eax, R + 0\n"
        "    lcall $0x68, $0\n" // to A, by the gate
        "    str %eax; mov %eax, R + 4\n"
        "    int $0x40\n" // to A, by the IDT
        "    str %eax; mov %eax, R + 8\n"
        "    ljmp $0x40, $0\n" // 16 bits
        "    str %eax; mov %eax, R + 12\n"
        "    mov $0x1230, %eax\n" // #GP has a task
        "bad_load: mov %eax, %fs\n"
        "    str %eax; mov %eax, R + 16\n"
        "    ljmp $0x58, $0\n" // #NP in the new task
        "    str %eax; mov %eax, R + 20\n"
        "    ljmp $0x60, $0\n" // #DB before its first instruction
        "    str %eax; mov %eax, R + 24\n"
        "    mov %esp, %ebp; mov $0xf0000000, %esp\n" // nothing is mapped there
        "bad_stack: ud2\n"                            // #UD, #PF, #DF
        "after_df: str %eax; mov %eax, R + 28\n"
        "back:\n"
        "    clts\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        "    mov %cr4, %eax; and $~0x10, %eax; or $0x20, %eax; mov %eax, %cr4\n"
        "    mov TRIP + 0, %eax; mov %eax, %cr3\n"
        "    mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
        "    mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
        "    ljmp $0x08, $(LOW + in_long - tasks_begin)\n"
        // ---- the tasks
        "in_a:\n"
        "    mov %eax, R + 0x50; mov %esp, R + 0x64\n"
        "    str %eax; mov %eax, R + 0x48\n"
        "    pushf; pop %eax; mov %eax, R + 0x4c\n"
        "    mov %fs, %eax; mov %eax, R + 0x54; mov %fs:0, %eax; mov %eax, R + 0xb0\n"
        "    sldt %eax; mov %eax, R + 0x58\n"
        "    mov 0xc0000000, %eax; mov %eax, R + 0x5c\n"
        "    mov %dr7, %eax; mov %eax, R + 0x60\n"
        "    clts\n"
        "    ljmp $0x30, $0\n"
        "    pushf; pop %eax; mov %eax, R + 0x68; mov TSS0 + 0x100, %eax; mov %eax, R + 0x6c\n"
        "    iret\n"
        "    pushf; pop %eax; mov %eax, R + 0x70\n"
        "    iret\n"
        ".code16\n"
        "in_16:\n"
        "    mov %eax, %ecx; mov $(R + 0x74), %ebx\n"
        "    str %eax; mov %eax, (%ebx); movzwl %cx, %ecx; mov %ecx, 4(%ebx)\n"
        "    ljmp $0x30, $0\n"
        ".code32\n"
        "in_gp:\n"
        "    pop %eax; mov %eax, R + 0x7c; str %eax; mov %eax, R + 0x80\n"
        "    mov TSS0 + 0x20, %eax; mov %eax, R + 0x84\n"
        "    addl $2, TSS0 + 0x20\n" // the load is 2 bytes
        "    iret\n"
        "in_df:\n"
        "    pop %eax; mov %eax, R + 0x88; str %eax; mov %eax, R + 0x8c\n"
        "    mov TSS0 + 0x38, %eax; mov %eax, R + 0x90; mov TSS0 + 0x20, %eax; mov %eax, R + 0x94\n"
        "    mov $(LOW + text - tasks_begin), %esi; mov $0x3f8, %edx\n"
        "1:  lodsb; test %al, %al; jz 2f; outb %al, %dx; jmp 1b\n"
        "2:  mov TSS0 + 0x3c, %eax; mov %eax, TSS0 + 0x38\n" // ESP = EBP
        "    movl $(LOW + after_df - tasks_begin), TSS0 + 0x20\n"
        "    iret\n"
        "in_bad: ud2\n"
        "on_np:\n"
        "    pop %eax; mov %eax, %ss:R + 0x98; str %eax; mov %eax, %ss:R + 0x9c\n"
        "    ljmp $0x30, $0\n"
        "in_trap: ljmp $0x30, $0\n"
        "on_db:\n"
        "    mov %dr6, %eax; mov %eax, R + 0xa0; str %eax; mov %eax, R + 0xa4\n"
        "    iret\n"
        "on_other:\n"
        "    mov $0x10, %eax; mov %eax, %ds; pop %eax; mov %eax, R + 0xac; movl $1, R + 0xa8\n"
        "    jmp back\n"
        ".code64\n"
        "in_long:\n"
        "    mov TRIP + 12, %esp\n"
        "    lgdt LOW + saved_gdt - tasks_begin\n"
        "    lidt LOW + saved_idt - tasks_begin\n"
        "    mov $0x18, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov LOW + saved_gdt + 2 - tasks_begin, %rbx; andb $~2, 0x3d(%rbx)\n"
        "    mov $0x38, %eax; ltr %ax\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    pop %rax\n"
        "    push $0x10\n"
        "    push %rax\n"
        "    lretq\n"
        "saved_gdt: .skip 10\n"
        "saved_idt: .skip 10\n"
        "text: .asciz \"a double fault, in a task of its own\\n\"\n"
        "tasks_end:\n"
        ".text\n");

static uint32_t at(const uint8_t *label) {
    return LOW + (uint32_t)(label - tasks_begin);
}

static uint64_t system_segment(uint64_t base, uint32_t size, uint64_t type) {
    return (size - 1) | (base & 0xffffff) << 16 | (0x80 | type) << 40 | (base >> 24 & 0xff) << 56;
}

// The other window shows other memory: 4 MiB each, so that large pages of both kinds map them.
static void map(void) {
    for (uint32_t k = 0; k < 2; k++) {
        uint32_t window = (k + 1) << 22;
        *(volatile uint32_t *)(uintptr_t)window = k == 0 ? MARKER : OTHER;
        pdpt[k][0] = (uintptr_t)directories[k][0] | 1;
        pdpt[k][3] = (uintptr_t)directories[k][1] | 1;
        for (uint64_t i = 0; i < 8; i++)
            directories[k][0][i] = i << 21 | LARGE | PRESENT_WRITE;
        directories[k][1][0] = window | LARGE | PRESENT_WRITE;
        for (uint32_t i = 0; i < 4; i++)
            directory_32[k][i] = i << 22 | LARGE | PRESENT_WRITE;
        directory_32[k][WINDOW >> 22] = window | LARGE | PRESENT_WRITE;
    }
}

static uint32_t cr3_of(uint32_t k, bool is_pae) {
    return (uint32_t)(is_pae ? (uintptr_t)pdpt[k] : (uintptr_t)directory_32[k]);
}

static volatile struct tss32 *tss_of(uint32_t selector) {
    return (volatile struct tss32 *)(0x30000ULL + (selector - TSS_MAIN) / 8 * 0x100);
}

static void make_task(uint32_t selector, const uint8_t *entry, bool is_pae) {
    volatile struct tss32 *t = tss_of(selector);
    *t = (struct tss32){.cr3 = cr3_of(selector == TSS_A, is_pae),
                        .eip = at(entry),
                        .eflags = RFLAGS_ONE,
                        .esp = 0x38000 + (selector - TSS_MAIN) / 8 * 0x800,
                        .es = DATA,
                        .cs = CODE32,
                        .ss = DATA,
                        .ds = selector == TSS_BAD ? ABSENT : DATA,
                        .trap = selector == TSS_TRAP,
                        .io_map = sizeof(struct tss32)};
    gdt[selector / 8] = system_segment((uintptr_t)t, sizeof(*t), 9);
}

static void make_tables(bool is_pae) {
    memset((void *)(uintptr_t)gdt, 0, GDT_SIZE);
    make_task(TSS_MAIN, tasks_begin, is_pae);
    make_task(TSS_A, in_a, is_pae);
    make_task(TSS_DF, in_df, is_pae);
    make_task(TSS_GP, in_gp, is_pae);
    make_task(TSS_BAD, in_bad, is_pae);
    make_task(TSS_TRAP, in_trap, is_pae);
    tss_of(TSS_A)->eax = 0xaaaa5555;
    tss_of(TSS_A)->fs = LDT_DATA;
    tss_of(TSS_A)->ldt = LDT;
    volatile struct tss16 *small = (volatile struct tss16 *)tss_of(TSS_16);
    *small = (struct tss16){.ip = (uint16_t)(in_16 - tasks_begin),
                            .flags = RFLAGS_ONE,
                            .ax = 0x1616,
                            .sp = 0x8000,
                            .es = DATA,
                            .cs = CODE16,
                            .ss = DATA,
                            .ds = DATA};
    gdt[TSS_16 / 8] = system_segment((uintptr_t)small, sizeof(*small), 1);
    gdt[CODE64 / 8] = 0x00af9b000000ffffULL;
    gdt[DATA / 8] = 0x00cf92000000ffffULL; // not accessed yet
    gdt[CODE32 / 8] = 0x00cf9a000000ffffULL;
    gdt[CODE16 / 8] = 0x00009a020000ffffULL; // at LOW
    gdt[ABSENT / 8] = 0x00cf12000000ffffULL;
    gdt[GATE_A / 8] = (uint64_t)TSS_A << 16 | 0x85ULL << 40;
    gdt[LDT / 8] = system_segment((uintptr_t)ldt, 16, 2);
    ldt[1] = system_segment((uintptr_t)&ldt[2], 8, 0x12);
    ldt[2] = LDT_WORD;
}

static uint64_t gate(const uint8_t *to) {
    return (at(to) & 0xffff) | CODE32 << 16 | 0x8eULL << 40 | (uint64_t)(at(to) >> 16) << 48;
}

static void make_idt(void) {
    for (uint32_t i = 0; i <= 0x40; i++)
        idt[i] = gate(on_other);
    idt[EXC_DB] = gate(on_db);
    idt[EXC_NP] = gate(on_np);
    idt[EXC_DF] = (uint64_t)TSS_DF << 16 | 0x85ULL << 40;
    idt[EXC_GP] = (uint64_t)TSS_GP << 16 | 0x85ULL << 40;
    idt[0x40] = (uint64_t)TSS_A << 16 | 0x85ULL << 40;
}

static void go(bool is_pae) {
    uint64_t cr4 = read_cr4();
    memset((void *)(uintptr_t)results, 0, sizeof(*results));
    memcpy((void *)(uintptr_t)LOW, tasks_begin, (size_t)(tasks_end - tasks_begin));
    map();
    make_tables(is_pae);
    make_idt();
    trip->cr3_long = (uint32_t)read_cr3();
    trip->cr3 = cr3_of(0, is_pae);
    trip->cr4 = (uint32_t)(is_pae ? CR4_PAE : CR4_PSE);
    trip->gdt_limit = GDT_SIZE - 1;
    trip->gdt_base = (uintptr_t)gdt;
    trip->idt_limit = 0x41 * 8 - 1;
    trip->idt_base = (uintptr_t)idt;
    ((void (*)(void))(uintptr_t)LOW)();
    write_cr4(cr4);
    write_dr7(0x400);
    write_dr6(0xffff0ff0);
}

static void check_tasks(void) {
    CHECK_EQ(results->unexpected, 0);
    for (uint32_t i = 0; i < WAYS_BACK; i++)
        CHECK_EQ(results->main_tr[i], TSS_MAIN);
    CHECK_EQ(results->kept, 0x11111111);
    CHECK(results->cr0 & CR0_TS);
    CHECK_EQ(results->a_tr, TSS_A);
    CHECK_EQ(results->a_flags & RFLAGS_NT, 0);
    CHECK_EQ(results->a_eax, 0xaaaa5555);
    CHECK_EQ(results->a_fs, LDT_DATA);
    CHECK_EQ(results->a_ldt, LDT);
    CHECK_EQ(results->ldt_word, LDT_WORD);
    CHECK_EQ(results->a_window, OTHER);
    CHECK_EQ(results->a_dr7, 0x400);
    CHECK_EQ(results->a_esp, 0x38800);
    CHECK(results->call_flags & RFLAGS_NT);
    CHECK_EQ(results->call_link & 0xffff, TSS_MAIN);
    CHECK(results->int_flags & RFLAGS_NT);
    CHECK_EQ(results->tr_16, TSS_16);
    CHECK_EQ(results->ax_16, 0x1616);
}

static void check_exceptions(void) {
    CHECK_EQ(results->gp_error, 0x1230);
    CHECK_EQ(results->gp_tr, TSS_GP);
    CHECK_EQ(results->gp_eip, at(bad_load));
    CHECK_EQ(results->np_error, ABSENT);
    CHECK_EQ(results->np_tr, TSS_BAD);
    CHECK(results->db_dr6 & BIT(15));
    CHECK_EQ(results->db_tr, TSS_TRAP);
    CHECK_EQ(results->df_error, 0);
    CHECK_EQ(results->df_tr, TSS_DF);
    CHECK_EQ(results->df_esp, 0xf0000000);
    CHECK_EQ(results->df_eip, at(bad_stack));
}

static void check_memory(void) {
    for (uint32_t selector = TSS_MAIN; selector <= TSS_TRAP; selector += 8)
        CHECK_EQ((gdt[selector / 8] & BUSY) != 0, selector == TSS_MAIN);
    CHECK(gdt[DATA / 8] & ACCESSED && gdt[CODE32 / 8] & ACCESSED && ldt[1] & ACCESSED);
    CHECK_EQ(tss_of(TSS_A)->ldt, LDT);
    CHECK_EQ(tss_of(TSS_A)->cs, CODE32);
    CHECK_EQ(tss_of(TSS_A)->link, TSS_MAIN);
}

void test(void) {
    for (int is_pae = 0; is_pae <= 1; is_pae++) {
        go(is_pae);
        check_tasks();
        check_exceptions();
        check_memory();
    }
}
