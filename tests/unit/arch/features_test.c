// SPDX-License-Identifier: Apache-2.0
// arch/features: a CPU that offers less than the first one is left off, and the word is named.
#include <criterion/criterion.h>

#include "arch/x86.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char said[256];
static struct cpuid_result paper = {0x11, 0x22, 0x33, 0x44};
static uint64_t paper_msr;
static unsigned reads;

__attribute__((format(printf, 1, 2))) static void paper_log_line(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said, sizeof(said), format, arguments);
    va_end(arguments);
}
static struct cpuid_result paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    cr_assert(leaf == 7 && subleaf == 2);
    reads++;
    return paper;
}
static uint64_t paper_rdmsr(uint32_t msr) {
    cr_assert_eq(msr, 0x48b);
    reads++;
    return paper_msr;
}

#define cpu_features features_test_cpu_features
#define x86_cpuid    paper_cpuid
#define x86_rdmsr    paper_rdmsr
#define log_line     paper_log_line
#include "arch/features.c"

static uint64_t mask = UINT64_MAX;

static bool compare(uint8_t source, uint8_t rule, uint64_t value) {
    const struct cpu_word word = {source == CPU_WORD_MSR ? 0x48b : 7, 2, source, rule, mask, value};
    said[0] = '\0';
    features_init(&word, 1);
    return features_compare(5);
}

Test(features, cpu_with_all_bits_and_more_is_taken) {
    cr_assert(compare(CPU_WORD_ECX, CPU_WORD_BITS, 0x33));
    cr_assert(compare(CPU_WORD_ECX, CPU_WORD_BITS, 0x31));
    cr_assert(compare(CPU_WORD_EAX, CPU_WORD_SAME, 0x11));
    cr_assert_str_eq(said, "");
}

Test(features, cpu_with_a_bit_less_is_left_off_by_name) {
    cr_assert_not(compare(CPU_WORD_EDX, CPU_WORD_BITS, 0x45));
    cr_assert_str_eq(said, "the CPU with APIC ID 5 is not like the first one: EDX of CPUID leaf "
                           "0x7, 2: 0x44 is not 0x45: left off");
    cr_assert_not(compare(CPU_WORD_EBX, CPU_WORD_SAME, 0x23));
    cr_assert_not(compare(CPU_WORD_EBX, CPU_WORD_SAME, 0x20), "more is another, too");
}

Test(features, controls_must_allow_what_the_first_cpu_does) {
    paper_msr = 0xf0ULL << 32 | 0x0f;
    cr_assert(compare(CPU_WORD_MSR, CPU_WORD_CONTROLS, 0xf0ULL << 32 | 0x0f));
    cr_assert(compare(CPU_WORD_MSR, CPU_WORD_CONTROLS, 0x70ULL << 32 | 0x1f), "it allows more");
    cr_assert_not(compare(CPU_WORD_MSR, CPU_WORD_CONTROLS, 0xf1ULL << 32 | 0x0f), "may be 1");
    cr_assert_not(compare(CPU_WORD_MSR, CPU_WORD_CONTROLS, 0xf0ULL << 32 | 0x07), "must be 1");
}

Test(features, what_does_not_count_may_differ) {
    mask = 0x0f;
    cr_assert(compare(CPU_WORD_EAX, CPU_WORD_SAME, 0x01));
    cr_assert_not(compare(CPU_WORD_EAX, CPU_WORD_SAME, 0x02));
}

// The MSR of what a CPU lacks is not there.
Test(features, first_difference_ends_it) {
    const struct cpu_word words_of_two[] = {{7, 2, CPU_WORD_ECX, CPU_WORD_BITS, UINT64_MAX, 0x40},
                                            {0x48b, 0, CPU_WORD_MSR, CPU_WORD_SAME, UINT64_MAX, 0}};
    features_init(words_of_two, 2);
    cr_assert_not(features_compare(1));
    cr_assert_eq(reads, 1);
}
