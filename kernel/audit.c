// SPDX-License-Identifier: Apache-2.0
// See kernel/audit.h. First every frame gets its owner, a byte each: what is free, what the kernel
// has mapped for itself, what memory objects hold; nobody may claim what another has. Then every
// table is walked, each of its tables once, and each leaf judged against its frame's owner and its
// region. Last the sums: no frame is lost, and each quota's books are right.
//
// A table is only looked into when its frame is a kernel page that is no other entry's table, so
// that what a damaged table says can neither lead astray nor into a circle.
#include "kernel/audit.h"

#include "arch/log.h"
#include "arch/paging.h"
#include "kernel/audit_judge.h"
#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/smp.h"
#include "kernel/vm.h"
#include "lib/string.h"

#define CANONICAL_SIGN 16 // bits above those that paging translates
#define DIRECT_SIZE    BIT(46)

#define OWNERS_NONE   BIT(OWNER_NONE)
#define OWNERS_KERNEL BIT(OWNER_KERNEL)
#define OWNERS_DIRECT (BIT(OWNER_KERNEL) | BIT(OWNER_POOL) | BIT(OWNER_TABLE) | BIT(OWNER_SHOWN))
#define RW            ((uint32_t)(PT_READ | PT_WRITE | PT_GLOBAL))
#define RWX           ((uint32_t)(PT_READ | PT_WRITE | PT_EXECUTE | PT_GLOBAL))

// What the kernel may map (arch/paging.h); never a frame of a memory object.
static const struct audit_window windows[] = {
    {KERNEL_DIRECT, KERNEL_DIRECT + DIRECT_SIZE, RW, OWNERS_DIRECT, true},
    {KERNEL_DEVICES, KERNEL_STACKS, RW | PT_UNCACHED, OWNERS_NONE, false},
    {KERNEL_STACKS, KERNEL_TABLES, RW, OWNERS_KERNEL, false},
    {KERNEL_TABLES, KERNEL_IMAGE, RW, OWNERS_KERNEL, false},
    {KERNEL_IMAGE, UINT64_MAX, RWX, OWNERS_NONE, false},
};

struct audit {
    struct abi_audit report;
    uint8_t *owners; // NULL: of one space alone, whose frames' owners are not known
    uint64_t frame_count;
    uint64_t module_bytes;      // of memory objects whose frames the frame allocator never had
    uint64_t kernel_bytes;      // of kernel pages that are charged to quotas
    uint32_t space;             // enum abi_audit_space: whose tables are being walked
    const struct space *walked; // the space itself
};

static void tell(struct audit *audit, uint32_t error, uint64_t frame, uint64_t address) {
    if (error == ABI_AUDIT_NONE || audit->report.errors++ > 0)
        return;
    audit->report.error = error;
    audit->report.space = audit->space;
    audit->report.frame = frame;
    audit->report.address = address;
}

static uint8_t owner_of(const struct audit *audit, uint64_t frame) {
    uint64_t i = frame >> PAGE_SHIFT;
    if (audit->owners == NULL)
        return OWNER_MEMORY;
    return i < audit->frame_count ? audit->owners[i] : OWNER_NONE;
}

static void claim(struct audit *audit, hpa_t base, uint64_t size, uint8_t from, uint8_t to,
                  uint64_t address) {
    uint64_t at;
    uint32_t error = audit_claim(audit->owners, audit->frame_count, base.v >> PAGE_SHIFT,
                                 size >> PAGE_SHIFT, from, to, &at);
    tell(audit, error, at << PAGE_SHIFT, address);
}

// ---- who owns what ------------------------------------------------------------------------------

static void claim_free(void *opaque, hpa_t base, uint64_t size) {
    claim(opaque, base, size, OWNER_NONE, OWNER_FREE, 0);
}

static void claim_pooled(void *opaque, hpa_t base, uint64_t size) {
    claim(opaque, base, size, OWNER_KERNEL, OWNER_POOL, 0);
}

static uint64_t canonical(uint64_t address) {
    return (uint64_t)((int64_t)(address << CANONICAL_SIGN) >> CANONICAL_SIGN);
}

// What the direct map shows is the kernel's.
static void claim_direct(void *opaque, uint64_t address, const struct pt_mapping *mapping) {
    address = canonical(address);
    if (address >= KERNEL_DIRECT && address - KERNEL_DIRECT < DIRECT_SIZE)
        claim(opaque, mapping->frame, mapping->size, OWNER_NONE, OWNER_KERNEL, address);
}

static void claim_memory(struct audit *audit, const struct memory *memory) {
    struct memory_run run;
    if (memory->kind == MEMORY_DEVICE)
        return; // whose frames nobody has: judge_leaf
    if (memory->kind == MEMORY_PAGE) {
        if (owner_of(audit, memory->base.v) != OWNER_SHOWN)
            claim(audit, memory->base, PAGE_SIZE, OWNER_KERNEL, OWNER_SHOWN, 0);
        return;
    }
    for (uint64_t offset = 0; memory_next(memory, &offset, &run);)
        claim(audit, run.frame, run.size, OWNER_NONE, OWNER_MEMORY, 0);
    if (memory->kind == MEMORY_MODULE)
        audit->module_bytes += memory->size;
    else
        memory->object.quota->found += memory_charge(memory);
}

static void claim_frames(struct audit *audit) {
    const struct pt_visitor direct = {audit, NULL, claim_direct};
    memset(audit->owners, OWNER_NONE, audit->frame_count);
    frame_each(false, claim_free, audit);
    audit->space = ABI_AUDIT_HOST;
    kspace_walk_kernel(&direct);
    audit->space = ABI_AUDIT_NOBODY;
    frame_each(true, claim_pooled, audit);
    if (process_call_page.v != 0)
        claim(audit, process_call_page, PAGE_SIZE, OWNER_KERNEL, OWNER_SHOWN, 0);
    for (struct object *o = NULL; (o = object_next_listed(o)) != NULL;)
        if (o->kind->type == OBJECT_MEMORY)
            claim_memory(audit, CONTAINER_OF(o, struct memory, object));
}

// ---- who maps what ------------------------------------------------------------------------------

static bool claim_table(void *opaque, hpa_t frame) {
    struct audit *audit = opaque;
    uint64_t at;
    audit->report.tables++;
    if (audit->owners == NULL)
        return true;
    uint32_t error = audit_claim(audit->owners, audit->frame_count, frame.v >> PAGE_SHIFT, 1,
                                 OWNER_KERNEL, OWNER_TABLE, &at);
    bool is_ours = error == ABI_AUDIT_NONE || error == ABI_AUDIT_FREE;
    tell(audit, is_ours ? error : (uint32_t)ABI_AUDIT_TABLE, frame.v, 0);
    return error == ABI_AUDIT_NONE;
}

static struct audit_place find_place(struct audit *audit, uint64_t address) {
    if (audit->space == ABI_AUDIT_PROCESS && address == ABI_CALL_PAGE)
        return (struct audit_place){address, PAGE_SIZE, process_call_page.v,
                                    PT_READ | PT_EXECUTE | PT_USER, true};
    const struct region *region = region_find(audit->walked->regions, address);
    if (region == NULL)
        return (struct audit_place){0};
    bool is_cleared = true;
    const struct memory_run run =
        memory_get(region->memory, address - region->base + region->offset, &is_cleared);
    struct audit_place place = audit_find_place(region, &run);
    place.rights = region_rights(region) | audit->walked->kind->rights;
    place.is_cleared = is_cleared;
    return place;
}

// What a device's region shows is no RAM, and so shown to who maps it; RAM there would be an error.
static uint8_t owner_at(const struct audit *audit, uint64_t address, uint64_t frame) {
    uint8_t owner = owner_of(audit, frame);
    const struct region *region = region_find(audit->walked->regions, address);
    if (audit->owners == NULL || region == NULL || region->memory->kind != MEMORY_DEVICE)
        return owner;
    return owner == OWNER_NONE ? OWNER_SHOWN : OWNER_KERNEL;
}

static void judge_leaf(void *opaque, uint64_t address, const struct pt_mapping *mapping) {
    struct audit *audit = opaque;
    const struct audit_leaf leaf = {address, mapping->size, mapping->frame.v, mapping->rights};
    struct audit_place place = find_place(audit, address);
    audit->report.mappings++;
    tell(audit, audit_judge(&leaf, &place, owner_at(audit, address, leaf.frame)), leaf.frame,
         address);
}

static void judge_host_leaf(void *opaque, uint64_t address, const struct pt_mapping *mapping) {
    struct audit *audit = opaque;
    const struct audit_window *window = NULL;
    struct audit_leaf leaf = {canonical(address), mapping->size, mapping->frame.v, mapping->rights};
    for (unsigned i = 0; i < ARRAY_COUNT(windows); i++)
        if (leaf.address >= windows[i].begin && leaf.address < windows[i].end)
            window = &windows[i];
    audit->report.mappings++;
    uint32_t error = ABI_AUDIT_NONE;
    for (uint64_t done = 0; done < mapping->size && error == ABI_AUDIT_NONE; done += PAGE_SIZE)
        error = audit_judge_host(&leaf, window, owner_of(audit, leaf.frame + done));
    tell(audit, error, leaf.frame, leaf.address);
}

static void judge_space(struct audit *audit, const struct space *space) {
    const struct pt_visitor visitor = {audit, claim_table, judge_leaf};
    const struct pagetable *pt = &space->pt;
    audit->space = space->kind->audit;
    audit->walked = space;
    if (pt->root.v == 0) // it is at its end
        return;
    if (claim_table(audit, pt->root))
        pt_walk(pt, 0, space->kind->root_last, &visitor);
    if (space->kind->root_last < KERNEL_ROOT &&
        (!kspace_is_kernel_half(pt) || !kspace_is_user_root(space->user_root, pt)))
        tell(audit, ABI_AUDIT_TABLE, pt->root.v, 0);
}

static struct space *space_of(struct object *object) {
    if (object->kind->type == OBJECT_VM)
        return &CONTAINER_OF(object, struct vm, object)->space;
    if (object->kind->type == OBJECT_PROCESS)
        return &CONTAINER_OF(object, struct process, object)->space;
    return NULL;
}

static void judge_host(struct audit *audit) {
    const struct pt_visitor visitor = {audit, claim_table, judge_host_leaf};
    audit->space = ABI_AUDIT_HOST;
    if (claim_table(audit, kspace_kernel_root()))
        kspace_walk_kernel(&visitor);
}

static void judge_tables(struct audit *audit) {
    judge_host(audit);
    for (struct object *o = NULL; (o = object_next_listed(o)) != NULL;) {
        struct space *space = space_of(o);
        if (space == NULL)
            continue;
        judge_space(audit, space);
        space->quota->found += space->tables_reserved * PAGE_SIZE;
    }
    audit->space = ABI_AUDIT_NOBODY;
}

// ---- the sums -----------------------------------------------------------------------------------

// Calls for each quota; that is how `found` gets its parts.
static void each_quota(struct audit *audit, void (*run)(struct audit *, struct quota *)) {
    for (struct object *o = NULL; (o = object_next_listed(o)) != NULL;)
        if (o->kind->type == OBJECT_QUOTA)
            run(audit, CONTAINER_OF(o, struct quota, object));
}

static void add_quota(struct audit *audit, struct quota *quota) {
    audit->kernel_bytes += quota->kernel;
    if (quota->parent == NULL)
        return;
    quota->parent->found += quota->limit + PAGE_SIZE;
    audit->kernel_bytes += PAGE_SIZE;
}

static void judge_quota(struct audit *audit, struct quota *quota) {
    uint32_t error = audit_judge_quota(quota->limit, quota->used, quota->kernel, quota->found);
    tell(audit, error, quota->parent != NULL ? frame_of_kernel(quota).v : 0, 0);
    quota->found = 0;
}

static void judge_sums(struct audit *audit) {
    uint64_t bytes[OWNER_COUNT] = {0};
    for (uint64_t i = 0; i < audit->frame_count; i++)
        bytes[audit->owners[i]] += PAGE_SIZE;
    struct frame_totals totals = frame_totals();
    uint64_t kernel = bytes[OWNER_KERNEL] + bytes[OWNER_TABLE] + bytes[OWNER_SHOWN];
    uint64_t all = bytes[OWNER_FREE] + kernel + bytes[OWNER_POOL] + bytes[OWNER_MEMORY];
    bool is_complete = bytes[OWNER_FREE] == totals.free && kernel == totals.kernel &&
                       all - audit->module_bytes == totals.total;
    tell(audit, is_complete ? ABI_AUDIT_NONE : ABI_AUDIT_LOST, 0, 0);
    audit->report.frames = all >> PAGE_SHIFT;
    each_quota(audit, add_quota);
    each_quota(audit, judge_quota);
    tell(audit, audit->kernel_bytes <= totals.kernel ? ABI_AUDIT_NONE : ABI_AUDIT_QUOTA, 0, 0);
}

static void run_all(void *opaque) {
    struct audit *audit = opaque;
    audit->owners = frame_owners(&audit->frame_count);
    claim_frames(audit);
    judge_tables(audit);
    judge_sums(audit);
}

struct abi_audit audit_all(void) {
    struct audit audit = {0};
    smp_stop_and_call(run_all, &audit);
    return audit.report;
}

#ifdef BULKHEAD_DEBUG
static void require(const struct abi_audit *report) {
    if (report->errors > 0)
        panic("audit: error %u in space %u: frame 0x%lx at 0x%lx, %lu in all", report->error,
              report->space, report->frame, report->address, report->errors);
}

void audit_check_space(struct space *space) {
    struct audit audit = {0};
    judge_space(&audit, space);
    require(&audit.report);
}

void audit_check_all(void) {
    struct abi_audit report = audit_all();
    require(&report);
}
#endif
