// SPDX-License-Identifier: Apache-2.0
// The witness: a well-behaved guest beside hostile ones. It arms the TSC-deadline timer once a
// beat, halts, and in between looks whether all is as it left it: a piece of its memory, which is
// full of a pattern, its general and SSE registers, its MSRs. Command line:
//     beats=N        how many (default: 300)
//     beat_us=N      from one to the next (default: 10000)
//     bound=N        ticks: how late a beat may be; 0: any
// Each beat must come, once, and never early; one that comes behind the bound is a missed one. How
// late they came is told as a histogram at the end, and as one line
// `witness: beats N missed M worst L ticks`.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR        0x60
#define PATTERN_BYTES SIZE_2M
#define PIECE_BYTES   (64u << 10) // looked at in a beat
#define BUCKETS       40u
#define MAGIC         0x5ca1ab1e0ddba11ULL
#define SYSENTER_SEL  0x10u

static volatile uint64_t deadline, taken_at;
static volatile uint32_t taken;
static uint32_t histogram[BUCKETS];
static uint64_t bound, missed, worst;
static uint64_t *pattern;
static uint64_t piece;
static uint32_t spoiled;

static void on_beat(struct trap_frame *frame) {
    (void)frame;
    taken_at = rdtsc();
    taken++;
    lapic_eoi();
}

// ---- memory, registers, MSRs --------------------------------------------------------------------

static uint64_t word_at(uint64_t i, uint64_t generation) {
    return (i + generation) * 0x9e3779b97f4a7c15ULL ^ MAGIC;
}

// A piece is checked against what was written the last time round, and written anew.
static void check_memory(void) {
    const uint64_t pieces = PATTERN_BYTES / PIECE_BYTES, words = PIECE_BYTES / sizeof(uint64_t);
    uint64_t generation = piece / pieces, first = piece % pieces * words;
    uint32_t before = spoiled;
    for (uint64_t i = first; i < first + words; i++) {
        spoiled += pattern[i] != word_at(i, generation);
        pattern[i] = word_at(i, generation + 1);
    }
    CHECK_EQ(spoiled, before);
    piece++;
}

// AMD's processors have no 64-bit SYSENTER, and of its registers the lower halves.
static uint64_t sysenter_esp(void) {
    return is_amd() ? (uint32_t)(MAGIC >> 19) : MAGIC >> 19;
}

static void set_registers(void) {
    wrmsr(MSR_LSTAR, MAGIC >> 20);
    wrmsr(MSR_STAR, MAGIC);
    wrmsr(MSR_SFMASK, 0x12345678);
    wrmsr(MSR_KERNEL_GS_BASE, MAGIC >> 17);
    wrmsr(MSR_GS_BASE, MAGIC >> 18);
    wrmsr(MSR_SYSENTER_CS, SYSENTER_SEL);
    wrmsr(MSR_SYSENTER_ESP, sysenter_esp());
    write_dr0(MAGIC >> 20);
    write_dr3(MAGIC >> 21);
    write_cr2(MAGIC);
}

static void check_registers(void) {
    CHECK_EQ(rdmsr(MSR_LSTAR), MAGIC >> 20);
    CHECK_EQ(rdmsr(MSR_STAR), MAGIC);
    CHECK_EQ(rdmsr(MSR_SFMASK), 0x12345678);
    CHECK_EQ(rdmsr(MSR_KERNEL_GS_BASE), MAGIC >> 17);
    CHECK_EQ(rdmsr(MSR_GS_BASE), MAGIC >> 18);
    CHECK_EQ(rdmsr(MSR_SYSENTER_CS), SYSENTER_SEL);
    CHECK_EQ(rdmsr(MSR_SYSENTER_ESP), sysenter_esp());
    CHECK_EQ(read_dr0(), MAGIC >> 20);
    CHECK_EQ(read_dr3(), MAGIC >> 21);
    CHECK_EQ(read_cr2(), MAGIC);
}

// Halts with known values in general and SSE registers, until a beat has come.
static void wait_for_beat(uint32_t wanted) {
    uint64_t values[4] = {wanted, wanted * MAGIC, ~MAGIC, wanted ^ MAGIC}, got[4], sse[4];
    __asm__ volatile("movdqu (%[values]), %%xmm0\n\t"
                     "movdqu 16(%[values]), %%xmm15\n\t"
                     "mov 0(%[values]), %%r8\n\t"
                     "mov 8(%[values]), %%r9\n\t"
                     "mov 16(%[values]), %%r14\n\t"
                     "mov 24(%[values]), %%r15\n"
                     "1:\tcli\n\t"
                     "cmp %[wanted], %[taken]\n\t"
                     "jae 2f\n\t"
                     "sti\n\t"
                     "hlt\n\t"
                     "jmp 1b\n"
                     "2:\tmov %%r8, 0(%[got])\n\t"
                     "mov %%r9, 8(%[got])\n\t"
                     "mov %%r14, 16(%[got])\n\t"
                     "mov %%r15, 24(%[got])\n\t"
                     "movdqu %%xmm0, (%[sse])\n\t"
                     "movdqu %%xmm15, 16(%[sse])"
                     :
                     : [values] "r"(values), [got] "r"(got), [sse] "r"(sse), [wanted] "r"(wanted),
                       [taken] "m"(taken)
                     : "r8", "r9", "r14", "r15", "memory", "cc");
    CHECK(memcmp(values, got, sizeof(values)) == 0);
    CHECK(memcmp(values, sse, sizeof(values)) == 0);
}

// ---- beats --------------------------------------------------------------------------------------

static void count(uint64_t late) {
    uint32_t bucket = late == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(late);
    histogram[MIN(bucket, BUCKETS - 1)]++;
    worst = MAX(worst, late);
    missed += bound != 0 && late > bound;
}

static void beat(uint64_t period, uint32_t number) {
    deadline = rdtsc() + period;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    check_memory();
    check_registers();
    wait_for_beat(number);
    CHECK_EQ(taken, number);
    CHECK(taken_at >= deadline);
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
    count(taken_at - deadline);
}

static void tell(uint64_t beats) {
    for (uint32_t i = 0; i < BUCKETS; i++)
        if (histogram[i] != 0)
            print("late by less than %llu ticks: %u\n", BIT(i), histogram[i]);
    print("witness: beats %lu missed %lu worst %lu ticks\n", beats, missed, worst);
}

void test(void) {
    uint64_t beats = cmdline_number("beats"), period = cmdline_number("beat_us");
    bound = cmdline_number("bound");
    beats = beats == 0 ? 300 : beats;
    period = tsc_hz() / 1000000 * (period == 0 ? 10000 : period);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    pattern = (uint64_t *)align_up((uintptr_t)image_end, SIZE_2M);
    for (uint64_t i = 0; i < PATTERN_BYTES / sizeof(uint64_t); i++)
        pattern[i] = word_at(i, 0);
    set_registers();
    lapic_init(true);
    trap_set_handler(VECTOR, on_beat);
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR);
    for (uint32_t i = 1; i <= beats; i++)
        beat(period, i);
    tell(beats);
    CHECK_EQ(taken, beats);
    CHECK_EQ(missed, 0);
}
