// SPDX-License-Identifier: Apache-2.0
// This CPU's local APIC: x2APIC where the processor has it, xAPIC registers in memory otherwise.
// SDM 3A chapter 11 "Advanced Programmable Interrupt Controller (APIC)".
#pragma once

#include "lib/types.h"

// Chooses the mode, once, on the boot CPU. `registers` is the mapped register page, needed only
// when the processor has no x2APIC.
void lapic_init(volatile uint32_t *registers);
// Every CPU: enables it, masks all local sources, programs error and spurious vectors.
void lapic_init_cpu(void);
uint32_t lapic_get_id(void);
void lapic_eoi(void);

// Whether interrupts can be sent there: xAPIC has 8 bits for an ID, of which 0xff is everybody.
bool lapic_can_reach(uint32_t apic_id);

// Interrupts to other CPUs, by their APIC ID, which can be reached.
void lapic_send_vector(uint32_t apic_id, uint8_t vector);
void lapic_send_nmi(uint32_t apic_id);
void lapic_send_init(uint32_t apic_id);
void lapic_send_startup(uint32_t apic_id, uint8_t page); // starts at page << 12

// The timer as a one-shot on the TSC (VECTOR_TIMER). Without the TSC-deadline feature it counts the
// APIC's clock, whose rate is `timer_hz` (lapic_timer_count tells how to measure it), and fires
// early rather than late when the deadline is too far for its 32 bits.
void lapic_timer_init(uint64_t tsc_hz, uint64_t timer_hz);
void lapic_timer_set(uint64_t deadline); // host TSC
void lapic_timer_stop(void);
// For the calibration without TSC deadline: starts the counter at its maximum; and reads it.
void lapic_timer_start_measure(void);
uint32_t lapic_timer_count(void);
