// SPDX-License-Identifier: Apache-2.0
// Whether and when a VM that has ended starts again: the keys "restart..." of docs/manifest.md.
#pragma once

#include "include/vmm.h"
#include "supervisor/manifest.h"

#include <stdbool.h>
#include <stdint.h>

#define RESTART_HEALTHY_NS 60000000000ULL // who has run for so long starts counting anew

enum restart_action {
    RESTART_NOT,       // the policy is content
    RESTART_NOW,       // a reboot
    RESTART_LATER,     // after `delay`
    RESTART_EXHAUSTED, // the policy wants it, the limit does not
};

struct restart {
    enum restart_action action;
    uint64_t delay;  // nanoseconds; RESTART_LATER
    uint32_t number; // RESTART_LATER: the how manieth in a row
};

// The VM has ended so, after having run for `ran` nanoseconds; somebody at the console wanted it to
// (`is_wanted`) or not. `count` is its number of restarts in a row.
struct restart restart_decide(const struct vm_config *config, uint32_t *count, enum vmm_end end,
                              uint64_t ran, bool is_wanted);
