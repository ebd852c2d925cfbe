// SPDX-License-Identifier: Apache-2.0
// supervisor/manifest: reads what tools/manifest writes (built here with libfdt's writer), refuses
// what is damaged, and survives whatever a disk may turn the tree into.
#include "supervisor/manifest.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TREE_TEST_SIZE 8192

static struct manifest manifest_test; // large
static char tree_test[TREE_TEST_SIZE] __attribute__((aligned(8)));

static void tree_test_string(const char *name, const char *value) {
    cr_assert_eq(fdt_property_string(tree_test, name, value), 0);
}

static bool tree_test_is_test; // an image for tests

static void tree_test_begin(uint32_t version, const char *when_all_ended) {
    cr_assert_eq(fdt_create(tree_test, TREE_TEST_SIZE), 0);
    cr_assert_eq(fdt_finish_reservemap(tree_test), 0);
    fdt_begin_node(tree_test, "");
    tree_test_string("compatible", MANIFEST_COMPATIBLE);
    fdt_property_u32(tree_test, "version", version);
    fdt_begin_node(tree_test, "host");
    tree_test_string("cmdline", "");
    if (when_all_ended != NULL) {
        tree_test_string("when-all-ended", when_all_ended);
    }
    if (tree_test_is_test) {
        fdt_property(tree_test, "test-image", NULL, 0);
    }
    fdt_end_node(tree_test);
    fdt_begin_node(tree_test, "vms");
}

static void (*tree_test_more)(void); // adds properties to each VM; NULL: none

static void tree_test_vm(const char *name, uint32_t vcpus, uint64_t memory, const char *initrd) {
    static unsigned int index;
    char node[16];
    snprintf(node, sizeof(node), "vm@%x", index++ % 4096);
    fdt_begin_node(tree_test, node);
    tree_test_string("vm-name", name);
    fdt_property_u32(tree_test, "vcpus", vcpus);
    fdt_property_u64(tree_test, "memory", memory);
    tree_test_string("kernel", "vmlinuz-0");
    if (initrd != NULL) {
        tree_test_string("initrd", initrd);
    }
    tree_test_string("cmdline", "console=ttyS0");
    fdt_property(tree_test, "autostart", NULL, 0);
    if (tree_test_more != NULL) {
        tree_test_more();
    }
    fdt_end_node(tree_test);
}

// The size of the finished tree.
static size_t tree_test_end(void) {
    fdt_end_node(tree_test);
    fdt_end_node(tree_test);
    cr_assert_eq(fdt_finish(tree_test), 0);
    return fdt_totalsize(tree_test);
}

static void tree_test_all_keys(void);

static size_t tree_test_two_vms(void) {
    tree_test_more = tree_test_all_keys;
    tree_test_begin(MANIFEST_VERSION, "stay");
    tree_test_vm("demo", 2, 256u << 20, "initrd-0");
    tree_test_vm("b-2", 1, 2u << 20, NULL);
    return tree_test_end();
}

static void tree_test_vmm(void) {
    tree_test_string("vmm", "calls.elf-2");
}

// Whoever made the image for use, no other program gets a VMM's handles.
Test(supervisor_manifest, program_in_the_vmms_place_needs_a_test_image) {
    for (int is_test = 0; is_test < 2; is_test++) {
        tree_test_is_test = is_test != 0;
        tree_test_more = NULL;
        tree_test_begin(MANIFEST_VERSION, NULL);
        tree_test_vm("usual", 1, 2u << 20, NULL);
        tree_test_more = tree_test_vmm;
        tree_test_vm("other", 1, 2u << 20, NULL);
        cr_assert_null(manifest_parse(&manifest_test, tree_test, tree_test_end()));
        cr_expect_eq(manifest_test.is_test_image, is_test != 0);
        cr_expect_null(manifest_test.vm[0].vmm);
        cr_expect_null(manifest_test.vm[0].refusal);
        cr_expect_str_eq(manifest_test.vm[1].vmm, "calls.elf-2");
        cr_expect_eq(manifest_test.vm[1].refusal == NULL, is_test != 0);
    }
}

Test(supervisor_manifest, good_tree_is_read) {
    cr_assert_null(manifest_parse(&manifest_test, tree_test, tree_test_two_vms()));
    cr_assert_eq(manifest_test.host.when_all_ended, HOST_STAY);
    cr_assert_str_eq(manifest_test.host.cmdline, "");
    cr_assert_eq(manifest_test.vm_count, 2);
    const struct vm_config *vm = &manifest_test.vm[0];
    cr_assert_str_eq(vm->name, "demo");
    cr_assert_str_eq(vm->kernel, "vmlinuz-0");
    cr_assert_str_eq(vm->initrd, "initrd-0");
    cr_assert_str_eq(vm->cmdline, "console=ttyS0");
    cr_assert_eq(vm->memory, 256u << 20);
    cr_assert_eq(vm->vcpus, 2);
    cr_assert(vm->is_autostart);
    cr_assert_null(vm->refusal);
    cr_assert_null(manifest_test.vm[1].initrd);
}

// Parses one VM with two vCPUs and these properties.
static const struct vm_config *manifest_test_vm(void (*more)(void)) {
    tree_test_more = more;
    tree_test_begin(MANIFEST_VERSION, NULL);
    tree_test_vm("demo", 2, 2u << 20, NULL);
    const char *wrong = manifest_parse(&manifest_test, tree_test, tree_test_end());
    return wrong == NULL ? &manifest_test.vm[0] : NULL;
}

static void tree_test_files(void) {
    fdt_property_string(tree_test, "kernel-file", "my kernel");
    fdt_property_string(tree_test, "initrd-file", "my initrd");
}

static void tree_test_long_file(void) {
    fdt_property_string(tree_test, "kernel-file",
                        "0123456789012345678901234567890123456789012345678901234567890123");
}

// Messages about a file use the user's name of it.
Test(supervisor_manifest, files_have_the_users_names) {
    tree_test_more = tree_test_files;
    tree_test_begin(MANIFEST_VERSION, NULL);
    tree_test_vm("demo", 1, 2u << 20, "initrd-0");
    tree_test_vm("none", 1, 2u << 20, NULL);
    cr_assert_null(manifest_parse(&manifest_test, tree_test, tree_test_end()));
    cr_assert_str_eq(manifest_test.vm[0].kernel, "vmlinuz-0");
    cr_assert_str_eq(manifest_test.vm[0].kernel_file, "my kernel");
    cr_assert_str_eq(manifest_test.vm[0].initrd_file, "my initrd");
    cr_assert_null(manifest_test.vm[1].initrd_file);
    cr_assert_str_eq(manifest_test_vm(NULL)->kernel_file, "vmlinuz-0");
    cr_assert_null(manifest_test_vm(tree_test_long_file));
}

Test(supervisor_manifest, scheduling_and_restart_have_defaults) {
    const struct vm_config *vm = manifest_test_vm(NULL);
    cr_assert_eq(vm->scheduling.schedule, VM_SHARED);
    cr_assert_eq(vm->scheduling.weight, 100);
    cr_assert_eq(vm->scheduling.cap, 0);
    cr_assert_eq(vm->scheduling.cpus[0], UINT64_MAX);
    cr_assert_eq(vm->scheduling.cpus[MANIFEST_CPU_WORDS - 1], UINT64_MAX);
    cr_assert_eq(vm->scheduling.domain, 0);
    cr_assert_eq(vm->restart, VM_RESTART_NEVER);
    cr_assert_eq(vm->restart_delay, 1000000000);
    cr_assert_eq(vm->restart_limit, 0);
}

static void tree_test_cpus(uint64_t first, uint64_t last) {
    fdt64_t words[MANIFEST_CPU_WORDS] = {cpu_to_fdt64(first)};
    words[MANIFEST_CPU_WORDS - 1] = cpu_to_fdt64(last);
    fdt_property(tree_test, "cpus", words, sizeof(words));
}

static void tree_test_times(uint64_t budget, uint64_t period) {
    tree_test_string("schedule", "realtime");
    fdt_property_u64(tree_test, "budget", budget);
    fdt_property_u64(tree_test, "period", period);
}

static void tree_test_all_keys(void) {
    tree_test_times(2000000, 10000000);
    fdt_property_u32(tree_test, "weight", 7);
    tree_test_cpus(6, 1);
    tree_test_string("trust", "us");
    fdt_property_u32(tree_test, "cache", 3);
    tree_test_string("restart", "on-failure");
    fdt_property_u64(tree_test, "restart-delay", 5000000);
    fdt_property_u32(tree_test, "restart-limit", 9);
}

Test(supervisor_manifest, scheduling_and_restart_are_read) {
    const struct vm_config *vm = manifest_test_vm(tree_test_all_keys);
    cr_assert_not_null(vm);
    cr_assert_null(vm->refusal, "%s", vm->refusal);
    cr_assert_eq(vm->scheduling.schedule, VM_REALTIME);
    cr_assert_eq(vm->scheduling.budget, 2000000);
    cr_assert_eq(vm->scheduling.period, 10000000);
    cr_assert_eq(vm->scheduling.weight, 7);
    cr_assert_eq(vm->scheduling.cpus[0], 6);
    cr_assert_eq(vm->scheduling.cpus[MANIFEST_CPU_WORDS - 1], 1);
    cr_assert_eq(vm->scheduling.cache, 3);
    cr_assert_str_eq(vm->trust, "us");
    cr_assert_eq(vm->restart, VM_RESTART_ON_FAILURE);
    cr_assert_eq(vm->restart_delay, 5000000);
    cr_assert_eq(vm->restart_limit, 9);
}

static void tree_test_trust_us(void) {
    tree_test_string("trust", "us");
}

static void tree_test_trust_them(void) {
    tree_test_string("trust", "them");
}

Test(supervisor_manifest, equal_words_of_trust_are_one_domain) {
    tree_test_begin(MANIFEST_VERSION, NULL);
    tree_test_more = tree_test_trust_us;
    tree_test_vm("a", 1, 2u << 20, NULL);
    tree_test_more = tree_test_trust_them;
    tree_test_vm("b", 1, 2u << 20, NULL);
    tree_test_more = NULL;
    tree_test_vm("c", 1, 2u << 20, NULL);
    tree_test_more = tree_test_trust_us;
    tree_test_vm("d", 1, 2u << 20, NULL);
    cr_assert_null(manifest_parse(&manifest_test, tree_test, tree_test_end()));
    uint32_t domain[4];
    for (unsigned int i = 0; i < 4; i++) {
        domain[i] = manifest_test.vm[i].scheduling.domain;
    }
    cr_assert_eq(domain[0], domain[3]);
    cr_assert_neq(domain[0], domain[1]);
    cr_assert_neq(domain[0], 0);
    cr_assert_neq(domain[1], 0);
    cr_assert_eq(domain[2], 0);
}

// Each of them is one thing that cannot be.
static void tree_bad_weight(void) {
    fdt_property_u32(tree_test, "weight", 0);
}
static void tree_bad_weight_high(void) {
    fdt_property_u32(tree_test, "weight", 10001);
}
static void tree_bad_cap(void) {
    fdt_property_u32(tree_test, "cap", MANIFEST_CAP_MAX + 1);
}
static void tree_bad_cpus(void) {
    tree_test_cpus(0, 0);
}
static void tree_bad_times(void) {
    tree_test_times(9000001, 10000000);
}
static void tree_bad_period(void) {
    tree_test_times(10, 10000000001);
}
static void tree_bad_no_budget(void) {
    tree_test_times(0, 10);
}
static void tree_bad_cache(void) {
    fdt_property_u32(tree_test, "cache", 33);
}
static void tree_bad_delay(void) {
    fdt_property_u64(tree_test, "restart-delay", 0);
}
static void tree_bad_delay_high(void) {
    fdt_property_u64(tree_test, "restart-delay", UINT64_MAX);
}

static void tree_bad_budget_alone(void) {
    fdt_property_u64(tree_test, "budget", 10);
}

static void tree_bad_capped(void) {
    tree_test_string("schedule", "dedicated");
    fdt_property_u32(tree_test, "cap", 10);
}

static void tree_bad_few(void) {
    tree_test_string("schedule", "dedicated");
    tree_test_cpus(4, 0);
}

Test(supervisor_manifest, impossible_scheduling_refuses_the_vm) {
    static void (*const bad[])(void) = {
        tree_bad_weight, tree_bad_weight_high, tree_bad_cap,   tree_bad_cpus,
        tree_bad_times,  tree_bad_period,      tree_bad_cache, tree_bad_no_budget,
        tree_bad_delay,  tree_bad_delay_high,  tree_bad_few,   tree_bad_budget_alone,
        tree_bad_capped,
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct vm_config *vm = manifest_test_vm(bad[i]);
        cr_assert_not_null(vm, "number %zu", i);
        cr_assert_not_null(vm->refusal, "number %zu", i);
    }
}

static void tree_form_weight(void) {
    fdt_property_u64(tree_test, "weight", 1);
}
static void tree_form_budget(void) {
    fdt_property_u32(tree_test, "budget", 1);
}
static void tree_form_cpus(void) {
    fdt_property_u64(tree_test, "cpus", 1);
}
static void tree_form_schedule(void) {
    tree_test_string("schedule", "often");
}
static void tree_form_restart(void) {
    fdt_property_u32(tree_test, "restart", 1);
}
static void tree_form_trust(void) {
    tree_test_string("trust", "A");
}

Test(supervisor_manifest, scheduling_of_another_form_refuses_the_manifest) {
    static void (*const bad[])(void) = {tree_form_weight,   tree_form_budget,  tree_form_cpus,
                                        tree_form_schedule, tree_form_restart, tree_form_trust};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_null(manifest_test_vm(bad[i]), "number %zu", i);
        cr_assert_eq(manifest_test.vm_count, 0);
    }
}

Test(supervisor_manifest, no_vms_is_no_error) {
    tree_test_begin(MANIFEST_VERSION, "power-off");
    cr_assert_null(manifest_parse(&manifest_test, tree_test, tree_test_end()));
    cr_assert_eq(manifest_test.vm_count, 0);
    cr_assert_eq(manifest_test.host.when_all_ended, HOST_POWER_OFF);
}

Test(supervisor_manifest, wrong_version_is_refused) {
    tree_test_begin(MANIFEST_VERSION + 1, NULL);
    cr_assert_not_null(manifest_parse(&manifest_test, tree_test, tree_test_end()));
}

Test(supervisor_manifest, unknown_end_is_refused) {
    tree_test_begin(MANIFEST_VERSION, "explode");
    cr_assert_not_null(manifest_parse(&manifest_test, tree_test, tree_test_end()));
}

Test(supervisor_manifest, bad_names_are_refused) {
    static const char *const names[] = {
        "", "-a", "Demo", "a b", "a\n[bulkhead] x", "a_b", "abcdefghijklmnopqrstuvwxyz012345"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        tree_test_begin(MANIFEST_VERSION, NULL);
        tree_test_vm(names[i], 1, 2u << 20, NULL);
        cr_assert_not_null(manifest_parse(&manifest_test, tree_test, tree_test_end()),
                           "name \"%s\"", names[i]);
        cr_assert_eq(manifest_test.vm_count, 0);
    }
}

// What is impossible for one VM is that VM's refusal: the others run.
static void manifest_test_refuses_second(const char *name, uint32_t vcpus, uint64_t memory) {
    tree_test_begin(MANIFEST_VERSION, NULL);
    tree_test_vm("first", 1, 2u << 20, NULL);
    tree_test_vm(name, vcpus, memory, NULL);
    tree_test_vm("third", 1, 2u << 20, NULL);
    cr_assert_null(manifest_parse(&manifest_test, tree_test, tree_test_end()));
    cr_assert_eq(manifest_test.vm_count, 3);
    cr_assert_null(manifest_test.vm[0].refusal);
    cr_assert_not_null(manifest_test.vm[1].refusal);
    cr_assert_null(manifest_test.vm[2].refusal);
}

Test(supervisor_manifest, impossible_vms_are_refused_alone) {
    manifest_test_refuses_second("first", 1, 2u << 20); // the name is taken
    manifest_test_refuses_second("bulkhead", 1, 2u << 20);
    manifest_test_refuses_second("second", 0, 2u << 20);
    manifest_test_refuses_second("second", 65, 2u << 20);
    manifest_test_refuses_second("second", 1, 0);
    manifest_test_refuses_second("second", 1, (2u << 20) + 4096);
    manifest_test_refuses_second("second", 1, UINT64_MAX & ~0x1fffffULL);
}

Test(supervisor_manifest, cut_off_trees_are_refused) {
    size_t size = tree_test_two_vms();
    for (size_t cut = 0; cut < size; cut++) {
        // A copy of exactly that size, so that ASan sees a read behind it.
        char *copy = aligned_alloc(8, (cut + 15) / 8 * 8);
        char *end = copy + (cut + 15) / 8 * 8;
        memset(copy, 0, (size_t)(end - copy));
        memcpy(copy, tree_test, cut);
        cr_assert_not_null(manifest_parse(&manifest_test, copy, cut));
        free(copy);
    }
}

// Checks what the rest of the supervisor relies on, whatever the tree says.
static void manifest_test_check(const char *tree, size_t size) {
    if (manifest_parse(&manifest_test, tree, size) != NULL) {
        cr_assert_eq(manifest_test.vm_count, 0);
        return;
    }
    cr_assert_leq(manifest_test.vm_count, MANIFEST_VMS_MAX);
    for (uint32_t i = 0; i < manifest_test.vm_count; i++) {
        const struct vm_config *vm = &manifest_test.vm[i];
        cr_assert_leq(strlen(vm->name), MANIFEST_NAME_MAX);
        cr_assert_leq(strlen(vm->cmdline), MANIFEST_CMDLINE_MAX);
        cr_assert(vm->name >= tree && vm->name < tree + size);
        cr_assert(vm->kernel >= tree && vm->kernel + strlen(vm->kernel) < tree + size);
        cr_assert(vm->refusal != NULL || (vm->vcpus >= 1 && vm->vcpus <= MANIFEST_VCPUS_MAX));
        cr_assert(vm->refusal != NULL || vm->scheduling.weight != 0);
        cr_assert(vm->refusal != NULL || vm->scheduling.schedule != VM_REALTIME ||
                  (vm->scheduling.budget != 0 && vm->scheduling.period > vm->scheduling.budget));
    }
}

// libfdt 1.6 would follow it backwards for ever.
Test(supervisor_manifest, overflowing_lengths_are_refused) {
    size_t size = tree_test_two_vms();
    int length = 0;
    const struct fdt_property *property = fdt_get_property(tree_test, 0, "compatible", &length);
    fdt32_t *cell = (fdt32_t *)(uintptr_t)&property->len;
    for (uint32_t back = 1; back < 64; back++) {
        *cell = cpu_to_fdt32(-back);
        cr_assert_not_null(manifest_parse(&manifest_test, tree_test, size));
    }
}

// libfdt 1.6 finds no name of the root in it.
Test(supervisor_manifest, old_formats_are_refused) {
    size_t size = tree_test_two_vms();
    fdt_set_version(tree_test, 15);
    fdt_set_last_comp_version(tree_test, 15);
    cr_assert_not_null(manifest_parse(&manifest_test, tree_test, size));
}

Test(supervisor_manifest, mutated_trees_are_survived) {
    size_t size = tree_test_two_vms();
    char *copy = aligned_alloc(8, (size + 7) / 8 * 8);
    srand(5);
    for (unsigned int round = 0; round < 100000; round++) {
        memcpy(copy, tree_test, size);
        for (int i = rand() % 4; i >= 0; i--) {
            size_t at = (size_t)rand() % size;
            copy[at] = (char)(rand() % 2 == 0 ? rand() : copy[at] ^ (1 << rand() % 8));
        }
        manifest_test_check(copy, size);
    }
    free(copy);
}

Test(supervisor_manifest, mutated_headers_are_survived) {
    size_t size = tree_test_two_vms();
    char *copy = aligned_alloc(8, (size + 7) / 8 * 8);
    srand(6);
    for (unsigned int round = 0; round < 50000; round++) {
        memcpy(copy, tree_test, size);
        uint32_t *cell = (uint32_t *)(void *)copy + rand() % 10;
        *cell = cpu_to_fdt32(fdt32_to_cpu(*cell) + (uint32_t)(rand() % 64 - 32));
        manifest_test_check(copy, size);
    }
    free(copy);
}

static uint32_t tree_test_unknown;

static void tree_test_many(void) {
    for (uint32_t i = 0; i < tree_test_unknown; i++) {
        char name[16];
        snprintf(name, sizeof(name), "later-%u", i);
        tree_test_string(name, "");
    }
}

Test(supervisor_manifest, a_vm_has_at_most_64_properties) {
    for (tree_test_unknown = 58; tree_test_unknown < 61; tree_test_unknown++) { // beside six
        tree_test_more = tree_test_many;
        tree_test_begin(MANIFEST_VERSION, "stay");
        tree_test_vm("demo", 2, 256u << 20, NULL);
        const char *wrong = manifest_parse(&manifest_test, tree_test, tree_test_end());
        if (tree_test_unknown == 58) {
            cr_expect_null(wrong, "%s", wrong);
        } else {
            cr_expect_not_null(wrong);
        }
    }
}

Test(supervisor_manifest, too_many_vms_are_refused) {
    size_t size = 300 * 1024;
    char *tree = aligned_alloc(8, size);
    fdt_create(tree, (int)size);
    fdt_finish_reservemap(tree);
    fdt_begin_node(tree, "");
    fdt_property_string(tree, "compatible", MANIFEST_COMPATIBLE);
    fdt_property_u32(tree, "version", MANIFEST_VERSION);
    fdt_begin_node(tree, "host");
    fdt_end_node(tree);
    fdt_begin_node(tree, "vms");
    for (unsigned int i = 0; i <= MANIFEST_VMS_MAX; i++) {
        char text[16];
        snprintf(text, sizeof(text), "vm@%x", i);
        fdt_begin_node(tree, text);
        snprintf(text, sizeof(text), "n%u", i);
        fdt_property_string(tree, "vm-name", text);
        fdt_property_u32(tree, "vcpus", 1);
        fdt_property_u64(tree, "memory", 2u << 20);
        fdt_property_string(tree, "kernel", "k");
        fdt_property_string(tree, "cmdline", "");
        fdt_end_node(tree);
    }
    fdt_end_node(tree);
    fdt_end_node(tree);
    cr_assert_eq(fdt_finish(tree), 0);
    const char *wrong = manifest_parse(&manifest_test, tree, fdt_totalsize(tree));
    cr_assert_str_eq(wrong, "it names more than 256 VMs");
    cr_assert_eq(manifest_test.vm_count, 0);
    free(tree);
}
