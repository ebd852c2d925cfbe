// SPDX-License-Identifier: Apache-2.0
// The supervisor's time as the prey: what each signal, each byte and each message makes it do is
// not charged to who wants it. For `seconds` of the TSC, by the words
//   signals   its bit of the supervisor's event, without a pause
//   foreign   all bits of the event, of which the kernel lets no other pass: each call is refused
//   reports   messages, as many as the channel holds
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
    struct vmm_console *console = map_rings();
    uint32_t begin = console->out_head;
    message.type = VMM_MESSAGE_DUMP;
    memset(message.text, '\x1b', sizeof(message.text) - 1);
    while (wall_tsc() < end) {
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
            (void)sys_channel_send(wall_start->report, &message, sizeof(message));
    }
    if (has_prints) { // the ring is as its writer left it
        while (__atomic_load_n(&console->out_tail, __ATOMIC_ACQUIRE) != console->out_head)
            wall_nap(10000);
        wall_resume_lines();
        say("");
    }
    CHECK(wall_tsc() >= end, "no time has passed");
}
