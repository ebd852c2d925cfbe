// SPDX-License-Identifier: Apache-2.0
//
// The decoder of instructions for which a guest is left by an intercept, not by an access to a
// device: what AMD-V does not tell of them, their bytes do. AMD's processors without decode assists
// name the control register alone (APM 2 15.8.1 "MOV CRx/DRx Intercepts"), and those without
// next-RIP no length (APM 2 15.7.1 "State Saved on Exit").
//
// Pure, as decode_insn. tests/fuzz/decode_fuzz.c compares every accepted encoding with Zydis.

#pragma once

#include "vmm/emulate/decode.h"

enum system_op {
    SYSTEM_MOV_TO_CONTROL,
    SYSTEM_MOV_FROM_CONTROL,
    SYSTEM_CLTS,
    SYSTEM_LMSW,
    SYSTEM_SMSW,
    SYSTEM_INS,
    SYSTEM_OUTS,
    SYSTEM_FAR_CALL,
    SYSTEM_FAR_JUMP,
    SYSTEM_IRET,
    SYSTEM_INTERRUPT, // INT n, INT3, INTO, INT1
};

// Of `insn` hold length and address_size, for all; for MOV, LMSW and SMSW operand_size, and either
// the register (other is INSN_OTHER_REGISTER) or the memory operand, of 2 bytes; for INS and OUTS
// the segment, and whether it is repeated.
struct system_insn {
    struct insn insn;
    uint8_t op;      // enum system_op
    uint8_t control; // of MOV: the number of the control register, one that there is
};

// As decode_insn. DECODE_UNKNOWN: none of these.
enum decode_error decode_system(const uint8_t bytes[DECODE_BYTES], unsigned count,
                                enum decode_mode mode, struct system_insn *out);
