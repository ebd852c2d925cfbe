// SPDX-License-Identifier: Apache-2.0
// A real-time guest: its timer releases a job of about `job` us in each period of `period` us,
// `count` times. A response is the time from the release to the job's end; one that is longer than
// the period is a miss. Prints `realtime misses N worst TICKS begun TICKS`, the last being the
// longest from a release to the handler.
#include "measure.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define ROUND_TICKS                                                                                \
    10u // a round of do_job on one CPU of the emulator, where instructions are ticks

static void do_job(uint64_t rounds) {
    while (rounds-- != 0)
        __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
}

void test(void) {
    uint64_t us = tsc_hz() / 1000000, period = cmdline_number("period") * us;
    uint64_t job = cmdline_number("job") * us, count = cmdline_number("count");
    uint64_t worst = 0, begun = 0, misses = 0;
    measure_init();
    lapic_init(true);
    interrupts_on();
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR_0);
    uint64_t release = rdtsc() + cmdline_number("settle") * 1000 * us;
    for (uint64_t i = 0; i < count; i++) {
        stamp[0] = 0;
        wrmsr(MSR_TSC_DEADLINE, release);
        begun = MAX(begun, wait_halted(0) - release);
        do_job(job / ROUND_TICKS);
        uint64_t response = rdtsc() - release;
        worst = MAX(worst, response);
        misses += response > period;
        release += period;
    }
    print("realtime misses %lu worst %lu begun %lu\n", misses, worst, begun);
    CHECK(worst > 0);
}
