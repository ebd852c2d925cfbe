// SPDX-License-Identifier: Apache-2.0
// lib/string.c against the C library, on every length and alignment that matters, and a few by
// hand.
#include "lib/string.h"

#include <criterion/criterion.h>
#include <stdint.h>

void *lib_memcpy(void *restrict to, const void *restrict from, size_t size);
void *lib_memmove(void *to, const void *from, size_t size);
void *lib_memset(void *to, int value, size_t size);
int lib_memcmp(const void *a, const void *b, size_t size);
void *lib_memchr(const void *data, int value, size_t size);
size_t lib_strlen(const char *text);
size_t lib_strnlen(const char *text, size_t max);
int lib_strcmp(const char *a, const char *b);
int lib_strncmp(const char *a, const char *b, size_t max);
char *lib_strchr(const char *text, int value);
char *lib_strrchr(const char *text, int value);
unsigned long lib_strtoul(const char *restrict text, char **restrict end, int base);

#define SIZE 96u

static void fill(uint8_t *bytes, uint8_t seed) {
    for (unsigned i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(seed + 7 * i);
}

static int sign(int value) {
    return (value > 0) - (value < 0);
}

Test(lib_string, memmove_is_the_c_librarys) {
    for (unsigned from = 0; from < 24; from++)
        for (unsigned to = 0; to < 24; to++)
            for (unsigned size = 0; size < 40; size++) {
                uint8_t ours[SIZE], theirs[SIZE];
                fill(ours, 3);
                fill(theirs, 3);
                cr_assert_eq(lib_memmove(ours + to, ours + from, size), ours + to);
                memmove(theirs + to, theirs + from, size);
                cr_assert_arr_eq(ours, theirs, SIZE);
            }
}

Test(lib_string, memcpy_and_memset_touch_what_they_should) {
    for (unsigned at = 0; at < 9; at++)
        for (unsigned size = 0; size < 40; size++) {
            uint8_t ours[SIZE], theirs[SIZE], source[SIZE];
            fill(ours, 1);
            fill(theirs, 1);
            fill(source, 99);
            cr_assert_eq(lib_memcpy(ours + at, source, size), ours + at);
            memcpy(theirs + at, source, size);
            cr_assert_eq(lib_memset(ours + 50, (int)(size + 0x1f0), size), ours + 50);
            memset(theirs + 50, (int)(size + 0x1f0), size);
            cr_assert_arr_eq(ours, theirs, SIZE);
        }
}

Test(lib_string, comparisons_order_bytes_as_unsigned) {
    static const char *const words[] = {"", "a", "ab", "abc", "abd", "b", "\x80", "\xff", "ab\xff"};
    size_t count = sizeof(words) / sizeof(words[0]);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++) {
            size_t size = strlen(words[i]) < strlen(words[k]) ? strlen(words[i]) : strlen(words[k]);
            cr_assert_eq(sign(lib_strcmp(words[i], words[k])), sign(strcmp(words[i], words[k])));
            cr_assert_eq(sign(lib_memcmp(words[i], words[k], size)),
                         sign(memcmp(words[i], words[k], size)));
            for (size_t max = 0; max < 4; max++)
                cr_assert_eq(sign(lib_strncmp(words[i], words[k], max)),
                             sign(strncmp(words[i], words[k], max)));
        }
}

Test(lib_string, searches_find_first_and_last) {
    const char *text = "needle in a haystack";
    cr_assert_eq(lib_strchr(text, 'e'), text + 1);
    cr_assert_eq(lib_strrchr(text, 'e'), text + 5);
    cr_assert_eq(lib_strchr(text, '\0'), text + 20);
    cr_assert_eq(lib_strrchr(text, '\0'), text + 20);
    cr_assert_null(lib_strchr(text, 'z'));
    cr_assert_null(lib_strrchr(text, 'z'));
    cr_assert_eq(lib_memchr(text, 'i', 20), text + 7);
    cr_assert_null(lib_memchr(text, 'i', 7));
    cr_assert_eq(lib_strlen(text), 20);
    cr_assert_eq(lib_strnlen(text, 5), 5);
    cr_assert_eq(lib_strnlen(text, 50), 20);
}

Test(lib_string, strtoul_is_the_c_librarys) {
    static const char *const texts[] = {
        "0",
        "10",
        "  42x",
        "0x1fz",
        "0x",
        "0X10",
        "017",
        "-1",
        "+7",
        "",
        "abc",
        "zz",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999",
        "0xg",
        "- 1",
    };
    static const int bases[] = {0, 8, 10, 16, 36};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (size_t k = 0; k < sizeof(bases) / sizeof(bases[0]); k++) {
            char *ours, *theirs;
            unsigned long expected = strtoul(texts[i], &theirs, bases[k]);
            cr_assert_eq(lib_strtoul(texts[i], &ours, bases[k]), expected, "'%s' base %d", texts[i],
                         bases[k]);
            cr_assert_eq(ours, theirs, "'%s' base %d", texts[i], bases[k]);
        }
}
