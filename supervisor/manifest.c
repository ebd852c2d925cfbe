// SPDX-License-Identifier: Apache-2.0
// Manifest parsing. fdt_check_full vouches for the structure of the tree (offsets, nesting,
// lengths); what the properties say is checked here, each once, by get_* functions that accept one
// exact form.
#include "supervisor/manifest.h"

#include "lib/string.h"

#include <libfdt.h>

#define MEMORY_UNIT (2ULL << 20) // bytes: guest memory is a multiple of it
#define MEMORY_MAX  (1ULL << 46) // bytes: keeps sums of sizes far from wrapping

// A property that is exactly one NUL-terminated string of at most `max` characters; else NULL.
static const char *get_string(const void *tree, int node, const char *name, size_t max) {
    int length = 0;
    const char *value = fdt_getprop(tree, node, name, &length);
    if (value == NULL || length < 1 || (size_t)length - 1 > max) {
        return NULL;
    }
    return strnlen(value, (size_t)length) == (size_t)length - 1 ? value : NULL;
}

static bool get_u32(const void *tree, int node, const char *name, uint32_t *value) {
    int length = 0;
    const void *cell = fdt_getprop(tree, node, name, &length);
    if (cell == NULL || length != (int)sizeof(*value)) {
        return false;
    }
    *value = fdt32_ld(cell);
    return true;
}

static bool get_u64(const void *tree, int node, const char *name, uint64_t *value) {
    int length = 0;
    const void *cells = fdt_getprop(tree, node, name, &length);
    if (cells == NULL || length != (int)sizeof(*value)) {
        return false;
    }
    *value = fdt64_ld(cells);
    return true;
}

static bool has_property(const void *tree, int node, const char *name) {
    return fdt_getprop(tree, node, name, NULL) != NULL;
}

// The same for properties that may be absent: the value is then left as it is.
static bool get_u32_if_there(const void *tree, int node, const char *name, uint32_t *value) {
    return !has_property(tree, node, name) || get_u32(tree, node, name, value);
}

static bool get_u64_if_there(const void *tree, int node, const char *name, uint64_t *value) {
    return !has_property(tree, node, name) || get_u64(tree, node, name, value);
}

// The index of the string among the `count` words, the first one when there is no such property.
static bool get_choice(const void *tree, int node, const char *name, const char *const *words,
                       uint32_t count, uint32_t *choice) {
    *choice = 0;
    if (!has_property(tree, node, name)) {
        return true;
    }
    const char *value = get_string(tree, node, name, SIZE_MAX);
    while (value != NULL && *choice < count && strcmp(value, words[*choice]) != 0) {
        ++*choice;
    }
    return value != NULL && *choice < count;
}

static bool get_cpus(const void *tree, int node, uint64_t cpus[MANIFEST_CPU_WORDS]) {
    int length = 0;
    const uint8_t *cells = fdt_getprop(tree, node, "cpus", &length);
    memset(cpus, 0xff, MANIFEST_CPU_WORDS * sizeof(*cpus));
    if (cells == NULL) {
        return length == -FDT_ERR_NOTFOUND;
    }
    if (length != (int)(MANIFEST_CPU_WORDS * sizeof(*cpus))) {
        return false;
    }
    for (uint32_t i = 0; i < MANIFEST_CPU_WORDS; i++) {
        cpus[i] = fdt64_ld((const fdt64_t *)(const void *)(cells + i * sizeof(*cpus)));
    }
    return true;
}

static bool is_name(const char *name) {
    if (name == NULL || *name == '-' || *name == '\0') {
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

static const char *check_vm(const struct manifest *manifest, const struct vm_config *vm) {
    if (vm->vmm != NULL && !manifest->is_test_image) {
        return "\"vmm\" is for test images alone; make the image again without it";
    }
    if (strcmp(vm->name, "bulkhead") == 0) {
        return "the name \"bulkhead\" is the hypervisor's own; choose another";
    }
    for (uint32_t i = 0; i < manifest->vm_count; i++) {
        if (strcmp(manifest->vm[i].name, vm->name) == 0) {
            return "an earlier VM has the same name; give each \"name\" in the manifest once";
        }
    }
    if (vm->vcpus < 1 || vm->vcpus > MANIFEST_VCPUS_MAX) {
        return "\"vcpus\" in the manifest must be 1 to 64";
    }
    if (vm->memory == 0 || vm->memory % MEMORY_UNIT != 0 || vm->memory > MEMORY_MAX) {
        return "\"memory\" in the manifest must be a multiple of 2M, and at most 64T";
    }
    if (vm->tsc_frequency != 0 &&
        (vm->tsc_frequency < MANIFEST_TSC_MIN || vm->tsc_frequency > MANIFEST_TSC_MAX)) {
        return "\"tsc-frequency\" in the manifest must be 1MHz to 8GHz";
    }
    return NULL;
}

static uint32_t count_cpus(const uint64_t cpus[MANIFEST_CPU_WORDS]) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < MANIFEST_CPU_WORDS; i++) {
        for (uint64_t left = cpus[i]; left != 0; left &= left - 1) {
            count++;
        }
    }
    return count;
}

// The tool has checked all this and says it better; a manifest of another tool is refused as well.
static const char *check_scheduling(const struct vm_config *vm) {
    const struct vm_scheduling *s = &vm->scheduling;
    bool is_realtime = s->schedule == VM_REALTIME;
    if (s->weight < 1 || s->weight > MANIFEST_WEIGHT_MAX) {
        return "\"weight\" in the manifest must be 1 to 10000";
    }
    if (s->cap > MANIFEST_CAP_MAX || (s->cap != 0 && s->schedule != VM_SHARED)) {
        return "\"cap\" in the manifest must be at most 25600, and with schedule = \"shared\"";
    }
    if (count_cpus(s->cpus) < (s->schedule == VM_SHARED ? 1 : vm->vcpus)) {
        return "\"cpus\" in the manifest names too few CPUs for its vCPUs";
    }
    if (is_realtime != (s->budget != 0) || is_realtime != (s->period != 0)) {
        return "\"budget\" and \"period\" in the manifest go with schedule = \"realtime\"";
    }
    if (is_realtime &&
        (s->period > MANIFEST_PERIOD_MAX || s->budget > s->period / 1000 * MANIFEST_SHARE_MAX)) {
        return "\"budget\" in the manifest must be at most 90 % of \"period\", and that 10s";
    }
    if (s->cache > MANIFEST_CACHE_WAYS_MAX) {
        return "\"cache\" in the manifest must be 1 to 32 ways";
    }
    return NULL;
}

static const char *check_restart(const struct vm_config *vm) {
    bool is_good = vm->restart_delay != 0 && vm->restart_delay <= MANIFEST_RESTART_MAX;
    return is_good ? NULL : "\"restart-delay\" in the manifest must be at most 60s, and not 0";
}

// VMs with the same word get the same number.
static uint32_t find_domain(const struct manifest *manifest, const char *trust) {
    for (uint32_t i = 0; trust != NULL && i < manifest->vm_count; i++) {
        const char *other = manifest->vm[i].trust;
        if (other != NULL && strcmp(other, trust) == 0) {
            return manifest->vm[i].scheduling.domain;
        }
    }
    return trust != NULL ? manifest->vm_count + 1 : 0;
}

// False: a property has another form.
static bool parse_scheduling(const struct manifest *manifest, struct vm_config *vm,
                             const void *tree, int node) {
    static const char *const schedules[] = {"shared", "dedicated", "realtime"};
    struct vm_scheduling *s = &vm->scheduling;
    uint32_t schedule;
    s->weight = MANIFEST_WEIGHT_DEFAULT;
    bool is_good = get_choice(tree, node, "schedule", schedules, 3, &schedule) &&
                   get_cpus(tree, node, s->cpus) &&
                   get_u32_if_there(tree, node, "weight", &s->weight) &&
                   get_u32_if_there(tree, node, "cap", &s->cap) &&
                   get_u32_if_there(tree, node, "cache", &s->cache) &&
                   get_u64_if_there(tree, node, "budget", &s->budget) &&
                   get_u64_if_there(tree, node, "period", &s->period);
    s->schedule = (enum vm_schedule)schedule;
    if (is_good && has_property(tree, node, "trust")) {
        vm->trust = get_string(tree, node, "trust", MANIFEST_NAME_MAX);
        is_good = is_name(vm->trust);
    }
    s->domain = is_good ? find_domain(manifest, vm->trust) : 0;
    return is_good;
}

static bool parse_restart(struct vm_config *vm, const void *tree, int node) {
    static const char *const policies[] = {"never", "on-failure", "always"};
    uint32_t policy;
    vm->restart_delay = MANIFEST_RESTART_DELAY;
    bool is_good = get_choice(tree, node, "restart", policies, 3, &policy) &&
                   get_u64_if_there(tree, node, "restart-delay", &vm->restart_delay) &&
                   get_u32_if_there(tree, node, "restart-limit", &vm->restart_limit);
    vm->restart = (enum vm_restart)policy;
    return is_good;
}

// The user's names of kernel and initrd, as far as the tree has them.
static bool parse_files(struct vm_config *vm, const void *tree, int node) {
    vm->kernel_file = vm->kernel;
    vm->initrd_file = vm->initrd;
    if (has_property(tree, node, "kernel-file")) {
        vm->kernel_file = get_string(tree, node, "kernel-file", MANIFEST_FILE_MAX);
    }
    if (vm->initrd != NULL && has_property(tree, node, "initrd-file")) {
        vm->initrd_file = get_string(tree, node, "initrd-file", MANIFEST_FILE_MAX);
    }
    return vm->kernel_file != NULL && (vm->initrd == NULL || vm->initrd_file != NULL);
}

// Returns what is wrong with the node, or NULL.
static const char *parse_vm(struct manifest *manifest, const void *tree, int node) {
    if (manifest->vm_count == MANIFEST_VMS_MAX) {
        return "it names more than 256 VMs";
    }
    struct vm_config *vm = &manifest->vm[manifest->vm_count];
    *vm = (struct vm_config){
        .name = get_string(tree, node, "vm-name", MANIFEST_NAME_MAX),
        .kernel = get_string(tree, node, "kernel", SIZE_MAX),
        .initrd = get_string(tree, node, "initrd", SIZE_MAX),
        .vmm = get_string(tree, node, "vmm", SIZE_MAX),
        .cmdline = get_string(tree, node, "cmdline", MANIFEST_CMDLINE_MAX),
        .is_autostart = has_property(tree, node, "autostart"),
    };
    if (!is_name(vm->name)) {
        return "a VM has no proper \"vm-name\"";
    }
    if (vm->kernel == NULL || vm->cmdline == NULL ||
        (vm->initrd == NULL && has_property(tree, node, "initrd")) ||
        (vm->vmm == NULL && has_property(tree, node, "vmm")) || !parse_files(vm, tree, node) ||
        !get_u32(tree, node, "vcpus", &vm->vcpus) || !get_u64(tree, node, "memory", &vm->memory) ||
        !get_u64_if_there(tree, node, "tsc-frequency", &vm->tsc_frequency) ||
        !parse_scheduling(manifest, vm, tree, node) || !parse_restart(vm, tree, node)) {
        return "a VM lacks a property or has one of another form";
    }
    vm->refusal = check_vm(manifest, vm);
    vm->refusal = vm->refusal != NULL ? vm->refusal : check_scheduling(vm);
    vm->refusal = vm->refusal != NULL ? vm->refusal : check_restart(vm);
    manifest->vm_count++;
    return NULL;
}

static const char *parse_vms(struct manifest *manifest, const void *tree) {
    int vms = fdt_path_offset(tree, "/vms");
    if (vms < 0) {
        return "it has no node \"vms\"";
    }
    int node;
    fdt_for_each_subnode(node, tree, vms) {
        const char *wrong = parse_vm(manifest, tree, node);
        if (wrong != NULL) {
            return wrong;
        }
    }
    return NULL;
}

static const char *parse_host(struct manifest *manifest, const void *tree) {
    int host = fdt_path_offset(tree, "/host");
    manifest->is_test_image = host >= 0 && has_property(tree, host, "test-image");
    if (host < 0 || !has_property(tree, host, "when-all-ended")) {
        return NULL; // both have defaults
    }
    const char *value = get_string(tree, host, "when-all-ended", SIZE_MAX);
    if (value != NULL && strcmp(value, "stay") == 0) {
        manifest->stays_when_all_ended = true;
    } else if (value == NULL || strcmp(value, "power-off") != 0) {
        return "\"when-all-ended\" is neither \"power-off\" nor \"stay\"";
    }
    return NULL;
}

static const char *parse_root(const void *tree) {
    const char *compatible = get_string(tree, 0, "compatible", SIZE_MAX);
    uint32_t version = 0;
    if (compatible == NULL || strcmp(compatible, MANIFEST_COMPATIBLE) != 0) {
        return "it is no manifest of ours";
    }
    if (!get_u32(tree, 0, "version", &version) || version != MANIFEST_VERSION) {
        return "it has another version than this supervisor";
    }
    return NULL;
}

// What fdt_check_full of libfdt before 1.7 does not survive: the root's name in a format before
// version 16, and lengths of properties that overflow, which it follows backwards for ever.
static bool is_safe_to_check(const void *tree, size_t size) {
    if (fdt_check_header(tree) != 0 || fdt_totalsize(tree) > size) {
        return true; // and is refused with the reason
    }
    if (fdt_version(tree) < FDT_LAST_SUPPORTED_VERSION) {
        return false;
    }
    int offset = 0, next = 0;
    while (fdt_next_tag(tree, offset, &next) != FDT_END) {
        if (next <= offset) {
            return false;
        }
        offset = next;
    }
    return true;
}

const char *manifest_parse(struct manifest *manifest, const void *tree, size_t size) {
    manifest->vm_count = 0;
    manifest->stays_when_all_ended = false;
    if (size < sizeof(struct fdt_header)) {
        return "it is cut off";
    }
    if (!is_safe_to_check(tree, size)) {
        return "its structure is damaged, or older than version 17";
    }
    int error = fdt_check_full(tree, size);
    if (error != 0) {
        return fdt_strerror(error);
    }
    const char *wrong = parse_root(tree);
    wrong = wrong != NULL ? wrong : parse_host(manifest, tree);
    wrong = wrong != NULL ? wrong : parse_vms(manifest, tree);
    if (wrong != NULL) {
        manifest->vm_count = 0;
    }
    return wrong;
}
