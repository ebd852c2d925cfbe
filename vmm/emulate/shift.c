// SPDX-License-Identifier: Apache-2.0
//
// Shifts, rotates, multiplication, division and bit counts of the emulated instructions. SDM 2A to
// 2C, instruction by instruction; flags that they leave undefined are computed as if the count were
// 1, or kept.

#include "vmm/emulate/alu.h"

#include "vmm/emulate/decode.h"

#define FLAGS_ROTATE (EMULATE_FLAG_CF | EMULATE_FLAG_OF)
#define FLAGS_SHIFT                                                                                \
    (EMULATE_FLAG_CF | EMULATE_FLAG_PF | EMULATE_FLAG_ZF | EMULATE_FLAG_SF | EMULATE_FLAG_OF)
#define FLAGS_COUNT (FLAGS_SHIFT | EMULATE_FLAG_AF)

#define CRC32_POLYNOMIAL 0x82f63b78u // 0x11edc6f41, mirrored: SDM 2A "CRC32"

static void set_flags(uint64_t *rflags, uint64_t changed, uint64_t flags) {
    *rflags = (*rflags & ~changed) | (flags & changed);
}

static uint64_t flag(bool is_set, uint64_t which) {
    return is_set ? which : 0;
}

static bool bit_of(uint64_t value, unsigned bit) {
    return value >> bit & 1;
}

// One bit at a time: that way the manual tells them, and the counts are small.
static uint64_t rotate(unsigned op, uint64_t value, unsigned size, unsigned count,
                       uint64_t *rflags) {
    const unsigned top = size * 8 - 1;
    bool carry = *rflags & EMULATE_FLAG_CF;
    bool before = false; // the bit above, of the last step, for OF
    bool out;

    for (; count > 0; count--) {
        if (op == INSN_ROL || op == INSN_RCL) {
            out = bit_of(value, top);
            value = alu_cut(value << 1, size) | (op == INSN_ROL ? out : carry);
        } else {
            out = value & 1;
            before = bit_of(value, top);
            value = value >> 1 | (uint64_t)(op == INSN_ROR ? out : carry) << top;
        }
        carry = out;
    }
    if (op == INSN_ROL || op == INSN_RCL)
        before = carry;
    set_flags(rflags, FLAGS_ROTATE,
              flag(carry, EMULATE_FLAG_CF) | flag(before != bit_of(value, top), EMULATE_FLAG_OF));
    return value;
}

static uint64_t shift(unsigned op, uint64_t value, unsigned size, unsigned count,
                      uint64_t *rflags) {
    const unsigned top = size * 8 - 1;
    const bool fill = op == INSN_SAR && bit_of(value, top);
    bool carry = false;
    bool before = false;

    for (; count > 0; count--) {
        before = bit_of(value, top);
        carry = op == INSN_SHL ? before : value & 1;
        value = op == INSN_SHL ? alu_cut(value << 1, size) : value >> 1 | (uint64_t)fill << top;
    }
    set_flags(rflags, FLAGS_SHIFT,
              alu_result_flags(value, size) | flag(carry, EMULATE_FLAG_CF) |
                  flag(before != bit_of(value, top), EMULATE_FLAG_OF));
    return value;
}

static unsigned masked_count(uint64_t count, unsigned size) {
    return (unsigned)count & (size == sizeof(uint64_t) ? 63 : 31);
}

uint64_t alu_shift(unsigned op, uint64_t value, unsigned size, uint64_t count, uint64_t *rflags) {
    unsigned masked = masked_count(count, size);

    value = alu_cut(value, size);
    if (masked == 0)
        return value;
    return op >= INSN_SHL ? shift(op, value, size, masked, rflags)
                          : rotate(op, value, size, masked, rflags);
}

uint64_t alu_double_shift(unsigned op, uint64_t value, uint64_t source, unsigned size,
                          uint64_t count, uint64_t *rflags) {
    const unsigned top = size * 8 - 1;
    unsigned masked = masked_count(count, size);
    bool carry = false;
    bool before = false;

    value = alu_cut(value, size);
    source = alu_cut(source, size);
    if (masked == 0)
        return value;
    for (; masked > 0; masked--) {
        before = bit_of(value, top);
        if (op == INSN_SHLD) {
            carry = before;
            value = alu_cut(value << 1, size) | bit_of(source, top);
            source = alu_cut(source << 1, size);
        } else {
            carry = value & 1;
            value = value >> 1 | (source & 1) << top;
            source >>= 1;
        }
    }
    set_flags(rflags, FLAGS_SHIFT,
              alu_result_flags(value, size) | flag(carry, EMULATE_FLAG_CF) |
                  flag(before != bit_of(value, top), EMULATE_FLAG_OF));
    return value;
}

uint64_t alu_multiply(uint64_t left, uint64_t right, unsigned size, uint64_t *rflags) {
    __int128 product =
        (__int128)(int64_t)alu_sign_extend(left, size) * (int64_t)alu_sign_extend(right, size);
    uint64_t result = alu_cut((uint64_t)product, size);
    bool is_cut = product != (int64_t)alu_sign_extend(result, size);

    set_flags(rflags, FLAGS_ROTATE, is_cut ? FLAGS_ROTATE : 0);
    return result;
}

void alu_multiply_wide(bool is_signed, uint64_t left, uint64_t right, unsigned size,
                       struct alu_pair *result, uint64_t *rflags) {
    unsigned __int128 product =
        is_signed ? (unsigned __int128)((__int128)(int64_t)alu_sign_extend(left, size) *
                                        (int64_t)alu_sign_extend(right, size))
                  : (unsigned __int128)alu_cut(left, size) * alu_cut(right, size);

    result->low = alu_cut((uint64_t)product, size);
    result->high = alu_cut((uint64_t)(product >> (size * 8)), size);
    bool sign = is_signed && bit_of(result->low, size * 8 - 1);
    bool is_wide = result->high != (sign ? alu_cut(UINT64_MAX, size) : 0);
    set_flags(rflags, FLAGS_ROTATE, is_wide ? FLAGS_ROTATE : 0);
}

// 128 bits by 64, where the quotient fits 64: there is no library for it here.
static void divide(uint64_t high, uint64_t low, uint64_t divisor, struct alu_pair *result) {
    __asm__("divq %4"
            : "=a"(result->low), "=d"(result->high)
            : "a"(low), "d"(high), "r"(divisor)
            : "cc");
}

static uint64_t absolute(uint64_t value) {
    return (int64_t)value < 0 ? 0 - value : value;
}

bool alu_divide(bool is_signed, const struct alu_pair *dividend, uint64_t divisor, unsigned size,
                struct alu_pair *result) {
    unsigned bits = size * 8;
    unsigned __int128 value =
        (unsigned __int128)dividend->high << bits | alu_cut(dividend->low, size);
    uint64_t by = alu_cut(divisor, size);
    bool is_negative = false;
    bool is_remainder_negative = false;
    uint64_t most = alu_cut(UINT64_MAX, size);

    if (is_signed) {
        unsigned unused = 128 - 2 * bits;
        __int128 extended = (__int128)(value << unused) >> unused;

        is_remainder_negative = extended < 0;
        value = extended < 0 ? 0 - (unsigned __int128)extended : (unsigned __int128)extended;
        divisor = alu_sign_extend(divisor, size);
        is_negative = is_remainder_negative != ((int64_t)divisor < 0);
        by = absolute(divisor);
        most = (most >> 1) + is_negative;
    }
    if (by == 0 || (uint64_t)(value >> 64) >= by)
        return false;
    divide((uint64_t)(value >> 64), (uint64_t)value, by, result);
    if (result->low > most)
        return false;
    result->low = alu_cut(is_negative ? 0 - result->low : result->low, size);
    result->high = alu_cut(is_remainder_negative ? 0 - result->high : result->high, size);
    return true;
}

static unsigned count_trailing(uint64_t value) {
    return (unsigned)__builtin_ctzll(value);
}

static unsigned top_bit(uint64_t value) {
    return 63 - (unsigned)__builtin_clzll(value);
}

static uint64_t count_ones(uint64_t value) {
    uint64_t count = 0;

    for (; value != 0; value &= value - 1)
        count++;
    return count;
}

uint64_t alu_count(unsigned op, uint64_t value, uint64_t old, unsigned size, uint64_t *rflags) {
    uint64_t result = size * 8;

    value = alu_cut(value, size);
    switch (op) {
    case INSN_BSF:
    case INSN_BSR:
        set_flags(rflags, EMULATE_FLAG_ZF, flag(value == 0, EMULATE_FLAG_ZF));
        if (value == 0)
            return old;
        return op == INSN_BSF ? count_trailing(value) : top_bit(value);
    case INSN_TZCNT:
        result = value == 0 ? result : count_trailing(value);
        break;
    case INSN_LZCNT:
        result = value == 0 ? result : result - 1 - top_bit(value);
        break;
    default: // POPCNT
        result = count_ones(value);
        set_flags(rflags, FLAGS_COUNT, flag(value == 0, EMULATE_FLAG_ZF));
        return result;
    }
    set_flags(rflags, EMULATE_FLAG_CF | EMULATE_FLAG_ZF,
              flag(value == 0, EMULATE_FLAG_CF) | flag(result == 0, EMULATE_FLAG_ZF));
    return result;
}

uint64_t alu_add_with(uint64_t carry_flag, uint64_t left, uint64_t right, unsigned size,
                      uint64_t *rflags) {
    bool carry = *rflags & carry_flag;
    uint64_t result;

    left = alu_cut(left, size);
    result = alu_cut(left + alu_cut(right, size) + carry, size);
    set_flags(rflags, carry_flag, flag(carry ? result <= left : result < left, carry_flag));
    return result;
}

uint64_t alu_crc32(uint64_t crc, uint64_t data, unsigned size) {
    uint32_t sum = (uint32_t)crc;

    for (unsigned i = 0; i < size; i++) {
        sum ^= (uint8_t)(data >> i * 8);
        for (unsigned bit = 0; bit < 8; bit++)
            sum = sum & 1 ? sum >> 1 ^ CRC32_POLYNOMIAL : sum >> 1;
    }
    return sum;
}

bool alu_condition(unsigned condition, uint64_t rflags) {
    bool sign = rflags & EMULATE_FLAG_SF;
    bool is_less = sign != !!(rflags & EMULATE_FLAG_OF);
    bool holds;

    switch (condition >> 1) {
    case 0:
        holds = rflags & EMULATE_FLAG_OF;
        break;
    case 1:
        holds = rflags & EMULATE_FLAG_CF;
        break;
    case 2:
        holds = rflags & EMULATE_FLAG_ZF;
        break;
    case 3:
        holds = rflags & (EMULATE_FLAG_CF | EMULATE_FLAG_ZF);
        break;
    case 4:
        holds = sign;
        break;
    case 5:
        holds = rflags & EMULATE_FLAG_PF;
        break;
    case 6:
        holds = is_less;
        break;
    default:
        holds = is_less || rflags & EMULATE_FLAG_ZF;
        break;
    }
    return holds != (condition & 1);
}
