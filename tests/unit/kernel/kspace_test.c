// SPDX-License-Identifier: Apache-2.0
// kernel/kspace.c where tables are split: of the kernel a user's root has the entries' code, the
// IDT and each CPU's page, and of the process what its other root has. The image's addresses are
// the kernel's own.
#include "tests/unit/kernel/support.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#define kspace_init            space_test_init
#define kspace_kernel_root     space_test_kernel_root
#define kspace_map_direct      space_test_map_direct
#define kspace_is_direct       space_test_is_direct
#define kspace_unmap_direct    space_test_unmap_direct
#define kspace_map_device      space_test_map_device
#define kspace_stack_alloc     space_test_stack_alloc
#define kspace_stack_free      space_test_stack_free
#define kspace_stack_make_room space_test_stack_make_room
#define kspace_cpu_init        space_test_cpu_init
#define kspace_clear           space_test_clear
#define kspace_window          space_test_window
#define kspace_window_close    space_test_window_close
#define kspace_process_init    space_test_process_init
#define kspace_user_init       space_test_user_init
#define kspace_user_show       space_test_user_show
#define kspace_user_free       space_test_user_free
#define kspace_is_user_root    space_test_is_user_root
#define kspace_walk_kernel     space_test_walk_kernel
#define kspace_is_kernel_half  space_test_is_kernel_half
#define kspace_quota_memory    space_test_quota_memory
#define paging_load_root       space_test_load_root
#define traps_idt              space_test_idt
#define entry_begin            space_test_entry_begin
#define entry_end              space_test_entry_end
#define smp_flush_all          space_test_flush_all
#define smp_interrupt          space_test_interrupt
#undef KERNEL_STACKS
#define KERNEL_STACKS 0x300000000000ULL // where the host has memory

__asm__(".globl image_text, image_rodata, image_data, image_end\n"
        ".globl space_test_entry_begin, space_test_entry_end\n"
        ".set image_text, 0xffffffff80000000\n"
        ".set space_test_entry_begin, 0xffffffff80000000\n"
        ".set space_test_entry_end, 0xffffffff80002000\n"
        ".set image_rodata, 0xffffffff80030000\n"
        ".set image_data, 0xffffffff80040000\n"
        ".set image_end, 0xffffffff80060000\n");

#include "arch/split.h"

const void *space_test_idt(void);
void space_test_load_root(hpa_t root);
#include "kernel/kspace.c"

#include "kernel/memory.h"
#include "kernel/process.h"

#define IDT      0xffffffff80045000ULL
#define BASE     0x7000000ULL
#define CPUS     3u
#define LOW_PAGE 0x9e000ULL

const void *space_test_idt(void) {
    return (const void *)IDT;
}
void space_test_load_root(hpa_t root) {
    (void)root;
}

static void set_up(void) {
    host_init_all();
    mitigation = (struct mitigation){.splits_tables = true};
    host_boot.kernel_base = BASE;
    host_boot.low_page = LOW_PAGE;
    kspace_init(&host_boot);
    for (unsigned i = 0; i < CPUS; i++) {
        host_cpu(i)->slot = i;
        cr_assert(kspace_cpu_init(host_cpu(i)));
    }
}
static void tear_down(void) {
    mitigation = (struct mitigation){0};
    host_split = NULL;
}
TestSuite(space, .init = set_up, .fini = tear_down);

// Until smp_start: other CPUs load this root in 32-bit code, and go on there.
Test(space, low_page_is_executable_alone_and_in_the_first_root_entry) {
    const uint64_t *root = frame_to_kernel(kernel_pt.root);
    uint64_t entry = *pt_entry(&kernel_pt, LOW_PAGE);
    cr_expect_eq(entry & (PTE_ADDRESS | PTE_WRITE | PTE_USER | PTE_GLOBAL | PTE_NX), LOW_PAGE);
    cr_expect_eq(*pt_entry(&kernel_pt, LOW_PAGE + PAGE_SIZE), 0);
    cr_expect_eq(*pt_entry(&kernel_pt, LOW_PAGE - PAGE_SIZE), 0);
    cr_expect_neq(root[0], 0);
    cr_expect_lt(kernel_pt.root.v, BOOT_POOL_END);
}

Test(space, without_a_low_page_nothing_is_mapped_there) {
    host_boot.low_page = 0;
    kspace_init(&host_boot);
    cr_expect_eq(*(const uint64_t *)frame_to_kernel(kernel_pt.root), 0);
}

// ---- what a user's root has ---------------------------------------------------------------------

static struct {
    uint64_t address, frame;
    uint32_t rights;
} found[64];
static unsigned found_count;

static bool enter(void *opaque, hpa_t frame) {
    (void)opaque, (void)frame;
    return true;
}
static void find(void *opaque, uint64_t address, const struct pt_mapping *mapping) {
    (void)opaque;
    uint64_t canonical = (uint64_t)((int64_t)(address << 16) >> 16);
    for (uint64_t at = 0; at < mapping->size; at += PAGE_SIZE) {
        cr_assert_lt(found_count, 64, "%#lx", canonical + at);
        found[found_count].address = canonical + at;
        found[found_count].frame = mapping->frame.v + at;
        found[found_count++].rights = mapping->rights & ~(uint32_t)PT_GLOBAL;
    }
}

static void walk(hpa_t root, unsigned first, unsigned last) {
    struct pagetable pt = {root, &paging_format, kspace_quota_memory(quota_root())};
    const struct pt_visitor visitor = {NULL, enter, find};
    found_count = 0;
    pt_walk(&pt, first, last, &visitor);
}

Test(space, user_root_has_of_the_kernel_only_the_entries) {
    struct pagetable pt;
    hpa_t user_root;
    cr_assert(kspace_process_init(&pt, kspace_quota_memory(quota_root())) &&
              kspace_user_init(&user_root, quota_root()));
    walk(user_root, KERNEL_ROOT, ROOT_ENTRIES - 1);
    cr_assert_eq(found_count, CPUS + 3);
    for (unsigned i = 0; i < CPUS; i++) {
        uint64_t slot = CPU_TABLES_BASE + i * CPU_TABLES_SLOT;
        cr_expect_eq(found[i].address, slot);
        cr_expect_eq(found[i].frame, pt_lookup(&kernel_pt, slot).frame.v);
        cr_expect_eq(found[i].rights, PT_READ | PT_WRITE);
    }
    const uint64_t image[] = {KERNEL_IMAGE, KERNEL_IMAGE + PAGE_SIZE, IDT};
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(found[CPUS + i].address, image[i]);
        cr_expect_eq(found[CPUS + i].frame, BASE + image[i] - KERNEL_IMAGE);
        cr_expect_eq(found[CPUS + i].rights, image[i] == IDT ? PT_READ : PT_READ | PT_EXECUTE);
    }
    walk(user_root, 0, KERNEL_ROOT - 1);
    cr_expect_eq(found_count, 0);
}

Test(space, user_root_is_none_where_tables_are_whole) {
    mitigation.splits_tables = false;
    uint64_t used = host_quota_read(quota_root()).used;
    hpa_t user_root = {1};
    cr_assert(kspace_user_init(&user_root, quota_root()));
    cr_expect_eq(user_root.v, 0);
    kspace_user_free(&user_root, quota_root());
    cr_expect_eq(host_quota_read(quota_root()).used, used);
}

Test(space, auditor_sees_what_a_user_root_must_not_have) {
    struct pagetable pt;
    hpa_t user_root;
    cr_assert(kspace_process_init(&pt, kspace_quota_memory(quota_root())) &&
              kspace_user_init(&user_root, quota_root()));
    cr_assert(pt_map(&pt, 0x400000, (hpa_t){0x1000}, PAGE_SIZE, PT_READ | PT_USER));
    uint64_t *user = frame_to_kernel(user_root);
    cr_expect(kspace_is_user_root(user_root, &pt), "not yet shown");
    kspace_user_show(user_root, &pt, 0x400000);
    cr_expect(kspace_is_user_root(user_root, &pt));
    user[KERNEL_ROOT + 1] ^= BIT(5);
    cr_expect(kspace_is_user_root(user_root, &pt), "the processor used an entry");
    user[KERNEL_ROOT + 1] ^= BIT(5);
    user[3] = user[0];
    cr_expect_not(kspace_is_user_root(user_root, &pt));
    user[3] = 0;
    for (unsigned i = KERNEL_ROOT; i < ROOT_ENTRIES; i++) {
        uint64_t entry = user[i];
        user[i] = entry ^ 0x5000;
        cr_expect_not(kspace_is_user_root(user_root, &pt), "entry %u", i);
        user[i] = entry;
    }
    cr_expect(kspace_is_user_root(user_root, &pt));
}

// ---- stacks -------------------------------------------------------------------------------------

#define STACKS 100u
static uint64_t tops[STACKS];
static struct {
    uint64_t kernel; // frame_totals().kernel
    unsigned mapped; // of tops
    unsigned count, interrupts;
    void (*meanwhile)(void), (*answer)(void);
} flush;

static unsigned count_mapped(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < STACKS; i++)
        count += pt_lookup(&kernel_pt, tops[i] - PAGE_SIZE).rights != 0;
    return count;
}
void space_test_flush_all(void) {
    flush.kernel = frame_totals().kernel;
    flush.mapped = count_mapped();
    flush.count++;
    cr_assert_leq(flush.count, STACKS, "who waits for room flushes for nothing");
    if (flush.meanwhile != NULL)
        flush.meanwhile();
}
void space_test_interrupt(void) {
    flush.interrupts++;
    if (flush.answer != NULL)
        flush.answer();
}

static struct quota *payer;
static void end_thread(struct quota *quota, uint64_t top) {
    kspace_stack_make_room();
    kspace_stack_free(quota, top);
}

static struct quota *make_stacks(void) {
    void *memory = mmap((void *)KERNEL_STACKS, STACKS * STACK_SLOT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    cr_assert_eq(memory, (void *)KERNEL_STACKS);
    struct quota *quota = quota_create(quota_root(), STACKS * CPU_STACK_SIZE);
    for (unsigned i = 0; i < STACKS; i++)
        cr_assert_neq(tops[i] = kspace_stack_alloc(quota), 0);
    cr_assert_eq(kspace_stack_alloc(quota), 0, "the quota is full");
    return quota;
}

Test(space, stacks_that_a_quota_freed_are_not_the_kernels) {
    uint64_t before = frame_totals().kernel;
    struct quota *quota = make_stacks();
    uint64_t full = frame_totals().kernel, tables = full - before - STACKS * CPU_STACK_SIZE;
    for (unsigned i = 0; i < STACKS; i++)
        end_thread(quota, tops[i]);
    uint64_t kept = SPACE_STACKS_KEPT * CPU_STACK_SIZE;
    cr_expect_eq(host_quota_read(quota).used, 0);
    cr_expect_leq(frame_totals().kernel, before + tables + kept);
    cr_expect_leq(count_mapped(), SPACE_STACKS_KEPT);
    cr_expect_leq(flush.count, STACKS / SPACE_STACKS_KEPT, "one flush for many");
}

Test(space, stack_goes_back_only_when_no_cpu_remembers_it) {
    struct quota *quota = make_stacks();
    uint64_t full = frame_totals().kernel;
    for (unsigned i = 0; i <= SPACE_STACKS_KEPT; i++)
        end_thread(quota, tops[i]);
    cr_expect_eq(flush.count, 1);
    cr_expect_eq(flush.kernel, full, "given back before the flush");
    cr_expect_eq(flush.mapped, STACKS - SPACE_STACKS_KEPT, "mapped at the flush");
}

// A link in a free slot's entry is not taken for a mapping, nor is a slot given out twice.
Test(space, stacks_come_again_in_the_same_slots) {
    struct quota *quota = make_stacks();
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < STACKS; i++)
            end_thread(quota, tops[i]);
        for (unsigned i = 0; i < STACKS; i++) {
            cr_assert_neq(tops[i] = kspace_stack_alloc(quota), 0);
            cr_assert_leq(tops[i] - KERNEL_STACKS, STACKS * STACK_SLOT, "a new slot");
            for (unsigned other = 0; other < i; other++)
                cr_assert_neq(tops[i], tops[other]);
            struct pt_mapping low = pt_lookup(&kernel_pt, tops[i] - 2 * PAGE_SIZE),
                              high = pt_lookup(&kernel_pt, tops[i] - PAGE_SIZE);
            cr_assert(low.rights != 0 && high.rights != 0 && low.frame.v != high.frame.v);
            cr_assert_eq(pt_lookup(&kernel_pt, tops[i] - 3 * PAGE_SIZE).rights, 0, "the guard");
        }
    }
    cr_expect_eq(count_mapped(), STACKS);
}

// Who comes after a thread that ended pays for no flush, however many CPUs are at it at a time.
static void leave_stack(void) {
    unsigned count = flush.count;
    kspace_stack_free(payer, tops[0]);
    cr_expect_eq(flush.count, count, "a flush without one who makes room");
}
Test(space, place_is_filled_without_a_flush) {
    payer = make_stacks();
    for (unsigned i = 0; i < SPACE_STACKS_KEPT; i++)
        kspace_stack_make_room(); // all end at a time
    cr_expect_eq(flush.count + flush.interrupts, 0);
    cr_expect_not(place_take(), "more are on their way than the root quota leaves aside");
    flush.answer = leave_stack;
    kspace_stack_make_room(); // one more has to wait for one of them
    cr_expect_eq(flush.interrupts, 1);
    cr_expect_eq(flush.count, 1);
    cr_expect_eq(count_mapped(), STACKS - 1);
    for (unsigned i = 1; i <= SPACE_STACKS_KEPT; i++)
        kspace_stack_free(payer, tops[i]);
    cr_expect_eq(flush.count, 1);
    cr_expect_eq(host_quota_read(payer).used, (STACKS - 1 - SPACE_STACKS_KEPT) * CPU_STACK_SIZE);
    cr_expect_eq(count_mapped(), STACKS - 1, "kept");
}

// Another CPU, whose stacks find no room while this one's are on their way: it waits, and answers.
static void finish(void) {
    flush.meanwhile = NULL;
    for (unsigned i = 0; i < STACKS && flush.interrupts == 0; i++) {
        stacks_give_back();
        cr_expect_eq(flush.count, 1, "nothing is left for a second flush");
    }
    cr_expect_not(place_take(), "more are kept than the root quota leaves aside");
}
Test(space, stacks_on_their_way_count_as_kept) {
    payer = make_stacks();
    flush.meanwhile = finish;
    for (unsigned i = 0; i <= SPACE_STACKS_KEPT; i++)
        end_thread(payer, tops[i]);
    cr_expect_eq(flush.interrupts, 1);
}

Test(space, stack_that_the_machine_lacks_costs_nothing) {
    host_take_frames();
    while (kernel_page_alloc() != NULL) {
    }
    uint64_t used = host_quota_read(quota_root()).used;
    cr_expect_eq(kspace_stack_alloc(quota_root()), 0);
    cr_expect_eq(host_quota_read(quota_root()).used, used);
    cr_expect_eq(stack_next, KERNEL_STACKS);
}

// ---- tables -------------------------------------------------------------------------------------

// By large leaves and small, and beside them.
Test(space, direct_map_tells_whose_a_frame_is) {
    hpa_t run = {host_boot.pool}, other = {HOST_RAM_BASE + (60ULL << 20)};
    uint64_t size = host_boot.pool_size;
    cr_expect(kspace_is_direct(run) && kspace_is_direct((hpa_t){run.v + size - PAGE_SIZE}));
    cr_expect_not(kspace_is_direct((hpa_t){run.v + size}));
    cr_expect_not(kspace_is_direct(other));
    cr_expect_not(kspace_is_direct((hpa_t){HOST_HIGH_BASE}));
    cr_assert(kspace_map_direct(other, PAGE_SIZE));
    cr_expect(kspace_is_direct(other) && !kspace_is_direct((hpa_t){other.v + PAGE_SIZE}));
    kspace_unmap_direct(other, PAGE_SIZE);
    cr_expect_not(kspace_is_direct(other));
}

Test(space, tables_are_their_quotas) {
    struct pagetable pt;
    struct quota *quota = quota_create(quota_root(), 16 * PAGE_SIZE);
    cr_assert(quota != NULL && kspace_process_init(&pt, kspace_quota_memory(quota)));
    cr_expect_eq(host_quota_read(quota).used, PAGE_SIZE, "the root");
    cr_assert(pt_map(&pt, 0x400000, (hpa_t){0x1000}, PAGE_SIZE, PT_READ | PT_USER));
    cr_expect_eq(host_quota_read(quota).used, 4 * PAGE_SIZE);
    cr_expect_eq(quota->kernel, 4 * PAGE_SIZE);
    for (uint64_t i = 2; i < 6; i++) // two tables each
        cr_expect(pt_map(&pt, i * SIZE_1G, (hpa_t){0x1000}, PAGE_SIZE, PT_READ | PT_USER));
    cr_expect_eq(host_quota_read(quota).used, 12 * PAGE_SIZE);
    cr_expect(pt_map(&pt, ROOT_SPAN, (hpa_t){0x1000}, PAGE_SIZE, PT_READ | PT_USER));
    cr_expect_not(pt_map(&pt, 2 * ROOT_SPAN, (hpa_t){0x1000}, PAGE_SIZE, PT_READ | PT_USER),
                  "one page is left, not three");
    cr_expect_leq(host_quota_read(quota).used, 16 * PAGE_SIZE);
    cr_assert(pt_destroy(&pt, KERNEL_ROOT - 1, UINT64_MAX));
    cr_expect_eq(host_quota_read(quota).used, 0);
    cr_expect_eq(quota->kernel, 0);
}

// ---- a process ----------------------------------------------------------------------------------

static const struct host_split split = {space_test_user_init, space_test_user_show,
                                        space_test_user_free, space_test_is_user_root};

Test(space, process_shows_what_it_faulted_in_and_gives_its_root_back) {
    host_split = &split;
    struct quota *quota = quota_create(quota_root(), 32 * SIZE_2M);
    struct memory *memory = memory_create(quota, 4 * SIZE_2M);
    uint64_t used = host_quota_read(quota).used;
    struct process *process = process_create(quota, &group_root, NULL, 0);
    cr_assert(process != NULL && process->space.user_root.v != 0);
    const uint64_t far = 5 * ROOT_SPAN + SIZE_2M, rights = ABI_RIGHT_READ | ABI_RIGHT_WRITE;
    cr_assert_eq(space_map(&process->space, memory, far, 0, 4 * SIZE_2M, rights), ABI_OK);
    walk(process->space.user_root, 0, KERNEL_ROOT - 1);
    cr_expect(found_count == 1 && found[0].address == ABI_CALL_PAGE);
    const uint64_t *user = frame_to_kernel(process->space.user_root);
    const uint64_t *whole = frame_to_kernel(process->space.pt.root);
    cr_assert(host_touch(process, far + PAGE_SIZE, ABI_RIGHT_WRITE));
    cr_expect(user[5] != 0 && user[5] == whole[5]);
    cr_expect(kspace_is_user_root(process->space.user_root, &process->space.pt));
    // The tables of the second root's half are the first one's, so what is unmapped there is gone
    // here.
    cr_assert_eq(space_unmap(&process->space, far, 4 * SIZE_2M), ABI_OK);
    walk(process->space.user_root, 0, KERNEL_ROOT - 1);
    cr_expect_eq(found_count, 1);
    object_unref(&process->object);
    object_finish();
    cr_expect_eq(host_quota_read(quota).used, used);
}
