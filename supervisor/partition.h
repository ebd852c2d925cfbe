// SPDX-License-Identifier: Apache-2.0
// A partition: everything the machine gives to one VM while it runs. Made as a whole and given back
// as a whole, so that an ended VM leaves nothing behind.
#pragma once

#include "include/vmm.h"
#include "supervisor/manifest.h"
#include "supervisor/placement.h"
#include "supervisor/process.h"

#include <stdbool.h>

#define PARTITION_WHY_MAX PLACEMENT_WHY_MAX

// Memory that the VMM maps, too.
struct partition_shared {
    uint32_t memory; // handle; 0: none
    void *at;        // where the supervisor sees it; NULL: nowhere
};

struct partition {
    // The supervisor's handles; 0: none.
    uint32_t quota;
    uint32_t group;
    struct abi_group share; // what the group has
    uint32_t wakeup;        // the VMM's event
    uint32_t more_rights;   // of each of the VMM's handles; none but for a program of a test image
    struct process process;
    struct partition_shared console; // struct vmm_console
    struct partition_shared reports; // struct vmm_reports
    uint64_t cost;                   // bytes that the supervisor's quota lost to all this
};

// What there is to know beforehand.
struct partition_plan {
    const struct vm_config *config;
    uint32_t index; // of the VM
    const struct placement *placement;
    struct abi_group group; // its share of the CPUs
};

// Makes the VM and starts its VMM. False: nothing is left of it, and `why` says, in words for
// people, what did not work.
bool partition_carve(struct partition *partition, const struct partition_plan *plan,
                     char why[PARTITION_WHY_MAX]);

// Returns the kernel's answer; nothing changes when that is an error.
int64_t partition_set_share(struct partition *partition, uint32_t weight, uint32_t cap);

// Where its shared threads may run; nothing where it has no group.
void partition_set_cpus(struct partition *partition, struct cpuset cpus);

// Ends the process and gives back everything but the quota itself, which the kernel may need a
// moment longer: until its last thread has left the CPU that it ran on.
void partition_close(struct partition *partition);

// Bytes that the quota still holds: 0 once the kernel is done, or else, after a while, a leak.
uint64_t partition_left(const struct partition *partition);

// Gives back the quota, last.
void partition_forget(struct partition *partition);

// Bytes that the VM holds right now beyond its own RAM of `memory` bytes.
uint64_t partition_overhead(const struct partition *partition, uint64_t memory);

// Bytes of quota for a VM: its RAM and what its tables and its VMM may need.
uint64_t partition_size(const struct vm_config *config);
