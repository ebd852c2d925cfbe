// SPDX-License-Identifier: Apache-2.0
//
// The opcode map of the MMIO decoder, in the order of SDM 2D Appendix A "Opcode Map". What has no
// row is refused.

#include "vmm/emulate/decode_table.h"

#include "vmm/emulate/decode.h"

#define BYTE DECODE_BYTE
#define LOCK DECODE_LOCKABLE
#define ROW(OP, FORM, FLAGS)                                                                       \
    { .op = INSN_##OP, .form = DECODE_FORM_##FORM, .flags = (FLAGS) }
#define GROUP(NUMBER, FORM, FLAGS)                                                                 \
    { .group = DECODE_GROUP_##NUMBER, .form = DECODE_FORM_##FORM, .flags = (FLAGS) }
#define PREFIX                                                                                     \
    { .form = DECODE_FORM_PREFIX }

#define BY_PREFIX(AT)                                                                              \
    { .group = DECODE_AT_##AT, .form = DECODE_FORM_BY_PREFIX }

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
    [0x69] = ROW(IMUL, RMI, 0),
    [0x6b] = ROW(IMUL, RMI8, 0),
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
    [0xc0] = GROUP(2, MI8, BYTE),
    [0xc1] = GROUP(2, MI8, 0),
    [0xc4] = {.form = DECODE_FORM_VEX},
    [0xc5] = {.form = DECODE_FORM_VEX},
    [0xc6] = GROUP(11, MI, BYTE),
    [0xc7] = GROUP(11, MI, 0),
    [0xd0] = GROUP(2, M1, BYTE),
    [0xd1] = GROUP(2, M1, 0),
    [0xd2] = GROUP(2, MC, BYTE),
    [0xd3] = GROUP(2, MC, 0),
    [0xf0] = PREFIX, // LOCK
    [0xf2] = PREFIX, // REPNE
    [0xf3] = PREFIX, // REP, REPE
    [0xf6] = GROUP(3, M, BYTE),
    [0xf7] = GROUP(3, M, 0),
    [0xfe] = GROUP(4, M, BYTE),
    [0xff] = GROUP(5, M, 0),
};

const struct decode_row decode_two_byte[256] = {
    [0x0d] = GROUP(P, M, 0),
    [0x10] = BY_PREFIX(10),
    [0x11] = BY_PREFIX(11),
    [0x12] = BY_PREFIX(12),
    [0x13] = BY_PREFIX(13),
    [0x16] = BY_PREFIX(16),
    [0x17] = BY_PREFIX(17),
    [0x18] = GROUP(16, M, 0),
    [0x1c] = GROUP(1C, M, 0),
    [0x28] = BY_PREFIX(28),
    [0x29] = BY_PREFIX(29),
    [0x2b] = BY_PREFIX(2B),
    [0x40 ... 0x4f] = ROW(CMOV, RM, 0),
    [0x6e] = BY_PREFIX(6E),
    [0x6f] = BY_PREFIX(6F),
    [0x7e] = BY_PREFIX(7E),
    [0x7f] = BY_PREFIX(7F),
    [0x90 ... 0x9f] = ROW(SETCC, M, BYTE),
    [0xa3] = ROW(BT, MR, 0),
    [0xa4] = ROW(SHLD, MRI, 0),
    [0xa5] = ROW(SHLD, MRC, 0),
    [0xab] = ROW(BTS, MR, LOCK),
    [0xac] = ROW(SHRD, MRI, 0),
    [0xad] = ROW(SHRD, MRC, 0),
    [0xae] = GROUP(15, M, 0),
    [0xaf] = ROW(IMUL, RM, 0),
    [0xb0] = ROW(CMPXCHG, MR, BYTE | LOCK),
    [0xb1] = ROW(CMPXCHG, MR, LOCK),
    [0xb3] = ROW(BTR, MR, LOCK),
    [0xb6] = {.op = INSN_MOVZX, .form = DECODE_FORM_RM, .memory = 1},
    [0xb7] = {.op = INSN_MOVZX, .form = DECODE_FORM_RM, .memory = 2},
    [0xb8] = BY_PREFIX(B8),
    [0xba] = GROUP(8, MI8, 0),
    [0xbb] = ROW(BTC, MR, LOCK),
    [0xbc] = BY_PREFIX(BC),
    [0xbd] = BY_PREFIX(BD),
    [0xbe] = {.op = INSN_MOVSX, .form = DECODE_FORM_RM, .memory = 1},
    [0xbf] = {.op = INSN_MOVSX, .form = DECODE_FORM_RM, .memory = 2},
    [0xc0] = ROW(XADD, MR, BYTE | LOCK),
    [0xc1] = ROW(XADD, MR, LOCK),
    [0xc3] = ROW(MOV, MR, DECODE_DWORD | DECODE_NO_66 | DECODE_NO_REPEAT), // MOVNTI
    [0xc7] = GROUP(9, M, DECODE_DWORD),
    [0xd6] = BY_PREFIX(D6),
    [0xe7] = BY_PREFIX(E7),
    [0xf0] = BY_PREFIX(F0),
};

// One move of a vector register: SIZE in bytes, HOW as in enum insn_vector.
#define MOVE(FORM, SIZE, HOW)                                                                      \
    { .op = INSN_VMOV, .form = DECODE_FORM_##FORM, .memory = (SIZE), .vector = (HOW) }
#define MMX(FORM, SIZE, HOW)                                                                       \
    { .op = INSN_MMX, .form = DECODE_FORM_##FORM, .memory = (SIZE), .vector = (HOW) }
#define ALIGNED INSN_VECTOR_ALIGNED
#define CLEARS  INSN_VECTOR_CLEARS
#define HIGH    INSN_VECTOR_HIGH
#define MERGES  INSN_VECTOR_MERGES
#define WIDE    INSN_VECTOR_WIDE
#define ANY_L   INSN_VECTOR_ANY_L
#define BY_W    INSN_VECTOR_BY_W
// With 66 and without it the same.
#define BOTH(...) [DECODE_PLAIN] = __VA_ARGS__, [DECODE_66] = __VA_ARGS__

const struct decode_row decode_by_prefix[DECODE_AT_COUNT][DECODE_PREFIX_COUNT] = {
    [DECODE_AT_10] =
        {BOTH(MOVE(RM, 16, WIDE)), // MOVUPS, MOVUPD, MOVSS, MOVSD
         [DECODE_F3] = MOVE(RM, 4, CLEARS | ANY_L), [DECODE_F2] = MOVE(RM, 8, CLEARS | ANY_L)},
    [DECODE_AT_11] = {BOTH(MOVE(MR, 16, WIDE)), [DECODE_F3] = MOVE(MR, 4, ANY_L),
                      [DECODE_F2] = MOVE(MR, 8, ANY_L)},
    [DECODE_AT_12] = {BOTH(MOVE(RM, 8, MERGES))}, // MOVLPS, MOVLPD
    [DECODE_AT_13] = {BOTH(MOVE(MR, 8, 0))},
    [DECODE_AT_16] = {BOTH(MOVE(RM, 8, HIGH | MERGES))}, // MOVHPS, MOVHPD
    [DECODE_AT_17] = {BOTH(MOVE(MR, 8, HIGH))},
    [DECODE_AT_28] = {BOTH(MOVE(RM, 16, ALIGNED | WIDE))}, // MOVAPS, MOVAPD
    [DECODE_AT_29] = {BOTH(MOVE(MR, 16, ALIGNED | WIDE))},
    [DECODE_AT_2B] = {BOTH(MOVE(MR, 16, ALIGNED | WIDE))},           // MOVNTPS, MOVNTPD
    [DECODE_AT_6E] = {MMX(RM, 4, BY_W), MOVE(RM, 4, CLEARS | BY_W)}, // MOVD, MOVQ
    [DECODE_AT_7E] = {MMX(MR, 4, BY_W), MOVE(MR, 4, BY_W), MOVE(RM, 8, CLEARS)},
    [DECODE_AT_D6] = {[DECODE_66] = MOVE(MR, 8, 0)},
    [DECODE_AT_6F] = {MMX(RM, 8, 0), MOVE(RM, 16, ALIGNED | WIDE),
                      MOVE(RM, 16, WIDE)}, // MOVDQA, MOVDQU
    [DECODE_AT_7F] = {MMX(MR, 8, 0), MOVE(MR, 16, ALIGNED | WIDE), MOVE(MR, 16, WIDE)},
    [DECODE_AT_E7] = {MMX(MR, 8, 0), MOVE(MR, 16, ALIGNED | WIDE)},   // MOVNTQ, MOVNTDQ
    [DECODE_AT_F0] = {[DECODE_F2] = MOVE(RM, 16, WIDE)},              // LDDQU
    [DECODE_AT_38_2A] = {[DECODE_66] = MOVE(RM, 16, ALIGNED | WIDE)}, // MOVNTDQA
    [DECODE_AT_B8] = {[DECODE_F3] = ROW(POPCNT, RM, 0)},
    [DECODE_AT_BC] = {BOTH(ROW(BSF, RM, 0)), ROW(TZCNT, RM, 0), ROW(BSF, RM, 0)},
    [DECODE_AT_BD] = {BOTH(ROW(BSR, RM, 0)), ROW(LZCNT, RM, 0), ROW(BSR, RM, 0)},
    [DECODE_AT_38_F0] = {BOTH(ROW(MOVBE, RM, 0)), [DECODE_F2] = {.op = INSN_CRC32,
                                                                 .form = DECODE_FORM_RM,
                                                                 .memory = 1,
                                                                 .flags = DECODE_DWORD}},
    [DECODE_AT_38_F1] = {BOTH(ROW(MOVBE, MR, 0)), [DECODE_F2] = ROW(CRC32, RM, 0)},
    [DECODE_AT_38_F6] =
        {[DECODE_66] = ROW(ADCX, RM, DECODE_DWORD), [DECODE_F3] = ROW(ADOX, RM, DECODE_DWORD)},
    [DECODE_AT_38_F9] = {[DECODE_PLAIN] = ROW(MOV, MR, DECODE_DWORD)}, // MOVDIRI
};

// A row's flags are added to those of the group's opcode.
#define SAME(OP, FLAGS)                                                                            \
    { .op = INSN_##OP, .form = DECODE_FORM_SAME, .flags = (FLAGS) }

const struct decode_row decode_groups[DECODE_GROUP_COUNT][8] = {
    [DECODE_GROUP_1] = {SAME(ADD, LOCK), SAME(OR, LOCK), SAME(ADC, LOCK), SAME(SBB, LOCK),
                        SAME(AND, LOCK), SAME(SUB, LOCK), SAME(XOR, LOCK), SAME(CMP, 0)},
    [DECODE_GROUP_1A] = {SAME(POP, 0)},
    [DECODE_GROUP_2] = {SAME(ROL, 0), SAME(ROR, 0), SAME(RCL, 0), SAME(RCR, 0), SAME(SHL, 0),
                        SAME(SHR, 0), SAME(SHL, 0), SAME(SAR, 0)},
    [DECODE_GROUP_3] = {ROW(TEST, MI, 0), ROW(TEST, MI, 0), SAME(NOT, LOCK), SAME(NEG, LOCK),
                        SAME(MUL, 0), SAME(IMUL_WIDE, 0), SAME(DIV, 0), SAME(IDIV, 0)},
    [DECODE_GROUP_4] = {SAME(INC, LOCK), SAME(DEC, LOCK)},
    [DECODE_GROUP_5] =
        {SAME(INC, LOCK), SAME(DEC, LOCK),
         SAME(CALL, DECODE_NEAR), [4] = SAME(JMP, DECODE_NEAR), [6] = SAME(PUSH, DECODE_STACK)},
    [DECODE_GROUP_8] = {[4] = SAME(BT, 0), SAME(BTS, LOCK), SAME(BTR, LOCK), SAME(BTC, LOCK)},
    [DECODE_GROUP_9] = {[1] = SAME(CMPXCHG_PAIR, LOCK)},
    [DECODE_GROUP_11] = {SAME(MOV, 0)},
    [DECODE_GROUP_15] =
        {[6] = SAME(HINT, DECODE_NO_REPEAT | DECODE_NEEDS_66), [7] = SAME(HINT, DECODE_NO_REPEAT)},
    [DECODE_GROUP_16] = {SAME(HINT, 0), SAME(HINT, 0), SAME(HINT, 0), SAME(HINT, 0)},
    [DECODE_GROUP_P] = {SAME(HINT, 0), SAME(HINT, 0), SAME(HINT, 0), SAME(HINT, 0), SAME(HINT, 0),
                        SAME(HINT, 0), SAME(HINT, 0), SAME(HINT, 0)},
    [DECODE_GROUP_1C] = {SAME(HINT, DECODE_NO_REPEAT | DECODE_NO_66)},
};
