// SPDX-License-Identifier: Apache-2.0
// drivers/console/main.c and uart.c: what goes out on the wire, in which order, and what whoever
// comes after it finds. The kernel is of paper: ports, a log, events.
#define SYSCALLS_ARE_SIMULATED
#define main         con_test_main
#define screen_init  con_test_screen_init
#define screen_write con_test_screen_write
#define screen_size  con_test_screen_size
#include "drivers/console/main.c"
#include "drivers/console/uart.c"
#undef main

#include <criterion/criterion.h>
#include <string.h>

static struct {
    char out[65536];
    uint32_t out_size;
    uint32_t room; // of the FIFO
    const char *in;
    uint32_t ier;
    char log[4096]; // the kernel's
    uint32_t log_head, log_tail;
    bool is_closed;
    uint32_t told; // the supervisor
    bool interrupts_always, is_unplugged, lacks_fifo;
    bool is_other;      // than a 16550
    uint32_t mcr, busy; // looks until what was sent before is out
    uint32_t acknowledged;
    uint64_t deadline;   // of its last rest
    uint64_t bits;       // that it gets then; 0: the time is over
    void (*wakes)(void); // what happens meanwhile
    char shown[65536];
    uint32_t shown_size;
} paper;

static struct console_rings con_test_rings;
static struct console_start con_test_start;

static bool is_idle(void) {
    paper.busy -= paper.busy > 0;
    return paper.busy == 0;
}

int64_t sys_ports_read(uint32_t ports, uint16_t offset, uint32_t width) {
    cr_assert(ports == 7 && width == 1);
    if (paper.is_unplugged)
        return NO_DEVICE;
    if (offset == UART_LSR)
        return (paper.room > 0 ? LSR_ROOM : 0) | (is_idle() ? LSR_IDLE : 0) |
               (paper.in != NULL && *paper.in != '\0' ? LSR_DATA : 0);
    if (offset == UART_IIR) {
        bool has_input = paper.in != NULL && *paper.in != '\0' && (paper.ier & IER_RECEIVE) != 0;
        bool has_room = paper.room > 0 && (paper.ier & IER_ROOM) != 0;
        bool is_pending = has_input || has_room || paper.interrupts_always;
        return (paper.lacks_fifo ? 0 : IIR_FIFO_MASK) | (is_pending ? 0 : IIR_NONE);
    }
    if (offset == UART_MSR) // DCD and CTS are OUT2 and RTS, or those of whoever is at the other end
        return paper.is_other ? 0x30 : paper.mcr == MCR_LOOPBACK ? MSR_LOOPBACK : 0;
    cr_assert_eq(offset, UART_DATA);
    return *paper.in++;
}
int64_t sys_ports_write(uint32_t ports, uint16_t offset, uint32_t width, uint32_t value) {
    cr_assert(ports == 7 && width == 1);
    if (offset == UART_IER) {
        paper.ier = value;
        return 0;
    }
    if (offset == UART_MCR) {
        cr_assert_eq(paper.busy, 0, "what is on its way is lost");
        paper.mcr = value;
        return 0;
    }
    cr_assert(offset == UART_DATA && paper.room > 0, "FIFO overrun");
    paper.room--;
    paper.out[paper.out_size++] = (char)value;
    return 0;
}
int64_t sys_ports_send(uint32_t ports, uint16_t offset, const void *bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        sys_ports_write(ports, offset, 1, ((const uint8_t *)bytes)[i]);
    return 0;
}
int64_t sys_log_read(uint32_t log, char *text, uint64_t size, uint64_t done) {
    cr_assert(log == 8 && done <= paper.log_head - paper.log_tail);
    if (paper.is_closed)
        return -ABI_ERROR_CLOSED;
    paper.log_tail += (uint32_t)done;
    uint32_t count = paper.log_head - paper.log_tail;
    count = count < size ? count : (uint32_t)size;
    memcpy(text, &paper.log[paper.log_tail], count);
    return count;
}
int64_t sys_event_signal(uint32_t event, uint64_t mask) {
    cr_assert(event == 9 && mask == 1);
    paper.told++;
    return 0;
}
int64_t sys_interrupt_acknowledge(uint32_t interrupt) {
    cr_assert_eq(interrupt, 6);
    paper.acknowledged++;
    return 0;
}
int64_t sys_event_wait(uint32_t event, uint64_t mask, uint64_t deadline, uint64_t *bits) {
    (void)event, (void)mask;
    paper.deadline = deadline;
    if (paper.wakes != NULL)
        paper.wakes();
    *bits = paper.bits;
    return paper.bits != 0 ? 0 : -ABI_ERROR_TIMEOUT;
}
int64_t sys_memory_size(uint32_t memory) {
    (void)memory;
    return 0;
}
int64_t sys_process_map(uint32_t process, uint32_t memory, uint64_t address, uint64_t offset,
                        uint64_t size, uint64_t rights) {
    (void)process, (void)memory, (void)address, (void)offset, (void)size, (void)rights;
    return 0;
}
bool screen_init(struct screen *screen, const struct boot_framebuffer *boot, void *pixels) {
    (void)screen, (void)boot, (void)pixels;
    return true;
}
void screen_write(struct screen *screen, const char *text, size_t size) {
    (void)screen;
    memcpy(&paper.shown[paper.shown_size], text, size);
    paper.shown_size += (uint32_t)size;
}

static void begin(bool is_batch) {
    con_test_start = (struct console_start){.event = 5,
                                            .supervisor = 9,
                                            .supervisor_mask = 1,
                                            .log = 8,
                                            .ports = 7,
                                            .interrupt = 6,
                                            .is_batch = is_batch,
                                            .mark_size = 4,
                                            .tsc_hz = 1000000000,
                                            .uart = {.base = 0x3f8, .stride = 1, .width = 1}};
    memset(&console, 0, sizeof(console));
    console.start = &con_test_start;
    console.rings = &con_test_rings;
    console.out_position = console.out_done = con_test_rings.out_tail;
    console.in_position = con_test_rings.in_head;
    console.has_uart = uart_open(&con_test_start);
    console.has_log_news = true;
    console.progress = UINT64_MAX;
    paper.room = 16;
}

static void say(const char *text) {
    for (; *text != '\0'; text++)
        con_test_rings.out[con_test_rings.out_head++ % CONSOLE_OUT_SIZE] = (uint8_t)*text;
}

static void say_kernel(const char *text) {
    memcpy(&paper.log[paper.log_head], text, strlen(text));
    paper.log_head += (uint32_t)strlen(text);
    console.has_log_news = true;
}

static void run(void) {
    for (unsigned i = 0; i < 10000 && (i == 0 || has_any()); i++) {
        paper.room = 16;
        serve();
    }
}

static void expect(const char *text) {
    paper.out[paper.out_size] = '\0';
    cr_assert_str_eq(paper.out, text);
}

TestSuite(drivers_console);

Test(drivers_console, fifo_is_fed_as_it_empties) {
    begin(true);
    say("a line longer than the FIFO\n");
    paper.room = 16;
    serve();
    cr_assert_eq(paper.out_size, 16);
    cr_assert_neq(paper.ier & IER_ROOM, 0);
    cr_assert_eq(con_test_rings.out_tail, 0, "a line is printed when it is whole");
    run();
    expect("a line longer than the FIFO\n");
    cr_assert_eq(con_test_rings.out_tail, con_test_rings.out_head);
    cr_assert_eq(paper.ier & IER_ROOM, 0);
}

Test(drivers_console, kernels_lines_come_between_lines) {
    begin(true);
    say("[demo] first one\n[demo] second\n");
    serve();
    say_kernel("key [bulkhead] kernel\r\n");
    run();
    expect("[demo] first one\nkey [bulkhead] kernel\r\n[demo] second\n");
    cr_assert_eq(paper.log_tail, paper.log_head, "the kernel knows that it is printed");
    paper.shown[paper.shown_size] = '\0';
    cr_assert_str_eq(paper.shown, "[bulkhead] kernel\r\n", "without the key, and no guest's");
}

Test(drivers_console, half_a_line_is_never_interrupted_in_batch_mode) {
    begin(true);
    say("[demo] half");
    run();
    say_kernel("key [bulkhead] kernel\r\n");
    paper.room = 16;
    serve();
    serve();
    expect("[demo] half");
    cr_assert_eq(con_test_rings.out_tail, 0);
    say(" a line\n");
    run();
    expect("[demo] half a line\nkey [bulkhead] kernel\r\n");
}

Test(drivers_console, prompt_gives_way_at_a_terminal) {
    begin(false);
    say("login: ");
    run();
    cr_assert_eq(con_test_rings.out_tail, 7);
    say_kernel("key [bulkhead] kernel\r\n");
    run();
    say("x");
    run();
    expect("login: \r\nkey [bulkhead] kernel\r\nx");
}

Test(drivers_console, successor_prints_the_line_anew) {
    begin(true);
    say("[demo] one\n[demo] [bulkhead] forged\n");
    paper.room = 16;
    serve(); // and ends
    expect("[demo] one\n[demo");
    begin(true);
    run();
    expect("[demo] one\n[demo[demo] [bulkhead] forged\n");
}

Test(drivers_console, room_is_told_when_it_is_wanted) {
    begin(true);
    for (unsigned i = 0; i < 100; i++)
        say("0123456789012345678\n");
    con_test_rings.room_wanted = 1000;
    paper.room = 16;
    serve();
    cr_assert_eq(paper.told, 0);
    run();
    cr_assert_eq(paper.told, 1);
    cr_assert_eq(con_test_rings.room_wanted, 0);
}

Test(drivers_console, input_waits_for_room) {
    static char typed[CONSOLE_IN_SIZE + 100];
    memset(typed, 'k', sizeof(typed) - 1);
    begin(false);
    paper.in = typed;
    serve();
    cr_assert_eq(con_test_rings.in_head, CONSOLE_IN_SIZE);
    cr_assert_eq(paper.ier & IER_RECEIVE, 0, "the FIFO holds the sender");
    cr_assert_gt(paper.told, 0);
    con_test_rings.in_tail += 50;
    serve();
    cr_assert_eq(con_test_rings.in_head, CONSOLE_IN_SIZE + 50);
    con_test_rings.in_tail = con_test_rings.in_head + 5; // of no honest reader
    serve();
    con_test_rings.in_tail = con_test_rings.in_head;
    serve();
    cr_assert_eq(*paper.in, '\0');
    cr_assert_neq(paper.ier & IER_RECEIVE, 0);
}

Test(drivers_console, without_uart_the_screen_shows_all) {
    begin(true);
    console.has_uart = false;
    say("[demo] x\n");
    say_kernel("key [bulkhead] kernel\r\n");
    serve();
    cr_assert_eq(paper.out_size, 0);
    paper.shown[paper.shown_size] = '\0';
    cr_assert_str_eq(paper.shown, "[bulkhead] kernel\r\n[demo] x\n");
    cr_assert_eq(con_test_rings.out_tail, con_test_rings.out_head);
}

// On the screen alone a VM that prints without end leaves the kernel a turn.
Test(drivers_console, screen_alone_lets_the_kernel_speak) {
    begin(true);
    console.has_uart = false;
    for (unsigned i = 0; i < SHOWN_MAX / 4; i++)
        say("abcdefg\n");
    serve();
    cr_expect_eq(con_test_rings.out_tail, SHOWN_MAX);
    cr_expect_leq(deadline(false), now(), "it goes on at once");
    say_kernel("key [bulkhead] kernel\r\n");
    serve();
    paper.shown[paper.shown_size] = '\0';
    cr_expect_not_null(strstr(paper.shown, "\n[bulkhead] kernel"));
    serve();
    cr_expect_eq(con_test_rings.out_tail, con_test_rings.out_head);
    cr_expect_eq(deadline(false), ABI_FOREVER);
}

Test(drivers_console, time_is_counted_for_what_was_printed_of_the_ring) {
    begin(true);
    say("[demo] x\n");
    run();
    uint64_t spent = con_test_rings.spent;
    cr_expect_gt(spent, 0);
    say_kernel("key [bulkhead] kernel\r\n");
    run();
    cr_expect_eq(con_test_rings.spent, spent, "the kernel's line");
    serve();
    cr_expect_eq(con_test_rings.spent, spent, "a turn for nothing");
    say("[demo] y\n");
    run();
    cr_expect_gt(con_test_rings.spent, spent);
}

Test(drivers_console, uart_without_fifo_gets_a_byte_at_a_time) {
    paper.lacks_fifo = true;
    begin(true);
    say("[demo] x\n");
    paper.room = 1;
    serve();
    cr_expect_eq(paper.out_size, 1);
}

Test(drivers_console, only_a_16550_is_used_and_not_before_it_is_idle) {
    paper.busy = 5;
    begin(true);
    cr_expect(console.has_uart && paper.busy == 0 && paper.mcr == MCR_NORMAL);
    paper.is_other = true;
    begin(true);
    cr_expect(!console.has_uart && paper.mcr == MCR_NORMAL, "it is not left in loopback");
    paper.is_other = false;
    paper.busy = UINT32_MAX;
    begin(true);
    cr_expect_not(console.has_uart, "one that is never idle");
    paper.busy = 0;
    paper.is_unplugged = true;
    begin(true);
    cr_expect_not(console.has_uart);
}

Test(drivers_console, whoever_lost_the_log_ends) {
    begin(true);
    paper.is_closed = true;
    serve();
    cr_assert(console.is_log_ended);
}

static void speak_after_silence(void) {
    con_test_start.tsc_hz = 1; // every wait takes many a second
    say("late\n");
}

Test(drivers_console, silence_is_no_fault_of_the_uart) {
    begin(true);
    serve();
    paper.wakes = speak_after_silence;
    rest();
    cr_assert_eq(paper.deadline, ABI_FOREVER);
    cr_assert(console.has_uart);
    run();
    expect("late\n");
}

Test(drivers_console, uart_that_takes_nothing_for_a_second_is_given_up) {
    begin(true);
    paper.room = 0;
    say("stuck\n");
    serve();
    rest();
    cr_assert(console.has_uart, "not at once");
    cr_assert_eq(paper.deadline, console.progress + con_test_start.tsc_hz);
    con_test_start.tsc_hz = 1;
    paper.room = 16;
    rest();
    cr_assert(console.has_uart, "it has room by now");
    paper.room = 0;
    rest();
    cr_assert_not(console.has_uart);
}

// ---- an interrupt that is none ------------------------------------------------------------------

static void expect_polling(bool is_so) {
    paper.acknowledged = 0;
    paper.wakes = NULL;
    con_test_start.tsc_hz = 1000000000;
    serve();
    rest();
    cr_expect_eq(paper.acknowledged, is_so ? 0 : 1);
    cr_expect_eq(paper.deadline < now() + con_test_start.tsc_hz / 10, is_so);
}

// The FIFO has emptied in a second that was waited for its interrupt.
static void let_a_second_pass(void) {
    say("rest of it, and more than the FIFO takes\n");
    paper.room = 0;
    serve();
    con_test_start.tsc_hz = 1;
    paper.room = 16;
    rest();
}

Test(drivers_console, interrupt_that_never_comes_is_not_waited_for) {
    begin(true);
    let_a_second_pass();
    cr_assert(console.has_uart);
    expect_polling(true);
    run();
    expect("rest of it, and more than the FIFO takes\n");
    expect_polling(true);
}

Test(drivers_console, driver_that_slept_does_not_blame_the_interrupt) {
    begin(true);
    paper.bits = CONSOLE_EVENT_DEVICE; // it had come
    let_a_second_pass();
    expect_polling(false);
}

Test(drivers_console, interrupt_for_nothing_is_not_acknowledged_for_ever) {
    begin(true);
    paper.bits = CONSOLE_EVENT_DEVICE;
    for (uint32_t i = 1; i < IDLE_MAX; i++)
        rest();
    say("x\n");
    run();
    for (uint32_t i = 1; i < IDLE_MAX; i++)
        rest();
    paper.in = "y";
    serve();
    for (uint32_t i = 1; i < IDLE_MAX - 1; i++)
        rest();
    expect_polling(false); // the last but one
    rest();
    expect_polling(true);
}

// An edge does not come again while the line stays as it is.
Test(drivers_console, turn_that_was_cut_off_goes_on) {
    begin(true);
    paper.bits = CONSOLE_EVENT_RINGS;
    paper.interrupts_always = true;
    serve();
    rest();
    cr_expect_lt(paper.deadline, now() + con_test_start.tsc_hz / 10);
    paper.interrupts_always = false;
    expect_polling(false);
}

Test(drivers_console, uart_that_vanishes_types_nothing_and_is_given_up) {
    begin(true);
    serve();
    paper.is_unplugged = true;
    say("lost\n");
    serve();
    cr_expect_eq(con_test_rings.in_head, 0);
    cr_expect_eq(paper.out_size, 0);
    rest();
    con_test_start.tsc_hz = 1;
    rest();
    cr_expect_not(console.has_uart);
    serve();
    cr_expect_eq(con_test_rings.out_tail, con_test_rings.out_head, "nobody waits for it");
}

// Whoever takes as fast as it comes does not keep it from printing.
Test(drivers_console, typing_without_end_leaves_a_turn_to_the_output) {
    static char typed[CONSOLE_IN_SIZE];
    memset(typed, 'k', sizeof(typed) - 1);
    begin(false);
    paper.in = typed;
    (void)receive(uart_status());
    cr_expect_eq(con_test_rings.in_head, RECEIVE_MAX);
    cr_expect_eq(paper.told, 1);
}
