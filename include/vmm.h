// SPDX-License-Identifier: Apache-2.0
// What the supervisor and a VMM agree on: how a VMM starts, its console, what it reports.
//
// The supervisor makes a process of vmm.elf (segments at their p_vaddr, a stack), maps read-only at
// ABI_START_ADDRESS one page with struct vmm_start, puts the handles named in it into the process's
// table, and starts one thread at the ELF entry with RDI = ABI_START_ADDRESS.
#pragma once

#include "abi.h"
#include "include/manifest.h"

#include <stdbool.h>

#define VMM_VERSION     2u
#define VMM_CMDLINE_MAX 2048u
#define VMM_NAME_MAX    32u

// What the manifest says to the VMM.
struct vmm_keys {
#define VMM_KEY(member, key, value, ...) MEMBER_##value(member)
#include "include/manifest_keys.h"
};

struct vmm_start {
    uint32_t version; // VMM_VERSION
    uint32_t vcpu_count;
    uint64_t memory_size; // bytes of guest RAM
    uint64_t kernel_size; // bytes of the file
    uint64_t initrd_size; // 0: none
    uint64_t tsc_hz;      // of the host
    struct vmm_keys keys;
    uint64_t utc_seconds; // wall clock at start, since 1970
    uint64_t utc_tsc;     // TSC at which utc_seconds was read
    uint64_t xcr0_mask;
    uint64_t arch_capabilities; // of the host; 0: it has none
    uint32_t physical_bits;
    uint32_t has_unrestricted_guest;
    // Handles in the VMM's own table.
    uint32_t quota;            // READ|CREATE: what this VM may use, guest RAM included
    uint32_t kernel;           // memory, READ
    uint32_t initrd;           // memory, READ; 0: none
    uint32_t console;          // memory, READ|WRITE: struct vmm_console
    uint32_t reports;          // memory, READ|WRITE: struct vmm_reports
    uint32_t wakeup;           // event, SIGNAL|WAIT: bits VMM_WAKEUP_* from the supervisor
    uint32_t supervisor_event; // event, SIGNAL of supervisor_mask only: the supervisor's
    uint32_t has_tsc_scaling;
    uint32_t is_tsc_stable;   // of the host: one clock on all CPUs, at a rate that never changes
    uint64_t supervisor_mask; // what to signal on it when there is console output or a report
    uint32_t cpu[64];         // host CPU for each vCPU's thread
    char name[VMM_NAME_MAX];
    char kernel_name[64]; // for error messages
    char initrd_name[64];
    char cmdline[VMM_CMDLINE_MAX];
};

_Static_assert(sizeof(struct vmm_start) <= ABI_PAGE, "one page");

// Bits of `wakeup`: all that the supervisor ever wants of a VMM. Bits from 16 on are the VMM's own.
#define VMM_WAKEUP_INPUT        (1ULL << 0) // console input, or room for console output again
#define VMM_WAKEUP_POWER_BUTTON (1ULL << 1) // somebody pressed it
#define VMM_WAKEUP_END          (1ULL << 2) // power off now: answer with VMM_MESSAGE_ENDED

// A console: two byte rings (lib/ring.h) in one shared memory object. Each side treats the other's
// index as untrusted: it is taken modulo the size, so that nonsense garbles text and nothing else.
#define VMM_CONSOLE_OUT 32768u // bytes from the guest; a power of two
#define VMM_CONSOLE_IN  1024u  // bytes to the guest; a power of two

struct vmm_console {
    uint32_t out_head; // written by the VMM: bytes ever put in
    uint32_t out_tail; // written by the supervisor: bytes ever taken out
    uint32_t in_head;  // written by the supervisor
    uint32_t in_tail;  // written by the VMM
    uint32_t reserved[12];
    uint8_t in[VMM_CONSOLE_IN];
    uint8_t out[VMM_CONSOLE_OUT];
};

enum vmm_message_type {
    VMM_MESSAGE_LOG = 1,     // text: one line for the host's console, said in the VM's name
    VMM_MESSAGE_ENDED = 2,   // end, code, text; the last message; the VMM then exits
    VMM_MESSAGE_RUNNING = 3, // the first vCPU is about to run
    VMM_MESSAGE_DUMP = 4,    // text: one line about a crash, kept for who asks
};

enum vmm_end {
    VMM_END_POWERED_OFF = 0,
    VMM_END_RESET = 1,
    VMM_END_DEBUG_EXIT = 2, // code
    VMM_END_CRASHED = 3,    // text: why
    VMM_END_REFUSED = 4,    // text: what in the manifest or the images does not work, and the fix
};

#define VMM_MESSAGE_SIZE 256u

struct vmm_message {
    uint32_t type; // enum vmm_message_type
    uint32_t end;  // enum vmm_end
    uint32_t code;
    uint32_t reserved;
    char text[VMM_MESSAGE_SIZE - 16]; // NUL-terminated
};

_Static_assert(sizeof(struct vmm_message) == VMM_MESSAGE_SIZE, "as said");

// What the VMM reports: a byte ring (lib/ring.h) of whole messages, in a page of its own. The
// supervisor copies each of them before it looks at it. A VMM that writes nonsense there, or writes
// while it is read, reports nonsense and does nothing else.
#define VMM_REPORTS_RING (8 * VMM_MESSAGE_SIZE) // bytes; a power of two

struct vmm_reports {
    uint32_t head; // written by the VMM: bytes ever put in
    uint32_t tail; // written by the supervisor: bytes ever taken out
    uint32_t reserved[14];
    uint8_t ring[VMM_REPORTS_RING];
};

_Static_assert(sizeof(struct vmm_reports) <= ABI_PAGE, "one page");
