// SPDX-License-Identifier: Apache-2.0
// The compiled manifest as the supervisor sees it. include/manifest.h has the bindings.
//
// A damaged manifest is refused as a whole. A manifest that is sound but asks for something
// impossible for one VM keeps its other VMs: that VM carries the reason in `refusal`.
#pragma once

#include "include/manifest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vm_schedule { VM_SHARED = 0, VM_DEDICATED, VM_REALTIME };

enum vm_restart { VM_RESTART_NEVER = 0, VM_RESTART_ON_FAILURE, VM_RESTART_ALWAYS };

// How the vCPUs get CPU time: docs/manifest.md.
struct vm_scheduling {
    enum vm_schedule schedule;
    uint32_t weight;
    uint32_t cap;                      // percent of one CPU; 0: none
    uint64_t cpus[MANIFEST_CPU_WORDS]; // bit mask: where vCPUs may run
    uint64_t budget;                   // nanoseconds; VM_REALTIME
    uint64_t period;                   // nanoseconds; VM_REALTIME
    uint32_t domain;                   // equal for VMs that trust each other; 0: nobody
    uint32_t cache;                    // ways of the last-level cache; 0: says nothing
};

// Strings point into the device tree, which must outlive this.
struct vm_config {
    const char *name;
    const char *kernel;                    // name of a module
    const char *initrd;                    // likewise; NULL: none
    const char *kernel_file, *initrd_file; // the user's names of both, for messages
    const char *vmm;                       // likewise; NULL: ours. Only in a test image
    const char *cmdline;                   // at most MANIFEST_CMDLINE_MAX characters
    uint64_t memory;                       // bytes
    uint64_t tsc_frequency;                // Hz of its TSCs; 0: the host's
    uint32_t vcpus;
    bool is_autostart;
    struct vm_scheduling scheduling;
    const char *trust; // the word that `scheduling.domain` stands for; NULL: none
    enum vm_restart restart;
    uint64_t restart_delay; // nanoseconds
    uint32_t restart_limit; // in a row; 0: without end
    const char *refusal;    // why this VM cannot run, with the remedy; NULL: it can
};

struct manifest {
    bool stays_when_all_ended; // else the machine powers off
    bool is_test_image;        // it may name programs in the VMM's place
    uint32_t vm_count;
    struct vm_config vm[MANIFEST_VMS_MAX];
};

// Reads the `size` bytes at `tree`, which are untrusted, aligned to 8, and do not change meanwhile.
// Returns NULL and fills `manifest`; or returns a few words on what is wrong, with vm_count = 0.
const char *manifest_parse(struct manifest *manifest, const void *tree, size_t size);
