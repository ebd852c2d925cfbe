// SPDX-License-Identifier: Apache-2.0
//
// The opcode map of the MMIO decoder: one row an opcode, read by decode.c alone.

#pragma once

#include <stdint.h>

// How the operands are encoded; names as in SDM 2A 3.1.1.4 "Operand Encoding Column in the
// Instruction Summary Table". Whatever is at least DECODE_FORM_PREFIX is no instruction yet.
enum decode_form {
    DECODE_FORM_REFUSED, // no row
    DECODE_FORM_SAME,    // in a group: the form of the group's own opcode
    DECODE_FORM_MR,      // memory, register
    DECODE_FORM_RM,      // register, memory
    DECODE_FORM_MI,      // memory, immediate of the operand size, at most 4 bytes
    DECODE_FORM_MI8,     // memory, immediate of 1 byte
    DECODE_FORM_MRI,     // memory, register, immediate of 1 byte
    DECODE_FORM_MRC,     // memory, register, CL
    DECODE_FORM_RMI,     // register, memory, immediate of the operand size, at most 4 bytes
    DECODE_FORM_RMI8,    // register, memory, immediate of 1 byte
    DECODE_FORM_MC,      // memory, CL
    DECODE_FORM_M1,      // memory, the number 1
    DECODE_FORM_M,       // memory alone
    DECODE_FORM_FD,      // accumulator, memory at an absolute offset
    DECODE_FORM_TD,      // memory at an absolute offset, accumulator
    DECODE_FORM_STRING,  // no ModRM
    DECODE_FORM_PREFIX,
    DECODE_FORM_BY_PREFIX, // decode_by_prefix[group][enum decode_prefix] is the row
    DECODE_FORM_VEX,       // C4, C5: where they are not LES and LDS
    DECODE_FORM_REX,    // a prefix in 64-bit code; elsewhere INC and DEC of registers, so refused
    DECODE_FORM_ESCAPE, // 0F: the next byte indexes decode_two_byte
};

enum decode_group {
    DECODE_GROUP_NONE,
    DECODE_GROUP_1,  // 80 to 83: ADD to CMP
    DECODE_GROUP_1A, // 8F: POP
    DECODE_GROUP_2,  // C0, C1, D0 to D3: ROL to SAR
    DECODE_GROUP_3,  // F6, F7: TEST NOT NEG MUL IMUL DIV IDIV
    DECODE_GROUP_4,  // FE: INC DEC
    DECODE_GROUP_5,  // FF: INC DEC CALL JMP PUSH
    DECODE_GROUP_8,  // 0F BA: BT BTS BTR BTC
    DECODE_GROUP_9,  // 0F C7: CMPXCHG8B, CMPXCHG16B
    DECODE_GROUP_11, // C6, C7: MOV
    DECODE_GROUP_15, // 0F AE: CLFLUSH, CLFLUSHOPT, CLWB
    DECODE_GROUP_16, // 0F 18: PREFETCH
    DECODE_GROUP_P,  // 0F 0D: PREFETCH
    DECODE_GROUP_1C, // 0F 1C: CLDEMOTE
    DECODE_GROUP_COUNT,
};

// What stands in the third column of the opcode map. F2 and F3 go before 66; VEX has a field for
// it.
enum decode_prefix { DECODE_PLAIN, DECODE_66, DECODE_F3, DECODE_F2, DECODE_PREFIX_COUNT };

// Rows that a prefix selects, by the byte of the opcode.
enum decode_prefixed {
    DECODE_AT_10,
    DECODE_AT_11,
    DECODE_AT_12,
    DECODE_AT_13,
    DECODE_AT_16,
    DECODE_AT_17,
    DECODE_AT_28,
    DECODE_AT_29,
    DECODE_AT_2B,
    DECODE_AT_6E,
    DECODE_AT_6F,
    DECODE_AT_7E,
    DECODE_AT_7F,
    DECODE_AT_D6,
    DECODE_AT_E7,
    DECODE_AT_F0,
    DECODE_AT_B8,
    DECODE_AT_BC,
    DECODE_AT_BD,
    DECODE_AT_38_2A,
    DECODE_AT_38_F0,
    DECODE_AT_38_F1,
    DECODE_AT_38_F6,
    DECODE_AT_38_F9,
    DECODE_AT_COUNT,
};

enum decode_flag {
    DECODE_BYTE = 0x01,        // operand size 1
    DECODE_LOCKABLE = 0x02,    // may carry LOCK: reads and writes its memory operand
    DECODE_STACK = 0x04,       // operand size 8 in 64-bit code, and no way to say 4
    DECODE_LONG_ONLY = 0x08,   // another instruction, or none, outside 64-bit code
    DECODE_LEGACY_ONLY = 0x10, // not in 64-bit code
    DECODE_NO_REPEAT = 0x20,   // F2 and F3 make it another instruction, or none
    DECODE_NO_66 = 0x40,       // 66 makes it another instruction, or none
    DECODE_DWORD = 0x80,       // operand size 4, or 8 by REX.W, in all modes
    DECODE_NEAR = 0x100,       // operand size 8 in 64-bit code, whatever 66 says
    DECODE_NEEDS_66 = 0x200,
};

struct decode_row {
    uint8_t op;   // enum insn_op
    uint8_t form; // enum decode_form
    uint8_t
        group; // enum decode_group: ModRM.reg selects op, form and more flags; or decode_prefixed
    uint8_t memory; // bytes of the memory operand where they are not the operand size, else 0
    uint8_t vector; // enum insn_vector bits
    uint16_t flags; // enum decode_flag bits
};

extern const struct decode_row decode_one_byte[256];
extern const struct decode_row decode_two_byte[256]; // after 0F
extern const struct decode_row decode_by_prefix[DECODE_AT_COUNT][DECODE_PREFIX_COUNT];
extern const struct decode_row decode_groups[DECODE_GROUP_COUNT][8];
