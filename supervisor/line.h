// SPDX-License-Identifier: Apache-2.0
// One line of a guest's output, being assembled for the batch console behind "[NAME] ". What comes
// out holds only printable ASCII and tabs, and never a newline: it can not pass for a line of the
// hypervisor or of another VM.
//
//   line_open                    once, and when its VM starts again
//   line_take, again and again; when it says that the line is whole: print line->text, then
//   line_clear
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_LENGTH_MAX 448u // characters of text
#define LINE_PREFIX_MAX 34u  // of "[NAME] "

struct line {
    uint32_t start;    // of the text, behind the prefix
    uint32_t length;   // with the prefix
    bool is_continued; // the line before was cut off: its own newline is still to come
    char text[LINE_PREFIX_MAX + LINE_LENGTH_MAX];
};

// An empty line behind "[NAME] "; a name of up to LINE_PREFIX_MAX - 3 characters.
void line_open(struct line *line, const char *name);

// Takes one byte of the guest's. True: text[0, length) is a line to be printed now.
//   newline                  ends the line; one right behind a cut is swallowed
//   carriage return          is dropped
//   other unprintable bytes  become \xNN
//   a full line              is cut
bool line_add(struct line *line, uint8_t byte);

// The same for bytes[0, count), up to the one that makes the line whole. Returns how many were
// taken.
uint32_t line_take(struct line *line, const uint8_t *bytes, uint32_t count, bool *is_whole);

// Is there text that no newline has ended yet?
bool line_is_partial(const struct line *line);

// Starts the next line, after line_add returned true or the VM ended.
void line_clear(struct line *line);

// The same for a text that must fit in one line: copies `text` (at most `max` bytes, up to its NUL)
// to `out` with everything unprintable as \xNN, newlines included. Always NUL-terminated.
void line_sanitize(char *out, size_t size, const char *text, size_t max);
