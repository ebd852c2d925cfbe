// SPDX-License-Identifier: Apache-2.0
// What the guests of the bench share: handlers that take the time as their first act, and medians.
//
// A guest of the bench runs under Bulkhead and under KVM (tests/bench/kvm/): it relies on the Linux
// boot protocol, COM1, debug-exit, CPUID leaf 0x15, the MADT, and local APICs in x2APIC mode.
#pragma once

#include "lib/types.h"

#define SAMPLES_MAX 1001u
#define VECTOR_0    0x60u // handler_0, for processor 0
#define VECTOR_1    0x61u

// The TSC when the handler of VECTOR_0, VECTOR_1 began; the one who waits for it clears it before.
extern volatile uint64_t stamp[2];

// Installs the handlers, for all processors. They need local APICs that are on, in x2APIC mode.
void measure_init(void);
// Sends the vector of processor `to` to it.
static inline void send_to(uint32_t to) {
    __asm__ volatile("wrmsr"
                     :
                     : "a"(VECTOR_0 + to), "d"(to), "c"(0x830) // IA32_X2APIC_ICR
                     : "memory");
}
// Waits, spinning or halted, until stamp[me] is set, and returns it. Interrupts are on before and
// afterwards.
uint64_t wait_spinning(uint32_t me);
uint64_t wait_halted(uint32_t me);

// The median of the first `count`; sorts them.
uint64_t median(uint64_t *samples, uint32_t count);
