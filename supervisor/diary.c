// SPDX-License-Identifier: Apache-2.0
// Diaries. A line is made printable before it is kept. What a VMM has chosen stands behind "says: "
// on the console, and behind QUOTE in what is kept: neither can be taken for what the supervisor
// found out itself.
#include "supervisor/diary.h"

#include "include/abi.h"
#include "supervisor/console.h"
#include "supervisor/line.h"
#include "supervisor/machine.h"

#define QUOTE "| "
#define PRINTABLE_MAX                                                                              \
    ABI_MESSAGE_MAX // of what becomes \xNN the end is left out: it is no work for nothing

void diary_begin(struct diary *diary) {
    diary->credit = DIARY_BURST;
    diary->dump_credit = DIARY_DUMP_LINES;
    diary->credited = machine_tsc();
    diary->is_muted = false;
}

static void keep(struct diary *diary, const char *before, const char *text) {
    static char printable[PRINTABLE_MAX];
    line_sanitize(printable, sizeof(printable), text, ABI_MESSAGE_MAX);
    backlog_add_line(&diary->kept, before, printable);
}

void diary_note(struct diary *diary, const char *text) {
    keep(diary, "", text);
}

static void count_credit(struct diary *diary) {
    uint64_t seconds = (machine_tsc() - diary->credited) / machine.tsc_hz;
    if (seconds >= DIARY_BURST - diary->credit) {
        diary->credit = DIARY_BURST;
        diary->is_muted = false;
        diary->credited = machine_tsc();
        return;
    }
    diary->credit += (uint32_t)seconds;
    diary->credited += seconds * machine.tsc_hz;
}

void diary_log(struct diary *diary, const char *name, const char *text) {
    keep(diary, QUOTE, text);
    count_credit(diary);
    if (diary->credit > 0) {
        diary->credit--;
        console_say("vm %s says: %s", name, text);
    } else if (!diary->is_muted) {
        diary->is_muted = true;
        console_say("vm %s: says too much: its further lines are only kept, for \"dump %s\"", name,
                    name);
    }
}

void diary_dump(struct diary *diary, const char *name, const char *text) {
    keep(diary, QUOTE, text);
    if (console_is_batch() && diary->dump_credit > 0) {
        diary->dump_credit--;
        console_say("vm %s says: %s", name, text);
    }
}

void diary_print(const struct diary *diary, const char *name) {
    size_t skip = 0;
    size_t count;
    const char *text = backlog_peek(&diary->kept, 0, &count);
    if (text == NULL) {
        console_print("%s has left nothing\n", name);
    }
    while (text != NULL) {
        console_raw(text, count);
        skip += count;
        text = backlog_peek(&diary->kept, skip, &count);
    }
}
