// SPDX-License-Identifier: Apache-2.0
// A line is made printable before it is kept. What a VMM has chosen stands behind "says: "
// on the console, and behind QUOTE in what is kept: neither can be taken for what the supervisor
// found out itself.
#include "supervisor/reports.h"

#include "supervisor/console.h"
#include "supervisor/line.h"
#include "supervisor/machine.h"

#define QUOTE "| "
// Of what becomes \xNN the end is left out: it is no work for nothing.
#define PRINTABLE_MAX VMM_MESSAGE_SIZE

void reports_begin(struct reports *reports) {
    reports->credit = REPORTS_BURST;
    reports->dump_credit = REPORTS_DUMP_LINES;
    reports->credited = machine_tsc();
    reports->is_muted = false;
}

void reports_open(struct reports *reports, struct vmm_reports *shared) {
    ring_reader_open(&reports->ring, shared->ring, VMM_REPORTS_RING, &shared->head, &shared->tail);
}

// A VMM puts in whole messages; a part of one is the nonsense of one that is hostile.
bool reports_take(struct reports *reports, struct vmm_message *message) {
    uint32_t count = ring_read(&reports->ring, (uint8_t *)message, sizeof(*message));
    message->text[sizeof(message->text) - 1] = '\0';
    return count == sizeof(*message);
}

static void keep(struct reports *reports, const char *before, const char *text) {
    static char printable[PRINTABLE_MAX];
    line_sanitize(printable, sizeof(printable), text, VMM_MESSAGE_SIZE);
    backlog_add_line(&reports->kept, before, printable);
}

void reports_note(struct reports *reports, const char *text) {
    keep(reports, "", text);
}

static void count_credit(struct reports *reports) {
    uint64_t seconds = (machine_tsc() - reports->credited) / machine.tsc_hz;
    if (seconds >= REPORTS_BURST - reports->credit) {
        reports->credit = REPORTS_BURST;
        reports->is_muted = false;
        reports->credited = machine_tsc();
        return;
    }
    reports->credit += (uint32_t)seconds;
    reports->credited += seconds * machine.tsc_hz;
}

void reports_log(struct reports *reports, const char *name, const char *text) {
    keep(reports, QUOTE, text);
    count_credit(reports);
    if (reports->credit > 0) {
        reports->credit--;
        console_say("vm %s says: %s", name, text);
    } else if (!reports->is_muted) {
        reports->is_muted = true;
        console_say("vm %s: says too much: its further lines are only kept, for \"dump %s\"", name,
                    name);
    }
}

void reports_dump(struct reports *reports, const char *name, const char *text) {
    keep(reports, QUOTE, text);
    if (console_is_batch() && reports->dump_credit > 0) {
        reports->dump_credit--;
        console_say("vm %s says: %s", name, text);
    }
}

void reports_print(const struct reports *reports, const char *name) {
    size_t skip = 0;
    size_t count;
    const char *text = backlog_peek(&reports->kept, 0, &count);
    if (text == NULL) {
        console_print("%s has left nothing\n", name);
    }
    while (text != NULL) {
        console_raw(text, count);
        skip += count;
        text = backlog_peek(&reports->kept, skip, &count);
    }
}
