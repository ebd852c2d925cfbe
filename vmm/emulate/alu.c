// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic of the emulated instructions. Sums and differences are told apart only where carry and
// overflow are; everything else follows from the result.

#include "vmm/emulate/alu.h"

#include "vmm/emulate/decode.h"

#define FLAGS_ARITHMETIC                                                                           \
    (EMULATE_FLAG_CF | EMULATE_FLAG_PF | EMULATE_FLAG_AF | EMULATE_FLAG_ZF | EMULATE_FLAG_SF |     \
     EMULATE_FLAG_OF)

static bool is_negative(uint64_t value, unsigned size) {
    return value >> (size * 8 - 1) & 1;
}

static uint64_t flag(bool is_set, uint64_t which) {
    return is_set ? which : 0;
}

uint64_t alu_result_flags(uint64_t result, unsigned size) {
    return flag(result == 0, EMULATE_FLAG_ZF) | flag(is_negative(result, size), EMULATE_FLAG_SF) |
           flag(!__builtin_parity((unsigned)(result & UINT8_MAX)), EMULATE_FLAG_PF);
}

// AF is the carry out of bit 3.
static uint64_t flags_of_nibble(uint64_t left, uint64_t right, uint64_t result) {
    return (left ^ right ^ result) & EMULATE_FLAG_AF;
}

static uint64_t add(uint64_t left, uint64_t right, bool carry, unsigned size, uint64_t *flags) {
    uint64_t result = alu_cut(left + right + carry, size);
    bool overflow = is_negative(~(left ^ right) & (left ^ result), size);

    *flags = flag(carry ? result <= left : result < left, EMULATE_FLAG_CF) |
             flag(overflow, EMULATE_FLAG_OF) | flags_of_nibble(left, right, result) |
             alu_result_flags(result, size);
    return result;
}

static uint64_t subtract(uint64_t left, uint64_t right, bool borrow, unsigned size,
                         uint64_t *flags) {
    uint64_t result = alu_cut(left - right - borrow, size);
    bool overflow = is_negative((left ^ right) & (left ^ result), size);

    *flags = flag(borrow ? left <= right : left < right, EMULATE_FLAG_CF) |
             flag(overflow, EMULATE_FLAG_OF) | flags_of_nibble(left, right, result) |
             alu_result_flags(result, size);
    return result;
}

static uint64_t logic(uint64_t result, unsigned size, uint64_t *flags) {
    *flags = alu_result_flags(result, size);
    return result;
}

uint64_t alu_compute(unsigned op, uint64_t left, uint64_t right, unsigned size, uint64_t *rflags) {
    uint64_t carry = *rflags & EMULATE_FLAG_CF;
    uint64_t changed = FLAGS_ARITHMETIC;
    uint64_t flags = 0;
    uint64_t result;

    left = alu_cut(left, size);
    right = alu_cut(right, size);
    switch (op) {
    case INSN_ADD:
        result = add(left, right, false, size, &flags);
        break;
    case INSN_ADC:
        result = add(left, right, carry, size, &flags);
        break;
    case INSN_SBB:
        result = subtract(left, right, carry, size, &flags);
        break;
    case INSN_SUB:
    case INSN_CMP:
        result = subtract(left, right, false, size, &flags);
        break;
    case INSN_OR:
        result = logic(left | right, size, &flags);
        break;
    case INSN_XOR:
        result = logic(left ^ right, size, &flags);
        break;
    case INSN_INC:
        result = add(left, 1, false, size, &flags);
        changed &= ~(uint64_t)EMULATE_FLAG_CF;
        break;
    case INSN_DEC:
        result = subtract(left, 1, false, size, &flags);
        changed &= ~(uint64_t)EMULATE_FLAG_CF;
        break;
    case INSN_NEG:
        result = subtract(0, left, false, size, &flags);
        break;
    case INSN_NOT:
        return alu_cut(~left, size);
    default: // AND and TEST
        result = logic(left & right, size, &flags);
        break;
    }
    *rflags = (*rflags & ~changed) | (flags & changed);
    return result;
}

uint64_t alu_bit(unsigned op, uint64_t value, unsigned bit, uint64_t *rflags) {
    uint64_t mask = UINT64_C(1) << bit;

    *rflags = (*rflags & ~(uint64_t)EMULATE_FLAG_CF) | flag(value & mask, EMULATE_FLAG_CF);
    switch (op) {
    case INSN_BTS:
        return value | mask;
    case INSN_BTR:
        return value & ~mask;
    case INSN_BTC:
        return value ^ mask;
    default:
        return value;
    }
}
