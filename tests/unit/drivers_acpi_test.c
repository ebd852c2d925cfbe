// SPDX-License-Identifier: Apache-2.0
// drivers/acpi_tables: what is taken from good tables, and that bad ones do no harm. The fake
// memory hands out exact copies, so that the sanitizer sees a read of one byte too many.
#define acpi_parse acpi_test_parse
#include "drivers/acpi_tables.c"

#include <criterion/criterion.h>
#include <stdlib.h>

#define MEMORY_SIZE 16384u
#define COPIES_MAX  4096u
#define RSDP_AT     0x100u
#define RSDT_AT     0x200u
#define XSDT_AT     0x400u
#define MADT_AT     0x800u
#define FADT_AT     0x2000u
#define DSDT_AT     0x2400u
#define SSDT_AT     0x2800u

static uint8_t memory[MEMORY_SIZE];
static void *copies[COPIES_MAX];
static uint32_t copy_count;
static struct acpi_info acpi;

static const void *acpi_test_map(hpa_t base, uint64_t size) {
    if (range_exceeds(base.v, size, MEMORY_SIZE) || copy_count == COPIES_MAX)
        return NULL;
    void *copy = malloc(size);
    memcpy(copy, memory + base.v, size);
    copies[copy_count++] = copy;
    return copy;
}

static bool acpi_test_run(uint64_t rsdp) {
    bool is_present = acpi_test_parse((hpa_t){rsdp}, acpi_test_map, &acpi);
    while (copy_count > 0)
        free(copies[--copy_count]);
    return is_present;
}

static void put(uint32_t at, uint64_t value, uint32_t width) {
    memcpy(memory + at, &value, width);
}

static void fix_sum(uint32_t at, uint32_t size, uint32_t sum_at) {
    uint8_t sum = 0;
    memory[at + sum_at] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[at + sum_at] = (uint8_t)-sum;
}

static void put_table(uint32_t at, const char *signature, uint32_t size) {
    memcpy(memory + at, signature, 4);
    put(at + 4, size, 4);
    fix_sum(at, size, 9);
}

static uint32_t table_size(uint32_t at) {
    uint32_t size;
    memcpy(&size, memory + at + 4, sizeof(size));
    return size;
}

static void refresh(uint32_t at) {
    fix_sum(at, table_size(at), 9);
}

static void add_entry(const uint8_t *bytes, uint32_t size) {
    uint32_t used = table_size(MADT_AT);
    memcpy(memory + MADT_AT + used, bytes, size);
    put_table(MADT_AT, "APIC", used + size);
}
#define ADD_ENTRY(...)                                                                             \
    add_entry((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put_dsdt(uint32_t at, const char *signature, const void *aml, uint32_t size) {
    memcpy(memory + at + 36, aml, size);
    put_table(at, signature, 36 + size);
}
#define PUT_AML(at, signature, aml) put_dsdt(at, signature, aml, sizeof(aml) - 1)

static void put_rsdp(uint32_t revision) {
    memcpy(memory + RSDP_AT, "RSD PTR ", 8);
    put(RSDP_AT + 15, revision, 1);
    put(RSDP_AT + 16, RSDT_AT, 4);
    put(RSDP_AT + 20, 36, 4);
    put(RSDP_AT + 24, XSDT_AT, 8);
    fix_sum(RSDP_AT, 20, 8);
    fix_sum(RSDP_AT, 36, 32);
}

static void acpi_test_setup(void) {
    memset(memory, 0, sizeof(memory));
    put_rsdp(2);
    for (uint32_t i = 0; i < 3; i++) {
        static const uint32_t table[] = {MADT_AT, FADT_AT, SSDT_AT};
        put(RSDT_AT + 36 + 4 * i, table[i], 4);
        put(XSDT_AT + 36 + 8 * i, table[i], 8);
    }
    put_table(RSDT_AT, "RSDT", 36 + 12);
    put_table(XSDT_AT, "XSDT", 36 + 24);
    put(MADT_AT + 36, 0xfee00000, 4);
    put_table(MADT_AT, "APIC", 44);
    put(FADT_AT + FADT_SMI_CMD, 0xb2, 4);
    put(FADT_AT + FADT_ACPI_ENABLE, 0xf1, 1);
    put(FADT_AT + FADT_DSDT, DSDT_AT, 4);
    put(FADT_AT + FADT_PM1A_CNT, 0xb004, 4);
    put(FADT_AT + FADT_PM_TMR, 0xb008, 4);
    put(FADT_AT + FADT_CENTURY, 0x32, 1);
    put(FADT_AT + FADT_FLAGS, FADT_RESET_SUP | FADT_TMR_VAL_EXT, 4);
    put(FADT_AT + FADT_RESET_REG, GAS_SPACE_IO, 1);
    put(FADT_AT + FADT_RESET_REG + GAS_ADDRESS, 0xcf9, 8);
    put(FADT_AT + FADT_RESET_VALUE, 6, 1);
    put_table(FADT_AT, "FACP", 276);
    PUT_AML(DSDT_AT, "DSDT", "\x10\x05xx\x08_S5_\x12\x08\x04\x0a\x05\x0a\x07\x00\x00yy");
    PUT_AML(SSDT_AT, "SSDT", "nothing");
}

TestSuite(drivers_acpi, .init = acpi_test_setup);

Test(drivers_acpi, no_root_gives_the_fallbacks) {
    cr_assert_not(acpi_test_run(0));
    cr_assert_not(acpi.is_present);
    cr_assert_eq(acpi.ioapic_count, 1);
    cr_assert_eq(acpi.ioapic[0].address.v, 0xfec00000);
    cr_assert_eq(acpi.lapic_address.v, 0xfee00000);
    for (uint32_t i = 0; i < ACPI_ISA_IRQS; i++)
        cr_assert_eq(acpi.isa_irq[i].gsi, i);
    cr_assert_eq(acpi.cpu_count, 0);
    memory[RSDP_AT] ^= 1;
    cr_assert_not(acpi_test_run(RSDP_AT));
    cr_assert_not(acpi_test_run(MEMORY_SIZE - 4));
}

Test(drivers_acpi, fadt_gives_ports) {
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.damaged_count, 0);
    cr_assert_eq(acpi.pm_timer_port, 0xb008);
    cr_assert(acpi.pm_timer_is_32bit);
    cr_assert_eq(acpi.pm1a_control_port, 0xb004);
    cr_assert_eq(acpi.pm1b_control_port, 0);
    cr_assert_eq(acpi.smi_command_port, 0xb2);
    cr_assert_eq(acpi.acpi_enable_value, 0xf1);
    cr_assert_eq(acpi.reset_port, 0xcf9);
    cr_assert_eq(acpi.reset_value, 6);
    cr_assert_eq(acpi.rtc_century_index, 0x32);
}

Test(drivers_acpi, fadt_extended_fields_fill_in) {
    put(FADT_AT + FADT_PM_TMR, 0, 4);
    put(FADT_AT + FADT_X_PM_TMR, GAS_SPACE_IO, 1);
    put(FADT_AT + FADT_X_PM_TMR + GAS_ADDRESS, 0x408, 8);
    put(FADT_AT + FADT_X_PM1B_CNT, 0, 1); // in memory: not for us
    put(FADT_AT + FADT_X_PM1B_CNT + GAS_ADDRESS, 0x404, 8);
    refresh(FADT_AT);
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.pm_timer_port, 0x408);
    cr_assert_eq(acpi.pm1b_control_port, 0);
}

Test(drivers_acpi, old_fadt_ends_before_reset_register) {
    put_table(FADT_AT, "FACP", 116);
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.reset_port, 0);
    cr_assert_eq(acpi.pm_timer_port, 0xb008);
    cr_assert(acpi.has_s5);
}

Test(drivers_acpi, reset_register_in_memory_is_not_taken) {
    put(FADT_AT + FADT_RESET_REG, 0, 1);
    refresh(FADT_AT);
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.reset_port, 0);
}

Test(drivers_acpi, rsdp_1_uses_rsdt) {
    put_rsdp(0);
    memory[XSDT_AT] ^= 1; // must not matter
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.pm_timer_port, 0xb008);
    cr_assert_eq(acpi.damaged_count, 0);
}

Test(drivers_acpi, damaged_xsdt_falls_back_to_rsdt) {
    memory[XSDT_AT + 20] ^= 1;
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.pm_timer_port, 0xb008);
    cr_assert_eq(acpi.damaged_count, 1);
}

Test(drivers_acpi, damaged_table_is_ignored_and_counted) {
    memory[FADT_AT + FADT_PM_TMR] ^= 1;
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.pm_timer_port, 0);
    cr_assert_not(acpi.has_s5);
    cr_assert_eq(acpi.damaged_count, 1);
}

Test(drivers_acpi, madt_gives_enabled_cpus_once) {
    ADD_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
    ADD_ENTRY(0, 8, 1, 2, 0, 0, 0, 0); // disabled
    ADD_ENTRY(0, 8, 2, 4, 3, 0, 0, 0);
    ADD_ENTRY(9, 16, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0); // the same CPU again
    ADD_ENTRY(9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0);
    ADD_ENTRY(0, 7, 3, 9, 1, 0, 0); // too short
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.cpu_count, 3);
    cr_assert_eq(acpi.cpu_apic_id[0], 0);
    cr_assert_eq(acpi.cpu_apic_id[1], 4);
    cr_assert_eq(acpi.cpu_apic_id[2], 256);
}

Test(drivers_acpi, madt_counts_cpus_beyond_the_array) {
    for (uint32_t id = 0; id < ACPI_CPUS_MAX + 5; id++)
        ADD_ENTRY(9, 16, 0, 0, (uint8_t)id, (uint8_t)(id >> 8), 0, 0, 1, 0, 0, 0, 0, 0, 0, 0);
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.cpu_count, ACPI_CPUS_MAX);
    cr_assert_eq(acpi.cpu_ignored_count, 5);
}

Test(drivers_acpi, madt_gives_ioapics_and_overrides) {
    ADD_ENTRY(1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);
    ADD_ENTRY(1, 12, 3, 0, 0, 0x10, 0xc0, 0xfe, 24, 0, 0, 0);
    ADD_ENTRY(2, 10, 0, 0, 2, 0, 0, 0, 0, 0);
    ADD_ENTRY(2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0);
    ADD_ENTRY(2, 10, 0, 16, 1, 0, 0, 0, 0, 0); // no such ISA interrupt
    ADD_ENTRY(2, 10, 1, 4, 1, 0, 0, 0, 0, 0);  // no such bus
    ADD_ENTRY(5, 12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0);
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.ioapic_count, 2);
    cr_assert_eq(acpi.ioapic[1].address.v, 0xfec01000);
    cr_assert_eq(acpi.ioapic[1].id, 3);
    cr_assert_eq(acpi.ioapic[1].gsi_base, 24);
    cr_assert_eq(acpi.isa_irq[0].gsi, 2);
    cr_assert_not(acpi.isa_irq[0].is_level);
    cr_assert_eq(acpi.isa_irq[9].gsi, 20);
    cr_assert(acpi.isa_irq[9].is_level);
    cr_assert(acpi.isa_irq[9].is_active_low);
    cr_assert_eq(acpi.isa_irq[4].gsi, 4);
    cr_assert_eq(acpi.lapic_address.v, 0x100000000);
}

Test(drivers_acpi, madt_stops_at_an_entry_without_size) {
    ADD_ENTRY(0, 8, 0, 7, 1, 0, 0, 0);
    ADD_ENTRY(0, 0, 0, 8, 1, 0, 0, 0);
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.cpu_count, 1);
}

static void expect_s5(bool has_s5, uint8_t a, uint8_t b) {
    cr_assert(acpi_test_run(RSDP_AT));
    cr_assert_eq(acpi.has_s5, has_s5);
    cr_assert_eq(acpi.s5_type_a, a);
    cr_assert_eq(acpi.s5_type_b, b);
}

Test(drivers_acpi, s5_forms_are_read) {
    expect_s5(true, 5, 7);
    PUT_AML(DSDT_AT, "DSDT", "x\x08\\_S5_\x12\x06\x04\x00\x01\x00\x00");
    expect_s5(true, 0, 1);
    PUT_AML(DSDT_AT, "DSDT", "x\x08_S5_\x12\x4c\x00\x02\x0b\x06\x00\x0c\x05\x00\x00\x00");
    expect_s5(true, 6, 5);
    PUT_AML(DSDT_AT, "DSDT", "x\x08_S5_\x12\x03\x01\x01");
    expect_s5(true, 1, 0);
    // A mere reference before the definition.
    PUT_AML(DSDT_AT, "DSDT", "x\x70_S5_`\x08_S5_\x12\x06\x02\x0a\x03\x0a\x03");
    expect_s5(true, 3, 3);
}

Test(drivers_acpi, s5_in_ssdt_is_found) {
    PUT_AML(DSDT_AT, "DSDT", "nothing");
    PUT_AML(SSDT_AT, "SSDT", "x\x08_S5_\x12\x06\x04\x0a\x02\x0a\x02");
    expect_s5(true, 2, 2);
}

Test(drivers_acpi, s5_broken_is_not_read) {
    static const struct {
        const char *aml;
        uint32_t size;
    } broken[] = {
        {"\x08_S5_", 5},
        {"x\x08_S5_\x12", 7},
        {"x\x08_S5_\x12\xc6", 8},
        {"_S5_", 4},
        {"x\x08_S5_\x12\x06\x04", 9},
        {"x\x08_S5_\x12\x06\x04\x0a", 10},
        {"\\_S5_", 5},
        {"x\x08_S5_\x11\x06\x04\x0a\x05\x00", 12},
        {"x\x08_S5_\x12\x06\x00\x0a\x05", 11},
        {"x\x08_S5_\x12\x06\x02\x0a\x05\x0d\x05", 13},
        {"x\x08_S5_\x12\x06\x02\x0a\x05\x0c\x05\x00\x00", 15},
    };
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++) {
        put_dsdt(DSDT_AT, "DSDT", broken[i].aml, broken[i].size);
        expect_s5(false, 0, 0);
    }
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

// A few bytes, anywhere in the tables, with good and bad checksums.
static void mutate(uint32_t *state) {
    static const uint32_t table[] = {RSDT_AT, XSDT_AT, MADT_AT, FADT_AT, DSDT_AT, SSDT_AT};
    static const uint8_t nasty[] = {0, 1, 0x7f, 0x80, 0xff};
    for (uint32_t count = next_random(state) % 6 + 1; count > 0; count--) {
        uint32_t at = table[next_random(state) % ARRAY_COUNT(table)];
        uint32_t offset = next_random(state) % 320;
        memory[at + offset] = next_random(state) % 2 == 0 ? nasty[next_random(state) % 5]
                                                          : (uint8_t)next_random(state);
    }
    if (next_random(state) % 16 == 0)
        memory[RSDP_AT + next_random(state) % 36] ^= (uint8_t)next_random(state);
    for (size_t i = 0; next_random(state) % 8 != 0 && i < ARRAY_COUNT(table); i++)
        if (table_size(table[i]) >= 36 && table_size(table[i]) < 0x1000)
            refresh(table[i]);
}

Test(drivers_acpi, hostile_tables_do_no_harm) {
    uint32_t state = 1;
    for (uint32_t round = 0; round < 20000; round++) {
        acpi_test_setup();
        ADD_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
        ADD_ENTRY(1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);
        ADD_ENTRY(2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0);
        ADD_ENTRY(9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0);
        mutate(&state);
        acpi_test_run(RSDP_AT);
        cr_assert_leq(acpi.cpu_count, ACPI_CPUS_MAX);
        cr_assert_leq(acpi.ioapic_count, ACPI_IOAPICS_MAX);
        cr_assert_leq(acpi.s5_type_a, 7);
        cr_assert_leq(acpi.s5_type_b, 7);
    }
}
