// SPDX-License-Identifier: Apache-2.0
// Carving a partition: check first (words for what does not fit), then make one part after another.
// A part that fails ends it, and partition_close undoes whatever exists. The VMM gets copies of
// handles with the least rights that include/vmm.h promises.
#include "supervisor/partition.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/machine.h"
#include "supervisor/node.h"

#define MIB (1ULL << 20)

// What a VM may need besides its RAM. Two sets of tables map the RAM (EPT, the VMM's own), and the
// kernel reserves a list of its pages: 3/512 of it when all pages are small. A vCPU takes its VMCS,
// its pages, an XSAVE area, and two stacks.
#define TABLES_SHARE  128u // 1/128 of RAM
#define VCPU_OVERHEAD (192ULL << 10)
#define VM_OVERHEAD   (2 * MIB)

_Static_assert(sizeof(struct vmm_console) <= PROCESS_SLOT_REPORTS, "a slot holds both");

uint64_t partition_size(const struct vm_config *config) {
    return config->memory + process_pages(config->memory / TABLES_SHARE) +
           config->vcpus * VCPU_OVERHEAD + VM_OVERHEAD;
}

uint64_t partition_overhead(const struct partition *partition, uint64_t memory) {
    struct abi_quota_info info = {0};
    if (partition->quota == 0 || sys_quota_read(partition->quota, &info) < 0) {
        return 0;
    }
    return info.used > memory ? info.used - memory : 0;
}

// ---- checks -------------------------------------------------------------------------------------

static bool has_module(const char *name, const char *what, char why[PARTITION_WHY_MAX]) {
    if (machine_module(name) != NULL) {
        return true;
    }
    fmt_format(why, PARTITION_WHY_MAX, "its %s \"%s\" was not loaded at boot; make the image again",
               what, name);
    return false;
}

static const char *vmm_module(const struct vm_config *config) {
    return config->vmm != NULL ? config->vmm : MANIFEST_MODULE_VMM;
}

static bool check(const struct vm_config *config, char why[PARTITION_WHY_MAX]) {
    struct abi_system_info info;
    machine_info(&info);
    if (info.virtualization == ABI_VIRTUALIZATION_NONE) {
        fmt_format(why, PARTITION_WHY_MAX,
                   "this machine offers no hardware virtualization; see the "
                   "preflight report above for what to change");
        return false;
    }
    if (!has_module(vmm_module(config), "virtual machine monitor", why) ||
        !has_module(config->kernel, "kernel", why) ||
        (config->initrd != NULL && !has_module(config->initrd, "initrd", why))) {
        return false;
    }
    uint64_t needed = (partition_size(config) + MIB - 1) / MIB;
    uint64_t left = machine_memory_free() / MIB;
    if (needed > left) {
        fmt_format(
            why, PARTITION_WHY_MAX,
            "needs %llu MiB, the machine has %llu MiB free; lower \"memory\" in the manifest",
            (unsigned long long)needed, (unsigned long long)left);
        return false;
    }
    return true;
}

// ---- parts --------------------------------------------------------------------------------------

// Stores the handle that a call returned. True: it worked.
static bool keep(uint32_t *handle, int64_t result, int64_t *error) {
    if (result < 0) {
        *error = result;
        return false;
    }
    *handle = (uint32_t)result;
    return true;
}

static bool make_shared(struct partition_shared *shared, uint32_t quota, uint64_t address,
                        uint64_t size, int64_t *error) {
    if (!keep(&shared->memory, sys_memory_create(quota, process_pages(size)), error)) {
        return false;
    }
    shared->at = process_map_own(shared->memory, address, size, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    *error = shared->at == NULL ? -ABI_ERROR_MEMORY : 0;
    return shared->at != NULL;
}

// Before anything is charged to the quota.
static bool set_home(const struct partition *partition, uint32_t node, int64_t *error) {
    struct abi_home home;
    if (node_count() > 1) {
        node_home(node, &home);
        *error = sys_quota_home(machine.start->system, partition->quota, &home);
    }
    return *error >= 0;
}

static bool make_parts(struct partition *partition, const struct partition_plan *plan,
                       uint64_t size, int64_t *error) {
    uint32_t index = plan->index;
    uint64_t slot = PROCESS_OWN_SLOTS + (uint64_t)index * PROCESS_SLOT_SIZE;
    return keep(&partition->quota,
                sys_quota_create(machine.start->quota, size, machine.event, machine_vm_mask(index)),
                error) &&
           set_home(partition, plan->placement->node, error) &&
           keep(&partition->wakeup, sys_event_create(partition->quota), error) &&
           make_shared(&partition->console, partition->quota, slot + PROCESS_SLOT_CONSOLE,
                       sizeof(struct vmm_console), error) &&
           make_shared(&partition->reports, partition->quota, slot + PROCESS_SLOT_REPORTS,
                       sizeof(struct vmm_reports), error);
}

// ---- the VMM's start page -----------------------------------------------------------------------

static bool give(const struct partition *partition, uint32_t *number, uint32_t handle,
                 uint32_t rights, int64_t *error) {
    return keep(number,
                sys_handle_copy(partition->process.handle, handle, rights | partition->more_rights,
                                UINT64_MAX),
                error);
}

// It can signal nothing but what stands for this VM.
static bool give_own_event(const struct partition *partition, struct vmm_start *start,
                           int64_t *error) {
    int64_t result =
        sys_handle_copy(partition->process.handle, machine.event,
                        ABI_RIGHT_SIGNAL | partition->more_rights, start->supervisor_mask);
    return keep(&start->supervisor_event, result, error);
}

static bool give_handles(const struct partition *partition, const struct vm_config *config,
                         struct vmm_start *start, int64_t *error) {
    const struct abi_start_module *kernel = machine_module(config->kernel);
    const struct abi_start_module *initrd =
        config->initrd != NULL ? machine_module(config->initrd) : NULL;
    start->kernel_size = kernel->size;
    if (initrd != NULL) {
        start->initrd_size = initrd->size;
        if (!give(partition, &start->initrd, initrd->memory, ABI_RIGHT_READ, error)) {
            return false;
        }
    }
    return give(partition, &start->quota, partition->quota, ABI_RIGHT_READ | ABI_RIGHT_CREATE,
                error) &&
           give(partition, &start->kernel, kernel->memory, ABI_RIGHT_READ, error) &&
           give(partition, &start->console, partition->console.memory,
                ABI_RIGHT_READ | ABI_RIGHT_WRITE, error) &&
           give(partition, &start->reports, partition->reports.memory,
                ABI_RIGHT_READ | ABI_RIGHT_WRITE, error) &&
           give(partition, &start->wakeup, partition->wakeup, ABI_RIGHT_SIGNAL | ABI_RIGHT_WAIT,
                error) &&
           give_own_event(partition, start, error);
}

static void copy_text(char *out, size_t size, const char *text) {
    size_t length = strnlen(text, size - 1);
    memcpy(out, text, length);
    out[length] = '\0';
}

// Everything but the handles.
static void describe(struct vmm_start *start, const struct partition_plan *plan) {
    const struct vm_config *config = plan->config;
    const struct abi_start *host = machine.start;
    struct abi_system_info info;
    machine_info(&info);
    memset(start, 0, sizeof(*start));
    start->version = VMM_VERSION;
    start->vcpu_count = config->vcpus;
    start->memory_size = config->memory;
    start->tsc_hz = host->tsc_hz;
    start->keys = (struct vmm_keys){
#define VMM_KEY(member, ...) .member = config->member,
#include "include/manifest_keys.h"
    };
    start->has_tsc_scaling = host->has_tsc_scaling;
    start->utc_seconds = host->utc_seconds;
    start->utc_tsc = host->utc_tsc;
    start->xcr0_mask = host->xcr0_mask;
    start->arch_capabilities = host->arch_capabilities;
    start->physical_bits = host->physical_bits;
    start->has_unrestricted_guest = host->has_unrestricted_guest;
    start->is_tsc_stable = info.is_tsc_stable != 0;
    start->supervisor_mask = machine_vm_mask(plan->index);
    for (uint32_t i = 0; i < config->vcpus; i++) {
        start->cpu[i] = placement_cpu(plan->placement, i);
    }
    copy_text(start->name, sizeof(start->name), config->name);
    copy_text(start->kernel_name, sizeof(start->kernel_name), config->kernel_file);
    copy_text(start->initrd_name, sizeof(start->initrd_name),
              config->initrd != NULL ? config->initrd_file : "");
    copy_text(start->cmdline, sizeof(start->cmdline), config->cmdline);
}

static bool start_vmm(const struct partition *partition, const struct partition_plan *plan,
                      int64_t *error) {
    static struct vmm_start start; // a page: too large for the stack
    describe(&start, plan);
    if (!give_handles(partition, plan->config, &start, error)) {
        return false;
    }
    *error = process_put(&partition->process, partition->quota, ABI_START_ADDRESS, &start,
                         sizeof(start));
    if (*error >= 0) {
        *error = process_start(&partition->process, ABI_START_ADDRESS, ABI_CPU_ANY);
    }
    return *error >= 0;
}

// ---- whole partitions ---------------------------------------------------------------------------

static const char *make_group(struct partition *partition, const struct abi_group *group) {
    int64_t error = 0;
    partition->share = *group;
    int64_t result = sys_group_create(machine.start->system, partition->quota, group);
    return keep(&partition->group, result, &error) ? NULL : machine_error_text(error);
}

static const char *carve(struct partition *partition, const struct partition_plan *plan) {
    int64_t error = 0;
    const char *wrong = NULL;
    uint64_t mask = machine_vm_mask(plan->index);
    if (!make_parts(partition, plan, partition_size(plan->config), &error)) {
        wrong = machine_error_text(error);
    }
    wrong = wrong != NULL ? wrong : make_group(partition, &plan->group);
    if (wrong == NULL) {
        wrong = process_create(&partition->process, partition->quota, mask, partition->group,
                               machine_module(vmm_module(plan->config)));
    }
    if (wrong == NULL && !start_vmm(partition, plan, &error)) {
        wrong = machine_error_text(error);
    }
    return wrong;
}

bool partition_carve(struct partition *partition, const struct partition_plan *plan,
                     char why[PARTITION_WHY_MAX]) {
    *partition = (struct partition){0};
    // A program of a test image makes processes and gives them what it has: it may what the
    // supervisor may.
    partition->more_rights = plan->config->vmm != NULL ? ABI_RIGHT_MANAGE | ABI_RIGHT_COPY : 0;
    if (!check(plan->config, why)) {
        return false;
    }
    uint64_t used = machine_memory_used();
    const char *wrong = carve(partition, plan);
    partition->cost = machine_memory_used() - used;
    if (wrong != NULL) {
        fmt_format(why, PARTITION_WHY_MAX, "its virtual machine monitor could not be started: %s",
                   wrong);
        partition_close(partition);
        partition_forget(partition);
        return false;
    }
    return true;
}

int64_t partition_set_share(struct partition *partition, uint32_t weight, uint32_t cap) {
    struct abi_group share = partition->share;
    share.weight = weight;
    share.cap = cap;
    int64_t result = sys_group_write(partition->group, &share);
    if (result >= 0) {
        partition->share = share;
    }
    return result;
}

void partition_set_cpus(struct partition *partition, struct cpuset cpus) {
    if (partition->group != 0) {
        memcpy(partition->share.cpus, cpus.word, sizeof(partition->share.cpus));
        (void)sys_group_write(partition->group, &partition->share);
    }
}

static void close_handle(uint32_t *handle) {
    if (*handle != 0) {
        (void)sys_handle_close(*handle);
        *handle = 0;
    }
}

static void close_shared(struct partition_shared *shared, uint64_t size) {
    if (shared->at != NULL) {
        process_unmap_own(shared->at, size);
        shared->at = NULL;
    }
    close_handle(&shared->memory);
}

void partition_close(struct partition *partition) {
    if (partition->process.handle != 0) {
        (void)sys_process_kill(partition->process.handle, 0);
    }
    close_shared(&partition->console, sizeof(struct vmm_console));
    close_shared(&partition->reports, sizeof(struct vmm_reports));
    close_handle(&partition->process.handle);
    close_handle(&partition->group);
    close_handle(&partition->wakeup);
}

uint64_t partition_left(const struct partition *partition) {
    return partition_overhead(partition, 0);
}

void partition_forget(struct partition *partition) {
    close_handle(&partition->quota);
}
