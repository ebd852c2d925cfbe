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
//
// On a machine with nodes a VM gets one that its memory fits in, with CPUs for its vCPUs: the one
// that the manifest names, or that has all CPUs which it names, or else the one whose CPUs have the
// fewest vCPUs. A VM that fits in none is spread: its vCPUs run anywhere, its memory comes from the
// node that has most, then from the others by distance. Nodes are wishes: nobody is refused for
// them, and shared threads leave theirs where dedicated VMs take its CPUs.
#pragma once

#include "supervisor/cpuset.h"
#include "supervisor/manifest.h"

#define PLACEMENT_WHY_MAX 240u

struct placement {
    struct placement *next; // in the list of those that were taken
    const struct vm_config *config;
    bool is_taken;
    struct cpuset cpus;               // where the shared threads may run
    struct cpuset near;               // of these, those of its node; none: it has no node
    uint32_t node;                    // where its memory comes from first
    bool is_spread;                   // no node has CPUs, or memory, for it
    bool is_short;                    // its node has not enough memory, and others give the rest
    uint64_t awaited;                 // bytes of its memory that it has not taken yet
    struct cpuset reserved;           // empty for VM_SHARED
    uint32_t permil;                  // VM_REALTIME: of each reserved CPU
    uint16_t cpu[MANIFEST_VCPUS_MAX]; // each vCPU's, when something is reserved
};

void placement_open(void);

// False: `why` says what is free and what to change.
bool placement_take(struct placement *placement, const struct vm_config *config,
                    char why[PLACEMENT_WHY_MAX]);
void placement_release(struct placement *placement);

// Where its shared threads run, of all that are dedicated to nobody.
struct cpuset placement_cpus(const struct placement *placement);

// What there is to say of its node; false: nothing.
bool placement_remark(const struct placement *placement, char text[PLACEMENT_WHY_MAX]);

// The CPUs that are dedicated to nobody.
struct cpuset placement_shared(void);
// How much of a CPU is reserved: 1000 when it is dedicated.
uint32_t placement_reserved_permil(uint32_t cpu);

// Of vCPU number `index`: for struct vmm_start.
uint32_t placement_cpu(const struct placement *placement, uint32_t index);
