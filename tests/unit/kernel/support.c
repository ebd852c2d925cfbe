// SPDX-License-Identifier: Apache-2.0
// See support.h.
#include "tests/unit/kernel/support.h"

#include "boot/boot_pool.h"

#include "arch/lapic.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "kernel/frame.h"
#include "kernel/group.h"
#include "kernel/ioapic.h"
#include "kernel/kspace.h"
#include "kernel/log.h"
#include "kernel/scheduler.h"
#include "kernel/screen.h"
#include "kernel/smp.h"
#include "kernel/syscall.h"
#include "kernel/uart.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAP_MAX    8u
#define FRAMES_MAX ((HOST_HIGH_BASE + HOST_HIGH_SIZE) >> PAGE_SHIFT)

const struct boot_memory host_map[2] = {
    {.base = HOST_RAM_BASE, .length = HOST_RAM_SIZE, .type = BOOT_MEMORY_FREE},
    {.base = HOST_HIGH_BASE, .length = HOST_HIGH_SIZE, .type = BOOT_MEMORY_FREE},
};

uint64_t host_now = 1000000;
void (*host_look)(void);
void (*host_block)(void);
void (*host_preempt)(void);
uint32_t host_preempts;
uint32_t host_wakes, host_interrupts, host_flushes, host_flushes_of_all, host_posts, host_fences,
    host_timer_writes;
struct thread *host_last_woken;
const struct vcpu *host_notified;
uint64_t host_deadline[HOST_CPUS];
jmp_buf host_panic;
bool host_expects_panic;
char host_panic_text[160];

bool host_audits;
uint32_t host_rechecks, host_unparked_count;
struct thread *host_unparked[HOST_UNPARKED_MAX];

static struct cpu cpus[HOST_CPUS];
static struct thread threads[HOST_CPUS];
static _Thread_local uint32_t current;
static uint8_t *times_cleared; // by frame
static uint8_t *is_mapped;     // by frame

struct cpu *cpu_table[CPU_COUNT_MAX];
uint32_t cpu_count;
uint64_t tsc_hz = 100000000;
struct cpu_features cpu_features = {.physical_bits = 39, .has_1g_pages = true};

// ---- the processor ------------------------------------------------------------------------------

struct cpu *host_cpu_current(void) {
    return &cpus[current];
}
struct cpu *host_cpu(uint32_t index) {
    return &cpus[index];
}
void host_run_on(uint32_t index) {
    current = index;
}
uint64_t host_rdtsc(void) {
    if (host_look != NULL)
        host_look();
    return host_now;
}
uint64_t host_cr2;
void host_lfence(void) {
    host_fences++;
}
void host_pause(void) {
    __builtin_ia32_pause();
}

// ---- the console --------------------------------------------------------------------------------

struct host_wire host_wire = {.has_uart = true};

bool uart_init(const struct boot_uart *uart) {
    (void)uart;
    return host_wire.has_uart;
}
bool uart_reset(void) {
    host_wire.resets++;
    return host_wire.has_uart;
}
uint32_t uart_send_room(void) {
    return host_wire.room;
}
void uart_send(char byte) {
    cr_assert_lt(host_wire.size, sizeof(host_wire.text) - 1);
    host_wire.text[host_wire.size++] = byte;
    host_wire.room -= host_wire.room > 0;
}
bool uart_wait(bool is_idle) {
    host_wire.waits += !is_idle;
    if (!is_idle)
        host_wire.room = 16;
    return host_wire.has_uart;
}
void screen_init(void) {}
void screen_draw(uint32_t row, const char *text, size_t size) {
    if (row >= HOST_ROWS)
        return;
    cr_assert(size < sizeof(host_wire.row[0]));
    memcpy(host_wire.row[row], text, size);
    host_wire.row[row][size] = '\0';
}

struct boot_info machine, host_boot;
struct boot_memory machine_memory[BOOT_MEMORY_MAX];

// ---- ports and I/O APICs ------------------------------------------------------------------------

uint32_t host_port_value;
struct host_port host_port;
uint32_t host_entry[HOST_INPUTS];
static bool is_written[HOST_INPUTS];

uint32_t host_in(uint16_t port, uint32_t width) {
    host_port = (struct host_port){port, width, 0, host_port.count + 1};
    return host_port_value;
}
void host_out(uint16_t port, uint32_t width, uint32_t value) {
    host_port = (struct host_port){port, width, value, host_port.count + 1};
}
bool ioapic_write(uint32_t gsi, uint32_t entry) {
    if (gsi >= HOST_INPUTS)
        return false;
    host_entry[gsi] = entry;
    is_written[gsi] = true;
    return true;
}
bool host_is_open(uint32_t input) {
    return is_written[input] && (host_entry[input] & IOAPIC_MASKED) == 0;
}

void lapic_timer_set(uint64_t deadline) {
    host_deadline[current] = deadline;
    host_timer_writes++;
}
void lapic_timer_stop(void) {
    host_deadline[current] = 0;
    host_timer_writes++;
}

// ---- memory -------------------------------------------------------------------------------------

static void map_at(uint64_t address, uint64_t size) {
    int flags = MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *at = mmap((void *)address, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    cr_assert_neq(at, MAP_FAILED, "cannot map %#lx", address);
}

// Full of what was there before: a small file, again and again. A page is the test's own once it
// writes there, so that each test pays for no more than it touches.
static void map_ram(void) {
    uint8_t before[PAGE_SIZE];
    memset(before, 0xa5, sizeof(before));
    int file = memfd_create("ram", 0);
    for (uint64_t at = 0; at < HOST_RAM_PIECE; at += PAGE_SIZE)
        cr_assert_eq(pwrite(file, before, PAGE_SIZE, (off_t)at), PAGE_SIZE);
    for (uint64_t at = 0; at < HOST_RAM_SIZE; at += HOST_RAM_PIECE)
        cr_assert_neq(mmap((void *)(KERNEL_DIRECT + HOST_RAM_BASE + at), HOST_RAM_PIECE,
                           PROT_READ | PROT_WRITE, MAP_FIXED_NOREPLACE | MAP_PRIVATE, file, 0),
                      MAP_FAILED, "cannot map the RAM");
    close(file);
    times_cleared = calloc(FRAMES_MAX, 1);
    is_mapped = calloc(FRAMES_MAX, 1);
}

// What boot/ hands over: the pool at the beginning of the first FREE range.
static void init_frames(const struct boot_memory *map, uint32_t count) {
    static struct boot_memory cut[MAP_MAX];
    host_boot.memory_end = boot_pool_memory_end(map, count);
    host_boot.pool_size = boot_pool_size(host_boot.memory_end);
    for (uint32_t i = 0; i < count; i++) {
        struct boot_memory *to = &cut[host_boot.memory_count++];
        *to = map[i];
        if (host_boot.pool != 0 || map[i].type != BOOT_MEMORY_FREE)
            continue;
        host_boot.pool = to->base;
        to->type = BOOT_MEMORY_KERNEL;
        to->length = host_boot.pool_size;
        cut[host_boot.memory_count++] =
            (struct boot_memory){.base = map[i].base + host_boot.pool_size,
                                 .length = map[i].length - host_boot.pool_size,
                                 .type = BOOT_MEMORY_FREE};
    }
    cr_assert(boot_info_is_ordered(&host_boot, cut));
    frame_init(&host_boot, cut);
    memset(&is_mapped[host_boot.pool >> PAGE_SHIFT], 1, host_boot.pool_size >> PAGE_SHIFT);
}

void host_init(const struct boot_memory *map, uint32_t count) {
    for (uint32_t i = 0; i < HOST_CPUS; i++) {
        cpus[i].index = i;
        cpu_table[i] = &cpus[i];
        cpus[i].current = &threads[i];
        threads[i].cpu = &cpus[i];
        threads[i].state = THREAD_RUNNING;
    }
    cpu_count = HOST_CPUS;
    group_init();
    paging_format.leaf_level_max = 2;
    map_ram();
    if (map == NULL)
        init_frames(host_map, 2);
    else
        init_frames(map, count);
}

void host_take_frames(void) {
    hpa_t run;
    for (uint64_t size = SIZE_1G; size >= PAGE_SIZE; size /= 512)
        while (frame_alloc(FRAME_ANYWHERE, size, &run)) {
        }
}

void host_init_all(void) {
    host_init(NULL, 0);
    quota_init_root(frame_totals().free);
}

bool kspace_map_direct(hpa_t base, uint64_t size) {
    bool is_low = base.v >= HOST_RAM_BASE && base.v + size <= HOST_RAM_BASE + HOST_RAM_SIZE;
    if (!is_low)
        map_at(KERNEL_DIRECT + base.v, size);
    memset(&is_mapped[base.v >> PAGE_SHIFT], 1, size >> PAGE_SHIFT);
    return true;
}

uint64_t host_unflushed;
bool host_has_window;

// The kernel's tables: a root, and leaves for the boot run and for what was mapped since.
static hpa_t kernel_root;
const struct pt_mapping *host_planted_leaf;
uint64_t host_planted_address;

hpa_t kspace_kernel_root(void) {
    return kernel_root;
}

void kspace_walk_kernel(const struct pt_visitor *visitor) {
    for (uint64_t i = 0; i < FRAMES_MAX; i++) {
        struct pt_mapping leaf = {{i << PAGE_SHIFT}, PAGE_SIZE, PT_READ | PT_WRITE | PT_GLOBAL};
        if (host_is_mapped(leaf.frame))
            visitor->leaf(visitor->opaque, KERNEL_DIRECT + leaf.frame.v, &leaf);
    }
    if (host_planted_leaf != NULL)
        visitor->leaf(visitor->opaque, host_planted_address, host_planted_leaf);
}

bool kspace_is_kernel_half(const struct pagetable *pt) {
    const uint64_t *root = frame_to_kernel(pt->root);
    for (unsigned i = KERNEL_ROOT; i < PAGE_SIZE / sizeof(*root); i++)
        if (root[i] != 0)
            return false;
    return true;
}

void smp_stop_and_call(void (*function)(void *), void *opaque) {
    if (kernel_root.v == 0)
        kernel_root = frame_of_kernel(kernel_page_alloc());
    function(opaque);
}

void kspace_unmap_direct(hpa_t base, uint64_t size) {
    memset(&is_mapped[base.v >> PAGE_SHIFT], 0, size >> PAGE_SHIFT);
    host_unflushed += size;
}

void smp_flush_all(void) {
    host_flushes_of_all++;
    host_unflushed = 0;
}

bool kspace_is_direct(hpa_t frame) {
    return host_is_mapped(frame);
}

bool host_is_mapped(hpa_t frame) {
    return is_mapped[frame.v >> PAGE_SHIFT] == 1;
}

void kspace_clear(hpa_t base, uint64_t size) {
    for (uint64_t offset = 0; offset < size; offset += PAGE_SIZE)
        times_cleared[(base.v + offset) >> PAGE_SHIFT]++;
}

// Frames that the kernel does not map appear, zero, when somebody first looks at them.
void *kspace_window(hpa_t frame) {
    uint8_t *state = &is_mapped[frame.v >> PAGE_SHIFT];
    host_has_window = true;
    if (frame.v >= HOST_HIGH_BASE && *state == 0) {
        map_at(KERNEL_DIRECT + frame.v, PAGE_SIZE);
        *state = 2; // for the window, so not mapped by the kernel
    }
    return (uint8_t *)KERNEL_DIRECT + frame.v;
}
void kspace_window_close(void) {
    host_has_window = false;
}

uint32_t host_times_cleared(hpa_t frame) {
    return times_cleared[frame.v >> PAGE_SHIFT];
}

static bool table_alloc(void *opaque, hpa_t *frame) {
    void *page = quota_alloc_page(opaque);
    if (page != NULL)
        *frame = frame_of_kernel(page);
    return page != NULL;
}
static void table_free(void *opaque, hpa_t frame) {
    quota_free_page(opaque, frame_to_kernel(frame));
}
static uint64_t *table_access(hpa_t frame) {
    return frame_to_kernel(frame);
}
struct pt_memory kspace_quota_memory(struct quota *quota) {
    return (struct pt_memory){quota, table_alloc, table_free, table_access};
}
bool kspace_process_init(struct pagetable *pt, struct pt_memory tables) {
    return pt_init(pt, &paging_format, tables);
}
const struct host_split *host_split;
bool kspace_user_init(hpa_t *user_root, struct quota *quota) {
    return host_split == NULL || host_split->init(user_root, quota);
}
void kspace_user_show(hpa_t user_root, const struct pagetable *pt, uint64_t address) {
    if (host_split != NULL)
        host_split->show(user_root, pt, address);
}
void kspace_user_free(hpa_t *user_root, struct quota *quota) {
    if (host_split != NULL)
        host_split->free(user_root, quota);
}
bool kspace_is_user_root(hpa_t user_root, const struct pagetable *pt) {
    return host_split == NULL || host_split->is_user_root(user_root, pt);
}

// ---- calls --------------------------------------------------------------------------------------

struct abi_quota_info host_quota_read(struct quota *quota) {
    struct call c = {.handle = {{.object = &quota->object}}};
    cr_assert_eq(call_quota_read(&c), 0);
    return c.data.quota;
}

struct abi_process_status host_process_status(struct process *process) {
    struct call c = {.handle = {{.object = &process->object}}};
    cr_assert_eq(call_process_status(&c), 0);
    return c.data.status;
}

// ---- events -------------------------------------------------------------------------------------

struct event *host_event_create(struct quota *quota) {
    struct event *event = quota_alloc_object(quota, &event_kind);
    cr_assert_not_null(event);
    lock_init(&event->lock, LOCK_EVENT);
    return event;
}

int host_event_wait(struct event *event, uint64_t mask, uint64_t deadline, uint64_t *bits) {
    struct call c = {.a = {0, mask, deadline}, .handle = {{.object = &event->object}}};
    int64_t result = call_event_wait(&c);
    *bits = c.data.bits;
    return (int)-result;
}

// ---- regions ------------------------------------------------------------------------------------

uint64_t host_region_count(const struct region_list *list) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < list->page_count; i++)
        count += list->page[i]->count;
    return count;
}

struct region *host_region_next(const struct region_list *list, uint64_t address) {
    for (uint64_t n = 0; n < list->page_count; n++) {
        struct region_page *page = list->page[n];
        const struct region *last = &page->region[page->count - 1];
        for (uint64_t i = 0; last->base + last->size > address && i < page->count; i++)
            if (page->region[i].base + page->region[i].size > address)
                return &page->region[i];
    }
    return NULL;
}

static uint64_t *nothing_access(hpa_t frame) {
    static uint64_t root[512];
    cr_assert_eq(frame.v, 0, "the root alone is walked");
    return root;
}

bool host_region_remove(struct region_list *list, uint64_t base, uint64_t size,
                        struct region *removed) {
    struct pagetable nothing = {.format = &paging_format, .memory = {.access = nothing_access}};
    const struct region *region = region_find(list, base);
    struct memory *memory = NULL;
    if (region != NULL)
        *removed = *region;
    while (memory == NULL) {
        uint64_t done = region_unmap(list, &nothing, base, size, &memory);
        if (done == 0)
            return false;
        base += done;
        size -= done;
    }
    return true;
}

// ---- user memory --------------------------------------------------------------------------------

uint8_t host_user[4 * PAGE_SIZE];

static bool is_user(uint64_t address, size_t size) {
    uint64_t base = (uint64_t)host_user;
    return address >= base && address <= base + sizeof(host_user) &&
           size <= base + sizeof(host_user) - address;
}
bool user_read(void *to, uint64_t from, size_t size) {
    if (is_user(from, size))
        memcpy(to, (const void *)from, size);
    return is_user(from, size);
}
bool user_write(uint64_t to, const void *from, size_t size) {
    if (is_user(to, size))
        memcpy((void *)to, from, size);
    return is_user(to, size);
}

// ---- threads, other CPUs, vCPUs -----------------------------------------------------------------

// Where arch/traps.c is linked, its own is taken.
__attribute__((weak)) const uint8_t *call_page_code(void) {
    static const uint8_t code[CALL_PAGE_CODE] = {0xc3};
    return code;
}

void thread_block(void) {
    if (host_block != NULL)
        host_block();
}
void thread_preempt(void) {
    cr_assert_eq(cpu_current()->locks_held, 0, "a lock is held at a preemption point");
    host_preempts++;
    if (host_preempt != NULL)
        host_preempt();
}
void thread_wake(struct thread *thread) {
    host_wakes++;
    host_last_woken = thread;
}
void scheduler_recheck(void) {
    host_rechecks++;
}
void scheduler_unpark(struct thread *thread) {
    host_unparked[host_unparked_count++ % HOST_UNPARKED_MAX] = thread;
}
void thread_add_usage(const struct thread *thread, struct abi_usage *usage) {
    usage->run += thread->run;
}
bool thread_yield_to(struct thread *thread) {
    return thread == NULL;
}
void thread_interrupt(struct thread *thread) {
    (void)thread;
    host_interrupts++;
}
bool thread_is_doomed(const struct thread *thread) {
    return thread->process != NULL && thread->process->is_ending != 0;
}
void smp_flush_root(hpa_t root) {
    (void)root;
    host_flushes++;
}
void smp_interrupt(void) {}
void vcpu_post(struct vcpu *vcpu, uint32_t bits) {
    vcpu->pending |= bits;
    host_posts++;
}
void vcpu_notify(struct vcpu *vcpu) {
    host_notified = vcpu;
}
void vcpu_free(struct vcpu *vcpu) {
    quota_free_page(vcpu->vm->object.quota, vcpu);
}
static bool vcpu_destroy(struct object *object) {
    object_unref(&CONTAINER_OF(object, struct vcpu, object)->vm->object);
    return true;
}
const struct object_kind vcpu_kind = {OBJECT_VCPU, vcpu_destroy};

// ---- the end ------------------------------------------------------------------------------------

_Noreturn void panic(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(host_panic_text, sizeof(host_panic_text), format, arguments);
    va_end(arguments);
    if (host_expects_panic) {
        host_expects_panic = false;
        longjmp(host_panic, 1);
    }
    fprintf(stderr, "panic: %s\n", host_panic_text);
    abort();
}
_Noreturn void halt_machine(const char *reason) {
    panic("%s", reason);
}
bool host_no_panic(void) {
    host_expects_panic = false;
    return false;
}

uint64_t host_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

const struct vcpu_backend host_backend = {
    .space_format = &paging_format,
};
