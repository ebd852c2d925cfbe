// SPDX-License-Identifier: Apache-2.0
// The judging core of the isolation auditor: who owns a frame, and whether a mapping is what its owner was
// given. It knows no object, no table and no lock, only numbers, so that what it says can be proved
// (tests/proof, docs/proofs.md) and tested without a machine. kernel/audit.c feeds it.
//
// In call order: audit_claim for each frame that somebody owns; audit_find_place and audit_judge for each
// leaf of a process's or a VM's tables; audit_judge_host for each leaf of the kernel's.
#pragma once

#include "include/abi.h"
#include "lib/pagetable.h"

// Of a frame, a byte each.
enum audit_owner {
    OWNER_NONE = 0, // not RAM that was given to the kernel: devices, firmware, the kernel's image
    OWNER_FREE,     // in the frame allocator
    OWNER_KERNEL,   // a kernel page in use, mapped in the direct map
    OWNER_POOL,     // a kernel page in no use
    OWNER_TABLE,    // a kernel page that some entry names as its table
    OWNER_SHOWN,  // a kernel page that ring 3 may see: a vCPU's page, the page of the system calls
    OWNER_MEMORY, // a memory object's
    OWNER_COUNT,
};

// A leaf of some table.
struct audit_leaf {
    uint64_t address; // that is mapped
    uint64_t size;    // 4 KiB, 2 MiB or 1 GiB
    uint64_t frame;
    uint32_t rights; // enum pt_rights
};

// What may be mapped around an address: the part of one run of a memory object that one region shows.
struct audit_place {
    uint64_t address;
    uint64_t size; // 0: nothing may be mapped
    uint64_t frame;
    uint32_t rights; // enum pt_rights that a leaf may have
    bool is_cleared; // of what its last owner left in it
};

// A region, and the run that holds what it shows at `address`: see struct region, struct memory_run.
struct audit_region {
    uint64_t base, size, offset;
    uint32_t rights; // enum pt_rights
};
struct audit_run {
    uint64_t frame, offset, size;
    bool is_cleared;
};

// Makes the frames [first, first+count) of `owner`, which has `frame_count` bytes, `to`, where all of them
// were `from`; else changes nothing and says what stands against it. `at` is the first such frame.
uint32_t audit_claim(uint8_t *owner, uint64_t frame_count, uint64_t first, uint64_t count,
                     uint8_t from, uint8_t to, uint64_t *at);

// `address` lies in the region, and the run holds the offset that is shown there.
struct audit_place audit_find_place(const struct audit_region *region, const struct audit_run *run);

// A leaf of a process's or VM's tables, whose first frame is the `owner`'s. enum abi_audit_error.
uint32_t audit_judge(const struct audit_leaf *leaf, const struct audit_place *place, uint8_t owner);

// A range of the kernel's addresses, and what may be mapped there.
struct audit_window {
    uint64_t begin, end;
    uint32_t rights; // that a leaf may have
    uint32_t owners; // bits 1 << enum audit_owner: of frames
    bool is_direct;  // frame = address - begin
};
// `window` NULL: none holds the address.
uint32_t audit_judge_host(const struct audit_leaf *leaf, const struct audit_window *window,
                          uint8_t owner);

// A quota's books. `found` is what the auditor added up of memory and of quotas made from it.
uint32_t audit_judge_quota(uint64_t limit, uint64_t used, uint64_t kernel, uint64_t found);
