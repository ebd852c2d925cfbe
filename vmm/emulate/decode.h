// SPDX-License-Identifier: Apache-2.0
//
// The MMIO instruction decoder: what the instruction at a guest's RIP does to memory.
//
// A guest that touches a device page leaves with an EPT violation (or a nested page fault), which
// names the address but not what was to be read or written. `decode_insn` answers that for the
// general-purpose instructions that compilers, firmware and kernels use on device registers, and
// for plain vector moves (not those with EVEX). It is a pure function: no state, no memory but its
// arguments. It refuses what it does not know; it never guesses.
//
// Sources: SDM 2A 2.1 "Instruction Format for Protected Mode, Real-Address Mode, and Virtual-8086
// Mode", SDM 2A 2.2 "IA-32e Mode", SDM 2D Appendix A "Opcode Map". tests/fuzz/decode_fuzz.c
// compares every accepted encoding with Zydis.

#pragma once

#include <stdbool.h>
#include <stdint.h>

// SDM 3A 6.15 "Exception and Interrupt Reference", #GP: no instruction is longer, a longer one is
// #GP(0).
#define INSN_LENGTH_MAX 15

// The code segment's default address size, in bytes: 8 for CS.L under EFER.LMA, else CS.D chooses.
enum decode_mode {
    DECODE_16BIT = 2,
    DECODE_32BIT = 4,
    DECODE_64BIT = 8,
};

enum decode_error {
    DECODE_OK,
    DECODE_TRUNCATED, // the instruction goes on behind the `count` bytes given
    DECODE_TOO_LONG,  // more than INSN_LENGTH_MAX bytes: hardware raises #GP(0)
    DECODE_UNDEFINED, // hardware raises #UD: LOCK where it is not allowed
    DECODE_UNKNOWN,   // not an instruction with a memory operand that this decoder knows
};

// The first eight stand in the order of the opcode map and of its group 1, BT to BTC in that of
// group 8.
enum insn_op {
    INSN_ADD,
    INSN_OR,
    INSN_ADC,
    INSN_SBB,
    INSN_AND,
    INSN_SUB,
    INSN_XOR,
    INSN_CMP,
    INSN_TEST,
    INSN_INC,
    INSN_DEC,
    INSN_NOT,
    INSN_NEG,
    INSN_MOV, // MOV and MOVNTI
    INSN_MOVBE,
    INSN_MOVZX,
    INSN_MOVSX, // MOVSX and MOVSXD
    INSN_XCHG,
    INSN_CMPXCHG,
    INSN_XADD,
    INSN_BT,
    INSN_BTS,
    INSN_BTR,
    INSN_BTC,
    INSN_CMOV,
    INSN_SETCC,
    INSN_ROL, // to SAR in the order of group 2
    INSN_ROR,
    INSN_RCL,
    INSN_RCR,
    INSN_SHL,
    INSN_SHR,
    INSN_SAR,
    INSN_SHLD,
    INSN_SHRD,
    INSN_IMUL, // of two and three operands
    INSN_MUL,  // to IDIV: of RDX:RAX
    INSN_IMUL_WIDE,
    INSN_DIV,
    INSN_IDIV,
    INSN_BSF,
    INSN_BSR,
    INSN_TZCNT,
    INSN_LZCNT,
    INSN_POPCNT,
    INSN_ADCX,
    INSN_ADOX,
    INSN_CRC32,
    INSN_CMPXCHG_PAIR, // CMPXCHG8B, CMPXCHG16B
    INSN_HINT,         // to a cache: CLFLUSH, CLFLUSHOPT, CLWB, CLDEMOTE, PREFETCH
    INSN_VMOV,         // plain moves of XMM and YMM registers
    INSN_MMX,          // MOVD, MOVQ, MOVNTQ of MMX registers
    INSN_PUSH,         // from here on: instructions with implied memory operands
    INSN_POP,
    INSN_CALL, // near, indirect
    INSN_JMP,
    INSN_MOVS,
    INSN_CMPS,
    INSN_STOS,
    INSN_LODS,
    INSN_SCAS,
    INSN_OP_COUNT,
};

// The architectural numbers: SDM 2D Appendix B.1 "Machine Instruction Format".
enum insn_register {
    INSN_RAX,
    INSN_RCX,
    INSN_RDX,
    INSN_RBX,
    INSN_RSP,
    INSN_RBP,
    INSN_RSI,
    INSN_RDI,
    INSN_REGISTER_COUNT = 16, // R8 to R15 need no names
    INSN_RIP = 16,            // as a base only: the address of the next instruction
    INSN_NO_REGISTER = 17,
};

enum insn_segment {
    INSN_ES,
    INSN_CS,
    INSN_SS,
    INSN_DS,
    INSN_FS,
    INSN_GS,
    INSN_SEGMENT_COUNT,
};

enum insn_repeat {
    INSN_REPEAT_NONE,
    INSN_REPEAT_EQUAL,     // F3: REP, REPE
    INSN_REPEAT_NOT_EQUAL, // F2: REPNE, and plain REP where the flags do not end the loop
};

// The operand beside the memory operand.
enum insn_other {
    INSN_OTHER_NONE,
    INSN_OTHER_REGISTER,
    INSN_OTHER_IMMEDIATE,
};

// An operand beside both: the count of a shift, the factor of IMUL.
enum insn_third {
    INSN_THIRD_NONE,
    INSN_THIRD_IMMEDIATE,
    INSN_THIRD_CL,
};

// How a vector move treats its register.
enum insn_vector {
    INSN_VECTOR_ALIGNED = 0x01, // the address must be a multiple of the size
    INSN_VECTOR_CLEARS = 0x02,  // a load clears the rest of 16 bytes
    INSN_VECTOR_HIGH = 0x04,    // bytes 8 to 15 of the register are moved
    INSN_VECTOR_MERGES = 0x08,  // a load with VEX takes the rest of 16 bytes from register `source`
    INSN_VECTOR_WIDE = 0x10,    // 32 bytes with VEX.L
    INSN_VECTOR_ANY_L = 0x20,   // VEX.L means nothing
    INSN_VECTOR_BY_W = 0x40,    // 4 bytes, 8 with REX.W
};

enum insn_access {
    INSN_READS = 1,
    INSN_WRITES = 2,
};

// One decoded instruction. All sizes in bytes.
//
// The memory operand is at segment : (base + index * scale + disp), cut to address_size. MOVS and
// CMPS have two: this one is segment : RSI, the other is ES : RDI. PUSH and POP have the stack
// beside it. BT, BTS, BTR and BTC with a register count bits from that address on, both ways.
struct insn {
    uint64_t imm;         // sign-extended to 64 bits
    int64_t disp;         // sign-extended; the offset itself of a MOV with moffs
    uint8_t length;       // of the whole instruction
    uint8_t op;           // enum insn_op
    uint8_t operand_size; // of register and computation: 1, 2, 4, 8
    uint8_t memory_size;  // of the access; differs from operand_size for MOVZX, MOVSX, CRC32,
                          // CMPXCHG_PAIR and vector moves (4 to 32)
    uint8_t address_size; // 2, 4, 8
    uint8_t segment;      // enum insn_segment
    uint8_t base;         // enum insn_register
    uint8_t index;        // enum insn_register
    uint8_t scale;        // 1, 2, 4, 8
    uint8_t other;        // enum insn_other
    uint8_t reg; // enum insn_register, where other is INSN_OTHER_REGISTER; of vector moves 0 to 15
    uint8_t third;         // enum insn_third; its immediate is in `imm`
    uint8_t condition;     // of CMOV and SETCC: the opcode's low four bits
    uint8_t vector;        // enum insn_vector
    uint8_t source;        // with INSN_VECTOR_MERGES and VEX
    bool is_vex;           // a load clears what is above its 16 or 32 bytes
    uint8_t access;        // enum insn_access bits: what happens to the memory operand
    uint8_t repeat;        // enum insn_repeat; INSN_REPEAT_NONE unless a string instruction
    bool reg_is_high_byte; // reg is RAX to RBX and means AH, CH, DH or BH
    bool memory_is_first;  // it is the destination, or the left side of CMP and TEST
    bool lock;             // a LOCK prefix stands there, and may
};

// What decode_insn looks at, at most; a power of two for a quick copy.
#define DECODE_BYTES 16

// Decodes the instruction that starts at bytes[0]. DECODE_BYTES must be readable, of which the
// first `count` are code; the others, whatever they hold, never decide a DECODE_OK. On DECODE_OK
// *out is complete; otherwise it is unspecified. Encodings whose ModRM names a register instead of
// memory are refused: they cannot have caused the exit.
enum decode_error decode_insn(const uint8_t bytes[DECODE_BYTES], unsigned count,
                              enum decode_mode mode, struct insn *out);
