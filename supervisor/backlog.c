// SPDX-License-Identifier: Apache-2.0
// The backlog: byte number n stands at bytes[n % BACKLOG_SIZE].
#include "supervisor/backlog.h"

#include "lib/string.h"

#include <stdbool.h>

#define NEWLINE "\r\n"

void backlog_add(struct backlog *backlog, const char *bytes, size_t count) {
    while (count > 0) {
        size_t at = (size_t)(backlog->added % BACKLOG_SIZE);
        size_t piece = count < BACKLOG_SIZE - at ? count : BACKLOG_SIZE - at;
        memcpy(&backlog->bytes[at], bytes, piece);
        backlog->added += piece;
        bytes += piece;
        count -= piece;
    }
    if (backlog->added - backlog->dropped > BACKLOG_SIZE) {
        backlog->dropped = backlog->added - BACKLOG_SIZE;
    }
}

static void drop_line(struct backlog *backlog) {
    size_t count;
    const char *text = backlog_peek(backlog, 0, &count), *end = NULL;
    while (text != NULL && end == NULL) {
        end = memchr(text, '\n', count);
        backlog_drop(backlog, end != NULL ? (size_t)(end - text) + 1 : count);
        text = backlog_peek(backlog, 0, &count);
    }
}

void backlog_add_line(struct backlog *backlog, const char *before, const char *text) {
    size_t size = strlen(before) + strlen(text) + strlen(NEWLINE);
    while (backlog->dropped < backlog->added &&
           backlog->added - backlog->dropped + size > BACKLOG_SIZE) {
        drop_line(backlog);
    }
    backlog_add(backlog, before, strlen(before));
    backlog_add(backlog, text, strlen(text));
    backlog_add(backlog, NEWLINE, strlen(NEWLINE));
}

const char *backlog_peek(const struct backlog *backlog, size_t skip, size_t *count) {
    uint64_t first = backlog->dropped + skip;
    *count = 0;
    if (first >= backlog->added) {
        return NULL;
    }
    size_t at = (size_t)(first % BACKLOG_SIZE);
    size_t left = (size_t)(backlog->added - first);
    *count = left < BACKLOG_SIZE - at ? left : BACKLOG_SIZE - at;
    return &backlog->bytes[at];
}

void backlog_drop(struct backlog *backlog, size_t count) {
    uint64_t left = backlog->added - backlog->dropped;
    backlog->dropped += count < left ? count : left;
}
