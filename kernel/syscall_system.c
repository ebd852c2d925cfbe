// SPDX-License-Identifier: Apache-2.0
// The system calls on the machine: information, power (include/calls.h).
#include "arch/tsc.h"
#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/log.h"
#include "kernel/machine.h"
#include "kernel/machine_check.h"
#include "kernel/power.h"
#include "kernel/scheduler.h"
#include "kernel/smp.h"
#include "kernel/syscall.h"
#include "kernel/system.h"
#include "kernel/vcpu.h"
#include "lib/index.h"

extern const uint8_t image_text[], image_end[];

struct object system_object;
uint64_t system_entry_tsc;

static bool system_destroy(struct object *object) {
    (void)object;
    halt_machine("the supervisor ended, and nobody else has the machine");
}

static const struct object_kind system_kind = {OBJECT_SYSTEM, system_destroy};

void system_init(uint64_t entry_tsc) {
    object_init(&system_object, &system_kind);
    system_entry_tsc = entry_tsc;
}

int64_t call_system_info(struct call *c) {
    struct frame_totals totals = frame_totals();
    struct abi_system_info *info = &c->data.info;
    *info = (struct abi_system_info){
        .version = ABI_VERSION,
        .cpu_count = cpu_count,
        .memory_total = totals.total,
        .memory_free = totals.free,
        .memory_kernel = totals.kernel + (uint64_t)(image_end - image_text),
        .kernel_entry_tsc = system_entry_tsc,
        .first_entry_tsc = vcpu_first_entry_tsc,
        .virtualization = vcpu_backend == NULL ? ABI_VIRTUALIZATION_NONE : vcpu_backend->kind,
        .is_tsc_stable = cpu_features.has_tsc_invariant && tsc_is_common,
    };
    for (uint32_t i = 0; i < cpu_count; i++)
        for (unsigned k = 0; k < ARRAY_COUNT(cpu_table[i]->exits); k++)
            info->vm_exits += cpu_table[i]->exits[k];
    return 0;
}

int64_t call_system_cpu(struct call *c) {
    if (c->a[1] >= cpu_count)
        return -ABI_ERROR_ARGUMENT;
    const struct cpu *cpu = cpu_table[index_mask(c->a[1], CPU_COUNT_MAX)];
    c->data.cpu = (struct abi_cpu_info){.apic_id = cpu->apic_id, .core = cpu->core};
    scheduler_read_cpu(cpu, &c->data.cpu);
    return 0;
}

int64_t call_memory_free(struct call *c) {
    return (int64_t)frame_count_free((struct abi_range){c->a[1], c->a[2]});
}

int64_t call_system_machine_check(struct call *c) {
    if (machine.machine_check.bank_count == 0)
        return -ABI_ERROR_UNSUPPORTED;
    if (c->a[1] >= cpu_count)
        return -ABI_ERROR_ARGUMENT;
    struct cpu *cpu = cpu_table[index_mask(c->a[1], CPU_COUNT_MAX)];
    smp_call(cpu, machine_check_poll, &c->data.machine_check);
    return 0;
}

int64_t call_system_power(struct call *c) {
    if (c->a[1] != ABI_POWER_OFF && c->a[1] != ABI_POWER_RESET)
        return -ABI_ERROR_ARGUMENT;
    if (c->a[1] == ABI_POWER_OFF)
        power_off();
    else
        power_reset();
    return -ABI_ERROR_UNSUPPORTED;
}

int64_t call_system_audit(struct call *c) {
    c->data.audit = audit_all();
    return 0;
}
