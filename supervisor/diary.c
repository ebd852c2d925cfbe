// SPDX-License-Identifier: Apache-2.0
// Diaries. A line is made printable before it is kept.
#include "supervisor/diary.h"

#include "include/abi.h"
#include "lib/string.h"
#include "supervisor/console.h"
#include "supervisor/line.h"
#include "supervisor/machine.h"

#define PRINTABLE_MAX                                                                              \
    ABI_MESSAGE_MAX // of what becomes \xNN the end is left out: it is no work for nothing

void diary_begin(struct diary *diary) {
    diary->credit = DIARY_BURST;
    diary->dump_credit = DIARY_DUMP_LINES;
    diary->credited = machine_tsc();
    diary->is_muted = false;
}

void diary_note(struct diary *diary, const char *text) {
    static char printable[PRINTABLE_MAX];
    line_sanitize(printable, sizeof(printable), text, ABI_MESSAGE_MAX);
    backlog_add(&diary->kept, printable, strlen(printable));
    backlog_add(&diary->kept, "\r\n", 2);
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
    diary_note(diary, text);
    count_credit(diary);
    if (diary->credit > 0) {
        diary->credit--;
        console_say("vm %s: %s", name, text);
    } else if (!diary->is_muted) {
        diary->is_muted = true;
        console_say("vm %s: says too much: its further lines are only kept, for \"dump %s\"", name,
                    name);
    }
}

void diary_dump(struct diary *diary, const char *name, const char *text) {
    diary_note(diary, text);
    if (console_is_batch() && diary->dump_credit > 0) {
        diary->dump_credit--;
        console_say("vm %s: %s", name, text);
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
