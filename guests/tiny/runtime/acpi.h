// SPDX-License-Identifier: Apache-2.0
// Finding things in the ACPI tables: ACPI 6.4 5.2 "ACPI System Description Tables".
#pragma once

#include "lib/types.h"

#define ACPI_HEADER        36u
#define FADT_FLAGS_RESET   BIT(10)
#define FADT_DSDT          40u
#define FADT_SCI           46u
#define FADT_SMI_COMMAND   48u
#define FADT_PM1A_EVENT    56u
#define FADT_PM1A_CONTROL  64u
#define FADT_PM_TIMER      76u
#define FADT_FLAGS         112u
#define FADT_RESET_ADDRESS 120u // 64 bits, behind the 4 bytes of the generic address
#define FADT_RESET_VALUE   128u

// The RSDP, from the zero page, and from the search in the BIOS area that older systems make; NULL:
// none.
const uint8_t *acpi_rsdp(void);
const uint8_t *acpi_rsdp_by_search(void);
// The table of this signature, by the XSDT (DSDT: by the FADT); NULL: none.
const uint8_t *acpi_find(const char *signature);
// SLP_TYP of \_S5 in the DSDT; UINT16_MAX: not found.
uint16_t acpi_s5_type(void);

uint64_t acpi_field(const uint8_t *table, uint32_t offset, uint32_t size);
// The bytes of a table add up to 0.
bool acpi_sum_is_right(const uint8_t *table, uint32_t size);
