// SPDX-License-Identifier: Apache-2.0
// A neighbour that nobody wants, for `seconds` of the TSC: it never halts, and by one of the words
//   off     runs with its interrupts off
//   exits   does nothing but exits that end in the kernel
//   ports   does nothing but exits that end in the VMM
//   ipis    interrupts itself without a pause
#include "measure.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

static void interrupt_self(void) {
    wrmsr(MSR_X2APIC + LAPIC_SELF_IPI / 16, VECTOR_0);
}

void test(void) {
    uint64_t end = rdtsc() + tsc_hz() * cmdline_number("seconds");
    bool has_exits = cmdline_has("exits"), has_ports = cmdline_has("ports");
    bool has_ipis = cmdline_has("ipis");
    measure_init();
    lapic_init(true);
    if (!cmdline_has("off"))
        interrupts_on();
    while (rdtsc() < end) {
        if (has_exits)
            (void)cpuid(0, 0);
        if (has_ports)
            out8(0x70, 0);
        if (has_ipis)
            interrupt_self();
    }
    interrupts_off();
    CHECK(true);
}
