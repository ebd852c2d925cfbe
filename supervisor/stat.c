// SPDX-License-Identifier: Apache-2.0
// The figures. What a VM holds is charged to its own quota, which lies inside the supervisor's:
// taken as a whole when it was carved (partition.cost), used bit by bit.
#include "supervisor/stat.h"

#include "supervisor/audit.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"
#include "supervisor/vm.h"

static uint64_t memory_kernel;
static uint64_t memory_overhead;

void stat_sample(void) {
    struct abi_system_info info;
    machine_info(&info);
    uint64_t own = machine_memory_used();
    uint64_t vmms = 0;
    for (uint32_t i = 0; i < vm_count(); i++) {
        const struct vm *vm = vm_at(i);
        if (vm->state == VM_RUNNING) {
            own -= vm->partition.cost;
            vmms += partition_overhead(&vm->partition, vm->config->memory);
        }
    }
    uint64_t all = info.memory_kernel + own + vmms;
    if (all > memory_overhead) {
        memory_overhead = all;
        memory_kernel = info.memory_kernel;
    }
}

static void say(const char *name, uint64_t value) {
    console_say("stat %s %llu", name, (unsigned long long)value);
}

void stat_say(void) {
    struct abi_system_info info;
    audit_stat();
    machine_info(&info);
    if (info.first_entry_tsc == 0) {
        return; // no guest ever ran
    }
    say("memory_kernel", memory_kernel);
    say("memory_overhead", memory_overhead);
    say("boot_to_guest", info.first_entry_tsc - info.kernel_entry_tsc);
    say("vm_exits", info.vm_exits);
}
