// SPDX-License-Identifier: Apache-2.0
// The table of the keys, made from their description, and what reads a key by its row. A property
// has exactly one form; nothing of it is believed.
#include "supervisor/manifest_keys.h"

#include "lib/string.h"

#include <assert.h>
#include <libfdt.h>

enum form { STRING, NAME, WORD, FILE, FLAG, CHOICE, CELL, TWO_CELLS, CPUS };

#define WITH_MAX 4u

struct key {
    const char *name; // and of the property, but for NAME
    size_t offset;    // of the member
    enum form form;
    bool is_required, is_for_tests;
    uint32_t length;                      // STRING, NAME, WORD: most characters
    const char *empty;                    // STRING: without the property
    uint64_t least, most, step, fallback; // CELL, TWO_CELLS; the last one: without the property
    const char *const *words;             // CHOICE: in the order of the enum, up to NULL
    const char *with;                     // the key that it goes with; NULL: none
    const char *with_words[WITH_MAX];     // and the words that it goes with, up to NULL
    const char *file;                     // FILE: the property with the user's own name
    // What is said when it is missing or has another form, has a value that it may not have, stands
    // where it means nothing, or is for tests.
    const char *wrong, *range, *alone, *tests;
};

// ---- the table ----------------------------------------------------------------------------------

#define UNIT_one 1ULL
#define UNIT_M   (1ULL << 20)
#define UNIT_T   (1ULL << 40)
#define UNIT_us  1000ULL
#define UNIT_ms  1000000ULL
#define UNIT_s   1000000000ULL
#define UNIT_MHz 1000000ULL
#define UNIT_GHz 1000000000ULL

#define QUANTITY(number, unit, ...) ((number)*UNIT_##unit)
#define QUOTE(number)               QUOTE_AS_IS(number)
#define QUOTE_AS_IS(number)         #number

#define TWO_CELLS_FROM(low, low_unit, high, high_unit)                                             \
    .form = TWO_CELLS, .least = QUANTITY(low, low_unit), .most = QUANTITY(high, high_unit)
#define FROM_TO(low, low_unit, high, high_unit) QUOTE(low) #low_unit " to " QUOTE(high) #high_unit

// Of each kind of value: its form and range, and how the range is said where it has one.
#define VALUE_NAME                  .form = NAME, .length = MANIFEST_NAME_MAX
#define RANGE_NAME                  ""
#define VALUE_WORD                  .form = WORD, .length = MANIFEST_NAME_MAX
#define RANGE_WORD                  ""
#define VALUE_FILE                  .form = FILE
#define RANGE_FILE                  ""
#define VALUE_TEXT(most_characters) .form = STRING, .length = (most_characters)
#define RANGE_TEXT(most_characters) ""
#define VALUE_FLAG                  .form = FLAG
#define RANGE_FLAG                  ""
#define VALUE_CHOICE(type)          .form = CHOICE, .words = type##_words
#define RANGE_CHOICE(type)          ""
#define VALUE_NUMBER(low, high)     .form = CELL, .least = (low), .most = (high)
#define RANGE_NUMBER(low, high)     QUOTE(low) " to " QUOTE(high)
#define VALUE_TIME                  TWO_CELLS_FROM
#define RANGE_TIME                  FROM_TO
#define VALUE_RATE                  TWO_CELLS_FROM
#define RANGE_RATE                  FROM_TO
#define VALUE_SIZE(low, unit, ...)                                                                 \
    TWO_CELLS_FROM(low, unit, __VA_ARGS__), .step = QUANTITY(low, unit)
#define RANGE_SIZE(low, unit, ...) FROM_TO(low, unit, __VA_ARGS__) ", a multiple of " #low #unit
#define VALUE_CPUS                 .form = CPUS
#define RANGE_CPUS                 ""

#define WITHOUT_REQUIRED(example) .is_required = true
#define WITHOUT_DEFAULT(...)      .fallback = QUANTITY(__VA_ARGS__, one, )
#define WITHOUT_FIRST             .fallback = 0
#define WITHOUT_SET               .fallback = 0 // the tool writes what is set
#define WITHOUT_EMPTY             .empty = ""
#define WITHOUT_ABSENT(meaning)   .fallback = 0
#define WITHOUT_CHOSEN(by)        .fallback = UINT32_MAX
#define WITHOUT_FOR_TESTS         .is_for_tests = true

#define WHEN_ALWAYS            .with = NULL
#define WHEN_WITH(other, ...)  .with = #other, .with_words = {__VA_ARGS__}
#define ALONE_ALWAYS           ""
#define ALONE_WITH(other, ...) #other " = " #__VA_ARGS__

#define KEY(struct_, member, key, value, without, when)                                            \
    {.name = (key),                                                                                \
     .offset = offsetof(struct struct_, member),                                                   \
     .file = key "-file",                                                                          \
     .wrong = "\"" key "\" is missing or has another form",                                        \
     .range = "\"" key "\" in the manifest must be " RANGE_##value,                                \
     .alone = "\"" key "\" in the manifest goes with " ALONE_##when,                               \
     .tests = "\"" key "\" is for test images alone; make the image again without it",             \
     VALUE_##value,                                                                                \
     WITHOUT_##without,                                                                            \
     WHEN_##when},

#define WORD_IS(constant, word, meaning) word
#define CHOICES(type, ...)                                                                         \
    static_assert(sizeof(enum type) == sizeof(uint32_t), "read as such");                          \
    static const char *const type##_words[] = {__VA_ARGS__, NULL};
#include "include/manifest_keys.h"

static const struct key host_keys[] = {
#define HOST_KEY(...) KEY(host_config, __VA_ARGS__)
#include "include/manifest_keys.h"
};

static const struct key vm_keys[] = {
#define VM_KEY(...)                 KEY(vm_config, __VA_ARGS__)
#define SCHEDULING_KEY(member, ...) KEY(vm_config, scheduling.member, __VA_ARGS__)
#include "include/manifest_keys.h"
};

// ---- a property ---------------------------------------------------------------------------------

#define PROPERTIES_MAX 64u // of a node; those that the tool writes are fewer
#define TOO_MANY       "a node of it has more than 64 properties; make the image again"

struct property {
    const char *name;
    const void *value;
    int length;
};

// A node's properties are found once: to look for each in the tree costs ten times as much.
struct reader {
    struct property property[PROPERTIES_MAX];
    uint32_t property_count;
    bool is_test_image;
    const struct key *keys; // those that the node may have
    size_t key_count;
    char *config;        // where their members are
    const char *refusal; // the first one; NULL: none
};

static const char *as_string(const char *value, int length, size_t most) {
    if (value == NULL || length < 1 || (size_t)length - 1 > most) {
        return NULL;
    }
    return strnlen(value, (size_t)length) == (size_t)length - 1 ? value : NULL;
}

const char *manifest_keys_string(const void *tree, int node, const char *name, size_t most) {
    int length = 0;
    const char *value = fdt_getprop(tree, node, name, &length);
    return as_string(value, length, most);
}

// False: there are more than we take.
static bool find_properties(struct reader *reader, const void *tree, int node) {
    int offset;
    fdt_for_each_property_offset(offset, tree, node) {
        struct property *property = &reader->property[reader->property_count];
        if (reader->property_count++ == PROPERTIES_MAX) {
            return false;
        }
        property->value = fdt_getprop_by_offset(tree, offset, &property->name, &property->length);
    }
    return true;
}

static const char *property_of(const struct key *key) {
    return key->form == NAME ? "vm-name" : key->name;
}

// Of two with the same name the first. NULL: there is none.
static const struct property *find(const struct reader *reader, const char *name) {
    for (uint32_t i = 0; i < reader->property_count; i++) {
        const struct property *property = &reader->property[i];
        if (property->value != NULL && strcmp(property->name, name) == 0) {
            return property;
        }
    }
    return NULL;
}

static const char *get_string(const struct reader *reader, const char *name, size_t most) {
    const struct property *property = find(reader, name);
    return property != NULL ? as_string(property->value, property->length, most) : NULL;
}

// NULL: it does not have so many bytes.
static const void *get_bytes(const struct reader *reader, const struct key *key, size_t size) {
    const struct property *property = find(reader, key->name);
    return property != NULL && property->length == (int)size ? property->value : NULL;
}

static void put(struct reader *reader, const struct key *key, const void *value, size_t size) {
    memcpy(reader->config + key->offset, value, size);
}

static void refuse(struct reader *reader, const char *why) {
    reader->refusal = reader->refusal != NULL ? reader->refusal : why;
}

static bool is_name(const char *name) {
    if (*name == '-' || *name == '\0') {
        return false;
    }
    for (; *name != '\0'; name++) {
        bool is_good =
            (*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') || *name == '-';
        if (!is_good) {
            return false;
        }
    }
    return true;
}

static bool read_string(struct reader *reader, const struct key *key) {
    const char *text = get_string(reader, property_of(key), key->length);
    bool is_good = text != NULL && (key->form == STRING || is_name(text));
    put(reader, key, &text, sizeof(text));
    return is_good;
}

// Where the tree does not tell the user's own name of it, the module's is as good.
static bool read_file(struct reader *reader, const struct key *key) {
    const char *name[2];
    name[0] = get_string(reader, key->name, SIZE_MAX);
    name[1] = name[0];
    if (find(reader, key->file) != NULL) {
        name[1] = get_string(reader, key->file, MANIFEST_FILE_MAX);
    }
    put(reader, key, name, sizeof(name)); // two members, one behind the other
    return name[0] != NULL && name[1] != NULL;
}

static bool read_choice(struct reader *reader, const struct key *key) {
    const char *word = get_string(reader, key->name, SIZE_MAX);
    uint32_t choice = 0;
    while (word != NULL && key->words[choice] != NULL && strcmp(word, key->words[choice]) != 0) {
        choice++;
    }
    put(reader, key, &choice, sizeof(choice));
    return word != NULL && key->words[choice] != NULL;
}

static bool is_in_range(const struct key *key, uint64_t value) {
    bool is_step = key->step == 0 || value % key->step == 0;
    return value >= key->least && value <= key->most && is_step;
}

static bool read_number(struct reader *reader, const struct key *key) {
    const void *cell = get_bytes(reader, key, sizeof(fdt32_t));
    uint32_t number = cell != NULL ? fdt32_ld(cell) : 0;
    put(reader, key, &number, sizeof(number));
    if (!is_in_range(key, number)) {
        refuse(reader, key->range);
    }
    return cell != NULL;
}

static bool read_quantity(struct reader *reader, const struct key *key) {
    const void *cells = get_bytes(reader, key, sizeof(fdt64_t));
    uint64_t quantity = cells != NULL ? fdt64_ld(cells) : 0;
    put(reader, key, &quantity, sizeof(quantity));
    if (!is_in_range(key, quantity)) {
        refuse(reader, key->range);
    }
    return cells != NULL;
}

static bool read_cpus(struct reader *reader, const struct key *key) {
    uint64_t words[MANIFEST_CPU_WORDS] = {0};
    const uint8_t *cells = get_bytes(reader, key, sizeof(words));
    for (uint32_t i = 0; cells != NULL && i < MANIFEST_CPU_WORDS; i++) {
        words[i] = fdt64_ld((const fdt64_t *)(const void *)(cells + i * sizeof(*words)));
    }
    put(reader, key, words, sizeof(words));
    return cells != NULL;
}

static bool read_flag(struct reader *reader, const struct key *key) {
    bool is_set = true;
    put(reader, key, &is_set, sizeof(is_set));
    return true;
}

// False: the property has another form.
static bool read_property(struct reader *reader, const struct key *key) {
    static bool (*const read[])(struct reader *, const struct key *) = {
        [STRING] = read_string, [NAME] = read_string,        [WORD] = read_string,
        [FILE] = read_file,     [FLAG] = read_flag,          [CHOICE] = read_choice,
        [CELL] = read_number,   [TWO_CELLS] = read_quantity, [CPUS] = read_cpus,
    };
    return read[key->form](reader, key);
}

// The member of a key whose property is absent. It is zeroed already.
static void put_default(struct reader *reader, const struct key *key) {
    uint64_t all[MANIFEST_CPU_WORDS];
    uint32_t number = (uint32_t)key->fallback;
    switch (key->form) {
    case STRING:
        put(reader, key, &key->empty, sizeof(key->empty));
        break;
    case CELL:
        put(reader, key, &number, sizeof(number));
        break;
    case TWO_CELLS:
        put(reader, key, &key->fallback, sizeof(key->fallback));
        break;
    case CPUS:
        memset(all, 0xff, sizeof(all));
        put(reader, key, all, sizeof(all));
        break;
    default:
        break;
    }
}

// ---- all keys of a node -------------------------------------------------------------------------

// The word that a key has, which stands before those that go with it, and so was read.
static const char *word_of(const struct reader *reader, const char *name) {
    for (size_t i = 0; i < reader->key_count; i++) {
        const struct key *key = &reader->keys[i];
        if (key->form == CHOICE && strcmp(key->name, name) == 0) {
            uint32_t choice;
            memcpy(&choice, reader->config + key->offset, sizeof(choice));
            return key->words[choice];
        }
    }
    return "";
}

static bool is_at_its_place(const struct reader *reader, const struct key *key) {
    if (key->with == NULL) {
        return true;
    }
    const char *word = word_of(reader, key->with);
    for (uint32_t i = 0; i < WITH_MAX && key->with_words[i] != NULL; i++) {
        if (strcmp(key->with_words[i], word) == 0) {
            return true;
        }
    }
    return false;
}

static const char *read_key(struct reader *reader, const struct key *key) {
    bool is_at_place = is_at_its_place(reader, key);
    if (find(reader, property_of(key)) == NULL) {
        put_default(reader, key);
        return key->is_required && is_at_place ? key->wrong : NULL;
    }
    if (!is_at_place) {
        refuse(reader, key->alone);
    }
    if (key->is_for_tests && !reader->is_test_image) {
        refuse(reader, key->tests);
    }
    return read_property(reader, key) ? NULL : key->wrong;
}

static const char *read_keys(struct reader *reader, const void *tree, int node) {
    const char *wrong = find_properties(reader, tree, node) ? NULL : TOO_MANY;
    for (size_t i = 0; i < reader->key_count && wrong == NULL; i++) {
        wrong = read_key(reader, &reader->keys[i]);
    }
    return wrong;
}

const char *manifest_keys_host(const void *tree, int node, struct host_config *host) {
    struct reader reader = {.keys = host_keys,
                            .key_count = sizeof(host_keys) / sizeof(host_keys[0]),
                            .config = (char *)host};
    memset(host, 0, sizeof(*host));
    const char *wrong = read_keys(&reader, tree, node);
    return wrong != NULL ? wrong : reader.refusal;
}

const char *manifest_keys_vm(const void *tree, int node, bool is_test_image, struct vm_config *vm) {
    struct reader reader = {.is_test_image = is_test_image,
                            .keys = vm_keys,
                            .key_count = sizeof(vm_keys) / sizeof(vm_keys[0]),
                            .config = (char *)vm};
    memset(vm, 0, sizeof(*vm));
    const char *wrong = read_keys(&reader, tree, node);
    vm->refusal = reader.refusal;
    return wrong;
}
