// SPDX-License-Identifier: Apache-2.0
// The machine: thin, and without any state that changes.
#include "supervisor/machine.h"

#include "lib/string.h"
#include "lib/syscall.h"
#include "lib/words.h"

#define NS_PER_SECOND 1000000000ULL

struct machine machine;

bool machine_open(const struct abi_start *start) {
    struct abi_system_info info;
    machine.start = start;
    if (start->version != ABI_VERSION) {
        return false;
    }
    int64_t event = sys_event_create(start->quota);
    if (event < 0 || sys_system_info(start->system, &info) < 0 || info.version != ABI_VERSION) {
        return false;
    }
    machine.event = (uint32_t)event;
    machine.tsc_hz = start->tsc_hz;
    return true;
}

uint64_t machine_vm_mask(uint32_t index) {
    return 1ULL << (1 + index % MACHINE_VM_BITS);
}

uint64_t machine_wait(uint64_t mask, uint64_t deadline) {
    uint64_t bits = 0;
    return sys_event_wait(machine.event, mask, deadline, &bits) < 0 ? 0 : bits;
}

bool machine_has_option(const char *word) {
    return words_have(machine.start->cmdline, word);
}

void machine_verdict(char key[MACHINE_VERDICT_MAX + 1]) {
    size_t size = 0;
    const char *at = words_find(machine.start->cmdline, MACHINE_VERDICT, &size);
    while (at != NULL && (size == 0 || size > MACHINE_VERDICT_MAX)) {
        at = words_find(at + size, MACHINE_VERDICT, &size);
    }
    size = at != NULL ? size : 0;
    memcpy(key, at != NULL ? at : "", size);
    key[size] = '\0';
}

const struct abi_start_module *machine_module(const char *name) {
    const struct abi_start *start = machine.start;
    for (uint32_t i = 0; i < start->module_count && i < START_MODULES_MAX; i++) {
        const struct abi_start_module *module = &start->module[i];
        if (strncmp(module->name, name, sizeof(module->name)) == 0) {
            return module;
        }
    }
    return NULL;
}

static struct abi_quota_info quota(void) {
    struct abi_quota_info info = {0};
    (void)sys_quota_read(machine.start->quota, &info);
    return info;
}

uint64_t machine_memory_used(void) {
    return quota().used;
}

uint64_t machine_memory_free(void) {
    struct abi_quota_info info = quota();
    return info.limit - info.used;
}

void machine_info(struct abi_system_info *info) {
    *info = (struct abi_system_info){0};
    (void)sys_system_info(machine.start->system, info);
}

uint64_t machine_tsc(void) {
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

uint64_t machine_ticks(uint64_t nanoseconds) {
    uint64_t seconds = nanoseconds / NS_PER_SECOND;
    return seconds * machine.tsc_hz + nanoseconds % NS_PER_SECOND * machine.tsc_hz / NS_PER_SECOND;
}

uint64_t machine_nanoseconds(uint64_t ticks) {
    uint64_t seconds = ticks / machine.tsc_hz;
    return seconds * NS_PER_SECOND + ticks % machine.tsc_hz * NS_PER_SECOND / machine.tsc_hz;
}

int64_t machine_power(enum abi_power power) {
    return sys_system_power(machine.start->system, power);
}

const char *machine_error_text(int64_t result) {
    static const char *const text[] = {
        [ABI_OK] = "no error",
        [ABI_ERROR_HANDLE] = "bad handle",
        [ABI_ERROR_RIGHTS] = "missing right",
        [ABI_ERROR_ARGUMENT] = "bad argument",
        [ABI_ERROR_MEMORY] = "not enough memory",
        [ABI_ERROR_ADDRESS] = "bad address",
        [ABI_ERROR_EXISTS] = "already there",
        [ABI_ERROR_AGAIN] = "busy",
        [ABI_ERROR_TIMEOUT] = "timeout",
        [ABI_ERROR_CLOSED] = "closed",
        [ABI_ERROR_UNSUPPORTED] = "not supported by this machine",
        [ABI_ERROR_CALL] = "no such system call",
    };
    uint64_t error = result < 0 ? 0 - (uint64_t)result : 0;
    return error < sizeof(text) / sizeof(text[0]) ? text[error] : "unknown error";
}
