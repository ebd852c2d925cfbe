// SPDX-License-Identifier: Apache-2.0
// Side channels: what the processor remembers of one owner (predictions of branches, contents of
// caches and buffers), and what has it forget before another one runs. Which CPU needs what is
// found at boot (include/features.h), and said in the preflight report. Intel, "Affected
// Processors: Guidance for Security Issues on Intel Processors"; SDM 4 2.1 "Architectural MSRs";
// APM 2 3.2.9 "Speculation Control MSRs".
//
// Between owners, that is scheduling domains, stands one barrier: mitigation_switch. Hardware
// threads of a core share all of this at every moment; that two domains never run on them at once
// is the scheduler's. The kernel maps no guest's memory, so what a guest could read of it
// speculatively is little.
//
// In call order: mitigation_init_cpu (each CPU), mitigation_switch.
#pragma once

#include "arch/cpu.h"

// Found by boot/ (boot/boot_mitigation.c); constant.
extern struct mitigation mitigation;

void mitigation_init_cpu(void);
_Static_assert(offsetof(struct mitigation, stuffs_rsb) == 7,
               "tests/check/returns.py says the same");
// RSB stuffing: 32 calls overwrite the return stack buffer, so that no return of ours is predicted
// by what a guest or another thread left there. Behind a guest, and where threads change.
static inline void mitigation_stuff_rsb(void) {
    if (mitigation.stuffs_rsb)
        __asm__ volatile(".rept 32\n\t" // entries: no processor has more
                         "call 1f\n\t"
                         "int3\n"
                         "1:\n\t"
                         ".endr\n\t"
                         "add $(32 * 8), %%rsp\n\t"
                         "lfence" ::
                             : "memory", "cc");
}

// Indirect branches behind this are not predicted by what a guest or ring 3 branched before.
void mitigation_clear_bhb(void);

// Before anything of the domain (never 0) runs on this CPU, where cpu->domain says that it or
// another one of its core ran another since its last barrier, and after what the last one left in
// registers has been saved: has the processor forget. Counted in cpu->barriers.
void mitigation_switch(struct cpu *cpu, uint64_t domain);
// The part of it that is for a CPU about to leave its core to others: what it stored or loaded
// lately.
void mitigation_clear_buffers(void);
