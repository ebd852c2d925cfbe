// SPDX-License-Identifier: Apache-2.0
// kernel/process.c: handle tables under numbers and rights that a hostile process would try,
// mappings, and the end.
#include "tests/unit/kernel/support.h"

#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/process.h"

#include <criterion/criterion.h>
#include <string.h>

static struct process *process;
static struct event *event;

static void set_up(void) {
    host_init_all();
    process = process_create(quota_root(), &group_root, NULL, 0);
    event = host_event_create(quota_root());
    cr_assert(process != NULL && event != NULL);
}

TestSuite(kernel_process, .init = set_up);

static uint64_t used(void) {
    return host_quota_read(quota_root()).used;
}

static int64_t give(uint64_t rights) {
    object_ref(&event->object);
    return handle_insert(process, &event->object, rights);
}

static int get(uint64_t number, uint32_t type, uint64_t rights) {
    struct handle has = {0};
    int error = handle_get(process, number, type, rights, &has);
    cr_expect_eq(has.object != NULL, error == ABI_OK);
    if (has.object != NULL)
        object_unref(has.object);
    return error;
}

Test(kernel_process, handles_start_at_1_and_refer) {
    cr_expect_eq(give(ABI_RIGHTS_ALL), 1);
    cr_expect_eq(give(ABI_RIGHTS_ALL), 2);
    cr_expect_eq(event->object.ref_count, 3);
    struct handle has;
    cr_assert_eq(handle_get(process, 1, OBJECT_EVENT, 0, &has), ABI_OK);
    cr_expect_eq(has.object, &event->object);
    cr_expect(has.rights == ABI_RIGHTS_ALL && has.mask == UINT64_MAX);
    cr_expect_eq(event->object.ref_count, 4, "the caller has one of its own");
}

// Nothing reads an object on the supposition that its handle is good.
Test(kernel_process, fence_stands_behind_the_checks) {
    cr_assert_eq(give(ABI_RIGHT_SIGNAL), 1);
    host_fences = 0;
    cr_expect_eq(get(1, OBJECT_EVENT, ABI_RIGHT_WAIT), ABI_ERROR_RIGHTS);
    cr_expect_eq(get(1, OBJECT_MEMORY, 0), ABI_ERROR_HANDLE);
    cr_expect_eq(host_fences, 0);
    cr_expect_eq(get(1, OBJECT_EVENT, ABI_RIGHT_SIGNAL), ABI_OK);
    cr_expect_eq(host_fences, 1);
}

Test(kernel_process, rights_must_all_be_there) {
    cr_assert_eq(give(ABI_RIGHT_SIGNAL | ABI_RIGHT_COPY), 1);
    cr_expect_eq(get(1, OBJECT_EVENT, ABI_RIGHT_SIGNAL), ABI_OK);
    cr_expect_eq(get(1, OBJECT_EVENT, ABI_RIGHT_SIGNAL | ABI_RIGHT_COPY), ABI_OK);
    cr_expect_eq(get(1, OBJECT_EVENT, ABI_RIGHT_SIGNAL | ABI_RIGHT_WAIT), ABI_ERROR_RIGHTS);
    cr_expect_eq(get(1, OBJECT_EVENT, 1ULL << 40), ABI_ERROR_RIGHTS);
    cr_expect_eq(get(1, OBJECT_EVENT, UINT64_MAX), ABI_ERROR_RIGHTS);
    cr_expect_eq(event->object.ref_count, 2);
}

Test(kernel_process, type_must_match) {
    cr_assert_eq(give(ABI_RIGHTS_ALL), 1);
    for (uint32_t type = OBJECT_QUOTA; type <= OBJECT_SYSTEM; type++)
        cr_expect_eq(get(1, type, 0), type == OBJECT_EVENT ? ABI_OK : ABI_ERROR_HANDLE);
    cr_expect_eq(get(1, OBJECT_NONE, 0), ABI_OK);
}

Test(kernel_process, hostile_numbers_name_nothing) {
    cr_assert_eq(give(ABI_RIGHTS_ALL), 1);
    const uint64_t numbers[] = {0,
                                2,
                                HANDLES_IN_PAGE - 1,
                                HANDLES_IN_PAGE,
                                HANDLE_COUNT - 1,
                                HANDLE_COUNT,
                                HANDLE_COUNT + 1,
                                1ULL << 32,
                                (1ULL << 32) + 1,
                                1ULL << 63,
                                UINT64_MAX,
                                UINT64_MAX - 1};
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++) {
        cr_expect_eq(get(numbers[i], OBJECT_NONE, 0), ABI_ERROR_HANDLE, "%#lx", numbers[i]);
        cr_expect_eq(handle_close(process, numbers[i]), ABI_ERROR_HANDLE, "%#lx", numbers[i]);
    }
    cr_expect_eq(get(1, OBJECT_NONE, 0), ABI_OK);
}

Test(kernel_process, closed_handle_is_gone_and_its_number_used_again) {
    for (int64_t i = 1; i <= 5; i++)
        cr_assert_eq(give(ABI_RIGHTS_ALL), i);
    cr_expect_eq(handle_close(process, 2), ABI_OK);
    cr_expect_eq(handle_close(process, 4), ABI_OK);
    cr_expect_eq(handle_close(process, 4), ABI_ERROR_HANDLE);
    cr_expect_eq(get(2, OBJECT_NONE, 0), ABI_ERROR_HANDLE);
    cr_expect_eq(event->object.ref_count, 4);
    cr_expect_eq(give(ABI_RIGHT_WAIT), 2);
    cr_expect_eq(get(2, OBJECT_EVENT, ABI_RIGHT_SIGNAL), ABI_ERROR_RIGHTS,
                 "no rights of the old one");
    cr_expect_eq(give(ABI_RIGHTS_ALL), 4);
    cr_expect_eq(give(ABI_RIGHTS_ALL), 6);
}

Test(kernel_process, full_table_refuses_and_keeps_no_reference) {
    for (uint64_t i = 1; i < HANDLE_COUNT; i++)
        cr_assert_eq(give(ABI_RIGHTS_ALL), (int64_t)i);
    cr_expect_eq(give(ABI_RIGHTS_ALL), -ABI_ERROR_MEMORY);
    cr_expect_eq(event->object.ref_count, HANDLE_COUNT);
    cr_expect_eq(handle_close(process, 1), ABI_OK);
    cr_expect_eq(give(ABI_RIGHTS_ALL), 1);
    cr_expect_eq(give(ABI_RIGHTS_ALL), -ABI_ERROR_MEMORY);
    cr_expect_eq(handle_close(process, HANDLE_COUNT - 1), ABI_OK);
    cr_expect_eq(give(ABI_RIGHTS_ALL), HANDLE_COUNT - 1);
}

Test(kernel_process, quota_without_a_page_refuses_a_handle) {
    struct quota *q = quota_create(quota_root(), 7 * PAGE_SIZE);
    struct process *poor = process_create(q, &group_root, NULL, 0);
    cr_assert_not_null(poor);
    while (quota_alloc_page(q) != NULL) {
    }
    object_ref(&event->object);
    cr_expect_eq(handle_insert(poor, &event->object, 0), -ABI_ERROR_MEMORY);
    cr_expect_eq(event->object.ref_count, 1);
}

Test(kernel_process, random_handles_match_a_model) {
    static uint64_t model[HANDLE_COUNT]; // rights + 1; 0: free
    uint64_t seed = 2463534242ULL;
    uint32_t count = 0;
    for (unsigned round = 0; round < 20000; round++) {
        uint64_t number = host_random(&seed) % 600;
        uint64_t rights = host_random(&seed) % (ABI_RIGHTS_ALL + 1);
        if (host_random(&seed) % 2 == 0) {
            uint64_t lowest = 1;
            while (lowest < HANDLE_COUNT && model[lowest] != 0)
                lowest++;
            cr_assert_eq(give(rights), (int64_t)lowest);
            model[lowest] = rights + 1;
            count++;
        } else {
            bool is_there = model[number] != 0;
            cr_assert_eq(handle_close(process, number), is_there ? ABI_OK : ABI_ERROR_HANDLE);
            model[number] = 0;
            count -= is_there;
        }
        uint64_t probe = host_random(&seed) % 600;
        int expected = model[probe] == 0                         ? ABI_ERROR_HANDLE
                       : ((model[probe] - 1) & rights) != rights ? ABI_ERROR_RIGHTS
                                                                 : ABI_OK;
        cr_assert_eq(get(probe, OBJECT_EVENT, rights), expected);
        cr_assert_eq(event->object.ref_count, count + 1);
    }
}

// ---- mappings -----------------------------------------------------------------------------------

#define RW_RIGHTS ((uint64_t)(ABI_RIGHT_READ | ABI_RIGHT_WRITE))

Test(kernel_process, map_refuses_what_cannot_be) {
    struct memory *memory = memory_create(quota_root(), 4 * PAGE_SIZE);
    const uint64_t at = ABI_USER_BASE;
    const struct {
        uint64_t address, offset, size, rights;
    } bad[] = {
        {at + 1, 0, PAGE_SIZE, RW_RIGHTS},
        {at, 1, PAGE_SIZE, RW_RIGHTS},
        {at, 0, PAGE_SIZE - 1, RW_RIGHTS},
        {at, 0, 0, RW_RIGHTS},
        {at, 0, 5 * PAGE_SIZE, RW_RIGHTS},
        {at, 4 * PAGE_SIZE, PAGE_SIZE, RW_RIGHTS},
        {at, UINT64_MAX - PAGE_SIZE + 1, 2 * PAGE_SIZE, RW_RIGHTS},
        {at, PAGE_SIZE, UINT64_MAX - PAGE_SIZE + 1, RW_RIGHTS},
        {at - PAGE_SIZE, 0, PAGE_SIZE, RW_RIGHTS},
        {0, 0, PAGE_SIZE, RW_RIGHTS},
        {ABI_CALL_PAGE, 0, PAGE_SIZE, ABI_RIGHT_READ},
        {ABI_USER_END, 0, PAGE_SIZE, RW_RIGHTS},
        {ABI_USER_END - PAGE_SIZE, 0, 2 * PAGE_SIZE, RW_RIGHTS},
        {UINT64_MAX - PAGE_SIZE + 1, 0, PAGE_SIZE, RW_RIGHTS},
        {1ULL << 63, 0, PAGE_SIZE, RW_RIGHTS},
        {at, 0, PAGE_SIZE, 0},
        {at, 0, PAGE_SIZE, ABI_RIGHT_WRITE},
        {at, 0, PAGE_SIZE, ABI_RIGHT_EXECUTE},
        {at, 0, PAGE_SIZE, RW_RIGHTS | ABI_RIGHT_EXECUTE}, // W^X
        {at, 0, PAGE_SIZE, RW_RIGHTS | ABI_RIGHT_COPY},
        {ABI_START_ADDRESS, 0, PAGE_SIZE, RW_RIGHTS},
        {ABI_START_ADDRESS, 0, 4 * PAGE_SIZE, ABI_RIGHT_READ},
        {ABI_START_ADDRESS, 3 * PAGE_SIZE, 2 * PAGE_SIZE, ABI_RIGHT_READ},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(space_map(&process->space, memory, bad[i].address, bad[i].offset, bad[i].size,
                               bad[i].rights),
                     ABI_ERROR_ARGUMENT, "case %u", i);
    cr_expect_eq(memory->object.ref_count, 1);
    cr_expect_eq(space_map(&process->space, memory, at, 0, 4 * PAGE_SIZE, RW_RIGHTS), ABI_OK);
    cr_expect_eq(space_map(&process->space, memory, at + PAGE_SIZE, 0, PAGE_SIZE, RW_RIGHTS),
                 ABI_ERROR_EXISTS);
    cr_expect_eq(
        space_map(&process->space, memory, ABI_USER_END - PAGE_SIZE, 0, PAGE_SIZE, RW_RIGHTS),
        ABI_OK);
    cr_expect_eq(
        space_map(&process->space, memory, ABI_START_ADDRESS, 0, 3 * PAGE_SIZE, ABI_RIGHT_READ),
        ABI_OK);
    cr_expect_eq(memory->object.ref_count, 4);
}

Test(kernel_process, large_mapping_has_to_fit_large_pages) {
    struct memory *memory = memory_create(quota_root(), SIZE_1G);
    const uint64_t small = ABI_SMALL_PAGES_MAX, large = small + PAGE_SIZE;
    cr_expect_eq(space_map(&process->space, memory, ABI_USER_BASE, 0, large, RW_RIGHTS),
                 ABI_ERROR_ARGUMENT);
    cr_expect_eq(space_map(&process->space, memory, SIZE_1G, PAGE_SIZE, large, RW_RIGHTS),
                 ABI_ERROR_ARGUMENT);
    cr_expect_eq(memory->object.ref_count, 1);
    cr_expect_eq(space_map(&process->space, memory, ABI_USER_BASE, 0, small, RW_RIGHTS), ABI_OK);
    cr_expect_eq(space_map(&process->space, memory, SIZE_1G + PAGE_SIZE, SIZE_2M + PAGE_SIZE, large,
                           RW_RIGHTS),
                 ABI_OK);
    cr_expect_eq(space_map(&process->space, memory, 2 * SIZE_1G, 0, SIZE_1G, RW_RIGHTS), ABI_OK);
}

Test(kernel_process, fault_needs_the_right_and_gives_no_more) {
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    const uint64_t at = ABI_USER_BASE;
    cr_assert_eq(
        space_map(&process->space, memory, at, 0, PAGE_SIZE, ABI_RIGHT_READ | ABI_RIGHT_EXECUTE),
        ABI_OK);
    cr_expect_not(host_touch(process, at, ABI_RIGHT_WRITE));
    cr_expect_not(host_touch(process, at + PAGE_SIZE, ABI_RIGHT_READ));
    cr_expect_not(host_touch(process, at - 1, ABI_RIGHT_READ));
    cr_expect_not(host_touch(process, UINT64_MAX, ABI_RIGHT_READ));
    cr_expect(host_touch(process, at + 0xfff, ABI_RIGHT_READ));
    cr_expect_eq(pt_lookup(&process->space.pt, at).rights, PT_READ | PT_EXECUTE | PT_USER);
    cr_expect_eq(pt_lookup(&process->space.pt, at).frame.v, memory_get(memory, 0, NULL).frame.v);
}

Test(kernel_process, unmap_takes_the_page_away_and_tells_all_cpus) {
    struct memory *memory = memory_create(quota_root(), 3 * PAGE_SIZE);
    const uint64_t at = ABI_USER_BASE;
    cr_assert_eq(space_map(&process->space, memory, at, 0, 3 * PAGE_SIZE, RW_RIGHTS), ABI_OK);
    cr_assert(host_touch(process, at, ABI_RIGHT_WRITE));
    cr_expect_eq(space_unmap(&process->space, at, PAGE_SIZE), ABI_ERROR_ARGUMENT);
    cr_expect_eq(space_unmap(&process->space, at + PAGE_SIZE, 2 * PAGE_SIZE), ABI_ERROR_ARGUMENT);
    cr_expect_eq(host_flushes, 0);
    cr_expect_eq(space_unmap(&process->space, at, 3 * PAGE_SIZE), ABI_OK);
    cr_expect_eq(host_flushes, 1);
    cr_expect_eq(pt_lookup(&process->space.pt, at).rights, 0);
    cr_expect_eq(memory->object.ref_count, 1);
    cr_expect_not(host_touch(process, at, ABI_RIGHT_READ));
}

// One step goes through 512 leaves, and behind each others have their turn.
Test(kernel_process, unmap_of_many_pages_gives_way) {
    const uint64_t size = 8 * SIZE_2M, at = ABI_USER_BASE + PAGE_SIZE;
    struct memory *memory = memory_create(quota_root(), size);
    cr_assert_eq(space_map(&process->space, memory, at, 0, size, RW_RIGHTS), ABI_OK);
    for (uint64_t done = 0; done < size; done += PAGE_SIZE)
        cr_assert(host_touch(process, at + done, ABI_RIGHT_READ));
    host_preempts = 0;
    cr_expect_eq(space_unmap(&process->space, at, size), ABI_OK);
    cr_expect_eq(host_preempts, size / PAGE_SIZE / 512 - 1);
    cr_expect_eq(host_flushes, 1, "all at once");
    cr_expect_eq(memory->object.ref_count, 1);
}

Test(kernel_process, call_page_is_there_and_read_only) {
    struct pt_mapping found = pt_lookup(&process->space.pt, ABI_CALL_PAGE);
    cr_expect_eq(found.rights, PT_READ | PT_EXECUTE | PT_USER);
    const uint8_t *page = frame_to_kernel(found.frame);
    cr_expect_eq(memcmp(page, call_page_code(), CALL_PAGE_CODE), 0);
    struct process *other = process_create(quota_root(), &group_root, NULL, 0);
    cr_expect_eq(pt_lookup(&other->space.pt, ABI_CALL_PAGE).frame.v, found.frame.v,
                 "one frame for all");
}

// ---- the end ------------------------------------------------------------------------------------

static const struct abi_process_status killed = {.state = ABI_PROCESS_EXITED, .status = 7};

Test(kernel_process, creation_may_fail_at_any_page) {
    uint64_t before = used();
    for (uint64_t pages = 0;; pages++) {
        struct quota *q = quota_create(quota_root(), pages * PAGE_SIZE);
        struct process *made = process_create(q, &group_root, event, 1);
        cr_expect_eq(event->object.ref_count, made != NULL ? 2 : 1);
        if (made != NULL)
            object_unref(&made->object);
        object_finish();
        cr_expect_eq(host_quota_read(q).used, 0, "%lu pages", pages);
        object_unref(&q->object);
        if (made != NULL) {
            cr_expect_eq(pages, 6, "struct, regions, root, and three tables for the call page");
            break;
        }
    }
    cr_expect_eq(used(), before);
}

Test(kernel_process, ended_process_gives_everything_back) {
    struct quota *q = quota_create(quota_root(), 4 * SIZE_2M);
    struct process *victim = process_create(q, &group_root, event, 0x10);
    struct memory *memory = memory_create(q, SIZE_2M);
    cr_assert_eq(space_map(&victim->space, memory, ABI_USER_BASE, 0, SIZE_2M, RW_RIGHTS), ABI_OK);
    cr_assert(host_touch(victim, ABI_USER_BASE, ABI_RIGHT_READ));
    cr_assert_gt(handle_insert(victim, &memory->object, ABI_RIGHTS_ALL), 0);
    object_ref(&victim->object);
    cr_assert_gt(handle_insert(victim, &victim->object, ABI_RIGHTS_ALL), 0); // a handle on itself
    cr_expect_eq(host_process_status(victim).state, ABI_PROCESS_RUNNING);
    process_end(victim, &killed);
    cr_expect_eq(host_quota_read(q).used, PAGE_SIZE, "only its struct is left");
    cr_expect_eq(event->bits, 0x10);
    struct abi_process_status status = host_process_status(victim);
    cr_expect_eq(status.state, ABI_PROCESS_EXITED);
    cr_expect_eq(status.status, 7);
    object_unref(&victim->object);
    cr_expect_eq(host_quota_read(q).used, 0);
    cr_expect_eq(event->object.ref_count, 1);
}

Test(kernel_process, ended_process_takes_nothing_more) {
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    process_end(process, &killed);
    cr_expect_eq(give(ABI_RIGHTS_ALL), -ABI_ERROR_CLOSED);
    cr_expect_eq(event->object.ref_count, 1);
    cr_expect_eq(space_map(&process->space, memory, ABI_USER_BASE, 0, PAGE_SIZE, RW_RIGHTS),
                 ABI_ERROR_CLOSED);
    cr_expect_eq(space_unmap(&process->space, ABI_USER_BASE, PAGE_SIZE), ABI_ERROR_CLOSED);
    struct thread thread = {.process = process};
    cr_expect_not(process_join(process, &thread));
    cr_expect_eq(memory->object.ref_count, 1);
}

Test(kernel_process, process_stays_until_its_last_thread_leaves) {
    struct thread threads[3] = {{0}};
    for (unsigned i = 0; i < 3; i++)
        cr_assert(process_join(process, &threads[i]));
    process_end(process, &killed);
    cr_expect_eq(host_interrupts, 3);
    cr_expect_eq(host_process_status(process).state, ABI_PROCESS_RUNNING);
    const struct abi_process_status later = {.state = ABI_PROCESS_FAULTED, .vector = 14};
    process_end(process, &later);
    process_leave(process, &threads[1]);
    process_leave(process, &threads[0]);
    cr_expect_eq(host_process_status(process).state, ABI_PROCESS_RUNNING);
    process_leave(process, &threads[2]);
    struct abi_process_status status = host_process_status(process);
    cr_expect_eq(status.state, ABI_PROCESS_EXITED, "the first reason counts");
    cr_expect_eq(status.status, 7);
}

Test(kernel_process, last_thread_that_leaves_ends_the_process) {
    struct process *made = process_create(quota_root(), &group_root, event, 4);
    struct thread thread = {0};
    cr_assert(process_join(made, &thread));
    process_leave(made, &thread);
    cr_expect_eq(host_process_status(made).state, ABI_PROCESS_EXITED);
    cr_expect_eq(host_process_status(made).status, 0);
    cr_expect_eq(event->bits, 4);
}

Test(kernel_process, threads_of_a_process_are_limited) {
    static struct thread threads[1000];
    unsigned count = 0;
    while (count < ARRAY_COUNT(threads) && process_join(process, &threads[count]))
        count++;
    cr_expect_geq(count, 65, "64 vCPUs and their I/O");
    cr_expect_lt(count, ARRAY_COUNT(threads));
}
