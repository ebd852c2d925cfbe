// SPDX-License-Identifier: Apache-2.0
// boot/boot_acpi_devices: consoles, PCI segments, HPET and IOMMUs.
#include "tests/unit/boot/acpi_tables.h"

TestSuite(boot_acpi_devices, .init = setup);

Test(boot_acpi_devices, spcr_names_a_port) {
    ADD_ENTRY(2, 10, 0, 3, 19, 0, 0, 0, 0, 0);
    put_gas(SPCR_AT + 40, BOOT_SPACE_IO, 8, 0, 0x2f8);
    put(SPCR_AT + 52, 1, 1); // 8259
    put(SPCR_AT + 53, 3, 1);
    put(SPCR_AT + 58, 7, 1);
    put_spcr(2);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, 1);
    cr_assert_eq(info.platform->console[0].base.address, 0x2f8);
    cr_assert_eq(info.platform->console[0].base.space, BOOT_SPACE_IO);
    cr_assert_eq(info.platform->console[0].type, 0);
    cr_assert_eq(info.platform->console[0].baud, 115200);
    cr_assert(info.platform->console[0].has_interrupt);
    cr_assert_eq(info.platform->console[0].gsi, 19);
    put(SPCR_AT + 52, 3, 1); // an I/O APIC's, too: that holds
    put(SPCR_AT + 54, 40, 4);
    put_spcr(2);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console[0].gsi, 40);
    put(SPCR_AT + 52, 1, 1);
    put(SPCR_AT + 53, 16, 1); // no such interrupt
    put_spcr(2);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_not(info.platform->console[0].has_interrupt);
}

Test(boot_acpi_devices, spcr_names_memory_with_wide_registers) {
    put_gas(SPCR_AT + 40, BOOT_SPACE_MEMORY, 32, 3, 0xfedc9000);
    put(SPCR_AT + 36, 18, 1);
    put_spcr(2);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, 1);
    cr_assert_eq(info.platform->console[0].base.address, 0xfedc9000);
    cr_assert_eq(info.platform->console[0].base.bits, 32);
    cr_assert_eq(info.platform->console[0].base.access_size, 3);
    cr_assert_eq(info.platform->console[0].type, 18);
    cr_assert_eq(info.platform->console[0].baud, 0);
    cr_assert_not(info.platform->console[0].has_interrupt);
}

Test(boot_acpi_devices, spcr_without_a_port_is_none) {
    put_spcr(1);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, 0);
}

Test(boot_acpi_devices, dbg2_names_serial_lines_behind_spcr) {
    put_gas(SPCR_AT + 40, BOOT_SPACE_IO, 8, 0, 0x2f8);
    put_spcr(2);
    start_dbg2();
    add_dbg2(0x8000, 0, BOOT_SPACE_IO, 8, 0x2f8);            // SPCR's
    add_dbg2(0x8003, 0, BOOT_SPACE_MEMORY, 32, 0xfe000000);  // a network card
    add_dbg2(0x8000, 18, BOOT_SPACE_MEMORY, 32, 0xfe030000); // 32-bit registers
    add_dbg2(0x8000, 0, BOOT_SPACE_IO, 8, 0x3e8);
    add_dbg2(0x8000, 0, BOOT_SPACE_IO, 8, 0x3f8);
    add_dbg2(0x8000, 0, BOOT_SPACE_IO, 8, 0x2e8); // one too many
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, BOOT_CONSOLES_MAX);
    cr_assert_eq(found.consoles_left, 1);
    cr_assert_eq(info.platform->console[0].base.address, 0x2f8);
    cr_assert_eq(info.platform->console[1].base.address, 0xfe030000);
    cr_assert_eq(info.platform->console[1].base.bits, 32);
    cr_assert_eq(info.platform->console[1].base.access_size, 3);
    cr_assert_eq(info.platform->console[1].type, 18);
    cr_assert_eq(info.platform->console[2].base.address, 0x3e8);
}

Test(boot_acpi_devices, dbg2_that_lies_is_not_followed) {
    start_dbg2();
    add_dbg2(0x8000, 0, BOOT_SPACE_IO, 8, 0x3e8);
    put(DBG2_AT + 40, UINT32_MAX, 4); // devices
    refresh(DBG2_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, 1);
    add_dbg2(0x8000, 0, BOOT_SPACE_IO, 8, 0x2e8);
    put(DBG2_AT + 40, 1, 4);
    refresh(DBG2_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, 1); // the second is none of them
    put(DBG2_AT + 44 + 18, 200, 2);                // its register is elsewhere
    refresh(DBG2_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, 0);
    put(DBG2_AT + 36, UINT32_MAX - 1, 4);
    refresh(DBG2_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->console_count, 0);
}

Test(boot_acpi_devices, mcfg_gives_segments_in_order) {
    put_table(MCFG_AT, "MCFG", 44);
    add_mcfg(0x3ffc0000000, 1, 0, 0xff);
    add_mcfg(0xe8000000, 0, 0x80, 0xff);
    add_mcfg(0xe0000000, 0, 0, 0x7f);
    add_mcfg(0, 2, 0, 0xff);
    add_mcfg(0xd0000000, 3, 1, 0);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->ecam_count, 3);
    cr_assert_eq(info.platform->ecam[0].base, 0xe0000000);
    cr_assert_eq(info.platform->ecam[0].last_bus, 0x7f);
    cr_assert_eq(info.platform->ecam[1].first_bus, 0x80);
    cr_assert_eq(info.platform->ecam[2].segment, 1);
    for (uint16_t i = 0; i < BOOT_ECAMS_MAX; i++)
        add_mcfg(0xc0000000, (uint16_t)(i + 9), 0, 1);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->ecam_count, BOOT_ECAMS_MAX);
    cr_assert_eq(found.ecams_left, 3);
}

Test(boot_acpi_devices, hpet_and_iommus_are_located) {
    put_gas(HPET_AT + 40, BOOT_SPACE_MEMORY, 0, 0, 0xfed00000);
    put_table(HPET_AT, "HPET", 56);
    put_table(DMAR_AT, "DMAR", 48);
    put_table(IVRS_AT, "IVRS", 50);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->hpet, 0xfed00000);
    cr_assert_eq(found.dmar.address, DMAR_AT);
    cr_assert_eq(found.dmar.size, 48);
    cr_assert_eq(found.ivrs.address, IVRS_AT);
    memory[DMAR_AT + 40] ^= 1;
    put(HPET_AT + 40, BOOT_SPACE_IO, 1);
    refresh(HPET_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.dmar.address, 0);
    cr_assert_eq(found.damaged_count, 1);
    cr_assert_eq(info.platform->hpet, 0);
}
