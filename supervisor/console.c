// SPDX-License-Identifier: Apache-2.0
// The console queue. In batch mode a newline is "\n", as a log wants it; in interactive mode
// "\r\n", as the raw terminal at the other end wants it. Guests' bytes pass as they are.
#include "supervisor/console.h"

#include "include/manifest.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/line.h"
#include "supervisor/machine.h"

#define QUEUE_SIZE 16384u // a power of two
#define GUEST_ROOM 10240u // what console_has_room promises
#define PREFIX     "[bulkhead] "
#define SAY_MAX    448u // characters of text
#define MARK_MAX   (MACHINE_VERDICT_MAX + 1)
#define NEWLINE    2u // bytes, at most

// A piece of newlines only: each becomes "[NAME] \n". Then a partial line that was there before.
_Static_assert(CONSOLE_PIECE *(MANIFEST_NAME_MAX + 4) + LINE_LENGTH_MAX < GUEST_ROOM,
               "a piece fits");
// The kernel takes a line whole or not at all, so that none of its own comes into it.
_Static_assert(LINE_PREFIX_MAX + LINE_LENGTH_MAX + NEWLINE <= ABI_CONSOLE_MAX,
               "a guest's line is one call");
_Static_assert(MANIFEST_NAME_MAX + 3 <= LINE_PREFIX_MAX, "a name fits");
_Static_assert(MARK_MAX + sizeof(PREFIX) + SAY_MAX + NEWLINE <= ABI_CONSOLE_MAX,
               "a line of ours is one call");

static struct {
    bool is_batch;
    bool is_inside_line; // the last byte was no newline
    bool has_said;
    bool is_terminal_changed; // perhaps, by a VM that has had it
    bool is_blocked;          // the kernel has taken less than all: it signals when there is room
    char mark[MARK_MAX + 1];  // before each line of ours: no guest knows it
    uint32_t head;            // bytes ever put in
    uint32_t tail;            // bytes ever taken by the kernel
    char queue[QUEUE_SIZE];
    struct backlog log;
} console;

void console_open(bool is_batch, const char *verdict) {
    console.is_batch = is_batch;
    if (*verdict != '\0') {
        fmt_format(console.mark, sizeof(console.mark), "%s ", verdict);
    }
}

bool console_is_batch(void) {
    return console.is_batch;
}

static void copy_out(char *bytes, uint32_t count) {
    uint32_t at = console.tail % QUEUE_SIZE;
    uint32_t first = count < QUEUE_SIZE - at ? count : QUEUE_SIZE - at;
    memcpy(bytes, &console.queue[at], first);
    memcpy(bytes + first, console.queue, count - first);
}

// What goes out next, in whole lines where it has any: a line of the kernel's own may come behind
// it.
static uint32_t copy_lines(char piece[ABI_CONSOLE_MAX]) {
    uint32_t count = console.head - console.tail;
    count = count < ABI_CONSOLE_MAX ? count : ABI_CONSOLE_MAX;
    copy_out(piece, count);
    for (uint32_t i = count; i > 0; i--) {
        if (piece[i - 1] == '\n') {
            return i;
        }
    }
    return count;
}

bool console_flush(void) {
    static char piece[ABI_CONSOLE_MAX];
    while (console.head != console.tail && !console.is_blocked) {
        uint32_t count = copy_lines(piece);
        int64_t taken = sys_console_write(machine.start->system, piece, count);
        console.is_blocked = taken < (int64_t)count;
        console.tail += taken > 0 ? (uint32_t)taken : 0;
    }
    return console.head == console.tail;
}

bool console_wake(void) {
    console.is_blocked = false;
    return console_flush();
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
        console.is_blocked = false;
    }
    if (bits != 0) {
        (void)sys_event_signal(machine.event, MACHINE_EVENT_CONSOLE);
    }
}

// For what must not be torn: a line that waits for room in its middle would be open meanwhile.
static void make_room(size_t count) {
    if (QUEUE_SIZE - (console.head - console.tail) < count) {
        console_drain();
    }
}

// At most QUEUE_SIZE bytes.
static void put(const char *bytes, size_t count) {
    uint32_t at = console.head % QUEUE_SIZE;
    size_t first = count < QUEUE_SIZE - at ? count : QUEUE_SIZE - at;
    make_room(count);
    memcpy(&console.queue[at], bytes, first);
    if (first < count) {
        memcpy(console.queue, bytes + first, count - first);
    }
    console.head += (uint32_t)count;
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

void console_guest_raw(const char *bytes, size_t count) {
    put(bytes, count);
    console.is_terminal_changed = true;
}

// Each takes something back that a VM may have left: ECMA-48, DEC STD 070, and xterm's "Control
// Sequences". The run tool's screen.py has the same.
static const char terminal_reset[] =
    "\x18\x1b\\"              // a sequence or a string that is open
    "\x1b[!p"                 // DECSTR: soft reset, where there is one
    "\x1b[0m\x1b(B\x1b)B\x0f" // plain letters of ASCII
    "\x1b"
    "7\x1b[?1049l" // the common screen; the cursor stays
    "\x1b"
    "7\x1b[?69l\x1b[r\x1b"
    "8"                                    // margins at the borders; the cursor stays
    "\x1b[4;20l\x1b[?1;5l\x1b[?7;25h\x1b>" // replaces, wraps, shows the cursor; common keys
    "\x1b[?9;1000;1001;1002;1003;1004l\x1b[?1005;1006;1015;1016;2004l" // mouse, paste
    "\x1b[>4m\x1b[=0u\x1bP0;1|\x1b\\" // keys that were told to send something else
    "\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\"; // colours

void console_reset_terminal(void) {
    if (console.is_terminal_changed && !console.is_batch) {
        bool was_inside_line = console.is_inside_line;
        console.is_terminal_changed = false;
        put(terminal_reset, sizeof(terminal_reset) - 1);
        console.is_inside_line = was_inside_line;
    }
}

void console_guest_line(const char *text, size_t length) {
    make_room(ABI_CONSOLE_MAX);
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
    make_room(ABI_CONSOLE_MAX);
    put(console.mark, strlen(console.mark));
    put(PREFIX, sizeof(PREFIX) - 1);
    put(printable, strlen(printable));
    put_newline();
    backlog_add_line(&console.log, "", printable);
    console.has_said = true;
}

static void put_printable(const char *text, size_t length) {
    char printable[4 * 64];
    while (length > 0) {
        size_t count = length < 64 ? length : 64;
        line_sanitize(printable, sizeof(printable), text, count);
        put(printable, strlen(printable));
        text += count;
        length -= count;
    }
}

static void print_sink(void *context, const char *text, size_t length) {
    (void)context;
    for (const char *newline; (newline = memchr(text, '\n', length)) != NULL;) {
        size_t count = (size_t)(newline - text);
        put_printable(text, count);
        put_newline();
        text += count + 1;
        length -= count + 1;
    }
    put_printable(text, length);
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
