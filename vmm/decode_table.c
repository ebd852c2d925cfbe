// SPDX-License-Identifier: Apache-2.0
//
// The opcode map of the MMIO decoder, in the order of SDM 2D Appendix A "Opcode Map". What has no
// row is refused.

#include "decode_table.h"

#include "decode.h"

#define BYTE DECODE_BYTE
#define LOCK DECODE_LOCKABLE
#define ROW(OP, FORM, FLAGS)                                                                       \
    { .op = INSN_##OP, .form = DECODE_FORM_##FORM, .flags = (FLAGS) }
#define GROUP(NUMBER, FORM, FLAGS)                                                                 \
    { .group = DECODE_GROUP_##NUMBER, .form = DECODE_FORM_##FORM, .flags = (FLAGS) }
#define PREFIX                                                                                     \
    { .form = DECODE_FORM_PREFIX }

// The four forms of an ALU instruction with ModRM: r/m8 r8; r/m r; r8 r/m8; r r/m.
#define ALU(OP, FLAGS)                                                                             \
    ROW(OP, MR, BYTE | (FLAGS)), ROW(OP, MR, FLAGS), ROW(OP, RM, BYTE), ROW(OP, RM, 0)

const struct decode_row decode_one_byte[256] = {
    [0x00] = ALU(ADD, LOCK),
    [0x08] = ALU(OR, LOCK),
    [0x0f] = {.form = DECODE_FORM_ESCAPE},
    [0x10] = ALU(ADC, LOCK),
    [0x18] = ALU(SBB, LOCK),
    [0x20] = ALU(AND, LOCK),
    [0x26] = PREFIX, // ES
    [0x28] = ALU(SUB, LOCK),
    [0x2e] = PREFIX, // CS
    [0x30] = ALU(XOR, LOCK),
    [0x36] = PREFIX, // SS
    [0x38] = ALU(CMP, 0),
    [0x3e] = PREFIX, // DS
    [0x40 ... 0x4f] = {.form = DECODE_FORM_REX},
    // MOVSXD. With 66 the SDM reads 2 bytes of memory, Zydis and others read 4: refused.
    [0x63] = {.op = INSN_MOVSX,
              .form = DECODE_FORM_RM,
              .flags = DECODE_LONG_ONLY | DECODE_NO_66,
              .memory = 4},
    [0x64] = PREFIX, // FS
    [0x65] = PREFIX, // GS
    [0x66] = PREFIX, // operand size
    [0x67] = PREFIX, // address size
    [0x80] = GROUP(1, MI, BYTE),
    [0x81] = GROUP(1, MI, 0),
    [0x82] = GROUP(1, MI, BYTE | DECODE_LEGACY_ONLY),
    [0x83] = GROUP(1, MI8, 0),
    [0x84] = ROW(TEST, MR, BYTE),
    [0x85] = ROW(TEST, MR, 0),
    [0x86] = ROW(XCHG, MR, BYTE | LOCK),
    [0x87] = ROW(XCHG, MR, LOCK),
    [0x88] = ROW(MOV, MR, BYTE),
    [0x89] = ROW(MOV, MR, 0),
    [0x8a] = ROW(MOV, RM, BYTE),
    [0x8b] = ROW(MOV, RM, 0),
    [0x8f] = GROUP(1A, M, DECODE_STACK),
    [0xa0] = ROW(MOV, FD, BYTE),
    [0xa1] = ROW(MOV, FD, 0),
    [0xa2] = ROW(MOV, TD, BYTE),
    [0xa3] = ROW(MOV, TD, 0),
    [0xa4] = ROW(MOVS, STRING, BYTE),
    [0xa5] = ROW(MOVS, STRING, 0),
    [0xa6] = ROW(CMPS, STRING, BYTE),
    [0xa7] = ROW(CMPS, STRING, 0),
    [0xaa] = ROW(STOS, STRING, BYTE),
    [0xab] = ROW(STOS, STRING, 0),
    [0xac] = ROW(LODS, STRING, BYTE),
    [0xad] = ROW(LODS, STRING, 0),
    [0xae] = ROW(SCAS, STRING, BYTE),
    [0xaf] = ROW(SCAS, STRING, 0),
    [0xc6] = GROUP(11, MI, BYTE),
    [0xc7] = GROUP(11, MI, 0),
    [0xf0] = PREFIX, // LOCK
    [0xf2] = PREFIX, // REPNE
    [0xf3] = PREFIX, // REP, REPE
    [0xf6] = GROUP(3, M, BYTE),
    [0xf7] = GROUP(3, M, 0),
    [0xfe] = GROUP(4, M, BYTE),
    [0xff] = GROUP(5, M, 0),
};

const struct decode_row decode_two_byte[256] = {
    [0xa3] = ROW(BT, MR, 0),
    [0xab] = ROW(BTS, MR, LOCK),
    [0xb0] = ROW(CMPXCHG, MR, BYTE | LOCK),
    [0xb1] = ROW(CMPXCHG, MR, LOCK),
    [0xb3] = ROW(BTR, MR, LOCK),
    [0xb6] = {.op = INSN_MOVZX, .form = DECODE_FORM_RM, .memory = 1},
    [0xb7] = {.op = INSN_MOVZX, .form = DECODE_FORM_RM, .memory = 2},
    [0xba] = GROUP(8, MI8, 0),
    [0xbb] = ROW(BTC, MR, LOCK),
    [0xbe] = {.op = INSN_MOVSX, .form = DECODE_FORM_RM, .memory = 1},
    [0xbf] = {.op = INSN_MOVSX, .form = DECODE_FORM_RM, .memory = 2},
    [0xc0] = ROW(XADD, MR, BYTE | LOCK),
    [0xc1] = ROW(XADD, MR, LOCK),
    [0xc3] = ROW(MOV, MR, DECODE_DWORD | DECODE_NO_66 | DECODE_NO_REPEAT), // MOVNTI
};

const struct decode_row decode_movbe[2] = {
    ROW(MOVBE, RM, DECODE_NO_REPEAT),
    ROW(MOVBE, MR, DECODE_NO_REPEAT),
};

// A row's flags are added to those of the group's opcode.
#define SAME(OP, FLAGS)                                                                            \
    { .op = INSN_##OP, .form = DECODE_FORM_SAME, .flags = (FLAGS) }

const struct decode_row decode_groups[DECODE_GROUP_COUNT][8] = {
    [DECODE_GROUP_1] = {SAME(ADD, LOCK), SAME(OR, LOCK), SAME(ADC, LOCK), SAME(SBB, LOCK),
                        SAME(AND, LOCK), SAME(SUB, LOCK), SAME(XOR, LOCK), SAME(CMP, 0)},
    [DECODE_GROUP_1A] = {SAME(POP, 0)},
    [DECODE_GROUP_3] = {ROW(TEST, MI, 0), ROW(TEST, MI, 0), SAME(NOT, LOCK), SAME(NEG, LOCK)},
    [DECODE_GROUP_4] = {SAME(INC, LOCK), SAME(DEC, LOCK)},
    [DECODE_GROUP_5] = {SAME(INC, LOCK), SAME(DEC, LOCK), [6] = SAME(PUSH, DECODE_STACK)},
    [DECODE_GROUP_8] = {[4] = SAME(BT, 0), SAME(BTS, LOCK), SAME(BTR, LOCK), SAME(BTC, LOCK)},
    [DECODE_GROUP_11] = {SAME(MOV, 0)},
};
