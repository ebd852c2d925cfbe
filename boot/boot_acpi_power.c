// SPDX-License-Identifier: Apache-2.0
// The FADT and what of AML is needed with it: the ports of power-off, reset and PM timer, and the
// sleep types of \_S5. ACPI 6.5 5.2.9 "Fixed ACPI Description Table (FADT)", 7.4.2 "System \_Sx
// states", 20.2 "AML Grammar Definition".
#include "boot/boot_acpi_table.h"

#define FADT_DSDT          40u
#define FADT_SMI_CMD       48u
#define FADT_ACPI_ENABLE   52u
#define FADT_PM1A_EVT      56u
#define FADT_PM1B_EVT      60u
#define FADT_PM1A_CNT      64u
#define FADT_PM1B_CNT      68u
#define FADT_PM_TMR        76u
#define FADT_GPE0          80u
#define FADT_GPE1          84u
#define FADT_PM1_EVT_LEN   88u
#define FADT_GPE0_LEN      92u
#define FADT_GPE1_LEN      93u
#define FADT_RESET_REG     116u
#define FADT_RESET_VALUE   128u
#define FADT_X_DSDT        140u
#define FADT_X_PM1A_EVT    148u
#define FADT_X_PM1B_EVT    160u
#define FADT_X_PM1A_CNT    172u
#define FADT_X_PM1B_CNT    184u
#define FADT_X_PM_TMR      208u
#define FADT_X_GPE0        220u
#define FADT_X_GPE1        232u
#define FADT_SLEEP_CONTROL 244u
#define FADT_TMR_VAL_EXT   BIT(8)
#define FADT_RESET_SUP     BIT(10)

enum aml {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_QWORD = 0x0e,
    AML_PACKAGE = 0x12,
    AML_VAR_PACKAGE = 0x13,
    AML_ROOT = '\\',
    AML_ONES = 0xff,
};
#define SLP_TYP_MASK  7u
#define SLP_TYP_SHIFT 10u // of PM1 control registers

// An integer of AML's at *offset, which is moved behind it.
static bool read_integer(struct boot_acpi_bytes aml, uint32_t *offset, uint64_t *value) {
    uint8_t opcode = boot_acpi_field8(aml, *offset);
    uint32_t width = 0;
    switch (opcode) {
    case AML_ZERO:
    case AML_ONE:
    case AML_ONES:
        break;
    case AML_BYTE:
        width = 1;
        break;
    case AML_WORD:
        width = 2;
        break;
    case AML_DWORD:
        width = 4;
        break;
    case AML_QWORD:
        width = 8;
        break;
    default:
        return false;
    }
    if (range_exceeds(*offset, 1 + width, aml.size))
        return false;
    *value = width == 0 ? opcode : boot_acpi_field(aml, *offset + 1, width);
    *offset += 1 + width;
    return true;
}

// `offset` is behind the name. Package (n) { SLP_TYPa, SLP_TYPb, ... }
static bool read_s5(struct boot_power *power, struct boot_acpi_bytes aml, uint32_t offset) {
    uint8_t opcode = boot_acpi_field8(aml, offset);
    uint64_t count, type_a, type_b = 0;
    if (opcode != AML_PACKAGE && opcode != AML_VAR_PACKAGE)
        return false;
    // PkgLength: bits 7:6 of the first byte count the bytes that follow it. Then the number of
    // elements.
    offset += 1;
    offset += 1u + (boot_acpi_field8(aml, offset) >> 6);
    if (opcode == AML_PACKAGE)
        count = boot_acpi_field8(aml, offset++);
    else if (!read_integer(aml, &offset, &count))
        return false;
    if (count == 0 || !read_integer(aml, &offset, &type_a))
        return false;
    if (count > 1 && !read_integer(aml, &offset, &type_b))
        return false;
    power->has_s5 = true;
    power->s5_type[0] = (uint16_t)((type_a & SLP_TYP_MASK) << SLP_TYP_SHIFT);
    power->s5_type[1] = (uint16_t)((type_b & SLP_TYP_MASK) << SLP_TYP_SHIFT);
    return true;
}

void boot_acpi_read_aml(struct boot_acpi_parser *parser, struct boot_acpi_bytes aml) {
    static const char name[4] = {'_', 'S', '5', '_'};
    struct boot_power *power = &parser->info->power;
    for (uint32_t i = BOOT_ACPI_HEADER_SIZE + 1; !power->has_s5 && i + sizeof(name) <= aml.size;
         i++) {
        if (memcmp(aml.data + i, name, sizeof(name)) != 0)
            continue;
        uint32_t before = i - (aml.data[i - 1] == AML_ROOT ? 2 : 1);
        if (aml.data[before] == AML_NAME && read_s5(power, aml, i + (uint32_t)sizeof(name)))
            return;
    }
}

// A port of the FADT: the generic address, where that is a port, else the old 32-bit field.
static uint16_t read_port(struct boot_acpi_bytes fadt, uint32_t legacy, uint32_t extended) {
    struct boot_register generic = boot_acpi_register(fadt, extended);
    uint64_t port =
        generic.space == BOOT_SPACE_IO && generic.address <= UINT16_MAX ? generic.address : 0;
    if (port == 0)
        port = boot_acpi_field32(fadt, legacy);
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

static void read_pm1(struct boot_acpi_parser *parser, struct boot_acpi_bytes fadt) {
    struct boot_power *power = &parser->info->power;
    uint32_t smi = boot_acpi_field32(fadt, FADT_SMI_CMD);
    parser->found->pm_timer_port = read_port(fadt, FADT_PM_TMR, FADT_X_PM_TMR);
    parser->found->pm_timer_is_32bit =
        (boot_acpi_field32(fadt, FADT_FLAGS) & FADT_TMR_VAL_EXT) != 0;
    power->pm1_control[0] = read_port(fadt, FADT_PM1A_CNT, FADT_X_PM1A_CNT);
    power->pm1_control[1] = read_port(fadt, FADT_PM1B_CNT, FADT_X_PM1B_CNT);
    parser->found->smi_command = smi <= UINT16_MAX ? (uint16_t)smi : 0;
    parser->found->acpi_enable = boot_acpi_field8(fadt, FADT_ACPI_ENABLE);
}

static void read_events(struct boot_acpi *found, struct boot_acpi_bytes fadt) {
    static const struct {
        uint32_t legacy, extended, size;
    } blocks[ARRAY_COUNT(found->event)] = {
        {FADT_PM1A_EVT, FADT_X_PM1A_EVT, FADT_PM1_EVT_LEN},
        {FADT_PM1B_EVT, FADT_X_PM1B_EVT, FADT_PM1_EVT_LEN},
        {FADT_GPE0, FADT_X_GPE0, FADT_GPE0_LEN},
        {FADT_GPE1, FADT_X_GPE1, FADT_GPE1_LEN},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(blocks); i++)
        found->event[i] =
            (struct boot_event_block){.port = read_port(fadt, blocks[i].legacy, blocks[i].extended),
                                      .size = boot_acpi_field8(fadt, blocks[i].size)};
}

void boot_acpi_read_fadt(struct boot_acpi_parser *parser, struct boot_acpi_bytes fadt) {
    struct boot_power *power = &parser->info->power;
    uint32_t flags = boot_acpi_field32(fadt, FADT_FLAGS);
    if (fadt.data == NULL)
        return;
    if ((flags & FADT_HW_REDUCED) != 0) { // no PM1 registers
        parser->info->platform->sleep_control = boot_acpi_register(fadt, FADT_SLEEP_CONTROL);
    } else {
        read_pm1(parser, fadt);
        read_events(parser->found, fadt);
    }
    struct boot_register reset = boot_acpi_register(fadt, FADT_RESET_REG);
    if ((flags & FADT_RESET_SUP) != 0 && reset.space == BOOT_SPACE_IO && reset.address != 0 &&
        reset.address <= UINT16_MAX) {
        power->reset_port = (uint16_t)reset.address;
        power->reset_value = boot_acpi_field8(fadt, FADT_RESET_VALUE);
    }
    uint64_t dsdt = boot_acpi_field(fadt, FADT_X_DSDT, sizeof(uint64_t));
    if (dsdt == 0)
        dsdt = boot_acpi_field32(fadt, FADT_DSDT);
    if (dsdt != 0)
        boot_acpi_read_aml(parser, boot_acpi_open(parser, dsdt));
}
