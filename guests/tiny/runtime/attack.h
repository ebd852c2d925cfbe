// SPDX-License-Identifier: Apache-2.0
// Attacks: code that does what it likes, in any ring and in 16, 32 or 64 bits, until it raises an
// exception or the watchdog's time is over; then the guest goes on as if nothing had been.
//
// For that the guest gets tables of its own: a GDT with segments of all sizes, an IDT whose every
// entry has a stack of its own, page tables in which only the window at ATTACK_BASE is for ring 3,
// and an NMI from the 8254 through the IOAPIC as its watchdog, which comes with interrupts off,
// too. After an attack in ring 0 all of it is set up again. While an attack runs, the devices of
// the GiB below 4 GiB are not mapped, so that none hits the watchdog's by chance.
#pragma once

#include "lib/types.h"

// Linear addresses. One page table maps the window: attack_entries[i] is its page i.
#define ATTACK_BASE    0x40000000ULL
#define ATTACK_CODE    0u  // pages of code ...
#define ATTACK_DATA    4u  // ... and of data, for ring 3, writable
#define ATTACK_PAGES   8u  // both
#define ATTACK_LAPIC   8u  // pages of devices, for ring 3, when attack_map_devices() was called
#define ATTACK_IOAPIC  9u  //
#define ATTACK_NOWHERE 10u // where the VM has no memory
#define ATTACK_END     (ATTACK_BASE + SIZE_2M)
#define ATTACK_PAGE(n) (ATTACK_BASE + (n)*PAGE_SIZE)

#define PTE_P    1ULL
#define PTE_RW   2ULL
#define PTE_US   4ULL
#define PTE_PS   BIT(7)
#define PTE_DATA (PTE_P | PTE_RW | PTE_US)

extern volatile uint64_t attack_entries[512];   // pages of the window
extern volatile uint64_t attack_directory[512]; // entry 0 is the window's table

enum attack_selector {
    ATTACK_CODE64 = 0x10,
    ATTACK_DATA0 = 0x18,
    ATTACK_CODE32 = 0x20,
    ATTACK_USER64 = 0x2b,
    ATTACK_USER_DATA = 0x33,
    ATTACK_TSS = 0x38,
    ATTACK_USER32 = 0x4b,
    ATTACK_USER16 = 0x53, // its base is ATTACK_BASE, as that of all 16-bit segments
    ATTACK_CODE16 = 0x58,
    ATTACK_USER_DATA16 = 0x63,
    ATTACK_FREE = 0x68, // eight entries for the attack's own use
    ATTACK_GDT_SIZE = 0xa8,
};

// What the code starts with. The order is the assembly's.
struct attack {
    uint64_t gpr[16]; // RAX RCX RDX RBX RSP RBP RSI RDI R8 to R15
    uint64_t rip, cs, rflags, ss;
};

struct attack_end {
    uint8_t vector; // EXC_NMI: the watchdog
    uint64_t error, rip, cs, cr2, rax;
};

extern volatile uint64_t attack_gdt[ATTACK_GDT_SIZE / 8];
extern uint8_t *const attack_memory; // the frames of ATTACK_PAGES pages, for the runtime to write

// From now on the runtime's own IDT (trap.h) is out of use. Needs 4 MiB of RAM.
void attack_init(void);
void attack_map_devices(void);
// Runs it, for at most `us` microseconds of the 8254.
struct attack_end attack_run(const struct attack *attack, uint32_t us);
// For code that cannot run on for long: other VMs may take the watchdog's time, and then it is
// tried again.
struct attack_end attack_certain(const struct attack *attack);
// As attack_run, for a few bytes of code, with a stack and all registers 0.
struct attack_end attack_code(uint16_t cs, const void *code, size_t size, uint32_t us);
