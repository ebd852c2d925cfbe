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

// `question` counts up; the other CPU has read its counter when `answer` is the same.
static struct {
    uint32_t question, answer; // atomic
    uint64_t value;            // of the counter read
} exchange;

// Neither before what precedes it nor behind what follows.
static uint64_t read_counter(void) {
    x86_lfence();
    uint64_t value = x86_rdtsc();
    x86_lfence();
    return value;
}

static void ask(void) {
    uint32_t question = exchange.question + 1;
    __atomic_store_n(&exchange.question, question, __ATOMIC_RELEASE);
    while (__atomic_load_n(&exchange.answer, __ATOMIC_ACQUIRE) != question)
        x86_pause();
}

int64_t tsc_compare(void) {
    int64_t ahead = 0;
    uint64_t doubt = UINT64_MAX;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t before = read_counter();
        ask();
        uint64_t half = (read_counter() - before) / 2;
        if (half < doubt) {
            doubt = half;
            ahead = (int64_t)(exchange.value - (before + half));
        }
    }
    if (ahead <= (int64_t)doubt + 1 && ahead >= -(int64_t)doubt - 1)
        return 0; // no difference can be seen
    tsc_is_common = false;
    return ahead;
}

void tsc_answer(void) {
    uint32_t done = __atomic_load_n(&exchange.answer, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        while (__atomic_load_n(&exchange.question, __ATOMIC_ACQUIRE) == done)
            x86_pause();
        exchange.value = read_counter();
        __atomic_store_n(&exchange.answer, ++done, __ATOMIC_RELEASE);
    }
}
