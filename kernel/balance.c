// SPDX-License-Identifier: Apache-2.0
// Where shared threads run; see kernel/scheduler.h, "Where", and kernel/scheduler_internal.h.
#include "kernel/group.h"
#include "kernel/scheduler_internal.h"

#define LOOKS_MAX 16u // at other CPUs, at the end of a slice
// Slices after which a thread changes sides although nothing gets more equal: from 12 to 27, drawn
// anew each time, so that it is not always the turn of the same one.
#define ROTATION_MIN   12u
#define ROTATION_SHIFT 28u // leaves 4 bits of chance

static uint64_t idle_cpus[CPU_COUNT_MAX / 64]; // atomic

bool balance_is_on_cpu(const struct thread *thread) {
    return __atomic_load_n(&thread->is_on_cpu, __ATOMIC_ACQUIRE) != 0;
}

static bool may_move(const struct thread *thread, const void *cpu) {
    return !balance_is_on_cpu(thread) && group_may_use(thread->group, cpu);
}

void balance_mark_idle(const struct cpu *cpu, bool is_idle_now) {
    uint64_t bit = BIT(cpu->index % 64), *word = &idle_cpus[cpu->index / 64];
    if (is_idle_now)
        __atomic_fetch_or(word, bit, __ATOMIC_ACQ_REL);
    else if ((__atomic_load_n(word, __ATOMIC_RELAXED) & bit) != 0)
        __atomic_fetch_and(word, ~bit, __ATOMIC_ACQ_REL);
}

// Whoever gets true is the one that gives the CPU something to do.
static bool claim_idle(uint32_t cpu) {
    uint64_t bit = BIT(cpu % 64), *word = &idle_cpus[cpu / 64];
    return (__atomic_load_n(word, __ATOMIC_RELAXED) & bit) != 0 &&
           (__atomic_fetch_and(word, ~bit, __ATOMIC_ACQ_REL) & bit) != 0;
}

struct cpu *balance_find_idle(const struct thread *thread) {
    for (uint32_t word = 0; word <= (cpu_count - 1) / 64; word++) {
        uint64_t bits = __atomic_load_n(&idle_cpus[word], __ATOMIC_RELAXED);
        for (; bits != 0; bits &= bits - 1) {
            uint32_t i = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (group_may_use(thread->group, cpu_table[i]) && claim_idle(i))
                return cpu_table[i];
        }
    }
    return NULL;
}

// There is one (kernel/group.c), though not at each moment, as masks change word by word.
struct cpu *balance_find_cpu(const struct thread *thread, uint32_t from) {
    for (;; from++)
        if (group_may_use(thread->group, cpu_table[from % cpu_count]))
            return cpu_table[from % cpu_count];
}

struct cpu *balance_choose_cpu(const struct thread *thread) {
    struct cpu *last = thread->cpu;
    if (thread->class != THREAD_SHARED || balance_is_on_cpu(thread))
        return last;
    bool may_stay = group_may_use(thread->group, last);
    if (may_stay && claim_idle(last->index))
        return last;
    struct cpu *idle = balance_find_idle(thread);
    if (idle != NULL || may_stay)
        return idle != NULL ? idle : last;
    return balance_find_cpu(thread, 0);
}

// ---- balance ------------------------------------------------------------------------------------

// Of any CPU, without its lock: a hint.
static uint64_t load_of(const struct scheduler *s) {
    return __atomic_load_n(&s->queue.load, __ATOMIC_RELAXED) +
           __atomic_load_n(&s->running_load, __ATOMIC_RELAXED);
}

struct move {
    struct cpu *to;
    uint64_t difference; // of the loads
    bool may_rotate;
};

static bool is_worth_it(const struct thread *thread, const void *opaque) {
    const struct move *move = opaque;
    bool is_better =
        thread->share < move->difference || (move->may_rotate && thread->share == move->difference);
    return is_better && may_move(thread, move->to);
}

// The least loaded of some CPUs, others each time, that who runs here may use, too.
static struct cpu *find_least_loaded(struct scheduler *s, const struct cpu *self) {
    const struct group *group = scheduler_is_idle(s->running) ? &group_root : s->running->group;
    struct cpu *least = NULL;
    for (uint32_t n = 0; n < MIN(cpu_count, LOOKS_MAX); n++) {
        struct cpu *cpu = cpu_table[s->next_look++ % cpu_count];
        if (cpu == self || !group_may_use(group, cpu))
            continue;
        if (least == NULL || load_of(scheduler_of(cpu)) < load_of(scheduler_of(least)))
            least = cpu;
    }
    s->next_look++; // where several are the least, another one the next time
    return least;
}

void balance_give_away(struct scheduler *s, struct cpu *self) {
    struct cpu *to = find_least_loaded(s, self);
    if (to == NULL)
        return;
    lock_take(&s->lock);
    uint64_t here = load_of(s), there = load_of(scheduler_of(to));
    s->rotation -= s->rotation != 0;
    struct move move = {to, here > there ? here - there : 0, s->rotation == 0};
    struct thread *thread = runqueue_find_movable(&s->queue, is_worth_it, &move);
    if (thread == NULL) {
        lock_drop(&s->lock);
        return;
    }
    s->chance = s->chance * 1664525 + 1013904223;
    s->rotation = ROTATION_MIN + (s->chance >> ROTATION_SHIFT);
    runqueue_remove(&s->queue, thread);
    scheduler_put_on(s, thread, to, RUNQUEUE_BEHIND);
}

bool balance_steal(struct cpu *self) {
    for (uint32_t n = 1; n < cpu_count; n++) {
        struct scheduler *from = scheduler_of(cpu_table[(self->index + n) % cpu_count]);
        if (__atomic_load_n(&from->queue.count, __ATOMIC_RELAXED) == 0)
            continue;
        lock_take(&from->lock);
        struct thread *thread = runqueue_find_movable(&from->queue, may_move, self);
        if (thread != NULL) {
            runqueue_remove(&from->queue, thread);
            scheduler_put_on(from, thread, self, RUNQUEUE_BEHIND);
            return true;
        }
        lock_drop(&from->lock);
    }
    return false;
}
