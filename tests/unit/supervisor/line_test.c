// SPDX-License-Identifier: Apache-2.0
// supervisor/line: whatever a guest prints, no line of the batch console passes for somebody
// else's.
#include "supervisor/line.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

// Feeds bytes as the console does and collects "<line>" for every line that came out.
static void line_test_feed(struct line *line, const char *bytes, size_t count, char *out,
                           size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (!line_add(line, (uint8_t)bytes[i])) {
            continue;
        }
        cr_assert_leq(line->length, LINE_LENGTH_MAX);
        cr_assert_lt(used + line->length + 3, size);
        out[used++] = '<';
        memcpy(&out[used], line->text, line->length);
        used += line->length;
        out[used++] = '>';
        line_clear(line);
    }
    out[used] = '\0';
}

#define LINE_TEST(input, expected)                                                                 \
    do {                                                                                           \
        struct line line = {0};                                                                    \
        char out[4096];                                                                            \
        line_test_feed(&line, input, sizeof(input) - 1, out, sizeof(out));                         \
        cr_assert_str_eq(out, expected);                                                           \
    } while (0)

Test(supervisor_line, newline_ends_a_line) {
    LINE_TEST("one\ntwo\nthr", "<one><two>");
    LINE_TEST("\n\nx\n", "<><><x>");
}

Test(supervisor_line, carriage_returns_are_dropped) {
    LINE_TEST("one\r\n\rtwo\r\r\n", "<one><two>");
    LINE_TEST("over\rwritten\n", "<overwritten>");
}

Test(supervisor_line, unprintables_are_escaped) {
    LINE_TEST("a\tb\x1b[2J\x07\x7f\n", "<a\tb\\x1b[2J\\x07\\x7f>");
    LINE_TEST("\x00\x80\xc3\xa9\xff\n", "<\\x00\\x80\\xc3\\xa9\\xff>");
    LINE_TEST("\x0b\x0c\x85\n", "<\\x0b\\x0c\\x85>"); // what some readers take for line ends
}

Test(supervisor_line, partial_text_is_kept) {
    struct line line = {0};
    char out[64];
    line_test_feed(&line, "no newline", 10, out, sizeof(out));
    cr_assert_str_eq(out, "");
    cr_assert(line_is_partial(&line));
    cr_assert_eq(line.length, 10);
    line_clear(&line);
    cr_assert_not(line_is_partial(&line));
}

Test(supervisor_line, long_lines_are_cut_and_go_on) {
    struct line line = {0};
    char input[1200];
    char out[4096];
    memset(input, 'a', sizeof(input));
    input[sizeof(input) - 1] = '\n';
    line_test_feed(&line, input, sizeof(input), out, sizeof(out));
    size_t letters = 0;
    size_t lines = 0;
    for (const char *at = out; *at != '\0'; at++) {
        letters += *at == 'a';
        lines += *at == '<';
    }
    cr_assert_eq(letters, sizeof(input) - 1);
    cr_assert_eq(lines, 3);
    cr_assert_not(line_is_partial(&line));
}

// A line that is cut right before its newline gives no empty line behind it.
Test(supervisor_line, newline_behind_a_cut_is_swallowed) {
    struct line line = {0};
    unsigned int count = 0;
    while (!line_add(&line, 'a')) {
        count++;
    }
    line_clear(&line);
    cr_assert_gt(count, LINE_LENGTH_MAX - 8);
    cr_assert_not(line_add(&line, '\r'));
    cr_assert_not(line_add(&line, '\n'));
    cr_assert(line_add(&line, '\n'), "but the next one counts");
}

// The console takes whole pieces: at each length a byte that needs room as \xNN still fits.
Test(supervisor_line, pieces_are_cut_where_bytes_are) {
    for (unsigned int plain = LINE_LENGTH_MAX - 8; plain <= LINE_LENGTH_MAX; plain++) {
        struct line line = {0}, by_byte = {0};
        uint8_t bytes[LINE_LENGTH_MAX + 1];
        bool is_whole = false, is_cut = false;
        memset(bytes, 'a', plain);
        bytes[plain] = 7;
        uint32_t taken = line_take(&line, bytes, plain + 1, &is_whole);
        uint32_t count = 0;
        while (count < plain + 1 && !is_cut) {
            is_cut = line_add(&by_byte, bytes[count++]);
        }
        cr_assert_eq(taken, count, "%u plain ones", plain);
        cr_assert_eq(is_whole, is_cut);
        cr_assert_eq(line.length, by_byte.length);
        cr_assert_leq(line.length, LINE_LENGTH_MAX);
    }
}

Test(supervisor_line, random_bytes_stay_printable) {
    struct line line = {0};
    srand(3);
    for (unsigned int i = 0; i < 200000; i++) {
        if (!line_add(&line, (uint8_t)rand())) {
            continue;
        }
        cr_assert_leq(line.length, LINE_LENGTH_MAX);
        for (uint32_t k = 0; k < line.length; k++) {
            cr_assert((line.text[k] >= ' ' && line.text[k] < 0x7f) || line.text[k] == '\t');
        }
        line_clear(&line);
    }
}

// Texts of a VMM become one line: no newline that a forged line could follow.
Test(supervisor_line, sanitized_text_is_one_line) {
    char out[64];
    line_sanitize(out, sizeof(out), "x\n[bulkhead] vm a: powered off", 64);
    cr_assert_str_eq(out, "x\\x0a[bulkhead] vm a: powered off");
    line_sanitize(out, 8, "\n\n\n\n", 64);
    cr_assert_str_eq(out, "\\x0a");
    char unterminated[2] = {'a', 'b'};
    line_sanitize(out, sizeof(out), unterminated, sizeof(unterminated));
    cr_assert_str_eq(out, "ab");
    line_sanitize(out, 1, "abc", 3);
    cr_assert_str_eq(out, "");
    for (size_t size = 1; size <= 16; size++) {
        memset(out, '#', sizeof(out));
        line_sanitize(out, size, "abcd\nefgh\n\n", 64);
        cr_assert_lt(strlen(out), size);
        cr_assert_eq(out[size], '#', "nothing behind %zu bytes", size);
    }
}
