// SPDX-License-Identifier: Apache-2.0
// How often the supervisor works for VMs, and how much for one of them. What it does is charged to
// the VM that wants it (charge.h), but only behind that, so it is bounded, whatever a VMM signals,
// sends and prints.
//
//   round_wait      sleeps until there is something to do
//   rate_room       what a VM may have done now, of one kind of work
//   rate_take       it has been done
//
// Rounds: a VM is heard at once when no VM was for ROUND_NS. After that its signals gather in the
// event, and wake nobody, until these have passed; and longer, when there were many rounds of late.
// So who types gets his echo at once, and the number of rounds does not depend on the number of
// signals.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ROUND_NS 5000000ULL // 5 ms

// So much at once, and then so much a second. A VM's console ring at once, then several times what
// a serial line of 115200 baud carries; a long crash dump at once, then as many lines as people
// read.
enum rate_kind { RATE_OUTPUT = 0, RATE_REPORTS, RATE_KINDS, RATE_ROUNDS = RATE_KINDS };
#define RATE_OUTPUT_BURST   32768u // bytes
#define RATE_OUTPUT_SECOND  65536u
#define RATE_REPORTS_BURST  96u // messages
#define RATE_REPORTS_SECOND 10u
#define RATE_ROUNDS_BURST   100u // of all VMs together
#define RATE_ROUNDS_SECOND  12u

// All zero: nothing was taken yet.
struct rate {
    uint64_t
        taken_until; // nanoseconds of the machine: when the last one taken will have been paid for
};

// How much of it may be taken now.
uint32_t rate_room(const struct rate *rate, enum rate_kind kind);
void rate_take(struct rate *rate, enum rate_kind kind, uint32_t count);

// Bits of the machine's event, 0 at the deadline (TSC). `has_work`: VMs have something left that
// their rates did not allow, so the next round begins as soon as it may.
uint64_t round_wait(uint64_t deadline, bool has_work);
