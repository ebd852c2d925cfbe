// SPDX-License-Identifier: Apache-2.0
// The restart policy. A reset is what a guest does to boot again, and no failure; but one that
// comes at once would be a loop at full speed, so it is treated as one.
#include "supervisor/restart.h"

static uint64_t next_delay(const struct vm_config *config, uint32_t count) {
    uint64_t delay = config->restart_delay;
    while (count-- > 0 && delay < MANIFEST_RESTART_MAX) {
        delay *= 2;
    }
    return delay < MANIFEST_RESTART_MAX ? delay : MANIFEST_RESTART_MAX;
}

struct restart restart_decide(const struct vm_config *config, uint32_t *count, enum vmm_end end,
                              uint64_t ran, bool is_wanted) {
    struct restart restart = {.action = RESTART_NOT};
    if (config->restart == VM_RESTART_NEVER || end == VMM_END_REFUSED || is_wanted) {
        return restart;
    }
    if (ran >= RESTART_HEALTHY_NS) {
        *count = 0;
    }
    if (end == VMM_END_RESET && ran >= config->restart_delay) {
        restart.action = RESTART_NOW;
        return restart;
    }
    bool is_failure = end == VMM_END_CRASHED || end == VMM_END_RESET;
    if (!is_failure && config->restart != VM_RESTART_ALWAYS) {
        return restart;
    }
    if (config->restart_limit != 0 && *count >= config->restart_limit) {
        restart.action = RESTART_EXHAUSTED;
        return restart;
    }
    restart.action = RESTART_LATER;
    restart.delay = next_delay(config, *count);
    restart.number = ++*count;
    return restart;
}
