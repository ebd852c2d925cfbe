// SPDX-License-Identifier: Apache-2.0
// The console's driver: a process that prints what the supervisor and the kernel say, on the UART
// and the screen, and hands on what is typed.
//
// Two sources: the supervisor's ring, and the kernel's log. It goes from one to the other where a
// line ends. In batch mode nowhere else; at a terminal, where somebody's half line may stand for
// long, also when that source has no more: then it ends the line.
//
// What it is told to print it has in hand until it is on its way, and says so only then: `out_tail`
// in batch mode by whole lines, the log by what it read. So who comes after it, the kernel or
// itself started anew, loses nothing.
//
// One thread. What it reads of the ring's indices is bounded: the supervisor is not its enemy, but
// it may be in the middle of something.
#include "drivers/console/screen.h"
#include "drivers/console/uart.h"

#include "lib/string.h"
#include "lib/syscall.h"
#include "lib/types.h"

#define RINGS_AT  0x110000000ULL
#define SCREEN_AT 0x200000000ULL
#define PAGE_MASK (ABI_PAGE - 1)

#define STATUS_NO_RINGS 1
#define STATUS_NO_LOG   2 // somebody else prints

#define POLLS_A_SECOND 1000u // without an interrupt
#define ROUNDS_MAX     256u  // of a turn; what is left is the next one's
#define RECEIVE_MAX    64u   // before it is the turn of what is to be sent
#define SHOWN_MAX      1024u // bytes of a turn, on the screen alone
#define IDLE_MAX       1000u // interrupts in a row without a byte
#define FRESH_LINE     "\r\n"

static struct {
    const struct console_start *start;
    struct console_rings *rings;
    uint32_t out_position; // what was taken
    uint32_t out_done;     // what others may forget, once what was taken is on its way
    uint32_t in_position;
    char log[ABI_CONSOLE_MAX]; // log[log_done, log_size) is yet to be printed
    uint32_t log_size, log_done;
    bool has_log_news;   // the kernel may have more
    bool is_log_ended;   // CLOSED
    bool has_taken_log;  // in this turn
    bool is_in_log_line; // a line of the log has begun, and not ended
    bool is_in_out_line;
    uint32_t fresh_left; // bytes of FRESH_LINE
    uint32_t mark_left;  // of the log's line, that the screen does not show
    bool has_uart;
    bool is_polling;    // its interrupt is not to be had, or not to be trusted
    bool is_unfinished; // the last turn ended while it still interrupted
    uint32_t idle;      // interrupts since a byte was last sent or received
    uint64_t progress;  // TSC when a byte was last sent; UINT64_MAX: nothing was waiting since
    struct screen screen;
} console;

static uint64_t now(void) {
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static void tell_supervisor(void) {
    (void)sys_event_signal(console.start->supervisor, console.start->supervisor_mask);
}

// ---- what is to be printed ----------------------------------------------------------------------

static uint32_t out_count(void) {
    uint32_t head = __atomic_load_n(&console.rings->out_head, __ATOMIC_ACQUIRE);
    uint32_t count = head - console.out_position;
    return count <= CONSOLE_OUT_SIZE ? count : CONSOLE_OUT_SIZE;
}

// The log, as far as it is known; asks the kernel when that is printed.
static uint32_t log_count(void) {
    if (console.log_done == console.log_size && console.has_log_news) {
        int64_t size =
            sys_log_read(console.start->log, console.log, sizeof(console.log), console.log_size);
        console.has_log_news = size > 0;
        console.is_log_ended = size < 0;
        console.log_size = size > 0 ? (uint32_t)size : 0;
        console.log_done = 0;
    }
    return console.log_size - console.log_done;
}

static bool is_log_next(void) {
    if (console.is_in_log_line)
        return true;
    if (console.is_in_out_line && (console.start->is_batch != 0 || out_count() > 0))
        return false;
    return log_count() > 0;
}

static void show(uint8_t byte) {
    char letter = (char)byte;
    screen_write(&console.screen, &letter, 1);
}

static uint8_t take_log(void) {
    uint8_t byte = (uint8_t)console.log[console.log_done++];
    console.has_taken_log = true;
    if (!console.is_in_log_line)
        console.mark_left = console.start->mark_size;
    console.is_in_log_line = byte != '\n';
    if (console.mark_left > 0)
        console.mark_left--;
    else
        show(byte);
    return byte;
}

static uint8_t take_out(void) {
    uint8_t byte = console.rings->out[console.out_position++ % CONSOLE_OUT_SIZE];
    console.is_in_out_line = byte != '\n';
    if (console.start->is_batch == 0 || byte == '\n' ||
        console.out_position - console.out_done == CONSOLE_OUT_SIZE)
        console.out_done = console.out_position;
    if (!console.has_uart)
        show(byte);
    return byte;
}

// The next byte for the wire. False: there is none.
static bool take(uint8_t *byte) {
    if (console.fresh_left == 0 && is_log_next()) {
        if (log_count() == 0)
            return false; // the rest of the line is yet to come
        if (!console.is_in_log_line && console.is_in_out_line)
            console.fresh_left = sizeof(FRESH_LINE) - 1;
        console.is_in_out_line = false;
    }
    if (console.fresh_left > 0) {
        *byte = (uint8_t)FRESH_LINE[sizeof(FRESH_LINE) - 1 - console.fresh_left--];
        return true;
    }
    if (is_log_next()) {
        *byte = take_log();
        return true;
    }
    if (out_count() == 0)
        return false;
    *byte = take_out();
    return true;
}

// In batch mode nothing comes into a line: most bytes are found without a look around.
static uint32_t take_of_line(uint8_t *bytes, uint32_t room) {
    uint32_t count = 0, left = MIN(room, out_count());
    if (console.start->is_batch == 0 || console.fresh_left > 0)
        return 0;
    while (count < left && console.is_in_out_line)
        bytes[count++] = take_out();
    return count;
}

// As many as there are, up to `room`. Not beyond what is known of the log: to ask the kernel for
// more tells it that this is printed.
static uint32_t take_some(uint8_t *bytes, uint32_t room) {
    uint32_t count = take_of_line(bytes, room);
    bool is_log_out = false;
    while (count < room && !is_log_out && take(&bytes[count])) {
        count++;
        is_log_out = console.log_size > 0 && console.log_done == console.log_size;
    }
    return count;
}

// What was taken is on its way.
static void hand_on(void) {
    __atomic_store_n(&console.rings->out_tail, console.out_done, __ATOMIC_RELEASE);
}

static bool has_any(void) {
    return out_count() > 0 || log_count() > 0;
}

// ---- the device ---------------------------------------------------------------------------------

static uint32_t in_room(void) {
    uint32_t tail = __atomic_load_n(&console.rings->in_tail, __ATOMIC_ACQUIRE);
    uint32_t count = console.in_position - tail;
    return count <= CONSOLE_IN_SIZE ? CONSOLE_IN_SIZE - count : 0;
}

// Of the UART's status; returns what it is then.
static uint32_t receive(uint32_t status) {
    uint32_t count = 0;
    while (count < RECEIVE_MAX && in_room() > 0 && (status & UART_HAS_BYTE) != 0) {
        console.rings->in[console.in_position++ % CONSOLE_IN_SIZE] = uart_receive();
        __atomic_store_n(&console.rings->in_head, console.in_position, __ATOMIC_RELEASE);
        console.idle = 0;
        count++;
        status = uart_status();
    }
    if (count > 0)
        tell_supervisor();
    return status;
}

// A FIFO's worth.
static void send(uint32_t room) {
    uint8_t bytes[ABI_PORTS_SEND_MAX];
    while (room > 0 && has_any()) {
        uint32_t count = take_some(bytes, room);
        if (count == 0)
            return; // a line whose rest is yet to come
        uart_send(bytes, count);
        hand_on();
        room -= count;
        console.idle = 0;
        console.progress = now();
    }
}

// True: there may be more; first somebody else has his turn.
static bool print_without_uart(void) {
    uint8_t byte;
    uint32_t count = 0;
    while (count < SHOWN_MAX && take(&byte)) {
        hand_on();
        count++;
    }
    return count == SHOWN_MAX;
}

// A turn is `out`'s where it has printed of that, and of nothing else.
static void count_time(uint64_t begin, uint32_t position) {
    uint64_t spent = console.rings->spent + (now() - begin);
    if (console.out_position != position && !console.has_taken_log)
        __atomic_store_n(&console.rings->spent, spent, __ATOMIC_RELAXED);
    console.has_taken_log = false;
}

static void tell_room(void) {
    uint32_t wanted = __atomic_load_n(&console.rings->room_wanted, __ATOMIC_ACQUIRE);
    uint32_t head = __atomic_load_n(&console.rings->out_head, __ATOMIC_ACQUIRE);
    if (wanted != 0 && head - console.rings->out_tail < wanted) {
        __atomic_store_n(&console.rings->room_wanted, 0, __ATOMIC_RELEASE);
        tell_supervisor();
    }
}

static void serve(void) {
    uint64_t begin = now();
    uint32_t position = console.out_position;
    if (!console.is_polling)
        (void)sys_interrupt_acknowledge(console.start->interrupt);
    uint32_t rounds = 0;
    do { // the line may be an edge's: it has to be quiet before the next one
        if (console.has_uart) {
            uint32_t status = receive(uart_status());
            send((status & UART_HAS_ROOM) != 0 ? uart_depth() : 0);
            uart_set_interrupts(in_room() > 0, has_any());
        }
    } while (console.has_uart && ++rounds < ROUNDS_MAX && uart_is_interrupting());
    console.is_unfinished = rounds == ROUNDS_MAX;
    if (!console.has_uart)
        console.is_unfinished = print_without_uart();
    tell_room();
    count_time(begin, position);
}

static uint64_t deadline(bool is_waiting) {
    uint64_t hz = console.start->tsc_hz;
    if (!console.has_uart)
        return console.is_unfinished ? now() : ABI_FOREVER;
    if (console.is_polling || console.is_unfinished)
        return now() + hz / POLLS_A_SECOND;
    return is_waiting ? console.progress + hz : ABI_FOREVER;
}

// A UART that takes nothing for a second, though there is something to send all the while, is
// broken: nobody waits for it any more. One that has room by then has not interrupted.
static void judge_silence(bool is_timeout) {
    if (now() - console.progress < console.start->tsc_hz)
        return;
    if ((uart_status() & UART_HAS_ROOM) == 0)
        console.has_uart = false;
    else if (is_timeout)
        console.is_polling = true;
}

// Until there is something to do.
static void rest(void) {
    bool is_waiting = console.has_uart && has_any();
    uint64_t bits = 0;
    if (!is_waiting)
        console.progress = UINT64_MAX;
    else if (console.progress == UINT64_MAX)
        console.progress = now();
    int64_t result = sys_event_wait(console.start->event, UINT64_MAX, deadline(is_waiting), &bits);
    console.has_log_news |= (bits & CONSOLE_EVENT_LOG) != 0;
    // Not acknowledged any more, an input that fires for nothing stays masked.
    if ((bits & CONSOLE_EVENT_DEVICE) != 0 && ++console.idle == IDLE_MAX)
        console.is_polling = true;
    if (is_waiting)
        judge_silence(result == -ABI_ERROR_TIMEOUT);
}

// ---- start --------------------------------------------------------------------------------------

static void open_screen(void) {
    const struct boot_framebuffer *framebuffer = &console.start->framebuffer;
    int64_t size = console.start->screen != 0 ? sys_memory_size(console.start->screen) : 0;
    if (size <= 0 || sys_process_map(0, console.start->screen, SCREEN_AT, 0, (uint64_t)size,
                                     ABI_RIGHT_READ | ABI_RIGHT_WRITE) < 0)
        return;
    uint64_t offset = framebuffer->base & PAGE_MASK;
    (void)screen_init(&console.screen, framebuffer, (void *)(uintptr_t)(SCREEN_AT + offset));
}

static bool open_rings(void) {
    if (sys_process_map(0, console.start->rings, RINGS_AT, 0, sizeof(struct console_rings),
                        ABI_RIGHT_READ | ABI_RIGHT_WRITE) < 0)
        return false;
    console.rings = (struct console_rings *)RINGS_AT;
    console.out_position = console.rings->out_tail; // where who was before stopped
    console.out_done = console.out_position;
    console.in_position = console.rings->in_head;
    return true;
}

int main(void *start);

int main(void *start) {
    console.start = start;
    if (!open_rings())
        return STATUS_NO_RINGS;
    open_screen();
    console.has_uart = uart_open(start);
    console.is_polling = console.start->interrupt == 0;
    console.progress = UINT64_MAX;
    console.has_log_news = true;
    for (;;) {
        serve();
        if (console.is_log_ended)
            return STATUS_NO_LOG;
        rest();
    }
}
