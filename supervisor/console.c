// SPDX-License-Identifier: Apache-2.0
// The console queue. In batch mode a newline is "\n", as a log wants it; in interactive mode "\r\n", as
// the raw terminal at the other end wants it. Guests' bytes pass as they are.
#include "supervisor/console.h"

#include "include/manifest.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/line.h"
#include "supervisor/machine.h"

#define QUEUE_SIZE 16384u // a power of two
#define GUEST_ROOM 8192u  // what console_has_room promises
#define PREFIX     "[bulkhead] "
#define SAY_MAX    512u

// A piece of newlines only: each becomes "[NAME] \n". Then a partial line that was there before.
_Static_assert(CONSOLE_PIECE *(MANIFEST_NAME_MAX + 4) + LINE_LENGTH_MAX < GUEST_ROOM,
               "a piece fits");

static struct {
    bool is_batch;
    bool is_inside_line; // the last byte was no newline
    bool has_said;
    uint32_t head; // bytes ever put in
    uint32_t tail; // bytes ever taken by the kernel
    char queue[QUEUE_SIZE];
    struct backlog log;
} console;

void console_open(bool is_batch) {
    console.is_batch = is_batch;
}

bool console_is_batch(void) {
    return console.is_batch;
}

// What goes out next, in whole lines where it has any: a line of the kernel's own may come behind it.
static uint32_t copy_lines(char piece[ABI_CONSOLE_MAX]) {
    uint32_t count = 0;
    uint32_t lines = 0;
    while (count < ABI_CONSOLE_MAX && console.tail + count != console.head) {
        piece[count] = console.queue[(console.tail + count) % QUEUE_SIZE];
        count++;
        lines = piece[count - 1] == '\n' ? count : lines;
    }
    return lines != 0 ? lines : count;
}

bool console_flush(void) {
    static char piece[ABI_CONSOLE_MAX];
    while (console.head != console.tail) {
        uint32_t count = copy_lines(piece);
        int64_t taken = sys_console_write(machine.start->system, piece, count);
        if (taken <= 0) {
            return false;
        }
        console.tail += (uint32_t)taken;
    }
    return true;
}

// Tries to flush before it says no: then the kernel is full, and signals when there is room again.
bool console_has_room(void) {
    return QUEUE_SIZE - (console.head - console.tail) >= GUEST_ROOM || console_flush() ||
           QUEUE_SIZE - (console.head - console.tail) >= GUEST_ROOM;
}

// The bit that it takes may have told of input, too: the main loop gets it again.
void console_drain(void) {
    uint64_t bits = 0;
    while (!console_flush()) {
        bits |= machine_wait(MACHINE_EVENT_CONSOLE, ABI_FOREVER);
    }
    if (bits != 0) {
        (void)sys_event_signal(machine.event, MACHINE_EVENT_CONSOLE);
    }
}

static void put(const char *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (console.head - console.tail == QUEUE_SIZE) {
            console_drain();
        }
        console.queue[console.head % QUEUE_SIZE] = bytes[i];
        console.head++;
    }
    if (count > 0) {
        console.is_inside_line = bytes[count - 1] != '\n';
    }
}

static void put_newline(void) {
    if (console.is_batch) {
        put("\n", 1);
    } else {
        put("\r\n", 2);
    }
}

void console_fresh_line(void) {
    if (console.is_inside_line) {
        put_newline();
    }
}

void console_raw(const char *bytes, size_t count) {
    put(bytes, count);
}

void console_guest_line(const char *name, const char *text, size_t length) {
    put("[", 1);
    put(name, strlen(name));
    put("] ", 2);
    put(text, length);
    put_newline();
}

void console_say(const char *format, ...) {
    static char text[SAY_MAX];      // static: the stack is small,
    static char printable[SAY_MAX]; // and there is one thread
    va_list arguments;
    va_start(arguments, format);
    fmt_format_va(text, sizeof(text), format, arguments);
    va_end(arguments);
    line_sanitize(printable, sizeof(printable), text, sizeof(text));
    console_fresh_line();
    put(PREFIX, sizeof(PREFIX) - 1);
    put(printable, strlen(printable));
    put_newline();
    backlog_add(&console.log, printable, strlen(printable));
    backlog_add(&console.log, "\r\n", 2);
    console.has_said = true;
}

static void print_sink(void *context, const char *text, size_t length) {
    (void)context;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n') {
            put_newline();
        } else {
            put(&text[i], 1);
        }
    }
}

void console_print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fmt_write_va(print_sink, NULL, format, arguments);
    va_end(arguments);
}

size_t console_read(uint8_t *bytes, size_t max) {
    int64_t count = sys_console_read(machine.start->system, (char *)bytes, max);
    return count > 0 ? (size_t)count : 0;
}

bool console_has_said(void) {
    bool has_said = console.has_said;
    console.has_said = false;
    return has_said;
}

const struct backlog *console_log(void) {
    return &console.log;
}
