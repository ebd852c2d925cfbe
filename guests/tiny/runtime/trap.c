// SPDX-License-Identifier: Apache-2.0
// Descriptor tables and the common part of all traps; the interface is told in trap.h.
#include "runtime/trap.h"

#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"

extern uint8_t trap_entries[]; // 16 bytes each
extern uint64_t user_return_rsp;
_Noreturn void user_return(void);
void trap_handle(struct trap_frame *frame);

volatile struct trap trap_last;
volatile uint64_t trap_resume;
volatile uint32_t trap_count[256];
static trap_handler *handlers[256];

struct gate {
    uint64_t low, high;
};

#define GATE_INTERRUPT 0x8e00ULL // present, ring 0, 64-bit interrupt gate
#define GATE_PRESENT   BIT(47)
#define IST_DF         1u
#define TSS_AVAILABLE  0x0000890000000000ULL

#define GDT_ENTRIES 10u

static struct tss tss[SMP_CPUS_MAX];
static uint8_t stack_ring3[4096], stack_df[4096]; // for one processor at a time
static struct gate idt[256];

static uint64_t gdt[SMP_CPUS_MAX][GDT_ENTRIES];
static const uint64_t gdt_entries[GDT_ENTRIES] = {
    0,
    0,
    0x00af9b000000ffffULL, // 0x10 code
    0x00cf93000000ffffULL, // 0x18 data
    0,
    0x00affb000000ffffULL, // 0x28 user code
    0x00cff3000000ffffULL, // 0x30 user data
    0,                     // 0x38 TSS, two entries
    0,
    0x00cf13000000ffffULL, // 0x48 data, not present
};

static void make_gdt(uint64_t *table, struct tss *own) {
    uint64_t base = (uintptr_t)own;
    own->rsp[0] = (uintptr_t)stack_ring3 + sizeof(stack_ring3);
    own->ist[IST_DF - 1] = (uintptr_t)stack_df + sizeof(stack_df);
    own->io_map_base = sizeof(*own);
    memcpy(table, gdt_entries, sizeof(gdt_entries));
    table[SELECTOR_TSS / 8] =
        TSS_AVAILABLE | (sizeof(*own) - 1) | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    table[SELECTOR_TSS / 8 + 1] = base >> 32;
}

static void load_gdt(uint32_t index) {
    const struct table_pointer pointer = {sizeof(gdt_entries) - 1, (uintptr_t)gdt[index]};
    make_gdt(gdt[index], &tss[index]);
    __asm__ volatile("lgdt %0\n\t"
                     "pushq %1\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\tmovl %2, %%eax\n\t"
                     "movl %%eax, %%ss\n\t"
                     "movl %%eax, %%ds\n\t"
                     "movl %%eax, %%es\n\t"
                     "movw %3, %%ax\n\t"
                     "ltr %%ax"
                     :
                     : "m"(pointer), "i"(SELECTOR_CODE), "i"(SELECTOR_DATA), "i"(SELECTOR_TSS)
                     : "rax", "memory");
}

static void make_idt(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t entry = (uintptr_t)trap_entries + i * 16;
        uint64_t ist = i == EXC_DF ? IST_DF : 0;
        idt[i].low = (entry & 0xffff) | SELECTOR_CODE << 16 | ist << 32 | GATE_INTERRUPT << 32 |
                     (entry >> 16 & 0xffff) << 48;
        idt[i].high = entry >> 32;
    }
}

void trap_init_cpu(uint32_t index) {
    const struct table_pointer pointer = {sizeof(idt) - 1, (uintptr_t)idt};
    load_gdt(index);
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

void trap_init(void) {
    make_idt();
    trap_init_cpu(0);
}

void trap_set_handler(uint8_t vector, trap_handler *handler) {
    handlers[vector] = handler;
}

void trap_set_present(uint8_t vector, bool is_present) {
    idt[vector].low = (idt[vector].low & ~GATE_PRESENT) | (is_present ? GATE_PRESENT : 0);
}

#define STACK_WORDS 8u

#define IMAGE_BEGIN 0x100000u

static bool is_stack(uint64_t address) {
    return address >= IMAGE_BEGIN && address < low_ram_end();
}

static _Noreturn void unexpected(const struct trap_frame *frame) {
    print("FAIL unexpected vector %lu, error 0x%lx, at rip 0x%lx, cr2 0x%lx\n", frame->vector,
          frame->error, frame->rip, read_cr2());
    print("rsp 0x%lx:", frame->rsp);
    for (unsigned i = 0; i < STACK_WORDS && is_stack(frame->rsp + i * 8); i++)
        print(" %lx", ((const uint64_t *)(uintptr_t)frame->rsp)[i]);
    print("\n");
    debug_exit(1);
}

void trap_handle(struct trap_frame *frame) {
    bool is_exception = frame->vector < EXC_COUNT && frame->vector != EXC_NMI;
    bool is_user = (frame->cs & 3) != 0;
    __atomic_fetch_add(&trap_count[frame->vector], 1, __ATOMIC_SEQ_CST);
    if (is_exception && (trap_resume != 0 || is_user)) {
        trap_last.is_taken = true;
        trap_last.vector = (uint8_t)frame->vector;
        trap_last.error = (uint32_t)frame->error;
        trap_last.rip = frame->rip;
        trap_last.cr2 = read_cr2();
        if (is_user && user_return_rsp != 0)
            user_return();
        frame->rip = trap_resume;
        frame->rflags &= ~RFLAGS_TF;
    } else if (handlers[frame->vector] != NULL) {
        handlers[frame->vector](frame);
    } else {
        unexpected(frame);
    }
}

uint64_t try_rdmsr(uint32_t msr) {
    uint32_t low = 0, high = 0;
    __asm__ volatile(TRY("rdmsr") : "+a"(low), "+d"(high) : "c"(msr) : TRY_CLOBBERS);
    return (uint64_t)high << 32 | low;
}

void try_wrmsr(uint32_t msr, uint64_t value) {
    __asm__ volatile(TRY("wrmsr")
                     :
                     : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr)
                     : TRY_CLOBBERS);
}
