// SPDX-License-Identifier: Apache-2.0
// Core scheduling: hardware threads of one core run threads of one domain (struct abi_group) at a
// time, or nothing. They share caches and predictors, and what runs on one can measure the other.
//
// A core belongs to a domain as long as one of its CPUs runs a thread of it. A CPU that wants to
// run another domain's waits until the owner has had the core for a slice; then the core is
// promised to it, no CPU may enter for the old owner any more, and when the last one has left, it
// is told. A real-time thread does not wait for the slice, and nobody takes the core from one. A
// promise that nobody takes up is void after another slice.
//
// Its CPUs also hold traces of the last domain, and each can clear only its own. So when a core
// changes its domain, every CPU of it runs a barrier before it runs a thread (arch/mitigation.h).
// Registers are stored when a CPU leaves the core, before anybody else may enter it.
//
// A CPU that is alone on its core may always run what it likes, and leaves what it has in its
// registers there.
//
// Locks: core->lock (rank LOCK_CORE) protects all of it. Interrupts that these functions ask for
// are sent by the caller, who has a lock of its own.
#pragma once

#include "arch/cpu.h"

enum core_answer {
    CORE_ENTERED,
    CORE_LATER, // ask again at *retry, or when told
    // The same, and the siblings must look again: it is promised to us, or we were the last in
    // their way.
    CORE_TELL,
};

// CPU `cpu`, the current one, is about to run a thread of this domain, and no other any more.
// Where the domain changes, the vCPU that is still loaded on this CPU is unloaded first.
enum core_answer core_enter(struct cpu *cpu, uint32_t domain, bool is_urgent, uint64_t now,
                            uint64_t slice, uint64_t *retry);
// It runs nobody now, and nobody's vCPU is in its registers. True: it was the last, and the core is
// promised: the siblings must look again.
bool core_leave(const struct cpu *cpu);
// Whose it is, for more of the same; 0: nobody's, or promised away.
uint32_t core_get_domain(const struct cpu *cpu);
