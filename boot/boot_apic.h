// SPDX-License-Identifier: Apache-2.0
// The rate of the local APIC's timer, by the TSC. No instructions but what is passed in, so that
// the host's tests can link it; apic.c has the hardware. SDM 3A 11.5.4 "APIC Timer".
#pragma once

#include <stdint.h>

// The local APIC in the mode that it is in. `reg` is an offset in the page of its registers.
struct boot_apic {
    uint32_t (*read)(uint32_t reg);
    void (*write)(uint32_t reg, uint32_t value);
    uint64_t (*rdtsc)(void);
};

// Counts for 5 ms, with nothing divided, as the kernel uses it. The timer was the firmware's: it is
// masked, in one-shot mode and stopped afterwards. 0: it stands still. Interrupts are off.
uint64_t boot_apic_timer_hz(const struct boot_apic *apic, uint64_t tsc_hz);
