// SPDX-License-Identifier: Apache-2.0
// Scheduling groups: how the threads of one or more processes, which is to say a VM, are scheduled,
// and what part of the machine they may use. The values are those of struct abi_group.
//
// The cap is a budget (kernel/budget.h) of so many percent of each of GROUP_PERIODS_A_SECOND, all
// CPUs together.
//
// What is reserved is where its pinned threads may be, one on each CPU: so no process has more
// budgets than its group was given. Whether they fit beside others', and who else may use a
// dedicated CPU, is the supervisor's to decide (supervisor/placement.h).
//
// Locks: that of a CPU's queue protects the CPU's words in [q]. Fields marked [a] are atomic: what
// ABI_GROUP_WRITE changes is read without a lock, word by word.
#pragma once

#include "include/abi.h"
#include "kernel/budget.h"
#include "kernel/object.h"

#define GROUP_PERIODS_A_SECOND 50u
#define GROUP_CPU_WORDS        (ABI_CPUS_MAX / 64)
#define GROUP_SHARES           256u // in a page

// What a group has on one CPU, see kernel/runqueue.h.
struct group_share {
    int64_t credit; // ticks of the round's quantum that its threads have left
    uint64_t round; // of the queue's, when it got its last quantum
};

struct group {
    struct object object;
    uint32_t weight;                // [a]
    uint64_t cpus[GROUP_CPU_WORDS]; // [a]
    uint64_t reserved[GROUP_CPU_WORDS];
    uint64_t pinned[GROUP_CPU_WORDS]; // of `reserved`: a thread is there [a]
    uint64_t budget, period;          // of each pinned thread
    uint32_t domain;                  // never 0 [a]
    uint32_t cache_class;             // of service, see arch/cache.h [a]
    uint32_t runnable;                // shared threads that run or want to [a]
    struct budget cap;                // of all its shared threads
    uint64_t owed; // ticks that were charged to it, and that its share is yet to pay [a]
    struct group_share *shares[ABI_CPUS_MAX / GROUP_SHARES]; // a page for so many CPUs [q]
};

static inline struct group_share *group_share(const struct group *group, uint32_t cpu) {
    return &group->shares[cpu / GROUP_SHARES][cpu % GROUP_SHARES];
}

// The group of the supervisor, and of all who were given none: all CPUs, no cap.
extern struct group group_root;
void group_init(void);

// NULL for the enum abi_error in *error.
struct group *group_create(struct quota *quota, const struct abi_group *values, int *error);
extern const struct object_kind group_kind;

// Pays off some of what it owes, up to `most`: what a thread of it ran. So a debt costs double at
// most, and is paid where the group runs. Returns how much.
uint64_t group_pay(struct group *group, uint64_t most);

// Whether its shared threads may run there.
bool group_may_use(const struct group *group, const struct cpu *cpu);

// The CPU is the thread's that asks: 0, ABI_ERROR_ARGUMENT (not reserved) or ABI_ERROR_EXISTS
// (taken).
int group_pin(struct group *group, uint32_t cpu);
void group_unpin(struct group *group, uint32_t cpu);
