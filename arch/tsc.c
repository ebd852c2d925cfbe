// SPDX-License-Identifier: Apache-2.0
// See arch/tsc.h. The boot CPU asks, the other reads its counter and answers: it did so somewhere
// between question and answer, so in the middle, give or take half the time that took. The fastest
// of some rounds tells most. A difference below that cannot be seen by anybody who compares two
// counters through memory.
#include "arch/tsc.h"

#include "arch/x86.h"

uint64_t tsc_hz;
bool tsc_is_common = true;

#define ROUNDS 32u
#define TRIES  8u

// `question` counts up; the other CPU has done what it asks when `answer` is the same.
enum kind { KIND_READ, KIND_ADJUST, KIND_END };

static struct {
    uint32_t question, answer; // atomic
    enum kind kind;
    uint64_t value; // of the counter read; what to add to it
} exchange;

// Neither before what precedes it nor behind what follows.
static uint64_t read_counter(void) {
    x86_lfence();
    uint64_t value = x86_rdtsc();
    x86_lfence();
    return value;
}

static void ask(enum kind kind) {
    exchange.kind = kind;
    uint32_t question = exchange.question + 1;
    __atomic_store_n(&exchange.question, question, __ATOMIC_RELEASE);
    while (__atomic_load_n(&exchange.answer, __ATOMIC_ACQUIRE) != question)
        x86_pause();
}

// 0: no difference can be seen.
static int64_t measure(void) {
    int64_t ahead = 0;
    uint64_t doubt = UINT64_MAX;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t before = read_counter();
        ask(KIND_READ);
        uint64_t half = (read_counter() - before) / 2;
        if (half < doubt) {
            doubt = half;
            ahead = (int64_t)(exchange.value - (before + half));
        }
    }
    bool is_seen = ahead > (int64_t)doubt + 1 || ahead < -(int64_t)doubt - 1;
    return is_seen ? ahead : 0;
}

int64_t tsc_compare(bool has_tsc_adjust) {
    int64_t first = measure(), ahead = first;
    // Again where a later measurement, being finer, still sees something.
    for (uint32_t i = 0; ahead != 0 && has_tsc_adjust && i < TRIES; i++) {
        exchange.value = 0 - (uint64_t)ahead;
        ask(KIND_ADJUST);
        ahead = measure();
    }
    tsc_is_common = tsc_is_common && ahead == 0;
    ask(KIND_END);
    return first;
}

void tsc_answer(void) {
    uint32_t done = __atomic_load_n(&exchange.answer, __ATOMIC_RELAXED);
    enum kind kind = KIND_READ;
    while (kind != KIND_END) {
        while (__atomic_load_n(&exchange.question, __ATOMIC_ACQUIRE) == done)
            x86_pause();
        kind = exchange.kind;
        if (kind == KIND_READ)
            exchange.value = read_counter();
        else if (kind == KIND_ADJUST)
            x86_wrmsr(MSR_TSC_ADJUST, x86_rdmsr(MSR_TSC_ADJUST) + exchange.value);
        __atomic_store_n(&exchange.answer, ++done, __ATOMIC_RELEASE);
    }
}
