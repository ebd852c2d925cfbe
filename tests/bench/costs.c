// SPDX-License-Identifier: Apache-2.0
// What exits cost, in ticks of the guest's TSC: a round trip is timed many times, the median of the times less that of
// timing nothing is printed as `bench NAME TICKS`.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define SAMPLES 1001u
#define WARM_UP 10u

static uint64_t samples[SAMPLES];

static void sort(void) {
    for (size_t gap = SAMPLES / 2; gap > 0; gap /= 2) {
        for (size_t i = gap; i < SAMPLES; i++) {
            uint64_t value = samples[i];
            size_t at = i;
            for (; at >= gap && samples[at - gap] > value; at -= gap)
                samples[at] = samples[at - gap];
            samples[at] = value;
        }
    }
}

// The two RDTSC stand directly around the instruction; EDX:EAX of the first are kept in RSI and RDI.
#define TIMED "rdtsc; mov %%rax, %%rdi; mov %%rdx, %%rsi\n\t"
#define UNTIL                                                                                      \
    "\n\trdtsc; shl $32, %%rdx; or %%rdx, %%rax; shl $32, %%rsi; or %%rsi, %%rdi; sub %%rdi, "     \
    "%%rax"

#define MEDIAN(result, code)                                                                       \
    do {                                                                                           \
        for (uint32_t i_ = 0; i_ < SAMPLES + WARM_UP; i_++) {                                      \
            uint64_t ticks_;                                                                       \
            __asm__ volatile(TIMED code UNTIL                                                      \
                             : "=a"(ticks_)                                                        \
                             : "r"(window)                                                         \
                             : "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc");                 \
            samples[i_ % SAMPLES] = ticks_;                                                        \
        }                                                                                          \
        sort();                                                                                    \
        (result) = samples[SAMPLES / 2];                                                           \
    } while (0)

#define MEASURE(name, code)                                                                        \
    do {                                                                                           \
        uint64_t median_;                                                                          \
        MEDIAN(median_, code);                                                                     \
        print("bench %s %lu\n", name, median_ - nothing);                                          \
        CHECK(median_ > nothing);                                                                  \
    } while (0)

void test(void) {
    register uint64_t window __asm__("r12") = IOAPIC_BASE + 0x10;
    uint64_t nothing;
    (void)ioapic_read(IOAPIC_VERSION); // selects the register that is read below
    MEDIAN(nothing, "");
    MEASURE("exit_cpuid", "xor %%eax, %%eax; cpuid");
    MEASURE("exit_out_vmm", "out %%al, $0x70");
    MEASURE("exit_mmio_read_vmm", "mov (%%r12), %%eax");
}
