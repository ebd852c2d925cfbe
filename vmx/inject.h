// SPDX-License-Identifier: Apache-2.0
// What VT-x adds to the form of an event (kernel/exception.h). The first three fields of SDM 3C
// Table 25-15 "Format of the VM-Entry Interruption-Information Field", Table 25-18 "Format of the
// VM-Exit Interruption-Information Field" and Table 25-19 "Format of the IDT-Vectoring Information
// Field" are the same. Pure, but for inject_reflected.
#pragma once

#include "kernel/exception.h"

#define EVENT_PRIVILEGED_EXCEPTION 0x500u  // INT1
#define EVENT_SOFTWARE_EXCEPTION   0x600u  // INT3, INTO
#define EVENT_NMI_UNBLOCKED        0x1000u // on exit: IRET had unblocked NMIs
// What an entry may name; the other bits are reserved there.
#define EVENT_ENTRY_MASK (EVENT_VECTOR | EVENT_TYPE | EVENT_HAS_ERROR | EVENT_VALID)
#define EVENT_ERROR_MASK 0xffffu // bits 31:16 must be 0; a selector's error code has bit 15, too

// Events that push the address behind the instruction want its length.
static inline bool event_has_length(uint64_t event) {
    uint64_t type = event & EVENT_TYPE;
    return type == EVENT_SOFTWARE || type == EVENT_PRIVILEGED_EXCEPTION ||
           type == EVENT_SOFTWARE_EXCEPTION;
}

// Queues the exception that this exit was for. VMCS current.
void inject_reflected(void);
