// SPDX-License-Identifier: Apache-2.0
// The ACPI tables of the virtual PC: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, WAET and an SSDT
// with the processors. DSDT and SSDT are written in ASL; the Makefile compiles each with `iasl
// -tc`, which gives a C array, and keeps that as vmm/acpi/NAME.h below its include directory.
// Everything else is built here, since it depends on the VM.
//
// Source: ACPI 6.5, section 5.2 "ACPI System Description Tables".
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ACPI_CPUS_MAX    64u
#define ACPI_SPACE_BYTES 0x4000u // enough for every VM

// Where a PC keeps them, in the part of the BIOS area that the e820 map reports as reserved; guests
// that are not told the address scan 0xe0000..0xfffff for the RSDP, which is the first of the
// tables.
#define ACPI_DEFAULT_GPA 0xe0000ULL

struct acpi_params {
    uint32_t cpu_count; // 1..ACPI_CPUS_MAX; processor i has APIC ID i
};

// Writes all tables for guest-physical address `gpa` (a multiple of 64, below 4 GiB) to `buffer` of
// `size` bytes. Returns the guest-physical address of the RSDP (which is `gpa`), or 0 when the
// arguments are impossible or the buffer is too small; then it may hold half a table.
uint64_t acpi_build(void *buffer, size_t size, uint64_t gpa, const struct acpi_params *params);
