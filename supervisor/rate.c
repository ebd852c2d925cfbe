// SPDX-License-Identifier: Apache-2.0
// Rates are kept as a time: each unit costs a second's share, and whoever has used up his burst
// waits until the time has come up with him. So nothing is lost by rounding, however often somebody
// asks.
#include "supervisor/rate.h"

#include "supervisor/machine.h"

#define NS_PER_SECOND 1000000000ULL

static const struct {
    uint64_t cost; // nanoseconds
    uint32_t burst;
} kinds[] = {
    [RATE_OUTPUT] = {NS_PER_SECOND / RATE_OUTPUT_SECOND, RATE_OUTPUT_BURST},
    [RATE_REPORTS] = {NS_PER_SECOND / RATE_REPORTS_SECOND, RATE_REPORTS_BURST},
    [RATE_ROUNDS] = {NS_PER_SECOND / RATE_ROUNDS_SECOND, RATE_ROUNDS_BURST},
};

static struct rate rounds;
static uint64_t next_round; // TSC

static uint64_t now_ns(void) {
    return machine_nanoseconds(machine_tsc());
}

uint32_t rate_room(const struct rate *rate, enum rate_kind kind) {
    uint64_t now = now_ns();
    uint64_t debt = rate->taken_until > now ? rate->taken_until - now : 0;
    uint64_t units = (debt + kinds[kind].cost - 1) / kinds[kind].cost;
    return units < kinds[kind].burst ? kinds[kind].burst - (uint32_t)units : 0;
}

void rate_take(struct rate *rate, enum rate_kind kind, uint32_t count) {
    uint64_t now = now_ns();
    uint64_t from = rate->taken_until > now ? rate->taken_until : now;
    rate->taken_until = from + count * kinds[kind].cost;
}

uint64_t round_wait(uint64_t deadline, bool has_work) {
    if (machine_tsc() < next_round) {
        uint64_t until = deadline < next_round ? deadline : next_round;
        uint64_t bits = machine_wait(MACHINE_EVENT_CONSOLE, until);
        if (bits != 0 || machine_tsc() < next_round) {
            return bits;
        }
    }
    uint64_t bits = machine_wait(UINT64_MAX, has_work ? 0 : deadline);
    if (has_work || (bits & ~MACHINE_EVENT_CONSOLE) != 0) {
        rate_take(&rounds, RATE_ROUNDS, 1);
        uint64_t pause = rate_room(&rounds, RATE_ROUNDS) > 0 ? ROUND_NS : kinds[RATE_ROUNDS].cost;
        next_round = machine_tsc() + machine_ticks(pause);
    }
    return bits;
}
