// SPDX-License-Identifier: Apache-2.0
// What fuzz targets find as <criterion/criterion.h>: they take the world around a module, its mocks
// and its set-up, from the unit tests by including them, and leave their tests unused. What such a
// world asserts ends the fuzzer's run.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TestSuite(...)         _Static_assert(true, "")
#define Test(suite, name, ...) __attribute__((unused)) static void suite##_##name(void)

#define FUZZ_CHECK(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
#define cr_assert(condition, ...)      FUZZ_CHECK(condition)
#define cr_assert_not(condition, ...)  FUZZ_CHECK(!(condition))
#define cr_assert_eq(a, b, ...)        FUZZ_CHECK((a) == (b))
#define cr_assert_neq(a, b, ...)       FUZZ_CHECK((a) != (b))
#define cr_assert_lt(a, b, ...)        FUZZ_CHECK((a) < (b))
#define cr_assert_leq(a, b, ...)       FUZZ_CHECK((a) <= (b))
#define cr_assert_gt(a, b, ...)        FUZZ_CHECK((a) > (b))
#define cr_assert_geq(a, b, ...)       FUZZ_CHECK((a) >= (b))
#define cr_assert_null(a, ...)         FUZZ_CHECK((a) == NULL)
#define cr_assert_not_null(a, ...)     FUZZ_CHECK((a) != NULL)
#define cr_assert_str_eq(a, b, ...)    FUZZ_CHECK(strcmp((a), (b)) == 0)
#define cr_assert_arr_eq(a, b, n, ...) FUZZ_CHECK(memcmp((a), (b), (n)) == 0)
#define cr_fail(...)                   FUZZ_CHECK(false)
#define cr_expect                      cr_assert
#define cr_expect_not                  cr_assert_not
#define cr_expect_eq                   cr_assert_eq
#define cr_expect_neq                  cr_assert_neq
#define cr_expect_lt                   cr_assert_lt
#define cr_expect_leq                  cr_assert_leq
#define cr_expect_gt                   cr_assert_gt
#define cr_expect_geq                  cr_assert_geq
#define cr_expect_null                 cr_assert_null
#define cr_expect_not_null             cr_assert_not_null
#define cr_expect_str_eq               cr_assert_str_eq
#define cr_expect_arr_eq               cr_assert_arr_eq
