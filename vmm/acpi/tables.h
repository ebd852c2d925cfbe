// SPDX-License-Identifier: Apache-2.0
// Layouts of the ACPI tables that acpi.c builds, names as in the specification. Source: ACPI 6.5,
// section 5.2; WAET: "Windows ACPI Emulated Devices Table" (Microsoft, 2009).
#pragma once

#include <assert.h>
#include <stdint.h>

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum; // of the first 20 bytes
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt_address;
    uint32_t length;
    uint64_t xsdt_address;
    uint8_t extended_checksum;
    uint8_t reserved[3];
} __attribute__((packed));
static_assert(sizeof(struct acpi_rsdp) == 36, "5.2.5.3 Root System Description Pointer Structure");

struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} __attribute__((packed));
static_assert(sizeof(struct acpi_header) == 36, "5.2.6 System Description Table Header");

struct acpi_gas {
    uint8_t address_space_id;
    uint8_t register_bit_width;
    uint8_t register_bit_offset;
    uint8_t access_size;
    uint64_t address;
} __attribute__((packed));
static_assert(sizeof(struct acpi_gas) == 12, "5.2.3.2 Generic Address Structure");

struct acpi_fadt {
    struct acpi_header header;
    uint32_t firmware_ctrl;
    uint32_t dsdt;
    uint8_t reserved1;
    uint8_t preferred_pm_profile;
    uint16_t sci_int;
    uint32_t smi_cmd;
    uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
    uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk;
    uint32_t gpe0_blk, gpe1_blk;
    uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len;
    uint8_t gpe1_base, cst_cnt;
    uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
    uint16_t iapc_boot_arch;
    uint8_t reserved2;
    uint32_t flags;
    struct acpi_gas reset_reg;
    uint8_t reset_value;
    uint16_t arm_boot_arch;
    uint8_t minor_version;
    uint64_t x_firmware_ctrl, x_dsdt;
    struct acpi_gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk;
    struct acpi_gas x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk, sleep_control_reg, sleep_status_reg;
    char hypervisor_vendor[8];
} __attribute__((packed));
static_assert(sizeof(struct acpi_fadt) == 276, "5.2.9 Fixed ACPI Description Table");

struct acpi_facs {
    char signature[4];
    uint32_t length;
    uint32_t hardware_signature;
    uint32_t firmware_waking_vector;
    uint32_t global_lock;
    uint32_t flags;
    uint64_t x_firmware_waking_vector;
    uint8_t version;
    uint8_t reserved1[3];
    uint32_t ospm_flags;
    uint8_t reserved2[24];
} __attribute__((packed));
static_assert(sizeof(struct acpi_facs) == 64, "5.2.10 Firmware ACPI Control Structure");

struct acpi_madt {
    struct acpi_header header;
    uint32_t local_apic_address;
    uint32_t flags;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt) == 44, "5.2.12 Multiple APIC Description Table");

struct acpi_madt_local_apic {
    uint8_t type, length;
    uint8_t processor_uid, apic_id;
    uint32_t flags;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_local_apic) == 8, "5.2.12.2 Processor Local APIC Structure");

struct acpi_madt_io_apic {
    uint8_t type, length;
    uint8_t io_apic_id, reserved;
    uint32_t address;
    uint32_t gsi_base;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_io_apic) == 12, "5.2.12.3 I/O APIC Structure");

struct acpi_madt_override {
    uint8_t type, length;
    uint8_t bus, source;
    uint32_t gsi;
    uint16_t flags;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_override) == 10, "5.2.12.5 Interrupt Source Override");

struct acpi_madt_nmi {
    uint8_t type, length;
    uint8_t processor_uid;
    uint16_t flags;
    uint8_t lint;
} __attribute__((packed));
static_assert(sizeof(struct acpi_madt_nmi) == 6, "5.2.12.7 Local APIC NMI Structure");

struct acpi_waet {
    struct acpi_header header;
    uint32_t flags;
} __attribute__((packed));
static_assert(sizeof(struct acpi_waet) == 40, "Windows ACPI Emulated Devices Table");
