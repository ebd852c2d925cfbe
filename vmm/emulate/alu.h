// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic of the emulated instructions: result and flags, without memory or registers.

#pragma once

#include <stdbool.h>
#include <stdint.h>

enum emulate_flag {
    EMULATE_FLAG_CF = 1u << 0,
    EMULATE_FLAG_PF = 1u << 2,
    EMULATE_FLAG_AF = 1u << 4,
    EMULATE_FLAG_ZF = 1u << 6,
    EMULATE_FLAG_SF = 1u << 7,
    EMULATE_FLAG_DF = 1u << 10,
    EMULATE_FLAG_OF = 1u << 11,
    EMULATE_FLAG_RF = 1u << 16,
};

// The `size` (1, 2, 4, 8) low bytes of a value.
static inline uint64_t alu_cut(uint64_t value, unsigned size) {
    return value & UINT64_MAX >> (64 - size * 8);
}

// The same, sign-extended to 64 bits.
static inline uint64_t alu_sign_extend(uint64_t value, unsigned size) {
    unsigned unused = 64 - size * 8;

    return (uint64_t)((int64_t)(value << unused) >> unused);
}

// Computes `left op right` for an `op` (enum insn_op) of ADD to NEG; the unary ones ignore `right`.
// Both operands are cut to `size` bytes; so is the result. For CMP and TEST the result is that of
// SUB and AND, and to be dropped. Updates *rflags as SDM 1 Appendix A "EFLAGS Cross-Reference"
// says; AF is cleared where the table leaves it undefined, as processors do.
uint64_t alu_compute(unsigned op, uint64_t left, uint64_t right, unsigned size, uint64_t *rflags);

// BT, BTS, BTR, BTC: bit `bit` (below 8 * size) of `value`. Sets CF to the bit, returns the value
// with the bit changed; the other flags, of which all but ZF are undefined, stay as they are.
uint64_t alu_bit(unsigned op, uint64_t value, unsigned bit, uint64_t *rflags);

// ZF, SF and PF of a result of `size` bytes.
uint64_t alu_result_flags(uint64_t result, unsigned size);

// ---- shift.c ----------------------------------------------------------------------------

// ROL to SAR; the count is masked as the processor does, and 0 changes no flag.
uint64_t alu_shift(unsigned op, uint64_t value, unsigned size, uint64_t count, uint64_t *rflags);
// SHLD and SHRD: `source` gives the bits that come in.
uint64_t alu_double_shift(unsigned op, uint64_t value, uint64_t source, unsigned size,
                          uint64_t count, uint64_t *rflags);

// IMUL of two operands.
uint64_t alu_multiply(uint64_t left, uint64_t right, unsigned size, uint64_t *rflags);

// What is in RDX:RAX, or AH:AL: product, dividend, or remainder and quotient. Each of `size` bytes.
struct alu_pair {
    uint64_t low, high;
};
void alu_multiply_wide(bool is_signed, uint64_t left, uint64_t right, unsigned size,
                       struct alu_pair *result, uint64_t *rflags);
// False: #DE, and *result is rubbish.
bool alu_divide(bool is_signed, const struct alu_pair *dividend, uint64_t divisor, unsigned size,
                struct alu_pair *result);

// BSF to POPCNT. BSF and BSR of 0 give `old`.
uint64_t alu_count(unsigned op, uint64_t value, uint64_t old, unsigned size, uint64_t *rflags);
// ADCX and ADOX: the one flag is carry in and out.
uint64_t alu_add_with(uint64_t carry_flag, uint64_t left, uint64_t right, unsigned size,
                      uint64_t *rflags);
uint64_t alu_crc32(uint64_t crc, uint64_t data, unsigned size);
// Whether condition number `condition` (SDM 1 Appendix B "EFLAGS Condition Codes") holds.
bool alu_condition(unsigned condition, uint64_t rflags);
