// SPDX-License-Identifier: Apache-2.0
//
// The guest's page tables, walked in software: guest-virtual to guest-physical addresses.
//
// The VMM needs it where the processor's exit does not name the guest-physical address: to fetch
// the instruction that touched a device, and for the other memory operand of string instructions.
// The result, the #PF error code and the accessed and dirty bits are those of the processor: SDM
// 3A 4 "Paging", section by section.
//
// Guest memory may change under the walk, since other vCPUs run. So every entry is loaded once, and
// accessed and dirty bits are set by compare-and-exchange, from the top again when an entry
// changed.
//
// A page table, or code, that lies outside guest memory reads all ones, as on a PC where nothing
// answers: as an entry that is present and, but for 32-bit paging, has reserved bits set.
//
// Not modelled: protection keys and shadow stacks (CR4.PKE, CR4.PKS and CR4.CET must stay hidden
// from the guest, or their checks are missed here), LAM. In PAE mode the PDPTEs come from memory;
// the processor holds those of the last load of CR3.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What is to be done at the address; the values are the bits of the #PF error code, SDM 3A 4.7
// "Page-Fault Exceptions". 0 is a read.
enum walk_access {
    WALK_READ = 0,
    WALK_WRITE = 1u << 1,
    WALK_FETCH = 1u << 4,
};

enum walk_error_code {
    WALK_ERROR_PRESENT = 1u << 0,
    WALK_ERROR_WRITE = 1u << 1,
    WALK_ERROR_USER = 1u << 2,
    WALK_ERROR_RESERVED = 1u << 3,
    WALK_ERROR_FETCH = 1u << 4,
};

enum walk_status {
    WALK_OK,
    WALK_PAGE_FAULT,   // #PF with the error code given
    WALK_NONCANONICAL, // #GP(0) or #SS(0), by the segment used
};

struct walk_ctx {
    uint64_t cr0;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t efer;
    uint64_t rflags;       // for AC, which lifts SMAP
    uint8_t cpl;           // 0 to 3
    uint8_t physical_bits; // MAXPHYADDR as the guest's CPUID tells it, 32 to 52
    bool has_1g_pages;     // as the guest's CPUID tells it
    // The fast way to most of guest memory: [0, ram_low_size) and [ram_start, ram_start + ram_size)
    // are writable RAM, mapped from gpa 0 on at `ram`. Whole pages; none (size 0) costs time only.
    const uint8_t *ram;
    uint64_t ram_low_size;
    uint64_t ram_start;
    uint64_t ram_size;
    // Where the VMM has guest memory [gpa, gpa + length) mapped, or NULL when any of it is not RAM,
    // or is not writable RAM and is_write is set. The range never crosses a 4 KiB boundary. The
    // pointer is used until the call that took it returns; it keeps gpa's alignment.
    void *(*guest_ptr)(void *opaque, uint64_t gpa, uint64_t length, bool is_write);
    void *opaque;
};

struct walk_result {
    uint64_t gpa;        // on WALK_OK
    uint32_t error_code; // on WALK_PAGE_FAULT, enum walk_error_code bits
};

// Translates one address for an access that does not cross a 4 KiB boundary. Sets accessed and, for
// a write, dirty bits when the access is allowed. Without paging gpa is gva. gva is cut to 32 bits
// outside long mode.
enum walk_status walk_translate(const struct walk_ctx *ctx, uint64_t gva, unsigned access,
                                struct walk_result *result);

// Enough for the longest instruction.
#define WALK_CODE_BYTES 16

struct walk_code {
    uint8_t bytes[WALK_CODE_BYTES];
    uint8_t count;           // bytes that could be fetched
    enum walk_status status; // why they are fewer than WALK_CODE_BYTES, else WALK_OK
    uint64_t fault_gva;      // where, and with WALK_PAGE_FAULT:
    uint32_t error_code;
};

// Fetches the code at linear address `gva`, which wraps at 4 GiB unless the code segment is a
// 64-bit one: in compatibility mode, too. A page that cannot be fetched ends it early, which is no
// fault of the guest as long as its instruction ends before.
void walk_fetch(const struct walk_ctx *ctx, uint64_t gva, bool is_64bit, struct walk_code *code);
