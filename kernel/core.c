// SPDX-License-Identifier: Apache-2.0
// See kernel/core.h.
#include "kernel/core.h"

#include "arch/mitigation.h"
#include "kernel/lock.h"
#include "kernel/vcpu.h"

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

// What the domain has in this CPU goes to memory, and that out of the buffers, which are divided
// anew among the core's CPUs when one of them halts: while the core is still the domain's, so never
// beside another one.
static void clean_up(void) {
    vcpu_evict();
    mitigation_clear_buffers();
}

static void leave(struct core *core, const struct cpu *cpu) {
    core->users -= is_inside[cpu->index];
    core->urgents -= runs_urgent[cpu->index];
    is_inside[cpu->index] = runs_urgent[cpu->index] = false;
}

// All of its CPUs remember the domain before, whichever of them ran it: each has a barrier to come.
static void change_domain(struct core *core, struct cpu *cpu, uint32_t domain, uint64_t now) {
    core->since = now;
    core->domain = domain;
    struct cpu *each = cpu;
    do {
        each->domain = 0;
        each = each->sibling;
    } while (each != cpu);
}

static enum core_answer enter(struct core *core, struct cpu *cpu, uint32_t domain, bool is_urgent,
                              uint64_t now) {
    if (core->domain != domain)
        change_domain(core, cpu, domain, now);
    if (core->users == 0)
        core->promised = 0;
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

static enum core_answer ask(struct core *core, struct cpu *cpu, uint32_t domain, bool is_urgent,
                            uint64_t now, uint64_t slice, uint64_t *retry) {
    bool was_inside = is_inside[cpu->index], is_same = core->domain == domain;
    bool is_over = now - core->since >= slice;
    bool is_free = core->promised == 0 || core->promised == domain || is_over;
    bool is_granted = core->users == was_inside ? is_free : is_same && core->promised == 0;
    if (was_inside && !(is_granted && is_same))
        clean_up();
    leave(core, cpu);
    if (is_granted)
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
    // Once: CPUs that both wait, for a promise that neither takes up, would tell each other for
    // ever.
    bool is_handed_over = was_inside && core->users == 0;
    bool is_ours = core->promised == domain;
    return core->promised != 0 && (is_ours || is_handed_over) ? CORE_TELL : CORE_LATER;
}

enum core_answer core_enter(struct cpu *cpu, uint32_t domain, bool is_urgent, uint64_t now,
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
    bool was_inside = is_inside[cpu->index];
    if (was_inside)
        clean_up();
    leave(core, cpu);
    bool is_handed_over = was_inside && core->users == 0 && core->promised != 0;
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
