// SPDX-License-Identifier: Apache-2.0
// lib/fmt: held against the host's printf for everything both know, and its own bounds.
#include "lib/fmt.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// Both must give the same text and length.
#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[128];                                                                            \
        char theirs[128];                                                                          \
        size_t length = fmt_format(ours, sizeof(ours), __VA_ARGS__);                               \
        cr_assert_eq(length, (size_t)snprintf(theirs, sizeof(theirs), __VA_ARGS__));               \
        cr_assert_str_eq(ours, theirs);                                                            \
    } while (0)

Test(fmt, integers_are_as_printf) {
    SAME("%d %d %u", -5, 42, 7u);
    SAME("%d %d", INT_MIN, INT_MAX);
    SAME("%ld %lld %lu %llu", LONG_MIN, LLONG_MIN, ULONG_MAX, ULLONG_MAX);
    SAME("%x %lx %llx", 0xbeefu, 0x123456789abcdefUL, ULLONG_MAX);
    SAME("%zu %zx", (size_t)9, SIZE_MAX);
    SAME("%d %u %x", 0, 0u, 0u);
}

Test(fmt, widths_are_as_printf) {
    SAME("|%8d|%-8d|%08d|%08x|%2d|", -42, -42, -42, 0xffu, 12345);
    SAME("|%024ld|%-24ld|%24ld|", LONG_MIN, LONG_MIN, LONG_MIN);
    SAME("|%8s|%-8s|%2s|", "abc", "abc", "abc");
    SAME("|%3c|%-3c|%c|", 'a', 'b', 'c');
    SAME("%016lx %5u%%", 0xfee00000UL, 50u);
    SAME("%100d|", 1);
}

Test(fmt, pointers_have_16_digits) {
    char text[32];
    fmt_format(text, sizeof(text), "%p", (void *)0x1234);
    cr_assert_str_eq(text, "0x0000000000001234");
    fmt_format(text, sizeof(text), "<%-20p>", (void *)UINTPTR_MAX);
    cr_assert_str_eq(text, "<0xffffffffffffffff>", "whatever the width");
}

Test(fmt, null_string_is_named) {
    char text[32];
    const char *volatile none = NULL;
    fmt_format(text, sizeof(text), "<%s>", none);
    cr_assert_str_eq(text, "<(null)>");
}

Test(fmt, result_is_cut_and_terminated) {
    char text[6] = "xxxxx";
    cr_assert_eq(fmt_format(text, 4, "%s", "abcdef"), 6);
    cr_assert_str_eq(text, "abc");
    cr_assert_eq(text[4], 'x', "nothing behind the room given is touched");
    cr_assert_eq(fmt_format(text, 1, "%d", 12), 2);
    cr_assert_str_eq(text, "");
    cr_assert_eq(fmt_format(NULL, 0, "%d", 123), 3);
}

// The format is no literal, so that the compiler does not refuse it as the nonsense it is.
static size_t format_unchecked(char *out, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t length = fmt_format_va(out, size, format, arguments);
    va_end(arguments);
    return length;
}

Test(fmt, unknown_directives_are_printed) {
    char text[32];
    format_unchecked(text, sizeof(text), "%q %5k %.3d 100%");
    cr_assert_str_eq(text, "%q %5k %.3d 100%");
    format_unchecked(text, sizeof(text), "%y%d", 7);
    cr_assert_str_eq(text, "%y7");
    format_unchecked(text, sizeof(text), "%*d%d", 7);
    cr_assert_str_eq(text, "%*d7");
}
