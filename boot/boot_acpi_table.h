// SPDX-License-Identifier: Apache-2.0
// What the files of the ACPI parser (boot/boot_acpi.h) share.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "boot/boot_acpi.h"
#include "lib/string.h"
#include "lib/types.h"

#define BOOT_ACPI_HEADER_SIZE 36u // ACPI 6.5 table 5.4 "DESCRIPTION_HEADER Fields"
#define BOOT_ACPI_REVISION    8u

// ACPI 6.5 table 5.9 "FADT Format"
#define FADT_FLAGS      112u
#define FADT_HW_REDUCED BIT(20)

// Some bytes of a table, or none.
struct boot_acpi_bytes {
    const uint8_t *data; // NULL: nothing there, size is 0
    uint32_t size;
};

struct boot_acpi_parser {
    boot_acpi_map_t map;
    struct boot_info *info;
    struct boot_acpi *found;
};

// The number of `width` bytes (at most 8) at `offset`; 0 when it does not lie within the bytes.
static inline uint64_t boot_acpi_field(struct boot_acpi_bytes bytes, uint64_t offset,
                                       uint32_t width) {
    uint64_t value = 0;
    if (!range_exceeds(offset, width, bytes.size))
        memcpy(&value, bytes.data + offset, width);
    return value;
}

static inline uint32_t boot_acpi_field32(struct boot_acpi_bytes bytes, uint64_t offset) {
    return (uint32_t)boot_acpi_field(bytes, offset, sizeof(uint32_t));
}

static inline uint16_t boot_acpi_field16(struct boot_acpi_bytes bytes, uint64_t offset) {
    return (uint16_t)boot_acpi_field(bytes, offset, sizeof(uint16_t));
}

static inline uint8_t boot_acpi_field8(struct boot_acpi_bytes bytes, uint64_t offset) {
    return (uint8_t)boot_acpi_field(bytes, offset, sizeof(uint8_t));
}

// [offset, offset + size), or nothing where that does not lie within the bytes.
static inline struct boot_acpi_bytes boot_acpi_part(struct boot_acpi_bytes bytes, uint64_t offset,
                                                    uint32_t size) {
    if (range_exceeds(offset, size, bytes.size))
        return (struct boot_acpi_bytes){NULL, 0};
    return (struct boot_acpi_bytes){bytes.data + offset, size};
}

// For tables that are lists: the entry at *offset, whose length is `width` bytes at `length_at` in
// it, and moves *offset behind it. Nothing when the list ends, or when an entry has no possible
// length.
static inline struct boot_acpi_bytes boot_acpi_next(struct boot_acpi_bytes table, uint64_t *offset,
                                                    uint32_t length_at, uint32_t width) {
    uint32_t size = (uint32_t)boot_acpi_field(table, *offset + length_at, width);
    if (size < length_at + width)
        return (struct boot_acpi_bytes){NULL, 0};
    struct boot_acpi_bytes entry = boot_acpi_part(table, *offset, size);
    *offset += size;
    return entry;
}

// A table with a header, whole and with a good checksum; else nothing, counted as damaged.
struct boot_acpi_bytes boot_acpi_open(struct boot_acpi_parser *parser, uint64_t address);

// ACPI 6.5 5.2.3.2 "Generic Address Structure", 12 bytes at `offset`.
struct boot_register boot_acpi_register(struct boot_acpi_bytes table, uint64_t offset);

// Each takes one table, which may be nothing. The CPUs come before their nodes.
void boot_acpi_read_madt(struct boot_acpi_parser *parser, struct boot_acpi_bytes madt);
void boot_acpi_read_srat(struct boot_acpi_parser *parser, struct boot_acpi_bytes srat);
void boot_acpi_read_slit(struct boot_acpi_parser *parser, struct boot_acpi_bytes slit);
void boot_acpi_read_fadt(struct boot_acpi_parser *parser, struct boot_acpi_bytes fadt);
// Behind the FADT, whose event blocks it takes.
void boot_acpi_read_button(struct boot_acpi_parser *parser, struct boot_acpi_bytes fadt,
                           struct boot_acpi_bytes madt);
// How the ISA interrupt `irq` arrives where it is the SCI: by level and active low, unless the last
// of its overrides says otherwise.
struct boot_isa_irq boot_acpi_sci(struct boot_acpi_bytes madt, uint16_t irq);
// Looks for \_S5 in the AML of a DSDT or SSDT, unless it is known.
void boot_acpi_read_aml(struct boot_acpi_parser *parser, struct boot_acpi_bytes aml);
void boot_acpi_read_hpet(struct boot_acpi_parser *parser, struct boot_acpi_bytes hpet);
void boot_acpi_read_mcfg(struct boot_acpi_parser *parser, struct boot_acpi_bytes mcfg);
void boot_acpi_read_spcr(struct boot_acpi_parser *parser, struct boot_acpi_bytes spcr);
void boot_acpi_read_dbg2(struct boot_acpi_parser *parser, struct boot_acpi_bytes dbg2);
