// SPDX-License-Identifier: Apache-2.0
// The last few KiB of a text: what an unfocused VM printed, and the hypervisor's own log.
//
//   backlog_add      the oldest bytes give way
//   backlog_add_line the oldest lines give way, whole
//   backlog_peek, backlog_drop   from the oldest on, piece by piece
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BACKLOG_SIZE 8176u // with the two counts: 2 pages

struct backlog {
    uint64_t added;   // bytes ever
    uint64_t dropped; // bytes ever; added - dropped <= BACKLOG_SIZE
    char bytes[BACKLOG_SIZE];
};

void backlog_add(struct backlog *backlog, const char *bytes, size_t count);

// One line: `before`, `text` and a newline. In a backlog of nothing but such lines the first is
// never cut, so that the rest of what somebody else has chosen does not stand at the beginning of a
// line.
void backlog_add_line(struct backlog *backlog, const char *before, const char *text);

// The oldest bytes from `skip` on that lie in one piece; NULL with *count = 0 when there are none.
const char *backlog_peek(const struct backlog *backlog, size_t skip, size_t *count);

// Forgets the oldest `count` bytes, or all there are.
void backlog_drop(struct backlog *backlog, size_t count);
