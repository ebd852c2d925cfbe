// SPDX-License-Identifier: Apache-2.0
// supervisor/keys, supervisor/command and supervisor/backlog: what is typed, and what is kept.
#include "supervisor/backlog.h"
#include "supervisor/command.h"
#include "supervisor/keys.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct key keys_test_type(const char *bytes) {
    struct keys keys = {0};
    struct key key = {0};
    for (; *bytes != '\0'; bytes++) {
        key = keys_add(&keys, (uint8_t)*bytes);
    }
    return key;
}

Test(supervisor_keys, bytes_pass) {
    struct keys keys = {0};
    for (unsigned int byte = 0; byte < 256; byte++) {
        if (byte != KEYS_ESCAPE) {
            struct key key = keys_add(&keys, (uint8_t)byte);
            cr_assert_eq(key.action, KEY_BYTE);
            cr_assert_eq(key.value, byte);
        }
    }
}

Test(supervisor_keys, escapes_are_commands) {
    cr_assert_eq(keys_test_type("\x01").action, KEY_NONE);
    cr_assert_eq(keys_test_type("\x01h").action, KEY_HELP);
    cr_assert_eq(keys_test_type("\x01?").action, KEY_HELP);
    cr_assert_eq(keys_test_type("\x01n").action, KEY_NEXT);
    cr_assert_eq(keys_test_type("\x01N").action, KEY_NEXT);
    cr_assert_eq(keys_test_type("\x01p").action, KEY_PREVIOUS);
    cr_assert_eq(keys_test_type("\x01"
                                "c")
                     .action,
                 KEY_SHELL);
    cr_assert_eq(keys_test_type("\x01x").action, KEY_QUIT);
    cr_assert_eq(keys_test_type("\x01"
                                "7")
                     .action,
                 KEY_NUMBER);
    cr_assert_eq(keys_test_type("\x01"
                                "7")
                     .value,
                 7);
    cr_assert_eq(keys_test_type("\x01"
                                "0")
                     .action,
                 KEY_UNKNOWN);
    cr_assert_eq(keys_test_type("\x01q").action, KEY_UNKNOWN);
}

Test(supervisor_keys, doubled_escape_is_one) {
    struct key key = keys_test_type("\x01\x01");
    cr_assert_eq(key.action, KEY_BYTE);
    cr_assert_eq(key.value, KEYS_ESCAPE);
    cr_assert_eq(keys_test_type("\x01\x01h").action, KEY_BYTE, "and escapes nothing itself");
}

static void command_test(const char *line, enum command_id id, const char *argument) {
    struct command_line parsed = command_parse(line);
    cr_assert_eq(parsed.id, id, "\"%s\" is %d", line, (int)parsed.id);
    cr_assert_str_eq(parsed.argument[0], argument);
}

Test(supervisor_command, every_word_of_the_table_is_found) {
    for (unsigned int i = 0; i < COMMAND_COUNT; i++) {
        char line[64] = "";
        strcat(line, command_table[i].words);
        if (command_table[i].arguments[0] != '\0') {
            command_test(line, COMMAND_LACKS_ARGUMENT, "");
            strcat(line, strchr(command_table[i].arguments, ' ') != NULL ? " demo 5" : " demo");
        }
        cr_assert_eq(command_parse(line).id, (enum command_id)i);
        strcat(line, " more");
        cr_assert_eq(command_parse(line).id, COMMAND_EXCESS_ARGUMENT);
    }
}

Test(supervisor_command, blanks_do_not_matter) {
    command_test("", COMMAND_EMPTY, "");
    command_test(" \t ", COMMAND_EMPTY, "");
    command_test("  focus \t demo  ", COMMAND_FOCUS, "demo");
    command_test("vm ", COMMAND_VM, "");
}

Test(supervisor_command, most_words_count) {
    command_test("vm list", COMMAND_VM_LIST, "");
    command_test("vm  top", COMMAND_VM_TOP, "");
    command_test("vm topp", COMMAND_EXCESS_ARGUMENT, "topp");
    command_test(" vm\texits demo ", COMMAND_VM_EXITS, "demo");
    command_test("vm exits", COMMAND_LACKS_ARGUMENT, "");
    command_test("weight demo", COMMAND_LACKS_ARGUMENT, "demo");
    struct command_line parsed = command_parse("weight demo  250 ");
    cr_assert_eq(parsed.id, COMMAND_WEIGHT);
    cr_assert_str_eq(parsed.argument[1], "250");
}

Test(supervisor_command, numbers_are_decimal_and_bounded) {
    uint32_t number;
    cr_assert(command_number("0", 10, &number));
    cr_assert_eq(number, 0);
    cr_assert(command_number("10000", 10000, &number));
    cr_assert_eq(number, 10000);
    cr_assert(command_number("4294967295", UINT32_MAX, &number));
    cr_assert_eq(number, UINT32_MAX);
    static const char *const bad[] = {
        "", "-1", "1x", "x", "10001", "4294967296", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(command_number(bad[i], 10000, &number), "%s", bad[i]);
    }
}

Test(supervisor_command, only_whole_words_count) {
    command_test("v", COMMAND_UNKNOWN, "");
    command_test("vms", COMMAND_UNKNOWN, "");
    command_test("power", COMMAND_UNKNOWN, "");
    command_test("power-button a", COMMAND_POWER_BUTTON, "a");
    command_test("VM", COMMAND_UNKNOWN, "");
}

Test(supervisor_command, long_arguments_are_cut) {
    char line[200] = "end ";
    memset(line + 4, 'x', 150);
    struct command_line parsed = command_parse(line);
    cr_assert_eq(parsed.id, COMMAND_END);
    cr_assert_eq(strlen(parsed.argument[0]), COMMAND_ARGUMENT_MAX);
}

Test(supervisor_command, random_lines_are_survived) {
    srand(4);
    for (unsigned int round = 0; round < 20000; round++) {
        char line[80];
        size_t length = (size_t)rand() % sizeof(line);
        for (size_t i = 0; i < length; i++) {
            line[i] = (char)(rand() % 3 == 0 ? ' ' : rand() % 256);
        }
        line[length < sizeof(line) ? length : sizeof(line) - 1] = '\0';
        cr_assert_lt(strlen(command_parse(line).argument[1]), sizeof(line));
    }
}

// All that is kept, from `skip` on.
static size_t backlog_test_read(const struct backlog *backlog, size_t skip, char *out) {
    size_t used = 0;
    size_t count;
    const char *bytes;
    while ((bytes = backlog_peek(backlog, skip + used, &count)) != NULL) {
        memcpy(&out[used], bytes, count);
        used += count;
    }
    return used;
}

Test(supervisor_backlog, keeps_what_fits) {
    static struct backlog backlog;
    static char out[BACKLOG_SIZE];
    backlog_add(&backlog, "one", 3);
    backlog_add(&backlog, "two", 3);
    cr_assert_eq(backlog_test_read(&backlog, 0, out), 6);
    cr_assert_arr_eq(out, "onetwo", 6);
    cr_assert_eq(backlog_test_read(&backlog, 4, out), 2);
    backlog_drop(&backlog, 2);
    cr_assert_eq(backlog_test_read(&backlog, 0, out), 4);
    backlog_drop(&backlog, 1000);
    cr_assert_eq(backlog_test_read(&backlog, 0, out), 0);
    backlog_add(&backlog, "three", 5);
    cr_assert_eq(backlog_test_read(&backlog, 0, out), 5, "dropped was only what there was");
}

// Each length of line, so that each byte of it is once where the oldest bytes end.
Test(supervisor_backlog, oldest_lines_give_way_whole) {
    static char out[BACKLOG_SIZE + 1], text[120];
    for (size_t length = 1; length < sizeof(text); length++) {
        struct backlog backlog = {0};
        memset(text, 'x', length);
        for (unsigned int i = 0; i < 2 * BACKLOG_SIZE / length; i++) {
            backlog_add_line(&backlog, "| ", text);
        }
        size_t size = backlog_test_read(&backlog, 0, out);
        cr_assert_gt(size, BACKLOG_SIZE - length - 4);
        cr_assert_leq(size, BACKLOG_SIZE);
        cr_assert_eq(size % (length + 4), 0);
        cr_assert_eq(memcmp(out, "| x", 3), 0);
        cr_assert_eq(memcmp(out + size - 3, "x\r\n", 3), 0);
    }
}

Test(supervisor_backlog, oldest_bytes_give_way) {
    static struct backlog backlog;
    static char out[BACKLOG_SIZE];
    for (unsigned int i = 0; i < 3 * BACKLOG_SIZE + 5; i++) {
        char byte = (char)('a' + i % 26);
        backlog_add(&backlog, &byte, 1);
    }
    cr_assert_eq(backlog_test_read(&backlog, 0, out), BACKLOG_SIZE);
    for (unsigned int i = 0; i < BACKLOG_SIZE; i++) {
        cr_assert_eq(out[i], (char)('a' + (i + 2 * BACKLOG_SIZE + 5) % 26));
    }
}
