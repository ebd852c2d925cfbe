// SPDX-License-Identifier: Apache-2.0
// What exits and interrupts cost, in ticks of the guest's TSC: each is timed many times; the
// median, less that of timing nothing, is printed as `bench NAME TICKS`. Two processors; with the
// word `pair` each has a CPU of its own and interrupts between them are timed, else they share one,
// and all the rest is.
#include "measure.h"
#include "pair.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"

#define WARM_UP  10u
#define TIMER_US 400u // from setting the timer to its deadline: KVM no longer polls then

// RAM of a guest of 64 MiB.
#define FAULT_BEGIN 0x1000000ull
#define FAULT_STEP  0x200000ull
#define FAULTS      15u
#define FRESH_BEGIN 0x3000000ull
#define FRESH_END   0x3e00000ull

static uint64_t samples[SAMPLES_MAX];

// The two RDTSC stand directly around the instruction; EDX:EAX of the first are kept in RSI and
// RDI.
#define TIMED "rdtsc; mov %%rax, %%rdi; mov %%rdx, %%rsi\n\t"
#define UNTIL                                                                                      \
    "\n\trdtsc; shl $32, %%rdx; or %%rdx, %%rax; shl $32, %%rsi; or %%rsi, %%rdi; sub %%rdi, "     \
    "%%rax"

// A bit of a control register is changed, and back: two moves.
#define TOGGLE(name, bit)                                                                          \
    "mov %%" name ", %%rbx; xor " bit ", %%rbx; mov %%rbx, %%" name "; xor " bit                   \
    ", %%rbx; mov %%rbx, %%" name

#define TIME(result, code)                                                                         \
    __asm__ volatile(TIMED code UNTIL                                                              \
                     : "=a"(result)                                                                \
                     : "r"(window)                                                                 \
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc")

#define MEDIAN(result, code)                                                                       \
    do {                                                                                           \
        for (uint32_t i_ = 0; i_ < SAMPLES_MAX + WARM_UP; i_++) {                                  \
            uint64_t ticks_;                                                                       \
            TIME(ticks_, code);                                                                    \
            samples[i_ % SAMPLES_MAX] = ticks_;                                                    \
        }                                                                                          \
        (result) = median(samples, SAMPLES_MAX);                                                   \
    } while (0)

#define MEASURE(name, code)                                                                        \
    do {                                                                                           \
        uint64_t median_;                                                                          \
        MEDIAN(median_, code);                                                                     \
        print("bench %s %lu\n", name, median_ - nothing);                                          \
        CHECK(median_ > nothing);                                                                  \
    } while (0)

// The first access to a page of RAM that the host has ready, since INS wrote there. Then the first
// to each page of RAM that nobody has used, as the host clears it. Bulkhead maps 2 MiB at once.
static void measure_faults(uint64_t nothing) {
    register uint64_t window __asm__("r12");
    for (uint32_t i = 0; i < FAULTS; i++) {
        window = FAULT_BEGIN + i * FAULT_STEP;
        uint64_t to = window;
        __asm__ volatile("insb" : "+D"(to) : "d"(0x71) : "memory");
        TIME(samples[i], "mov (%%r12), %%eax");
    }
    uint64_t ticks = median(samples, FAULTS);
    print("bench nested_fault %lu\n", ticks - nothing);
    CHECK(ticks > nothing);
    uint64_t start = rdtsc(), pages = (FRESH_END - FRESH_BEGIN) / PAGE_SIZE;
    for (uint64_t at = FRESH_BEGIN; at < FRESH_END; at += PAGE_SIZE)
        (void)*(const volatile uint8_t *)at;
    print("bench fresh_page %lu\n", (rdtsc() - start) / pages);
}

static void measure_instructions(void) {
    register uint64_t window __asm__("r12") = IOAPIC_BASE + 0x10;
    uint64_t nothing;
    interrupts_off();
    (void)ioapic_read(IOAPIC_VERSION); // selects the register that is read below
    MEDIAN(nothing, "");
    MEASURE("exit_cpuid", "xor %%eax, %%eax; cpuid");
    MEASURE("exit_out_vmm", "out %%al, $0x70");
    MEASURE("exit_mmio_read_vmm", "mov (%%r12), %%eax");
    MEASURE("cr4_pge", TOGGLE("cr4", "$0x80"));
    MEASURE("cr0_wp", TOGGLE("cr0", "$0x10000"));
    measure_faults(nothing);
    // From here on by the first RDTSC's value: a deadline that is 20 ms away and never comes.
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR_0);
    MEASURE("tsc_deadline", "add $0x100000, %%eax; adc $0, %%edx; mov $0x6e0, %%ecx; wrmsr");
    wrmsr(MSR_TSC_DEADLINE, 0);
    interrupts_on();
    MEASURE("self_ipi", "mov $0x60, %%eax; xor %%edx, %%edx; mov $0x83f, %%ecx; wrmsr");
}

static void measure_timer(const char *name, uint64_t (*wait)(uint32_t)) {
    uint64_t ticks = tsc_hz() * TIMER_US / 1000000;
    for (uint32_t i = 0; i < SAMPLES_MAX + WARM_UP; i++) {
        stamp[0] = 0;
        uint64_t deadline = rdtsc() + ticks;
        wrmsr(MSR_TSC_DEADLINE, deadline);
        uint64_t begun = wait(0);
        if (i == 0)
            CHECK(begun >= deadline);
        samples[i % SAMPLES_MAX] = begun - deadline;
    }
    print("bench %s %lu\n", name, median(samples, SAMPLES_MAX));
}

void test(void) {
    measure_init();
    smp_start(true);
    if (cmdline_has("pair")) {
        pair_measure_interrupts();
    } else {
        measure_instructions();
        measure_timer("timer_running", wait_spinning);
        measure_timer("timer_halted", wait_halted);
        pair_measure_switch();
    }
    CHECK(true);
}
