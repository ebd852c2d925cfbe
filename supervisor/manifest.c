// SPDX-License-Identifier: Apache-2.0
// Manifest parsing. fdt_check_full vouches for the structure of the tree (offsets, nesting,
// lengths); what each key says is checked in manifest_keys.c, what keys say together here. The tool
// has checked all this and says it better; a manifest of another tool is refused as well.
#include "supervisor/manifest.h"

#include "lib/string.h"
#include "supervisor/manifest_keys.h"

#include <libfdt.h>

static const char *check_name(const struct manifest *manifest, const struct vm_config *vm) {
    if (strcmp(vm->name, "bulkhead") == 0) {
        return "the name \"bulkhead\" is the hypervisor's own; choose another";
    }
    for (uint32_t i = 0; i < manifest->vm_count; i++) {
        if (strcmp(manifest->vm[i].name, vm->name) == 0) {
            return "an earlier VM has the same name; give each \"name\" in the manifest once";
        }
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

static const char *check_scheduling(const struct vm_config *vm) {
    const struct vm_scheduling *s = &vm->scheduling;
    if (count_cpus(s->cpus) < (s->schedule == VM_SHARED ? 1 : vm->vcpus)) {
        return "\"cpus\" in the manifest names too few CPUs for its vCPUs";
    }
    if (s->schedule == VM_REALTIME && s->budget > s->period / 1000 * MANIFEST_SHARE_MAX) {
        return "\"budget\" in the manifest must be at most 90 % of \"period\"";
    }
    return NULL;
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

// Returns what is wrong with the node, or NULL.
static const char *parse_vm(struct manifest *manifest, const void *tree, int node) {
    if (manifest->vm_count == MANIFEST_VMS_MAX) {
        return "it names more than 256 VMs";
    }
    struct vm_config *vm = &manifest->vm[manifest->vm_count];
    const char *wrong = manifest_keys_vm(tree, node, manifest->is_test_image, vm);
    if (wrong != NULL) {
        return wrong;
    }
    vm->scheduling.domain = find_domain(manifest, vm->trust);
    vm->refusal = vm->refusal != NULL ? vm->refusal : check_name(manifest, vm);
    vm->refusal = vm->refusal != NULL ? vm->refusal : check_scheduling(vm);
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
    if (host < 0) {
        return "it has no node \"host\"";
    }
    manifest->is_test_image = fdt_getprop(tree, host, "test-image", NULL) != NULL;
    return manifest_keys_host(tree, host, &manifest->host);
}

static const char *parse_root(const void *tree) {
    const char *compatible = manifest_keys_string(tree, 0, "compatible", SIZE_MAX);
    int length = 0;
    const void *version = fdt_getprop(tree, 0, "version", &length);
    if (compatible == NULL || strcmp(compatible, MANIFEST_COMPATIBLE) != 0) {
        return "it is no manifest of ours";
    }
    if (version == NULL || length != sizeof(fdt32_t) || fdt32_ld(version) != MANIFEST_VERSION) {
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
    manifest->is_test_image = false;
    memset(&manifest->host, 0, sizeof(manifest->host));
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
