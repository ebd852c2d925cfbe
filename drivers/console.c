// SPDX-License-Identifier: Apache-2.0
// See drivers/console.h. Output goes into a ring; whoever adds to it also feeds the UART's FIFO as
// far as that has room, and the UART's interrupt feeds it on. Only log lines ever wait for the
// UART, and those only when they alone fill the half of the ring that is theirs: interrupts are off
// meanwhile. The interrupt is off until ring 3 binds an event: by then it is routed, and no edge
// gets lost.
#include "drivers/console.h"

#include "drivers/framebuffer.h"
#include "drivers/uart.h"
#include "include/abi.h"
#include "kernel/event.h"
#include "kernel/log.h"
#include "kernel/space.h"
#include "lib/ring.h"
#include "lib/string.h"

#define OUTPUT_SIZE 4096u // that ring 3 may fill
#define RING_SIZE   (2 * OUTPUT_SIZE)
#define INPUT_SIZE  1024u
#define CHUNK       16u // the UART's FIFO

_Static_assert(OUTPUT_SIZE / 2 >= ABI_CONSOLE_MAX, "when room is told of, a line fits");

// An interrupt that never ends is a broken device; the next edge starts anew.
#define INTERRUPT_ROUNDS_MAX 256u

static struct {
    struct spinlock lock; // guards all below but is_panicking
    bool is_panicking;    // atomic
    bool is_open;
    bool has_uart;
    bool has_interrupts;
    bool is_starved;   // a console_write was cut short, and nobody has been told of room since
    bool is_line_open; // the last byte put was no newline
    struct event_binding binding;
    struct framebuffer framebuffer;
    struct ring_writer out_writer, in_writer;
    struct ring_reader out_reader, in_reader;
    uint32_t out_head, out_tail, in_head, in_tail;
    uint8_t out_data[RING_SIZE];
    uint8_t in_data[INPUT_SIZE];
} console;

static bool is_panicking(void) {
    return __atomic_load_n(&console.is_panicking, __ATOMIC_ACQUIRE);
}

// Returns what leave() wants back. In panic mode the lock's holder may be stopped for ever.
static bool enter(void) {
    bool is_locked = !is_panicking();
    if (is_locked)
        lock_take(&console.lock);
    return is_locked;
}

static void leave(bool is_locked) {
    if (is_locked)
        lock_drop(&console.lock);
}

static void update_interrupts(void) {
    if (console.has_interrupts)
        uart_set_interrupts(ring_writer_room(&console.in_writer) > 0,
                            ring_reader_count(&console.out_reader) > 0);
}

static void feed_uart(void) {
    uint8_t chunk[CHUNK];
    if (!console.has_uart || ring_reader_count(&console.out_reader) == 0)
        return;
    uint32_t count = ring_read(&console.out_reader, chunk, MIN(uart_send_room(), CHUNK));
    uart_send(chunk, count);
}

static void drain_ring(void) {
    while (console.has_uart && ring_reader_count(&console.out_reader) > 0) {
        console.has_uart = uart_wait_room();
        feed_uart();
    }
}

static uint32_t user_room(void) {
    uint32_t used = RING_SIZE - ring_writer_room(&console.out_writer);
    return used < OUTPUT_SIZE ? OUTPUT_SIZE - used : 0;
}

static void put_all(const char *text, size_t size) {
    while (size > 0 && console.has_uart) {
        uint32_t piece = (uint32_t)MIN(size, OUTPUT_SIZE);
        uint32_t count = ring_write(&console.out_writer, (const uint8_t *)text, piece);
        text += count;
        size -= count;
        if (size > 0) {
            console.has_uart = uart_wait_room();
            feed_uart();
        }
    }
}

static void put_lines(const char *text, size_t size) {
    while (size > 0) {
        const char *newline = memchr(text, '\n', size);
        size_t length = newline == NULL ? size : (size_t)(newline - text);
        put_all(text, length);
        console.is_line_open = newline == NULL;
        if (newline == NULL)
            return;
        put_all("\r\n", 2);
        text += length + 1;
        size -= length + 1;
    }
}

void console_log(const char *text, size_t size) {
    bool is_locked = enter();
    if (console.is_line_open)
        put_lines("\n", 1);
    put_all(log_mark, strlen(log_mark));
    put_lines(text, size);
    framebuffer_write(&console.framebuffer, text, size);
    if (is_locked) {
        feed_uart();
        update_interrupts();
    } else {
        drain_ring();
    }
    leave(is_locked);
}

// What fits; in whole lines if there is any, since a log line may come next.
static uint32_t fitting_size(const char *text, uint32_t size, uint32_t room) {
    if (size <= room)
        return size;
    for (uint32_t i = room; i > 0; i--)
        if (text[i - 1] == '\n')
            return i;
    return memchr(text, '\n', size) != NULL ? 0 : room;
}

uint32_t console_write(const char *text, uint32_t size) {
    if (size == 0 || is_panicking())
        return size;
    lock_take(&console.lock);
    uint32_t count = size;
    if (console.has_uart) {
        feed_uart();
        count = fitting_size(text, size, user_room());
        ring_write(&console.out_writer, (const uint8_t *)text, count);
        if (count > 0)
            console.is_line_open = text[count - 1] != '\n';
        console.is_starved |= count < size;
        feed_uart();
        update_interrupts();
    }
    lock_drop(&console.lock);
    return count;
}

uint32_t console_read(char *text, uint32_t size) {
    if (is_panicking())
        return 0;
    lock_take(&console.lock);
    uint32_t count = ring_read(&console.in_reader, (uint8_t *)text, size);
    if (console.has_uart)
        update_interrupts();
    lock_drop(&console.lock);
    return count;
}

void console_bind(struct event *event, uint64_t mask) {
    struct event_binding new = {NULL, 0}, old;
    event_bind(&new, event, mask);
    lock_take(&console.lock);
    old = console.binding;
    console.binding = new;
    console.has_interrupts = console.has_uart;
    update_interrupts();
    lock_drop(&console.lock);
    event_unbind(&old); // may destroy it, so not under the lock
}

static bool take_input(void) {
    uint8_t byte;
    bool has_input = false;
    while (ring_writer_room(&console.in_writer) > 0 && uart_receive(&byte)) {
        ring_write(&console.in_writer, &byte, 1);
        has_input = true;
    }
    return has_input;
}

// True when ring 3 has a reason to come.
static bool serve_uart(void) {
    bool has_input = false;
    uint32_t rounds = 0;
    do {
        has_input |= take_input();
        feed_uart();
        update_interrupts();
    } while (++rounds < INTERRUPT_ROUNDS_MAX && uart_is_interrupting());
    bool has_room = user_room() >= OUTPUT_SIZE / 2;
    bool is_fed = console.is_starved && has_room;
    if (is_fed)
        console.is_starved = false;
    return has_input || is_fed;
}

void console_interrupt(void) {
    struct event_binding binding = {NULL, 0};
    if (is_panicking())
        return;
    lock_take(&console.lock);
    if (console.has_uart && serve_uart())
        event_bind(&binding, console.binding.event, console.binding.mask);
    lock_drop(&console.lock);
    event_notify(&binding);
    event_unbind(&binding);
}

void console_drain(void) {
    bool is_locked = enter();
    drain_ring();
    if (console.has_uart)
        console.has_uart = uart_wait_idle();
    leave(is_locked);
}

bool console_has_uart(void) {
    return console.has_uart;
}

static void open_uart(void) {
    lock_init(&console.lock, LOCK_CONSOLE);
    ring_writer_open(&console.out_writer, console.out_data, RING_SIZE, &console.out_head,
                     &console.out_tail);
    ring_reader_open(&console.out_reader, console.out_data, RING_SIZE, &console.out_head,
                     &console.out_tail);
    ring_writer_open(&console.in_writer, console.in_data, INPUT_SIZE, &console.in_head,
                     &console.in_tail);
    ring_reader_open(&console.in_reader, console.in_data, INPUT_SIZE, &console.in_head,
                     &console.in_tail);
    console.has_uart = uart_init();
    console.is_open = true;
}

void console_panic_mode(void) {
    __atomic_store_n(&console.is_panicking, true, __ATOMIC_RELEASE);
    if (console.is_open) {
        drain_ring();
    } else {
        open_uart();
        log_set_sink(console_log);
    }
}

void console_init(const struct boot_framebuffer *fb) {
    uint64_t size = framebuffer_size(fb);
    open_uart();
    if (size != 0)
        framebuffer_init(&console.framebuffer, fb, space_map_device((hpa_t){fb->base}, size));
    log_set_sink(console_log);
}
