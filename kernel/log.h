// SPDX-License-Identifier: Apache-2.0
// The kernel's side of arch/log.h: where its lines go.
#pragma once

#include "arch/log.h"

// Where lines go: each is one call with its bytes, a newline at the end. Set by the console driver;
// lines said before are kept and handed over then.
typedef void (*log_sink_t)(const char *text, size_t size);
void log_set_sink(log_sink_t sink);
// Lines since boot, oldest first, as far as they are kept: for sinks that come later.
void log_replay(log_sink_t sink);

// From the command line `console=batch`: nobody sits at the machine.
extern bool log_is_batch;
// From `verdict=KEY`: the key and a blank, for the console to print before each line; "": none. No
// guest knows it, so a line behind it is the hypervisor's own, wherever it begins.
#define LOG_MARK_MAX 32u // characters of the key
extern char log_mark[LOG_MARK_MAX + 2];
void log_set_mark(const char *cmdline);
// How the machine is turned off, for halt_machine and panic in batch mode. NULL: not known.
extern bool (*log_power_off)(void);
// Tells the console that a panic has begun. NULL: no console yet.
extern void (*log_panic_mode)(void);

// What follows `start` in the first word that begins with it, words standing between spaces, and
// its size; NULL: none.
const char *cmdline_find(const char *cmdline, const char *start, size_t *size);
// True when `word` stands in the command line, between spaces.
bool cmdline_has(const char *cmdline, const char *word);
