// SPDX-License-Identifier: Apache-2.0
// The machine's clocks: the rate of the TSC (boot_clock.h) from main.c's first lines to the
// hand-over, and the firmware's date. The reference is the ACPI PM timer, else the HPET where it
// runs, else channel 2 of the 8254, which the firmware does not use.
//
// ACPI 6.5 4.8.3.3 "Power Management Timer (PM_TMR)"; IA-PC HPET 1.0a 2.3 "Memory Mapped
// Registers".
#include <cpuid.h>

#include "boot/boot_clock.h"
#include "boot/loader.h"
#include "lib/types.h"

#define PM_TIMER_HZ    3579545u
#define PM_TIMER_BITS  24
#define PIT_HZ         1193182u
#define PIT_CHANNEL2   0x42u
#define PIT_COMMAND    0x43u
#define PIT_START      0xb0u // channel 2, both bytes, mode 0, binary
#define PIT_LATCH      0x80u
#define PIT_BYTE       0xffu // of the count that it starts from
#define PIT_MASK       0xffffu
#define PORT_B         0x61u // SPKR gate and data
#define PORT_B_GATE2   BIT(0)
#define PORT_B_SPEAKER BIT(1)

#define HPET_CAPABILITIES 0x00u // bits 63:32: femtoseconds a tick
#define HPET_CONFIG       0x10u
#define HPET_COUNTER      0xf0u
#define HPET_ENABLED      BIT(0)
#define HPET_BELOW        BIT(32)
#define HPET_PERIOD_MIN   4000000u   // 250 MHz
#define HPET_PERIOD_MAX   100000000u // 10 MHz, the slowest that the specification allows
#define FEMTO             1000000000000000ull

#define SAMPLE_TRIES 3u
#define STUCK_READS  (1u << 16) // one tick of the PM timer is 280 ns
#define WAIT_READS   (1u << 20) // a read takes some 100 ns at least
#define FIRST_WINDOW 200u       // 1/200 s: 5 ms
#define LAST_WINDOW  4u         // 1/4 s, at least
#define ATTEMPTS     3u
#define ERROR_MAX    1000000u // ppb: what disagrees with itself by more is measured again
#define PPM          1000u    // ppb
#define CPUID_TSC    0x15u
#define CPUID_BASE   0x16u

#define CPUID_STRUCTURED 0x7u
#define EBX_TSC_ADJUST   BIT(1)
#define MSR_TSC_ADJUST   0x3bu

struct counter {
    uint32_t source; // enum boot_clock_source
    uint32_t (*read)(void);
    uint64_t mask, hz;
};

static uint16_t pm_timer_port;
static uint64_t hpet_base;
static struct counter counter;
static struct boot_clock clock;
static const struct loader *machine; // its tables name the counters
static uint32_t begun_count;         // counters that were tried
static bool is_measuring;

static uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint32_t in32(uint16_t port) {
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static uint32_t hpet_read_at(uint32_t offset) {
    return *(volatile uint32_t *)(uintptr_t)(hpet_base + offset);
}

static uint32_t pm_timer_read(void) {
    return in32(pm_timer_port);
}

static uint32_t hpet_read(void) {
    return hpet_read_at(HPET_COUNTER);
}

static uint32_t pit_read(void) {
    out8(PIT_COMMAND, PIT_LATCH);
    uint32_t low = in8(PIT_CHANNEL2);
    return PIT_MASK - (low | (uint32_t)in8(PIT_CHANNEL2) << 8);
}

static void pit_start(void) {
    uint64_t keep = in8(PORT_B) & ~(PORT_B_SPEAKER | PORT_B_GATE2);
    out8(PORT_B, (uint8_t)(keep | PORT_B_GATE2));
    out8(PIT_COMMAND, PIT_START);
    out8(PIT_CHANNEL2, PIT_BYTE);
    out8(PIT_CHANNEL2, PIT_BYTE);
}

// The try that took the shortest, so an SMI in between does no harm.
static struct boot_clock_sample take_sample(void) {
    struct boot_clock_sample best = {.span = UINT64_MAX};
    for (uint32_t i = 0; i < SAMPLE_TRIES; i++) {
        uint64_t before = __builtin_ia32_rdtsc();
        uint64_t ticks = counter.read() & counter.mask;
        uint64_t span = __builtin_ia32_rdtsc() - before;
        if (span < best.span)
            best = (struct boot_clock_sample){before + span / 2, ticks, span};
    }
    return best;
}

// False when the counter stands still, or all but does.
static bool wait_ticks(uint64_t start, uint64_t wanted) {
    uint64_t last = start;
    for (uint32_t same = 0, reads = 0; same < STUCK_READS && reads < WAIT_READS; reads++) {
        uint64_t now = counter.read() & counter.mask;
        if (((now - start) & counter.mask) >= wanted)
            return true;
        same = now == last ? same + 1 : 0;
        last = now;
    }
    return false;
}

// False when the counter stands still, or all but does.
static bool take_two(struct boot_clock_sample two[2]) {
    two[0] = take_sample();
    bool is_running = wait_ticks(two[0].ticks, counter.hz / FIRST_WINDOW);
    two[1] = take_sample();
    return is_running;
}

static bool begin(void) {
    struct boot_clock_sample two[2];
    return take_two(two) && boot_clock_begin(&clock, counter.hz, counter.mask, two[0], two[1]);
}

static bool begin_pm_timer(void) {
    uint32_t bits = machine->acpi.pm_timer_is_32bit ? 32 : PM_TIMER_BITS;
    pm_timer_port = machine->acpi.pm_timer_port;
    counter = (struct counter){BOOT_CLOCK_PM_TIMER, pm_timer_read, BIT(bits) - 1, PM_TIMER_HZ};
    return pm_timer_port != 0 && begin();
}

static bool begin_hpet(void) {
    hpet_base = machine->info.platform->hpet;
    if (hpet_base == 0 || hpet_base >= HPET_BELOW)
        return false;
    uint32_t period = hpet_read_at(HPET_CAPABILITIES + sizeof(uint32_t));
    if (period < HPET_PERIOD_MIN || period > HPET_PERIOD_MAX ||
        (hpet_read_at(HPET_CONFIG) & HPET_ENABLED) == 0)
        return false;
    counter = (struct counter){BOOT_CLOCK_HPET, hpet_read, UINT32_MAX, FEMTO / period};
    return begin();
}

static bool begin_pit(void) {
    counter = (struct counter){BOOT_CLOCK_PIT, pit_read, PIT_MASK, PIT_HZ};
    pit_start();
    return begin();
}

// With the next counter that runs. False: there is none left.
static bool begin_next(void) {
    static bool (*const begins[])(void) = {begin_pm_timer, begin_hpet, begin_pit};
    while (begun_count < ARRAY_COUNT(begins))
        if (begins[begun_count++]())
            return true;
    return false;
}

static void give_up(void) {
    static const char *const names[] = {[BOOT_CLOCK_PM_TIMER] = "ACPI PM timer",
                                        [BOOT_CLOCK_HPET] = "HPET",
                                        [BOOT_CLOCK_PIT] = "8254"};
    console_print("bulkhead: the %s does not count steadily, so it is not used\r\n",
                  names[counter.source]);
    is_measuring = begin_next();
}

static void begin_again(void) {
    struct boot_clock_sample two[2];
    if (!take_two(two) || !boot_clock_again(&clock, two[0], two[1]))
        give_up();
}

void clock_begin(const struct loader *loader) {
    machine = loader;
    is_measuring = begin_next();
}

void clock_look(void) {
    if (is_measuring && !boot_clock_add(&clock, take_sample()))
        begin_again();
}

// Until the first look is long enough ago; looks often enough for the shortest counter. Ends
// since every counter is begun anew a bounded number of times.
static void wait_window(void) {
    uint64_t error;
    while (is_measuring &&
           clock.last.tsc - clock.first.tsc < boot_clock_rate(&clock, &error) / LAST_WINDOW) {
        wait_ticks(take_sample().ticks, counter.hz / FIRST_WINDOW);
        clock_look();
    }
}

// 0: no counter is left that gives a rate which the kernel takes.
static uint64_t measure(uint64_t *error) {
    for (uint32_t i = 1;; i++) {
        clock_look();
        wait_window();
        if (!is_measuring)
            return 0;
        uint64_t rate = boot_clock_rate(&clock, error);
        if (!boot_clock_is_rate(rate))
            give_up();
        else if (*error <= ERROR_MAX || i >= ATTEMPTS)
            return rate;
        else
            begin_again();
    }
}

static uint64_t read_told(void) {
    uint32_t leaf15[3] = {0, 0, 0}, base[3] = {0, 0, 0}, edx;
    __get_cpuid_count(CPUID_TSC, 0, &leaf15[0], &leaf15[1], &leaf15[2], &edx);
    __get_cpuid_count(CPUID_BASE, 0, &base[0], &base[1], &base[2], &edx);
    return boot_clock_told(leaf15, base[0] & UINT16_MAX);
}

static void read_date(struct boot_info *info) {
    EFI_TIME time = {0};
    info->platform->start.utc_tsc = __builtin_ia32_rdtsc();
    EFI_STATUS status = loader_system->RuntimeServices->GetTime(&time, NULL);
    const struct boot_date date = {.year = time.Year,
                                   .month = time.Month,
                                   .day = time.Day,
                                   .hour = time.Hour,
                                   .minute = time.Minute,
                                   .second = time.Second,
                                   .zone = time.TimeZone};
    if (EFI_ERROR(status) || !boot_clock_utc(&date, &info->platform->start.utc_seconds))
        info->platform->start.utc_tsc = info->platform->start.utc_seconds = 0;
}

// CPUID's word holds unless what was measured contradicts it: a base frequency is rounded to MHz,
// and emulators and outer hypervisors are known to say one thing and do another.
static void choose_rate(struct boot_info *info) {
    uint64_t told = read_told(), error = 0;
    uint64_t measured = measure(&error);
    bool is_told = told != 0 && (measured == 0 || boot_clock_agrees(told, measured, error));
    if (is_told && measured != 0)
        error += boot_clock_apart(told, measured);
    info->tsc_hz = is_told ? told : measured;
    info->platform->tsc_source = is_told ? (uint32_t)BOOT_CLOCK_CPUID : counter.source;
    info->platform->tsc_error = measured == 0 ? 0 : (uint32_t)MIN(error / PPM + 1, UINT32_MAX);
}

EFI_STATUS clock_end(struct loader *loader) {
    choose_rate(&loader->info);
    if (loader->info.tsc_hz == 0)
        return console_fail(EFI_UNSUPPORTED,
                            "no clock that Bulkhead knows: it needs the ACPI PM timer, an HPET "
                            "or an 8254");
    read_date(&loader->info);
    return EFI_SUCCESS;
}

void clock_zero_adjust(struct boot_info *info) {
    uint32_t eax, ebx = 0, ecx, edx, low, high;
    __get_cpuid_count(CPUID_STRUCTURED, 0, &eax, &ebx, &ecx, &edx);
    if ((ebx & EBX_TSC_ADJUST) == 0)
        return;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_TSC_ADJUST));
    __asm__ volatile("wrmsr" ::"a"(0), "d"(0), "c"(MSR_TSC_ADJUST));
    uint64_t adjust = (uint64_t)high << 32 | low;
    info->platform->entry_tsc -= adjust;
    if (info->platform->start.utc_tsc != 0)
        info->platform->start.utc_tsc -= adjust;
}
