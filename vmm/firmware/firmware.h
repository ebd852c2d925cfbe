// SPDX-License-Identifier: Apache-2.0
// What a PC's firmware hands over to the system that it starts, and what of it stays: the state of
// the devices and of the boot processor's local APIC, the BIOS data area, and the ROM in the last
// 64 KiB below 1 MiB, which are seen below 4 GiB as well.
//
// In the ROM lie, each where systems look for it:
//   F000:0000   SMBIOS 2.8                                       smbios.c
//   F000:4000   MP table 1.4                                     mptable.c
//   F000:FFF0   where a processor starts after reset or INIT: code that resets the machine, in any
//               mode
//   F000:FFF5   the date of the BIOS; F000:FFFE the model (PC/AT)
// The ACPI tables lie before it, in RAM, since the system writes into them (the FACS has the global
// lock).
//
// There are no BIOS calls: the interrupt vectors are 0.
#pragma once

#include <stdbool.h>

#include "include/abi.h"
#include "vmm/device/board.h"
#include "vmm/memory.h"

#define FIRMWARE_SMBIOS_OFFSET 0x0000u // in the ROM, as the others
#define FIRMWARE_MP_OFFSET     0x4000u
#define FIRMWARE_RESET_OFFSET  0xfff0u

struct firmware_params {
    uint32_t cpu_count;                   // 1 to 64; processor i has APIC ID i
    uint32_t cpu_signature, cpu_features; // CPUID.1: EAX, EDX
    uint64_t memory_size;                 // bytes of RAM
};

// Writes ROM and BIOS data area. False: the tables do not fit.
bool firmware_write(const struct memory *memory, const struct firmware_params *params);

// Does to a board after power-on what a BIOS does: the 8259s have the vectors of real mode, all
// masked, with level triggering for the lines of ACPI and PCI; counter 0 of the 8254 runs at 18.2
// Hz. Source: "PS/2 and PC BIOS Interface Technical Reference" (IBM, 1991), "Interrupt 08H".
void firmware_start_board(struct board *board);

// Virtual wire: on the boot processor LINT0 takes the 8259's INTR, LINT1 an NMI. MultiProcessor
// Specification 1.4, 3.6.2.2 "Virtual Wire Mode"; SDM 3A 9.4.4.1 "Typical BSP Initialization
// Sequence" enables the APIC.
void firmware_set_apic(struct vcpu_apic *apic);

// ---- between the files --------------------------------------------------------------------------

// Each writes its tables for guest-physical address `gpa` to `at` and returns how many bytes they
// take, or 0 when `size` is too small.
size_t smbios_build(uint8_t *at, size_t size, uint64_t gpa, const struct firmware_params *params);
size_t mptable_build(uint8_t *at, size_t size, uint64_t gpa, const struct firmware_params *params);

// The byte that makes the sum over `size` bytes 0 when it is added to them.
uint8_t firmware_checksum(const void *data, size_t size);
