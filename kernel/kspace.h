// SPDX-License-Identifier: Apache-2.0
// The kernel's own address space: image, direct map of the pool, device registers, stacks, and each
// CPU's tables and window. The upper half of every process's root is a copy of its root entries,
// which never change after kspace_init.
//
// In call order: kspace_init (boot, switches CR3), then the rest. Locks: one for the kernel's
// tables (rank LOCK_SPACE).
#pragma once

#include "arch/cpu.h"
#include "arch/paging.h"
#include "include/boot.h"
#include "kernel/quota.h"

// Builds the tables and loads them: the image, the direct map of the pool that boot/ found, and,
// mapped to itself for the other CPUs' first instructions, the low page. The root lies in the pool.
void kspace_init(const struct boot_info *info);
hpa_t kspace_kernel_root(void);

// Maps pool memory; only for kernel/frame.c, which holds its lock. False: no tables.
bool kspace_map_direct(hpa_t base, uint64_t size);
// Whether that shows the frame: it is the kernel's own. Takes no lock.
bool kspace_is_direct(hpa_t frame);
// The reverse, for whole runs of 2 MiB; the TLBs are the caller's.
void kspace_unmap_direct(hpa_t base, uint64_t size);

// Boot CPU, before there is another. Device registers, uncached, for good. Never fails: panics when
// the window is used up.
void *kspace_map_device(hpa_t base, uint64_t size);

// A kernel stack of CPU_STACK_SIZE with an unmapped guard below. Returns its top, or 0.
uint64_t kspace_stack_alloc(struct quota *quota);
// Up to SPACE_STACKS_KEPT free stacks are kept for who comes next; the root quota leaves their
// memory aside. Others go back to the pool behind a flush of all TLBs. Whoever calls make_room pays
// for it, before a stack is freed on the same CPU; stack_free never flushes. The caller of
// make_room holds no lock.
#define SPACE_STACKS_KEPT ((uint32_t)(QUOTA_STACKS_ASIDE / CPU_STACK_SIZE))
void kspace_stack_make_room(void);
void kspace_stack_free(struct quota *quota, uint64_t top);

// Maps the page of GDT and TSS and the window of a CPU. False: no memory.
bool kspace_cpu_init(struct cpu *cpu);

// Through this CPU's window: fills frames that the kernel does not map with zeroes.
void kspace_clear(hpa_t base, uint64_t size);
// Through this CPU's window: one such frame, until the next use of the window or until it is
// closed.
void *kspace_window(hpa_t frame);
void kspace_window_close(void);

// The root of a process: empty lower half, from `tables`. False: no memory.
bool kspace_process_init(struct pagetable *pt, struct pt_memory tables);
// Where tables are split (arch/split.h), the root that the process runs on: of the kernel the
// entries alone. 0: one root does for both. False: no memory.
bool kspace_user_init(hpa_t *user_root, struct quota *quota);
// What `pt` has at the address, whose root entry never changes once it is there.
void kspace_user_show(hpa_t user_root, const struct pagetable *pt, uint64_t address);
// Before any of pt's tables goes.
void kspace_user_free(hpa_t *user_root, struct quota *quota);
// For the auditor: it has nothing but the entries and what pt has.
bool kspace_is_user_root(hpa_t user_root, const struct pagetable *pt);

// For the auditor: all that the kernel's own tables hold; whether the upper half of a process's
// root is the kernel's.
void kspace_walk_kernel(const struct pt_visitor *visitor);
bool kspace_is_kernel_half(const struct pagetable *pt);

// pt_memory that charges a quota (opaque = struct quota *).
struct pt_memory kspace_quota_memory(struct quota *quota);
