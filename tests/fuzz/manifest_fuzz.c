// SPDX-License-Identifier: Apache-2.0
// The compiled manifest. An input is a list of edits of a good tree: bytes, cells and strings at
// any place; one that begins with an odd byte is the tree itself. What the supervisor accepts keeps
// what include/manifest.h promises.
#include "supervisor/manifest.h"
#include "tests/fuzz/input.h"

#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#define TREE_MAX  4096u
#define INPUT_MAX 65536u

static struct manifest manifest; // large
static char good[TREE_MAX] __attribute__((aligned(8)));
static size_t good_size;

static void expect(bool is_true) {
    if (!is_true)
        abort();
}

// All keys that a VM of that kind may have.
static void add_more(bool is_realtime) {
    fdt_property_string(good, "schedule", is_realtime ? "realtime" : "shared");
    if (is_realtime) {
        fdt_property_u64(good, "budget", 2000000);
        fdt_property_u64(good, "period", 10000000);
    } else {
        fdt_property_u32(good, "cap", 50);
    }
    uint64_t cpus[MANIFEST_CPU_WORDS] = {cpu_to_fdt64(255)};
    fdt_property(good, "cpus", cpus, sizeof(cpus));
    fdt_property_u32(good, "weight", 7);
    fdt_property_u32(good, "cache", 3);
    fdt_property_u32(good, "node", 1);
    fdt_property_u64(good, "tsc-frequency", 1000000000);
    fdt_property_string(good, "trust", "us");
    fdt_property_string(good, "restart", "always");
    fdt_property_u64(good, "restart-delay", 5000000);
    fdt_property_u32(good, "restart-limit", 9);
    fdt_property_string(good, "kernel-file", "my kernel");
    fdt_property_string(good, "vmm", "calls.elf-2");
}

static void add_vm(const char *node, const char *name, uint32_t vcpus) {
    fdt_begin_node(good, node);
    fdt_property_string(good, "vm-name", name);
    fdt_property_u32(good, "vcpus", vcpus);
    fdt_property_u64(good, "memory", 64ULL << 20);
    fdt_property_string(good, "kernel", "vmlinuz-0");
    fdt_property_string(good, "initrd", "initrd-0");
    fdt_property_string(good, "cmdline", "console=ttyS0");
    fdt_property(good, "autostart", NULL, 0);
    add_more(vcpus != 1);
    fdt_end_node(good);
}

static void make_good(void) {
    expect(fdt_create(good, sizeof(good)) == 0 && fdt_finish_reservemap(good) == 0);
    fdt_begin_node(good, "");
    fdt_property_string(good, "compatible", MANIFEST_COMPATIBLE);
    fdt_property_u32(good, "version", MANIFEST_VERSION);
    fdt_begin_node(good, "host");
    fdt_property_string(good, "cmdline", "");
    fdt_property_string(good, "when-all-ended", "stay");
    fdt_property(good, "test-image", NULL, 0);
    fdt_end_node(good);
    fdt_begin_node(good, "vms");
    add_vm("vm@0", "first", 1);
    add_vm("vm@1", "second", 4);
    fdt_end_node(good);
    fdt_end_node(good);
    expect(fdt_finish(good) == 0);
    good_size = fdt_totalsize(good);
}

static void edit(char *tree, struct input *input) {
    while (input->left > 0) {
        uint8_t kind = input_byte(input);
        size_t at = input_number(input, 2) % good_size;
        size_t cell = at / 4 * 4;
        uint32_t value = (uint32_t)input_number(input, kind % 2 ? 4 : 1);
        if (kind < 96 || cell + 4 > good_size)
            tree[at] = (char)value;
        else if (kind < 176)
            *(uint32_t *)(void *)(tree + cell) = cpu_to_fdt32(value);
        else if (kind < 240)
            *(uint32_t *)(void *)(tree + cell) = cpu_to_fdt32(
                fdt32_to_cpu(*(uint32_t *)(void *)(tree + cell)) + (uint32_t)(int8_t)value);
        else
            memmove(tree + at, tree + value % good_size,
                    good_size - (at > value % good_size ? at : value % good_size));
    }
}

// A string of the manifest lies in the tree, with its end.
static void check_string(const char *text, const char *tree, size_t size, size_t max) {
    expect(text >= tree && text < tree + size);
    size_t length = strnlen(text, (size_t)(tree + size - text));
    expect(text + length < tree + size && length <= max);
}

static void check_name(const char *name) {
    expect(*name != '\0' && *name != '-');
    for (; *name != '\0'; name++)
        expect((*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') || *name == '-');
}

// Of each kind of value what whoever uses it relies on, even in a VM that is refused.
#define CHECK_NAME(it)      check_string(it, tree, size, MANIFEST_NAME_MAX), check_name(it)
#define CHECK_WORD(it)      (void)(it == NULL || (CHECK_NAME(it), true))
#define CHECK_TEXT(most)    CHECK_EACH_TEXT
#define CHECK_EACH_TEXT(it) (void)(*it == '\0' || (check_string(it, tree, size, size), true))
#define CHECK_FILE(it)                                                                             \
    (void)(it == NULL || (check_string(it, tree, size, size), true));                              \
    expect((it == NULL) == (it##_file == NULL));                                                   \
    (void)(it == NULL || (check_string(it##_file, tree, size, size), true))
#define CHECK_CHOICE(type)  CHECK_EACH_WORD
#define CHECK_EACH_WORD(it) expect(it < 3)
#define CHECK_FLAG          (void)
#define CHECK_CPUS          (void)
#define CHECK_NUMBER(...)   (void)
#define CHECK_SIZE(...)     (void)
#define CHECK_TIME(...)     (void)
#define CHECK_RATE(...)     (void)

static void check_vm(const struct vm_config *vm, const char *tree, size_t size) {
#define VM_KEY(member, key, value, ...)         CHECK_##value(vm->member);
#define SCHEDULING_KEY(member, key, value, ...) CHECK_##value(vm->scheduling.member);
#include "include/manifest_keys.h"
    expect(strlen(vm->cmdline) <= MANIFEST_CMDLINE_MAX);
    if (vm->refusal != NULL)
        return;
    expect(vm->vcpus >= 1 && vm->vcpus <= MANIFEST_VCPUS_MAX);
    expect(vm->memory != 0 && vm->memory % (2u << 20) == 0);
    expect(strcmp(vm->name, "bulkhead") != 0);
    expect(vm->scheduling.weight != 0 && vm->restart_delay != 0);
    bool is_realtime = vm->scheduling.schedule == VM_REALTIME;
    expect(!is_realtime || vm->scheduling.budget < vm->scheduling.period);
    for (uint32_t i = 0; &manifest.vm[i] < vm; i++)
        expect(strcmp(manifest.vm[i].name, vm->name) != 0);
}

static void check(const char *tree, size_t size) {
    const char *wrong = manifest_parse(&manifest, tree, size);
    if (wrong != NULL) {
        expect(manifest.vm_count == 0 && wrong[0] != '\0');
        return;
    }
    expect(manifest.vm_count <= MANIFEST_VMS_MAX);
    for (uint32_t i = 0; i < manifest.vm_count; i++)
        check_vm(&manifest.vm[i], tree, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    if (size > INPUT_MAX)
        return 0;
    if (good_size == 0)
        make_good();
    bool is_raw = (input_byte(&input) & 1) != 0;
    size_t bytes = is_raw ? input.left : good_size;
    // A copy of exactly that size, so that a read behind it is seen.
    char *tree = malloc(bytes != 0 ? bytes : 1);
    expect(tree != NULL);
    memcpy(tree, is_raw ? (const void *)input.at : good, bytes);
    if (!is_raw)
        edit(tree, &input);
    check(tree, bytes);
    free(tree);
    return 0;
}
