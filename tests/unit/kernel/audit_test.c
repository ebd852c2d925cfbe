// SPDX-License-Identifier: Apache-2.0
// kernel/audit.c: a machine that is in order, and one planted error of each kind, which is found,
// named and placed.
#include "tests/unit/kernel/support.h"

#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <string.h>

#define R        ((uint64_t)ABI_RIGHT_READ)
#define RW       ((uint64_t)(ABI_RIGHT_READ | ABI_RIGHT_WRITE))
#define AT       0x40000000ULL // where the process has its memory
#define GPA      0x200000ULL   // and the VM its own
#define LEAF     ((uint32_t)(PT_READ | PT_WRITE))
#define USER     ((uint32_t)(LEAF | PT_USER))
#define FIRMWARE 0x1000ULL // no RAM of the map's
#define CLEARED  1ULL      // of a chunk's word

static struct quota *quota;
static struct process *process;
static struct vm *vm;
static struct memory *shared, *own; // `shared` is in both

static void set_up(void) {
    int error;
    host_init_all();
    vcpu_backend = &host_backend;
    quota = quota_create(quota_root(), 64 * SIZE_2M);
    process = process_create(quota, &group_root, NULL, 0);
    vm = vm_create(quota, 0, &error);
    shared = memory_create(quota, 4 * SIZE_2M + 3 * PAGE_SIZE);
    own = memory_create(quota_root(), SIZE_2M);
    cr_assert_eq(space_map(&process->space, shared, AT, 0, shared->size, RW), ABI_OK);
    cr_assert_eq(space_map(&vm->space, shared, GPA, 0, shared->size, RW), ABI_OK);
    // A part that begins inside a chunk, so that it is mapped by pages.
    cr_assert_eq(space_map(&vm->space, own, 0, 3 * PAGE_SIZE, 5 * PAGE_SIZE, R), ABI_OK);
    for (uint64_t offset = 0; offset < shared->size; offset += SIZE_2M) {
        cr_assert(host_touch(process, AT + offset, R));
        cr_assert_eq(vm_handle_fault(vm, (gpa_t){GPA + offset}, VCPU_ACCESS_READ),
                     SPACE_FAULT_RETRY);
    }
    cr_assert_eq(vm_handle_fault(vm, (gpa_t){0}, VCPU_ACCESS_READ), SPACE_FAULT_RETRY);
    audit_all(); // the first one gives the kernel its root
}

TestSuite(kernel_audit, .init = set_up);

static uint64_t frame_at(struct memory *memory, uint64_t offset) {
    struct memory_run run = memory_get(memory, offset, NULL);
    return run.frame.v + offset - run.offset;
}

static void expect_clean(void) {
    struct abi_audit report = audit_all();
    cr_assert_eq(report.errors, 0, "%u in space %u, frame %#lx at %#lx", report.error, report.space,
                 report.frame, report.address);
}

#define ANY UINT64_MAX
static struct abi_audit expect(uint32_t error, uint32_t space, uint64_t frame, uint64_t address) {
    struct abi_audit report = audit_all();
    cr_expect_gt(report.errors, 0);
    cr_expect_eq(report.error, error, "error %u, not %u", report.error, error);
    cr_expect_eq(report.space, space, "space %u, not %u", report.space, space);
    if (frame != ANY)
        cr_expect_eq(report.frame, frame, "frame %#lx, not %#lx", report.frame, frame);
    cr_expect_eq(report.address, address, "at %#lx, not %#lx", report.address, address);
    return report;
}

Test(kernel_audit, machine_in_order) {
    struct abi_audit report = audit_all();
    expect_clean();
    cr_expect_eq(report.frames, frame_totals().total >> PAGE_SHIFT);
    // The direct map by pages; 4 large leaves and 3 pages for each of two; 5 pages; the call page.
    uint64_t direct = 0;
    for (uint64_t f = HOST_RAM_BASE; f < HOST_HIGH_BASE + HOST_HIGH_SIZE; f += PAGE_SIZE)
        direct += host_is_mapped((hpa_t){f}) ||
                  (f >= host_boot.pool && f < host_boot.pool + host_boot.pool_size);
    cr_expect_eq(report.mappings, direct + 2 * 7 + 5 + 1);
    // The kernel's root. The process: root, three for the call page, two more for its memory. The
    // VM: four for its first pages, one more for the last ones.
    cr_expect_eq(report.tables, 1 + 6 + 5, "%lu", report.tables);
    cr_expect_eq(report.error, ABI_AUDIT_NONE);
}

Test(kernel_audit, stays_in_order_while_everything_comes_and_goes) {
    uint64_t seed = 2463534242ULL;
    struct memory *held[8] = {0};
    for (unsigned round = 0; round < 60; round++) {
        unsigned i = (unsigned)(host_random(&seed) % ARRAY_COUNT(held));
        uint64_t at = AT + SIZE_1G * (i + 1);
        if (held[i] == NULL) {
            uint64_t size = (host_random(&seed) % 700 + 1) * PAGE_SIZE;
            held[i] = memory_create(i % 2 != 0 ? quota : quota_root(), size);
            cr_assert_eq(space_map(&process->space, held[i], at, 0, size, R), ABI_OK);
            cr_assert_eq(space_map(&vm->space, held[i], at + PAGE_SIZE, 0, size, RW), ABI_OK);
            for (uint64_t a = 0; a < size; a += SIZE_2M / 2) {
                cr_assert(host_touch(process, at + a, R));
                vm_handle_fault(vm, (gpa_t){at + PAGE_SIZE + a}, VCPU_ACCESS_READ);
            }
        } else {
            uint64_t size = held[i]->size;
            cr_assert_eq(space_unmap(&process->space, at, size), ABI_OK);
            cr_assert_eq(space_unmap(&vm->space, at + PAGE_SIZE, size), ABI_OK);
            object_unref(&held[i]->object);
            held[i] = NULL;
        }
        expect_clean();
    }
    object_unref(&process->object);
    expect_clean();
    object_unref(&vm->object);
    expect_clean();
    object_unref(&quota->object);
    expect_clean();
}

// ---- frames in two places -----------------------------------------------------------------------

Test(kernel_audit, frame_of_another_is_found) {
    uint64_t frame = frame_at(own, 0);
    *pt_entry(&vm->space.pt, PAGE_SIZE) = paging_format.leaf((hpa_t){frame}, PT_READ, 0);
    expect(ABI_AUDIT_TWICE, ABI_AUDIT_VM, frame, PAGE_SIZE);
}

Test(kernel_audit, frame_of_the_owner_at_the_wrong_place_is_found) {
    uint64_t frame = frame_at(own, 3 * PAGE_SIZE);
    *pt_entry(&vm->space.pt, PAGE_SIZE) = paging_format.leaf((hpa_t){frame}, PT_READ, 0);
    expect(ABI_AUDIT_TWICE, ABI_AUDIT_VM, frame, PAGE_SIZE);
}

Test(kernel_audit, mapping_without_a_region_is_found) {
    uint64_t frame = frame_at(own, 0);
    cr_assert(pt_map(&process->space.pt, AT + SIZE_1G, (hpa_t){frame}, PAGE_SIZE, USER));
    struct abi_audit report = expect(ABI_AUDIT_TWICE, ABI_AUDIT_PROCESS, frame, AT + SIZE_1G);
    cr_expect_eq(report.errors, 1);
}

Test(kernel_audit, leaf_that_reaches_beyond_its_region_is_found) {
    struct region region;
    cr_assert(host_region_remove(process->space.regions, AT, shared->size, &region));
    region.size = SIZE_2M + PAGE_SIZE;
    cr_assert_eq(region_insert(process->space.regions, &region), ABI_OK);
    expect(ABI_AUDIT_TWICE, ABI_AUDIT_PROCESS, frame_at(shared, SIZE_2M), AT + SIZE_2M);
}

Test(kernel_audit, frame_in_two_memory_objects_is_found) {
    own->directory[0][0] = shared->directory[0][0];
    expect(ABI_AUDIT_TWICE, ABI_AUDIT_NOBODY, frame_at(shared, 0), 0);
}

// ---- free frames --------------------------------------------------------------------------------

Test(kernel_audit, freed_frame_that_is_still_mapped_is_found) {
    struct region region;
    struct memory *memory = memory_create(quota, SIZE_2M);
    cr_assert_eq(space_map(&process->space, memory, AT + SIZE_1G, 0, SIZE_2M, R), ABI_OK);
    cr_assert(host_touch(process, AT + SIZE_1G, R));
    uint64_t frame = frame_at(memory, 0);
    object_unref(&memory->object);
    expect_clean();
    cr_assert(host_region_remove(process->space.regions, AT + SIZE_1G, SIZE_2M, &region));
    object_unref(&region.memory->object);
    expect(ABI_AUDIT_FREE, ABI_AUDIT_PROCESS, frame, AT + SIZE_1G);
}

Test(kernel_audit, free_frame_in_a_memory_object_is_found) {
    uint64_t frame = frame_at(own, 0);
    frame_free((hpa_t){frame}, SIZE_2M);
    expect(ABI_AUDIT_FREE, ABI_AUDIT_NOBODY, frame, 0);
}

Test(kernel_audit, free_kernel_page_that_is_mapped_is_found) {
    void *page = quota_alloc_page(quota);
    uint64_t frame = frame_of_kernel(page).v;
    quota_free_page(quota, page);
    cr_assert(pt_map(&process->space.pt, AT + SIZE_1G, (hpa_t){frame}, PAGE_SIZE, USER));
    // The tables for it took that page; the leaf is a table's then.
    uint32_t error = audit_all().error;
    cr_expect(error == ABI_AUDIT_FREE || error == ABI_AUDIT_KERNEL);
    page = quota_alloc_page(quota);
    frame = frame_of_kernel(page).v;
    *pt_entry(&process->space.pt, AT + SIZE_1G) = paging_format.leaf((hpa_t){frame}, USER, 0);
    quota_free_page(quota, page);
    expect(ABI_AUDIT_FREE, ABI_AUDIT_PROCESS, frame, AT + SIZE_1G);
}

Test(kernel_audit, table_that_was_freed_is_found) {
    uint64_t *root = frame_to_kernel(process->space.pt.root);
    uint64_t table = root[0] & PTE_ADDRESS;
    quota_free_page(quota, frame_to_kernel((hpa_t){table}));
    expect(ABI_AUDIT_FREE, ABI_AUDIT_PROCESS, table, 0);
}

Test(kernel_audit, free_frame_that_the_kernel_maps_is_found) {
    const struct pt_mapping leaf = {{HOST_HIGH_BASE}, PAGE_SIZE, LEAF};
    host_planted_leaf = &leaf;
    host_planted_address = KERNEL_DIRECT + HOST_HIGH_BASE;
    expect(ABI_AUDIT_FREE, ABI_AUDIT_HOST, HOST_HIGH_BASE, KERNEL_DIRECT + HOST_HIGH_BASE);
}

// ---- rights -------------------------------------------------------------------------------------

static void expect_right(uint32_t rights, uint32_t error) {
    uint64_t frame = frame_at(own, 4 * PAGE_SIZE);
    *pt_entry(&vm->space.pt, PAGE_SIZE) = paging_format.leaf((hpa_t){frame}, rights, 0);
    if (error == ABI_AUDIT_NONE)
        expect_clean();
    else
        expect(error, ABI_AUDIT_VM, frame, PAGE_SIZE);
}

Test(kernel_audit, each_right_too_many_is_found) {
    expect_right(PT_READ, ABI_AUDIT_NONE);
    expect_right(PT_READ | PT_WRITE, ABI_AUDIT_RIGHTS);
    expect_right(PT_READ | PT_EXECUTE, ABI_AUDIT_RIGHTS);
    expect_right(PT_READ | PT_USER, ABI_AUDIT_NONE); // as each access by NPT is a user's
    expect_right(PT_READ | PT_GLOBAL, ABI_AUDIT_RIGHTS);
    expect_right(PT_READ | PT_UNCACHED, ABI_AUDIT_RIGHTS);
}

Test(kernel_audit, fewer_rights_are_no_error) {
    uint64_t frame = frame_at(shared, 4 * SIZE_2M);
    *pt_entry(&process->space.pt, AT + 4 * SIZE_2M) =
        paging_format.leaf((hpa_t){frame}, PT_READ | PT_USER, 0);
    expect_clean();
}

Test(kernel_audit, writable_code_of_the_kernel_is_found) {
    const struct pt_mapping leaf = {{FIRMWARE}, PAGE_SIZE, LEAF | PT_EXECUTE};
    host_planted_leaf = &leaf;
    host_planted_address = KERNEL_IMAGE;
    expect(ABI_AUDIT_RIGHTS, ABI_AUDIT_HOST, FIRMWARE, KERNEL_IMAGE);
}

// ---- the kernel's frames ------------------------------------------------------------------------

static void map_page(uint64_t frame) {
    cr_assert(pt_map(&process->space.pt, AT + SIZE_1G, (hpa_t){frame}, PAGE_SIZE, USER));
}

Test(kernel_audit, kernel_object_that_is_mapped_is_found) {
    uint64_t frame = frame_of_kernel(vm).v;
    map_page(frame);
    expect(ABI_AUDIT_KERNEL, ABI_AUDIT_PROCESS, frame, AT + SIZE_1G);
}

Test(kernel_audit, table_that_is_mapped_is_found) {
    map_page(process->space.pt.root.v);
    expect(ABI_AUDIT_KERNEL, ABI_AUDIT_PROCESS, process->space.pt.root.v, AT + SIZE_1G);
}

Test(kernel_audit, frame_that_is_no_ram_is_found) {
    map_page(FIRMWARE);
    expect(ABI_AUDIT_KERNEL, ABI_AUDIT_PROCESS, FIRMWARE, AT + SIZE_1G);
}

Test(kernel_audit, page_of_a_vcpu_is_shown_to_who_maps_it_alone) {
    struct memory *page = memory_create_page(quota, quota_alloc_page(quota), &vm->object);
    cr_assert_eq(space_map(&process->space, page, AT + SIZE_1G, 0, PAGE_SIZE, RW), ABI_OK);
    cr_assert(host_touch(process, AT + SIZE_1G, R));
    expect_clean();
    *pt_entry(&vm->space.pt, PAGE_SIZE) = paging_format.leaf(page->base, PT_READ, 0);
    expect(ABI_AUDIT_TWICE, ABI_AUDIT_VM, page->base.v, PAGE_SIZE);
}

Test(kernel_audit, memory_that_the_kernel_maps_is_found) {
    const struct pt_mapping leaf = {{frame_at(own, 0)}, PAGE_SIZE, LEAF};
    host_planted_leaf = &leaf;
    host_planted_address = KERNEL_STACKS;
    expect(ABI_AUDIT_TWICE, ABI_AUDIT_HOST, leaf.frame.v, KERNEL_STACKS);
    host_planted_address = KERNEL_DEVICES;
    expect(ABI_AUDIT_TWICE, ABI_AUDIT_HOST, leaf.frame.v, KERNEL_DEVICES);
    host_planted_address = KERNEL_DIRECT + leaf.frame.v;
    expect(ABI_AUDIT_KERNEL, ABI_AUDIT_NOBODY, leaf.frame.v, 0);
    host_planted_address = 0x1000;
    expect(ABI_AUDIT_KERNEL, ABI_AUDIT_HOST, leaf.frame.v, 0x1000);
}

// ---- tables -------------------------------------------------------------------------------------

Test(kernel_audit, table_with_two_parents_is_found) {
    uint64_t *root = frame_to_kernel(process->space.pt.root);
    root[5] = root[0];
    expect(ABI_AUDIT_TABLE, ABI_AUDIT_PROCESS, root[0] & PTE_ADDRESS, 0);
}

Test(kernel_audit, table_of_another_space_is_found) {
    // The VM is the younger one, and looked at first.
    uint64_t *root = frame_to_kernel(process->space.pt.root),
             *npt = frame_to_kernel(vm->space.pt.root);
    root[7] = npt[0];
    struct abi_audit report = expect(ABI_AUDIT_TABLE, ABI_AUDIT_PROCESS, npt[0] & PTE_ADDRESS, 0);
    cr_expect_eq(report.errors, 1);
}

Test(kernel_audit, table_that_holds_itself_is_found_and_ends_the_walk) {
    uint64_t *root = frame_to_kernel(vm->space.pt.root);
    root[9] = paging_format.table(vm->space.pt.root);
    expect(ABI_AUDIT_TABLE, ABI_AUDIT_VM, vm->space.pt.root.v, 0);
}

Test(kernel_audit, table_that_is_not_the_kernels_is_not_looked_into) {
    uint64_t *root = frame_to_kernel(vm->space.pt.root);
    const uint64_t frames[] = {frame_at(own, 0), FIRMWARE, 1ULL << 51};
    for (unsigned i = 0; i < ARRAY_COUNT(frames); i++) {
        root[9] = paging_format.table((hpa_t){frames[i]});
        expect(ABI_AUDIT_TABLE, ABI_AUDIT_VM, frames[i], 0);
    }
}

Test(kernel_audit, upper_half_that_is_not_the_kernels_is_found) {
    uint64_t *root = frame_to_kernel(process->space.pt.root);
    root[KERNEL_ROOT + 3] = 0x1000 | PTE_PRESENT;
    expect(ABI_AUDIT_TABLE, ABI_AUDIT_PROCESS, process->space.pt.root.v, 0);
}

// ---- sums ---------------------------------------------------------------------------------------

static void expect_quota(void) {
    expect(ABI_AUDIT_QUOTA, ABI_AUDIT_NOBODY, frame_of_kernel(quota).v, 0);
}

Test(kernel_audit, each_wrong_number_of_a_quota_is_found) {
    uint64_t *const numbers[] = {&quota->used, &quota->kernel, &shared->size};
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            *numbers[i] += (uint64_t)sign * PAGE_SIZE;
            struct abi_audit report = audit_all();
            *numbers[i] -= (uint64_t)sign * PAGE_SIZE;
            cr_expect_gt(report.errors, 0, "number %u", i);
            if (i < 2)
                cr_expect_eq(report.error, ABI_AUDIT_QUOTA, "number %u: %u", i, report.error);
        }
    quota->used += PAGE_SIZE;
    expect_quota();
}

Test(kernel_audit, quota_beyond_its_limit_is_found) {
    uint64_t limit = quota->limit;
    quota->limit = quota->used - PAGE_SIZE;
    quota_root()->used -= limit - quota->limit;
    expect_quota();
}

Test(kernel_audit, child_that_its_parent_does_not_know_is_found) {
    quota->limit += PAGE_SIZE;
    expect(ABI_AUDIT_QUOTA, ABI_AUDIT_NOBODY, 0, 0); // the root, which has no frame of its own
}

Test(kernel_audit, charge_to_the_wrong_quota_is_found) {
    quota_release(quota, SIZE_2M, 0);
    cr_assert(quota_charge(quota_root(), SIZE_2M, 0));
    cr_expect_eq(audit_all().errors, 2);
}

Test(kernel_audit, pages_charged_that_are_not_there_are_found) {
    uint64_t all = frame_totals().kernel;
    cr_assert(quota_charge(quota_root(), all, all));
    expect(ABI_AUDIT_QUOTA, ABI_AUDIT_NOBODY, 0, 0);
}

Test(kernel_audit, frame_that_nobody_owns_is_found) {
    hpa_t base;
    cr_assert(frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &base));
    expect(ABI_AUDIT_LOST, ABI_AUDIT_NOBODY, 0, 0);
    frame_free(base, PAGE_SIZE);
    expect_clean();
}

Test(kernel_audit, chunk_that_its_object_forgot_is_found) {
    uint64_t frame = frame_at(own, 3 * PAGE_SIZE);
    own->directory[0][0] = 0;
    struct abi_audit report = expect(ABI_AUDIT_KERNEL, ABI_AUDIT_VM, frame, 0);
    cr_expect_eq(report.errors, 5 + 1, "each of its pages, and the sum");
}

Test(kernel_audit, memory_that_was_not_cleared_is_found) {
    uint64_t frame = frame_at(shared, SIZE_2M);
    shared->directory[0][1] &= ~CLEARED;
    struct abi_audit report = audit_all();
    cr_expect_eq(report.errors, 2, "in both spaces");
    cr_expect_eq(report.error, ABI_AUDIT_DIRTY);
    cr_expect_eq(report.frame, frame);
}

Test(kernel_audit, first_error_is_told_and_all_are_counted) {
    uint64_t *root = frame_to_kernel(vm->space.pt.root);
    for (unsigned i = 0; i < 5; i++)
        *pt_entry(&vm->space.pt, i * PAGE_SIZE) |= PTE_WRITE;
    root[9] = paging_format.table(vm->space.pt.root);
    struct abi_audit report =
        expect(ABI_AUDIT_RIGHTS, ABI_AUDIT_VM, frame_at(own, 3 * PAGE_SIZE), 0);
    cr_expect_eq(report.errors, 6);
}

// ---- the local form -----------------------------------------------------------------------------

Test(kernel_audit, change_of_a_wrong_vm_panics_in_debug_builds) {
    *pt_entry(&vm->space.pt, 0) |= PTE_WRITE;
    cr_assert(HOST_PANICS(vm_handle_fault(vm, (gpa_t){PAGE_SIZE}, VCPU_ACCESS_READ)));
    cr_expect_not_null(strstr(host_panic_text, "audit: error 3 in space 1"), "%s", host_panic_text);
}

Test(kernel_audit, change_of_a_wrong_process_panics_in_debug_builds) {
    *pt_entry(&process->space.pt, AT + 4 * SIZE_2M) |= PTE_GLOBAL;
    cr_assert(HOST_PANICS(host_touch(process, AT, R)));
    cr_expect_not_null(strstr(host_panic_text, "audit: error 3 in space 2"), "%s", host_panic_text);
}

Test(kernel_audit, end_of_a_vm_judges_everything_in_debug_builds) {
    host_audits = true;
    quota->used += PAGE_SIZE;
    object_unref(&vm->object);
    cr_assert(HOST_PANICS(object_finish()));
    cr_expect_not_null(strstr(host_panic_text, "audit: error 6"), "%s", host_panic_text);
}
