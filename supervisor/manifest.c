// SPDX-License-Identifier: Apache-2.0
// Manifest parsing. fdt_check_full vouches for the structure of the tree (offsets, nesting, lengths);
// what the properties say is checked here, each once, by get_* functions that accept one exact form.
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
    return NULL;
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
        .cmdline = get_string(tree, node, "cmdline", MANIFEST_CMDLINE_MAX),
        .is_autostart = has_property(tree, node, "autostart"),
    };
    if (!is_name(vm->name)) {
        return "a VM has no proper \"vm-name\"";
    }
    if (vm->kernel == NULL || vm->cmdline == NULL ||
        (vm->initrd == NULL && has_property(tree, node, "initrd")) ||
        !get_u32(tree, node, "vcpus", &vm->vcpus) || !get_u64(tree, node, "memory", &vm->memory)) {
        return "a VM lacks a property or has one of another form";
    }
    vm->refusal = check_vm(manifest, vm);
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

const char *manifest_parse(struct manifest *manifest, const void *tree, size_t size) {
    manifest->vm_count = 0;
    manifest->stays_when_all_ended = false;
    if (size < sizeof(struct fdt_header)) {
        return "it is cut off";
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
