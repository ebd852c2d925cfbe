// SPDX-License-Identifier: Apache-2.0
// kernel/log.c: lines, their history, the command line; and kernel/lock.c's ranks.
#include "kernel_support.h"

#include "kernel/lock.h"
#include "kernel/log.h"

#include <criterion/criterion.h>
#include <string.h>

static char heard[64 * 1024];
static size_t heard_size;

static void sink(const char *text, size_t size) {
    cr_assert(size > 0 && text[size - 1] == '\n', "whole lines");
    cr_assert_null(memchr(text, '\n', size - 1), "one at a time");
    cr_assert_lt(heard_size + size, sizeof(heard));
    memcpy(heard + heard_size, text, size);
    heard_size += size;
}

TestSuite(kernel_log);

Test(kernel_log, lines_have_prefix_and_newline) {
    log_set_sink(sink);
    log_line("CPU %u: %s", 3, "fine");
    cr_expect_str_eq(heard, "[bulkhead] CPU 3: fine\n");
}

Test(kernel_log, lines_are_printable) {
    log_set_sink(sink);
    log_line("CPU: %s", "\x1b[2J\n[bulkhead] x\x7f\x80");
    cr_expect_str_eq(heard, "[bulkhead] CPU: ?[2J?[bulkhead] x??\n");
}

Test(kernel_log, lines_before_the_sink_are_handed_over_in_order) {
    log_line("one");
    log_line("two");
    log_set_sink(sink);
    cr_expect_str_eq(heard, "[bulkhead] one\n[bulkhead] two\n");
    log_line("three");
    cr_expect_str_eq(heard, "[bulkhead] one\n[bulkhead] two\n[bulkhead] three\n");
}

Test(kernel_log, mark_is_the_first_key_of_the_command_line) {
    log_set_mark("console=batch verdict=");
    cr_expect_str_eq(log_mark, "");
    log_set_mark("verdict=0123456789012345678901234567890123 verdict=1");
    cr_expect_str_eq(log_mark, "", "too long");
    log_set_mark("xverdict=no console=batch verdict=abc123 verdict=later");
    cr_expect_str_eq(log_mark, "abc123 ");
    log_set_mark("verdict=01234567890123456789012345678901");
    cr_expect_str_eq(log_mark, "01234567890123456789012345678901 ");
    log_line("plain here");
    log_set_sink(sink);
    cr_expect_str_eq(heard, "[bulkhead] plain here\n", "it is the console's to print");
}

Test(kernel_log, long_line_is_cut_but_ends) {
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_set_sink(sink);
    log_line("%s", text);
    cr_expect_leq(heard_size, 256);
    cr_expect_gt(heard_size, 200);
    cr_expect_eq(heard[heard_size - 1], '\n');
}

Test(kernel_log, full_history_keeps_whole_lines_and_no_more) {
    for (unsigned i = 0; i < 2000; i++)
        log_line("line %u", i);
    log_replay(sink);
    cr_expect_leq(heard_size, 8192);
    cr_expect_gt(heard_size, 8192 - 256);
    cr_expect_eq(strncmp(heard, "[bulkhead] line 0\n[bulkhead] line 1\n", 36), 0);
    size_t before = heard_size;
    log_line("later");
    log_replay(sink);
    cr_expect_eq(heard_size, 2 * before, "what came later is not kept");
}

Test(kernel_log, words_of_the_command_line) {
    const struct {
        const char *cmdline, *word;
        bool has;
    } cases[] = {
        {"console=batch", "console=batch", true},
        {"a console=batch b", "console=batch", true},
        {"a  console=batch", "console=batch", true},
        {" console=batch ", "console=batch", true},
        {"", "console=batch", false},
        {" ", "console=batch", false},
        {"console=batchx", "console=batch", false},
        {"xconsole=batch", "console=batch", false},
        {"console=batc", "console=batch", false},
        {"console= batch", "console=batch", false},
        {"a b c", "c", true},
        {"a b cc", "c", false},
        {"cc c", "c", true},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(cmdline_has(cases[i].cmdline, cases[i].word), cases[i].has, "'%s'",
                     cases[i].cmdline);
}

Test(kernel_log, locks_out_of_order_panic) {
    struct spinlock outer, inner, same;
    lock_init(&outer, LOCK_PROCESS);
    lock_init(&inner, LOCK_QUOTA);
    lock_init(&same, LOCK_QUOTA);
    lock_take(&outer);
    lock_take(&inner);
    cr_expect(HOST_PANICS(lock_take(&same)));
    lock_drop(&inner);
    lock_take(&same);
    lock_drop(&same);
    lock_drop(&outer);
    lock_take(&inner);
    cr_expect(HOST_PANICS(lock_take(&outer)));
}
