// SPDX-License-Identifier: Apache-2.0
// The supervisor's start page: what it finds at ABI_START_ADDRESS. boot/ lays it out, the kernel
// maps it (include/boot.h, struct boot_segment) and puts the handles named in it into the
// supervisor's table.
#pragma once

#include "include/abi.h"
#include "include/console.h"

#define START_MODULES_MAX 128
#define START_NAME_MAX    64
#define START_CMDLINE_MAX 512

// One file that the manifest names, but for kernel.elf and supervisor.elf. The compiled manifest
// itself is module 0, "manifest.dtb".
struct abi_start_module {
    char name[START_NAME_MAX]; // NUL-terminated
    uint64_t size;             // bytes of the file; the memory object is rounded up to pages
    uint32_t memory;           // handle
};

// An input of the I/O APICs.
struct boot_interrupt {
    uint32_t is_there; // else the device is to be polled
    uint32_t input;    // GSI
    uint32_t trigger;  // enum abi_trigger
};

// The power button of the fixed hardware, in the PM1 event blocks: `size` bytes each, the status
// registers, then as many enable registers. boot/ finds it, the supervisor listens.
struct boot_button {
    uint16_t pm1a_event, pm1b_event; // ports; 0: there is no such block, and without pm1a no button
    uint16_t size, reserved;
    uint32_t input, trigger; // of the SCI: GSI, enum abi_trigger
};

struct abi_start {
    uint32_t version; // ABI_VERSION
    uint32_t module_count;
    uint32_t process; // handles: enum abi_start_handle
    uint32_t quota;
    uint32_t system;
    uint32_t group;
    // Of the machine.
    uint64_t tsc_hz;
    uint64_t utc_seconds;            // its clock at boot, since 1970, up to one second late
    uint64_t utc_tsc;                // the TSC then; 0: it has none
    uint64_t xcr0_mask;              // what a guest may set in XCR0; 0: nothing
    uint64_t arch_capabilities;      // IA32_ARCH_CAPABILITIES; 0: it has none
    uint32_t physical_bits;          // of guest-physical addresses that VMs can use
    uint32_t has_unrestricted_guest; // where VMs can run at all
    uint32_t has_tsc_scaling;
    struct boot_interrupt uart_interrupt;
    struct boot_uart uart; // for the console's driver
    struct boot_framebuffer framebuffer;
    struct boot_button button;
    char cmdline[START_CMDLINE_MAX]; // the manifest's, then what the firmware passed
    struct abi_start_module module[START_MODULES_MAX];
};

_Static_assert(sizeof(struct abi_start) <= ABI_START_PAGES * ABI_PAGE, "at ABI_START_ADDRESS");
