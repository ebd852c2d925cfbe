// SPDX-License-Identifier: Apache-2.0
// See boot/boot_start.h.
#include "boot/boot_start.h"

#include "boot/boot_report.h"
#include "lib/string.h"

_Static_assert(START_MODULES_MAX == BOOT_MODULES_MAX, "a place on the page for each");

void boot_start_module(struct boot_info *info, const char *name, const void *data, uint64_t size) {
    struct abi_start *start = &info->platform->start;
    struct abi_start_module *module = &start->module[info->module_count];
    memcpy(module->name, name, strlen(name) + 1);
    module->size = size;
    module->memory = ABI_START_MODULE + info->module_count;
    info->module[info->module_count] =
        (struct boot_module){.base = (uint64_t)(uintptr_t)data, .size = size};
    start->module_count = ++info->module_count;
}

void boot_start_finish(struct boot_info *info) {
    const struct cpu_features *features = &info->features;
    const bool has_vms = info->refusal[0] == '\0';
    struct abi_start *start = &info->platform->start;
    start->version = ABI_VERSION;
    start->process = ABI_START_PROCESS;
    start->quota = ABI_START_QUOTA;
    start->system = ABI_START_SYSTEM;
    start->group = ABI_START_GROUP;
    start->tsc_hz = info->tsc_hz;
    start->xcr0_mask = features->has_xsave ? features->xcr0_mask : 0;
    start->arch_capabilities = info->mitigation.capabilities;
    start->physical_bits = features->physical_bits;
    start->has_unrestricted_guest = has_vms && features->has_unrestricted_guest;
    start->has_tsc_scaling = has_vms && features->has_tsc_scaling;
    start->uart = info->uart;
    start->framebuffer = info->framebuffer;
    if (start->utc_tsc == 0)
        boot_report(info, "no clock on this machine: guests start in 1970");
}
