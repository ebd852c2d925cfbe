// SPDX-License-Identifier: Apache-2.0
// Line assembly. Everything that a guest prints in batch mode passes through put_byte, which is the
// only place that decides what reaches the host's console.
#include "supervisor/line.h"

#include "lib/fmt.h"
#include "lib/string.h"

#define ESCAPED_MAX 4u // characters of "\xNN"

static bool is_plain(uint8_t byte) {
    return byte >= 0x20 && byte < 0x7f;
}

// Writes what stands for `byte` in the output. Returns the number of characters.
static size_t put_byte(char out[ESCAPED_MAX], uint8_t byte) {
    static const char digits[] = "0123456789abcdef";
    if (is_plain(byte) || byte == '\t') {
        out[0] = (char)byte;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = digits[byte >> 4];
    out[3] = digits[byte & 0xf];
    return ESCAPED_MAX;
}

void line_open(struct line *line, const char *name) {
    *line = (struct line){0};
    char prefix[LINE_PREFIX_MAX + 1];
    line->start = (uint32_t)fmt_format(prefix, sizeof(prefix), "[%s] ", name);
    memcpy(line->text, prefix, line->start);
    line->length = line->start;
}

bool line_add(struct line *line, uint8_t byte) {
    if (byte == '\r') {
        return false;
    }
    if (byte == '\n') {
        bool is_swallowed = line->is_continued && line->length == line->start;
        line->is_continued = false;
        return !is_swallowed;
    }
    line->length += (uint32_t)put_byte(&line->text[line->length], byte);
    line->is_continued = line->length > line->start + LINE_LENGTH_MAX - ESCAPED_MAX;
    return line->is_continued;
}

uint32_t line_take(struct line *line, const uint8_t *bytes, uint32_t count, bool *is_whole) {
    uint32_t taken = 0;
    *is_whole = false;
    while (taken < count && !*is_whole) {
        uint32_t length = line->length; // most bytes are plain, and cost next to nothing
        while (taken < count && length < line->start + LINE_LENGTH_MAX - ESCAPED_MAX &&
               is_plain(bytes[taken])) {
            line->text[length++] = (char)bytes[taken++];
        }
        line->length = length;
        if (taken < count) {
            *is_whole = line_add(line, bytes[taken++]);
        }
    }
    return taken;
}

bool line_is_partial(const struct line *line) {
    return line->length > line->start;
}

void line_clear(struct line *line) {
    line->length = line->start;
}

void line_sanitize(char *out, size_t size, const char *text, size_t max) {
    size_t used = 0;
    for (size_t i = 0; i < max && text[i] != '\0' && used + ESCAPED_MAX < size; i++) {
        used += put_byte(&out[used], (uint8_t)text[i]);
    }
    out[used] = '\0';
}
