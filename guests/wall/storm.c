// SPDX-License-Identifier: Apache-2.0
// The supervisor's time as the prey: what each signal, each byte and each message makes it do
// has to be charged to who wants it. For `seconds` of the TSC, by the words
//   signals   its bit of the supervisor's event, without a pause
//   foreign   all bits of the event, of which the kernel lets no other pass: each call is refused
//   reports   messages, as many as their ring holds
//   threads   made in bursts, each of which ends at once: more stacks than the kernel keeps
//   prints    a console ring that is always full of `text=`: 0 letters without a line's end, 1
//             newlines, 2 escapes
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define RINGS 0x4000000000ULL // a second mapping of them

static struct vmm_message message;

static struct vmm_console *map_rings(void) {
    must(sys_process_map(0, wall_start->console, RINGS, 0,
                         align_up(sizeof(struct vmm_console), ABI_PAGE),
                         ABI_RIGHT_READ | ABI_RIGHT_WRITE),
         "the rings");
    return (struct vmm_console *)RINGS;
}

#define BURST 32u
static uint8_t thread_stack[4096] __attribute__((aligned(16))); // nobody comes back to it

_Noreturn static void thread_end(uint64_t event) {
    if (event != 0)
        (void)sys_event_signal((uint32_t)event, 1);
    sys_thread_end();
}

// Waits for the last of them only, so that it is not sleep that costs.
static uint64_t make_threads(void) {
    static uint32_t event;
    if (event == 0)
        event = must(sys_event_create(wall_start->quota), "an event");
    uint64_t top = (uintptr_t)thread_stack + sizeof(thread_stack) - 8, count = 0, bits;
    while (count < BURST && sys_thread_create(0, (uintptr_t)thread_end, top,
                                              count == BURST - 1 ? event : 0, ABI_CPU_ANY) >= 0)
        count++;
    (void)sys_event_wait(event, UINT64_MAX, wall_tsc() + wall_ticks(1000), &bits);
    return count;
}

static void signal_foreign(void) {
    uint64_t own = wall_start->supervisor_mask;
    int64_t result = sys_event_signal(wall_start->supervisor_event, UINT64_MAX);
    CHECK(result == -ABI_ERROR_RIGHTS, "all bits could be signalled: %ld", (long)result);
    result = sys_event_signal(wall_start->supervisor_event, own | own << 1 | own >> 1);
    CHECK(result == -ABI_ERROR_RIGHTS, "a neighbour's bits could be signalled: %ld", (long)result);
}

void wall_main(void) {
    static const char texts[] = {'x', '\n', '\x1b'};
    uint64_t end = wall_tsc() + wall_ticks(wall_number("seconds", 1) * 1000000);
    bool has_signals = wall_has("signals"), has_foreign = wall_has("foreign");
    bool has_reports = wall_has("reports"), has_prints = wall_has("prints");
    bool has_threads = wall_has("threads");
    uint64_t threads = 0, patience = end + wall_ticks(WALL_PATIENCE_US);
    struct vmm_console *console = map_rings();
    uint32_t begin = console->out_head;
    message.type = VMM_MESSAGE_DUMP;
    memset(message.text, '\x1b', sizeof(message.text) - 1);
    // Others may run for all of the time; two bursts there are.
    while (wall_tsc() < end || (has_threads && threads <= BURST && wall_tsc() < patience)) {
        if (has_prints && console->out_head == begin)
            memset(console->out, texts[wall_number("text", 0) % 3], VMM_CONSOLE_OUT);
        if (has_prints)
            __atomic_store_n(&console->out_head, console->out_tail + VMM_CONSOLE_OUT,
                             __ATOMIC_RELEASE);
        if (has_foreign)
            signal_foreign();
        if (has_signals)
            (void)sys_event_signal(wall_start->supervisor_event, wall_start->supervisor_mask);
        if (has_reports)
            (void)wall_report(&message);
        if (has_threads)
            threads += make_threads();
    }
    CHECK(!has_threads || threads > BURST, "%lu threads were made", threads);
    if (has_prints) { // the ring is as its writer left it
        while (__atomic_load_n(&console->out_tail, __ATOMIC_ACQUIRE) != console->out_head)
            wall_nap(10000);
        wall_resume_lines();
        say("");
    }
    CHECK(wall_tsc() >= end, "no time has passed");
}
