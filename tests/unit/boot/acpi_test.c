// SPDX-License-Identifier: Apache-2.0
// boot/boot_acpi: what is taken from good tables, in all the shapes that machines are known to have
// them, and that bad ones do no harm.
#include "tests/unit/boot/acpi_tables.h"

TestSuite(boot_acpi, .init = setup);

Test(boot_acpi, no_root_gives_the_fallbacks) {
    cr_assert_not(run_parser(0));
    cr_assert_eq(info.ioapic_count, 1);
    cr_assert_eq(info.ioapic[0].address, 0xfec00000);
    for (uint32_t i = 0; i < BOOT_ISA_IRQS; i++)
        cr_assert_eq(info.platform->isa_irq[i].gsi, i);
    cr_assert_eq(info.cpu_count, 0);
    memory[RSDP_AT] ^= 1;
    cr_assert_not(run_parser(RSDP_AT));
    cr_assert_not(run_parser(MEMORY_SIZE - 4));
}

Test(boot_acpi, fadt_gives_ports) {
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.damaged_count, 0);
    cr_assert_eq(found.pm_timer_port, 0xb008);
    cr_assert(found.pm_timer_is_32bit);
    cr_assert_eq(info.power.pm1_control[0], 0xb004);
    cr_assert_eq(info.power.pm1_control[1], 0);
    cr_assert_eq(found.smi_command, 0xb2);
    cr_assert_eq(found.acpi_enable, 0xf1);
    cr_assert(found.event[0].port == 0xb000 && found.event[0].size == 4);
    cr_assert(found.event[1].port == 0, "there is no PM1b");
    cr_assert(found.event[2].port == 0xafe0 && found.event[2].size == 8);
    cr_assert_eq(found.event[3].port, 0);
    cr_assert_eq(info.power.reset_port, 0xcf9);
    cr_assert_eq(info.power.reset_value, 6);
}

Test(boot_acpi, fadt_extended_fields_fill_in) {
    put(FADT_AT + FADT_PM_TMR, 0, 4);
    put(FADT_AT + FADT_X_PM_TMR, BOOT_SPACE_IO, 1);
    put(FADT_AT + FADT_X_PM_TMR + GAS_ADDRESS, 0x408, 8);
    put(FADT_AT + FADT_X_PM1B_CNT, 0, 1); // in memory: not for us
    put(FADT_AT + FADT_X_PM1B_CNT + GAS_ADDRESS, 0x404, 8);
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.pm_timer_port, 0x408);
    cr_assert_eq(info.power.pm1_control[1], 0);
}

Test(boot_acpi, old_fadt_ends_before_reset_register) {
    put_table(FADT_AT, "FACP", 116);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.power.reset_port, 0);
    cr_assert_eq(found.pm_timer_port, 0xb008);
    cr_assert(info.power.has_s5);
}

Test(boot_acpi, reset_register_is_a_port_or_none) {
    put(FADT_AT + FADT_RESET_REG, BOOT_SPACE_MEMORY, 1);
    put(FADT_AT + FADT_RESET_REG + 1, 8, 1);
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert(info.power.reset_port == 0 && info.power.reset_value == 0, "memory: not for us");
    put(FADT_AT + FADT_RESET_REG, BOOT_SPACE_IO, 1);
    put(FADT_AT + FADT_RESET_REG + GAS_ADDRESS, 0x10cf9, 8); // no port
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.power.reset_port, 0);
    put(FADT_AT + FADT_RESET_REG + GAS_ADDRESS, 0xcf9, 8);
    put(FADT_AT + FADT_FLAGS, TMR_VAL_EXT, 4); // not to be used
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.power.reset_port, 0);
}

// What the generic address says holds, where it is a port and not zero.
Test(boot_acpi, fadt_extended_ports_go_before_old_ones) {
    put(FADT_AT + FADT_X_PM1A_CNT, BOOT_SPACE_IO, 1);
    put(FADT_AT + FADT_X_PM1A_CNT + GAS_ADDRESS, 0x1804, 8);
    put(FADT_AT + FADT_X_PM_TMR, BOOT_SPACE_IO, 1); // address 0
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.power.pm1_control[0], 0x1804);
    cr_assert_eq(found.pm_timer_port, 0xb008);
    put(FADT_AT + FADT_X_PM1A_CNT + GAS_ADDRESS, 0x11804, 8);
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.power.pm1_control[0], 0xb004);
}

Test(boot_acpi, fadt_hardware_reduced_has_a_sleep_register_only) {
    put(FADT_AT + FADT_FLAGS, HW_REDUCED | RESET_SUP, 4);
    put(FADT_AT + FADT_SLEEP, BOOT_SPACE_IO, 1);
    put(FADT_AT + FADT_SLEEP + 1, 8, 1);
    put(FADT_AT + FADT_SLEEP + 3, 1, 1);
    put(FADT_AT + FADT_SLEEP + GAS_ADDRESS, 0x414, 8);
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->sleep_control.address, 0x414);
    cr_assert_eq(info.platform->sleep_control.access_size, 1);
    cr_assert_eq(info.power.pm1_control[0], 0);
    cr_assert_eq(found.smi_command, 0);
    cr_assert_eq(found.pm_timer_port, 0);
    cr_assert_eq(info.power.reset_port, 0xcf9);
    cr_assert(info.power.has_s5);
}

Test(boot_acpi, fadt_extended_dsdt_goes_first) {
    PUT_AML(SSDT_AT, "DSDT", "x\x08_S5_\x12\x06\x02\x0a\x02\x0a\x01");
    put(FADT_AT + FADT_X_DSDT, SSDT_AT, 8);
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.power.s5_type[0], 2 << 10);
}

Test(boot_acpi, rsdp_1_uses_rsdt) {
    put_rsdp(0);
    memory[XSDT_AT] ^= 1; // must not matter
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.pm_timer_port, 0xb008);
    cr_assert_eq(found.damaged_count, 0);
}

Test(boot_acpi, damaged_xsdt_falls_back_to_rsdt) {
    memory[XSDT_AT + 20] ^= 1;
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.pm_timer_port, 0xb008);
    cr_assert_eq(found.damaged_count, 1);
}

Test(boot_acpi, lists_without_entries_tell_nothing) {
    put_table(XSDT_AT, "XSDT", 36);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.damaged_count, 0);
    cr_assert_eq(info.cpu_count, 0);
    cr_assert_eq(info.ioapic_count, 1);
    setup();
    for (uint32_t i = 0; i < ARRAY_COUNT(tables); i++)
        put(XSDT_AT + 36 + 8 * i, i % 2 == 0 ? 0 : UINT64_MAX, 8); // nowhere
    refresh(XSDT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.damaged_count, 0);
}

Test(boot_acpi, second_of_two_tables_stands_in_for_a_damaged_one) {
    put_table(DMAR_AT, "APIC", 44); // of the same name, behind it
    ADD_ENTRY(0, 8, 0, 1, 1, 0, 0, 0);
    APPEND(DMAR_AT, 0, 8, 0, 2, 1, 0, 0, 0);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.cpu[0].apic_id, 1);
    memory[MADT_AT + 10] ^= 1;
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.damaged_count, 1);
    cr_assert_eq(info.cpu[0].apic_id, 2);
}

Test(boot_acpi, damaged_table_is_ignored_and_counted) {
    memory[FADT_AT + FADT_PM_TMR] ^= 1;
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.pm_timer_port, 0);
    cr_assert_not(info.power.has_s5);
    cr_assert_eq(found.damaged_count, 1);
}

Test(boot_acpi, madt_gives_enabled_cpus_once) {
    ADD_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
    ADD_ENTRY(0, 8, 1, 2, 0, 0, 0, 0); // disabled
    ADD_ENTRY(0, 8, 2, 4, 3, 0, 0, 0);
    ADD_ENTRY(9, 16, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0); // the same CPU again
    ADD_ENTRY(9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0);
    ADD_ENTRY(0, 7, 3, 9, 1, 0, 0);          // too short
    ADD_ENTRY(1, 8, 2, 0, 0, 0, 0xd0, 0xfe); // likewise, an I/O APIC
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.cpu_count, 3);
    cr_assert_eq(info.ioapic_count, 0);
    cr_assert_eq(info.cpu[0].apic_id, 0);
    cr_assert_eq(info.cpu[1].apic_id, 4);
    cr_assert_eq(info.cpu[2].apic_id, 256);
}

Test(boot_acpi, madt_sorts_cpus) {
    ADD_ENTRY(0, 8, 0, 6, 1, 0, 0, 0);
    add_x2apic(0x10000, 1);
    ADD_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
    add_x2apic(0x100, 1);
    ADD_ENTRY(0, 8, 0, 2, 1, 0, 0, 0);
    cr_assert(run_parser(RSDP_AT));
    static const uint32_t sorted[] = {0, 2, 6, 0x100, 0x10000};
    cr_assert_eq(info.cpu_count, ARRAY_COUNT(sorted));
    for (uint32_t i = 0; i < ARRAY_COUNT(sorted); i++) {
        cr_assert_eq(info.cpu[i].apic_id, sorted[i]);
        cr_assert_eq(info.cpu[i].node, BOOT_NODE_NONE);
    }
}

// One that may come later is none, nor is what means everybody.
Test(boot_acpi, madt_takes_only_enabled_processors) {
    add_x2apic(7, 2); // online capable
    add_x2apic(8, 0);
    add_x2apic(UINT32_MAX, 1);
    ADD_ENTRY(0, 8, 0, 0xff, 1, 0, 0, 0);
    add_x2apic(0xff, 1);
    add_x2apic(UINT32_MAX - 1, 3);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.cpu_count, 2);
    cr_assert_eq(info.cpu[0].apic_id, 0xff);
    cr_assert_eq(info.cpu[1].apic_id, UINT32_MAX - 1);
}

Test(boot_acpi, madt_leaves_off_cpus_beyond_the_array) {
    for (uint32_t id = 0; id < BOOT_CPUS_MAX + 5; id++)
        add_x2apic(2 * (BOOT_CPUS_MAX + 4 - id), 1); // from the highest down
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.cpu_count, BOOT_CPUS_MAX);
    cr_assert_eq(found.cpus_left, 5);
    for (uint32_t i = 0; i < BOOT_CPUS_MAX; i++)
        cr_assert_eq(info.cpu[i].apic_id, 2 * i);
}

Test(boot_acpi, madt_leaves_off_ioapics_beyond_the_array) {
    for (uint32_t i = 0; i < BOOT_IOAPICS_MAX + 3; i++)
        ADD_ENTRY(1, 12, (uint8_t)i, 0, (uint8_t)i, 0x10, 0xc0, 0xfe, (uint8_t)i, 0, 0, 0);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.ioapic_count, BOOT_IOAPICS_MAX);
    cr_assert_eq(found.ioapics_left, 3);
}

Test(boot_acpi, madt_sorts_ioapics_and_takes_each_once) {
    ADD_ENTRY(1, 12, 9, 0, 0, 0x10, 0xc0, 0xfe, 72, 0, 0, 0);
    ADD_ENTRY(1, 12, 8, 0, 0, 0x00, 0xc0, 0xfe, 0, 0, 0, 0);
    ADD_ENTRY(1, 12, 7, 0, 0, 0x00, 0xc0, 0xfe, 24, 0, 0, 0); // the same again
    ADD_ENTRY(1, 12, 6, 0, 0, 0, 0, 0, 24, 0, 0, 0);          // nowhere
    ADD_ENTRY(1, 12, 5, 0, 0, 0x20, 0xc0, 0xfe, 48, 0, 0, 0);
    cr_assert(run_parser(RSDP_AT));
    static const struct boot_ioapic sorted[] = {
        {0xfec00000, 8, 0}, {0xfec02000, 5, 48}, {0xfec01000, 9, 72}};
    cr_assert_eq(info.ioapic_count, ARRAY_COUNT(sorted));
    cr_assert_arr_eq(info.ioapic, sorted, sizeof(sorted));
}

Test(boot_acpi, madt_gives_ioapics_and_overrides) {
    ADD_ENTRY(1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);
    ADD_ENTRY(1, 12, 3, 0, 0, 0x10, 0xc0, 0xfe, 24, 0, 0, 0);
    ADD_ENTRY(2, 10, 0, 0, 2, 0, 0, 0, 0, 0);
    ADD_ENTRY(2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0);
    ADD_ENTRY(2, 10, 0, 16, 1, 0, 0, 0, 0, 0); // no such ISA interrupt
    ADD_ENTRY(2, 10, 1, 4, 1, 0, 0, 0, 0, 0);  // no such bus
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.ioapic_count, 2);
    cr_assert_eq(info.ioapic[1].address, 0xfec01000);
    cr_assert_eq(info.ioapic[1].id, 3);
    cr_assert_eq(info.ioapic[1].gsi_base, 24);
    cr_assert_eq(info.platform->isa_irq[0].gsi, 2);
    cr_assert_not(info.platform->isa_irq[0].is_level);
    cr_assert_eq(info.platform->isa_irq[9].gsi, 20);
    cr_assert(info.platform->isa_irq[9].is_level);
    cr_assert(info.platform->isa_irq[9].is_active_low);
    cr_assert_eq(info.platform->isa_irq[4].gsi, 4);
}

Test(boot_acpi, madt_without_entries_has_no_ioapic) {
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.ioapic_count, 0);
}

Test(boot_acpi, madt_stops_at_an_entry_without_size) {
    ADD_ENTRY(0, 8, 0, 7, 1, 0, 0, 0);
    ADD_ENTRY(0, 0, 0, 8, 1, 0, 0, 0);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.cpu_count, 1);
}

static void expect_s5(bool has_s5, uint8_t a, uint8_t b) {
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.power.has_s5, has_s5);
    cr_assert_eq(info.power.s5_type[0], a << 10);
    cr_assert_eq(info.power.s5_type[1], b << 10);
}

Test(boot_acpi, s5_forms_are_read) {
    expect_s5(true, 5, 7);
    PUT_AML(DSDT_AT, "DSDT", "x\x08\\_S5_\x12\x06\x04\x00\x01\x00\x00");
    expect_s5(true, 0, 1);
    PUT_AML(DSDT_AT, "DSDT", "x\x08_S5_\x12\x4c\x00\x02\x0b\x06\x00\x0c\x05\x00\x00\x00");
    expect_s5(true, 6, 5);
    PUT_AML(DSDT_AT, "DSDT", "x\x08_S5_\x12\x03\x01\x01");
    expect_s5(true, 1, 0);
    PUT_AML(DSDT_AT, "DSDT", "x\x08_S5_\x12\x0b\x02\x0e\x03\0\0\0\0\0\0\0\xff");
    expect_s5(true, 3, 7);
    PUT_AML(DSDT_AT, "DSDT", "x\x08_S5_\x13\x09\x0a\x04\x0a\x07\x0a\x06\x00\x00");
    expect_s5(true, 7, 6);
    PUT_AML(DSDT_AT, "DSDT", "x\x08\\_S5_\x12\xc9\x00\x00\x00\x02\x0a\x05\x01");
    expect_s5(true, 5, 1);
    // A mere reference before the definition.
    PUT_AML(DSDT_AT, "DSDT", "x\x70_S5_`\x08_S5_\x12\x06\x02\x0a\x03\x0a\x03");
    expect_s5(true, 3, 3);
}

Test(boot_acpi, s5_in_ssdt_is_found) {
    PUT_AML(DSDT_AT, "DSDT", "nothing");
    PUT_AML(SSDT_AT, "SSDT", "x\x08_S5_\x12\x06\x04\x0a\x02\x0a\x02");
    expect_s5(true, 2, 2);
}

Test(boot_acpi, s5_broken_is_not_read) {
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
        {"x\x08_S5_\x11\x07\x0a\x02\x0a\x05\x0a\x05", 14}, // a buffer
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
    static const uint32_t table[] = {RSDT_AT, XSDT_AT, MADT_AT, FADT_AT, DSDT_AT, SSDT_AT, SRAT_AT,
                                     SLIT_AT, SPCR_AT, DBG2_AT, MCFG_AT, HPET_AT, DMAR_AT};
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

Test(boot_acpi, hostile_tables_do_no_harm) {
    uint32_t state = 1;
    for (uint32_t round = 0; round < 20000; round++) {
        setup();
        ADD_ENTRY(0, 8, 0, 0, 1, 0, 0, 0);
        ADD_ENTRY(1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0);
        ADD_ENTRY(2, 10, 0, 9, 20, 0, 0, 0, 0x0f, 0);
        add_x2apic(256, 1);
        start_srat(2);
        add_node_cpu(0, 7, 1);
        add_node_x2apic(256, 1, 1);
        add_node_memory(0, 0x1000, 1, 1);
        put(SLIT_AT + 36, 2, 8);
        put_table(SLIT_AT, "SLIT", 48);
        put_gas(SPCR_AT + 40, BOOT_SPACE_IO, 8, 0, 0x2f8);
        put_spcr(2);
        start_dbg2();
        add_dbg2(0x8000, 0, BOOT_SPACE_IO, 8, 0x3e8);
        put_table(MCFG_AT, "MCFG", 44);
        add_mcfg(0xe0000000, 0, 0, 0x7f);
        put_table(HPET_AT, "HPET", 56);
        put_table(DMAR_AT, "DMAR", 48);
        mutate(&state);
        run_parser(RSDP_AT);
        cr_assert_leq(info.cpu_count, BOOT_CPUS_MAX);
        cr_assert_leq(info.ioapic_count, BOOT_IOAPICS_MAX);
        cr_assert_leq(info.platform->console_count, BOOT_CONSOLES_MAX);
        cr_assert_leq(info.platform->ecam_count, BOOT_ECAMS_MAX);
        cr_assert_leq(info.platform->node_count, BOOT_NODES_MAX);
        cr_assert_eq(found.no_button == NULL, platform.start.button.pm1a_event != 0);
        cr_assert_leq(platform.start.button.pm1a_event + platform.start.button.size, 0x10000);
        cr_assert_leq(platform.start.button.pm1b_event + platform.start.button.size, 0x10000);
        cr_assert_eq((info.power.s5_type[0] | info.power.s5_type[1]) & ~0x1c00, 0);
        for (uint32_t i = 0; i < info.cpu_count; i++)
            cr_assert(i == 0 || info.cpu[i].apic_id > info.cpu[i - 1].apic_id);
    }
}
