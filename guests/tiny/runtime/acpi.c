// SPDX-License-Identifier: Apache-2.0
// The interface is told in acpi.h.
#include "runtime/acpi.h"

#include "lib/string.h"
#include "runtime/tiny.h"

#define BIOS_BEGIN  0xe0000ULL
#define BIOS_END    0x100000ULL
#define RSDP_ALIGN  16u
#define RSDP_XSDT   24u
#define RSDP_SIZE_1 20u
#define NAME_SIZE   4u

// AML: ACPI 6.4 20.2.
#define AML_PACKAGE     0x12u
#define AML_BYTE_PREFIX 0x0au

uint64_t acpi_field(const uint8_t *table, uint32_t offset, uint32_t size) {
    uint64_t value = 0;
    memcpy(&value, table + offset, size);
    return value;
}

bool acpi_sum_is_right(const uint8_t *table, uint32_t size) {
    uint8_t sum = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + table[i]);
    return sum == 0;
}

static bool is_rsdp(const uint8_t *at) {
    return memcmp(at, "RSD PTR ", 8) == 0 && acpi_sum_is_right(at, RSDP_SIZE_1);
}

const uint8_t *acpi_rsdp(void) {
    const uint8_t *at = (const uint8_t *)(uintptr_t)boot_field(BOOT_RSDP, 8);
    return at != NULL && is_rsdp(at) ? at : NULL;
}

const uint8_t *acpi_rsdp_by_search(void) {
    for (uint64_t at = BIOS_BEGIN; at < BIOS_END; at += RSDP_ALIGN)
        if (is_rsdp((const uint8_t *)(uintptr_t)at))
            return (const uint8_t *)(uintptr_t)at;
    return NULL;
}

static const uint8_t *table_at(uint64_t address) {
    return (const uint8_t *)(uintptr_t)address;
}

const uint8_t *acpi_find(const char *signature) {
    const uint8_t *rsdp = acpi_rsdp();
    const uint8_t *xsdt = rsdp == NULL ? NULL : table_at(acpi_field(rsdp, RSDP_XSDT, 8));
    if (xsdt == NULL || memcmp(signature, "XSDT", NAME_SIZE) == 0)
        return xsdt;
    if (memcmp(signature, "DSDT", NAME_SIZE) == 0) {
        const uint8_t *fadt = acpi_find("FACP");
        return fadt == NULL ? NULL : table_at(acpi_field(fadt, FADT_DSDT, 4));
    }
    uint32_t size = (uint32_t)acpi_field(xsdt, 4, 4);
    for (uint32_t offset = ACPI_HEADER; offset + 8 <= size; offset += 8) {
        const uint8_t *table = table_at(acpi_field(xsdt, offset, 8));
        if (memcmp(table, signature, NAME_SIZE) == 0)
            return table;
    }
    return NULL;
}

// The first element of a package; small integers are one byte, zero and one are opcodes of that
// value.
static uint16_t package_first(const uint8_t *at) {
    if (*at++ != AML_PACKAGE)
        return UINT16_MAX;
    at += (*at >> 6) + 1; // length
    at++;                 // element count
    return *at == AML_BYTE_PREFIX ? at[1] : *at;
}

uint16_t acpi_s5_type(void) {
    const uint8_t *dsdt = acpi_find("DSDT");
    uint32_t size = dsdt == NULL ? 0 : (uint32_t)acpi_field(dsdt, 4, 4);
    for (uint32_t i = ACPI_HEADER; i + 8 < size; i++)
        if (memcmp(dsdt + i, "_S5_", NAME_SIZE) == 0)
            return package_first(dsdt + i + NAME_SIZE);
    return UINT16_MAX;
}
