// SPDX-License-Identifier: Apache-2.0
// The host's console: the ring of its driver (driver.h), into which whole pieces go.
//
//   console_open
//   console_say              a line of the hypervisor's own
//   console_guest_line       a line of a guest's, in batch mode
//   console_raw              bytes as they are, in interactive mode
//   console_reset_terminal   when the terminal gets another owner, and at the end
//   console_flush            once a turn of the main loop; never waits
//   console_drain            waits until everything is out
//   console_read             what was typed
//
// Guests put something in only while console_has_room(); the room beyond that is for the
// hypervisor's own lines, and if even that is full, console_say waits. So no guest can push out a
// line of ours, and a console that is slow slows down the guest that prints, by its ring being
// full, and nobody else. A line goes in whole, and out whole: in batch mode no line of the kernel's
// can come into it.
#pragma once

#include "supervisor/backlog.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes of a guest's output that console_has_room makes room for, however they expand.
#define CONSOLE_PIECE 256u

// `verdict`: the key that stands before each line of the hypervisor's own, and that no guest knows;
// "": none.
// False: no memory.
bool console_open(bool is_batch, const char *verdict);
bool console_is_batch(void);

// "[bulkhead] " and the text, made printable, as one line of its own; also into the log.
void console_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

// text[0, length) of a struct line, with its "[NAME] ", as one line.
void console_guest_line(const char *text, size_t length);

void console_raw(const char *bytes, size_t count);

// The same, of the VM that has the terminal.
void console_guest_raw(const char *bytes, size_t count);

// Takes back what such bytes may have made of the terminal, as far as terminals agree on it
// (docs/console.md).
void console_reset_terminal(void);

// A newline, unless the last byte was one.
void console_fresh_line(void);

// Text of the hypervisor's own console, with newlines as "\n". At most 1023 characters; the rest is
// left out.
void console_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

// May a guest put in a piece? If not, MACHINE_EVENT_CONSOLE will come when it is worth to ask
// again.
bool console_has_room(void);

// Bytes, modulo 2^32, that were ever put in, and that the driver has printed of them.
uint32_t console_position(void);
uint32_t console_printed(void);
// TSC ticks that the driver says it needed for that.
uint64_t console_spent(void);

// Tells the driver what was put in.
void console_flush(void);
void console_drain(void);

// Returns how many bytes were typed and fit into bytes[0, max).
size_t console_read(uint8_t *bytes, size_t max);

// Has console_say printed since this was last asked?
bool console_has_said(void);

// The hypervisor's own lines.
const struct backlog *console_log(void);
