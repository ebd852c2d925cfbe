// SPDX-License-Identifier: Apache-2.0
// The format in which VT-x describes an event. The first three fields of SDM 3C Table 25-15 "Format
// of the VM-Entry Interruption-Information Field", Table 25-18 "Format of the VM-Exit
// Interruption-Information Field" and Table 25-19 "Format of the IDT-Vectoring Information Field"
// are the same. Pure, but for inject_reflected.
#pragma once

#include "lib/types.h"

#define EVENT_VECTOR               0xffu
#define EVENT_TYPE                 0x700u
#define EVENT_TYPE_SHIFT           8
#define EVENT_EXTERNAL_INTERRUPT   0x000u
#define EVENT_NMI                  0x200u
#define EVENT_HARDWARE_EXCEPTION   0x300u
#define EVENT_SOFTWARE_INTERRUPT   0x400u // INT n
#define EVENT_PRIVILEGED_EXCEPTION 0x500u // INT1
#define EVENT_SOFTWARE_EXCEPTION   0x600u // INT3, INTO
#define EVENT_HAS_ERROR            0x800u
#define EVENT_NMI_UNBLOCKED        0x1000u // on exit: IRET had unblocked NMIs
#define EVENT_VALID                0x80000000u
// What an entry may name; the other bits are reserved there.
#define EVENT_ENTRY_MASK (EVENT_VECTOR | EVENT_TYPE | EVENT_HAS_ERROR | EVENT_VALID)
#define EVENT_ERROR_MASK 0xffffu // bits 31:16 must be 0; a selector's error code has bit 15, too

// Events that push the address behind the instruction want its length.
static inline bool event_has_length(uint32_t info) {
    uint32_t type = info & EVENT_TYPE;
    return type == EVENT_SOFTWARE_INTERRUPT || type == EVENT_PRIVILEGED_EXCEPTION ||
           type == EVENT_SOFTWARE_EXCEPTION;
}

// Queues the exception that this exit was for. VMCS current.
void inject_reflected(void);
