// SPDX-License-Identifier: Apache-2.0
// supervisor/manifest_keys: every key that include/manifest_keys.h describes is read, has its
// default, and is refused with its name where it has another form, another value or another place.
// A new key is tested without a line here.
#include "supervisor/manifest_keys.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#define TREE_SIZE 8192

static char tree[TREE_SIZE] __attribute__((aligned(8)));

struct row {
    const char *name;
    const char *kind; // as the description says it
    bool is_required, is_for_tests;
    const char *with, *with_word; // the key that it goes with and the first of its words
};

#define REQUIRED(...)    true, false
#define DEFAULT(...)     false, false
#define FIRST            false, false
#define SET              false, false
#define EMPTY            false, false
#define ABSENT(...)      false, false
#define CHOSEN(...)      false, false
#define FOR_TESTS        false, true
#define ALWAYS           NULL, NULL
#define WITH(other, ...) #other, FIRST_OF(__VA_ARGS__, )
#define FIRST_OF(a, ...) a

static const struct row rows[] = {
#define VM_KEY(member, key, value, without, when)         {key, #value, without, when},
#define SCHEDULING_KEY(member, key, value, without, when) {key, #value, without, when},
#include "include/manifest_keys.h"
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static bool is_kind(const struct row *row, const char *kind) {
    return strncmp(row->kind, kind, strlen(kind)) == 0;
}

static const char *property_of(const struct row *row) {
    return is_kind(row, "NAME") ? "vm-name" : row->name;
}

// The bytes of the number that the kind of value has; 0: it is none.
static size_t size_of(const struct row *row) {
    if (is_kind(row, "NUMBER")) {
        return sizeof(fdt32_t);
    }
    bool is_quantity = is_kind(row, "SIZE") || is_kind(row, "TIME") || is_kind(row, "RATE");
    return is_quantity ? sizeof(fdt64_t) : 0;
}

static void put_number(const struct row *row, uint64_t number) {
    if (size_of(row) == sizeof(fdt32_t)) {
        fdt_property_u32(tree, row->name, (uint32_t)number);
    } else {
        fdt_property_u64(tree, row->name, number);
    }
}

// A value that no key of that kind refuses, but perhaps for its range.
static void put_good(const struct row *row) {
    uint64_t all[MANIFEST_CPU_WORDS] = {UINT64_MAX};
    if (is_kind(row, "CHOICE")) {
        return; // what goes with a word puts that
    } else if (is_kind(row, "FLAG")) {
        fdt_property(tree, row->name, NULL, 0);
    } else if (is_kind(row, "CPUS")) {
        fdt_property(tree, row->name, all, sizeof(all));
    } else if (size_of(row) != 0) {
        put_number(row, size_of(row) == sizeof(fdt32_t) ? 1 : 2u << 20);
    } else {
        fdt_property_string(tree, property_of(row), "demo");
    }
}

// Begins a node with all that is required, but for `but`, where a key is `word` (NULL: none is).
static void begin(const struct row *but, const char *key, const char *word) {
    cr_assert_eq(fdt_create(tree, TREE_SIZE), 0);
    cr_assert_eq(fdt_finish_reservemap(tree), 0);
    fdt_begin_node(tree, "");
    if (word != NULL) {
        fdt_property_string(tree, key, word);
    }
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        bool is_at_place = row->with == NULL || (word != NULL && strcmp(row->with_word, word) == 0);
        if (row != but && row->is_required && is_at_place) {
            put_good(row);
        }
    }
}

static struct vm_config vm;

static const char *end(bool is_test_image) {
    fdt_end_node(tree);
    cr_assert_eq(fdt_finish(tree), 0);
    return manifest_keys_vm(tree, 0, is_test_image, &vm);
}

static void expect_named(const char *words, const struct row *row, const char *what) {
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\"", row->name);
    cr_expect(words != NULL && strstr(words, quoted) != NULL, "%s %s: %s", row->name, what,
              words != NULL ? words : "nothing is said");
}

Test(supervisor_manifest_keys, required_alone_are_enough) {
    begin(NULL, NULL, NULL);
    cr_assert_null(end(false));
    cr_assert_null(vm.refusal, "%s", vm.refusal);
    cr_assert_str_eq(vm.name, "demo");
    cr_assert_str_eq(vm.kernel_file, "demo");
    cr_assert_str_eq(vm.cmdline, "");
    cr_assert_not(vm.is_autostart);
}

Test(supervisor_manifest_keys, missing_ones_are_named) {
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        if (row->is_required) {
            begin(row, row->with, row->with_word);
            expect_named(end(false), row, "is missing");
        }
    }
}

Test(supervisor_manifest_keys, other_forms_are_named) {
    static const char odd[3] = {1, 2, 3};
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        if (!is_kind(row, "FLAG")) { // which has no form
            begin(row, row->with, row->with_word);
            fdt_property(tree, property_of(row), odd, sizeof(odd));
            expect_named(end(true), row, "has another form");
        }
    }
}

Test(supervisor_manifest_keys, second_name_of_a_file_has_a_form) {
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        if (is_kind(row, "FILE")) {
            char name[64];
            snprintf(name, sizeof(name), "%s-file", row->name);
            begin(NULL, NULL, NULL);
            if (!row->is_required) {
                put_good(row);
            }
            fdt_property_u32(tree, name, 0x01010101);
            expect_named(end(true), row, "has another form in its second name");
        }
    }
}

Test(supervisor_manifest_keys, words_that_are_none_are_named) {
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        if (is_kind(row, "CHOICE") || is_kind(row, "NAME") || is_kind(row, "WORD")) {
            begin(row, NULL, NULL);
            fdt_property_string(tree, property_of(row), "-Word");
            expect_named(end(true), row, "is no word");
        }
    }
}

// The limits themselves, taken from the description.
struct limit {
    const char *name;
    uint64_t least, most, step;
};

#define SCALE_M                          (1ULL << 20)
#define SCALE_T                          (1ULL << 40)
#define SCALE_us                         1000ULL
#define SCALE_ms                         1000000ULL
#define SCALE_s                          1000000000ULL
#define SCALE_MHz                        1000000ULL
#define SCALE_GHz                        1000000000ULL
#define LIMIT_NAME                       0, 0, 0
#define LIMIT_WORD                       0, 0, 0
#define LIMIT_FILE                       0, 0, 0
#define LIMIT_TEXT(...)                  0, 0, 0
#define LIMIT_FLAG                       0, 0, 0
#define LIMIT_CHOICE(...)                0, 0, 0
#define LIMIT_CPUS                       0, 0, 0
#define LIMIT_NUMBER(low, high)          low, high, 0
#define LIMIT_TIME(low, unit, high, u2)  low *SCALE_##unit, high *SCALE_##u2, 0
#define LIMIT_RATE(low, unit, high, u2)  low *SCALE_##unit, high *SCALE_##u2, 0
#define LIMIT_SIZE(step, unit, high, u2) step *SCALE_##unit, high *SCALE_##u2, step *SCALE_##unit

static const struct limit limits[] = {
#define VM_KEY(member, key, value, ...)         {key, LIMIT_##value},
#define SCHEDULING_KEY(member, key, value, ...) {key, LIMIT_##value},
#include "include/manifest_keys.h"
};

static bool is_refused(const struct row *row, uint64_t number) {
    char quoted[64];
    snprintf(quoted, sizeof(quoted), "\"%s\"", row->name);
    begin(row, row->with, row->with_word);
    put_number(row, number);
    cr_assert_null(end(false), "%s", row->name);
    return vm.refusal != NULL && strstr(vm.refusal, quoted) != NULL;
}

Test(supervisor_manifest_keys, values_out_of_range_refuse_the_vm) {
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct limit *limit = &limits[i];
        uint64_t one = limit->step != 0 ? limit->step : 1;
        if (limit->most == 0) {
            continue;
        }
        cr_expect_not(is_refused(&rows[i], limit->least), "%s: the least", rows[i].name);
        cr_expect_not(is_refused(&rows[i], limit->most), "%s: the most", rows[i].name);
        cr_expect(is_refused(&rows[i], limit->most + one), "%s: more", rows[i].name);
        cr_expect(limit->least == 0 || is_refused(&rows[i], limit->least - one), "%s: less",
                  rows[i].name);
        cr_expect(limit->step == 0 || is_refused(&rows[i], limit->least + 1), "%s: no step",
                  rows[i].name);
    }
}

// A key that goes with a word means nothing beside another one.
Test(supervisor_manifest_keys, keys_at_another_place_refuse_the_vm) {
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        for (const struct row *other = rows; row->with != NULL && other < rows + ROW_COUNT;
             other++) {
            bool is_another = other->with != NULL && strcmp(other->with, row->with) == 0 &&
                              strcmp(other->with_word, row->with_word) != 0;
            if (is_another) {
                begin(row, other->with, other->with_word);
                put_good(row);
                cr_expect_null(end(false), "%s", row->name);
                expect_named(vm.refusal, row, "stands at another place");
            }
        }
    }
    begin(NULL, NULL, NULL);
    fdt_property_u64(tree, "restart-delay", 5000000);
    cr_expect_null(end(false));
    cr_expect_str_eq(vm.refusal, "\"restart-delay\" in the manifest goes with restart = "
                                 "\"on-failure\", \"always\"");
}

Test(supervisor_manifest_keys, keys_for_tests_need_a_test_image) {
    for (const struct row *row = rows; row < rows + ROW_COUNT; row++) {
        if (row->is_for_tests) {
            begin(NULL, NULL, NULL);
            put_good(row);
            cr_expect_null(end(false));
            expect_named(vm.refusal, row, "is for tests");
        }
    }
}
