// SPDX-License-Identifier: Apache-2.0
// lib/words.c: the words of the command line.
#include "lib/words.h"

#include "lib/types.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(lib_words);

Test(lib_words, are_whole) {
    static const struct {
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
        {"console=batchx console=batch", "console=batch", true},
        {"xconsole=batch", "console=batch", false},
        {"console=batc", "console=batch", false},
        {"console= batch", "console=batch", false},
        {"a b c", "c", true},
        {"a b cc", "c", false},
        {"cc c", "c", true},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(words_have(cases[i].cmdline, cases[i].word), cases[i].has, "'%s'",
                     cases[i].cmdline);
}

Test(lib_words, are_found_one_behind_the_other) {
    size_t size = 0;
    const char *at = words_find("x=1 xx=2  x= x=345", "x=", &size);
    cr_assert(at != NULL && size == 1 && *at == '1');
    at = words_find(at + size, "x=", &size);
    cr_assert(at != NULL && size == 0);
    at = words_find(at + size, "x=", &size);
    cr_assert(at != NULL && size == 3 && memcmp(at, "345", 3) == 0);
    cr_expect_null(words_find(at + size, "x=", &size));
}
