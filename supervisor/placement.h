// SPDX-License-Identifier: Apache-2.0
// Which CPUs of the host the vCPUs of a VM get: the choice for dedicated and real-time VMs, and the
// test that lets them in or not. The kernel runs what was placed and asks nothing: the policy
// stands here.
//
//   placement_open       once: reads the machine's CPUs and cores
//   placement_take       reserves; again for what has already reserved: nothing
//   placement_release
//   placement_shared     after both: where shared threads may run from now on
//
// Invariants. A dedicated CPU has no other reservation, and neither have the other hardware threads
// of its core, which are reserved with it. Real-time reservations of a CPU, and of a core on which
// VMs meet that do not trust each other, are at most MANIFEST_SHARE_MAX together. At least one CPU
// is dedicated to nobody, and each shared VM may run on one of those.
#pragma once

#include "supervisor/cpuset.h"
#include "supervisor/manifest.h"

#define PLACEMENT_WHY_MAX 240u

struct placement {
    struct placement *next; // in the list of those that were taken
    const struct vm_config *config;
    bool is_taken;
    struct cpuset cpus;               // where the shared threads may run
    struct cpuset reserved;           // empty for VM_SHARED
    uint32_t permil;                  // VM_REALTIME: of each reserved CPU
    uint16_t cpu[MANIFEST_VCPUS_MAX]; // each vCPU's, when something is reserved
};

void placement_open(void);

// False: `why` says what is free and what to change.
bool placement_take(struct placement *placement, const struct vm_config *config,
                    char why[PLACEMENT_WHY_MAX]);
void placement_release(struct placement *placement);

// The CPUs that are dedicated to nobody.
struct cpuset placement_shared(void);
// How much of a CPU is reserved: 1000 when it is dedicated.
uint32_t placement_reserved_permil(uint32_t cpu);

// Of vCPU number `index`: for struct vmm_start.
uint32_t placement_cpu(const struct placement *placement, uint32_t index);
