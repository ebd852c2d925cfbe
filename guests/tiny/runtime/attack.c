// SPDX-License-Identifier: Apache-2.0
// The interface is told in attack.h.
#include "runtime/attack.h"

#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define IOAPIC_PIT 2u     // the IOAPIC's input where ISA line 0 goes
#define IOAPIC_NMI 0x400u // delivery mode
#define NOWHERE    0xd0000000ULL
#define MMIO_GIB   3u // where IOAPIC and local APIC are

#define GATE    0x8e00ULL // present, ring 0, 64-bit interrupt gate
#define IST_ANY 1u
#define IST_NMI 2u
#define IST_DB  3u
#define TSS     0x0000890000000000ULL

#define CERTAIN_US    20000u
#define CERTAIN_TRIES 100u

#define LATE_MAX 50u // times that the watchdog finds an attack where only the runtime should be

#define DEBUG_OFF    0x400ULL
#define DR6_RESET    0xffff0ff0ULL
#define MSR_DEBUGCTL 0x1d9u

// As attack-entry.S pushes it.
struct attack_frame {
    uint64_t gpr[10]; // RAX is the last
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

#define ATTACK_FRAME_RAX 9

extern uint8_t attack_traps[], _start[], attack_text_end[];
void attack_enter(const struct attack *attack);
bool attack_trap(struct attack_frame *frame);

#define PAGE_ALIGNED __attribute__((aligned(4096)))
volatile uint64_t attack_entries[512] PAGE_ALIGNED;
volatile uint64_t attack_directory[512] PAGE_ALIGNED;
static volatile uint64_t root[512] PAGE_ALIGNED, pdpt[512] PAGE_ALIGNED;
static volatile uint64_t low_directory[512] PAGE_ALIGNED, low_entries[512] PAGE_ALIGNED;
static volatile uint64_t high_directory[512] PAGE_ALIGNED;
static uint8_t memory[ATTACK_PAGES * PAGE_SIZE] PAGE_ALIGNED;
uint8_t *const attack_memory = memory;

volatile uint64_t attack_gdt[ATTACK_GDT_SIZE / 8];
static struct tss tss;
static struct { uint64_t low, high; } idt[256];
static uint8_t stacks[3][4096];
static struct { uint64_t cr0, cr3, cr4, efer; } control;

static volatile bool is_running;
static volatile bool is_over; // the watchdog's time, before the attack has begun
static volatile uint32_t watchdog_us, late_count;
static struct attack_end end;

// ---- tables -------------------------------------------------------------------------------------

static void map_memory(void) {
    for (uint64_t i = 1; i < 512; i++) // nothing at 0: many a wild access goes there
        low_entries[i] = i << PAGE_SHIFT | PTE_P | PTE_RW;
    low_directory[0] = (uintptr_t)low_entries | PTE_P | PTE_RW;
    for (uint64_t i = 1; i < low_ram_end() / SIZE_2M; i++)
        low_directory[i] = i * SIZE_2M | PTE_PS | PTE_P | PTE_RW;
    for (uint64_t i = 0; i < 512; i++)
        high_directory[i] = (MMIO_GIB * SIZE_1G + i * SIZE_2M) | PTE_PS | PTE_P | PTE_RW;
    attack_directory[0] = (uintptr_t)attack_entries | PTE_DATA;
    pdpt[0] = (uintptr_t)low_directory | PTE_P | PTE_RW;
    pdpt[ATTACK_BASE / SIZE_1G] = (uintptr_t)attack_directory | PTE_DATA;
    pdpt[MMIO_GIB] = (uintptr_t)high_directory | PTE_P | PTE_RW;
    root[0] = (uintptr_t)pdpt | PTE_DATA;
    for (uint64_t i = 0; i < ATTACK_PAGES; i++)
        attack_entries[i] = ((uintptr_t)memory + i * PAGE_SIZE) | PTE_DATA;
}

void attack_map_devices(void) {
    attack_entries[ATTACK_LAPIC] = LAPIC_BASE | PTE_DATA;
    attack_entries[ATTACK_IOAPIC] = IOAPIC_BASE | PTE_DATA;
    attack_entries[ATTACK_NOWHERE] = NOWHERE | PTE_DATA;
}

static void fill_gdt(void) {
    const uint64_t base16 = (ATTACK_BASE & 0xffffff) << 16 | (ATTACK_BASE >> 24) << 56;
    uint64_t base = (uintptr_t)&tss;
    attack_gdt[ATTACK_CODE64 / 8] = 0x00af9b000000ffffULL;
    attack_gdt[ATTACK_DATA0 / 8] = 0x00cf93000000ffffULL;
    attack_gdt[ATTACK_CODE32 / 8] = 0x00cf9b000000ffffULL;
    attack_gdt[ATTACK_USER64 / 8] = 0x00affb000000ffffULL;
    attack_gdt[ATTACK_USER_DATA / 8] = 0x00cff3000000ffffULL;
    attack_gdt[ATTACK_USER32 / 8] = 0x00cffb000000ffffULL;
    attack_gdt[ATTACK_USER16 / 8] = 0x0000fb000000ffffULL | base16;
    attack_gdt[ATTACK_CODE16 / 8] = 0x00009b000000ffffULL | base16;
    attack_gdt[ATTACK_USER_DATA16 / 8] = 0x0000f3000000ffffULL | base16;
    attack_gdt[ATTACK_TSS / 8] =
        TSS | (sizeof(tss) - 1) | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    attack_gdt[ATTACK_TSS / 8 + 1] = base >> 32;
    tss.rsp[0] = (uintptr_t)stacks[0] + sizeof(stacks[0]);
    tss.ist[IST_ANY - 1] = (uintptr_t)stacks[0] + sizeof(stacks[0]);
    tss.ist[IST_NMI - 1] = (uintptr_t)stacks[1] + sizeof(stacks[1]);
    tss.ist[IST_DB - 1] = (uintptr_t)stacks[2] + sizeof(stacks[2]);
    tss.io_map_base = sizeof(tss);
}

static void fill_idt(void) {
    for (unsigned i = 0; i < 256; i++) {
        uint64_t entry = (uintptr_t)attack_traps + i * 16;
        uint64_t ist = i == EXC_NMI ? IST_NMI : i == EXC_DB ? IST_DB : IST_ANY;
        idt[i].low = (entry & 0xffff) | (uint64_t)ATTACK_CODE64 << 16 | ist << 32 | GATE << 32 |
                     (entry >> 16 & 0xffff) << 48;
        idt[i].high = entry >> 32;
    }
}

static void load_tables(void) {
    const struct table_pointer gdtr = {sizeof(attack_gdt) - 1, (uintptr_t)attack_gdt};
    const struct table_pointer idtr = {sizeof(idt) - 1, (uintptr_t)idt};
    fill_gdt(); // the processor marks the TSS as busy
    __asm__ volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr));
    __asm__ volatile("ltr %w0; lldt %w1" : : "r"(ATTACK_TSS), "r"(0));
}

// ---- the watchdog -------------------------------------------------------------------------------

static void start_watchdog(void) {
    ioapic_write(IOAPIC_ENTRY(IOAPIC_PIT) + 1, 0);
    ioapic_write(IOAPIC_ENTRY(IOAPIC_PIT), IOAPIC_NMI);
    pit_start(0, (uint16_t)(PIT_HZ * watchdog_us / 1000000));
}

// Ring 0 shall not meet the watchdog's own devices by chance.
static void show_devices(bool is_shown) {
    pdpt[MMIO_GIB] = is_shown ? (uintptr_t)high_directory | PTE_P | PTE_RW : 0;
    write_cr3(control.cr3);
}

// ---- from the traps -----------------------------------------------------------------------------

// What an attack in ring 0 may have changed and what comes next relies on.
static void restore_control(void) {
    __asm__ volatile("mov %0, %%dr7" : : "r"(DEBUG_OFF));
    __asm__ volatile("mov %0, %%dr6" : : "r"(DR6_RESET));
    wrmsr(MSR_EFER, control.efer);
    write_cr4(control.cr4);
    write_cr0(control.cr0);
    write_cr3(control.cr3);
    write_cr8(0);
    wrmsr(MSR_DEBUGCTL, 0);
}

// The runtime was interrupted, not the attack. By an NMI that is late, or early: the watchdog's
// time was over while other VMs ran. By #DB, since DR7 is still the attack's. So may SS be: a trap
// from ring 0, where SYSCALL leads with an SS that is in no GDT, keeps it. IRET would refuse it.
static bool resume(struct attack_frame *frame) {
    frame->ss = ATTACK_DATA0;
    if (frame->vector == EXC_NMI && is_running) {
        show_devices(true);
        start_watchdog();
        show_devices(false);
    } else if (frame->vector == EXC_DB) {
        __asm__ volatile("mov %0, %%dr7" : : "r"(DEBUG_OFF));
    } else if (frame->vector == EXC_NMI) {
        is_over = true;
    } else {
        print("unexpected vector %lu, error 0x%lx, at rip 0x%lx, cr2 0x%lx\n", frame->vector,
              frame->error, frame->rip, read_cr2());
        debug_exit(1);
    }
    return false;
}

static bool is_in_runtime(const struct attack_frame *frame) {
    return frame->cs == ATTACK_CODE64 && frame->rip >= (uintptr_t)_start &&
           frame->rip < (uintptr_t)attack_text_end;
}

// Wild code may have jumped into the runtime, and never leave it.
static bool is_lost(const struct attack_frame *frame) {
    return frame->vector == EXC_NMI && ++late_count > LATE_MAX;
}

bool attack_trap(struct attack_frame *frame) {
    if (!is_running || (is_in_runtime(frame) && !is_lost(frame)))
        return resume(frame);
    is_running = false;
    end.vector = (uint8_t)frame->vector;
    end.error = frame->error;
    end.rip = frame->rip;
    end.cs = frame->cs;
    end.cr2 = read_cr2();
    end.rax = frame->gpr[ATTACK_FRAME_RAX];
    restore_control();
    show_devices(true);
    return true;
}

// ---- attacks ------------------------------------------------------------------------------------

void attack_init(void) {
    map_memory();
    fill_idt();
    lapic_init(false);
    pic_init();
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE | EFER_SCE);
    control.cr0 = read_cr0() | CR0_WP | CR0_MP;
    control.cr3 = (uintptr_t)root;
    control.cr4 = read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT;
    control.efer = rdmsr(MSR_EFER);
    restore_control();
    load_tables();
}

struct attack_end attack_run(const struct attack *attack, uint32_t us) {
    if ((attack->cs & 3) == 0)
        load_tables();
    watchdog_us = us;
    late_count = 0;
    do {
        is_running = is_over = false;
        show_devices(true);
        start_watchdog();
        show_devices(false);
        is_running = true; // from here on resume starts it again
    } while (is_over);
    attack_enter(attack);
    return end;
}

struct attack_end attack_certain(const struct attack *attack) {
    struct attack_end last;
    for (uint32_t i = 0; i < CERTAIN_TRIES; i++) {
        last = attack_run(attack, CERTAIN_US);
        if (last.vector != EXC_NMI)
            break;
    }
    return last;
}

struct attack_end attack_code(uint16_t cs, const void *code, size_t size, uint32_t us) {
    bool is_16bit = cs == ATTACK_USER16 || cs == ATTACK_CODE16;
    struct attack attack = {.rip = is_16bit ? 0 : ATTACK_BASE, .cs = cs, .rflags = RFLAGS_ONE};
    memcpy(memory, code, size);
    attack.ss = (cs & 3) == 0 ? ATTACK_DATA0 : is_16bit ? ATTACK_USER_DATA16 : ATTACK_USER_DATA;
    attack.gpr[4] = is_16bit ? PAGE_SIZE * ATTACK_PAGES - 64 : ATTACK_PAGE(ATTACK_PAGES) - 64;
    return attack_run(&attack, us);
}
