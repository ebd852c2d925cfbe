// SPDX-License-Identifier: Apache-2.0
// kernel/syscall_system.c: the calls on the machine. Only who has its handle, with the right that
// each asks for, is answered: to end it, to read what it says of itself.
#include "tests/unit/kernel/support.h"

#include "kernel/memory.h"

#include <criterion/criterion.h>
#include <string.h>

#define syscall_dispatch          sys_test_dispatch
#define call_give                 sys_test_give
#define call_system_info          sys_test_info
#define call_system_cpu           sys_test_cpu
#define call_system_power         sys_test_power
#define call_memory_free          sys_test_memory_free
#define call_system_audit         sys_test_audit
#define system_object             sys_test_object
#define system_entry_tsc          sys_test_entry_tsc
#define system_init               sys_test_init
#define power_off                 sys_test_power_off
#define power_reset               sys_test_power_reset
#define scheduler_read_cpu        sys_test_read_cpu
#define audit_all                 sys_test_audit_all
#define vcpu_first_entry_tsc      sys_test_first_entry_tsc
#define tsc_is_common             sys_test_tsc_is_common
#define image_text                sys_test_image_text
#define image_end                 sys_test_image_end
#define call_system_machine_check sys_test_machine_check
#define machine_check_poll        sys_test_machine_check_poll
#include "kernel/syscall.c"
#include "kernel/syscall_system.c"

const uint8_t image_text[1], image_end[1];
uint64_t vcpu_first_entry_tsc;
bool tsc_is_common = true;

static struct {
    uint32_t offs, resets, audits;
    uint32_t cpu; // the last that was asked for
} done;

void power_off(void) {
    done.offs++;
}
void power_reset(void) {
    done.resets++;
}
void scheduler_read_cpu(const struct cpu *cpu, struct abi_cpu_info *info) {
    done.cpu = cpu->index;
    info->runnable = 3;
}
void machine_check_poll(void *report) {
    *(struct abi_machine_check *)report =
        (struct abi_machine_check){.status = 7, .bank = cpu_current()->index};
}
struct abi_audit audit_all(void) {
    done.audits++;
    return (struct abi_audit){.errors = 9};
}

static struct process *process;
static uint64_t event_handle;

static void set_up(void) {
    host_init_all();
    system_init(7);
    machine = (struct boot_info){.machine_check.bank_count = 1};
    struct quota *quota = quota_create(quota_root(), 1u << 20);
    process = process_create(quota, &group_root, NULL, 0);
    thread_current()->process = process;
    event_handle =
        (uint64_t)handle_insert(process, &host_event_create(quota)->object, ABI_RIGHTS_ALL);
    memset(host_user, 'x', sizeof(host_user));
}

TestSuite(kernel_system, .init = set_up);

Test(kernel_system, each_number_has_its_call) {
    for (unsigned i = 0; i < ABI_CALL_COUNT; i++)
        cr_expect_eq(calls[i].run != NULL, i != ABI_VCPU_RUN, "call %u", i);
}

static int64_t call_with(uint64_t number, const uint64_t *a) {
    return syscall_dispatch(a[0], a[1], a[2], a[3], a[4], a[5], number);
}
#define CALL(number, ...) call_with(number, (const uint64_t[6]){__VA_ARGS__})
#define USER              ((uint64_t)host_user)
#define BAD               ((uint64_t)host_user + sizeof(host_user))

static uint64_t with(uint64_t rights) {
    object_ref(&system_object);
    int64_t handle = handle_insert(process, &system_object, rights);
    cr_assert_gt(handle, 0);
    return (uint64_t)handle;
}

// Whoever could tell where memory comes from could choose its neighbours.
Test(kernel_system, only_who_has_the_machine_says_where_memory_comes_from) {
    static const struct abi_home home = {{{HOST_HIGH_BASE, SIZE_2M}}};
    struct quota *quota = quota_create(quota_root(), 4 * SIZE_2M);
    uint64_t part = (uint64_t)handle_insert(process, &quota->object, ABI_RIGHTS_ALL);
    uint64_t poor =
        (uint64_t)handle_insert(process, &quota->object, ABI_RIGHTS_ALL & ~ABI_RIGHT_MANAGE);
    memcpy(host_user, &home, sizeof(home));
    cr_expect_eq(CALL(ABI_QUOTA_HOME, 0, part, USER), -ABI_ERROR_HANDLE);
    cr_expect_eq(CALL(ABI_QUOTA_HOME, event_handle, part, USER), -ABI_ERROR_HANDLE);
    cr_expect_eq(CALL(ABI_QUOTA_HOME, with(ABI_RIGHT_READ), part, USER), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_QUOTA_HOME, with(ABI_RIGHT_MANAGE), poor, USER), -ABI_ERROR_RIGHTS);
    cr_expect_eq(CALL(ABI_QUOTA_HOME, with(ABI_RIGHT_MANAGE), part, BAD), -ABI_ERROR_ADDRESS);
    cr_expect_eq(quota->home.range[0].size, 0);
    cr_expect_eq(CALL(ABI_QUOTA_HOME, with(ABI_RIGHT_MANAGE), part, USER), 0);
    cr_expect_arr_eq(&quota->home, &home, sizeof(home));
}

// A list that never ends: memory is there all the same.
Test(kernel_system, a_home_without_an_end_ends) {
    struct quota *quota = quota_create(quota_root(), 4 * SIZE_2M);
    uint64_t part = (uint64_t)handle_insert(process, &quota->object, ABI_RIGHTS_ALL);
    memset(host_user, 0xff, sizeof(host_user));
    cr_expect_eq(CALL(ABI_QUOTA_HOME, with(ABI_RIGHT_MANAGE), part, USER), 0);
    const struct abi_range *last = &quota->home.range[ABI_HOME_MAX - 1];
    cr_expect_eq(last->base | last->size, 0);
    cr_expect_eq(last[-1].base, UINT64_MAX);
    struct memory *memory = memory_create(quota, SIZE_2M);
    cr_assert_not_null(memory);
    cr_expect_eq(memory_get(memory, 0, NULL).size, SIZE_2M, "in one piece");
}

static void ask_all(uint64_t handle, uint64_t right, int64_t answer) {
    if (right == ABI_RIGHT_READ) {
        cr_expect_eq(CALL(ABI_SYSTEM_INFO, handle, USER), answer);
        cr_expect_eq(CALL(ABI_SYSTEM_CPU, handle, 0, USER), answer);
        cr_expect_eq(CALL(ABI_SYSTEM_AUDIT, handle, USER), answer);
        cr_expect_eq(CALL(ABI_MEMORY_FREE, handle, HOST_RAM_BASE, PAGE_SIZE), answer);
    } else {
        cr_expect_eq(CALL(ABI_SYSTEM_POWER, handle, ABI_POWER_OFF),
                     answer != 0 ? answer : -ABI_ERROR_UNSUPPORTED);
        cr_expect_eq(CALL(ABI_SYSTEM_POWER, handle, ABI_POWER_RESET),
                     answer != 0 ? answer : -ABI_ERROR_UNSUPPORTED);
        cr_expect_eq(CALL(ABI_SYSTEM_MACHINE_CHECK, handle, 0, USER), answer);
    }
}

Test(kernel_system, each_call_asks_for_its_right) {
    const uint64_t rights[] = {ABI_RIGHT_READ, ABI_RIGHT_MANAGE};
    for (unsigned i = 0; i < ARRAY_COUNT(rights); i++) {
        ask_all(with(ABI_RIGHTS_ALL & ~rights[i]), rights[i], -ABI_ERROR_RIGHTS);
        ask_all(event_handle, rights[i], -ABI_ERROR_HANDLE);
        ask_all(0, rights[i], -ABI_ERROR_HANDLE);
    }
    cr_expect_eq(done.offs + done.resets + done.audits, 0);
    uint32_t references = system_object.ref_count;
    for (unsigned i = 0; i < ARRAY_COUNT(rights); i++)
        ask_all(with(rights[i]), rights[i], 0);
    cr_expect(done.offs == 1 && done.resets == 1 && done.audits == 1);
    cr_expect_eq(system_object.ref_count, references + ARRAY_COUNT(rights), "the handles'");
}

Test(kernel_system, power_has_two_ways) {
    const uint64_t bad[] = {2, 1ULL << 32, (1ULL << 32) + 1, UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(CALL(ABI_SYSTEM_POWER, with(ABI_RIGHT_MANAGE), bad[i]), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(done.offs + done.resets, 0);
}

Test(kernel_system, cpus_are_those_that_there_are) {
    const uint64_t bad[] = {HOST_CPUS, HOST_CPUS + 1, CPU_COUNT_MAX, 1ULL << 32, UINT64_MAX};
    struct abi_cpu_info info;
    uint64_t handle = with(ABI_RIGHT_READ);
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(CALL(ABI_SYSTEM_CPU, handle, bad[i], USER), -ABI_ERROR_ARGUMENT, "%#lx",
                     bad[i]);
    host_cpu(HOST_CPUS - 1)->apic_id = 77;
    cr_expect_eq(CALL(ABI_SYSTEM_CPU, handle, HOST_CPUS - 1, USER), 0);
    memcpy(&info, host_user, sizeof(info));
    cr_expect(done.cpu == HOST_CPUS - 1 && info.apic_id == 77 && info.runnable == 3);
}

Test(kernel_system, machine_checks_are_of_the_cpu_that_was_asked_for) {
    struct abi_machine_check error;
    uint64_t handle = with(ABI_RIGHT_MANAGE);
    cr_expect_eq(CALL(ABI_SYSTEM_MACHINE_CHECK, handle, HOST_CPUS, USER), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_SYSTEM_MACHINE_CHECK, handle, UINT64_MAX, USER), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_SYSTEM_MACHINE_CHECK, handle, HOST_CPUS - 1, BAD), -ABI_ERROR_ADDRESS);
    cr_expect_eq(CALL(ABI_SYSTEM_MACHINE_CHECK, handle, HOST_CPUS - 1, USER), 0);
    memcpy(&error, host_user, sizeof(error));
    cr_expect(error.status == 7 && error.bank == HOST_CPUS - 1, "polled there");
    machine.machine_check.bank_count = 0;
    cr_expect_eq(CALL(ABI_SYSTEM_MACHINE_CHECK, handle, 0, USER), -ABI_ERROR_UNSUPPORTED);
}

Test(kernel_system, answers_go_to_the_callers_memory_alone) {
    uint64_t handle = with(ABI_RIGHTS_ALL);
    struct abi_system_info info;
    struct abi_audit report;
    cr_expect_eq(CALL(ABI_SYSTEM_INFO, handle, BAD), -ABI_ERROR_ADDRESS);
    cr_expect_eq(CALL(ABI_SYSTEM_CPU, handle, 0, BAD), -ABI_ERROR_ADDRESS);
    cr_expect_eq(CALL(ABI_SYSTEM_AUDIT, handle, BAD), -ABI_ERROR_ADDRESS);
    cr_expect_eq(CALL(ABI_SYSTEM_INFO, handle, USER), 0);
    memcpy(&info, host_user, sizeof(info));
    cr_expect(info.version == ABI_VERSION && info.cpu_count == HOST_CPUS &&
              info.kernel_entry_tsc == 7);
    cr_expect_eq(CALL(ABI_SYSTEM_AUDIT, handle, USER), 0);
    memcpy(&report, host_user, sizeof(report));
    cr_expect_eq(report.errors, 9);
}

// What a guest's clock is called by.
Test(kernel_system, tsc_is_stable_where_it_is_invariant_and_the_same_on_all_cpus) {
    uint64_t handle = with(ABI_RIGHT_READ);
    for (unsigned i = 0; i < 4; i++) {
        struct abi_system_info info;
        cpu_features.has_tsc_invariant = i & 1;
        tsc_is_common = i >> 1 != 0;
        cr_expect_eq(CALL(ABI_SYSTEM_INFO, handle, USER), 0);
        memcpy(&info, host_user, sizeof(info));
        cr_expect_eq(info.is_tsc_stable, i == 3, "%u", i);
    }
}

// Who ends with the only handle leaves a machine that nobody serves.
Test(kernel_system, end_of_who_has_the_machine_is_told) {
    uint64_t handle = with(ABI_RIGHT_READ);
    object_unref(&system_object); // ours, which first_start hands on
    cr_expect(HOST_PANICS((void)handle_close(process, handle)));
    cr_expect_not_null(strstr(host_panic_text, "the supervisor ended"));
}
