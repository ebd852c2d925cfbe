// SPDX-License-Identifier: Apache-2.0
// The commands of the hypervisor's own console: their table, and how a typed line becomes one of them.
// What they do stands in shell.c; docs/console.md is their manual.
#pragma once

#include <stddef.h>

#define COMMAND_ARGUMENT_MAX 31u // characters: a VM's name

enum command_id {
    COMMAND_HELP = 0,
    COMMAND_VM,
    COMMAND_FOCUS,
    COMMAND_START,
    COMMAND_POWER_BUTTON,
    COMMAND_END,
    COMMAND_INFO,
    COMMAND_LOG,
    COMMAND_POWEROFF,
    COMMAND_RESET,
    COMMAND_COUNT,
    // What else a line can be.
    COMMAND_EMPTY,
    COMMAND_UNKNOWN,
    COMMAND_LACKS_ARGUMENT,
    COMMAND_EXCESS_ARGUMENT,
};

struct command {
    const char *word;
    const char *argument; // what it wants, for the help; "": nothing
    const char *help;
};

struct command_line {
    enum command_id id;
    char argument[COMMAND_ARGUMENT_MAX + 1]; // cut to fit; "": none
};

extern const struct command command_table[COMMAND_COUNT];

// Reads a line: a word of the table and, when it wants one, an argument, between blanks.
struct command_line command_parse(const char *line);
