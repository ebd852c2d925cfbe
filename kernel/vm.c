// SPDX-License-Identifier: Apache-2.0
// See kernel/vm.h.
#include "kernel/vm.h"

#include "arch/tsc.h"
#include "kernel/audit.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/smp.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "kernel/vmtime.h"
#include "lib/index.h"
#include "lib/string.h"

#define NPT_ROOT_LAST 511u
#define NPT_BITS      48u // four levels

#define CPUID_LEAF     0x3fffffffu
#define CPUID_RANGE(x) ((x) >> 30) // 0 basic, 1 hypervisor, 2 extended

_Static_assert(sizeof(struct vm) <= PAGE_SIZE, "one page");
_Static_assert(ABI_CPUID_MAX * sizeof(struct abi_cpuid) <= PAGE_SIZE, "one page");

const struct vcpu_backend *vcpu_backend;

static bool init_tables(struct space *space, struct pt_memory tables) {
    return pt_init(&space->pt, vcpu_backend->space_format, tables);
}

// A vCPU's page in its own VM would keep both alive for ever.
static bool is_map_allowed(const struct region *region) {
    uint64_t limit = BIT(MIN(cpu_features.physical_bits, NPT_BITS));
    return region->memory->kind != MEMORY_PAGE && !range_exceeds(region->base, region->size, limit);
}

// Each vCPU that is running has looked, and the others look before they enter.
static void flush_tables(struct space *space) {
    struct vm *vm = CONTAINER_OF(space, struct vm, space);
    uint64_t generation = __atomic_load_n(&space->generation, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < VM_VCPUS_MAX; i++) {
        struct vcpu *vcpu = __atomic_load_n(&vm->vcpus[i], __ATOMIC_ACQUIRE);
        if (vcpu == NULL)
            continue;
        vcpu_post(vcpu, VCPU_PENDING_INTERRUPT);
        while (__atomic_load_n(&vcpu->is_running, __ATOMIC_ACQUIRE) != 0 &&
               vcpu->cpu != cpu_current() &&
               __atomic_load_n(&vcpu->space_generation_seen, __ATOMIC_ACQUIRE) < generation) {
            smp_interrupt();
            x86_pause();
        }
        thread_preempt();
    }
}

static const struct space_kind vm_space = {
    .audit = ABI_AUDIT_VM,
    .root_last = NPT_ROOT_LAST,
    .rights = PT_USER, // each access by NPT is a user's; EPT has no such bit
    .init = init_tables,
    .is_allowed = is_map_allowed,
    .flush = flush_tables,
};

static void free_parts(struct vm *vm) {
    while (!space_destroy(&vm->space))
        ;
    quota_free_page(vm->object.quota, vm->cpuid);
}

struct vm *vm_create(struct quota *quota, uint64_t hz, int *error) {
    bool is_scaled = hz != 0 && hz != tsc_hz;
    uint64_t ratio = is_scaled ? vmtime_ratio(hz, tsc_hz) : 0;
    *error = ABI_ERROR_UNSUPPORTED;
    if (vcpu_backend == NULL || (is_scaled && !cpu_features.has_tsc_scaling))
        return NULL;
    *error = ABI_ERROR_ARGUMENT;
    if (is_scaled && ratio == 0)
        return NULL;
    *error = ABI_ERROR_MEMORY;
    struct vm *vm = quota_alloc_object(quota, &vm_kind);
    if (vm == NULL)
        return NULL;
    lock_init(&vm->lock, LOCK_VM);
    vm->tsc_ratio = ratio;
    vm->tsc_offset = 0 - vmtime_at(vm, x86_rdtsc());
    if (space_create(&vm->space, &vm_space, quota)) {
        *error = ABI_OK;
        object_list(&vm->object);
        return vm;
    }
    free_parts(vm);
    quota_free_object(&vm->object);
    return NULL;
}

static bool vm_destroy(struct object *object) {
    struct vm *vm = CONTAINER_OF(object, struct vm, object);
    while (vm->doorbell_count > 0)
        event_unbind(&vm->doorbell[--vm->doorbell_count].binding);
    for (uint32_t i = 0; i < VM_VCPUS_MAX; i++) {
        if (vm->vcpus[i] == NULL)
            continue;
        vcpu_free(vm->vcpus[i]);
        vm->vcpus[i] = NULL;
        return false;
    }
    if (!space_destroy(&vm->space))
        return false;
    object_unlist(object);
    free_parts(vm);
    AUDIT_ALL();
    return true;
}

const struct object_kind vm_kind = {OBJECT_VM, vm_destroy};

enum space_fault vm_handle_fault(struct vm *vm, gpa_t gpa, uint32_t access) {
    uint64_t right = (access & VCPU_ACCESS_WRITE) != 0   ? ABI_RIGHT_WRITE
                     : (access & VCPU_ACCESS_FETCH) != 0 ? ABI_RIGHT_EXECUTE
                                                         : ABI_RIGHT_READ;
    return space_fault(&vm->space, gpa.v, right);
}

static uint64_t cpuid_key(const struct abi_cpuid *row) {
    return (uint64_t)row->leaf << 32 | row->subleaf;
}

int vm_set_cpuid(struct vm *vm, struct abi_cpuid *table, uint32_t count) {
    for (uint32_t i = 1; i < count; i++)
        if (cpuid_key(&table[i]) <= cpuid_key(&table[i - 1]))
            return ABI_ERROR_ARGUMENT;
    lock_take(&vm->lock);
    bool is_open = vm->cpuid == NULL && vm->vcpu_count == 0;
    if (is_open) {
        vm->cpuid = table;
        for (uint32_t i = count; i-- > 0;) {
            uint32_t range = CPUID_RANGE(table[i].leaf), leaf = table[i].leaf & CPUID_LEAF;
            if (leaf >= VM_CPUID_INDEXED)
                continue;
            vm->cpuid_first[range][leaf] = (uint8_t)(i + 1);
            bool is_constant =
                table[i].subleaf == ABI_CPUID_ANY_SUBLEAF && !vcpu_is_cpuid_dynamic(table[i].leaf);
            vm->cpuid_constant[range][leaf] = is_constant ? (uint8_t)(i + 1) : 0;
        }
        // Last: a vCPU may be in the making, which looks without the lock.
        __atomic_store_n(&vm->cpuid_count, count, __ATOMIC_RELEASE);
    }
    lock_drop(&vm->lock);
    return is_open ? ABI_OK : ABI_ERROR_AGAIN;
}

const struct abi_cpuid *vm_find_cpuid(const struct vm *vm, uint32_t leaf, uint32_t subleaf) {
    uint32_t range = CPUID_RANGE(leaf), low = leaf & CPUID_LEAF;
    if (low >= VM_CPUID_INDEXED)
        return NULL;
    uint32_t count = __atomic_load_n(&vm->cpuid_count, __ATOMIC_ACQUIRE);
    uint32_t first = vm->cpuid_first[range][index_mask(low, VM_CPUID_INDEXED)];
    if (first == 0)
        return NULL;
    for (uint32_t i = first - 1; i < count && vm->cpuid[i].leaf == leaf; i++)
        if (vm->cpuid[i].subleaf == subleaf || vm->cpuid[i].subleaf == ABI_CPUID_ANY_SUBLEAF)
            return &vm->cpuid[i];
    return NULL;
}

static uint32_t doorbell_index(const struct vm *vm, uint16_t port) {
    uint32_t low = 0, high = vm->doorbell_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (vm->doorbell[middle].port < port)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int doorbell_insert(struct vm *vm, uint32_t i, const struct doorbell *doorbell) {
    if (i < vm->doorbell_count && vm->doorbell[i].port == doorbell->port)
        return ABI_ERROR_EXISTS;
    if (vm->doorbell_count == ABI_DOORBELLS_MAX)
        return ABI_ERROR_MEMORY;
    memmove(&vm->doorbell[i + 1], &vm->doorbell[i], (vm->doorbell_count - i) * sizeof(*doorbell));
    vm->doorbell[i] = *doorbell;
    vm->doorbell_count++;
    return ABI_OK;
}

static int doorbell_remove(struct vm *vm, uint32_t i, struct doorbell *doorbell) {
    if (i == vm->doorbell_count || vm->doorbell[i].port != doorbell->port)
        return ABI_ERROR_ARGUMENT;
    *doorbell = vm->doorbell[i];
    vm->doorbell_count--;
    memmove(&vm->doorbell[i], &vm->doorbell[i + 1], (vm->doorbell_count - i) * sizeof(*doorbell));
    return ABI_OK;
}

int vm_bind_doorbell(struct vm *vm, uint16_t port, struct event *event, uint64_t mask) {
    struct doorbell doorbell = {.port = port};
    event_bind(&doorbell.binding, event, mask);
    lock_take(&vm->lock);
    uint32_t i = doorbell_index(vm, port);
    int error =
        event != NULL ? doorbell_insert(vm, i, &doorbell) : doorbell_remove(vm, i, &doorbell);
    lock_drop(&vm->lock);
    if (event == NULL || error != ABI_OK)
        event_unbind(&doorbell.binding);
    return error;
}

bool vm_ring_doorbell(struct vm *vm, uint16_t port) {
    if (__atomic_load_n(&vm->doorbell_count, __ATOMIC_RELAXED) == 0)
        return false;
    lock_take(&vm->lock);
    uint32_t i = doorbell_index(vm, port);
    bool is_bound = i < vm->doorbell_count && vm->doorbell[i].port == port;
    if (is_bound)
        event_notify(&vm->doorbell[i].binding);
    lock_drop(&vm->lock);
    return is_bound;
}
