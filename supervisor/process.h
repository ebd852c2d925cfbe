// SPDX-License-Identifier: Apache-2.0
// Address spaces: the supervisor's own, and those of the processes it makes.
//
//   process_map_own, process_unmap_own   a memory object in the supervisor's address space
//   process_allocate                     memory of the supervisor's own, for good
//   process_create                       a process from an ELF module, without a thread yet
//   process_put                          a filled page or more for it, read-only
//   process_start                        its first thread
//
// The supervisor's own address space: its image at 4 MiB, and from PROCESS_OWN_BASE on what is
// listed here, each thing at a fixed place, so that nothing needs to keep track of addresses.
#pragma once

#include "include/start.h"

#include <stddef.h>
#include <stdint.h>

#define PROCESS_OWN_BASE     0x100000000ULL
#define PROCESS_OWN_WINDOW   (PROCESS_OWN_BASE)               // a temporary mapping, up to 32 MiB
#define PROCESS_OWN_SLOTS    (PROCESS_OWN_BASE + 0x02000000u) // one a VM: what its VMM maps, too
#define PROCESS_OWN_MANIFEST (PROCESS_OWN_BASE + 0x04000000u) // up to 64 MiB
#define PROCESS_OWN_PROGRAM  (PROCESS_OWN_BASE + 0x08000000u) // a program's file, up to 64 MiB
#define PROCESS_OWN_HEAP     (PROCESS_OWN_BASE + 0x0c000000u) // process_allocate, up to 64 MiB
#define PROCESS_OWN_DRIVER   (PROCESS_OWN_BASE + 0x10000000u) // the rings of the console's driver
#define PROCESS_OWN_NODES    (PROCESS_OWN_BASE + 0x11000000u) // the table of nodes
#define PROCESS_SLOT_SIZE    0x10000u
#define PROCESS_SLOT_CONSOLE 0u // in a slot
#define PROCESS_SLOT_REPORTS 0xf000u
#define PROCESS_WINDOW_MAX   0x02000000u
#define PROCESS_FILE_MAX     0x04000000u

// Of a process made here: the first thread's stack, below an ELF image linked at 4 MiB. What lies
// below the stack stays unmapped.
#define PROCESS_STACK_TOP  0x3f0000ULL
#define PROCESS_STACK_SIZE 0x8000ULL

struct process {
    uint32_t handle; // 0: none
    uint64_t entry;
};

// `size` rounded up to whole pages.
uint64_t process_pages(uint64_t size);

// Maps memory[0, size) at one of the addresses above, with these rights. NULL: the kernel refused.
void *process_map_own(uint32_t memory, uint64_t address, uint64_t size, uint32_t rights);
void process_unmap_own(const void *mapping, uint64_t size);

// Zeroed pages charged to the supervisor's quota, mapped until the machine ends. NULL: none left.
void *process_allocate(uint64_t size);

// Makes a process charged to `quota`, scheduled in `group`, with the segments of `module` and a
// stack; `mask` is signalled on the supervisor's event when it ends. Segments that are only read
// are mapped out of the module itself, so that all processes share them. Returns NULL, or what went
// wrong, with process->handle to be closed unless 0.
const char *process_create(struct process *process, uint32_t quota, uint64_t mask, uint32_t group,
                           const struct abi_start_module *module);

// Maps a read-only copy of data[0, size) at `address` of the process, charged to `quota`. Returns
// the result of the system call that failed, or 0.
int64_t process_put(const struct process *process, uint32_t quota, uint64_t address,
                    const void *data, uint64_t size);

// Starts the process's first thread with `argument`.
int64_t process_start(const struct process *process, uint64_t argument, uint32_t cpu);
