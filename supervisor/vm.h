// SPDX-License-Identifier: Apache-2.0
// The life of the VMs. All of them stand in one table, in the manifest's order; a VM keeps its
// place when it has ended, and can be started again.
//
//   vm_open         the table, once
//   vm_autostart    starts those that the manifest says, in its order
//   vm_start        carves the partition; says so in one line when it cannot
//   vm_service      after its bit of the event was set, or when it may have more done for it again
//   vm_check_deadlines, vm_next_deadline    of VMs that were asked to end, or are settling
//
// State: STOPPED or ENDED -> RUNNING (vm_start) -> SETTLING (its process is gone, its last output
// printed) -> all of its memory is back, and its end told: ENDED, or WAITING when the restart
// policy starts it again -> RUNNING.
#pragma once

#include "include/vmm.h"
#include "lib/ring.h"
#include "supervisor/backlog.h"
#include "supervisor/line.h"
#include "supervisor/manifest.h"
#include "supervisor/partition.h"
#include "supervisor/rate.h"
#include "supervisor/reports.h"

#include <stdbool.h>
#include <stdint.h>

enum vm_state { VM_STOPPED = 0, VM_RUNNING, VM_SETTLING, VM_WAITING, VM_ENDED };

#define VM_END_TEXT_MAX (PARTITION_WHY_MAX + 16)

struct vm_end {
    enum vmm_end kind;
    uint32_t code;
    char text[PARTITION_WHY_MAX];
};

struct vm {
    const struct vm_config *config;
    uint32_t index;
    enum vm_state state;
    bool has_entered;  // its first vCPU runs
    bool has_end;      // `end` holds; the process may still exist
    struct vm_end end; // how it ended, or is about to
    bool is_asked_to_end;
    bool is_power_button_pressed;
    uint64_t deadline; // TSC; RUNNING, SETTLING: the patience with its VMM, or the kernel, ends;
                       // WAITING: it starts; ABI_FOREVER: neither
    uint64_t started;  // TSC
    uint64_t stopped;  // TSC
    uint32_t starts;   // how often it was started
    uint32_t restarts; // in a row, as the restart policy counts
    struct placement placement; // held from the start, or before, until it has ended
    uint32_t weight;            // as the manifest or, later, the console says
    uint32_t cap;               // likewise
    struct partition partition;
    struct rate rate[RATE_KINDS]; // of what is done for it
    uint64_t charged;             // ticks of others, for it, in this life
    uint64_t paid_until;          // TSC: when its cap has paid for them; no cap: no meaning
    uint64_t debt;                // of them, what no group was there to pay: the next life does
    struct ring_reader out;
    struct ring_writer in;
    struct line line; // batch mode
    struct reports reports;
    struct backlog *backlog; // interactive mode: output that nobody has seen yet; NULL: no memory
};

// False: no memory for the table. The manifest must stay.
bool vm_open(const struct manifest *from);

uint32_t vm_count(void);
struct vm *vm_at(uint32_t index);
struct vm *vm_find(const char *name); // the first of that name; NULL: none
bool vm_is_busy(const struct vm *vm); // neither ended nor never started
uint32_t vm_running_count(void);      // of those that are busy

void vm_autostart(void);
void vm_start(struct vm *vm); // one that waits for its restart starts now

// Sets its share of the CPUs, now if it runs, and whenever it starts. Returns the kernel's answer.
int64_t vm_set_share(struct vm *vm, uint32_t weight, uint32_t cap);

void vm_service(struct vm *vm);
void vm_service_mask(uint64_t bits);
bool vm_has_work(void); // left by the last service, for the next round

// Bytes typed for it; what does not fit its ring is lost. Returns how many were taken.
uint32_t vm_input(struct vm *vm, const uint8_t *bytes, uint32_t count);

// False: it is not running right now.
bool vm_press_power_button(struct vm *vm);

// Asks its VMM to end it; when that does not happen within seconds, or when asked again, ends the
// VMM.
void vm_end(struct vm *vm);

uint64_t vm_next_deadline(void); // ABI_FOREVER: none
void vm_check_deadlines(void);

// "powered off", "crashed: ..." and so on, of a VM with has_end; at most VM_END_TEXT_MAX.
void vm_end_text(const struct vm *vm, char *out, size_t size);
