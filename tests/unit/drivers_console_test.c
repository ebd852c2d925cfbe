// SPDX-License-Identifier: Apache-2.0
// drivers/console: what goes out on the wire and what is told to ring 3, with a UART made of two
// strings. The module is compiled in here under other names, so that nothing else need be linked.
#define console_init         con_test_init
#define console_has_uart     con_test_has_uart
#define console_log          con_test_log
#define console_write        con_test_write
#define console_read         con_test_read
#define console_bind         con_test_bind
#define console_interrupt    con_test_interrupt
#define console_drain        con_test_drain
#define console_panic_mode   con_test_panic_mode
#define uart_init            con_test_uart_init
#define uart_receive         con_test_uart_receive
#define uart_send_room       con_test_uart_send_room
#define uart_send            con_test_uart_send
#define uart_wait_room       con_test_uart_wait_room
#define uart_wait_idle       con_test_uart_wait_idle
#define uart_set_interrupts  con_test_uart_set_interrupts
#define uart_is_interrupting con_test_uart_is_interrupting
#define framebuffer_init     con_test_framebuffer_init
#define framebuffer_size     con_test_framebuffer_size
#define framebuffer_write    con_test_framebuffer_write
#define event_signal         con_test_event_signal
#define event_bind           con_test_event_bind
#define event_unbind         con_test_event_unbind
#define lock_init            con_test_lock_init
#define lock_take            con_test_lock_take
#define lock_drop            con_test_lock_drop
#define log_set_sink         con_test_log_set_sink
#define log_mark             con_test_log_mark
#define space_map_device     con_test_space_map_device
#define ring_writer_open     con_test_ring_writer_open
#define ring_reader_open     con_test_ring_reader_open
#define ring_writer_room     con_test_ring_writer_room
#define ring_reader_count    con_test_ring_reader_count
#define ring_write           con_test_ring_write
#define ring_read            con_test_ring_read
#include "drivers/console.c"
#include "lib/ring.c"

#include <criterion/criterion.h>

#define WIRE_SIZE 65536u

static struct {
    bool is_missing, is_stuck;
    char out[WIRE_SIZE];
    uint32_t out_size;
    uint32_t room; // of the FIFO right now
    uint32_t wait_count;
    const char *in;
    bool on_receive, on_room;
    bool is_locked;
    uint64_t signalled;
    uint32_t ref_count;
    uint32_t screen_size;
} wire;

static struct event con_test_event;
char log_mark[LOG_MARK_MAX + 2];

bool uart_init(void) {
    return !wire.is_missing;
}
bool uart_receive(uint8_t *byte) {
    if (wire.in == NULL || *wire.in == '\0')
        return false;
    *byte = (uint8_t)*wire.in++;
    return true;
}
uint32_t uart_send_room(void) {
    return wire.is_stuck ? 0 : wire.room;
}
void uart_send(const uint8_t *bytes, uint32_t count) {
    cr_assert_geq(wire.room, count, "FIFO overrun");
    wire.room -= count;
    cr_assert_leq(wire.out_size + count, WIRE_SIZE);
    memcpy(&wire.out[wire.out_size], bytes, count);
    wire.out_size += count;
}
bool uart_wait_room(void) {
    wire.wait_count++;
    wire.room = CHUNK;
    return !wire.is_stuck;
}
bool uart_wait_idle(void) {
    return !wire.is_stuck;
}
void uart_set_interrupts(bool on_receive, bool on_room) {
    wire.on_receive = on_receive;
    wire.on_room = on_room;
}
bool uart_is_interrupting(void) {
    bool has_input = wire.in != NULL && *wire.in != '\0';
    return (has_input && wire.on_receive) || (wire.room > 0 && wire.on_room);
}
bool framebuffer_init(struct framebuffer *fb, const struct boot_framebuffer *boot, void *pixels) {
    (void)fb, (void)boot, (void)pixels;
    return true;
}
uint64_t framebuffer_size(const struct boot_framebuffer *boot) {
    return boot->base == 0 ? 0 : PAGE_SIZE;
}
void framebuffer_write(struct framebuffer *fb, const char *text, size_t size) {
    (void)fb, (void)text;
    wire.screen_size += (uint32_t)size;
}
void event_signal(struct event *event, uint64_t mask) {
    cr_assert_not(wire.is_locked, "LOCK_EVENT ranks below LOCK_CONSOLE");
    cr_assert_eq(event, &con_test_event);
    wire.signalled |= mask;
}
void event_bind(struct event_binding *binding, struct event *event, uint64_t mask) {
    event_unbind(binding);
    wire.ref_count += event != NULL;
    *binding = (struct event_binding){event, mask};
}
void event_unbind(struct event_binding *binding) {
    if (binding->event != NULL) {
        cr_assert_not(wire.is_locked, "the last reference may go");
        wire.ref_count--;
    }
    binding->event = NULL;
}
void lock_init(struct spinlock *lock, enum lock_rank rank) {
    lock->rank = rank;
}
void lock_take(struct spinlock *lock) {
    (void)lock;
    cr_assert_not(wire.is_locked);
    wire.is_locked = true;
}
void lock_drop(struct spinlock *lock) {
    (void)lock;
    cr_assert(wire.is_locked);
    wire.is_locked = false;
}
void log_set_sink(log_sink_t sink) {
    sink("[bulkhead] kept\n", 16);
}
void *space_map_device(hpa_t base, uint64_t size) {
    (void)size;
    return (void *)base.v;
}

static void con_test_start(void) {
    struct boot_framebuffer fb = {.base = 0x1000};
    memset(&console, 0, sizeof(console));
    console_init(&fb);
    wire.out_size = 0;
}

static void con_test_setup(void) {
    memset(&wire, 0, sizeof(wire));
    wire.room = CHUNK;
    con_test_start();
    console_drain();
    wire.out_size = 0;
    wire.room = CHUNK;
    wire.wait_count = 0;
}

static void con_test_line(const char *text) {
    console_log(text, strlen(text));
}

// Runs the interrupt until the UART has nothing more to say.
static void con_test_run(void) {
    while (wire.on_room) {
        wire.room = CHUNK;
        console_interrupt();
    }
}

static void con_test_expect(const char *text) {
    cr_assert_eq(wire.out_size, strlen(text), "got <%.*s>", (int)wire.out_size, wire.out);
    cr_assert_eq(memcmp(wire.out, text, wire.out_size), 0, "got <%.*s>", (int)wire.out_size,
                 wire.out);
}

TestSuite(drivers_console, .init = con_test_setup);

Test(drivers_console, log_lines_wait_in_the_ring) {
    con_test_line("[bulkhead] a line longer than the FIFO\n");
    cr_assert_eq(wire.out_size, CHUNK);
    cr_assert_eq(wire.wait_count, 0);
    console_bind(&con_test_event, 1);
    cr_assert(wire.on_room);
    con_test_run();
    con_test_expect("[bulkhead] a line longer than the FIFO\r\n");
}

Test(drivers_console, interrupt_is_off_until_bound) {
    con_test_line("[bulkhead] a line longer than the FIFO\n");
    cr_assert_not(wire.on_room);
    cr_assert_not(wire.on_receive);
}

Test(drivers_console, log_line_starts_on_a_line_of_its_own) {
    cr_assert_eq(console_write("login: ", 7), 7);
    con_test_line("[bulkhead] x\n");
    cr_assert_eq(console_write("a\n", 2), 2);
    con_test_line("[bulkhead] y\n");
    console_drain();
    con_test_expect("login: \r\n[bulkhead] x\r\na\n[bulkhead] y\r\n");
}

// Where nobody else can write it: on the wire, before each line of the log and no other, and not on
// the screen.
Test(drivers_console, mark_stands_before_each_line_of_the_log) {
    strcpy(log_mark, "k3y ");
    cr_assert_eq(console_write("[bulkhead] panic: forged\nno newline", 35), 35);
    con_test_line("[bulkhead] x\n");
    cr_assert_eq(console_write("a\n", 2), 2);
    console_panic_mode();
    con_test_line("[bulkhead] panic: y\n");
    con_test_expect("[bulkhead] panic: forged\nno newline\r\nk3y [bulkhead] x\r\na\n"
                    "k3y [bulkhead] panic: y\r\n");
    cr_assert_eq(wire.screen_size, 16 + 13 + 20);
    log_mark[0] = '\0';
}

Test(drivers_console, log_is_never_lost_when_full) {
    static char text[9000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\n';
    console_log(text, sizeof(text));
    console_drain();
    cr_assert_eq(wire.out_size, sizeof(text) + 1);
    cr_assert_eq(wire.out[sizeof(text) - 1], '\r');
    cr_assert_eq(wire.screen_size, sizeof(text) + 16);
}

// What ring 3 writes, as much as it can, has a line of the kernel's wait for no UART, with
// interrupts off.
Test(drivers_console, log_waits_for_nobody_elses_output) {
    static char text[OUTPUT_SIZE + 1], line[256];
    memset(text, 'x', sizeof(text));
    memset(line, 'k', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    wire.room = 0;
    cr_assert_eq(console_write(text, sizeof(text)), OUTPUT_SIZE);
    for (unsigned i = 0; i < OUTPUT_SIZE / sizeof(line) - 1; i++) {
        console_log(line, sizeof(line));
        cr_assert_eq(console_write(text, 1), 0, "the room is not ring 3's");
    }
    cr_assert_eq(wire.wait_count, 0);
    cr_assert_eq(wire.out_size, 0);
    console_drain();
    cr_assert_gt(wire.out_size, 2 * OUTPUT_SIZE - 2 * sizeof(line));
}

Test(drivers_console, write_takes_whole_lines_that_fit) {
    static char text[OUTPUT_SIZE];
    memset(text, 'x', sizeof(text));
    wire.room = 0;
    console_bind(&con_test_event, 4);
    cr_assert_eq(console_write(text, OUTPUT_SIZE - 10), OUTPUT_SIZE - 10);
    cr_assert_eq(console_write("12345\n789\n123", 13), 10);
    cr_assert_eq(console_write("more", 4), 0);
    cr_assert_eq(wire.signalled, 0);
    wire.room = CHUNK;
    console_interrupt();
    cr_assert_eq(wire.signalled, 0); // not for a few bytes
    con_test_run();
    cr_assert_eq(wire.signalled, 4);
    wire.signalled = 0;
    con_test_run();
    console_interrupt();
    cr_assert_eq(wire.signalled, 0); // once
}

// Who was refused may be another than who writes next (the supervisor's VMs share the console).
Test(drivers_console, who_was_cut_short_is_told_though_a_later_write_fits) {
    static char text[OUTPUT_SIZE];
    memset(text, 'x', sizeof(text));
    wire.room = 0;
    console_bind(&con_test_event, 4);
    cr_assert_eq(console_write(text, OUTPUT_SIZE), OUTPUT_SIZE);
    cr_assert_eq(console_write("refused\n", 8), 0);
    wire.room = CHUNK;
    console_interrupt();
    cr_assert_eq(console_write("fits\n", 5), 5);
    cr_assert_eq(wire.signalled, 0);
    con_test_run();
    cr_assert_eq(wire.signalled, 4);
}

Test(drivers_console, a_line_is_taken_whole_or_not_yet) {
    static char text[OUTPUT_SIZE];
    memset(text, 'x', sizeof(text));
    wire.room = 0;
    cr_assert_eq(console_write(text, OUTPUT_SIZE - 10), OUTPUT_SIZE - 10);
    cr_assert_eq(console_write("0123456789\n", 11), 0);
    cr_assert_eq(console_write("01234567\n", 9), 9);
}

Test(drivers_console, write_without_newline_takes_what_fits) {
    static char text[OUTPUT_SIZE + 1];
    memset(text, 'x', sizeof(text));
    wire.room = 0;
    cr_assert_eq(console_write(text, sizeof(text)), OUTPUT_SIZE);
}

Test(drivers_console, input_is_read_and_signalled) {
    char text[16];
    console_bind(&con_test_event, 2);
    wire.in = "ls\r";
    console_interrupt();
    cr_assert_eq(wire.signalled, 2);
    cr_assert_eq(console_read(text, 2), 2);
    cr_assert_eq(console_read(text + 2, 14), 1);
    cr_assert_eq(memcmp(text, "ls\r", 3), 0);
    cr_assert_eq(console_read(text, 16), 0);
}

Test(drivers_console, full_input_holds_the_sender) {
    static char typed[INPUT_SIZE + 100 + 1], text[INPUT_SIZE + 100];
    memset(typed, 'k', INPUT_SIZE + 100);
    console_bind(&con_test_event, 2);
    wire.in = typed;
    console_interrupt();
    cr_assert_not(wire.on_receive);
    cr_assert_eq(console_read(text, sizeof(text)), INPUT_SIZE);
    cr_assert(wire.on_receive);
    console_interrupt();
    cr_assert_eq(console_read(text, sizeof(text)), 100);
}

Test(drivers_console, bindings_are_counted) {
    console_bind(&con_test_event, 1);
    console_bind(&con_test_event, 2);
    cr_assert_eq(wire.ref_count, 1);
    wire.in = "x";
    console_interrupt();
    cr_assert_eq(wire.signalled, 2);
    cr_assert_eq(wire.ref_count, 1);
    console_bind(NULL, 0);
    cr_assert_eq(wire.ref_count, 0);
    wire.in = "x";
    console_interrupt();
}

Test(drivers_console, panic_sends_at_once_and_takes_no_lock) {
    char text[4];
    con_test_line("[bulkhead] before the panic, waiting\n");
    wire.is_locked = true; // by a CPU that is stopped now
    console_panic_mode();
    con_test_expect("[bulkhead] before the panic, waiting\r\n");
    con_test_line("crash record\n");
    con_test_expect("[bulkhead] before the panic, waiting\r\ncrash record\r\n");
    cr_assert_eq(console_write("x", 1), 1);
    cr_assert_eq(console_read(text, 4), 0);
    console_interrupt();
    console_drain();
    con_test_expect("[bulkhead] before the panic, waiting\r\ncrash record\r\n");
}

Test(drivers_console, panic_before_init_still_speaks) {
    memset(&console, 0, sizeof(console));
    console_panic_mode();
    con_test_line("[bulkhead] panic: early\n");
    con_test_expect("[bulkhead] kept\r\n[bulkhead] panic: early\r\n");
}

Test(drivers_console, without_uart_all_is_accepted) {
    static char text[2 * OUTPUT_SIZE];
    wire.is_missing = true;
    con_test_start();
    cr_assert_not(console_has_uart());
    con_test_line("[bulkhead] x\n");
    cr_assert_eq(console_write(text, sizeof(text)), sizeof(text));
    console_bind(&con_test_event, 1);
    console_interrupt();
    console_drain();
    console_panic_mode();
    cr_assert_eq(wire.out_size, 0);
}

Test(drivers_console, broken_uart_hangs_nobody) {
    static char text[2 * OUTPUT_SIZE];
    memset(text, 'x', sizeof(text));
    wire.is_stuck = true;
    console_log(text, sizeof(text));
    cr_assert_not(console_has_uart());
    con_test_line("more\n");
    console_drain();
}
