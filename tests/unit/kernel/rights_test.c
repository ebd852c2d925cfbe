// SPDX-License-Identifier: Apache-2.0
// What each system call asks of the handles that it is given, by one table: a handle of another
// type is none, and one right less is not enough, whatever else the caller may do.
#include "tests/unit/kernel/support.h"

#include "arch/traps.h"
#include "kernel/memory.h"
#include "kernel/syscall.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>

static struct process *process;
static struct quota *quota;
static uint32_t number[OBJECT_LOG + 1]; // by type: a handle of it with all rights
static struct object system_one;
static const struct object_kind system_one_kind = {OBJECT_SYSTEM, NULL};
static struct vcpu vcpu;

static void add(struct object *object) {
    int64_t handle = handle_insert(process, object, ABI_RIGHTS_ALL);
    cr_assert_gt(handle, 0);
    number[object->kind->type] = (uint32_t)handle;
}

static void add_device(uint32_t call, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    int64_t handle =
        syscall_dispatch(number[OBJECT_SYSTEM], number[OBJECT_QUOTA], c, d, e, f, call);
    cr_assert_gt(handle, 0);
    struct handle has;
    cr_assert_eq(handle_get(process, (uint64_t)handle, OBJECT_NONE, 0, &has), ABI_OK);
    number[has.object->kind->type] = (uint32_t)handle;
    object_unref(has.object);
}

static void set_up(void) {
    host_init_all();
    vcpu_backend = &host_backend;
    int error;
    struct abi_group values = {.weight = ABI_WEIGHT_DEFAULT, .cpus = {1}};
    quota = quota_create(quota_root(), 16ULL << 20);
    process = process_create(quota, &group_root, NULL, 0);
    cr_assert(quota != NULL && process != NULL);
    thread_current()->process = process;
    struct vm *vm = vm_create(quota, 0, &error);
    struct group *group = group_create(quota, &values, &error);
    cr_assert(vm != NULL && group != NULL);
    vcpu.vm = vm;
    object_init(&vcpu.object, &vcpu_kind);
    object_init(&system_one, &system_one_kind);
    object_ref(&quota->object);
    add(&quota->object);
    add(&process_create(quota, &group_root, NULL, 0)->object);
    add(&memory_create(quota, PAGE_SIZE)->object);
    add(&group->object);
    add(&host_event_create(quota)->object);
    add(&vm->object);
    add(&vcpu.object);
    add(&system_one);
    add_device(ABI_INTERRUPT_CREATE, 8, ABI_TRIGGER_LEVEL, number[OBJECT_EVENT], 1);
    add_device(ABI_PORTS_CREATE, 0x3f8, 8, 0, 0);
    struct memory *rings = memory_create(quota, sizeof(struct console_rings));
    int64_t memory = handle_insert(process, &rings->object, ABI_RIGHTS_ALL);
    add_device(ABI_LOG_TAKE, (uint64_t)memory, number[OBJECT_EVENT], 1, 0);
}

TestSuite(kernel_rights, .init = set_up);

// An argument of a call: another object's handle with all rights.
#define OF(type) (1ULL << 60 | (type))
#define USER     (1ULL << 61)

struct demand {
    uint32_t call, at; // the argument that is the handle
    enum object_type type;
    uint64_t rights;
    uint64_t a[6];
};

static const struct demand demands[] = {
    {ABI_HANDLE_COPY, 0, OBJECT_PROCESS, ABI_RIGHT_MANAGE, {0, OF(OBJECT_EVENT), 1}},
    {ABI_HANDLE_COPY, 1, OBJECT_NONE, ABI_RIGHT_COPY, {0, 0, ABI_RIGHTS_ALL}},
    {ABI_QUOTA_CREATE, 0, OBJECT_QUOTA, ABI_RIGHT_CREATE, {0, PAGE_SIZE}},
    {ABI_QUOTA_CREATE, 2, OBJECT_EVENT, ABI_RIGHT_SIGNAL, {OF(OBJECT_QUOTA), PAGE_SIZE, 0, 1}},
    {ABI_QUOTA_READ, 0, OBJECT_QUOTA, ABI_RIGHT_READ, {0, USER}},
    {ABI_QUOTA_HOME, 0, OBJECT_SYSTEM, ABI_RIGHT_MANAGE, {0, OF(OBJECT_QUOTA), USER}},
    {ABI_QUOTA_HOME, 1, OBJECT_QUOTA, ABI_RIGHT_MANAGE, {OF(OBJECT_SYSTEM), 0, USER}},
    {ABI_MEMORY_CREATE, 0, OBJECT_QUOTA, ABI_RIGHT_CREATE, {0, PAGE_SIZE}},
    {ABI_MEMORY_COMMIT, 0, OBJECT_MEMORY, ABI_RIGHT_WRITE, {0, 0, PAGE_SIZE}},
    {ABI_MEMORY_SIZE, 0, OBJECT_MEMORY, ABI_RIGHT_READ, {0}},
    {ABI_PROCESS_CREATE, 0, OBJECT_QUOTA, ABI_RIGHT_CREATE, {0}},
    {ABI_PROCESS_CREATE, 0, OBJECT_QUOTA, ABI_RIGHT_MANAGE, {0}},
    {ABI_PROCESS_CREATE, 1, OBJECT_EVENT, ABI_RIGHT_SIGNAL, {OF(OBJECT_QUOTA), 0, 1}},
    {ABI_PROCESS_CREATE, 3, OBJECT_GROUP, ABI_RIGHT_CREATE, {OF(OBJECT_QUOTA)}},
    {ABI_PROCESS_MAP,
     0,
     OBJECT_PROCESS,
     ABI_RIGHT_MANAGE,
     {0, OF(OBJECT_MEMORY), ABI_USER_BASE, 0, PAGE_SIZE, 1}},
    {ABI_PROCESS_MAP, 1, OBJECT_MEMORY, ABI_RIGHT_READ, {0, 0, ABI_USER_BASE, 0, PAGE_SIZE, 1}},
    {ABI_PROCESS_MAP, 1, OBJECT_MEMORY, ABI_RIGHT_WRITE, {0, 0, ABI_USER_BASE, 0, PAGE_SIZE, 3}},
    {ABI_PROCESS_MAP, 1, OBJECT_MEMORY, ABI_RIGHT_EXECUTE, {0, 0, ABI_USER_BASE, 0, PAGE_SIZE, 5}},
    {ABI_PROCESS_UNMAP, 0, OBJECT_PROCESS, ABI_RIGHT_MANAGE, {0, ABI_USER_BASE, PAGE_SIZE}},
    {ABI_PROCESS_STATUS, 0, OBJECT_PROCESS, ABI_RIGHT_READ, {0, USER}},
    {ABI_PROCESS_USAGE, 0, OBJECT_PROCESS, ABI_RIGHT_READ, {0, USER}},
    {ABI_PROCESS_KILL, 0, OBJECT_PROCESS, ABI_RIGHT_MANAGE, {0}},
    {ABI_THREAD_CREATE, 0, OBJECT_PROCESS, ABI_RIGHT_CREATE, {0}},
    {ABI_EVENT_CREATE, 0, OBJECT_QUOTA, ABI_RIGHT_CREATE, {0}},
    {ABI_EVENT_SIGNAL, 0, OBJECT_EVENT, ABI_RIGHT_SIGNAL, {0, 1}},
    {ABI_EVENT_WAIT, 0, OBJECT_EVENT, ABI_RIGHT_WAIT, {0, 1, 0, USER}},
    {ABI_GROUP_CREATE, 0, OBJECT_SYSTEM, ABI_RIGHT_MANAGE, {0, OF(OBJECT_QUOTA), USER}},
    {ABI_GROUP_CREATE, 1, OBJECT_QUOTA, ABI_RIGHT_CREATE, {OF(OBJECT_SYSTEM), 0, USER}},
    {ABI_GROUP_WRITE, 0, OBJECT_GROUP, ABI_RIGHT_MANAGE, {0, USER}},
    {ABI_GROUP_CHARGE, 0, OBJECT_GROUP, ABI_RIGHT_MANAGE, {0, 1}},
    {ABI_VM_CREATE, 0, OBJECT_QUOTA, ABI_RIGHT_CREATE, {0}},
    {ABI_VM_MAP, 0, OBJECT_VM, ABI_RIGHT_MANAGE, {0, OF(OBJECT_MEMORY), 0, 0, PAGE_SIZE, 1}},
    {ABI_VM_MAP, 1, OBJECT_MEMORY, ABI_RIGHT_READ, {OF(OBJECT_VM), 0, 0, 0, PAGE_SIZE, 1}},
    {ABI_VM_MAP, 1, OBJECT_MEMORY, ABI_RIGHT_WRITE, {OF(OBJECT_VM), 0, 0, 0, PAGE_SIZE, 3}},
    {ABI_VM_MAP, 1, OBJECT_MEMORY, ABI_RIGHT_EXECUTE, {OF(OBJECT_VM), 0, 0, 0, PAGE_SIZE, 5}},
    {ABI_VM_UNMAP, 0, OBJECT_VM, ABI_RIGHT_MANAGE, {0, 0, PAGE_SIZE}},
    {ABI_VM_CPUID, 0, OBJECT_VM, ABI_RIGHT_MANAGE, {0, USER, 1}},
    {ABI_VM_INTERRUPT, 0, OBJECT_VM, ABI_RIGHT_WRITE, {0, 0xfee00000, 0x30}},
    {ABI_VM_DOORBELL, 0, OBJECT_VM, ABI_RIGHT_MANAGE, {0, 1, OF(OBJECT_EVENT), 1}},
    {ABI_VM_DOORBELL, 2, OBJECT_EVENT, ABI_RIGHT_SIGNAL, {OF(OBJECT_VM), 1, 0, 1}},
    {ABI_VCPU_CREATE, 0, OBJECT_VM, ABI_RIGHT_CREATE, {0}},
    {ABI_VCPU_PAGE, 0, OBJECT_VCPU, ABI_RIGHT_RUN, {0}},
    {ABI_VCPU_RUN, 0, OBJECT_VCPU, ABI_RIGHT_RUN, {0}},
    {ABI_VCPU_SIGNAL, 0, OBJECT_VCPU, ABI_RIGHT_WRITE, {0, VCPU_SIGNAL_NMI}},
    {ABI_VCPU_READ, 0, OBJECT_VCPU, ABI_RIGHT_READ, {0, VCPU_STATE_FPU, USER, ABI_XSAVE_SIZE}},
    {ABI_VCPU_WRITE, 0, OBJECT_VCPU, ABI_RIGHT_WRITE, {0, VCPU_STATE_FPU, USER, ABI_XSAVE_SIZE}},
    {ABI_VCPU_APIC_READ, 0, OBJECT_VCPU, ABI_RIGHT_RUN, {0, 0x20}},
    {ABI_VCPU_APIC_WRITE, 0, OBJECT_VCPU, ABI_RIGHT_RUN, {0, 0x20}},
    {ABI_INTERRUPT_CREATE,
     0,
     OBJECT_SYSTEM,
     ABI_RIGHT_MANAGE,
     {0, OF(OBJECT_QUOTA), 9, 0, OF(OBJECT_EVENT), 1}},
    {ABI_INTERRUPT_CREATE,
     1,
     OBJECT_QUOTA,
     ABI_RIGHT_CREATE,
     {OF(OBJECT_SYSTEM), 0, 9, 0, OF(OBJECT_EVENT), 1}},
    {ABI_INTERRUPT_CREATE,
     4,
     OBJECT_EVENT,
     ABI_RIGHT_SIGNAL,
     {OF(OBJECT_SYSTEM), OF(OBJECT_QUOTA), 9, 0, 0, 1}},
    {ABI_INTERRUPT_ACKNOWLEDGE, 0, OBJECT_INTERRUPT, ABI_RIGHT_WRITE, {0}},
    {ABI_PORTS_CREATE, 0, OBJECT_SYSTEM, ABI_RIGHT_MANAGE, {0, OF(OBJECT_QUOTA), 8, 8}},
    {ABI_PORTS_CREATE, 1, OBJECT_QUOTA, ABI_RIGHT_CREATE, {OF(OBJECT_SYSTEM), 0, 8, 8}},
    {ABI_PORTS_READ, 0, OBJECT_PORTS, ABI_RIGHT_READ, {0, 0, 1}},
    {ABI_PORTS_WRITE, 0, OBJECT_PORTS, ABI_RIGHT_WRITE, {0, 0, 1, 0}},
    {ABI_PORTS_SEND, 0, OBJECT_PORTS, ABI_RIGHT_WRITE, {0, 0, USER, 0}},
    {ABI_LOG_TAKE,
     0,
     OBJECT_SYSTEM,
     ABI_RIGHT_MANAGE,
     {0, OF(OBJECT_QUOTA), OF(OBJECT_MEMORY), OF(OBJECT_EVENT), 1}},
    {ABI_LOG_TAKE,
     1,
     OBJECT_QUOTA,
     ABI_RIGHT_CREATE,
     {OF(OBJECT_SYSTEM), 0, OF(OBJECT_MEMORY), OF(OBJECT_EVENT), 1}},
    {ABI_LOG_TAKE,
     2,
     OBJECT_MEMORY,
     ABI_RIGHT_READ,
     {OF(OBJECT_SYSTEM), OF(OBJECT_QUOTA), 0, OF(OBJECT_EVENT), 1}},
    {ABI_LOG_TAKE,
     3,
     OBJECT_EVENT,
     ABI_RIGHT_SIGNAL,
     {OF(OBJECT_SYSTEM), OF(OBJECT_QUOTA), OF(OBJECT_MEMORY), 0, 1}},
    {ABI_LOG_READ, 0, OBJECT_LOG, ABI_RIGHT_READ, {0, USER, 16}},
    {ABI_MEMORY_CREATE_DEVICE,
     0,
     OBJECT_SYSTEM,
     ABI_RIGHT_MANAGE,
     {0, OF(OBJECT_QUOTA), 0xe0000000, PAGE_SIZE}},
    {ABI_MEMORY_CREATE_DEVICE,
     1,
     OBJECT_QUOTA,
     ABI_RIGHT_CREATE,
     {OF(OBJECT_SYSTEM), 0, 0xe0000000, PAGE_SIZE}},
};

static int64_t call(const struct demand *d, uint64_t handle) {
    uint64_t a[6];
    for (unsigned i = 0; i < 6; i++)
        a[i] = d->a[i] == USER    ? (uint64_t)host_user
               : d->a[i] >= OF(0) ? number[(uint32_t)d->a[i]]
                                  : d->a[i];
    a[d->at] = handle;
    return syscall_dispatch(a[0], a[1], a[2], a[3], a[4], a[5], d->call);
}

static bool is_listed(uint32_t call) {
    for (unsigned i = 0; i < ARRAY_COUNT(demands); i++)
        if (demands[i].call == call)
            return true;
    return false;
}

Test(kernel_rights, one_right_less_is_not_enough) {
    uint64_t before = host_quota_read(quota).used;
    for (unsigned i = 0; i < ARRAY_COUNT(demands); i++) {
        const struct demand *d = &demands[i];
        uint32_t type = d->type != OBJECT_NONE ? d->type : OBJECT_EVENT;
        struct handle has;
        cr_assert_eq(handle_get(process, number[type], type, 0, &has), ABI_OK);
        struct object *object = has.object;
        uint32_t references = object->ref_count;
        int64_t less = handle_insert(process, object, ABI_RIGHTS_ALL & ~d->rights);
        cr_assert_gt(less, 0);
        cr_expect_eq(call(d, (uint64_t)less), -ABI_ERROR_RIGHTS,
                     "call %u, argument %u, without %#lx", d->call, d->at, d->rights);
        cr_expect_eq(object->ref_count, references, "call %u keeps a reference", d->call);
        handle_close(process, (uint64_t)less);
    }
    cr_expect_eq(host_quota_read(quota).used, before);
}

Test(kernel_rights, handle_of_another_type_is_none) {
    uint64_t before = host_quota_read(quota).used;
    for (unsigned i = 0; i < ARRAY_COUNT(demands); i++)
        for (uint32_t type = OBJECT_NONE + 1; type <= OBJECT_LOG; type++)
            if (type != demands[i].type && demands[i].type != OBJECT_NONE)
                cr_expect_eq(call(&demands[i], number[type]), -ABI_ERROR_HANDLE,
                             "call %u, argument %u, type %u", demands[i].call, demands[i].at, type);
    cr_expect_eq(host_quota_read(quota).used, before);
}

// Whoever adds a call adds what it asks for. These ask nothing of a handle, or are the drivers'
// (drivers_system_test.c).
Test(kernel_rights, each_call_is_listed) {
    const uint32_t others[] = {ABI_HANDLE_CLOSE, ABI_THREAD_EXIT,  ABI_THREAD_YIELD,
                               ABI_SYSTEM_INFO,  ABI_SYSTEM_POWER, ABI_SYSTEM_AUDIT,
                               ABI_SYSTEM_CPU,   ABI_MEMORY_FREE,  ABI_SYSTEM_MACHINE_CHECK};
    for (uint32_t i = 0; i < ABI_CALL_COUNT; i++) {
        bool is_other = false;
        for (unsigned k = 0; k < ARRAY_COUNT(others); k++)
            is_other = is_other || others[k] == i;
        cr_expect_neq(is_other, is_listed(i), "call %u", i);
    }
}
