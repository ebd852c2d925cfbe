// SPDX-License-Identifier: Apache-2.0
// The command table and its parser.
#include "supervisor/command.h"

#include "lib/string.h"

#include <stdbool.h>

const struct command command_table[COMMAND_COUNT] = {
    [COMMAND_HELP] = {"help", "", "this help"},
    [COMMAND_VM] = {"vm", "", "all VMs: number, name, vCPUs, memory, state"},
    [COMMAND_FOCUS] = {"focus", "NAME", "give the terminal to a VM"},
    [COMMAND_START] = {"start", "NAME", "start a VM that is not running"},
    [COMMAND_POWER_BUTTON] = {"power-button", "NAME", "press a VM's power button"},
    [COMMAND_END] = {"end", "NAME", "end a VM now, as if its power were cut"},
    [COMMAND_INFO] = {"info", "", "this machine: CPUs, memory, features"},
    [COMMAND_LOG] = {"log", "", "the hypervisor's last lines"},
    [COMMAND_POWEROFF] = {"poweroff", "", "end all VMs and switch the machine off"},
    [COMMAND_RESET] = {"reset", "", "end all VMs and reset the machine"},
};

static const char *skip_blanks(const char *at) {
    while (*at == ' ' || *at == '\t') {
        at++;
    }
    return at;
}

static size_t word_length(const char *at) {
    size_t length = 0;
    while (at[length] != '\0' && at[length] != ' ' && at[length] != '\t') {
        length++;
    }
    return length;
}

static enum command_id find(const char *word, size_t length) {
    for (unsigned int i = 0; i < COMMAND_COUNT; i++) {
        const char *known = command_table[i].word;
        if (strlen(known) == length && memcmp(known, word, length) == 0) {
            return (enum command_id)i;
        }
    }
    return COMMAND_UNKNOWN;
}

// Does what stands behind the word suit it?
static enum command_id check_argument(enum command_id id, const char *argument) {
    bool wants_one = command_table[id].argument[0] != '\0';
    const char *rest = wants_one ? skip_blanks(argument + word_length(argument)) : argument;
    if (wants_one && *argument == '\0') {
        return COMMAND_LACKS_ARGUMENT;
    }
    return *rest != '\0' ? COMMAND_EXCESS_ARGUMENT : id;
}

struct command_line command_parse(const char *line) {
    struct command_line parsed = {.id = COMMAND_EMPTY};
    const char *word = skip_blanks(line);
    size_t length = word_length(word);
    if (length == 0) {
        return parsed;
    }
    const char *argument = skip_blanks(word + length);
    parsed.id = find(word, length);
    if (parsed.id != COMMAND_UNKNOWN) {
        parsed.id = check_argument(parsed.id, argument);
    }
    length = word_length(argument);
    memcpy(parsed.argument, argument,
           length < COMMAND_ARGUMENT_MAX ? length : COMMAND_ARGUMENT_MAX);
    return parsed;
}
