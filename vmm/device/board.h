// SPDX-License-Identifier: Apache-2.0
// The mainboard: every platform device of the virtual PC, wired up. The VMM sets it up with one
// call, feeds it port and memory accesses through `bus`, and asks it for the next deadline.
//
// Setup: board_init(). Then bus_port_*(&board.bus), bus_mmio_*(&board.bus), board_next_deadline(),
// board_run(), uart_receive(&board.com1), pic_acknowledge(&board.pic), ioapic_eoi(&board.ioapic),
// pm_power_button(&board.pm). Further devices go to board.bus and board.pci.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/debugexit.h"
#include "vmm/device/device.h"
#include "vmm/device/ioapic.h"
#include "vmm/device/irq.h"
#include "vmm/device/keyboard.h"
#include "vmm/device/pci.h"
#include "vmm/device/pic.h"
#include "vmm/device/pit.h"
#include "vmm/device/pm.h"
#include "vmm/device/rtc.h"
#include "vmm/device/uart.h"

#define BOARD_DEVICES 10u

// How the VM asks for its end. Noted by the VMM, carried out after the access returns.
enum board_event {
    BOARD_POWER_OFF,  // ACPI S5
    BOARD_RESET,      // port 0xcf9, keyboard controller or port 0x92
    BOARD_DEBUG_EXIT, // `code` is what was written
};

struct board_config {
    const struct device_host *host;
    struct ioapic_backend ioapic;
    struct uart_backend com1;
    struct irq_line pic_intr; // level of the 8259's INTR (LINT0 of the boot processor, ExtINT)
    void *opaque;             // for `event`
    void (*event)(void *opaque, enum board_event event, uint32_t code);
    int64_t utc_seconds;     // date at time 0
    uint64_t low_ram_bytes;  // RAM below 4 GiB
    uint64_t high_ram_bytes; // RAM from 4 GiB on
};

struct board {
    struct board_config config;
    struct bus bus;
    struct pic pic;
    struct ioapic ioapic;
    struct irq_router irq;
    struct pit pit;
    struct rtc rtc;
    struct uart com1;
    struct keyboard keyboard;
    struct pm pm;
    struct pci pci;
    struct debugexit debugexit;
    struct device *device[BOARD_DEVICES]; // all of the above, in the order of the saved records
};

// `board` is the caller's, zeroed or not; `config` is copied.
void board_init(struct board *board, const struct board_config *config);

// Everything back to the power-on state; the date goes on.
void board_reset(struct board *board);

// The earliest deadline of all devices, or DEVICE_NO_DEADLINE.
uint64_t board_next_deadline(const struct board *board);

// Serves every device whose deadline is not after `now`.
void board_run(struct board *board, uint64_t now);

// All devices as one row of records. board_save() writes board_saved_size() bytes. board_restore()
// stops at the first record that is refused: the VM is then lost, the VMM is not.
size_t board_saved_size(const struct board *board);
void board_save(const struct board *board, void *buffer);
enum device_error board_restore(struct board *board, const void *buffer, size_t size);
