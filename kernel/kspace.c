// SPDX-License-Identifier: Apache-2.0
// See kernel/kspace.h.
#include "kernel/kspace.h"

#include "arch/mitigation.h"
#include "arch/split.h"
#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/lock.h"
#include "kernel/log.h"
#include "kernel/quota.h"
#include "kernel/smp.h"
#include "lib/string.h"

extern const uint8_t image_text[], image_rodata[], image_data[], image_end[];

#define ROOT_ENTRIES     512u
#define ROOT_SPAN        (1ULL << 39)
#define KERNEL_HALF_SIZE ((ROOT_ENTRIES - KERNEL_ROOT) * sizeof(uint64_t))
#define STACK_SLOT       (2 * CPU_STACK_SIZE) // the lower half is the guard
#define STACK_PAGES      (CPU_STACK_SIZE / PAGE_SIZE)

static struct pagetable kernel_pt;
static struct pagetable entry_pt; // what users' roots have of the kernel, where tables are split
static struct spinlock lock = {.rank = LOCK_SPACE};
static uint64_t device_next = KERNEL_DEVICES; // boot
static uint64_t stack_next = KERNEL_STACKS;   // [lock]
static uint64_t stack_free;                   // tops, linked through their first word [lock]
static uint32_t stack_count; // of them, on their way back, and about to come [lock]
static uint64_t slot_free;   // tops without pages, linked by their entries [lock]

static bool table_alloc(void *opaque, hpa_t *frame) {
    (void)opaque;
    void *page = frame_table_alloc();
    if (page == NULL)
        return false;
    *frame = frame_of_kernel(page);
    return true;
}

// The kernel's own tables are never given back.
static void table_free(void *opaque, hpa_t frame) {
    (void)opaque;
    panic("kernel table 0x%lx freed", frame.v);
}

static uint64_t *table_access(hpa_t frame) {
    return frame_to_kernel(frame);
}

hpa_t kspace_kernel_root(void) {
    return kernel_pt.root;
}

// Gives every root entry of [base, base+size) its table, so that the roots of processes, which copy
// these entries, never miss one.
static void root_fill(uint64_t base, uint64_t size) {
    uint64_t *root = frame_to_kernel(kernel_pt.root);
    for (uint64_t a = base; a - base < size; a += ROOT_SPAN) {
        uint64_t *entry = &root[a / ROOT_SPAN % ROOT_ENTRIES];
        hpa_t frame;
        if (*entry != 0)
            continue;
        if (!table_alloc(NULL, &frame))
            panic("no memory for the kernel's tables");
        *entry = paging_format.table(frame);
    }
}

static void map_image(struct pagetable *pt, hpa_t base, const void *from, const void *to,
                      uint32_t rights) {
    uint64_t begin = (uint64_t)from;
    if (!pt_map(pt, begin, (hpa_t){base.v + begin - KERNEL_IMAGE}, (uint64_t)to - begin,
                rights | PT_GLOBAL))
        panic("no memory for the kernel's tables");
}

static void entry_init(struct pt_memory memory, hpa_t kernel_base) {
    const uint8_t *idt = traps_idt();
    if (!pt_init(&entry_pt, &paging_format, memory))
        panic("no memory for the entries' tables");
    map_image(&entry_pt, kernel_base, entry_begin, entry_end, PT_READ | PT_EXECUTE);
    map_image(&entry_pt, kernel_base, idt, idt + PAGE_SIZE, PT_READ);
}

// Where other CPUs load this root, until smp_start takes it away again. What is changed there, the
// trampoline changes before it has paging.
static bool map_low(uint64_t page) {
    return page == 0 || pt_map(&kernel_pt, page, (hpa_t){page}, PAGE_SIZE, PT_READ | PT_EXECUTE);
}

void kspace_init(const struct boot_info *info) {
    hpa_t kernel_base = {info->kernel_base};
    struct pt_memory memory = {NULL, table_alloc, table_free, table_access};
    if (!pt_init(&kernel_pt, &paging_format, memory))
        panic("no memory for the kernel's tables");
    map_image(&kernel_pt, kernel_base, image_text, image_rodata, PT_READ | PT_EXECUTE);
    map_image(&kernel_pt, kernel_base, image_rodata, image_data, PT_READ);
    map_image(&kernel_pt, kernel_base, image_data, image_end, PT_READ | PT_WRITE);
    if (mitigation.splits_tables)
        entry_init(memory, kernel_base);
    root_fill(KERNEL_DIRECT, info->memory_end);
    root_fill(KERNEL_DEVICES, ROOT_SPAN);
    root_fill(KERNEL_STACKS, ROOT_SPAN);
    root_fill(KERNEL_TABLES, ROOT_SPAN);
    if (!kspace_map_direct((hpa_t){info->pool}, info->pool_size) || !map_low(info->low_page))
        panic("no memory for the kernel's tables");
    paging_load_root(kernel_pt.root);
}

static uint64_t *kernel_half(hpa_t root) {
    return (uint64_t *)frame_to_kernel(root) + KERNEL_ROOT;
}

void kspace_walk_kernel(const struct pt_visitor *visitor) {
    pt_walk(&kernel_pt, KERNEL_ROOT, ROOT_ENTRIES - 1, visitor);
}

bool kspace_is_kernel_half(const struct pagetable *pt) {
    return memcmp(kernel_half(pt->root), kernel_half(kernel_pt.root), KERNEL_HALF_SIZE) == 0;
}

bool kspace_map_direct(hpa_t base, uint64_t size) {
    return pt_map(&kernel_pt, KERNEL_DIRECT + base.v, base, size, PT_READ | PT_WRITE | PT_GLOBAL);
}

bool kspace_is_direct(hpa_t frame) {
    return pt_lookup(&kernel_pt, KERNEL_DIRECT + frame.v).rights != 0;
}

void kspace_unmap_direct(hpa_t base, uint64_t size) {
    if (!pt_unmap(&kernel_pt, KERNEL_DIRECT + base.v, size))
        panic("the direct map at 0x%lx is a leaf too large", base.v);
}

// Kernel mappings other than the pool's. Its tables come from the reserve of the pool.
static bool kernel_map(uint64_t address, hpa_t frame, uint64_t size, uint32_t rights) {
    return frame_with_tables(&kernel_pt, address, frame, size, rights | PT_READ | PT_GLOBAL);
}

void *kspace_map_device(hpa_t base, uint64_t size) {
    uint64_t offset = base.v % PAGE_SIZE;
    uint64_t length = align_up(size + offset, PAGE_SIZE);
    uint64_t address = device_next;
    device_next += length + PAGE_SIZE; // an unmapped page between any two
    if (!kernel_map(address, (hpa_t){base.v - offset}, length, PT_WRITE | PT_UNCACHED))
        panic("no memory to map the device at 0x%lx", base.v);
    return (void *)(address + offset);
}

static uint64_t *stack_entry(uint64_t top, unsigned page) {
    return pt_entry(&kernel_pt, top - CPU_STACK_SIZE + page * PAGE_SIZE);
}

// Both pages of a slot have the same table, so only the first mapping can fail.
static uint64_t stack_make(void) {
    uint64_t top = slot_free != 0 ? slot_free : stack_next + STACK_SLOT;
    void *page[STACK_PAGES] = {kernel_page_alloc(), kernel_page_alloc()};
    uint64_t next = slot_free != 0 ? *stack_entry(top, 0) : 0;
    if (page[0] == NULL || page[1] == NULL ||
        !kernel_map(top - 2 * PAGE_SIZE, frame_of_kernel(page[0]), PAGE_SIZE, PT_WRITE) ||
        !kernel_map(top - PAGE_SIZE, frame_of_kernel(page[1]), PAGE_SIZE, PT_WRITE)) {
        for (unsigned i = 0; i < STACK_PAGES; i++)
            if (page[i] != NULL)
                kernel_page_free(page[i]);
        return 0;
    }
    stack_next += slot_free != 0 ? 0 : STACK_SLOT;
    slot_free = next;
    return top;
}

static uint64_t stack_take(void) {
    uint64_t top = stack_free;
    if (top != 0)
        stack_free = *(uint64_t *)(top - 8);
    return top;
}

// A stack that was used before keeps its pages and its mapping: no TLB has to be told anything.
uint64_t kspace_stack_alloc(struct quota *quota) {
    if (!quota_charge(quota, CPU_STACK_SIZE, CPU_STACK_SIZE))
        return 0;
    lock_take(&lock);
    uint64_t top = stack_take();
    if (top != 0)
        stack_count--;
    else
        top = stack_make();
    lock_drop(&lock);
    if (top == 0)
        quota_release(quota, CPU_STACK_SIZE, CPU_STACK_SIZE);
    return top;
}

// Whether one more may be kept: then its place is taken.
static bool place_take(void) {
    lock_take(&lock);
    bool has_room = stack_count < SPACE_STACKS_KEPT;
    stack_count += has_room;
    lock_drop(&lock);
    return has_room;
}

// All that are kept, with one flush. They count until their pages are back.
static void stacks_give_back(void) {
    uint64_t tops[SPACE_STACKS_KEPT];
    void *pages[SPACE_STACKS_KEPT][STACK_PAGES];
    uint32_t count = 0;
    lock_take(&lock);
    for (uint64_t top; (top = stack_take()) != 0; count++) {
        tops[count] = top;
        for (unsigned i = 0; i < STACK_PAGES; i++) {
            pages[count][i] = frame_to_kernel((hpa_t){*stack_entry(top, i) & PTE_ADDRESS});
            *stack_entry(top, i) = 0;
        }
    }
    lock_drop(&lock);
    if (count == 0) {
        smp_interrupt(); // who gives back waits for us, or a CPU is yet to leave its stack
        return;
    }
    smp_flush_all();
    for (uint32_t n = 0; n < count; n++)
        for (unsigned i = 0; i < STACK_PAGES; i++)
            kernel_page_free(pages[n][i]);
    lock_take(&lock);
    for (uint32_t n = 0; n < count; n++) {
        *stack_entry(tops[n], 0) = slot_free;
        slot_free = tops[n];
    }
    stack_count -= count;
    lock_drop(&lock);
}

void kspace_stack_make_room(void) {
    while (!place_take())
        stacks_give_back();
}

void kspace_stack_free(struct quota *quota, uint64_t top) {
    lock_take(&lock);
    *(uint64_t *)(top - 8) = stack_free;
    stack_free = top;
    lock_drop(&lock);
    quota_release(quota, CPU_STACK_SIZE, CPU_STACK_SIZE);
    quota_tell(quota);
}

bool kspace_cpu_init(struct cpu *cpu) {
    uint64_t slot = CPU_TABLES_BASE + cpu->slot * CPU_TABLES_SLOT;
    void *tables = kernel_page_alloc();
    if (tables == NULL || !kernel_map(slot, frame_of_kernel(tables), PAGE_SIZE, PT_WRITE))
        return false;
    if (mitigation.splits_tables && !frame_with_tables(&entry_pt, slot, frame_of_kernel(tables),
                                                       PAGE_SIZE, PT_READ | PT_WRITE | PT_GLOBAL))
        return false;
    // Mapped once so that its table exists, which the window then writes by itself.
    if (!kernel_map(slot + CPU_TABLES_WINDOW, frame_of_kernel(tables), PAGE_SIZE, PT_WRITE))
        return false;
    cpu->window = slot + CPU_TABLES_WINDOW;
    cpu->window_entry = pt_entry(&kernel_pt, cpu->window);
    *cpu->window_entry = 0;
    return true;
}

void *kspace_window(hpa_t frame) {
    struct cpu *cpu = cpu_current();
    *cpu->window_entry = paging_format.leaf(frame, PT_READ | PT_WRITE, 0);
    x86_invlpg((hva_t){cpu->window});
    return (void *)cpu->window;
}

void kspace_window_close(void) {
    struct cpu *cpu = cpu_current();
    *cpu->window_entry = 0;
    x86_invlpg((hva_t){cpu->window});
}

void kspace_clear(hpa_t base, uint64_t size) {
    for (uint64_t offset = 0; offset < size; offset += PAGE_SIZE)
        memset(kspace_window((hpa_t){base.v + offset}), 0, PAGE_SIZE);
    kspace_window_close();
}

static bool quota_table_alloc(void *opaque, hpa_t *frame) {
    void *page = quota_alloc_page(opaque);
    if (page == NULL)
        return false;
    *frame = frame_of_kernel(page);
    return true;
}

static void quota_table_free(void *opaque, hpa_t frame) {
    quota_free_page(opaque, frame_to_kernel(frame));
}

struct pt_memory kspace_quota_memory(struct quota *quota) {
    return (struct pt_memory){quota, quota_table_alloc, quota_table_free, table_access};
}

bool kspace_process_init(struct pagetable *pt, struct pt_memory tables) {
    if (!pt_init(pt, &paging_format, tables))
        return false;
    memcpy(kernel_half(pt->root), kernel_half(kernel_pt.root), KERNEL_HALF_SIZE);
    return true;
}

bool kspace_user_init(hpa_t *user_root, struct quota *quota) {
    *user_root = (hpa_t){0};
    if (!mitigation.splits_tables)
        return true;
    void *page = quota_alloc_page(quota);
    if (page == NULL)
        return false;
    *user_root = frame_of_kernel(page);
    memcpy(kernel_half(*user_root), kernel_half(entry_pt.root), KERNEL_HALF_SIZE);
    return true;
}

void kspace_user_show(hpa_t user_root, const struct pagetable *pt, uint64_t address) {
    uint64_t i = address / ROOT_SPAN % KERNEL_ROOT;
    if (user_root.v != 0)
        ((uint64_t *)frame_to_kernel(user_root))[i] = ((uint64_t *)frame_to_kernel(pt->root))[i];
}

void kspace_user_free(hpa_t *user_root, struct quota *quota) {
    if (user_root->v != 0)
        quota_free_page(quota, frame_to_kernel(*user_root));
    user_root->v = 0;
}

// The processor says in each root by itself which entries it used.
#define ROOT_ACCESSED BIT(5)

bool kspace_is_user_root(hpa_t user_root, const struct pagetable *pt) {
    if (user_root.v == 0)
        return true;
    const uint64_t *user = frame_to_kernel(user_root), *whole = frame_to_kernel(pt->root);
    const uint64_t *entry = frame_to_kernel(entry_pt.root);
    for (unsigned i = 0; i < ROOT_ENTRIES; i++) {
        uint64_t expected = i < KERNEL_ROOT ? whole[i] : entry[i];
        if ((i >= KERNEL_ROOT || user[i] != 0) && ((user[i] ^ expected) & ~ROOT_ACCESSED) != 0)
            return false;
    }
    return true;
}
