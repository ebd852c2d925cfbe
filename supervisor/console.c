// SPDX-License-Identifier: Apache-2.0
// Into the driver's ring. In batch mode a newline is "\n", as a log wants it; in interactive mode
// "\r\n", as the raw terminal at the other end wants it. Guests' bytes pass as they are.
#include "supervisor/console.h"

#include "include/manifest.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/driver.h"
#include "supervisor/line.h"
#include "supervisor/machine.h"

#define GUEST_ROOM 10240u // what console_has_room promises
#define LINE_ROOM  512u
#define PREFIX     "[bulkhead] "
#define SAY_MAX    448u  // characters of text
#define PRINT_MAX  1024u // of what is printed in one piece: a command line, and more
#define MARK_MAX   (MACHINE_VERDICT_MAX + 1)
#define NEWLINE    2u             // bytes, at most
#define STUCK_NS   5000000000ULL  // without a byte printed
#define LONG_NS    60000000000ULL // all of a ring takes 17 s at 9600 baud

// A piece of newlines only: each becomes "[NAME] \n". Then a partial line that was there before.
_Static_assert(CONSOLE_PIECE *(MANIFEST_NAME_MAX + 4) + LINE_LENGTH_MAX < GUEST_ROOM,
               "a piece fits");
_Static_assert(MANIFEST_NAME_MAX + 3 <= LINE_PREFIX_MAX, "a name fits");
_Static_assert(MARK_MAX + sizeof(PREFIX) + SAY_MAX + NEWLINE <= LINE_ROOM, "a line of ours fits");
_Static_assert(LINE_PREFIX_MAX + LINE_LENGTH_MAX + NEWLINE <= LINE_ROOM, "a guest's line fits");
_Static_assert(sizeof(((struct abi_start *)NULL)->cmdline) <= PRINT_MAX / 2, "a command line fits");
_Static_assert(LINE_ROOM + GUEST_ROOM <= CONSOLE_OUT_SIZE, "beside what guests may fill");

static struct {
    bool is_batch;
    bool is_inside_line; // the last byte was no newline
    bool has_said;
    bool is_terminal_changed; // perhaps, by a VM that has had it
    char mark[MARK_MAX + 1];  // before each line of ours: no guest knows it
    struct console_rings *rings;
    uint32_t head; // bytes ever put in
    uint32_t told; // of these the driver was told of
    uint32_t in_position;
    struct backlog log;
} console;

bool console_open(bool is_batch, const char *verdict) {
    if (!driver_open()) {
        return false;
    }
    console.rings = driver_rings();
    console.is_batch = is_batch;
    if (*verdict != '\0') {
        fmt_format(console.mark, sizeof(console.mark), "%s ", verdict);
    }
    return true;
}

bool console_is_batch(void) {
    return console.is_batch;
}

// Bytes that the driver has not printed; of a tail that cannot be, the ring is full.
static uint32_t used(void) {
    uint32_t tail = __atomic_load_n(&console.rings->out_tail, __ATOMIC_ACQUIRE);
    uint32_t count = console.head - tail;
    return count <= CONSOLE_OUT_SIZE ? count : CONSOLE_OUT_SIZE;
}

uint32_t console_position(void) {
    return console.head;
}

uint32_t console_printed(void) {
    return console.head - used();
}

uint64_t console_spent(void) {
    return __atomic_load_n(&console.rings->spent, __ATOMIC_RELAXED);
}

void console_flush(void) {
    if (console.head != console.told) {
        __atomic_store_n(&console.rings->out_head, console.head, __ATOMIC_RELEASE);
        console.told = console.head;
        driver_signal();
    }
}

// True: there are fewer than `limit` bytes in the ring. Else the driver signals when it is so.
static bool is_below(uint32_t limit) {
    if (used() < limit || driver_is_gone()) {
        return true;
    }
    __atomic_store_n(&console.rings->room_wanted, limit, __ATOMIC_RELEASE);
    console_flush();
    driver_signal();
    return used() < limit;
}

bool console_has_room(void) {
    return is_below(CONSOLE_OUT_SIZE - GUEST_ROOM + 1);
}

// The bits that it takes may have told of something else, too: the main loop gets them again.
static void wait_below(uint32_t limit) {
    const uint64_t mask = MACHINE_EVENT_CONSOLE | MACHINE_EVENT_DRIVER;
    uint64_t bits = 0;
    uint64_t end = machine_tsc() + machine_ticks(STUCK_NS);
    uint64_t last = machine_tsc() + machine_ticks(LONG_NS); // of one that prints in circles
    driver_start();                                         // if nobody did yet
    for (uint32_t before = used(); !is_below(limit); before = used()) {
        uint64_t got = machine_wait(mask, end);
        if ((got & MACHINE_EVENT_DRIVER) != 0) {
            driver_revive();
        }
        bool is_stuck = (used() == before && machine_tsc() >= end) || machine_tsc() >= last;
        if (is_stuck) {
            driver_unstick();
            last = machine_tsc() + machine_ticks(LONG_NS);
        }
        if (is_stuck || used() != before) {
            end = machine_tsc() + machine_ticks(STUCK_NS);
        }
        bits |= got;
    }
    if (bits != 0) {
        (void)sys_event_signal(machine.event, bits);
    }
}

void console_drain(void) {
    console_flush();
    wait_below(1);
}

// For what must not be torn: a line that waits for room in its middle would be open meanwhile.
static void make_room(size_t count) {
    if (CONSOLE_OUT_SIZE - used() < count) {
        wait_below(CONSOLE_OUT_SIZE - (uint32_t)count + 1);
    }
}

// At most CONSOLE_OUT_SIZE bytes.
static void put(const char *bytes, size_t count) {
    uint32_t at = console.head % CONSOLE_OUT_SIZE;
    size_t first = count < CONSOLE_OUT_SIZE - at ? count : CONSOLE_OUT_SIZE - at;
    make_room(count);
    memcpy(&console.rings->out[at], bytes, first);
    if (first < count) {
        memcpy(console.rings->out, bytes + first, count - first);
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
    make_room(LINE_ROOM);
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
    make_room(LINE_ROOM);
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

void console_print(const char *format, ...) {
    static char text[PRINT_MAX]; // as above
    const char *at = text;
    va_list arguments;
    va_start(arguments, format);
    fmt_format_va(text, sizeof(text), format, arguments);
    va_end(arguments);
    for (const char *newline; (newline = strchr(at, '\n')) != NULL; at = newline + 1) {
        put_printable(at, (size_t)(newline - at));
        put_newline();
    }
    put_printable(at, strlen(at));
}

size_t console_read(uint8_t *bytes, size_t max) {
    uint32_t head = __atomic_load_n(&console.rings->in_head, __ATOMIC_ACQUIRE);
    uint32_t there = head - console.in_position;
    uint32_t before = console.in_position;
    size_t count = 0;
    if (there > CONSOLE_IN_SIZE) { // of no honest driver
        console.in_position = head;
        there = 0;
    }
    for (; count < max && count < there; count++) {
        bytes[count] = console.rings->in[console.in_position++ % CONSOLE_IN_SIZE];
    }
    // In this order: who found the ring full with the old tail has put in all that made it so.
    __atomic_store_n(&console.rings->in_tail, console.in_position, __ATOMIC_SEQ_CST);
    head = __atomic_load_n(&console.rings->in_head, __ATOMIC_SEQ_CST);
    if (head - before >= CONSOLE_IN_SIZE) { // it waits for room
        driver_signal();
    }
    return count;
}

bool console_has_said(void) {
    bool has_said = console.has_said;
    console.has_said = false;
    return has_said;
}

const struct backlog *console_log(void) {
    return &console.log;
}
