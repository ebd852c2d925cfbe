// SPDX-License-Identifier: Apache-2.0
// The rules of exceptions, which are the same on all processors, and the form in which VT-x and
// AMD-V describe an event that is queued for the next entry. AMD-V has its error code in the upper
// half; VT-x has a field of its own for it. Pure.
//
// SDM 3C Table 25-15 "Format of the VM-Entry Interruption-Information Field"; APM 2 15.20 "Event
// Injection".
#pragma once

#include "include/abi.h"
#include "lib/types.h"

#define EXCEPTION_COUNT 32u

#define EVENT_VECTOR      0xffu
#define EVENT_TYPE        0x700u
#define EVENT_TYPE_SHIFT  8
#define EVENT_INTERRUPT   0x000u // external
#define EVENT_NMI         0x200u
#define EVENT_EXCEPTION   0x300u
#define EVENT_SOFTWARE    0x400u // INT n
#define EVENT_HAS_ERROR   0x800u
#define EVENT_VALID       0x80000000u
#define EVENT_ERROR_SHIFT 32

// The event that hardware makes of exception `vector` (modulo 32) on top of what is queued already.
// Which vectors have an error code follows from the manual; in real mode none has. 0: a triple
// fault.
uint64_t exception_compose(uint64_t queued, uint8_t vector, uint32_t error, bool is_protected);
// An exception that reports an instruction which was not done.
bool exception_is_fault(uint64_t event);

// An event, as in struct vcpu_registers but for .length. What is not valid is all zeroes there.
struct vcpu_inject exception_to_vmm(uint64_t event);
uint64_t exception_from_vmm(const struct vcpu_inject *inject);
