// SPDX-License-Identifier: Apache-2.0
// kernel/syscall.c and kernel/syscall_vm.c from the side of a hostile process: rights that do not
// grow, numbers that are no handles, pointers that are not its own, and random calls by the hundred
// thousand, after which its end gives back all that it ever took.
#include "tests/unit/kernel/support.h"

#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/syscall.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

// ---- what the calls meet ------------------------------------------------------------------------

void trap_after_call(void) {
    object_finish();
    cr_assert_eq(cpu_current()->locks_held, 0, "a lock is held on the way out");
}
void thread_yield(void) {}
_Noreturn void thread_exit(void) {
    abort();
}
int thread_create(struct process *process, uint64_t entry, uint64_t stack, uint64_t argument,
                  uint32_t cpu) {
    (void)process, (void)entry, (void)stack, (void)argument, (void)cpu;
    return ABI_ERROR_MEMORY;
}
struct vcpu *vcpu_create(struct vm *vm, uint32_t index, int *error) {
    (void)vm;
    cr_assert_lt(index, VM_VCPUS_MAX);
    *error = ABI_ERROR_UNSUPPORTED;
    return NULL;
}
// There is no vCPU, so none of these can be reached.
#define UNREACHED(type, name, ...)                                                                 \
    type name(__VA_ARGS__) {                                                                       \
        abort();                                                                                   \
    }
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-parameter"
UNREACHED(int, vcpu_run, struct vcpu *vcpu)
UNREACHED(int, vcpu_signal, struct vcpu *vcpu, uint64_t signal, uint64_t value)
UNREACHED(int, vcpu_read_state, struct vcpu *vcpu, uint64_t group, void *page)
UNREACHED(int, vcpu_write_state, struct vcpu *vcpu, uint64_t group, const void *page)
UNREACHED(size_t, vcpu_state_size, uint64_t group)
UNREACHED(bool, vcpu_claim, struct vcpu *vcpu)
UNREACHED(void, vcpu_unclaim, struct vcpu *vcpu)
#pragma clang diagnostic pop

static int64_t not_of_a_vmm(void) {
    return -ABI_ERROR_HANDLE;
}
int64_t call_system_info(struct call *c) {
    return c != NULL ? not_of_a_vmm() : 0;
}
int64_t call_system_power(struct call *c) {
    return c != NULL ? not_of_a_vmm() : 0;
}
int64_t call_system_machine_check(struct call *c) {
    return c != NULL ? not_of_a_vmm() : 0;
}
int64_t call_system_audit(struct call *c) {
    return c != NULL ? not_of_a_vmm() : 0;
}
int64_t call_system_cpu(struct call *c) {
    return c != NULL ? not_of_a_vmm() : 0;
}
int64_t call_memory_free(struct call *c) {
    return c != NULL ? not_of_a_vmm() : 0;
}

#define user        host_user
#define QUOTA_BYTES (16ULL << 20)
#define CALL(...)   call_with((const uint64_t[7]){__VA_ARGS__})

static struct process *process;
static struct quota *quota;

static void set_up(void) {
    host_init_all();
    vcpu_backend = &host_backend;
    quota = quota_create(quota_root(), QUOTA_BYTES);
    process = process_create(quota, &group_root, NULL, 0);
    cr_assert(quota != NULL && process != NULL);
    thread_current()->process = process;
    object_ref(&quota->object);
    // As the supervisor gives it to a VMM.
    cr_assert_eq(handle_insert(process, &quota->object, ABI_RIGHT_READ | ABI_RIGHT_CREATE), 1);
}

TestSuite(kernel_syscall, .init = set_up);

// Number first, then the arguments.
static int64_t call_with(const uint64_t *a) {
    return syscall_dispatch(a[1], a[2], a[3], a[4], a[5], a[6], a[0]);
}

static struct handle handle_of(int64_t number) {
    struct handle has = {0};
    cr_assert_eq(handle_get(process, (uint64_t)number, OBJECT_NONE, 0, &has), ABI_OK);
    object_unref(has.object);
    return has;
}

static uint64_t rights_of(int64_t handle) {
    return handle_of(handle).rights;
}

Test(kernel_syscall, unknown_calls_are_refused) {
    const uint64_t numbers[] = {ABI_CALL_COUNT, ABI_CALL_COUNT + 1, 1ULL << 32, UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++)
        cr_expect_eq(CALL(numbers[i]), -ABI_ERROR_CALL);
}

// Review C26: a VMM may not make processes, in no part of its quota either.
// A process ends in several steps.
Test(kernel_syscall, what_a_call_let_die_is_gone_behind_it) {
    uint64_t used = host_quota_read(quota).used;
    struct process *other = process_create(quota, &group_root, NULL, 0);
    int64_t handle = handle_insert(process, &other->object, ABI_RIGHTS_ALL);
    cr_assert_gt(handle, 0);
    cr_assert_eq(CALL(ABI_HANDLE_CLOSE, (uint64_t)handle), 0);
    cr_expect_null(thread_current()->dying);
    cr_expect_eq(host_quota_read(quota).used, used);
}

Test(kernel_syscall, part_of_a_quota_has_the_rights_of_the_whole) {
    int64_t part = CALL(ABI_QUOTA_CREATE, 1, SIZE_2M, 0, 0);
    cr_assert_gt(part, 0);
    cr_expect_eq(rights_of(part), ABI_RIGHT_READ | ABI_RIGHT_CREATE);
    cr_expect_eq(CALL(ABI_PROCESS_CREATE, 1), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_PROCESS_CREATE, (uint64_t)part), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_HANDLE_COPY, 0, (uint64_t)part, ABI_RIGHTS_ALL), -ABI_ERROR_RIGHTS);
}

Test(kernel_syscall, copies_have_no_more_rights) {
    int64_t event = CALL(ABI_EVENT_CREATE, 1);
    int64_t less = CALL(ABI_HANDLE_COPY, 0, (uint64_t)event, ABI_RIGHT_SIGNAL | ABI_RIGHT_COPY);
    int64_t more = CALL(ABI_HANDLE_COPY, 0, (uint64_t)less, UINT64_MAX);
    cr_assert(event > 0 && less > 0 && more > 0);
    cr_expect_eq(rights_of(less), ABI_RIGHT_SIGNAL | ABI_RIGHT_COPY);
    cr_expect_eq(rights_of(more), ABI_RIGHT_SIGNAL | ABI_RIGHT_COPY);
    int64_t last = CALL(ABI_HANDLE_COPY, 0, (uint64_t)event, ABI_RIGHT_SIGNAL);
    cr_expect_eq(CALL(ABI_HANDLE_COPY, 0, (uint64_t)last, ABI_RIGHTS_ALL), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_EVENT_WAIT, (uint64_t)last, UINT64_MAX, 0, (uint64_t)user),
                 -ABI_ERROR_RIGHTS);
}

static uint64_t copy_of_event(uint64_t event, uint64_t mask) {
    int64_t copy = CALL(ABI_HANDLE_COPY, 0, event, ABI_RIGHTS_ALL, mask);
    cr_assert_gt(copy, 0);
    return (uint64_t)copy;
}

Test(kernel_syscall, copies_signal_no_more_bits) {
    int64_t event = CALL(ABI_EVENT_CREATE, 1);
    cr_assert_gt(event, 0);
    cr_expect_eq(handle_of(event).mask, UINT64_MAX);
    uint64_t less = copy_of_event((uint64_t)event, 0xf0);
    uint64_t more = copy_of_event(less, UINT64_MAX), none = copy_of_event(less, 0x0f);
    cr_expect_eq(handle_of((int64_t)less).mask, 0xf0);
    cr_expect_eq(handle_of((int64_t)more).mask, 0xf0);
    cr_expect_eq(handle_of((int64_t)none).mask, 0);
    cr_expect_eq(CALL(ABI_EVENT_SIGNAL, none, 0x10), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_EVENT_SIGNAL, more, 0x1f0), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_EVENT_SIGNAL, more, UINT64_MAX), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_EVENT_WAIT, (uint64_t)event, UINT64_MAX, 0, (uint64_t)user),
                 -ABI_ERROR_TIMEOUT, "a signal with a bit too many set none");
    cr_expect_eq(CALL(ABI_EVENT_SIGNAL, more, 0x30), 0);
    cr_expect_eq(CALL(ABI_EVENT_SIGNAL, (uint64_t)event, 0x1), 0);
    cr_expect_eq(CALL(ABI_EVENT_WAIT, (uint64_t)event, 0xff, 0, (uint64_t)user), 0);
    cr_expect_eq(*(uint64_t *)user, 0x31);
    cr_expect_eq(CALL(ABI_EVENT_SIGNAL, 0, 0), -ABI_ERROR_HANDLE);
}

Test(kernel_syscall, event_without_the_right_is_signalled_by_no_call) {
    int64_t event = CALL(ABI_EVENT_CREATE, 1);
    uint64_t deaf = (uint64_t)CALL(ABI_HANDLE_COPY, 0, (uint64_t)event, ABI_RIGHT_WAIT, UINT64_MAX);
    int64_t vm = CALL(ABI_VM_CREATE, 1, 0);
    cr_assert_gt(vm, 0);
    int64_t maker = handle_insert(process, &quota->object, ABI_RIGHTS_ALL);
    uint64_t before = host_quota_read(quota).used;
    cr_expect_eq(CALL(ABI_EVENT_SIGNAL, deaf, 1), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_VM_DOORBELL, (uint64_t)vm, 0x1234, deaf, 1), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_QUOTA_CREATE, 1, SIZE_2M, deaf, 1), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_PROCESS_CREATE, (uint64_t)maker, deaf, 1, 0), -ABI_ERROR_RIGHTS);
    cr_expect_eq(host_quota_read(quota).used, before);
    const struct event *it = CONTAINER_OF(handle_of(event).object, struct event, object);
    cr_expect_eq(it->bits, 0);
    cr_expect_eq(CALL(ABI_EVENT_WAIT, deaf, UINT64_MAX, 0, (uint64_t)user), -ABI_ERROR_TIMEOUT);
}

// Who may not signal a bit may not have it signalled by the kernel either.
Test(kernel_syscall, bindings_signal_no_more_bits) {
    int64_t event = CALL(ABI_EVENT_CREATE, 1);
    uint64_t less = copy_of_event((uint64_t)event, 0x2);
    int64_t vm = CALL(ABI_VM_CREATE, 1, 0);
    cr_assert_gt(vm, 0);
    cr_expect_eq(CALL(ABI_VM_DOORBELL, (uint64_t)vm, 0x1234, less, 0x4), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_VM_DOORBELL, (uint64_t)vm, 0x1234, less, 0x3), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_VM_DOORBELL, (uint64_t)vm, 0x1234, less, 0x2), 0);
    uint64_t references = handle_of(event).object->ref_count;
    cr_expect_eq(CALL(ABI_VM_DOORBELL, (uint64_t)vm, 0x1235, less, UINT64_MAX), -ABI_ERROR_RIGHTS);
    cr_expect_eq(handle_of(event).object->ref_count, references, "a refusal keeps no reference");
}

Test(kernel_syscall, mapping_needs_the_rights_it_asks_for) {
    int64_t memory = CALL(ABI_MEMORY_CREATE, 1, 2 * PAGE_SIZE);
    int64_t read = CALL(ABI_HANDLE_COPY, 0, (uint64_t)memory, ABI_RIGHT_READ);
    const uint64_t rw = ABI_RIGHT_READ | ABI_RIGHT_WRITE;
    cr_expect_eq(CALL(ABI_PROCESS_MAP, 0, (uint64_t)read, ABI_USER_BASE, 0, PAGE_SIZE, rw),
                 -ABI_ERROR_RIGHTS);
    cr_expect_eq(
        CALL(ABI_PROCESS_MAP, 0, (uint64_t)read, ABI_USER_BASE, 0, PAGE_SIZE, ABI_RIGHT_READ), 0);
    cr_expect_eq(CALL(ABI_PROCESS_MAP, 0, 1, ABI_USER_BASE, 0, PAGE_SIZE, ABI_RIGHT_READ),
                 -ABI_ERROR_HANDLE, "a quota is no memory");
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, (uint64_t)read, 0, PAGE_SIZE), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_MEMORY_SIZE, (uint64_t)read), 2 * PAGE_SIZE);
}

Test(kernel_syscall, sizes_are_checked) {
    const uint64_t bad[] = {0,
                            1,
                            PAGE_SIZE - 1,
                            PAGE_SIZE + 1,
                            MEMORY_SIZE_MAX + PAGE_SIZE,
                            UINT64_MAX,
                            UINT64_MAX - PAGE_SIZE + 1,
                            1ULL << 63};
    uint64_t before = host_quota_read(quota).used;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(CALL(ABI_MEMORY_CREATE, 1, bad[i]), -ABI_ERROR_ARGUMENT, "%#lx", bad[i]);
    cr_expect_eq(CALL(ABI_MEMORY_CREATE, 1, MEMORY_SIZE_MAX), -ABI_ERROR_MEMORY);
    cr_expect_eq(CALL(ABI_QUOTA_CREATE, 1, UINT64_MAX - PAGE_SIZE + 1, 0, 0), -ABI_ERROR_MEMORY);
    cr_expect_eq(CALL(ABI_QUOTA_CREATE, 1, 1ULL << 63, 0, 0), -ABI_ERROR_MEMORY);
    cr_expect_eq(CALL(ABI_QUOTA_CREATE, 1, UINT64_MAX, 0, 0), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_QUOTA_CREATE, 1, PAGE_SIZE + 1, 0, 0), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(host_quota_read(quota).used, before);
}

Test(kernel_syscall, end_of_a_quota_is_told) {
    int64_t event = CALL(ABI_EVENT_CREATE, 1);
    cr_expect_eq(CALL(ABI_QUOTA_CREATE, 1, SIZE_2M, 1, 4), -ABI_ERROR_HANDLE, "no event");
    uint64_t before = host_quota_read(quota).used;
    int64_t part = CALL(ABI_QUOTA_CREATE, 1, SIZE_2M, (uint64_t)event, 4);
    cr_assert_gt(part, 0);
    const struct event *told = CONTAINER_OF(handle_of(event).object, struct event, object);
    int64_t memory = CALL(ABI_MEMORY_CREATE, (uint64_t)part, SIZE_2M / 2);
    int64_t other = CALL(ABI_EVENT_CREATE, (uint64_t)part);
    cr_assert(memory > 0 && other > 0);
    CALL(ABI_HANDLE_CLOSE, (uint64_t)memory);
    cr_expect_eq(told->bits, 0, "an event is still charged to it");
    CALL(ABI_HANDLE_CLOSE, (uint64_t)other);
    cr_expect_eq(told->bits, 4);
    uint32_t references = told->object.ref_count;
    CALL(ABI_HANDLE_CLOSE, (uint64_t)part);
    cr_expect_eq(told->object.ref_count, references - 1);
    cr_expect_eq(host_quota_read(quota).used, before);
}

// A part of it holds what it was cut to hold, so only its end leaves the whole empty.
Test(kernel_syscall, end_of_a_part_may_be_the_end_of_the_whole) {
    int64_t event = CALL(ABI_EVENT_CREATE, 1);
    int64_t whole = CALL(ABI_QUOTA_CREATE, 1, SIZE_2M, (uint64_t)event, 4);
    int64_t part = CALL(ABI_QUOTA_CREATE, (uint64_t)whole, SIZE_2M / 2, 0, 0);
    cr_assert_gt(part, 0);
    const struct event *told = CONTAINER_OF(handle_of(event).object, struct event, object);
    cr_expect_eq(told->bits, 0);
    CALL(ABI_HANDLE_CLOSE, (uint64_t)part);
    cr_expect_eq(told->bits, 4);
}

Test(kernel_syscall, commit_does_a_bounded_piece) {
    int64_t memory = CALL(ABI_MEMORY_CREATE, 1, 3 * SIZE_2M);
    uint64_t m = (uint64_t)memory;
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, m, 0, 3 * SIZE_2M), SIZE_2M);
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, m, SIZE_2M + PAGE_SIZE, 2 * SIZE_2M - PAGE_SIZE),
                 SIZE_2M - PAGE_SIZE);
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, m, 0, PAGE_SIZE), PAGE_SIZE);
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, m, 0, 0), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, m, 0, 3 * SIZE_2M + PAGE_SIZE), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, m, PAGE_SIZE, UINT64_MAX - PAGE_SIZE + 1),
                 -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, m, 1, PAGE_SIZE), -ABI_ERROR_ARGUMENT);
}

Test(kernel_syscall, pointers_must_be_the_callers) {
    const uint64_t bad[] = {0,
                            (uint64_t)user + sizeof(user) - 7,
                            (uint64_t)user - 1,
                            UINT64_MAX,
                            KERNEL_IMAGE,
                            (uint64_t)process};
    uint64_t event = (uint64_t)CALL(ABI_EVENT_CREATE, 1);
    uint64_t vm = (uint64_t)CALL(ABI_VM_CREATE, 1, 0);
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        CALL(ABI_EVENT_SIGNAL, event, 1);
        cr_expect_eq(CALL(ABI_EVENT_WAIT, event, UINT64_MAX, 0, bad[i]), -ABI_ERROR_ADDRESS);
        cr_expect_eq(CALL(ABI_QUOTA_READ, 1, bad[i]), -ABI_ERROR_ADDRESS);
        cr_expect_eq(CALL(ABI_PROCESS_STATUS, 0, bad[i]), -ABI_ERROR_ADDRESS);
        cr_expect_eq(CALL(ABI_VM_CPUID, vm, bad[i], 1), -ABI_ERROR_ADDRESS);
    }
}

// What was taken and could not be told were lost.
Test(kernel_syscall, bad_pointers_lose_no_bits) {
    const uint64_t bad = (uint64_t)user + sizeof(user) - 7;
    uint64_t event = (uint64_t)CALL(ABI_EVENT_CREATE, 1), bits;
    CALL(ABI_EVENT_SIGNAL, event, 5);
    cr_expect_eq(CALL(ABI_EVENT_WAIT, event, UINT64_MAX, 0, bad), -ABI_ERROR_ADDRESS);
    cr_expect_eq(CALL(ABI_EVENT_WAIT, event, UINT64_MAX, 0, (uint64_t)user), 0);
    memcpy(&bits, user, sizeof(bits));
    cr_expect_eq(bits, 5);
}

Test(kernel_syscall, numbers_are_not_cut) {
    uint64_t vm = (uint64_t)CALL(ABI_VM_CREATE, 1, 0);
    cr_expect_eq(CALL(ABI_PROCESS_KILL, 0, 1ULL << 32), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(host_process_status(process).state, ABI_PROCESS_RUNNING);
    cr_expect_eq(CALL(ABI_VM_INTERRUPT, vm, 0xfee00000, 1ULL << 32), -ABI_ERROR_ARGUMENT);
}

// ---- random calls -------------------------------------------------------------------------------

static uint64_t random_argument(uint64_t *seed) {
    static const uint64_t edges[] = {0,
                                     1,
                                     PAGE_SIZE,
                                     SIZE_2M,
                                     ABI_USER_BASE,
                                     ABI_USER_END - PAGE_SIZE,
                                     ABI_START_ADDRESS,
                                     UINT64_MAX,
                                     UINT64_MAX - PAGE_SIZE + 1,
                                     1ULL << 63,
                                     1ULL << 32,
                                     UINT32_MAX,
                                     ABI_CPUID_MAX,
                                     0xfee00000};
    uint64_t random = host_random(seed);
    switch (host_random(seed) % 8) {
    case 0:
        return edges[random % ARRAY_COUNT(edges)];
    case 1:
        return random;
    case 2:
        return (uint64_t)user + random % (sizeof(user) + 64);
    case 3:
        return random % 64 * PAGE_SIZE;
    case 4:
        return ABI_USER_BASE + random % 64 * PAGE_SIZE;
    case 5:
        return random % (ABI_RIGHTS_ALL + 1);
    default:
        return random % 48; // a handle, perhaps
    }
}

// Ends the caller, its process, or waits for what will not come.
static bool is_left_out(uint64_t number, const uint64_t *a) {
    return number == ABI_THREAD_EXIT || number == ABI_PROCESS_KILL ||
           (number == ABI_EVENT_WAIT && a[3] > host_now) ||
           (number == ABI_HANDLE_CLOSE && a[1] == 1);
}

Test(kernel_syscall, random_calls_take_nothing_for_good) {
    uint64_t seed = 3935559000370003845ULL, done = 0;
    const uint64_t before = host_quota_read(quota).used;
    for (unsigned world = 0; world < 8; world++) {
        for (unsigned round = 0; round < 25000; round++) {
            uint64_t a[7] = {host_random(&seed) % (ABI_CALL_COUNT + 1)};
            for (unsigned i = 1; i < 7; i++)
                a[i] = random_argument(&seed);
            // Make more than is closed, and mostly from the quota.
            if (host_random(&seed) % 4 != 0 && a[0] != ABI_HANDLE_CLOSE)
                a[1] = host_random(&seed) % 2 ? 1 : host_random(&seed) % 32;
            if (is_left_out(a[0], a))
                continue;
            host_now++;
            done += call_with(a) >= 0;
            cr_assert_leq(host_quota_read(quota).used, QUOTA_BYTES);
            if (round % 100 == 0)
                host_touch(process, ABI_USER_BASE + host_random(&seed) % 64 * PAGE_SIZE,
                           ABI_RIGHT_READ);
        }
        const struct abi_process_status status = {.state = ABI_PROCESS_EXITED};
        process_end(process, &status);
        cr_assert_eq(host_quota_read(quota).used, PAGE_SIZE, "world %u: %llu bytes are left", world,
                     host_quota_read(quota).used - PAGE_SIZE);
        object_unref(&process->object);
        process = process_create(quota, &group_root, NULL, 0);
        thread_current()->process = process;
        object_ref(&quota->object);
        handle_insert(process, &quota->object, ABI_RIGHT_READ | ABI_RIGHT_CREATE);
    }
    cr_expect_gt(done, 5000, "%lu calls succeeded", done);
    cr_expect_leq(host_quota_read(quota).used, before + PAGE_SIZE);
}
