// SPDX-License-Identifier: Apache-2.0
// Good ACPI tables, one of each kind, on the machine of acpi_support.h, and what is added to them.
#pragma once

#include "tests/unit/boot/acpi_support.h"

#define MADT_AT 0x800u
#define FADT_AT 0x6000u
#define DSDT_AT 0x6400u
#define SSDT_AT 0x6800u
#define SRAT_AT 0x6c00u
#define SLIT_AT 0xb000u
#define SPCR_AT 0xc000u
#define DBG2_AT 0xc100u
#define MCFG_AT 0xc400u
#define HPET_AT 0xd000u
#define DMAR_AT 0xd100u
#define IVRS_AT 0xd200u

// ACPI 6.5 table 5.9 "FADT Format"
#define FADT_DSDT        40u
#define FADT_SMI_CMD     48u
#define FADT_ACPI_ENABLE 52u
#define FADT_PM1A_EVT    56u
#define FADT_GPE0        80u
#define FADT_PM1_EVT_LEN 88u
#define FADT_GPE0_LEN    92u
#define FADT_PM1A_CNT    64u
#define FADT_PM1B_CNT    68u
#define FADT_PM_TMR      76u
#define FADT_FLAGS       112u
#define FADT_RESET_REG   116u
#define FADT_RESET_VALUE 128u
#define FADT_X_DSDT      140u
#define FADT_X_PM1A_CNT  172u
#define FADT_X_PM1B_CNT  184u
#define FADT_X_PM_TMR    208u
#define FADT_SLEEP       244u
#define TMR_VAL_EXT      (1u << 8)
#define RESET_SUP        (1u << 10)
#define HW_REDUCED       (1u << 20)
#define GAS_ADDRESS      4u

static const uint32_t tables[] = {MADT_AT, FADT_AT, SSDT_AT, SRAT_AT, SLIT_AT, SPCR_AT,
                                  DBG2_AT, MCFG_AT, HPET_AT, DMAR_AT, IVRS_AT};

#define ADD_ENTRY(...) APPEND(MADT_AT, __VA_ARGS__)

static inline void put_dsdt(uint32_t at, const char *signature, const void *aml, uint32_t size) {
    memcpy(memory + at + 36, aml, size);
    put_table(at, signature, 36 + size);
}
#define PUT_AML(at, signature, aml) put_dsdt(at, signature, aml, sizeof(aml) - 1)

static inline void setup(void) {
    memset(memory, 0, sizeof(memory));
    put_root(tables, ARRAY_COUNT(tables));
    put(MADT_AT + 36, 0xfee00000, 4);
    put_table(MADT_AT, "APIC", 44);
    put(FADT_AT + FADT_SMI_CMD, 0xb2, 4);
    put(FADT_AT + FADT_ACPI_ENABLE, 0xf1, 1);
    put(FADT_AT + FADT_PM1A_EVT, 0xb000, 4);
    put(FADT_AT + FADT_PM1_EVT_LEN, 4, 1);
    put(FADT_AT + FADT_GPE0, 0xafe0, 4);
    put(FADT_AT + FADT_GPE0_LEN, 8, 1);
    put(FADT_AT + FADT_DSDT, DSDT_AT, 4);
    put(FADT_AT + FADT_PM1A_CNT, 0xb004, 4);
    put(FADT_AT + FADT_PM_TMR, 0xb008, 4);
    put(FADT_AT + FADT_FLAGS, RESET_SUP | TMR_VAL_EXT, 4);
    put(FADT_AT + FADT_RESET_REG, BOOT_SPACE_IO, 1);
    put(FADT_AT + FADT_RESET_REG + GAS_ADDRESS, 0xcf9, 8);
    put(FADT_AT + FADT_RESET_VALUE, 6, 1);
    put_table(FADT_AT, "FACP", 276);
    PUT_AML(DSDT_AT, "DSDT", "\x10\x05xx\x08_S5_\x12\x08\x04\x0a\x05\x0a\x07\x00\x00yy");
    PUT_AML(SSDT_AT, "SSDT", "nothing");
}

static inline void add_x2apic(uint32_t id, uint32_t flags) {
    const uint32_t entry[4] = {9 | 16 << 8, id, flags, 0};
    append(MADT_AT, entry, sizeof(entry));
}

// SRAT entries; `domain` is cut to what the entry has room for.
static inline void add_node_cpu(uint8_t apic_id, uint32_t domain, uint32_t flags) {
    APPEND(SRAT_AT, 0, 16, (uint8_t)domain, apic_id, (uint8_t)flags, 0, 0, 0, 0,
           (uint8_t)(domain >> 8), (uint8_t)(domain >> 16), (uint8_t)(domain >> 24), 0, 0, 0, 0);
}
static inline void add_node_x2apic(uint32_t apic_id, uint32_t domain, uint32_t flags) {
    const uint32_t entry[6] = {2 | 24 << 8, domain, apic_id, flags, 0, 0};
    append(SRAT_AT, entry, sizeof(entry));
}
static inline void add_node_memory(uint64_t base, uint64_t length, uint32_t domain,
                                   uint32_t flags) {
    const uint32_t entry[10] = {1 | 40 << 8 | domain << 16,
                                domain >> 16,
                                (uint32_t)base,
                                (uint32_t)(base >> 32),
                                (uint32_t)length,
                                (uint32_t)(length >> 32),
                                0,
                                flags,
                                0,
                                0};
    append(SRAT_AT, entry, sizeof(entry));
}
static inline void start_srat(uint8_t revision) {
    memory[SRAT_AT + 8] = revision;
    put_table(SRAT_AT, "SRAT", 48);
}

static inline void put_gas(uint32_t at, uint8_t space, uint8_t bits, uint8_t access,
                           uint64_t address) {
    put(at, (uint32_t)(space | bits << 8 | access << 24), 4);
    put(at + 4, address, 8);
}

static inline void put_spcr(uint8_t revision) {
    memory[SPCR_AT + 8] = revision;
    put_table(SPCR_AT, "SPCR", 80);
}

// A device of DBG2 with one register.
static inline void add_dbg2(uint16_t type, uint16_t subtype, uint8_t space, uint8_t bits,
                            uint64_t address) {
    uint8_t device[40] = {0, 40, 0, 1};
    const uint16_t words[] = {type, subtype, 0, 22, 34};
    memcpy(device + 12, words, sizeof(words));
    device[22] = space;
    device[23] = bits;
    device[25] = bits / 16 + 1;
    memcpy(device + 26, &address, sizeof(address));
    append(DBG2_AT, device, sizeof(device));
    put(DBG2_AT + 40, (table_size(DBG2_AT) - 44) / 40, 4);
    refresh(DBG2_AT);
}

static inline void start_dbg2(void) {
    put(DBG2_AT + 36, 44, 4);
    put_table(DBG2_AT, "DBG2", 44);
}

static inline void add_mcfg(uint64_t base, uint16_t segment, uint8_t first, uint8_t last) {
    uint64_t entry[2] = {base, segment | (uint64_t)first << 16 | (uint64_t)last << 24};
    append(MCFG_AT, entry, sizeof(entry));
}
