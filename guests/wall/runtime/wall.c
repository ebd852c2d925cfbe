// SPDX-License-Identifier: Apache-2.0
// The interface is told in wall.h: command line, lines, checks and time.
#include "runtime/wall.h"

#include "lib/fmt.h"
#include "lib/ring.h"
#include "lib/string.h"
#include "lib/syscall.h"

#define READ_WRITE (ABI_RIGHT_READ | ABI_RIGHT_WRITE)
#define CONSOLE_AT 0x800000000ULL
#define REPORTS_AT 0x810000000ULL
#define AREAS_AT   0x1000000000ULL
#define AREA_GAP   0x10000000ULL
#define SHOWN_MAX  10u // failures
#define LINE_MAX   200u
#define ROUNDS     1u
#define US_PER_S   1000000u

int main(void *start);

const struct vmm_start *wall_start;
uint64_t wall_seed, wall_rounds;

static struct ring_writer out, messages;
static uint32_t nap_event;
static uint32_t checks, failures;

// ---- command line -------------------------------------------------------------------------------

// Behind `key`, which begins a word; NULL: it is not there.
static const char *find(const char *key) {
    size_t length = strlen(key);
    for (const char *at = wall_start->cmdline; *at != '\0'; at++) {
        bool is_begin = at == wall_start->cmdline || at[-1] == ' ';
        if (is_begin && strncmp(at, key, length) == 0)
            return at + length;
    }
    return NULL;
}

uint64_t wall_number(const char *key, uint64_t otherwise) {
    const char *at = find(key);
    uint64_t value = 0;
    if (at == NULL || *at != '=')
        return otherwise;
    for (at++; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

bool wall_has(const char *word) {
    const char *at = find(word);
    return at != NULL && (*at == ' ' || *at == '\0');
}

// ---- lines --------------------------------------------------------------------------------------

static void tell(void) {
    (void)sys_event_signal(wall_start->supervisor_event, wall_start->supervisor_mask);
}

void wall_put(const char *text, size_t size) {
    while (size > 0) {
        uint32_t taken = ring_write(&out, (const uint8_t *)text, (uint32_t)size);
        text += taken;
        size -= taken;
        tell();
        if (size > 0)
            wall_nap(1000);
    }
}

static void say_va(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));
static void say_va(const char *format, va_list arguments) {
    char line[LINE_MAX];
    size_t size = fmt_format_va(line, sizeof(line) - 1, format, arguments);
    size = MIN(size, sizeof(line) - 2);
    line[size] = '\n';
    wall_put(line, size + 1);
}

void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say_va(format, arguments);
    va_end(arguments);
}

void wall_resume_lines(void) {
    out.position = *out.head;
}

bool wall_report(const struct vmm_message *message) {
    if (ring_writer_room(&messages) < sizeof(*message))
        return false;
    (void)ring_write(&messages, (const uint8_t *)message, sizeof(*message));
    tell();
    return true;
}

struct vmm_reports *wall_reports(void) {
    return (struct vmm_reports *)REPORTS_AT;
}

// A head that the supervisor is far from: it reads a ring at the most, and is there.
void wall_resume_reports(void) {
    struct vmm_reports *shared = wall_reports();
    memset(shared->ring, 0xff, sizeof(shared->ring));
    messages.position = __atomic_load_n(&shared->tail, __ATOMIC_ACQUIRE) ^ 1u << 31;
    __atomic_store_n(&shared->head, messages.position, __ATOMIC_RELEASE);
    while (__atomic_load_n(&shared->tail, __ATOMIC_ACQUIRE) != messages.position) {
        tell();
        wall_nap(10000);
    }
}

void wall_check(bool is_good, const char *file, int line, const char *format, ...) {
    char what[LINE_MAX];
    va_list arguments;
    checks++;
    if (is_good || failures++ >= SHOWN_MAX)
        return;
    va_start(arguments, format);
    fmt_format_va(what, sizeof(what), format, arguments);
    va_end(arguments);
    say("FAIL %s:%d: %s", file, line, what);
}

_Noreturn static void end(enum vmm_end kind, uint32_t code, const char *text) {
    struct vmm_message message = {.type = VMM_MESSAGE_ENDED, .end = kind, .code = code};
    memcpy(message.text, text, MIN(strlen(text), sizeof(message.text) - 1));
    while (ring_writer_room(&out) < VMM_CONSOLE_OUT)
        wall_nap(1000);
    while (!wall_report(&message))
        wall_nap(1000);
    sys_process_exit(0);
}

uint32_t must(int64_t result, const char *what) {
    if (result < 0) {
        say("FAIL %s: error %ld", what, (long)-result);
        end(VMM_END_DEBUG_EXIT, 1, "");
    }
    return (uint32_t)result;
}

// ---- time ---------------------------------------------------------------------------------------

uint64_t wall_tsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

uint64_t wall_ticks(uint64_t microseconds) {
    return microseconds * (wall_start->tsc_hz / US_PER_S);
}

void wall_nap(uint64_t microseconds) {
    uint64_t bits;
    (void)sys_event_wait(nap_event, UINT64_MAX, wall_tsc() + wall_ticks(microseconds), &bits);
}

// ---- memory -------------------------------------------------------------------------------------

struct area area_make(uint64_t size) {
    static uint64_t count;
    uint64_t at = AREAS_AT + AREA_GAP * count++;
    struct area area = {must(sys_memory_create(wall_start->quota, size), "memory"), (uint8_t *)at,
                        size};
    must(sys_process_map(0, area.memory, at, 0, size, READ_WRITE), "mapping memory");
    return area;
}

int main(void *start) {
    wall_start = start;
    must(sys_process_map(0, wall_start->console, CONSOLE_AT, 0,
                         align_up(sizeof(struct vmm_console), ABI_PAGE), READ_WRITE),
         "the console");
    struct vmm_console *console = (struct vmm_console *)CONSOLE_AT;
    ring_writer_open(&out, console->out, VMM_CONSOLE_OUT, &console->out_head, &console->out_tail);
    must(sys_process_map(0, wall_start->reports, REPORTS_AT, 0, ABI_PAGE, READ_WRITE),
         "the reports");
    struct vmm_reports *reports = wall_reports();
    ring_writer_open(&messages, reports->ring, VMM_REPORTS_RING, &reports->head, &reports->tail);
    nap_event = must(sys_event_create(wall_start->quota), "an event");
    wall_seed = wall_number("seed", 1);
    wall_rounds = wall_number("rounds", ROUNDS);
    say("seed=%lu rounds=%lu", wall_seed, wall_rounds);
    wall_main();
    say(failures == 0 ? "PASS: %u checks" : "FAILED: %u of %u checks",
        failures == 0 ? checks : failures, checks);
    end(VMM_END_DEBUG_EXIT, failures != 0, "");
}
