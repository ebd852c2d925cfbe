// SPDX-License-Identifier: Apache-2.0
// kernel/vm.c: what is mapped where, CPUID tables, doorbells, and the end of a VM.
#include "arch/tsc.h"
#include "tests/unit/kernel/support.h"

#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <string.h>

static const struct vcpu_backend backend = {
    .name = "paper",
    .space_format = &paging_format,
};

static struct vm *vm;
static struct event *event;

static void set_up(void) {
    int error;
    host_init_all();
    vcpu_backend = &backend;
    vm = vm_create(quota_root(), 0, &error);
    event = host_event_create(quota_root());
    cr_assert(vm != NULL && event != NULL && error == ABI_OK);
}

TestSuite(kernel_vm, .init = set_up);

#define R  ((uint64_t)ABI_RIGHT_READ)
#define RW ((uint64_t)(ABI_RIGHT_READ | ABI_RIGHT_WRITE))

Test(kernel_vm, guest_time_starts_at_0) {
    cr_expect_eq(host_now + vm->tsc_offset, 0);
}

Test(kernel_vm, a_tsc_rate_of_its_own_needs_scaling) {
    int error = ABI_OK;
    cr_expect_null(vm_create(quota_root(), 2 * tsc_hz, &error));
    cr_expect_eq(error, ABI_ERROR_UNSUPPORTED);
    struct vm *same = vm_create(quota_root(), tsc_hz, &error);
    cr_assert_not_null(same, "the host's own rate needs none");
    cr_expect_eq(same->tsc_ratio, 0);
    cpu_features.has_tsc_scaling = true;
    struct vm *faster = vm_create(quota_root(), 2 * tsc_hz, &error);
    cr_assert_not_null(faster);
    cr_expect_eq(2 * host_now + faster->tsc_offset, 0, "its time starts at 0, too");
    cr_expect_null(vm_create(quota_root(), 256 * tsc_hz, &error));
    cr_expect_eq(error, ABI_ERROR_ARGUMENT);
    cr_expect_null(vm_create(quota_root(), UINT64_MAX, &error));
    cr_expect_eq(error, ABI_ERROR_ARGUMENT);
}

Test(kernel_vm, creation_may_fail_and_leaves_nothing) {
    int error = ABI_OK;
    for (uint64_t pages = 0; pages < 3; pages++) {
        struct quota *q = quota_create(quota_root(), pages * PAGE_SIZE);
        cr_expect_null(vm_create(q, 0, &error));
        cr_expect_eq(error, ABI_ERROR_MEMORY);
        cr_expect_eq(host_quota_read(q).used, 0, "%lu pages", pages);
    }
    struct quota *q = quota_create(quota_root(), 10 * PAGE_SIZE);
    vcpu_backend = NULL;
    cr_expect_null(vm_create(q, 0, &error));
    cr_expect_eq(error, ABI_ERROR_UNSUPPORTED);
    cr_expect(host_quota_read(q).used == 0 && q->object.ref_count == 1);
}

Test(kernel_vm, end_gives_everything_back) {
    struct quota *q = quota_create(quota_root(), 8 * SIZE_2M);
    int error;
    struct vm *victim = vm_create(q, 0, &error);
    struct memory *memory = memory_create(q, 2 * SIZE_2M);
    cr_assert_eq(space_map(&victim->space, memory, 0, 0, 2 * SIZE_2M, RW), ABI_OK);
    object_unref(&memory->object);
    cr_assert_eq(vm_handle_fault(victim, (gpa_t){SIZE_2M}, VCPU_ACCESS_READ), SPACE_FAULT_RETRY);
    cr_assert_eq(vm_bind_doorbell(victim, 0x100, event, 1), ABI_OK);
    object_unref(&victim->object);
    object_finish();
    cr_expect_eq(host_quota_read(q).used, 0);
    cr_expect_eq(q->object.ref_count, 1);
    cr_expect_eq(event->object.ref_count, 1);
}

// ---- memory -------------------------------------------------------------------------------------

Test(kernel_vm, map_refuses_what_cannot_be) {
    struct memory *memory = memory_create(quota_root(), 4 * PAGE_SIZE);
    const uint64_t end = 1ULL << cpu_features.physical_bits;
    const struct {
        uint64_t gpa, offset, size, rights;
    } bad[] = {
        {1, 0, PAGE_SIZE, RW},
        {0, 1, PAGE_SIZE, RW},
        {0, 0, 1, RW},
        {0, 0, 0, RW},
        {0, 0, 5 * PAGE_SIZE, RW},
        {0, 4 * PAGE_SIZE, PAGE_SIZE, RW},
        {0, UINT64_MAX - PAGE_SIZE + 1, 2 * PAGE_SIZE, RW},
        {end, 0, PAGE_SIZE, RW},
        {end - PAGE_SIZE, 0, 2 * PAGE_SIZE, RW},
        {UINT64_MAX - PAGE_SIZE + 1, 0, PAGE_SIZE, RW},
        {UINT64_MAX - PAGE_SIZE + 1, 0, 2 * PAGE_SIZE, RW},
        {0, 0, PAGE_SIZE, 0},
        {0, 0, PAGE_SIZE, ABI_RIGHT_WRITE},
        {0, 0, PAGE_SIZE, RW | ABI_RIGHT_RUN},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(
            space_map(&vm->space, memory, bad[i].gpa, bad[i].offset, bad[i].size, bad[i].rights),
            ABI_ERROR_ARGUMENT, "case %u", i);
    cr_expect_eq(space_map(&vm->space, memory, end - PAGE_SIZE, 0, PAGE_SIZE, RW), ABI_OK);
    cr_expect_eq(space_map(&vm->space, memory, end - PAGE_SIZE, 0, PAGE_SIZE, RW),
                 ABI_ERROR_EXISTS);
    // A vCPU's page in a VM would keep both alive for ever (review C11).
    struct memory *page =
        memory_create_page(quota_root(), quota_alloc_page(quota_root()), &event->object);
    cr_expect_eq(space_map(&vm->space, page, 0, 0, PAGE_SIZE, RW), ABI_ERROR_ARGUMENT);
}

// Of a large one each 2 MiB would be 512 leaves, which space_unmap walks.
Test(kernel_vm, large_mapping_has_to_fit_large_pages) {
    struct memory *memory = memory_create(quota_root(), 2 * SIZE_1G);
    const uint64_t small = ABI_SMALL_PAGES_MAX, large = small + PAGE_SIZE;
    cr_expect_eq(space_map(&vm->space, memory, PAGE_SIZE, 0, large, R), ABI_ERROR_ARGUMENT);
    cr_expect_eq(space_map(&vm->space, memory, 0, PAGE_SIZE, large, R), ABI_ERROR_ARGUMENT);
    cr_expect_eq(space_map(&vm->space, memory, SIZE_2M / 2, 0, SIZE_1G, R), ABI_ERROR_ARGUMENT);
    cr_expect_eq(memory->object.ref_count, 1);
    cr_expect_eq(space_map(&vm->space, memory, PAGE_SIZE, 0, small, R), ABI_OK);
    cr_expect_eq(
        space_map(&vm->space, memory, SIZE_1G + PAGE_SIZE, SIZE_2M + PAGE_SIZE, SIZE_1G, R),
        ABI_OK);
    cr_expect_eq(space_map(&vm->space, memory, 4 * SIZE_1G, 2 * SIZE_2M, SIZE_1G, R), ABI_OK);
}

Test(kernel_vm, faults_are_resolved_or_the_vmms) {
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    cr_assert_eq(space_map(&vm->space, memory, SIZE_1G, 0, PAGE_SIZE, R), ABI_OK);
    const gpa_t at = {SIZE_1G + 0x123};
    cr_expect_eq(vm_handle_fault(vm, at, VCPU_ACCESS_WRITE), SPACE_FAULT_NONE);
    cr_expect_eq(vm_handle_fault(vm, at, VCPU_ACCESS_READ | VCPU_ACCESS_WRITE), SPACE_FAULT_NONE);
    cr_expect_eq(vm_handle_fault(vm, at, VCPU_ACCESS_FETCH), SPACE_FAULT_NONE);
    cr_expect_eq(vm_handle_fault(vm, (gpa_t){SIZE_1G - 1}, VCPU_ACCESS_READ), SPACE_FAULT_NONE);
    cr_expect_eq(vm_handle_fault(vm, (gpa_t){SIZE_1G + PAGE_SIZE}, VCPU_ACCESS_READ),
                 SPACE_FAULT_NONE);
    cr_expect_eq(vm_handle_fault(vm, (gpa_t){UINT64_MAX}, VCPU_ACCESS_READ), SPACE_FAULT_NONE);
    cr_expect_eq(pt_lookup(&vm->space.pt, SIZE_1G).rights, 0);
    cr_expect_eq(vm_handle_fault(vm, at, VCPU_ACCESS_READ), SPACE_FAULT_RETRY);
    cr_expect_eq(pt_lookup(&vm->space.pt, SIZE_1G).rights, PT_READ | PT_USER);
}

Test(kernel_vm, fault_without_memory_is_a_shortage) {
    struct quota *q = quota_create(quota_root(), 4 * PAGE_SIZE);
    int error;
    struct vm *poor = vm_create(q, 0, &error);
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    cr_assert_eq(space_map(&poor->space, memory, 0, 0, PAGE_SIZE, R), ABI_OK);
    cr_expect_eq(vm_handle_fault(poor, (gpa_t){0}, VCPU_ACCESS_READ), SPACE_FAULT_SHORTAGE);
}

Test(kernel_vm, map_without_memory_changes_nothing) {
    struct quota *q = quota_create(quota_root(), 3 * PAGE_SIZE);
    int error;
    struct vm *poor = vm_create(q, 0, &error);
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    cr_expect_eq(space_map(&poor->space, memory, 0, 0, PAGE_SIZE, R), ABI_ERROR_MEMORY);
    cr_expect_eq(memory->object.ref_count, 1);
    cr_expect_eq(vm_handle_fault(poor, (gpa_t){0}, VCPU_ACCESS_READ), SPACE_FAULT_NONE);
}

Test(kernel_vm, unmap_takes_it_from_every_vcpu) {
    static struct vcpu vcpu;
    struct memory *memory = memory_create(quota_root(), 2 * PAGE_SIZE);
    lock_init(&vcpu.lock, LOCK_VCPU);
    vm->vcpus[5] = &vcpu;
    cr_assert_eq(space_map(&vm->space, memory, 0, 0, 2 * PAGE_SIZE, R), ABI_OK);
    cr_assert_eq(vm_handle_fault(vm, (gpa_t){0}, VCPU_ACCESS_READ), SPACE_FAULT_RETRY);
    cr_expect_eq(space_unmap(&vm->space, 0, PAGE_SIZE), ABI_ERROR_ARGUMENT);
    cr_expect_eq(vm->space.generation, 0);
    cr_expect_eq(space_unmap(&vm->space, 0, 2 * PAGE_SIZE), ABI_OK);
    cr_expect_eq(vm->space.generation, 1);
    cr_expect_neq(vcpu.pending, 0, "it must look before it enters");
    cr_expect_eq(pt_lookup(&vm->space.pt, 0).rights, 0);
    cr_expect_eq(memory->object.ref_count, 1);
    cr_expect_eq(vm_handle_fault(vm, (gpa_t){0}, VCPU_ACCESS_READ), SPACE_FAULT_NONE);
    vm->vcpus[5] = NULL;
}

// ---- code on small pages ------------------------------------------------------------------------

#define RWX (RW | ABI_RIGHT_EXECUTE)

// As EPT has it on a CPU with ITLB multihit.
static uint64_t small_leaf(hpa_t frame, uint32_t rights, unsigned level) {
    return paging_format.leaf(frame, level > 0 ? rights & ~(uint32_t)PT_EXECUTE : rights, level);
}
static struct pt_format small_format;
static struct vcpu_backend small_backend;

static struct vm *small_vm(struct quota *q) {
    int error;
    small_format = paging_format;
    small_format.leaf = small_leaf;
    small_format.is_code_small = true;
    small_backend = backend;
    small_backend.space_format = &small_format;
    vcpu_backend = &small_backend;
    struct vm *made = vm_create(q, 0, &error);
    cr_assert_not_null(made);
    return made;
}

static void fetch(struct vm *from, uint64_t gpa) {
    cr_assert_eq(vm_handle_fault(from, (gpa_t){gpa}, VCPU_ACCESS_FETCH), SPACE_FAULT_RETRY, "%#lx",
                 gpa);
}

Test(kernel_vm, fetch_splits_what_large_pages_map) {
    struct vm *small = small_vm(quota_root());
    struct memory *memory = memory_create(quota_root(), 4 * SIZE_2M);
    cr_assert_eq(space_map(&small->space, memory, 0, 0, 4 * SIZE_2M, RWX), ABI_OK);
    cr_assert_eq(vm_handle_fault(small, (gpa_t){SIZE_2M}, VCPU_ACCESS_WRITE), SPACE_FAULT_RETRY);
    struct pt_mapping data = pt_lookup(&small->space.pt, SIZE_2M);
    cr_expect(data.size == SIZE_2M && data.rights == (PT_READ | PT_WRITE | PT_USER));
    fetch(small, SIZE_2M + 0x1234); // mapped already
    fetch(small, 3 * SIZE_2M);      // not yet
    for (uint64_t gpa = SIZE_2M; gpa < 4 * SIZE_2M; gpa += PAGE_SIZE) {
        struct pt_mapping code = pt_lookup(&small->space.pt, gpa);
        if (gpa / SIZE_2M == 2)
            continue;
        cr_expect_eq(code.size, PAGE_SIZE);
        cr_expect_eq(code.rights, PT_READ | PT_WRITE | PT_EXECUTE | PT_USER);
    }
    cr_expect_eq(pt_lookup(&small->space.pt, SIZE_2M + PAGE_SIZE).frame.v,
                 data.frame.v + PAGE_SIZE);
    cr_expect_eq(pt_lookup(&small->space.pt, 2 * SIZE_2M).rights, 0, "nobody asked for it");
}

Test(kernel_vm, fetch_without_the_right_splits_nothing) {
    struct vm *small = small_vm(quota_root());
    struct memory *memory = memory_create(quota_root(), SIZE_2M);
    cr_assert_eq(space_map(&small->space, memory, 0, 0, SIZE_2M, RW), ABI_OK);
    cr_assert_eq(vm_handle_fault(small, (gpa_t){0}, VCPU_ACCESS_READ), SPACE_FAULT_RETRY);
    cr_expect_eq(vm_handle_fault(small, (gpa_t){0}, VCPU_ACCESS_FETCH), SPACE_FAULT_NONE);
    cr_expect_eq(pt_lookup(&small->space.pt, 0).size, SIZE_2M);
}

// 4 KiB for each 2 MiB that a region touches, and a page for each GiB and each 512 GiB.
static uint64_t tables_of(uint64_t gpa, uint64_t size) {
    uint64_t last = gpa + size - 1;
    return last / SIZE_2M - gpa / SIZE_2M + last / SIZE_1G - gpa / SIZE_1G + 3;
}

// The quota is empty once the VM's memory is mapped, and yet all of it can be split: whatever its
// VMM did with the rest.
Test(kernel_vm, tables_are_the_vms_from_the_start) {
    struct quota *q = quota_create(quota_root(), 24 * SIZE_2M);
    struct vm *small = small_vm(q);
    struct memory *memory = memory_create(q, 20 * SIZE_2M);
    const uint64_t gpa = SIZE_1G - 3 * SIZE_2M, size = 20 * SIZE_2M;
    uint64_t before = host_quota_read(q).used;
    cr_assert_eq(space_map(&small->space, memory, gpa, 0, size, RWX), ABI_OK);
    uint64_t list = PAGE_SIZE; // of regions
    cr_expect_eq(host_quota_read(q).used - before, tables_of(gpa, size) * PAGE_SIZE + list);
    cr_assert(quota_charge(q, q->limit - q->used, 0));
    for (uint64_t at = gpa; at < gpa + size; at += SIZE_2M)
        fetch(small, at + PAGE_SIZE);
    cr_expect_eq(small->space.tables_reserved, 0, "the bound is exact: %lu are left",
                 small->space.tables_reserved);
}

// A region that goes takes no table from one that stays.
Test(kernel_vm, tables_of_another_region_stay_when_one_goes) {
    struct quota *q = quota_create(quota_root(), 16 * SIZE_2M);
    struct vm *small = small_vm(q);
    struct memory *memory = memory_create(q, 8 * SIZE_2M);
    uint64_t before = host_quota_read(q).used;
    for (unsigned round = 0; round < 3; round++) {
        cr_assert_eq(space_map(&small->space, memory, 0, 0, 4 * SIZE_2M, RWX), ABI_OK);
        cr_assert_eq(space_map(&small->space, memory, SIZE_1G, 4 * SIZE_2M, 4 * SIZE_2M, RWX),
                     ABI_OK);
        for (uint64_t at = 0; at < 4 * SIZE_2M; at += SIZE_2M)
            fetch(small, at);
        cr_assert_eq(space_unmap(&small->space, 0, 4 * SIZE_2M), ABI_OK);
        uint64_t rest = q->limit - q->used;
        cr_assert(quota_charge(q, rest, 0));
        for (uint64_t at = 0; at < 4 * SIZE_2M; at += SIZE_2M)
            fetch(small, SIZE_1G + at);
        quota_release(q, rest, 0);
        cr_assert_eq(space_unmap(&small->space, SIZE_1G, 4 * SIZE_2M), ABI_OK);
        cr_expect_eq(small->space.tables_reserved, 0);
        // What is in use stays, for the same place: the tables of both regions, but for the root
        // and 512 GiB's twice.
        cr_expect_eq(host_quota_read(q).used - before, (1 + 2 * (4 + 1)) * PAGE_SIZE, "round %u",
                     round);
    }
}

Test(kernel_vm, map_without_memory_for_all_tables_changes_nothing) {
    struct quota *q = quota_create(quota_root(), 8 * PAGE_SIZE);
    struct vm *small = small_vm(q);
    struct memory *memory = memory_create(quota_root(), 8 * SIZE_2M);
    uint64_t before = host_quota_read(q).used;
    cr_expect_eq(space_map(&small->space, memory, 0, 0, 8 * SIZE_2M, RWX), ABI_ERROR_MEMORY);
    cr_expect_eq(host_quota_read(q).used, before);
    cr_expect(small->space.tables_reserved == 0 && small->space.tables_needed == 0);
    cr_expect_eq(space_map(&vm->space, memory, 0, 0, 8 * SIZE_2M, RWX), ABI_OK);
    object_unref(&small->object);
    object_finish();
    cr_expect_eq(host_quota_read(q).used, 0);
}

Test(kernel_vm, end_gives_back_tables_that_were_never_used) {
    struct quota *q = quota_create(quota_root(), 128 * SIZE_2M);
    struct vm *small = small_vm(q);
    struct memory *memory = memory_create(quota_root(), 1200 * SIZE_2M);
    cr_assert_eq(space_map(&small->space, memory, 0, 0, 1200 * SIZE_2M, RWX), ABI_OK);
    cr_expect_eq(small->space.tables_reserved, tables_of(0, 1200 * SIZE_2M));
    fetch(small, 0);
    object_unref(&small->object);
    object_finish();
    cr_expect_eq(host_quota_read(q).used, 0);
}

// A page that is charged is only late, as while somebody gives back some of the pool: no shortage.
Test(kernel_vm, table_that_is_charged_is_waited_for) {
    struct vm *small = small_vm(quota_root());
    struct memory *memory = memory_create(quota_root(), SIZE_2M);
    cr_assert_eq(space_map(&small->space, memory, SIZE_1G, 0, SIZE_2M, RWX), ABI_OK);
    void *page, *last = NULL;
    host_take_frames();
    while ((page = kernel_page_alloc()) != NULL)
        last = page;
    uint64_t reserved = small->space.tables_reserved, used = host_quota_read(quota_root()).used;
    fetch(small, SIZE_1G);
    cr_expect_eq(pt_lookup(&small->space.pt, SIZE_1G).rights, 0);
    cr_expect_eq(small->space.tables_reserved, reserved);
    cr_expect_eq(host_quota_read(quota_root()).used, used);
    kernel_page_free(last);
    fetch(small, SIZE_1G);
    cr_expect_eq(small->space.tables_reserved, reserved - 1);
}

// ---- CPUID --------------------------------------------------------------------------------------

static int set_cpuid(const struct abi_cpuid *rows, uint32_t count) {
    struct abi_cpuid *table = quota_alloc_page(quota_root());
    memcpy(table, rows, count * sizeof(*rows));
    return vm_set_cpuid(vm, table, count);
}

static const struct abi_cpuid rows[] = {
    {0x0, ABI_CPUID_ANY_SUBLEAF, 10, 0, 0, 0},
    {0x1, ABI_CPUID_ANY_SUBLEAF, 11, 0, 0, 0},
    {0x4, 0, 40, 0, 0, 0},
    {0x4, 1, 41, 0, 0, 0},
    {0x4, 3, 43, 0, 0, 0},
    {0xb, 0, 110, 0, 0, 0},
    {0xb, ABI_CPUID_ANY_SUBLEAF, 111, 0, 0, 0},
    {0x3f, 0, 63, 0, 0, 0},
    {0x40000000, ABI_CPUID_ANY_SUBLEAF, 400, 0, 0, 0},
    {0x80000000, ABI_CPUID_ANY_SUBLEAF, 800, 0, 0, 0},
    {0x80000008, ABI_CPUID_ANY_SUBLEAF, 808, 0, 0, 0},
};

static uint32_t find(uint32_t leaf, uint32_t subleaf) {
    const struct abi_cpuid *row = vm_find_cpuid(vm, leaf, subleaf);
    return row != NULL ? row->eax : 0;
}

Test(kernel_vm, cpuid_finds_its_rows) {
    cr_expect_eq(find(0, 0), 0, "no table yet");
    cr_assert_eq(set_cpuid(rows, ARRAY_COUNT(rows)), ABI_OK);
    cr_expect_eq(find(0, 0), 10);
    cr_expect_eq(find(0, 99), 10);
    cr_expect_eq(find(4, 0), 40);
    cr_expect_eq(find(4, 1), 41);
    cr_expect_eq(find(4, 2), 0);
    cr_expect_eq(find(4, 3), 43);
    cr_expect_eq(find(4, 4), 0);
    cr_expect_eq(find(0xb, 0), 110);
    cr_expect_eq(find(0xb, 1), 111);
    cr_expect_eq(find(0x3f, 0), 63);
    cr_expect_eq(find(0x40000000, 7), 400);
    cr_expect_eq(find(0x80000000, 0), 800);
    cr_expect_eq(find(0x80000008, 5), 808);
    const uint32_t absent[] = {2,          3,          5,          0x40,       0x3fffffff,
                               0x40000001, 0x7fffffff, 0x80000001, 0x80000009, 0xbfffffff,
                               0xc0000000, 0xc0000008, 0xffffffff};
    for (unsigned i = 0; i < ARRAY_COUNT(absent); i++)
        cr_expect_eq(find(absent[i], 0), 0, "%#x", absent[i]);
}

Test(kernel_vm, cpuid_is_set_once_and_before_vcpus) {
    cr_assert_eq(set_cpuid(rows, 3), ABI_OK);
    cr_expect_eq(set_cpuid(rows, 4), ABI_ERROR_AGAIN);
    cr_expect_eq(find(4, 1), 0, "the first table stays");
    int error;
    vm = vm_create(quota_root(), 0, &error);
    vm->vcpu_count = 1;
    cr_expect_eq(set_cpuid(rows, 3), ABI_ERROR_AGAIN);
}

Test(kernel_vm, cpuid_out_of_order_is_refused) {
    const struct abi_cpuid twice[] = {{1, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0}};
    const struct abi_cpuid back[] = {{2, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0}};
    const struct abi_cpuid sub[] = {{1, 1, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0}};
    cr_expect_eq(set_cpuid(twice, 2), ABI_ERROR_ARGUMENT);
    cr_expect_eq(set_cpuid(back, 2), ABI_ERROR_ARGUMENT);
    cr_expect_eq(set_cpuid(sub, 2), ABI_ERROR_ARGUMENT);
    cr_expect_eq(set_cpuid(rows, 0), ABI_OK);
    cr_expect_eq(find(0, 0), 0);
}

Test(kernel_vm, cpuid_full_table_with_wild_leaves) {
    struct abi_cpuid table[ABI_CPUID_MAX];
    uint64_t seed = 12345;
    for (uint32_t i = 0; i < ABI_CPUID_MAX; i++)
        table[i] =
            (struct abi_cpuid){i * 0x03333333u, (uint32_t)host_random(&seed), i + 1, 0, 0, 0};
    cr_assert_eq(set_cpuid(table, ABI_CPUID_MAX), ABI_OK);
    for (uint32_t i = 0; i < ABI_CPUID_MAX; i++) {
        bool is_indexed = (table[i].leaf & 0x3fffffff) < VM_CPUID_INDEXED;
        cr_expect_eq(find(table[i].leaf, table[i].subleaf), is_indexed ? i + 1 : 0);
    }
}

// ---- doorbells ----------------------------------------------------------------------------------

static uint64_t take(void) {
    uint64_t bits = event->bits;
    event->bits = 0;
    return bits;
}

Test(kernel_vm, doorbells_ring_their_bits) {
    cr_expect_not(vm_ring_doorbell(vm, 0x100));
    cr_assert_eq(vm_bind_doorbell(vm, 0x100, event, 1), ABI_OK);
    cr_assert_eq(vm_bind_doorbell(vm, 0xffff, event, 2), ABI_OK);
    cr_assert_eq(vm_bind_doorbell(vm, 0, event, 4), ABI_OK);
    cr_expect(vm_ring_doorbell(vm, 0x100));
    cr_expect_eq(take(), 1);
    cr_expect(vm_ring_doorbell(vm, 0xffff));
    cr_expect_eq(take(), 2);
    cr_expect(vm_ring_doorbell(vm, 0));
    cr_expect_eq(take(), 4);
    cr_expect_not(vm_ring_doorbell(vm, 0x101));
    cr_expect_not(vm_ring_doorbell(vm, 0xff));
    cr_expect_eq(take(), 0);
}

Test(kernel_vm, doorbells_are_bound_once_and_counted) {
    cr_assert_eq(vm_bind_doorbell(vm, 7, event, 1), ABI_OK);
    cr_expect_eq(vm_bind_doorbell(vm, 7, event, 2), ABI_ERROR_EXISTS);
    cr_expect_eq(event->object.ref_count, 2);
    cr_expect_eq(vm_bind_doorbell(vm, 8, NULL, 0), ABI_ERROR_ARGUMENT);
    cr_expect_eq(vm_bind_doorbell(vm, 7, NULL, 0), ABI_OK);
    cr_expect_eq(event->object.ref_count, 1);
    cr_expect_not(vm_ring_doorbell(vm, 7));
    cr_expect_eq(vm_bind_doorbell(vm, 7, NULL, 0), ABI_ERROR_ARGUMENT);
}

Test(kernel_vm, doorbells_end_at_their_limit) {
    for (uint32_t i = 0; i < ABI_DOORBELLS_MAX; i++) // from both ends to the middle
        cr_assert_eq(vm_bind_doorbell(vm, (uint16_t)(i % 2 ? i : 1000 - i), event, 1ULL << i),
                     ABI_OK);
    cr_expect_eq(vm_bind_doorbell(vm, 500, event, 1), ABI_ERROR_MEMORY);
    cr_expect_eq(vm_bind_doorbell(vm, 1, event, 1), ABI_ERROR_EXISTS);
    cr_expect_eq(event->object.ref_count, 1 + ABI_DOORBELLS_MAX);
    for (uint32_t i = 0; i < ABI_DOORBELLS_MAX; i++) {
        cr_expect(vm_ring_doorbell(vm, (uint16_t)(i % 2 ? i : 1000 - i)));
        cr_expect_eq(take(), 1ULL << i);
    }
    for (uint32_t i = 0; i < ABI_DOORBELLS_MAX; i++)
        cr_assert_eq(vm_bind_doorbell(vm, (uint16_t)(i % 2 ? i : 1000 - i), NULL, 0), ABI_OK);
    cr_expect_eq(event->object.ref_count, 1);
}
