// SPDX-License-Identifier: Apache-2.0
// The commands of the hypervisor's own console: their table, and how a typed line becomes one of
// them. What they do stands in shell.c; docs/console.md is their manual.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMAND_ARGUMENT_MAX 31u // characters: a VM's name
#define COMMAND_ARGUMENTS    2u

enum command_id {
    COMMAND_HELP = 0,
    COMMAND_VM,
    COMMAND_VM_LIST,
    COMMAND_VM_TOP,
    COMMAND_VM_EXITS,
    COMMAND_FOCUS,
    COMMAND_START,
    COMMAND_POWER_BUTTON,
    COMMAND_END,
    COMMAND_DUMP,
    COMMAND_WEIGHT,
    COMMAND_CAP,
    COMMAND_INFO,
    COMMAND_LOG,
    COMMAND_RESTART_CONSOLE,
    COMMAND_AUDIT,
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
    const char *words;     // with one blank between two
    const char *arguments; // what it wants, likewise; "": nothing
    const char *help;
};

struct command_line {
    enum command_id id;
    enum command_id wanted; // id LACKS or EXCESS: the command that was meant
    char argument[COMMAND_ARGUMENTS][COMMAND_ARGUMENT_MAX + 1]; // cut to fit; "": none
};

extern const struct command command_table[COMMAND_COUNT];

// Reads a line: the words of a row of the table, the most that fit, and the arguments it wants,
// between blanks.
struct command_line command_parse(const char *line);

// A decimal number up to `max`. False: it is none.
bool command_number(const char *text, uint32_t max, uint32_t *number);
