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

// Strings point into the device tree, which must outlive this.
struct host_config {
#define HOST_KEY(member, key, value, ...) MEMBER_##value(member)
#include "include/manifest_keys.h"
};

// How the vCPUs get CPU time.
struct vm_scheduling {
#define SCHEDULING_KEY(member, key, value, ...) MEMBER_##value(member)
#include "include/manifest_keys.h"
    uint32_t domain; // equal for VMs that trust each other; 0: nobody
};

struct vm_config {
#define VM_KEY(member, key, value, ...) MEMBER_##value(member)
#include "include/manifest_keys.h"
    struct vm_scheduling scheduling;
    const char *refusal; // why this VM cannot run, with the remedy; NULL: it can
};

struct manifest {
    struct host_config host;
    bool is_test_image; // its VMs may have keys that are for tests
    uint32_t vm_count;
    struct vm_config vm[MANIFEST_VMS_MAX];
};

// Reads the `size` bytes at `tree`, which are untrusted, aligned to 8, and do not change meanwhile.
// Returns NULL and fills `manifest`; or returns a few words on what is wrong, with vm_count = 0.
const char *manifest_parse(struct manifest *manifest, const void *tree, size_t size);
