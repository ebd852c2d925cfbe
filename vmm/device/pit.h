// SPDX-License-Identifier: Apache-2.0
// The 8254 interval timer and system control port B (0x61).
//
// Setup: pit_init(), pit_attach(). Counter 0 drives `irq`; counter 2 is gated by port 0x61, bit 0,
// and its output reads there in bit 5; counters 0 and 1 are always gated on. Bit 4 of port 0x61
// toggles with the refresh of the memory of old, every 15.085 us.
//
// All is computed from the time at which a count was loaded, in exact ticks of 1193182 Hz: a
// periodic counter never drifts, however late it is served. Ticks that nobody acknowledged in time
// are lost, as with the chip.
//
// Source: "82C54 CHMOS Programmable Interval Timer" (Intel, October 1994, 231244-006), "Programming
// the 82C54" and "Mode Definitions"; port 0x61: "82371AB (PIIX4)", section 4.2.5 "NMI Registers".
// Invariants: counts are 1..65536 (binary) or 1..10000 (BCD); mode is 0..5; `start` and `elapsed`
// are not in the future, so a restore needs device time to be set first.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

#define PIT_HZ       1193182u
#define PIT_COUNTERS 3u

enum pit_phase {
    PIT_IDLE = 0, // control word written, no count yet
    PIT_ARMED,    // modes 1 and 5: count written, no trigger yet
    PIT_RUNNING,
};

struct pit_counter {
    uint64_t start;      // tick at which the present count was loaded, or the present period began
    uint64_t elapsed;    // modes 0 and 4: ticks counted before the gate last rose at `start`
    uint32_t count;      // loaded into the counting element
    uint32_t next_count; // count register: taken at the next load
    uint8_t mode;
    uint8_t access;       // 1 low byte, 2 high byte, 3 low then high
    uint8_t phase;        // enum pit_phase
    uint8_t write_low;    // first byte of a two-byte write
    uint8_t status_latch; // valid while status_latched
    uint16_t count_latch;
    uint8_t latched_bytes; // bytes of count_latch that are still to be read
    bool bcd;
    bool gate;
    bool write_high_next; // second byte of a two-byte write is due
    bool read_high_next;
    bool status_latched;
    bool null_count;    // the count register is newer than the counting element
    bool strobe_served; // mode 4: the output's pulse at the end has been reported
};

struct pit {
    struct device device;
    struct irq_line irq;
    struct pit_counter counter[PIT_COUNTERS];
    uint8_t control_b; // port 0x61, bits 0 to 3
    bool irq_level;
};

void pit_init(struct pit *pit, const struct device_host *host, struct irq_line irq);

enum bus_error pit_attach(struct pit *pit, struct bus *bus);
