// SPDX-License-Identifier: Apache-2.0
// See kernel/vm.h.
#include "kernel/vm.h"

#include "arch/tsc.h"
#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/smp.h"
#include "kernel/space.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "kernel/vmtime.h"
#include "lib/index.h"
#include "lib/string.h"

#define NPT_ENTRIES   512u
#define NPT_ROOT_LAST (NPT_ENTRIES - 1)
#define NPT_ROOT_SPAN (SIZE_1G * NPT_ENTRIES)
#define NPT_BITS      48u // four levels
#define STEP_TABLES   64u // of them that one step takes or gives back

#define CPUID_LEAF     0x3fffffffu
#define CPUID_RANGE(x) ((x) >> 30) // 0 basic, 1 hypervisor, 2 extended

_Static_assert(sizeof(struct vm) <= PAGE_SIZE, "one page");
_Static_assert(ABI_CPUID_MAX * sizeof(struct abi_cpuid) <= PAGE_SIZE, "one page");

const struct vcpu_backend *vcpu_backend;

// The tables that a region can come to need when all of it is mapped by small pages: of each level
// one for each span that it touches. 0 where large pages map code, too.
static uint64_t region_tables(uint64_t gpa, uint64_t size) {
    uint64_t count = 0;
    if (size == 0 || !vcpu_backend->npt_format->is_code_small)
        return 0;
    for (uint64_t span = SIZE_2M; span <= NPT_ROOT_SPAN; span *= NPT_ENTRIES)
        count += (align_up(gpa + size, span) - align_down(gpa, span)) / span;
    return count;
}

static uint64_t *spare_take(struct vm *vm) {
    uint64_t *table = vm->spare_tables;
    vm->spare_tables = (uint64_t *)*table;
    vm->spare_count--;
    *table = 0;
    return table;
}

// Gives some back that no region can need. True: there are no more. Those in use stay with the VM.
static bool spare_drop_some(struct vm *vm) {
    for (uint64_t n = 0; n < STEP_TABLES && vm->spare_count > vm->tables_needed; n++)
        quota_free_page(vm->quota, spare_take(vm));
    return vm->spare_count <= vm->tables_needed;
}

static void need_less(struct vm *vm, uint64_t tables) {
    for (bool is_done = false; !is_done; tables = 0) {
        lock_take(&vm->lock);
        vm->tables_needed -= tables;
        is_done = spare_drop_some(vm);
        lock_drop(&vm->lock);
        if (!is_done)
            thread_preempt();
    }
}

// False: the quota has not that many, and nothing changed.
static bool need_more(struct vm *vm, uint64_t tables) {
    lock_take(&vm->lock);
    vm->tables_needed += tables;
    lock_drop(&vm->lock);
    for (uint64_t n = 1; n <= tables; n++) {
        uint64_t *table = quota_alloc_page(vm->quota);
        if (table == NULL) {
            need_less(vm, tables);
            return false;
        }
        lock_take(&vm->lock);
        *table = (uint64_t)vm->spare_tables;
        vm->spare_tables = table;
        vm->spare_count++;
        lock_drop(&vm->lock);
        if (n % STEP_TABLES == 0)
            thread_preempt();
    }
    return true;
}

static bool table_alloc(void *opaque, hpa_t *frame) {
    struct vm *vm = opaque;
    uint64_t *table = vm->spare_count > 0 ? spare_take(vm) : quota_alloc_page(vm->quota);
    if (table != NULL)
        *frame = frame_of_kernel(table);
    return table != NULL;
}

static void table_free(void *opaque, hpa_t frame) {
    struct vm *vm = opaque;
    quota_free_page(vm->quota, frame_to_kernel(frame));
}

static struct pt_memory table_memory(struct vm *vm) {
    struct pt_memory memory = space_quota_memory(vm->quota);
    memory.opaque = vm;
    memory.alloc = table_alloc;
    memory.free = table_free;
    return memory;
}

static void free_parts(struct vm *vm) {
    struct quota *quota = vm->quota;
    if (vm->backend != NULL)
        vcpu_backend->vm_destroy(vm);
    if (vm->npt.root.v != 0)
        (void)pt_destroy(&vm->npt, NPT_ROOT_LAST, UINT64_MAX);
    if (vm->regions != NULL)
        quota_free_page(quota, vm->regions);
    if (vm->cpuid != NULL)
        quota_free_page(quota, vm->cpuid);
    quota_free_page(quota, vm);
}

struct vm *vm_create(struct quota *quota, uint64_t hz, int *error) {
    bool is_scaled = hz != 0 && hz != tsc_hz;
    uint64_t ratio = is_scaled ? vmtime_ratio(hz, tsc_hz) : 0;
    *error = ABI_ERROR_UNSUPPORTED;
    if (vcpu_backend == NULL || (is_scaled && !vcpu_backend->has_tsc_scaling()))
        return NULL;
    *error = ABI_ERROR_ARGUMENT;
    if (is_scaled && ratio == 0)
        return NULL;
    *error = ABI_ERROR_MEMORY;
    struct vm *vm = quota_alloc_page(quota);
    if (vm == NULL)
        return NULL;
    object_init(&vm->object, &vm_kind);
    lock_init(&vm->lock, LOCK_VM);
    vm->quota = quota;
    vm->tsc_ratio = ratio;
    vm->tsc_offset = 0 - vmtime_at(vm, x86_rdtsc());
    vm->regions = region_list_create(quota);
    if (vm->regions != NULL && pt_init(&vm->npt, vcpu_backend->npt_format, table_memory(vm))) {
        *error = vcpu_backend->vm_create(vm);
        if (*error == ABI_OK) {
            object_ref(&quota->object);
            object_list(&vm->object);
            return vm;
        }
    }
    free_parts(vm);
    return NULL;
}

static bool vm_destroy(struct object *object) {
    struct vm *vm = CONTAINER_OF(object, struct vm, object);
    struct quota *quota = vm->quota;
    while (vm->doorbell_count > 0)
        event_unbind(&vm->doorbell[--vm->doorbell_count].binding);
    for (uint32_t i = 0; i < VM_VCPUS_MAX; i++) {
        if (vm->vcpus[i] == NULL)
            continue;
        vcpu_free(vm->vcpus[i]);
        vm->vcpus[i] = NULL;
        return false;
    }
    // The tables go before the memory that they map.
    if (vm->npt.root.v != 0) {
        (void)pt_destroy(&vm->npt, NPT_ROOT_LAST, STEP_TABLES);
        return false;
    }
    if (region_drop(vm->regions))
        return false;
    vm->tables_needed = 0;
    if (!spare_drop_some(vm))
        return false;
    object_unlist(object);
    free_parts(vm);
    object_unref(&quota->object);
    AUDIT_ALL();
    return true;
}

const struct object_kind vm_kind = {OBJECT_VM, vm_destroy};

int vm_map(struct vm *vm, struct memory *memory, uint64_t gpa, uint64_t offset, uint64_t size,
           uint64_t rights) {
    uint64_t rwx = rights & (ABI_RIGHT_READ | ABI_RIGHT_WRITE | ABI_RIGHT_EXECUTE);
    uint64_t limit = BIT(MIN(cpu_features.physical_bits, NPT_BITS));
    // A vCPU's page in its own VM would keep both alive for ever.
    if (memory->kind == MEMORY_PAGE)
        return ABI_ERROR_ARGUMENT;
    if (!is_aligned(gpa | offset | size, PAGE_SIZE) || size == 0 || rights != rwx ||
        (rwx & ABI_RIGHT_READ) == 0 || range_exceeds(offset, size, memory->size) ||
        range_exceeds(gpa, size, limit))
        return ABI_ERROR_ARGUMENT;
    struct region region = {gpa, size, memory, offset, rights};
    uint64_t tables = region_tables(gpa, size);
    if (!need_more(vm, tables))
        return ABI_ERROR_MEMORY;
    lock_take(&vm->lock);
    int error = region_insert(vm->regions, &region);
    lock_drop(&vm->lock);
    if (error != ABI_OK)
        need_less(vm, tables);
    return error;
}

// Afterwards no CPU remembers an older mapping: each vCPU that is running has looked, and the
// others look before they enter.
static void wait_flushed(struct vm *vm, uint64_t generation) {
    for (uint32_t i = 0; i < VM_VCPUS_MAX; i++) {
        struct vcpu *vcpu = __atomic_load_n(&vm->vcpus[i], __ATOMIC_ACQUIRE);
        if (vcpu == NULL)
            continue;
        vcpu_post(vcpu, VCPU_PENDING_INTERRUPT);
        while (__atomic_load_n(&vcpu->is_running, __ATOMIC_ACQUIRE) != 0 &&
               vcpu->cpu != cpu_current() &&
               __atomic_load_n(&vcpu->npt_generation_seen, __ATOMIC_ACQUIRE) < generation) {
            smp_interrupt();
            x86_pause();
        }
        thread_preempt();
    }
}

int vm_unmap(struct vm *vm, uint64_t gpa, uint64_t size) {
    struct memory *memory = NULL;
    uint64_t generation = 0, step;
    // Between the steps somebody else may take the rest.
    do {
        lock_take(&vm->lock);
        step = region_unmap(vm->regions, &vm->npt, gpa, size, &memory);
        if (step > 0) {
            AUDIT_VM(vm);
            generation = __atomic_add_fetch(&vm->npt_generation, 1, __ATOMIC_SEQ_CST);
        }
        uint64_t tables = region_tables(gpa, size) - region_tables(gpa + step, size - step);
        lock_drop(&vm->lock);
        need_less(vm, tables);
        gpa += step;
        size -= step;
        if (size > 0)
            thread_preempt();
    } while (step > 0 && size > 0);
    if (generation > 0)
        wait_flushed(vm, generation);
    if (memory == NULL)
        return ABI_ERROR_ARGUMENT;
    object_unref(&memory->object);
    return ABI_OK;
}

enum vm_fault vm_handle_fault(struct vm *vm, gpa_t gpa, uint32_t access) {
    uint64_t right = (access & VCPU_ACCESS_WRITE) != 0   ? ABI_RIGHT_WRITE
                     : (access & VCPU_ACCESS_FETCH) != 0 ? ABI_RIGHT_EXECUTE
                                                         : ABI_RIGHT_READ;
    enum vm_fault result = VM_FAULT_VMM;
    lock_take(&vm->lock);
    const struct region *region = region_find(vm->regions, gpa.v);
    if (region != NULL && (region->rights & right) != 0) {
        uint64_t page = align_down(gpa.v, PAGE_SIZE);
        bool is_mapped = region_populate(region, &vm->npt, page, region_rights(region));
        if (right == ABI_RIGHT_EXECUTE && vm->npt.format->is_code_small)
            is_mapped = is_mapped && pt_split(&vm->npt, page, region_rights(region));
        result = is_mapped ? VM_FAULT_RETRY : VM_FAULT_SHORTAGE;
        AUDIT_VM(vm);
    }
    lock_drop(&vm->lock);
    return result;
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
