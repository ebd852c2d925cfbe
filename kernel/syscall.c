// SPDX-License-Identifier: Apache-2.0
// The system calls of include/abi.h: each one decodes and checks its arguments here, then calls the
// module that does the work, which can no longer fail for a bad argument.
#include "kernel/syscall.h"

#include "arch/mitigation.h"
#include "arch/traps.h"
#include "kernel/channel.h"
#include "kernel/group.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/thread.h"
#include "lib/index.h"

static struct process *self(void) {
    return thread_current()->process;
}

int syscall_get(uint64_t number, enum object_type type, uint64_t rights, struct object **object) {
    return handle_get(self(), number, (uint32_t)type, rights, object, NULL);
}

int64_t syscall_give(struct object *object) {
    return handle_insert(self(), object, ABI_RIGHTS_ALL);
}

// A process argument, where 0 names the caller. The reference is the caller's to drop.
static int get_process(uint64_t number, uint64_t rights, struct process **process) {
    struct object *object = &self()->object;
    if (number == 0) {
        object_ref(object);
    } else {
        int error = syscall_get(number, OBJECT_PROCESS, rights, &object);
        if (error != ABI_OK)
            return error;
    }
    *process = CONTAINER_OF(object, struct process, object);
    return ABI_OK;
}

int syscall_get_event(uint64_t number, uint64_t mask, struct event **event) {
    struct object *object;
    struct handle has;
    *event = NULL;
    if (number == 0)
        return ABI_OK;
    int error = handle_get(self(), number, OBJECT_EVENT, ABI_RIGHT_SIGNAL, &object, &has);
    if (error != ABI_OK)
        return error;
    if ((mask & ~has.mask) != 0) {
        object_unref(object);
        return ABI_ERROR_RIGHTS;
    }
    *event = CONTAINER_OF(object, struct event, object);
    return ABI_OK;
}

void syscall_drop_event(struct event *event) {
    if (event != NULL)
        object_unref(&event->object);
}

static int get_quota_with(uint64_t number, uint64_t rights, struct quota **quota) {
    struct object *object;
    int error = syscall_get(number, OBJECT_QUOTA, rights, &object);
    if (error == ABI_OK)
        *quota = CONTAINER_OF(object, struct quota, object);
    return error;
}

static int get_quota(uint64_t number, struct quota **quota) {
    return get_quota_with(number, ABI_RIGHT_CREATE, quota);
}

static int64_t call_handle_close(const struct syscall *c) {
    return -handle_close(self(), c->a[0]);
}

static int64_t call_handle_copy(const struct syscall *c) {
    struct process *process;
    struct object *object;
    struct handle copy;
    int error = get_process(c->a[0], ABI_RIGHT_MANAGE, &process);
    if (error != ABI_OK)
        return -error;
    int64_t result = -handle_get(self(), c->a[1], OBJECT_NONE, ABI_RIGHT_COPY, &object, &copy);
    if (result == 0) {
        copy.rights &= c->a[2];
        copy.mask &= c->a[3];
        result = handle_put(process, &copy);
    }
    object_unref(&process->object);
    return result;
}

// A part of a quota may be used as the whole may, and no further.
static int64_t call_quota_create(const struct syscall *c) {
    struct object *object;
    struct handle has;
    int error = handle_get(self(), c->a[0], OBJECT_QUOTA, ABI_RIGHT_CREATE, &object, &has);
    if (error != ABI_OK)
        return -error;
    struct event *event;
    int64_t result = -ABI_ERROR_ARGUMENT;
    if (is_aligned(c->a[1], PAGE_SIZE))
        result = -syscall_get_event(c->a[2], c->a[3], &event);
    if (result == 0) {
        struct quota *quota = NULL;
        if (c->a[1] <= INT64_MAX)
            quota = quota_create(CONTAINER_OF(object, struct quota, object), c->a[1]);
        if (quota != NULL)
            event_bind(&quota->empty, event, c->a[3]);
        result =
            quota != NULL ? handle_insert(self(), &quota->object, has.rights) : -ABI_ERROR_MEMORY;
        syscall_drop_event(event);
    }
    object_unref(object);
    return result;
}

static int64_t call_quota_read(const struct syscall *c) {
    struct object *object;
    int error = syscall_get(c->a[0], OBJECT_QUOTA, ABI_RIGHT_READ, &object);
    if (error != ABI_OK)
        return -error;
    struct quota *quota = CONTAINER_OF(object, struct quota, object);
    struct abi_quota_info info = quota_read(quota);
    object_unref(object);
    return user_write(c->a[1], &info, sizeof(info)) ? 0 : -ABI_ERROR_ADDRESS;
}

static int64_t call_memory_create(const struct syscall *c) {
    struct quota *quota;
    uint64_t size = c->a[1];
    int error = get_quota(c->a[0], &quota);
    if (error != ABI_OK)
        return -error;
    int64_t result = -ABI_ERROR_ARGUMENT;
    if (size > 0 && size <= MEMORY_SIZE_MAX && is_aligned(size, PAGE_SIZE) && c->a[2] == 0) {
        struct memory *memory = memory_create(quota, size);
        result = memory != NULL ? syscall_give(&memory->object) : -ABI_ERROR_MEMORY;
    }
    object_unref(&quota->object);
    return result;
}

static int64_t call_memory_commit(const struct syscall *c) {
    struct object *object;
    uint64_t offset = c->a[1], size = c->a[2];
    int error = syscall_get(c->a[0], OBJECT_MEMORY, ABI_RIGHT_WRITE, &object);
    if (error != ABI_OK)
        return -error;
    struct memory *memory = CONTAINER_OF(object, struct memory, object);
    int64_t result = -ABI_ERROR_ARGUMENT;
    if (size > 0 && is_aligned(offset | size, PAGE_SIZE) &&
        !range_exceeds(offset, size, memory->size)) {
        // One run is the bounded piece: at most 2 MiB to clear.
        struct memory_run run = memory_get(memory, offset);
        result = (int64_t)MIN(size, run.offset + run.size - offset);
    }
    object_unref(object);
    return result;
}

static int64_t call_memory_size(const struct syscall *c) {
    struct object *object;
    int error = syscall_get(c->a[0], OBJECT_MEMORY, ABI_RIGHT_READ, &object);
    if (error != ABI_OK)
        return -error;
    int64_t size = (int64_t)CONTAINER_OF(object, struct memory, object)->size;
    object_unref(object);
    return size;
}

static int get_group(uint64_t number, struct group **group) {
    struct object *object = &self()->group->object;
    int error = ABI_OK;
    if (number == 0)
        object_ref(object);
    else
        error = syscall_get(number, OBJECT_GROUP, ABI_RIGHT_CREATE, &object);
    *group = CONTAINER_OF(object, struct group, object);
    return error;
}

static int64_t call_process_create(const struct syscall *c) {
    struct quota *quota;
    struct event *event;
    struct group *group;
    // Who may make processes is who ends them: a VMM may not, so nothing of it outlives it.
    int error = get_quota_with(c->a[0], ABI_RIGHT_CREATE | ABI_RIGHT_MANAGE, &quota);
    if (error != ABI_OK)
        return -error;
    int64_t result = -syscall_get_event(c->a[1], c->a[2], &event);
    if (result == 0) {
        result = -get_group(c->a[3], &group);
        if (result == 0) {
            struct process *process = process_create(quota, group, event, c->a[2]);
            result = process != NULL ? syscall_give(&process->object) : -ABI_ERROR_MEMORY;
            object_unref(&group->object);
        }
        syscall_drop_event(event);
    }
    object_unref(&quota->object);
    return result;
}

static int64_t call_process_map(const struct syscall *c) {
    struct process *process;
    struct object *object;
    uint64_t rights = c->a[5];
    int error = get_process(c->a[0], ABI_RIGHT_MANAGE, &process);
    if (error != ABI_OK)
        return -error;
    error = syscall_get(c->a[1], OBJECT_MEMORY, rights, &object);
    if (error == ABI_OK) {
        struct memory *memory = CONTAINER_OF(object, struct memory, object);
        error = process_map(process, memory, c->a[2], c->a[3], c->a[4], rights);
        object_unref(object);
    }
    object_unref(&process->object);
    return -error;
}

static int64_t call_process_unmap(const struct syscall *c) {
    struct process *process;
    int error = get_process(c->a[0], ABI_RIGHT_MANAGE, &process);
    if (error != ABI_OK)
        return -error;
    error = process_unmap(process, c->a[1], c->a[2]);
    object_unref(&process->object);
    return -error;
}

static int64_t call_process_status(const struct syscall *c) {
    struct process *process;
    int error = get_process(c->a[0], ABI_RIGHT_READ, &process);
    if (error != ABI_OK)
        return -error;
    struct abi_process_status status = process_get_status(process);
    object_unref(&process->object);
    return user_write(c->a[1], &status, sizeof(status)) ? 0 : -ABI_ERROR_ADDRESS;
}

static int64_t call_process_usage(const struct syscall *c) {
    struct process *process;
    struct abi_usage usage;
    int error = get_process(c->a[0], ABI_RIGHT_READ, &process);
    if (error != ABI_OK)
        return -error;
    process_read_usage(process, &usage);
    object_unref(&process->object);
    return user_write(c->a[1], &usage, sizeof(usage)) ? 0 : -ABI_ERROR_ADDRESS;
}

static int64_t call_group_create(const struct syscall *c) {
    struct object *system;
    struct quota *quota;
    struct abi_group values;
    int error = syscall_get(c->a[0], OBJECT_SYSTEM, ABI_RIGHT_MANAGE, &system);
    if (error != ABI_OK)
        return -error;
    object_unref(system);
    if (!user_read(&values, c->a[2], sizeof(values)))
        return -ABI_ERROR_ADDRESS;
    error = get_quota(c->a[1], &quota);
    if (error != ABI_OK)
        return -error;
    struct group *group = group_create(quota, &values, &error);
    object_unref(&quota->object);
    return group != NULL ? syscall_give(&group->object) : -error;
}

static int64_t call_group_write(const struct syscall *c) {
    struct object *object;
    struct abi_group values;
    if (!user_read(&values, c->a[1], sizeof(values)))
        return -ABI_ERROR_ADDRESS;
    int error = syscall_get(c->a[0], OBJECT_GROUP, ABI_RIGHT_MANAGE, &object);
    if (error != ABI_OK)
        return -error;
    error = group_write(CONTAINER_OF(object, struct group, object), &values);
    object_unref(object);
    return -error;
}

static int64_t call_process_kill(const struct syscall *c) {
    struct process *process;
    int error = get_process(c->a[0], ABI_RIGHT_MANAGE, &process);
    if (error != ABI_OK)
        return -error;
    struct abi_process_status status = {ABI_PROCESS_EXITED, (uint32_t)c->a[1], 0, 0, 0, 0};
    bool is_valid = c->a[1] <= UINT32_MAX;
    if (is_valid)
        process_end(process, &status);
    object_unref(&process->object);
    return is_valid ? 0 : -ABI_ERROR_ARGUMENT;
}

static int64_t call_thread_create(const struct syscall *c) {
    struct process *process;
    int error = get_process(c->a[0], ABI_RIGHT_CREATE, &process);
    if (error != ABI_OK)
        return -error;
    error = ABI_ERROR_ARGUMENT;
    if (c->a[4] <= UINT32_MAX)
        error = thread_create(process, c->a[1], c->a[2], c->a[3], (uint32_t)c->a[4]);
    object_unref(&process->object);
    return -error;
}

static int64_t call_thread_exit(const struct syscall *c) {
    (void)c;
    thread_exit();
}

static int64_t call_thread_yield(const struct syscall *c) {
    (void)c;
    thread_yield();
    return 0;
}

static int64_t call_event_create(const struct syscall *c) {
    struct quota *quota;
    int error = get_quota(c->a[0], &quota);
    if (error != ABI_OK)
        return -error;
    struct event *event = event_create(quota);
    object_unref(&quota->object);
    return event != NULL ? syscall_give(&event->object) : -ABI_ERROR_MEMORY;
}

static int64_t call_event_signal(const struct syscall *c) {
    struct event *event;
    int error = syscall_get_event(c->a[0], c->a[1], &event);
    if (error != ABI_OK || event == NULL)
        return error != ABI_OK ? -error : -ABI_ERROR_HANDLE;
    event_signal(event, c->a[1]);
    object_unref(&event->object);
    return 0;
}

static int64_t call_event_wait(const struct syscall *c) {
    struct object *object;
    uint64_t bits = 0;
    int error = syscall_get(c->a[0], OBJECT_EVENT, ABI_RIGHT_WAIT, &object);
    if (error != ABI_OK)
        return -error;
    // Before anything is taken that could not be told.
    error = ABI_ERROR_ADDRESS;
    if (user_write(c->a[2], &bits, sizeof(bits)))
        error = event_wait(CONTAINER_OF(object, struct event, object), c->a[3], c->a[1], &bits);
    object_unref(object);
    if (error == ABI_OK && !user_write(c->a[2], &bits, sizeof(bits)))
        error = ABI_ERROR_ADDRESS;
    return -error;
}

static int64_t call_channel_create(const struct syscall *c) {
    struct quota *quota;
    struct channel *ends[2];
    uint32_t numbers[2];
    int error = get_quota(c->a[0], &quota);
    if (error != ABI_OK)
        return -error;
    bool is_created = channel_create(quota, ends);
    object_unref(&quota->object);
    if (!is_created)
        return -ABI_ERROR_MEMORY;
    int64_t first = syscall_give(&ends[0]->object), second = syscall_give(&ends[1]->object);
    numbers[0] = (uint32_t)first;
    numbers[1] = (uint32_t)second;
    if (first > 0 && second > 0 && user_write(c->a[1], numbers, sizeof(numbers)))
        return 0;
    if (first > 0)
        handle_close(self(), (uint64_t)first);
    if (second > 0)
        handle_close(self(), (uint64_t)second);
    return first < 0 ? first : second < 0 ? second : -ABI_ERROR_ADDRESS;
}

static int64_t call_channel_bind(const struct syscall *c) {
    struct object *object;
    struct event *event;
    int error = syscall_get(c->a[0], OBJECT_CHANNEL, ABI_RIGHT_WAIT, &object);
    if (error != ABI_OK)
        return -error;
    error = syscall_get_event(c->a[1], c->a[2], &event);
    if (error == ABI_OK) {
        channel_bind(CONTAINER_OF(object, struct channel, object), event, c->a[2]);
        syscall_drop_event(event);
    }
    object_unref(object);
    return -error;
}

static int64_t call_channel_send(const struct syscall *c) {
    struct object *object;
    uint8_t message[ABI_MESSAGE_MAX];
    int error = syscall_get(c->a[0], OBJECT_CHANNEL, ABI_RIGHT_SIGNAL, &object);
    if (error != ABI_OK)
        return -error;
    error = ABI_ERROR_ARGUMENT;
    if (c->a[2] > 0 && c->a[2] <= sizeof(message))
        error = user_read(message, c->a[1], c->a[2]) ? ABI_OK : ABI_ERROR_ADDRESS;
    if (error == ABI_OK)
        error =
            channel_send(CONTAINER_OF(object, struct channel, object), message, (uint32_t)c->a[2]);
    object_unref(object);
    return -error;
}

static int64_t call_channel_receive(const struct syscall *c) {
    struct object *object;
    uint8_t message[ABI_MESSAGE_MAX] = {0};
    uint32_t size = 0;
    int error = syscall_get(c->a[0], OBJECT_CHANNEL, ABI_RIGHT_WAIT, &object);
    if (error != ABI_OK)
        return -error;
    error = ABI_ERROR_ARGUMENT;
    if (c->a[2] >= sizeof(message))
        error = user_write(c->a[1], message, sizeof(message)) ? ABI_OK : ABI_ERROR_ADDRESS;
    if (error == ABI_OK)
        error = channel_receive(CONTAINER_OF(object, struct channel, object), message, &size);
    object_unref(object);
    if (error == ABI_OK && !user_write(c->a[1], message, size))
        error = ABI_ERROR_ADDRESS;
    return error == ABI_OK ? (int64_t)size : -error;
}

static int64_t (*const calls[ABI_CALL_COUNT])(const struct syscall *) = {
    [ABI_HANDLE_CLOSE] = call_handle_close,
    [ABI_HANDLE_COPY] = call_handle_copy,
    [ABI_QUOTA_CREATE] = call_quota_create,
    [ABI_QUOTA_READ] = call_quota_read,
    [ABI_MEMORY_CREATE] = call_memory_create,
    [ABI_MEMORY_COMMIT] = call_memory_commit,
    [ABI_MEMORY_SIZE] = call_memory_size,
    [ABI_PROCESS_CREATE] = call_process_create,
    [ABI_PROCESS_MAP] = call_process_map,
    [ABI_PROCESS_UNMAP] = call_process_unmap,
    [ABI_PROCESS_STATUS] = call_process_status,
    [ABI_PROCESS_KILL] = call_process_kill,
    [ABI_THREAD_CREATE] = call_thread_create,
    [ABI_THREAD_EXIT] = call_thread_exit,
    [ABI_THREAD_YIELD] = call_thread_yield,
    [ABI_EVENT_CREATE] = call_event_create,
    [ABI_EVENT_SIGNAL] = call_event_signal,
    [ABI_EVENT_WAIT] = call_event_wait,
    [ABI_CHANNEL_CREATE] = call_channel_create,
    [ABI_CHANNEL_BIND] = call_channel_bind,
    [ABI_CHANNEL_SEND] = call_channel_send,
    [ABI_CHANNEL_RECEIVE] = call_channel_receive,
    [ABI_VM_CREATE] = call_vm_create,
    [ABI_VM_MAP] = call_vm_map,
    [ABI_VM_UNMAP] = call_vm_unmap,
    [ABI_VM_CPUID] = call_vm_cpuid,
    [ABI_VM_INTERRUPT] = call_vm_interrupt,
    [ABI_VM_DOORBELL] = call_vm_doorbell,
    [ABI_VCPU_CREATE] = call_vcpu_create,
    [ABI_VCPU_PAGE] = call_vcpu_page,
    [ABI_VCPU_RUN] = call_vcpu_run,
    [ABI_VCPU_SIGNAL] = call_vcpu_signal,
    [ABI_VCPU_READ] = call_vcpu_read,
    [ABI_VCPU_WRITE] = call_vcpu_write,
    [ABI_VCPU_APIC_READ] = call_vcpu_apic_read,
    [ABI_VCPU_APIC_WRITE] = call_vcpu_apic_write,
    [ABI_SYSTEM_INFO] = call_system_info,
    [ABI_CONSOLE_WRITE] = call_console_write,
    [ABI_CONSOLE_READ] = call_console_read,
    [ABI_CONSOLE_BIND] = call_console_bind,
    [ABI_SYSTEM_POWER] = call_system_power,
    [ABI_SYSTEM_AUDIT] = call_system_audit,
    [ABI_GROUP_CREATE] = call_group_create,
    [ABI_GROUP_WRITE] = call_group_write,
    [ABI_PROCESS_USAGE] = call_process_usage,
    [ABI_SYSTEM_CPU] = call_system_cpu,
};

int64_t syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                         uint64_t a5, uint64_t number) {
    const struct syscall call = {{a0, a1, a2, a3, a4, a5}};
    int64_t result = -ABI_ERROR_CALL;
    if (__builtin_expect(mitigation.clears_history, 0))
        mitigation_clear_history();
    if (number < ABI_CALL_COUNT) {
        number = index_mask(number, ABI_CALL_COUNT);
        if (calls[number] != NULL)
            result = calls[number](&call);
    }
    trap_after_call();
    return result;
}
