// SPDX-License-Identifier: Apache-2.0
// What a PC's firmware leaves: an enabled local APIC with LINT0 open for the 8259, masked 8259s,
// the clock of 18.2 Hz, the BIOS data area, SMBIOS and the MP table, in a ROM that nobody can write
// and that is seen below 4 GiB, too.
#include "lib/string.h"
#include "runtime/acpi.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define ROM       0xf0000ULL
#define ROM_ALIAS 0xffff0000ULL
#define ROM_SIZE  0x10000u
#define LINT1     0x360u

#define PIT_CONTROL     0x43
#define READ_STATUS_0   0xe2u // read-back: the status of counter 0
#define STATUS_MODE     0x3eu // access and mode
#define BIOS_MODE       0x36u // both bytes, mode 3
#define TICK_VECTOR     0x50
#define TICK_INPUT      2u
#define ROM_TEST_OFFSET 0x8000u

static const uint8_t *rom(uint64_t offset) {
    return (const uint8_t *)(uintptr_t)(ROM + offset);
}

static uint16_t word(uint64_t address) {
    return *(volatile uint16_t *)(uintptr_t)address;
}

// ---- devices ------------------------------------------------------------------------------------

static void on_tick(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

static void check_devices(void) {
    CHECK_EQ(lapic_read(LAPIC_SVR), LAPIC_SVR_ENABLE | 0xff);
    CHECK_EQ(lapic_read(LAPIC_LVT_LINT0), LAPIC_LVT_EXTINT);
    CHECK_EQ(lapic_read(LINT1), LAPIC_ICR_NMI);
    CHECK_EQ(in8(0x21), 0xff);
    CHECK_EQ(in8(0xa1), 0xff);
    CHECK_EQ(in8(0x4d1), 0x0e);
    out8(PIT_CONTROL, READ_STATUS_0);
    CHECK_EQ(in8(0x40) & STATUS_MODE, BIOS_MODE);
}

// Nobody starts it: it runs already, and is heard as soon as somebody listens.
static void check_clock(void) {
    trap_set_handler(TICK_VECTOR, on_tick);
    ioapic_route(TICK_INPUT, TICK_VECTOR);
    interrupts_on();
    CHECK(wait_for(&trap_count[TICK_VECTOR], 2, PATIENCE_S));
    interrupts_off();
    ioapic_write(IOAPIC_ENTRY(TICK_INPUT), IOAPIC_MASKED);
}

static void check_data_area(void) {
    CHECK_EQ(word(0x400), 0x3f8);
    CHECK_EQ(word(0x40e), 0x9fc0);
    CHECK_EQ(word(0x413), 639);
    CHECK_EQ(word(0x9fc00) & 0xff, 1);
}

// ---- the ROM ------------------------------------------------------------------------------------

// An address that the compiler knows nothing of.
static volatile uint32_t *hidden(uint64_t address) {
    volatile uint32_t *at;
    __asm__("" : "=r"(at) : "0"(address));
    return at;
}

static void check_rom(void) {
    volatile uint32_t *at = hidden(ROM + ROM_TEST_OFFSET);
    uint64_t to = ROM + ROM_TEST_OFFSET;
    uint32_t before = *at;
    uint32_t one = 1;
    *at = ~before;
    CHECK_EQ(*at, before);
    __asm__ volatile("lock xaddl %0, (%1)" : "+r"(one) : "r"(at) : "memory");
    CHECK_EQ(one, before);
    CHECK_EQ(*at, before);
    *hidden(ROM_ALIAS + ROM_TEST_OFFSET) = ~before;
    __asm__ volatile("insb" : "+D"(to) : "d"(0x71) : "memory");
    CHECK_EQ(to, ROM + ROM_TEST_OFFSET + 1);
    CHECK_EQ(*at, before);
    CHECK(memcmp(rom(0), (const void *)(uintptr_t)ROM_ALIAS, ROM_SIZE) == 0);
    CHECK_EQ(*rom(0xfffe), 0xfc);
}

// ---- tables -------------------------------------------------------------------------------------

static const uint8_t *find(const char *signature) {
    for (uint32_t offset = 0; offset < ROM_SIZE; offset += 16)
        if (memcmp(rom(offset), signature, 4) == 0)
            return rom(offset);
    return NULL;
}

// The next structure: behind the strings, which end with two NULs.
static const uint8_t *smbios_next(const uint8_t *at) {
    at += at[1];
    while (at[0] != 0 || at[1] != 0)
        at++;
    return at + 2;
}

static void check_smbios(void) {
    const uint8_t *entry = find("_SM_");
    uint32_t count = 0, memory_m = 0;
    CHECK(entry != NULL && acpi_sum_is_right(entry, entry[5]));
    if (entry == NULL)
        return;
    CHECK(memcmp(entry + 16, "_DMI_", 5) == 0 && acpi_sum_is_right(entry + 16, 15));
    const uint8_t *begin = (const uint8_t *)(uintptr_t)acpi_field(entry, 24, 4), *at = begin;
    for (;; at = smbios_next(at)) {
        count++;
        if (at[0] == 1)
            CHECK(memcmp(at + at[1], "Bulkhead", 9) == 0);
        if (at[0] == 17)
            memory_m += (uint32_t)acpi_field(at, 12, 2);
        if (at[0] == 127 || count > 100)
            break;
    }
    CHECK_EQ(count, acpi_field(entry, 28, 2));
    CHECK_EQ(smbios_next(at) - begin, acpi_field(entry, 22, 2));
    CHECK_EQ((uint64_t)memory_m << 20, low_ram_end());
}

static void check_mp_table(void) {
    const uint8_t *floating = find("_MP_");
    uint32_t processors = 0, ioapics = 0, timer_input = 0, extints = 0;
    CHECK(floating != NULL && acpi_sum_is_right(floating, 16));
    if (floating == NULL)
        return;
    const uint8_t *table = (const uint8_t *)(uintptr_t)acpi_field(floating, 4, 4);
    CHECK(memcmp(table, "PCMP", 4) == 0);
    CHECK(acpi_sum_is_right(table, (uint32_t)acpi_field(table, 4, 2)));
    CHECK_EQ(acpi_field(table, 36, 4), LAPIC_BASE);
    const uint8_t *at = table + 44;
    for (uint32_t left = (uint32_t)acpi_field(table, 34, 2); left > 0; left--) {
        if (at[0] == 0)
            CHECK_EQ(at[1], processors++);
        if (at[0] == 2 && acpi_field(at, 4, 4) == IOAPIC_BASE)
            ioapics++;
        if (at[0] == 3 && at[1] == 0 && at[4] == 1 && at[5] == 0)
            timer_input = at[7];
        if (at[0] == 4 && at[1] == 3 && at[7] == 0)
            extints++;
        at += at[0] == 0 ? 20 : 8;
    }
    CHECK(at == table + acpi_field(table, 4, 2));
    CHECK_EQ(processors, 1);
    CHECK_EQ(ioapics, 1);
    CHECK_EQ(timer_input, TICK_INPUT);
    CHECK_EQ(extints, 1);
}

void test(void) {
    check_devices();
    check_clock();
    check_data_area();
    check_rom();
    check_smbios();
    check_mp_table();
}
