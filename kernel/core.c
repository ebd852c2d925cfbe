// SPDX-License-Identifier: Apache-2.0
// See kernel/core.h.
#include "kernel/core.h"

#include "kernel/lock.h"

struct core {
    struct spinlock lock;
    uint32_t users;    // CPUs of it that run somebody
    uint32_t domain;   // theirs; of the last ones when there are none
    uint32_t promised; // the domain that comes next; 0: none
    uint32_t urgents;  // of the users, that run a real-time thread
    uint64_t since;    // TSC when the domain got it, or when it was promised
};

static struct core cores[CPU_COUNT_MAX]; // by cpu->core
static bool is_inside[CPU_COUNT_MAX];    // by CPU: it is one of `users` [lock]
static bool runs_urgent[CPU_COUNT_MAX];  // by CPU: it is one of `urgents` [lock]
static struct {
    uint32_t domain;    // that it was refused for last; 0: it got it, or wants nothing
    uint64_t since;     // TSC
} waits[CPU_COUNT_MAX]; // by CPU [lock]

// Zeroes are a lock that nobody holds, but for its rank.
static struct core *take(const struct cpu *cpu) {
    struct core *core = &cores[cpu->core];
    core->lock.rank = LOCK_CORE;
    lock_take(&core->lock);
    return core;
}

static bool is_alone(const struct cpu *cpu) {
    return __atomic_load_n(&cpu->sibling, __ATOMIC_ACQUIRE) == NULL;
}

// Whether it was inside.
static bool leave(struct core *core, const struct cpu *cpu) {
    bool was_inside = is_inside[cpu->index];
    core->users -= was_inside;
    core->urgents -= runs_urgent[cpu->index];
    is_inside[cpu->index] = runs_urgent[cpu->index] = false;
    return was_inside;
}

static enum core_answer enter(struct core *core, const struct cpu *cpu, uint32_t domain,
                              bool is_urgent, uint64_t now) {
    if (core->users == 0) {
        if (core->domain != domain)
            core->since = now;
        core->domain = domain;
        core->promised = 0;
    }
    core->users++;
    core->urgents += is_urgent;
    is_inside[cpu->index] = true;
    runs_urgent[cpu->index] = is_urgent;
    if (waits[cpu->index].domain == domain)
        waits[cpu->index].domain = 0;
    return CORE_ENTERED;
}

// Since when it has been refused for this domain.
static uint64_t begin_wait(const struct cpu *cpu, uint32_t domain, uint64_t now) {
    if (waits[cpu->index].domain != domain)
        waits[cpu->index].since = now;
    waits[cpu->index].domain = domain;
    return waits[cpu->index].since;
}

static enum core_answer ask(struct core *core, const struct cpu *cpu, uint32_t domain,
                            bool is_urgent, uint64_t now, uint64_t slice, uint64_t *retry) {
    bool was_inside = leave(core, cpu);
    bool is_over = now - core->since >= slice;
    bool is_free = core->promised == 0 || core->promised == domain || is_over;
    if (core->users == 0 ? is_free : core->domain == domain && core->promised == 0)
        return enter(core, cpu, domain, is_urgent, now);
    *retry = is_over ? now + slice : core->since + slice;
    // Owners that change among themselves do not begin anew for who waits.
    uint64_t begin = begin_wait(cpu, domain, now);
    bool is_due = is_over || now - begin >= slice;
    if (core->promised == 0 && !is_due)
        *retry = MIN(*retry, begin + slice);
    if (core->users > 0 && core->promised == 0 && (is_urgent || (is_due && core->urgents == 0))) {
        core->promised = domain;
        core->since = now;
        *retry = now + slice;
    }
    // Once: CPUs that both wait, for a promise that neither takes up, would tell each other for ever.
    bool is_handed_over = was_inside && core->users == 0;
    bool is_ours = core->promised == domain;
    return core->promised != 0 && (is_ours || is_handed_over) ? CORE_TELL : CORE_LATER;
}

enum core_answer core_enter(const struct cpu *cpu, uint32_t domain, bool is_urgent, uint64_t now,
                            uint64_t slice, uint64_t *retry) {
    if (is_alone(cpu))
        return CORE_ENTERED;
    struct core *core = take(cpu);
    enum core_answer answer = ask(core, cpu, domain, is_urgent, now, slice, retry);
    lock_drop(&core->lock);
    return answer;
}

bool core_leave(const struct cpu *cpu) {
    if (is_alone(cpu))
        return false;
    struct core *core = take(cpu);
    waits[cpu->index].domain = 0;
    bool is_handed_over = leave(core, cpu) && core->users == 0 && core->promised != 0;
    lock_drop(&core->lock);
    return is_handed_over;
}

uint32_t core_get_domain(const struct cpu *cpu) {
    if (is_alone(cpu))
        return 0;
    struct core *core = take(cpu);
    uint32_t domain = core->promised != 0 ? 0 : core->domain;
    lock_drop(&core->lock);
    return domain;
}
