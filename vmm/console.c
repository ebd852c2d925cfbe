// SPDX-License-Identifier: Apache-2.0
// The VM's serial console; the interface is told in console.h.
#include "vmm/console.h"

#include "lib/string.h"

void console_open(struct console *console, struct vmm_console *shared) {
    memset(console, 0, sizeof(*console));
    ring_writer_open(&console->out, shared->out, VMM_CONSOLE_OUT, &shared->out_head,
                     &shared->out_tail);
    ring_reader_open(&console->in, shared->in, VMM_CONSOLE_IN, &shared->in_head, &shared->in_tail);
}

static void put_aside(struct console *console, const uint8_t *data, size_t count) {
    size_t room = CONSOLE_BACKLOG - console->backlog_count;
    if (count > room)
        count = room;
    memcpy(console->backlog + console->backlog_count, data, count);
    console->backlog_count += (uint32_t)count;
}

enum console_tell console_put(struct console *console, const uint8_t *data, size_t count) {
    size_t taken = 0;
    if (!console_is_stalled(console))
        taken = ring_write(&console->out, data, (uint32_t)count);
    if (taken < count)
        put_aside(console, data + taken, count - taken);
    bool is_first = console->untold == 0;
    console->untold += (uint32_t)count;
    if (taken < count || console->untold >= CONSOLE_CHUNK || memchr(data, '\n', count) != NULL)
        return CONSOLE_TELL_NOW;
    return is_first ? CONSOLE_TELL_LATER : CONSOLE_TELL_NOBODY;
}

bool console_flush(struct console *console) {
    uint32_t taken = ring_write(&console->out, console->backlog, console->backlog_count);
    console->backlog_count -= taken;
    memmove(console->backlog, console->backlog + taken, console->backlog_count);
    return !console_is_stalled(console);
}

bool console_has_input(const struct console *console) {
    return ring_reader_count(&console->in) > 0;
}

size_t console_get(struct console *console, uint8_t *data, size_t max, bool *was_full) {
    *was_full = ring_reader_count(&console->in) == VMM_CONSOLE_IN;
    return ring_read(&console->in, data, (uint32_t)max);
}
