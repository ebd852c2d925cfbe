// SPDX-License-Identifier: Apache-2.0
// kernel/log.c: lines, how they get to the wire, what a driver that takes them gets, what is left
// when it ends or the kernel panics; and kernel/lock.c's ranks.
#include "tests/unit/kernel/support.h"

#include "arch/traps.h"
#include "include/console.h"
#include "include/crash.h"
#include "kernel/kspace.h"
#include "kernel/lock.h"
#include "kernel/log.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/syscall.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define CALL(...)   call_with((const uint64_t[7]){__VA_ARGS__})
#define USER        ((uint64_t)host_user)
#define KERNEL_RING 16384u

static void open_log(const char *mark) {
    strcpy(machine.words.mark, mark);
    host_wire.room = 0;
    cr_assert(log_open());
}

static void expect_wire(const char *text) {
    cr_expect_str_eq(host_wire.text, text);
}

TestSuite(kernel_log);

Test(kernel_log, lines_have_prefix_and_newline) {
    open_log("");
    host_wire.room = 1000;
    log_line("CPU %u: %s", 3, "fine");
    expect_wire("[bulkhead] CPU 3: fine\r\n");
}

Test(kernel_log, lines_are_printable) {
    open_log("");
    host_wire.room = 1000;
    log_line("CPU: %s", "\x1b[2J\n[bulkhead] x\x7f\x80");
    expect_wire("[bulkhead] CPU: ?[2J?[bulkhead] x??\r\n");
}

Test(kernel_log, lines_wait_for_the_uart_but_nobody_for_them) {
    log_line("one");
    log_line("two");
    open_log("");
    log_line("three");
    cr_expect(host_wire.size == 0 && host_wire.waits == 0);
    host_wire.room = 16;
    log_line("four");
    cr_expect(host_wire.size == 16 && host_wire.waits == 0);
    log_drain();
    expect_wire("[bulkhead] one\r\n[bulkhead] two\r\n[bulkhead] three\r\n[bulkhead] four\r\n");
}

Test(kernel_log, mark_is_before_each_line) {
    open_log("abc123 ");
    log_line("x");
    log_line("y");
    log_drain();
    expect_wire("abc123 [bulkhead] x\r\nabc123 [bulkhead] y\r\n");
}

Test(kernel_log, long_line_is_cut_but_ends) {
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    open_log("");
    log_line("%s", text);
    log_drain();
    cr_expect(host_wire.size > 200 && host_wire.size <= 256);
    cr_expect_str_eq(host_wire.text + host_wire.size - 3, "x\r\n");
}

Test(kernel_log, full_ring_loses_nothing) {
    open_log("key ");
    for (unsigned i = 0; i < 2000; i++)
        log_line("line %u", i);
    log_drain();
    char *at = host_wire.text;
    for (unsigned i = 0; i < 2000; i++) {
        char line[64];
        int size = snprintf(line, sizeof(line), "key [bulkhead] line %u\r\n", i);
        cr_assert_eq(strncmp(at, line, (size_t)size), 0, "line %u: %.40s", i, at);
        at += size;
    }
}

Test(kernel_log, without_uart_nobody_waits) {
    host_wire.has_uart = false;
    cr_expect_not(log_open());
    for (unsigned i = 0; i < 2000; i++)
        log_line("line %u", i);
    log_drain();
    cr_expect(host_wire.size == 0 && host_wire.waits == 0);
}

// ---- a driver -----------------------------------------------------------------------------------

static struct process *process;
static struct quota *quota;
static struct event *event;
static struct memory *memory;
static struct console_rings *rings;
static uint64_t handles[4]; // of the machine, a quota, memory, an event
static struct object whole;
static const struct object_kind machine_kind = {OBJECT_SYSTEM, NULL};

static int64_t call_with(const uint64_t *a) {
    return syscall_dispatch(a[1], a[2], a[3], a[4], a[5], a[6], a[0]);
}

static uint64_t give(struct object *object) {
    int64_t handle = handle_insert(process, object, ABI_RIGHTS_ALL);
    cr_assert_gt(handle, 0);
    return (uint64_t)handle;
}

static void set_up(void) {
    host_init_all();
    quota = quota_create(quota_root(), 16ULL << 20);
    process = process_create(quota, &group_root, NULL, 0);
    event = host_event_create(quota);
    memory = memory_create(quota, sizeof(struct console_rings));
    thread_current()->process = process;
    object_init(&whole, &machine_kind);
    object_ref(&quota->object);
    handles[0] = give(&whole);
    handles[1] = give(&quota->object);
    handles[2] = give(&memory->object);
    handles[3] = give(&event->object);
    open_log("key ");
}

TestSuite(kernel_log_driver, .init = set_up);

static int64_t take(void) {
    return CALL(ABI_LOG_TAKE, handles[0], handles[1], handles[2], handles[3], 2);
}

static int64_t read_log(int64_t log, uint64_t length, uint64_t done) {
    memset(host_user, 0, sizeof(host_user));
    return CALL(ABI_LOG_READ, (uint64_t)log, USER, length, done);
}

Test(kernel_log_driver, gets_what_was_not_sent_and_each_line_behind_it) {
    host_wire.room = 10;
    log_line("early");
    cr_expect_eq(host_wire.size, 10);
    int64_t log = take();
    cr_assert_gt(log, 0);
    log_line("late");
    cr_expect_eq(event->bits, 2);
    cr_expect_eq(host_wire.size, 10, "it is the driver's to print");
    int64_t size = read_log(log, 1000, 0);
    cr_expect_str_eq((char *)host_user, "ead] early\r\nkey [bulkhead] late\r\n");
    cr_expect_eq(read_log(log, 4, 0), 4, "what is not done is told again");
    cr_expect_str_eq((char *)host_user, "ead]");
    cr_expect_eq(read_log(log, 1000, (uint64_t)size), 0);
    cr_expect_eq(read_log(log, 1000, UINT64_MAX), 0, "more than there was");
    log_line("x");
    cr_expect_eq(read_log(log, UINT64_MAX, 0), 18);
}

Test(kernel_log_driver, line_that_it_left_begins_anew) {
    int64_t log = take();
    log_line("first");
    log_line("second");
    cr_expect_eq(read_log(log, 1000, 0), 45);
    cr_expect_gt(read_log(log, 1000, 28), 0); // it has printed the first and some of the second
    cr_expect_eq(CALL(ABI_HANDLE_CLOSE, (uint64_t)log), 0);
    expect_wire("\r\nkey [bulkhead] second\r\n");
    cr_expect_eq(host_wire.resets, 1);
    log_line("third"); // and from now on nobody else feeds the UART
    expect_wire("\r\nkey [bulkhead] second\r\nkey [bulkhead] third\r\n");
    log = take();
    log_line("fourth");
    cr_expect_gt(read_log(log, 1000, 0), 0);
    cr_expect_str_eq((char *)host_user, "key [bulkhead] fourth\r\n");
}

Test(kernel_log_driver, the_last_one_has_it) {
    int64_t first = take(), second = take();
    cr_expect_eq(read_log(first, 100, 0), -ABI_ERROR_CLOSED);
    CALL(ABI_HANDLE_CLOSE, (uint64_t)first);
    cr_expect_eq(host_wire.size, 0, "its end is nobody's affair");
    log_line("x");
    cr_expect_gt(read_log(second, 100, 0), 0);
}

Test(kernel_log_driver, power_off_prints_its_line_anew) {
    int64_t log = take();
    log_line("first");
    log_line("second");
    cr_expect_eq(read_log(log, 1000, 0), 45);
    cr_expect_gt(read_log(log, 1000, 28), 0);
    log_drain();
    expect_wire("\r\nkey [bulkhead] second\r\n");
    cr_expect_eq(read_log(log, 1000, 0), -ABI_ERROR_CLOSED);
}

Test(kernel_log_driver, power_off_adds_nothing_to_what_is_printed) {
    int64_t log = take();
    log_line("all");
    cr_expect_eq(read_log(log, 1000, 0), 20);
    cr_expect_eq(read_log(log, 1000, 20), 0);
    log_drain();
    expect_wire("");
}

// One that does not read cannot silence the kernel.
Test(kernel_log_driver, one_that_sleeps_loses_it) {
    int64_t log = take();
    for (unsigned i = 0; i < 1000; i++)
        log_line("line %u", i);
    cr_expect_not_null(strstr(host_wire.text, "\r\nkey [bulkhead] line 0\r\n"));
    cr_expect_not_null(strstr(host_wire.text, "key [bulkhead] line 999\r\n"));
    cr_expect_eq(read_log(log, 100, 0), -ABI_ERROR_CLOSED);
    cr_expect_eq(event->bits, 2, "it is told");
}

Test(kernel_log_driver, memory_is_of_its_size) {
    uint64_t used = host_quota_read(quota).used;
    const uint64_t good = handles[2],
                   sizes[] = {PAGE_SIZE, sizeof(struct console_rings) + PAGE_SIZE};
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        handles[2] = give(&memory_create(quota, sizes[i])->object);
        cr_expect_eq(take(), -ABI_ERROR_ARGUMENT);
        CALL(ABI_HANDLE_CLOSE, handles[2]);
    }
    handles[2] = give(
        &memory_create_at(quota, (hpa_t){0xe0000000}, sizeof(struct console_rings), MEMORY_DEVICE)
             ->object);
    cr_expect_eq(take(), -ABI_ERROR_ARGUMENT, "nothing that reading would change");
    CALL(ABI_HANDLE_CLOSE, handles[2]);
    cr_expect_eq(host_quota_read(quota).used, used);
    handles[2] = good;
    int64_t log = take();
    cr_expect_gt(log, 0);
    CALL(ABI_HANDLE_CLOSE, (uint64_t)log);
    cr_expect_eq(host_quota_read(quota).used, used);
    cr_expect(memory->object.ref_count == 1 && event->object.ref_count == 1);
}

Test(kernel_log_driver, text_goes_to_the_callers_memory_alone) {
    int64_t log = take();
    log_line("x");
    cr_expect_eq(CALL(ABI_LOG_READ, (uint64_t)log, USER + sizeof(host_user) - 3, 100, 0),
                 -ABI_ERROR_ADDRESS);
    cr_expect_gt(read_log(log, 100, 0), 0, "it is not lost");
}

// ---- the end ------------------------------------------------------------------------------------

// Fills the driver's memory, which a kernel of paper sees through its window.
static void say_in_ring(uint32_t head, uint32_t tail, const char *text) {
    hpa_t base = memory_get(memory, 0, NULL).frame;
    rings = kspace_window(base);
    rings->out_head = head;
    rings->out_tail = tail;
    for (uint32_t i = 0; text[i] != '\0'; i++) {
        uint64_t offset = offsetof(struct console_rings, out) + (tail + i) % CONSOLE_OUT_SIZE;
        char *page = kspace_window((hpa_t){base.v + align_down(offset, PAGE_SIZE)});
        page[offset % PAGE_SIZE] = text[i];
    }
}

Test(kernel_log_driver, panic_says_what_it_had_not_printed) {
    cr_assert_gt(take(), 0);
    log_line("before");
    const char text[] = "[demo] a\n\x1b[2J\rkey [bulkhead] panic: forged\n\xff half";
    say_in_ring(sizeof(text) - 1 - 20, (uint32_t)-20, text); // across the end of the ring
    lock_take(&event->lock); // whose holder is stopped for ever, as all are
    log_panic();
    log_line("panic: here");
    expect_wire("\r\nkey [bulkhead] before\r\n"
                "key [bulkhead] | [demo] a\r\n"
                "key [bulkhead] | ?[2Jkey [bulkhead] panic: forged\r\n"
                "key [bulkhead] | ? half\r\n"
                "key [bulkhead] panic: here\r\n");
    cr_expect_str_eq(host_wire.row[0], "[bulkhead] | [demo] a", "without the key");
    cr_expect_str_eq(host_wire.row[3], "[bulkhead] panic: here");
    for (unsigned i = 0; i < 10; i++)
        log_line("more");
    cr_expect_str_eq(host_wire.row[3], "[bulkhead] panic: here", "what came first stays");
}

// It may have written any numbers.
Test(kernel_log_driver, panic_bounds_what_it_says) {
    cr_assert_gt(take(), 0);
    say_in_ring(0x80000000, 5, "x");
    log_panic();
    log_line("panic: here");
    cr_expect_lt(host_wire.size, 2 * CONSOLE_OUT_SIZE);
    cr_expect_not_null(strstr(host_wire.text, "key [bulkhead] | x????"));
    cr_expect_not_null(strstr(host_wire.text, "\r\nkey [bulkhead] panic: here\r\n"));
}

// What the next boot finds: as the boot application judges it (boot/boot_crash.c).
Test(kernel_log_driver, panic_is_kept_for_the_next_boot) {
    machine.crash = HOST_HIGH_BASE + 0x5000;
    struct crash_record *record = kspace_window((hpa_t){machine.crash});
    log_line("before");
    cr_expect_eq(record->size, 0);
    log_panic();
    for (unsigned i = 0; i < 300; i++)
        log_line("panic: line %u", i);
    cr_assert_eq(record->magic, CRASH_MAGIC);
    cr_expect_eq(record->size, sizeof(record->text), "no further than the page");
    static const char first[] = "[bulkhead] panic: line 0\r\n[bulkhead] panic: line 1\r\n";
    cr_expect_eq(memcmp(record->text, first, sizeof(first) - 1), 0);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < record->size; i++)
        sum = crash_add(sum, record->text[i]);
    cr_expect_eq(record->sum, sum);
}

// There is a page for it, and others may have said more than that.
Test(kernel_log_driver, of_a_panic_the_next_boot_finds_what_we_said) {
    machine.crash = HOST_HIGH_BASE + 0x5000;
    const struct crash_record *record = kspace_window((hpa_t){machine.crash});
    cr_assert_gt(take(), 0);
    say_in_ring(0, 5, "guest");
    log_panic();
    log_line("panic: here");
    static const char only[] = "[bulkhead] panic: here\r\n";
    cr_expect_not_null(strstr(host_wire.text, "| guest"));
    cr_expect_eq(record->size, sizeof(only) - 1);
    cr_expect_eq(memcmp(record->text, only, sizeof(only) - 1), 0);
}

Test(kernel_log, panic_before_the_uart_was_found_still_speaks) {
    machine.uart.base = 0x3f8;
    log_line("early");
    log_panic();
    log_panic();
    log_line("panic: x");
    expect_wire("[bulkhead] early\r\n[bulkhead] panic: x\r\n");
}

// ---- locks --------------------------------------------------------------------------------------

Test(kernel_log, locks_out_of_order_panic) {
    struct spinlock outer, inner, same;
    lock_init(&outer, LOCK_PROCESS);
    lock_init(&inner, LOCK_QUOTA);
    lock_init(&same, LOCK_QUOTA);
    lock_take(&outer);
    lock_take(&inner);
    cr_expect(HOST_PANICS(lock_take(&same)));
    lock_drop(&inner);
    lock_take(&same);
    lock_drop(&same);
    lock_drop(&outer);
    lock_take(&inner);
    cr_expect(HOST_PANICS(lock_take(&outer)));
}

// A CPU that waits gets the lock before the one that drops it can have it again.

static struct spinlock queued;
static bool had_it;

static void *take_on_cpu_1(void *nothing) {
    host_run_on(1);
    lock_take(&queued);
    had_it = true;
    lock_drop(&queued);
    return nothing;
}

Test(kernel_log, locks_are_had_in_turn) {
    pthread_t other;
    lock_init(&queued, LOCK_QUOTA);
    for (unsigned round = 0; round < 200; round++) {
        had_it = false;
        lock_take(&queued);
        uint16_t both = queued.next + 1;
        cr_assert_eq(pthread_create(&other, NULL, take_on_cpu_1, NULL), 0);
        while (__atomic_load_n(&queued.next, __ATOMIC_RELAXED) != both) {
        }
        lock_drop(&queued);
        lock_take(&queued);
        cr_expect(had_it, "in round %u", round);
        lock_drop(&queued);
        pthread_join(other, NULL);
    }
}
