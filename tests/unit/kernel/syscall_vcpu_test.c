// SPDX-License-Identifier: Apache-2.0
// kernel/syscall_vm.c on vCPUs, which are of paper here: whose registers and state go where, and
// what a refusal costs.
#include "tests/unit/kernel/support.h"

#include <criterion/criterion.h>
#include <string.h>

#define mitigation_clear_bhb vcalls_test_clear_history
#define syscall_dispatch     vcalls_test_dispatch
#define call_give            vcalls_test_give
#define call_vm_create       vcalls_test_vm_create
#define call_vm_map          vcalls_test_vm_map
#define call_vm_unmap        vcalls_test_vm_unmap
#define call_vm_cpuid        vcalls_test_vm_cpuid
#define call_vm_interrupt    vcalls_test_vm_interrupt
#define call_vm_doorbell     vcalls_test_vm_doorbell
#define call_vcpu_create     vcalls_test_vcpu_create
#define call_vcpu_page       vcalls_test_vcpu_page
#define call_vcpu_signal     vcalls_test_vcpu_signal
#define call_vcpu_read       vcalls_test_vcpu_read
#define call_vcpu_write      vcalls_test_vcpu_write
#define call_vcpu_apic_read  vcalls_test_vcpu_apic_read
#define call_vcpu_apic_write vcalls_test_vcpu_apic_write
#define vcpu_create          vcalls_test_create
#define vcpu_run             vcalls_test_run
#define vcpu_signal          vcalls_test_signal
#define vcpu_read_state      vcalls_test_read_state
#define vcpu_write_state     vcalls_test_write_state
#define vcpu_state_size      vcalls_test_state_size
#define vcpu_claim           vcalls_test_claim
#define vcpu_unclaim         vcalls_test_unclaim
#define vlapic_mmio_read     vcalls_test_mmio_read
#define vlapic_mmio_write    vcalls_test_mmio_write
#include "kernel/syscall.c"
#include "kernel/syscall_vm.c"

#define GROUP 7u  // the one group of state that there is ...
#define SIZE  64u // ... and its size

static struct process *process;
static struct quota *quota;
static struct vcpu vcpu;
static uint64_t vm_handle, handle;
static struct {
    uint32_t creations, index; // of vCPUs
    bool is_claimed;
    uint32_t runs;
    bool runs_well;
    uint32_t moves; // of state
    uint8_t state[SIZE];
    int error;
    uint32_t accesses, offset, value; // of the APIC
    uint32_t clears;                  // of the history of branches
} paper;

struct vcpu *vcpu_create(struct vm *vm, uint32_t index, int *error) {
    (void)vm;
    paper.creations++;
    paper.index = index;
    *error = ABI_ERROR_EXISTS;
    return NULL;
}
int vcpu_run(struct vcpu *it) {
    cr_assert_eq(it, &vcpu);
    paper.runs++;
    return paper.runs_well ? ABI_OK : ABI_ERROR_AGAIN;
}
int vcpu_signal(struct vcpu *it, uint64_t signal, uint64_t value) {
    cr_assert_eq(it, &vcpu);
    return signal == 1 && value == 2 ? ABI_OK : ABI_ERROR_ARGUMENT;
}
size_t vcpu_state_size(uint64_t group) {
    return group == GROUP ? SIZE : 0;
}
int vcpu_read_state(struct vcpu *it, uint64_t group, void *page) {
    cr_assert(it == &vcpu && group == GROUP);
    paper.moves++;
    memcpy(page, paper.state, SIZE);
    return paper.error;
}
int vcpu_write_state(struct vcpu *it, uint64_t group, const void *page) {
    cr_assert(it == &vcpu && group == GROUP);
    paper.moves++;
    memcpy(paper.state, page, SIZE);
    return paper.error;
}
bool vcpu_claim(struct vcpu *it) {
    cr_assert_eq(it, &vcpu);
    bool was_claimed = paper.is_claimed;
    paper.is_claimed = true;
    return !was_claimed;
}
void vcpu_unclaim(struct vcpu *it) {
    cr_assert(it == &vcpu && paper.is_claimed);
    paper.is_claimed = false;
}
uint32_t vlapic_mmio_read(struct vcpu *it, uint32_t offset) {
    cr_assert(it == &vcpu && paper.is_claimed, "another thread may be in the guest");
    paper.accesses++;
    paper.offset = offset;
    return UINT32_MAX;
}
void vlapic_mmio_write(struct vcpu *it, uint32_t offset, uint32_t value) {
    cr_assert(it == &vcpu && paper.is_claimed, "another thread may be in the guest");
    paper.accesses++;
    paper.offset = offset;
    paper.value = value;
}

void mitigation_clear_bhb(void) {
    paper.clears++;
}

static void set_up(void) {
    int error;
    host_init_all();
    vcpu_backend = &host_backend;
    quota = quota_create(quota_root(), 1u << 20);
    process = process_create(quota, &group_root, NULL, 0);
    thread_current()->process = process;
    struct vm *vm = vm_create(quota, 0, &error);
    cr_assert_not_null(vm);
    vcpu = (struct vcpu){.vm = vm, .page = quota_alloc_page(quota)};
    object_init(&vcpu.object, &vcpu_kind);
    vm_handle = (uint64_t)handle_insert(process, &vm->object, ABI_RIGHTS_ALL);
    handle = (uint64_t)handle_insert(process, &vcpu.object, ABI_RIGHTS_ALL);
    thread_current()->vcpu = &vcpu;
}

TestSuite(kernel_syscall_vcpu, .init = set_up);

static void expect_nothing_kept(void) {
    cr_expect_eq(vcpu.object.ref_count, 1, "a call keeps a reference");
    cr_expect_not(paper.is_claimed);
    cr_expect_eq(cpu_current()->locks_held, 0);
}

static int64_t call_with(uint64_t number, const uint64_t *a) {
    return syscall_dispatch(a[0], a[1], a[2], a[3], a[4], a[5], number);
}
#define CALL(number, ...) call_with(number, (const uint64_t[6]){__VA_ARGS__})

Test(kernel_syscall_vcpu, there_are_64_of_them) {
    const uint64_t bad[] = {VM_VCPUS_MAX, VM_VCPUS_MAX + 1, 1ULL << 32, UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(CALL(ABI_VCPU_CREATE, vm_handle, bad[i]), -ABI_ERROR_ARGUMENT, "%#lx", bad[i]);
    cr_expect_eq(paper.creations, 0);
    cr_expect_eq(CALL(ABI_VCPU_CREATE, vm_handle, VM_VCPUS_MAX - 1), -ABI_ERROR_EXISTS);
    cr_expect_eq(paper.index, VM_VCPUS_MAX - 1);
}

Test(kernel_syscall_vcpu, state_goes_in_and_out) {
    memset(host_user, 0xcc, 2 * SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        host_user[i] = (uint8_t)i;
    cr_expect_eq(CALL(ABI_VCPU_WRITE, handle, GROUP, (uint64_t)host_user, SIZE), 0);
    cr_expect_arr_eq(paper.state, host_user, SIZE);
    cr_expect_eq(CALL(ABI_VCPU_READ, handle, GROUP, (uint64_t)host_user + SIZE, SIZE), 0);
    cr_expect_arr_eq(host_user + SIZE, paper.state, SIZE);
    cr_expect_eq(paper.moves, 2);
}

Test(kernel_syscall_vcpu, state_of_another_size_moves_nothing) {
    const uint64_t bad[][2] = {{GROUP, 0},        {GROUP, SIZE - 1},
                               {GROUP, SIZE + 1}, {GROUP, PAGE_SIZE + 1},
                               {GROUP + 1, 0},    {GROUP + 1, SIZE}};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        cr_expect_eq(CALL(ABI_VCPU_READ, handle, bad[i][0], (uint64_t)host_user, bad[i][1]),
                     -ABI_ERROR_ARGUMENT);
        cr_expect_eq(CALL(ABI_VCPU_WRITE, handle, bad[i][0], (uint64_t)host_user, bad[i][1]),
                     -ABI_ERROR_ARGUMENT);
    }
    cr_expect_eq(paper.moves, 0);
}

Test(kernel_syscall_vcpu, state_at_bad_addresses_is_not_written) {
    const uint64_t bad = (uint64_t)host_user + sizeof(host_user) - SIZE + 1;
    uint64_t before = frame_totals().kernel;
    cr_expect_eq(CALL(ABI_VCPU_WRITE, handle, GROUP, bad, SIZE), -ABI_ERROR_ADDRESS);
    cr_expect_eq(paper.moves, 0);
    cr_expect_eq(CALL(ABI_VCPU_READ, handle, GROUP, bad, SIZE), -ABI_ERROR_ADDRESS);
    paper.error = ABI_ERROR_AGAIN;
    memset(host_user, 0xcc, SIZE);
    cr_expect_eq(CALL(ABI_VCPU_READ, handle, GROUP, (uint64_t)host_user, SIZE), -ABI_ERROR_AGAIN);
    cr_expect_eq(host_user[0], 0xcc, "what could not be read is not told");
    cr_expect_eq(CALL(ABI_VCPU_WRITE, handle, GROUP, (uint64_t)host_user, SIZE), -ABI_ERROR_AGAIN);
    cr_expect_eq(frame_totals().kernel, before, "the page between is gone");
    expect_nothing_kept();
}

Test(kernel_syscall_vcpu, state_without_a_page_between_moves_nothing) {
    void **taken = NULL;
    for (void **page = kernel_page_alloc(); page != NULL; page = kernel_page_alloc()) {
        *page = (void *)taken;
        taken = page;
    }
    cr_expect_eq(CALL(ABI_VCPU_READ, handle, GROUP, (uint64_t)host_user, SIZE), -ABI_ERROR_MEMORY);
    cr_expect_eq(CALL(ABI_VCPU_WRITE, handle, GROUP, (uint64_t)host_user, SIZE), -ABI_ERROR_MEMORY);
    cr_expect_eq(paper.moves, 0);
    while (taken != NULL) {
        void **next = *taken;
        kernel_page_free((void *)taken);
        taken = next;
    }
    cr_expect_eq(CALL(ABI_VCPU_WRITE, handle, GROUP, (uint64_t)host_user, SIZE), 0);
}

Test(kernel_syscall_vcpu, registers_are_the_owners) {
    struct vcpu other;
    struct vcpu *const not_owners[] = {NULL, &other};
    for (unsigned i = 0; i < ARRAY_COUNT(not_owners); i++) {
        thread_current()->vcpu = not_owners[i];
        cr_expect_eq(CALL(ABI_VCPU_APIC_READ, handle, 0x20), -ABI_ERROR_AGAIN);
        cr_expect_eq(CALL(ABI_VCPU_APIC_WRITE, handle, 0x80, 1), -ABI_ERROR_AGAIN);
    }
    thread_current()->vcpu = &vcpu;
    paper.is_claimed = true;
    cr_expect_eq(CALL(ABI_VCPU_APIC_READ, handle, 0x20), -ABI_ERROR_AGAIN,
                 "its state is on the way");
    cr_expect_eq(CALL(ABI_VCPU_APIC_WRITE, handle, 0x80, 1), -ABI_ERROR_AGAIN);
    cr_expect(paper.is_claimed, "by another one still");
    cr_expect_eq(paper.accesses, 0);
    paper.is_claimed = false;
    expect_nothing_kept();
}

Test(kernel_syscall_vcpu, registers_are_the_apics) {
    const uint64_t bad[] = {0x400,     0x410, 0xff0, 0x21, 0x3ff, 1ULL << 32, (1ULL << 32) + 0x20,
                            UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        cr_expect_eq(CALL(ABI_VCPU_APIC_READ, handle, bad[i]), -ABI_ERROR_ARGUMENT, "%#lx", bad[i]);
        cr_expect_eq(CALL(ABI_VCPU_APIC_WRITE, handle, bad[i], 1), -ABI_ERROR_ARGUMENT, "%#lx",
                     bad[i]);
    }
    cr_expect_eq(CALL(ABI_VCPU_APIC_WRITE, handle, 0x80, 1ULL << 32), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(paper.accesses, 0);
    cr_expect_eq(CALL(ABI_VCPU_APIC_READ, handle, 0x3f0), UINT32_MAX,
                 "no error, whatever it holds");
    cr_expect_eq(paper.offset, 0x3f0);
    cr_expect_eq(CALL(ABI_VCPU_APIC_WRITE, handle, 0x80, UINT32_MAX), 0);
    cr_expect(paper.offset == 0x80 && paper.value == UINT32_MAX);
    expect_nothing_kept();
}

// Before any branch of the kernel's whose target a table has, and whatever the number is.
Test(kernel_syscall_vcpu, history_of_ring_3_is_cleared_first) {
    const uint64_t numbers[] = {ABI_VCPU_RUN, ABI_VCPU_SIGNAL, ABI_CALL_COUNT};
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++) {
        mitigation.clears_bhb = false;
        CALL(numbers[i], handle, 1, 2);
        cr_expect_eq(paper.clears, i);
        mitigation.clears_bhb = true;
        CALL(numbers[i], handle, 1, 2);
        cr_expect_eq(paper.clears, i + 1);
    }
}

Test(kernel_syscall_vcpu, answers_are_told) {
    cr_expect_eq(CALL(ABI_VCPU_RUN, handle), -ABI_ERROR_AGAIN);
    cr_expect_eq(CALL(ABI_VCPU_SIGNAL, handle, 1, 2), 0);
    cr_expect_eq(CALL(ABI_VCPU_SIGNAL, handle, 2, 2), -ABI_ERROR_ARGUMENT);
    expect_nothing_kept();
}

// What a thread ran by is not looked up again, until the process closes anything.
Test(kernel_syscall_vcpu, handle_that_ran_is_good_until_one_is_closed) {
    const struct handle not_to_run = {.object = &vcpu.object, .rights = ABI_RIGHT_READ};
    object_ref(&vcpu.object);
    uint64_t other = (uint64_t)handle_put(process, &not_to_run);
    uint64_t spare = (uint64_t)handle_insert(process, &vcpu.vm->object, ABI_RIGHTS_ALL);
    object_ref(&vcpu.vm->object);
    paper.runs_well = true;
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(CALL(ABI_VCPU_RUN, handle), ABI_OK);
        cr_expect_eq(CALL(ABI_VCPU_RUN, other), -ABI_ERROR_RIGHTS);
        cr_expect_eq(CALL(ABI_VCPU_RUN, 0), -ABI_ERROR_HANDLE);
        cr_expect_eq(CALL(ABI_VCPU_RUN, handle + 4096), -ABI_ERROR_HANDLE);
        cr_expect_eq(CALL(ABI_VCPU_RUN, vm_handle), -ABI_ERROR_HANDLE);
    }
    cr_expect_eq(vcpu.object.ref_count, 2, "what was got was dropped");
    cr_expect_eq(handle_close(process, spare), ABI_OK);
    cr_expect_eq(CALL(ABI_VCPU_RUN, handle), ABI_OK, "looked up anew");
    cr_expect_eq(paper.runs, 4);
    object_ref(&vcpu.object);
    cr_expect_eq(handle_close(process, handle), ABI_OK);
    for (unsigned i = 0; i < 2; i++)
        cr_expect_eq(CALL(ABI_VCPU_RUN, handle), -ABI_ERROR_HANDLE);
    cr_expect_eq(paper.runs, 4);
}

// The thread's own vCPU is run by what succeeded: one that is another's leaves nothing behind.
Test(kernel_syscall_vcpu, handle_that_did_not_run_is_looked_up_again) {
    for (unsigned i = 0; i < 2; i++)
        cr_expect_eq(CALL(ABI_VCPU_RUN, handle), -ABI_ERROR_AGAIN);
    cr_expect_eq(thread_current()->run_handle, 0);
}

Test(kernel_syscall_vcpu, page_is_memory_that_keeps_it_alive) {
    uint64_t before = host_quota_read(quota).used;
    int64_t page = CALL(ABI_VCPU_PAGE, handle);
    struct handle has;
    cr_assert_eq(handle_get(process, (uint64_t)page, OBJECT_MEMORY, ABI_RIGHTS_ALL, &has), ABI_OK);
    const struct memory *memory = CONTAINER_OF(has.object, struct memory, object);
    cr_expect(memory->size == PAGE_SIZE && memory->base.v == frame_of_kernel(vcpu.page).v);
    cr_expect_eq(vcpu.object.ref_count, 2);
    object_unref(has.object);
    handle_close(process, (uint64_t)page);
    object_finish();
    cr_expect_eq(host_quota_read(quota).used, before);
}

Test(kernel_syscall_vcpu, cpuid_table_is_taken_whole_or_not_at_all) {
    struct abi_cpuid *rows = (struct abi_cpuid *)(void *)host_user;
    memset(host_user, 0, sizeof(host_user));
    for (uint32_t i = 0; i <= ABI_CPUID_MAX; i++)
        rows[i].leaf = i;
    uint64_t before = host_quota_read(quota).used;
    uint64_t end = (uint64_t)host_user + sizeof(host_user);
    cr_expect_eq(CALL(ABI_VM_CPUID, vm_handle, (uint64_t)host_user, ABI_CPUID_MAX + 1),
                 -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_VM_CPUID, vm_handle, (uint64_t)host_user, 1ULL << 32),
                 -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_VM_CPUID, vm_handle, end - sizeof(*rows), 2), -ABI_ERROR_ADDRESS);
    uint64_t left = host_quota_read(quota).limit - before;
    cr_assert(quota_charge(quota, left, 0));
    cr_expect_eq(CALL(ABI_VM_CPUID, vm_handle, (uint64_t)host_user, 1), -ABI_ERROR_MEMORY);
    quota_release(quota, left, 0);
    cr_expect_eq(host_quota_read(quota).used, before, "refusals take nothing");
    cr_expect_eq(CALL(ABI_VM_CPUID, vm_handle, (uint64_t)host_user, ABI_CPUID_MAX), 0);
    cr_expect_eq(host_quota_read(quota).used, before + PAGE_SIZE);
}
