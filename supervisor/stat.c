// SPDX-License-Identifier: Apache-2.0
// The figures. What a VM holds is charged to its own quota, which lies inside the supervisor's:
// taken as a whole when it was carved (partition.cost), used bit by bit.
#include "supervisor/stat.h"

#include "lib/syscall.h"
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

static uint64_t count_mwaits(uint32_t cpu_count) {
    struct abi_cpu_info cpu = {0};
    uint64_t count = 0;
    for (uint32_t i = 0; i < cpu_count; i++) {
        if (sys_system_cpu(machine.start->system, i, &cpu) == 0) {
            count += cpu.mwaits;
        }
    }
    return count;
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
    say("mwaits", count_mwaits(info.cpu_count));
    say("vm_exits", info.vm_exits);
}
