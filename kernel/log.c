// SPDX-License-Identifier: Apache-2.0
// See kernel/log.h.
#include "kernel/log.h"

#include "arch/traps.h"
#include "include/crash.h"
#include "kernel/kspace.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/screen.h"
#include "kernel/syscall.h"
#include "kernel/uart.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include <stdarg.h>

#define PREFIX    "[bulkhead] "
#define LINE_MAX  256u
#define RING_SIZE 16384u

#define CACHE_LINE 64u

static struct spinlock lock = {.rank = LOCK_LOG};
static struct log *taker; // who prints; NULL: we [lock]
static bool was_taken;    // and came back: lines are waited for [lock]
static bool has_uart;     // [lock]
static bool is_open;
static bool is_panicking; // atomic
static bool is_quoting;   // what others said, in a panic
static uint32_t row;      // of the screen: the next, in a panic
static char ring[RING_SIZE];
static uint32_t head; // bytes ever said [lock]
static uint32_t tail; // bytes ever sent [lock]

// Returns what leave() wants back. In a panic the lock's holder may be stopped for ever.
static bool enter(void) {
    bool is_locked = !__atomic_load_n(&is_panicking, __ATOMIC_ACQUIRE);
    if (is_locked)
        lock_take(&lock);
    return is_locked;
}

static void leave(bool is_locked) {
    if (is_locked)
        lock_drop(&lock);
}

static void send_some(void) {
    for (uint32_t room = uart_send_room(); room > 0 && tail != head; room--)
        uart_send(ring[tail++ % RING_SIZE]);
}

static void send_all(void) {
    while (tail != head && has_uart) {
        has_uart = uart_wait(false);
        send_some();
    }
    if (!has_uart)
        tail = head;
}

// The UART is ours again, and the line that was being printed begins anew.
static void take_back(void) {
    taker = NULL;
    was_taken = true;
    has_uart = has_uart && uart_reset();
    if (has_uart) {
        uart_send('\r');
        uart_send('\n');
    }
    while (head - tail < RING_SIZE && tail != 0 && ring[(tail - 1) % RING_SIZE] != '\n')
        tail--;
}

static void put(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        ring[head++ % RING_SIZE] = text[i];
}

// For the boot behind a reset, which finds what is in no cache.
static void keep(const char *text, size_t size) {
    if (machine.crash == 0 || !is_open || is_quoting)
        return;
    struct crash_record *record = kspace_window((hpa_t){machine.crash});
    record->magic = CRASH_MAGIC;
    for (size_t i = 0; i < size && record->size < sizeof(record->text); i++) {
        record->sum = crash_add(record->sum, text[i]);
        record->text[record->size++] = text[i];
    }
    for (size_t i = 0; i < sizeof(*record); i += CACHE_LINE)
        __asm__ volatile("clflush %0" : "+m"(((char *)record)[i]));
}

static void write_line(const char *text, size_t size) {
    bool is_locked = enter();
    if (head - tail > RING_SIZE - sizeof(machine.words.mark) - LINE_MAX) {
        if (taker != NULL && is_locked)
            event_notify(&taker->binding); // it finds that it is no longer the one
        if (taker != NULL)
            take_back();
        send_all();
    }
    put(machine.words.mark, strlen(machine.words.mark));
    put(text, size);
    if (!is_locked) {
        keep(text, size);
        screen_draw(row++, text, size - 2);
    }
    if (taker != NULL)
        event_notify(&taker->binding);
    else if (was_taken || !is_locked)
        send_all();
    else if (has_uart)
        send_some();
    leave(is_locked);
}

void log_line(const char *format, ...) {
    char line[LINE_MAX] = PREFIX;
    const size_t prefix = sizeof(PREFIX) - 1;
    va_list arguments;
    va_start(arguments, format);
    size_t size = fmt_format_va(line + prefix, LINE_MAX - prefix - 2, format, arguments);
    va_end(arguments);
    size = MIN(size + prefix, LINE_MAX - 3);
    for (size_t i = prefix; i < size; i++)
        if (line[i] < ' ' || line[i] > '~')
            line[i] = '?'; // of the firmware's names, say
    line[size] = '\r';
    line[size + 1] = '\n';
    write_line(line, size + 2);
}

bool log_open(void) {
    has_uart = uart_init(&machine.uart);
    is_open = true;
    screen_init();
    if (has_uart)
        send_some();
    return has_uart;
}

// ---- the end ------------------------------------------------------------------------------------

// What the driver has not printed, whoever wrote it: quoted, each piece a line of ours.
static void quote_rest(hpa_t rings) {
    const struct console_rings *index = kspace_window(rings);
    uint32_t at = index->out_tail, size = 0;
    char line[LINE_MAX / 2];
    for (uint32_t left = MIN(index->out_head - at, CONSOLE_OUT_SIZE); left > 0; left--, at++) {
        uint64_t offset = offsetof(struct console_rings, out) + at % CONSOLE_OUT_SIZE;
        const char *page = kspace_window((hpa_t){rings.v + align_down(offset, PAGE_SIZE)});
        char byte = page[offset % PAGE_SIZE];
        if (byte == '\0')
            byte = '?'; // or it were the line's end
        if (byte != '\n' && byte != '\r')
            line[size++] = byte;
        if (size == 0 || (byte != '\n' && left > 1 && size < sizeof(line) - 1))
            continue;
        line[size] = '\0';
        log_line("| %s", line);
        size = 0;
    }
}

void log_panic(void) {
    const struct log *log = taker;
    if (__atomic_exchange_n(&is_panicking, true, __ATOMIC_ACQ_REL))
        return;
    if (!is_open && machine.uart.is_memory == 0)
        has_uart = uart_init(&machine.uart);
    if (log != NULL) {
        take_back();
        is_quoting = true;
        quote_rest(log->rings);
        is_quoting = false;
    }
    send_all();
}

void log_drain(void) {
    bool is_locked = enter();
    if (taker != NULL)
        event_notify(&taker->binding);
    if (taker != NULL && tail != head)
        take_back();
    taker = NULL;
    send_all();
    if (has_uart)
        has_uart = uart_wait(true);
    leave(is_locked);
}

// ---- the driver ---------------------------------------------------------------------------------

static bool log_destroy(struct object *object) {
    struct log *log = CONTAINER_OF(object, struct log, object);
    bool is_locked = enter();
    if (taker == log) {
        take_back();
        send_all();
    }
    leave(is_locked);
    event_unbind(&log->binding);
    object_unref(&log->memory->object);
    return true;
}

const struct object_kind log_kind = {OBJECT_LOG, log_destroy};

int64_t call_log_take(struct call *c) {
    struct memory *memory = CALL_OBJECT(c, 2, memory);
    if (memory->kind != MEMORY_RAM || memory->size != sizeof(struct console_rings))
        return -ABI_ERROR_ARGUMENT;
    // In one piece, so that a panic finds it without a lock.
    struct memory_run run = memory_get(memory, 0, NULL);
    struct log *log = NULL;
    if (run.size == memory->size)
        log = quota_alloc_object(CALL_OBJECT(c, 1, quota), &log_kind);
    if (log == NULL)
        return -ABI_ERROR_MEMORY;
    object_ref(&memory->object);
    log->memory = memory;
    log->rings = run.frame;
    event_bind(&log->binding, call_event(c, 3), c->a[4]);
    bool is_locked = enter();
    taker = log;
    leave(is_locked);
    return call_give(&log->object);
}

int64_t call_log_read(struct call *c) {
    uint32_t size = 0;
    bool is_locked = enter();
    bool is_taker = taker == CALL_OBJECT(c, 0, log);
    if (is_taker) {
        tail += (uint32_t)MIN(c->a[3], head - tail);
        size = (uint32_t)MIN(MIN(c->a[2], ABI_CONSOLE_MAX), head - tail);
        for (uint32_t i = 0; i < size; i++)
            c->data.text[i] = ring[(tail + i) % RING_SIZE];
    }
    leave(is_locked);
    if (!is_taker)
        return -ABI_ERROR_CLOSED;
    return user_write(c->a[1], c->data.text, size) ? (int64_t)size : -ABI_ERROR_ADDRESS;
}
