// SPDX-License-Identifier: Apache-2.0
// A second processor that ends the VM when the first does not get on. Wild code in ring 0 can hang
// its own processor where no watchdog reaches it, not even an NMI: its code segment is one of
// another size, and each trap runs into the next. Another processor has registers of its own.
//
//     keeper_start(KEEPER_S); // first of all, before attack_init()
//     keeper_beat();          // in each round
//
// A VM that the keeper ended leaves by debug-exit KEEPER_END, behind a line that says so.
#pragma once

#include "lib/types.h"

#define KEEPER_END 4u
#define KEEPER_S   30u // of TSC time, in which other VMs have their turns

// The keeper waits for so many seconds for a beat. The VM has two processors. False: it has only
// one, since the host cannot virtualize real mode, and nobody keeps it.
bool keeper_start(uint32_t seconds);
void keeper_beat(void);
