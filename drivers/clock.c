// SPDX-License-Identifier: Apache-2.0
// See drivers/clock.h. The reference is a counter of a known rate; both the PM timer and channel 2
// of the 8254 are read as one that counts up and wraps.
// ACPI 6.5 4.8.3.3 "Power Management Timer (PM_TMR)"; SDM 3B 18.7.3 "Determining the Processor Base
// Frequency"; MC146818A data sheet, "Address Map".
#include "drivers/clock.h"

#include "arch/cpu.h"
#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/tsc.h"
#include "drivers/acpi.h"
#include "drivers/rtc.h"

#define PM_TIMER_HZ      3579545u
#define PIT_HZ           1193182u
#define PIT_CHANNEL2     0x42u
#define PIT_COMMAND      0x43u
#define PIT_START        0xb0u // channel 2, both bytes, mode 0, binary
#define PIT_LATCH        0x80u
#define PIT_START_COUNT  0xffu // for each byte
#define PIT_MASK         0xffffu
#define PORT_B           0x61u // SPKR gate and data
#define PORT_B_GATE2     BIT(0)
#define PORT_B_SPEAKER   BIT(1)
#define CPUID_TSC        0x15u
#define WINDOW           200u  // 1/200 s: 5 ms, to measure
#define CHECK_WINDOW     2000u // 0.5 ms, to confirm CPUID's word
#define CONFIRM_FRACTION 50u   // within 1/50
#define SAMPLE_TRIES     3u
#define STUCK_READS      (1u << 16) // one PM timer tick is 280 ns
#define RTC_TRIES        16u
#define RTC_UPDATE_READS (1u << 16) // an update takes 2 ms at most
#define RTC_INDEX        0x70u
#define RTC_DATA         0x71u

struct counter {
    const char *name;
    uint32_t (*read)(void);
    uint32_t mask;
    uint32_t hz;
};

struct sample {
    uint64_t tsc;
    uint32_t ticks; // of the reference
    uint32_t timer; // of the local APIC, counts down
};

struct rates {
    uint64_t tsc_hz, timer_hz;
};

static uint32_t pm_timer_read(void) {
    return x86_inl(acpi_info.pm_timer_port);
}

static uint32_t pit_read(void) {
    x86_outb(PIT_COMMAND, PIT_LATCH);
    uint32_t low = x86_inb(PIT_CHANNEL2);
    return PIT_MASK - (low | (uint32_t)x86_inb(PIT_CHANNEL2) << 8);
}

static void pit_start(void) {
    uint64_t keep = x86_inb(PORT_B) & ~(PORT_B_SPEAKER | PORT_B_GATE2);
    x86_outb(PORT_B, (uint8_t)(keep | PORT_B_GATE2));
    x86_outb(PIT_COMMAND, PIT_START);
    x86_outb(PIT_CHANNEL2, PIT_START_COUNT);
    x86_outb(PIT_CHANNEL2, PIT_START_COUNT);
}

// All three at one moment: the try that took the shortest, so an SMI in between does no harm.
static struct sample take_sample(const struct counter *counter) {
    struct sample best = {0, 0, 0};
    uint64_t best_span = UINT64_MAX;
    for (uint32_t i = 0; i < SAMPLE_TRIES; i++) {
        uint64_t before = x86_rdtsc();
        uint32_t ticks = counter->read() & counter->mask;
        uint32_t timer = cpu_features.has_tsc_deadline ? 0 : lapic_timer_count();
        uint64_t span = x86_rdtsc() - before;
        if (span < best_span) {
            best_span = span;
            best = (struct sample){before + span / 2, ticks, timer};
        }
    }
    return best;
}

// False when the counter stands still.
static bool wait_ticks(const struct counter *counter, uint32_t start, uint32_t wanted) {
    uint32_t last = start, same = 0;
    while (same < STUCK_READS) {
        uint32_t now = counter->read() & counter->mask;
        if (((now - start) & counter->mask) >= wanted)
            return true;
        same = now == last ? same + 1 : 0;
        last = now;
    }
    return false;
}

// The local APIC's timer is left alone where it runs on the TSC's deadline: measuring would take it
// out of that mode.
static bool measure(const struct counter *counter, uint32_t window, struct rates *rates) {
    bool has_timer = !cpu_features.has_tsc_deadline;
    if (has_timer)
        lapic_timer_start_measure();
    struct sample start = take_sample(counter);
    bool is_running = wait_ticks(counter, start.ticks, counter->hz / window);
    struct sample end = take_sample(counter);
    if (has_timer)
        lapic_timer_stop();
    uint64_t ticks = (end.ticks - start.ticks) & counter->mask;
    if (!is_running || ticks == 0)
        return false;
    rates->tsc_hz = (end.tsc - start.tsc) * counter->hz / ticks;
    rates->timer_hz = (uint64_t)(start.timer - end.timer) * counter->hz / ticks;
    return true;
}

static bool choose_counter(struct counter *counter, uint32_t window, struct rates *rates) {
    if (acpi_info.pm_timer_port != 0) {
        uint32_t mask = acpi_info.pm_timer_is_32bit ? UINT32_MAX : (1u << 24) - 1;
        *counter = (struct counter){"PM timer", pm_timer_read, mask, PM_TIMER_HZ};
        if (measure(counter, window, rates))
            return true;
    }
    *counter = (struct counter){"8254", pit_read, PIT_MASK, PIT_HZ};
    pit_start();
    return measure(counter, window, rates);
}

// SDM 2A "CPUID" leaf 15H: EBX/EAX is the TSC's ratio to a crystal of ECX Hz. 0: not told.
static uint64_t cpuid_tsc_hz(void) {
    if (x86_cpuid(0, 0).eax < CPUID_TSC)
        return 0;
    struct cpuid_result r = x86_cpuid(CPUID_TSC, 0);
    return r.eax == 0 ? 0 : (uint64_t)r.ecx * r.ebx / r.eax;
}

static bool is_confirmed(uint64_t told, uint64_t measured) {
    uint64_t difference = told > measured ? told - measured : measured - told;
    return difference <= measured / CONFIRM_FRACTION;
}

bool clock_init(void) {
    uint64_t told = cpuid_tsc_hz();
    bool needs_timer = !cpu_features.has_tsc_deadline;
    uint32_t window = told != 0 && !needs_timer ? CHECK_WINDOW : WINDOW;
    struct counter counter;
    struct rates rates = {0, 0};
    bool is_measured = choose_counter(&counter, window, &rates);
    bool is_told = told != 0 && (!is_measured || is_confirmed(told, rates.tsc_hz));
    if (is_measured && !is_told && window != WINDOW)
        choose_counter(&counter, WINDOW, &rates);
    if (is_told)
        rates.tsc_hz = told;
    if (rates.tsc_hz == 0 || (needs_timer && rates.timer_hz == 0))
        return false;
    tsc_hz = rates.tsc_hz;
    lapic_timer_init(tsc_hz, rates.timer_hz);
    log_line("clock: TSC at %lu kHz by %s", tsc_hz / 1000, is_told ? "CPUID" : counter.name);
    return true;
}

static uint8_t cmos_read(uint8_t index) {
    x86_outb(RTC_INDEX, index);
    return x86_inb(RTC_DATA);
}

static bool rtc_read(struct rtc_registers *rtc) {
    uint32_t reads = 0;
    while ((cmos_read(RTC_STATUS_A) & RTC_UPDATING) != 0)
        if (++reads >= RTC_UPDATE_READS)
            return false;
    *rtc = (struct rtc_registers){
        .second = cmos_read(RTC_SECOND),
        .minute = cmos_read(RTC_MINUTE),
        .hour = cmos_read(RTC_HOUR),
        .day = cmos_read(RTC_DAY),
        .month = cmos_read(RTC_MONTH),
        .year = cmos_read(RTC_YEAR),
        .status_b = cmos_read(RTC_STATUS_B),
        .has_century = acpi_info.rtc_century_index != 0,
    };
    if (rtc->has_century)
        rtc->century = cmos_read(acpi_info.rtc_century_index);
    return true;
}

bool clock_read_utc(uint64_t *seconds, uint64_t *tsc) {
    struct rtc_registers last, now;
    if (!rtc_read(&last))
        return false;
    for (uint32_t i = 0; i < RTC_TRIES; i++) {
        *tsc = x86_rdtsc();
        if (!rtc_read(&now))
            return false;
        if (rtc_is_equal(&last, &now))
            return rtc_decode(&now, seconds);
        last = now;
    }
    return false;
}
