// SPDX-License-Identifier: Apache-2.0
// Random reads and writes of the own local APIC and the IOAPIC: their pages in all widths and at
// any offset, and with the word `x2apic` the registers as MSRs; interrupt commands of all modes to
// anybody, EOIs that nobody waits for, moments with interrupts on in between. The only thing left
// out is an INIT for the processor itself.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"

#define WINDOW_US 300u
#define MODE      0x700u // delivery mode, in ICR and in an IOAPIC's entry
#define MODE_INIT 0x500u
#define ICR_BITS  0xcffffu
#define SELECT    0x00u // of the IOAPIC
#define DATA      0x10u

static const uint8_t window[] = {0xfb, 0x90, 0x90, 0x0f, 0xa2, 0x90, 0x0f, 0x0b}; // STI, CPUID, UD2
static bool is_x2apic;
static uint32_t taken;

static uint64_t harmless(uint64_t value) {
    return (value & MODE) == MODE_INIT ? value & ~(uint64_t)MODE : value;
}

static void access(uint64_t address, uint32_t size, bool is_write, uint64_t value) {
    volatile void *at = (volatile void *)(uintptr_t)address;
    if (size == 1 && is_write)
        *(volatile uint8_t *)at = (uint8_t)value;
    else if (size == 1)
        (void)*(volatile uint8_t *)at;
    else if (size == 2 && is_write)
        *(volatile uint16_t *)at = (uint16_t)value;
    else if (size == 2)
        (void)*(volatile uint16_t *)at;
    else if (size == 4 && is_write)
        *(volatile uint32_t *)at = (uint32_t)value;
    else if (size == 4)
        (void)*(volatile uint32_t *)at;
    else if (is_write)
        *(volatile uint64_t *)at = value;
    else
        (void)*(volatile uint64_t *)at;
}

static void attack_page(uint64_t base) {
    uint32_t size = 1u << random_below(4);
    uint32_t offset = random_below(0x40) * 0x10;
    if (random_one_in(4))
        offset = random_below(PAGE_SIZE);
    access(base + offset, size, random_one_in(2), harmless(random_value()));
}

static void attack_ioapic(void) {
    if (random_one_in(2)) {
        attack_page(IOAPIC_BASE);
        return;
    }
    access(IOAPIC_BASE + SELECT, 4, true, random_one_in(8) ? random_value() : random_below(0x40));
    access(IOAPIC_BASE + DATA, 4, random_one_in(2), harmless(random_value()));
}

static uint32_t command(void) {
    return (uint32_t)harmless(random64() & ICR_BITS);
}

// Refused is what x2APIC mode refuses: that raises #GP, which ends the attack.
static void attack_msr(void) {
    static const uint8_t code[] = {0x0f, 0x30, 0x0f, 0x0b, 0x0f, 0x32, 0x0f, 0x0b};
    bool is_write = random_one_in(2);
    uint32_t msr = MSR_X2APIC + random_below(0x40);
    struct attack attack = {.cs = ATTACK_CODE64, .ss = ATTACK_DATA0, .rflags = RFLAGS_ONE};
    uint64_t value = msr == MSR_X2APIC + LAPIC_ICR / 16 ? command() : random_value();
    memcpy(attack_memory, code, sizeof(code));
    attack.rip = ATTACK_BASE + (is_write ? 0 : 4);
    attack.gpr[0] = (uint32_t)value;
    attack.gpr[1] = msr;
    attack.gpr[2] = random_one_in(2) ? 0 : random_value();
    uint8_t vector = attack_run(&attack, WINDOW_US).vector;
    CHECK(vector == EXC_UD || vector == EXC_GP || vector == EXC_NMI);
}

static void attack_once(void) {
    switch (random_below(4)) {
    case 0:
        if (!is_x2apic) // where reserved bits are #GP: attack_msr has it
            lapic_send(random_one_in(2) ? 0 : (uint32_t)random_value(), command());
        break;
    case 1:
        attack_ioapic();
        break;
    case 2:
        lapic_write(LAPIC_EOI, 0);
        break;
    default:
        if (is_x2apic)
            attack_msr();
        else
            attack_page(LAPIC_BASE);
        break;
    }
}

// A moment with interrupts on: whatever comes ends it, whatever its vector.
static void open_window(void) {
    struct attack_end end = attack_code(ATTACK_CODE64, window, sizeof(window), WINDOW_US);
    taken += end.vector != EXC_UD;
    if (end.vector >= EXC_COUNT)
        lapic_eoi();
}

void test(void) {
    hostile_init(4000);
    is_x2apic = cmdline_has("x2apic");
    attack_init();
    lapic_init(is_x2apic);
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        attack_once();
        if (round % 16 == 0)
            open_window();
        if (round % 256 == 0)
            lapic_init(is_x2apic);
    }
    print("%u interrupts taken\n", taken);
    lapic_init(is_x2apic);
    CHECK_EQ(lapic_read(LAPIC_ID), 0);
    CHECK_EQ(lapic_read(LAPIC_LVT_TIMER), LAPIC_LVT_MASKED);
}
