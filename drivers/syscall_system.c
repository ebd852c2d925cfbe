// SPDX-License-Identifier: Apache-2.0
// The system calls on the machine: information, console, power (include/abi.h).
#include "arch/mitigation.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "drivers/console.h"
#include "drivers/power.h"
#include "drivers/system.h"
#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/log.h"
#include "kernel/scheduler.h"
#include "kernel/smp.h"
#include "kernel/syscall.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"
#include "lib/index.h"

extern const uint8_t image_text[], image_end[];

struct object system_object;
uint64_t system_entry_tsc;
static const struct boot_info *machine;

void system_init(const struct boot_info *boot, uint64_t entry_tsc) {
    object_init(&system_object, OBJECT_SYSTEM);
    system_entry_tsc = entry_tsc;
    machine = boot;
    if (machine->utc_tsc == 0)
        log_line("no clock on this machine: guests start in 1970");
}

static int check(const struct syscall *c, uint64_t rights) {
    struct object *object;
    int error = syscall_get(c->a[0], OBJECT_SYSTEM, rights, &object);
    if (error == ABI_OK)
        object_unref(object);
    return error;
}

int64_t call_system_info(const struct syscall *c) {
    int error = check(c, ABI_RIGHT_READ);
    if (error != ABI_OK)
        return -error;
    struct frame_totals totals = frame_totals();
    struct abi_system_info info = {
        .version = ABI_VERSION,
        .cpu_count = cpu_count,
        .tsc_hz = tsc_hz,
        .memory_total = totals.total,
        .memory_free = totals.free,
        .memory_kernel = totals.kernel + (uint64_t)(image_end - image_text),
        .kernel_entry_tsc = system_entry_tsc,
        .first_entry_tsc = vcpu_first_entry_tsc,
        .has_virtualization = vcpu_backend != NULL,
        .has_unrestricted_guest = vcpu_backend != NULL && vcpu_backend->has_unrestricted_guest(),
        .physical_bits = cpu_features.physical_bits,
        .has_tsc_scaling = vcpu_backend != NULL && vcpu_backend->has_tsc_scaling(),
        .xcr0_mask = cpu_features.has_xsave ? cpu_features.xcr0_mask : 0,
        .utc_seconds = machine->utc_seconds,
        .utc_tsc = machine->utc_tsc,
        .arch_capabilities = mitigation.capabilities,
    };
    for (uint32_t i = 0; i < cpu_count; i++)
        for (unsigned k = 0; k < ARRAY_COUNT(cpu_table[i]->exits); k++)
            info.vm_exits += cpu_table[i]->exits[k];
    return user_write(c->a[1], &info, sizeof(info)) ? 0 : -ABI_ERROR_ADDRESS;
}

int64_t call_system_cpu(const struct syscall *c) {
    int error = check(c, ABI_RIGHT_READ);
    if (error != ABI_OK)
        return -error;
    if (c->a[1] >= cpu_count)
        return -ABI_ERROR_ARGUMENT;
    const struct cpu *cpu = cpu_table[index_mask(c->a[1], CPU_COUNT_MAX)];
    struct abi_cpu_info info = {.apic_id = cpu->apic_id, .core = cpu->core};
    scheduler_read_cpu(cpu, &info);
    return user_write(c->a[2], &info, sizeof(info)) ? 0 : -ABI_ERROR_ADDRESS;
}

int64_t call_console_write(const struct syscall *c) {
    char text[ABI_CONSOLE_MAX];
    uint32_t size = (uint32_t)MIN(c->a[2], ABI_CONSOLE_MAX);
    int error = check(c, ABI_RIGHT_WRITE);
    if (error != ABI_OK)
        return -error;
    if (!user_read(text, c->a[1], size))
        return -ABI_ERROR_ADDRESS;
    return (int64_t)console_write(text, size);
}

int64_t call_console_read(const struct syscall *c) {
    char text[ABI_CONSOLE_MAX];
    int error = check(c, ABI_RIGHT_READ);
    if (error != ABI_OK)
        return -error;
    uint32_t size = console_read(text, (uint32_t)MIN(c->a[2], ABI_CONSOLE_MAX));
    return user_write(c->a[1], text, size) ? (int64_t)size : -ABI_ERROR_ADDRESS;
}

int64_t call_console_bind(const struct syscall *c) {
    struct event *event;
    int error = check(c, ABI_RIGHT_MANAGE);
    if (error == ABI_OK)
        error = syscall_get_event(c->a[1], c->a[2], &event);
    if (error != ABI_OK)
        return -error;
    console_bind(event, c->a[2]);
    syscall_drop_event(event);
    return 0;
}

int64_t call_system_power(const struct syscall *c) {
    int error = check(c, ABI_RIGHT_MANAGE);
    if (error != ABI_OK)
        return -error;
    if (c->a[1] != ABI_POWER_OFF && c->a[1] != ABI_POWER_RESET)
        return -ABI_ERROR_ARGUMENT;
    if (c->a[1] == ABI_POWER_OFF)
        power_off();
    else
        power_reset();
    return -ABI_ERROR_UNSUPPORTED;
}

int64_t call_system_audit(const struct syscall *c) {
    int error = check(c, ABI_RIGHT_READ);
    if (error != ABI_OK)
        return -error;
    struct abi_audit report = audit_all();
    return user_write(c->a[1], &report, sizeof(report)) ? 0 : -ABI_ERROR_ADDRESS;
}
