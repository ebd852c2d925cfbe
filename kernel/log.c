// SPDX-License-Identifier: Apache-2.0
// See kernel/log.h.
#include "kernel/log.h"

#include "arch/cpu.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include <stdarg.h>

#define PREFIX      "[bulkhead] "
#define LINE_MAX    256u
#define HISTORY_MAX 8192u

bool log_is_batch;
bool (*log_power_off)(void);
char log_mark[LOG_MARK_MAX + 2];

static log_sink_t sink;
static char history[HISTORY_MAX]; // oldest first; when it is full, later lines are not kept
static size_t history_size;       // atomic: lines of several CPUs come side by side

static void log_write(const char *text, size_t size) {
    size_t at = __atomic_load_n(&history_size, __ATOMIC_RELAXED);
    while (size <= HISTORY_MAX - at &&
           !__atomic_compare_exchange_n(&history_size, &at, at + size, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
    }
    if (size <= HISTORY_MAX - at)
        memcpy(history + at, text, size);
    if (sink != NULL)
        sink(text, size);
}

void log_line(const char *format, ...) {
    char line[LINE_MAX] = PREFIX;
    const size_t prefix = sizeof(PREFIX) - 1;
    va_list arguments;
    va_start(arguments, format);
    size_t size = fmt_format_va(line + prefix, LINE_MAX - prefix - 1, format, arguments);
    va_end(arguments);
    size = MIN(size + prefix, LINE_MAX - 2);
    for (size_t i = prefix; i < size; i++)
        if (line[i] < ' ' || line[i] > '~')
            line[i] = '?'; // of the firmware's names, say
    line[size] = '\n';
    log_write(line, size + 1);
}

void log_set_sink(log_sink_t new_sink) {
    sink = new_sink;
    log_replay(new_sink);
}

void log_replay(log_sink_t to) {
    for (size_t i = 0, start = 0; i < history_size; i++) {
        if (history[i] != '\n')
            continue;
        to(history + start, i + 1 - start);
        start = i + 1;
    }
}

void log_set_mark(const char *cmdline) {
    size_t size;
    const char *key = cmdline_find(cmdline, "verdict=", &size);
    if (key == NULL || size == 0 || size > LOG_MARK_MAX)
        return;
    memcpy(log_mark, key, size);
    log_mark[size] = ' ';
}

const char *cmdline_find(const char *cmdline, const char *start, size_t *size) {
    size_t skip = strlen(start);
    for (const char *at = cmdline; *at != '\0';) {
        const char *end = strchr(at, ' ');
        size_t length = end != NULL ? (size_t)(end - at) : strlen(at);
        *size = length - skip;
        if (length >= skip && memcmp(at, start, skip) == 0)
            return at + skip;
        at += length + (end != NULL ? 1 : 0);
    }
    return NULL;
}

bool cmdline_has(const char *cmdline, const char *word) {
    size_t rest = 1;
    while (rest != 0 && (cmdline = cmdline_find(cmdline, word, &rest)) != NULL)
        cmdline += rest;
    return cmdline != NULL;
}
