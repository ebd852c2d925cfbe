// SPDX-License-Identifier: Apache-2.0
// See arch/traps.h. Descriptor formats: SDM 3A 5.8.3.1 "Call and Code-Segment Descriptors in 64-bit
// Mode", 6.14.1 "64-Bit Mode IDT".
#include "arch/traps.h"

#include "arch/log.h"
#include "arch/mitigation.h"
#include "arch/split.h"
#include "include/abi.h"
#include "lib/string.h"

enum ist { IST_NMI = 1, IST_DF = 2, IST_MC = 3, IST_DB = 4 };

struct idt_gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "IDT gate");

struct __attribute__((packed)) table_register {
    uint16_t limit;
    uint64_t base;
};

#define GATE_INTERRUPT 0x8e // present, DPL 0, interrupt gate
#define GATE_BYTES     16u
#define GDT_CODE       0x00209b0000000000ULL // present, DPL 0, 64-bit code, accessed
#define GDT_DATA       0x0000930000000000ULL // present, DPL 0, data, accessed
#define GDT_DPL3       (3ULL << 45)
#define GDT_TSS        0x0000890000000000ULL // present, available 64-bit TSS
#define TSS_RSP        (offsetof(struct cpu_tables, tss) + offsetof(struct tss, rsp))
#define SYSEXIT_CODE64 32 // SYSEXIT's CS = SYSENTER_CS + 32, SS = + 40

_Static_assert(SELECTOR_USER_CODE == SELECTOR_KERNEL_CODE + SYSEXIT_CODE64, "SDM 2B SYSEXIT");
_Static_assert(SELECTOR_USER_DATA2 == SELECTOR_USER_CODE + 8, "SDM 2B SYSEXIT");
_Static_assert(ABI_CALL_PAGE == ABI_CALL_PAGE_ASM, "arch/traps.S says the same");

extern const uint8_t trap_entries[], trap_entries_split[];
extern const uint8_t entry_sysenter[], entry_sysenter_split[];
extern const uint8_t usercopy_move[], usercopy_fault[];
extern const uint8_t sysexit_whole[], idle_hlt[];
extern const uint8_t entry_syscall[], call_page_begin[], call_page_syscall[];
uint64_t usercopy(void *to, const void *from, size_t size);
void trap_dispatch(struct trap_frame *frame);

// On a page of its own, which ring 3's root has, too.
static struct idt_gate idt[PAGE_SIZE / sizeof(struct idt_gate)] __attribute__((aligned(PAGE_SIZE)));
_Static_assert(ARRAY_COUNT(idt) == 256, "each vector");

uint8_t traps_are_split, traps_empty_buffers; // for arch/traps.S

const void *traps_idt(void) {
    return idt;
}

void traps_init(void) {
    traps_are_split = mitigation.splits_tables;
    traps_empty_buffers = mitigation.empties_for_users;
    const uint8_t *entries = traps_are_split ? trap_entries_split : trap_entries;
    for (unsigned i = 0; i < ARRAY_COUNT(idt); i++) {
        uint64_t entry = (uint64_t)entries + (uint64_t)i * GATE_BYTES;
        idt[i] = (struct idt_gate){
            .offset_low = (uint16_t)entry,
            .selector = SELECTOR_KERNEL_CODE,
            .type = GATE_INTERRUPT,
            .offset_middle = (uint16_t)(entry >> 16),
            .offset_high = (uint32_t)(entry >> 32),
        };
    }
    idt[EXC_NMI].ist = IST_NMI;
    idt[EXC_DF].ist = IST_DF;
    idt[EXC_MC].ist = IST_MC;
    idt[EXC_DB].ist = IST_DB;
}

void descriptors_init(struct cpu *cpu, const uint64_t stacks[4]) {
    struct cpu_tables *tables =
        (struct cpu_tables *)(CPU_TABLES_BASE + cpu->slot * CPU_TABLES_SLOT);
    uint64_t base = (uint64_t)&tables->tss;
    uint64_t *gdt = tables->gdt;
    gdt[SELECTOR_KERNEL_CODE / 8] = GDT_CODE;
    gdt[SELECTOR_KERNEL_DATA / 8] = GDT_DATA;
    gdt[SELECTOR_USER_DATA / 8] = GDT_DATA | GDT_DPL3;
    gdt[SELECTOR_USER_CODE / 8] = GDT_CODE | GDT_DPL3;
    gdt[SELECTOR_USER_DATA2 / 8] = GDT_DATA | GDT_DPL3;
    gdt[SELECTOR_TSS / 8] =
        GDT_TSS | (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    cpu->tables = tables;
    cpu->tss = &tables->tss;
    cpu->stack =
        traps_are_split ? &tables->stack : (uint64_t *)(void *)((uint8_t *)tables + TSS_RSP);
    tables->tss.rsp[0] = (uint64_t)&tables->stacks[ENTRY_NORMAL].kernel_stack;
    for (unsigned i = 0; i < 4; i++) {
        struct cpu_entry_stack *entry = &tables->stacks[ENTRY_NMI + i];
        entry->kernel_stack = stacks[i];
        tables->tss.ist[i] = traps_are_split ? (uint64_t)&entry->kernel_stack : stacks[i];
    }
    tables->tss.iomap_base = sizeof(struct tss); // no port is open to ring 3
}

// APM 2 6.1.1 "SYSCALL and SYSRET": SYSRET's SS is behind the selector in STAR, and its CS behind
// that. In AMD's long mode there is no SYSENTER (APM 3 "SYSENTER").
static void load_syscall(const struct cpu *cpu) {
    const uint64_t sysret = SELECTOR_USER_CODE32 | 3, flags = UINT32_MAX & ~RFLAGS_ONE;
    x86_wrmsr(MSR_STAR, sysret << 48 | (uint64_t)SELECTOR_KERNEL_CODE << 32);
    x86_wrmsr(MSR_LSTAR, (uint64_t)entry_syscall);
    x86_wrmsr(MSR_SFMASK, flags); // all clear in the kernel
    x86_wrmsr(MSR_KERNEL_GS_BASE, (uint64_t)cpu->stack);
    x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | EFER_SCE);
}

const uint8_t *call_page_code(void) {
    return cpu_features.is_intel ? call_page_begin : call_page_syscall;
}

void descriptors_load(struct cpu *cpu) {
    struct cpu_tables *tables = cpu->tables;
    struct table_register gdtr = {sizeof(tables->gdt) - 1, (uint64_t)tables->gdt};
    struct table_register idtr = {sizeof(idt) - 1, (uint64_t)idt};
    // A busy TSS cannot be loaded, and this may run again after a panic's stop.
    tables->gdt[SELECTOR_TSS / 8] &= ~BIT(41);
    __asm__ volatile("lgdt %0\n\t"
                     "lidt %1\n\t"
                     "pushq %2\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "push %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "mov %3, %%eax\n\t"
                     "mov %%eax, %%ss\n\t"
                     "xor %%eax, %%eax\n\t"
                     "mov %%eax, %%ds\n\t"
                     "mov %%eax, %%es\n\t"
                     "mov %%eax, %%fs\n\t"
                     "mov %%eax, %%gs\n\t"
                     "lldt %%ax\n\t"
                     "mov %4, %%eax\n\t"
                     "ltr %%ax" ::"m"(gdtr),
                     "m"(idtr), "i"(SELECTOR_KERNEL_CODE), "i"(SELECTOR_KERNEL_DATA),
                     "i"(SELECTOR_TSS)
                     : "rax", "memory");
    if (mitigation.has_pcid)
        x86_write_cr4(x86_read_cr4() | CR4_PCIDE); // CR3's low bits are 0
    if (!cpu_features.is_intel) {
        load_syscall(cpu);
        return;
    }
    x86_wrmsr(MSR_SYSENTER_CS, SELECTOR_KERNEL_CODE);
    x86_wrmsr(MSR_SYSENTER_EIP,
              (uint64_t)(traps_are_split ? entry_sysenter_split : entry_sysenter));
    x86_wrmsr(MSR_SYSENTER_ESP, (uint64_t)cpu->stack);
}

static bool is_user_range(uint64_t address, uint64_t size) {
    return address >= PAGE_SIZE && !range_exceeds(address, size, ABI_USER_END);
}

static bool copy(void *to, const void *from, size_t size) {
    if (cpu_features.has_smap)
        x86_stac();
    bool is_done = usercopy(to, from, size) == 0;
    if (cpu_features.has_smap)
        x86_clac();
    return is_done;
}

bool user_read(void *to, uint64_t from, size_t size) {
    return is_user_range(from, size) && copy(to, (const void *)from, size);
}

bool user_write(uint64_t to, const void *from, size_t size) {
    return is_user_range(to, size) && copy((void *)to, from, size);
}

// A fault at usercopy_move is the caller's address; everything else in ring 0 is ours, but for #DB,
// which ring 3 provokes by SYSENTER with TF set (SDM 2B "SYSENTER" leaves TF as it is).
static void trap_kernel(struct trap_frame *frame) {
    bool is_entry =
        frame->rip == (uint64_t)entry_sysenter || frame->rip == (uint64_t)entry_sysenter_split;
    if (frame->vector == EXC_DB && is_entry) {
        frame->rflags &= ~RFLAGS_TF;
        return;
    }
    if (frame->vector == EXC_PF && frame->rip == (uint64_t)usercopy_move) {
        uint64_t address = x86_read_cr2();
        bool is_protection = (frame->error & PF_PRESENT) != 0 && (frame->error & PF_WRITE) == 0;
        if (!is_protection && is_user_range(address, 1) &&
            trap_user_page(address, (frame->error & PF_WRITE) != 0))
            return;
        frame->rip = (uint64_t)usercopy_fault;
        return;
    }
    trap_kernel_exception(frame);
}

// STI keeps interrupts away from the instruction behind it; the IRET of an NMI there ends that. An
// interrupt would then come before SYSEXIT, on the user's tables perhaps, where nobody looks for
// what it asked for. Or it would come before HLT, which sleeps on. So STI is done again. SDM 3A
// 6.8.3 "Masking Exceptions and Interrupts When Switching Stacks".
static void redo_sti(struct trap_frame *frame) {
    const uint8_t *const behind_sti[] = {sysexit_whole, sysexit_split_last, idle_hlt};
    for (unsigned i = 0; i < ARRAY_COUNT(behind_sti); i++) {
        if (frame->rip != (uint64_t)behind_sti[i])
            continue;
        frame->rip--; // STI is one byte
        frame->rflags &= ~RFLAGS_IF;
        return;
    }
}

// Whose fault it is, CS tells alone: the error code of a page fault names the supervisor where the
// processor read a descriptor for ring 3 (SDM 3A 4.7 "Page-Fault Exceptions").
void trap_dispatch(struct trap_frame *frame) {
    bool is_user = (frame->cs & 3) != 0;
    if (is_user && mitigation.clears_bhb)
        mitigation_clear_bhb();
    if (frame->vector == EXC_NMI || frame->vector == EXC_MC) {
        if (frame->vector == EXC_NMI)
            nmi_handle();
        else if (machine_check_handle(!is_user))
            x86_leave_stack((uint64_t)cpu_current()->current, machine_check_leave);
        if (!is_user)
            redo_sti(frame);
        return; // its stack is not a thread's: nothing else may happen here
    }
    if (frame->vector >= 32)
        interrupt_dispatch((uint8_t)frame->vector);
    else if (is_user && frame->vector != EXC_DF)
        trap_user_exception(frame);
    else
        trap_kernel(frame);
    if (is_user)
        trap_before_user();
}
