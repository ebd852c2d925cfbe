// SPDX-License-Identifier: Apache-2.0
// What stands around the kernel's modules in tests: RAM, CPUs, a clock, and what they said and
// asked for.
#pragma once

#include "tests/unit/kernel/host.h"

#include "include/boot.h"
#include "kernel/group.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/thread.h"

// RAM below 4 GiB that the kernel can touch, and RAM above that nobody ever touches here.
#define HOST_RAM_BASE  0x10000000ULL
#define HOST_RAM_SIZE  (64ULL << 20)
#define HOST_RAM_PIECE (1ULL << 20)
#define HOST_HIGH_BASE (4ULL << 30)
#define HOST_HIGH_SIZE (8ULL << 30)

// An access of ring 3's that needs `right`. False: it may not.
static inline bool host_touch(struct process *process, uint64_t address, uint64_t right) {
    return space_fault(&process->space, address, right) == SPACE_FAULT_RETRY;
}

// The map that host_init takes when none is given: both of the above.
extern const struct boot_memory host_map[2];

// What frame_init was told: where the pool lies.
extern struct boot_info host_boot;

// CPUs, one thread that runs on each, RAM. `map` NULL: host_map. The first FREE range begins with
// the pool.
void host_init(const struct boot_memory *map, uint32_t count);
// The same, and a root quota of all that is free: TestSuite(..., .init = host_init_all).
void host_init_all(void);
// Takes all frames that are nobody's, in the largest runs: the kernel has its pool alone then.
void host_take_frames(void);

struct cpu *host_cpu(uint32_t index);
void host_run_on(uint32_t index); // the CPU whose code this is from now on

extern uint64_t host_now;              // the TSC
extern void (*host_look)(void);        // what happens when somebody reads it
extern void (*host_block)(void);       // what happens while the current thread is blocked
extern void (*host_preempt)(void);     // what happens at a preemption point
extern uint32_t host_preempts;         // calls of thread_preempt
extern uint32_t host_wakes;            // calls of thread_wake
extern struct thread *host_last_woken; // by the last of them
#define HOST_UNPARKED_MAX 64u
extern uint32_t host_rechecks;       // calls of scheduler_recheck
extern uint32_t host_unparked_count; // calls of scheduler_unpark
extern struct thread *host_unparked[HOST_UNPARKED_MAX];
extern uint32_t host_interrupts;          // calls of thread_interrupt
extern uint32_t host_flushes;             // calls of smp_flush_root
extern uint32_t host_flushes_of_all;      // calls of smp_flush_all
extern uint32_t host_fences;              // LFENCEs
extern uint32_t host_posts;               // calls of vcpu_post
extern const struct vcpu *host_notified;  // by the last call of vcpu_notify
extern uint64_t host_deadline[HOST_CPUS]; // what is in each local APIC's timer; 0: stopped
extern uint32_t host_timer_writes;

// The process's memory: only this may be read and written.
extern uint8_t host_user[4 * PAGE_SIZE];

// The kernel's UART and screen.
#define HOST_ROWS 5u
struct host_wire {
    bool has_uart;
    uint32_t room;  // of the FIFO, now; to wait for it makes it 16
    uint32_t waits; // calls of uart_wait for room
    uint32_t resets;
    char text[128 * 1024];
    size_t size;
    char row[HOST_ROWS][300];
};
extern struct host_wire host_wire;

// The last access to a port, how many there were, and what is read.
struct host_port {
    uint32_t port, width, value, count;
};
extern struct host_port host_port;
extern uint32_t host_port_value;
// Entries of the I/O APICs' inputs; whether one would interrupt.
#define HOST_INPUTS 24u
extern uint32_t host_entry[HOST_INPUTS];
bool host_is_open(uint32_t input);

// How often kspace_clear cleared the frame.
uint32_t host_times_cleared(hpa_t frame);
// A leaf of the kernel's own tables, beside those of its direct map; NULL: none.
extern const struct pt_mapping *host_planted_leaf;
extern uint64_t host_planted_address;
extern bool host_has_window;    // kspace_window, and no kspace_window_close since
extern uint64_t host_unflushed; // bytes taken out of the direct map that a TLB may still have
// Whether a frame was allocated to the kernel and mapped there.
bool host_is_mapped(hpa_t frame);

// A cache with so many ways, whose classes of service are 0 to `last_class` (arch/cache_test.c).
void host_has_cache(uint32_t ways, uint32_t last_class);

// What space_user_* do; NULL: tables are not split.
struct host_split {
    bool (*init)(hpa_t *user_root, struct quota *quota);
    void (*show)(hpa_t user_root, const struct pagetable *pt, uint64_t address);
    void (*free)(hpa_t *user_root, struct quota *quota);
    bool (*is_user_root)(hpa_t user_root, const struct pagetable *pt);
};
extern const struct host_split *host_split;

// A processor that makes VMs, and nothing else of them.
struct vcpu_backend;
extern const struct vcpu_backend host_backend;

// The next panic comes here instead of ending the test: if (HOST_PANICS(call)) ...
extern jmp_buf host_panic;
extern bool host_expects_panic;
extern char host_panic_text[160];
#define HOST_PANICS(statement)                                                                     \
    (host_expects_panic = true,                                                                    \
     setjmp(host_panic) == 0 ? ((void)(statement), host_no_panic()) : true)
bool host_no_panic(void);

// xorshift64: the same numbers each time.
uint64_t host_random(uint64_t *state);

struct abi_quota_info host_quota_read(struct quota *quota);
struct abi_process_status host_process_status(struct process *process);
struct event *host_event_create(struct quota *quota); // without a handle
int host_event_wait(struct event *event, uint64_t mask, uint64_t deadline, uint64_t *bits);

uint64_t host_region_count(const struct region_list *list);
// The first region whose end lies above `address`; NULL: none.
struct region *host_region_next(const struct region_list *list, uint64_t address);
// Takes out what is exactly [base, base+size), as it is, and leaves what it mapped; its reference
// is the caller's. False: there is none.
bool host_region_remove(struct region_list *list, uint64_t base, uint64_t size,
                        struct region *removed);
