// SPDX-License-Identifier: Apache-2.0
// kernel/vcpu.c with a backend and a scheduler of paper, and the real local APIC (vlapic_test.c).
// Its functions have names of their own, since those of the others' tests are in support.c.
#pragma once

#include <criterion/criterion.h>

#include "tests/unit/kernel/support.h"

#define vcpu_create          vcpu_test_create
#define vcpu_kind            vcpu_test_kind
#define vcpu_free            vcpu_test_free
#define vcpu_post            vcpu_test_post
#define vcpu_notify          vcpu_test_notify
#define vcpu_backend         vcpu_test_backend
#define vcpu_claim           vcpu_test_claim
#define vcpu_unclaim         vcpu_test_unclaim
#define vcpu_run             vcpu_test_run
#define vcpu_signal          vcpu_test_signal
#define vcpu_read_state      vcpu_test_read_state
#define vcpu_write_state     vcpu_test_write_state
#define vcpu_state_size      vcpu_test_state_size
#define vcpu_release         vcpu_test_release
#define vcpu_unload          vcpu_test_unload
#define vcpu_first_entry_tsc vcpu_test_first_entry_tsc
#define vcpu_notified        vcpu_test_notified
#define thread_yield         vcpu_test_yield
#include "kernel/pvtime.h"
#include "kernel/quota.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

extern struct vm run_vm;
extern struct vcpu run_vcpu;
extern struct vcpu_page run_page;

struct vcpu_paper {
    uint32_t entries, injected, synced, blocks;
    uint8_t sent;     // the last vector to another CPU ...
    uint32_t sent_to; // ... and its APIC ID
    bool is_open;     // the guest can take interrupts
    enum nmi_gate nmi_gate;
    uint32_t nmis; // injected
    bool cannot_step;
    const struct vcpu *holds[HOST_CPUS]; // by CPU: whose state is in it
    uint32_t loads, forgets, flushes;
    void (*on_flush)(void);
    uint32_t steps;
    enum exit_action actions[4]; // of the entries, in turn
    void (*on_leave)(void);      // once
    uint32_t exceptions;         // injected: the last one is
    struct vcpu_inject exception;
    struct vcpu_registers backend; // what was written to it last
    uint32_t writes;
};
extern struct vcpu_paper vcpu_paper;
#define paper vcpu_paper
extern const struct vcpu_backend vcpu_paper_backend;

// A vCPU that nobody runs, with its APIC on, whose first entry goes back to the VMM.
void vcpu_set_up(void);

// What kernel/vcpu.c keeps to itself.
uint32_t vcpu_paper_start_up(struct vcpu *vcpu, uint32_t bits); // what is left of the bits
void vcpu_paper_load(struct vcpu *vcpu);
