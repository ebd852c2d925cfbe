// SPDX-License-Identifier: Apache-2.0
// A virtual machine, as far as the kernel is concerned: a guest-physical address space, what CPUID
// says, doorbells, and its vCPUs. Vendor-neutral.
//
// Locks: vm->lock (rank LOCK_VM) protects the fields marked [l]. Fields marked [c] are constant
// once the first vCPU exists.
#pragma once

#include "include/abi.h"
#include "kernel/event.h"
#include "kernel/lock.h"
#include "kernel/object.h"
#include "kernel/space.h"
#include "lib/index.h"
#include "lib/pagetable.h"

#define VM_VCPUS_MAX     64
#define VM_CPUID_INDEXED 64u // leaves of a range that can have rows
#define VM_CPUID_RANGES  4u  // by the leaf's two highest bits: basic, hypervisor, extended

struct vcpu;

struct doorbell {
    uint16_t port;
    struct event_binding binding;
};

struct vm {
    struct object object;
    struct spinlock lock;
    struct space space;  // guest-physical to host-physical
    uint64_t tsc_ratio;  // of its clock's rate to the host's, see kernel/vmtime.h [c]
    uint64_t tsc_offset; // its vCPUs start with: their TSC counts from its creation [c]
    // By number = APIC ID; NULL: none. Set once (atomic); the structs stay until the VM goes, so
    // that whoever reads this needs no reference.
    struct vcpu *vcpus[VM_VCPUS_MAX];
    uint32_t vcpu_count;     // [l]
    uint32_t cpuid_count;    // [c]
    struct abi_cpuid *cpuid; // sorted by leaf, subleaf [c]
    // [range][leaf]: index of the leaf's first row, plus 1; 0: none. cpuid_constant has it only
    // where that row is the whole answer, for every vCPU and ECX.
    uint8_t cpuid_first[VM_CPUID_RANGES][VM_CPUID_INDEXED];    // [c]
    uint8_t cpuid_constant[VM_CPUID_RANGES][VM_CPUID_INDEXED]; // [c]
    uint32_t doorbell_count;                                   // [l]
    struct doorbell doorbell[ABI_DOORBELLS_MAX];               // sorted by port [l]
};

// System calls. 0 or an enum abi_error.
// `tsc_hz`: the rate of its TSCs; 0: the host's.
struct vm *vm_create(struct quota *quota, uint64_t tsc_hz, int *error);
extern const struct object_kind vm_kind; // see kernel/object.h
// `table` is a page of the VM's quota, given away on success; its order is checked here.
int vm_set_cpuid(struct vm *vm, struct abi_cpuid *table, uint32_t count);
// event NULL: unbinds.
int vm_bind_doorbell(struct vm *vm, uint16_t port, struct event *event, uint64_t mask);

// space_fault for an access to guest-physical memory. SPACE_FAULT_NONE: the VMM's to emulate.
enum space_fault vm_handle_fault(struct vm *vm, gpa_t gpa, uint32_t access /* enum vcpu_access */);

// The row for a leaf, or NULL: then all four registers are zero.
const struct abi_cpuid *vm_find_cpuid(const struct vm *vm, uint32_t leaf, uint32_t subleaf);
// The same of subleaf 0; zeroes when there is none.
static inline struct abi_cpuid vm_get_cpuid(const struct vm *vm, uint32_t leaf) {
    const struct abi_cpuid *row = vm_find_cpuid(vm, leaf, 0);
    return row != NULL ? *row : (struct abi_cpuid){0};
}

// The same for the leaves whose row is the whole answer, without a search; else NULL.
static inline const struct abi_cpuid *vm_find_constant_cpuid(const struct vm *vm, uint32_t leaf) {
    uint32_t low = leaf << 2 >> 2;
    uint32_t row = 0;
    if (low < VM_CPUID_INDEXED)
        row = vm->cpuid_constant[leaf >> 30][index_mask(low, VM_CPUID_INDEXED)];
    return row != 0 ? &vm->cpuid[row - 1] : NULL;
}

// Rings the doorbell of `port`. False: there is none.
bool vm_ring_doorbell(struct vm *vm, uint16_t port);
