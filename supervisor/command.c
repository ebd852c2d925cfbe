// SPDX-License-Identifier: Apache-2.0
// The command table and its parser.
#include "supervisor/command.h"

#include "lib/string.h"

const struct command command_table[COMMAND_COUNT] = {
    [COMMAND_HELP] = {"help", "", "this help"},
    [COMMAND_VM] = {"vm", "", "all VMs: number, name, vCPUs, memory, state"},
    [COMMAND_VM_LIST] = {"vm list", "", "the same"},
    [COMMAND_VM_TOP] = {"vm top", "", "who uses the CPUs, since this was last asked"},
    [COMMAND_VM_EXITS] = {"vm exits", "NAME", "a VM's exits by reason, since the last \"vm top\""},
    [COMMAND_FOCUS] = {"focus", "NAME", "give the terminal to a VM"},
    [COMMAND_START] = {"start", "NAME", "start a VM that is not running"},
    [COMMAND_POWER_BUTTON] = {"power-button", "NAME", "press a VM's power button"},
    [COMMAND_END] = {"end", "NAME", "end a VM now, as if its power were cut"},
    [COMMAND_DUMP] = {"dump", "NAME", "what a VM's monitor last said: crash dumps, its ends"},
    [COMMAND_WEIGHT] = {"weight", "NAME N", "change a VM's weight, 1 to 10000"},
    [COMMAND_CAP] = {"cap", "NAME N", "bound a VM to N percent of one CPU; 0: no bound"},
    [COMMAND_INFO] = {"info", "", "this machine: CPUs, memory, features"},
    [COMMAND_LOG] = {"log", "", "the hypervisor's last lines"},
    [COMMAND_RESTART_CONSOLE] = {"restart-console", "", "start the console's driver anew"},
    [COMMAND_AUDIT] = {"audit", "", "prove for each page of memory that it has one owner"},
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

static uint32_t count_words(const char *text) {
    uint32_t count = 0;
    for (text = skip_blanks(text); *text != '\0'; count++) {
        text = skip_blanks(text + word_length(text));
    }
    return count;
}

// What stands behind `words` in the line; NULL: it begins with others.
static const char *skip_words(const char *line, const char *words) {
    while (*words != '\0') {
        size_t length = word_length(words);
        if (word_length(line) != length || memcmp(line, words, length) != 0) {
            return NULL;
        }
        words = skip_blanks(words + length);
        line = skip_blanks(line + length);
    }
    return line;
}

// The row with the most words that the line begins with; `rest` is what stands behind them.
static enum command_id find(const char *line, const char **rest) {
    enum command_id found = COMMAND_UNKNOWN;
    uint32_t most = 0;
    for (unsigned int i = 0; i < COMMAND_COUNT; i++) {
        const char *behind = skip_words(line, command_table[i].words);
        uint32_t count = count_words(command_table[i].words);
        if (behind != NULL && count > most) {
            most = count;
            found = (enum command_id)i;
            *rest = behind;
        }
    }
    return found;
}

struct command_line command_parse(const char *line) {
    struct command_line parsed = {.id = COMMAND_EMPTY};
    const char *rest = "";
    line = skip_blanks(line);
    if (*line == '\0') {
        return parsed;
    }
    parsed.id = find(line, &rest);
    if (parsed.id == COMMAND_UNKNOWN) {
        return parsed;
    }
    uint32_t wanted = count_words(command_table[parsed.id].arguments);
    uint32_t given = count_words(rest);
    for (uint32_t i = 0; i < given && i < COMMAND_ARGUMENTS; i++) {
        size_t length = word_length(rest);
        memcpy(parsed.argument[i], rest,
               length < COMMAND_ARGUMENT_MAX ? length : COMMAND_ARGUMENT_MAX);
        rest = skip_blanks(rest + length);
    }
    parsed.wanted = parsed.id;
    if (given != wanted) {
        parsed.id = given < wanted ? COMMAND_LACKS_ARGUMENT : COMMAND_EXCESS_ARGUMENT;
    }
    return parsed;
}

bool command_number(const char *text, uint32_t max, uint32_t *number) {
    uint64_t value = 0;
    const char *at = text;
    while (*at >= '0' && *at <= '9' && value <= max) {
        value = value * 10 + (uint32_t)(*at++ - '0');
    }
    *number = (uint32_t)value;
    return at != text && *at == '\0' && value <= max;
}
