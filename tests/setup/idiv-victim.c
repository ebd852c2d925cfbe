// SPDX-License-Identifier: Apache-2.0
//
// A program with a long_idiv() of its own, right or (-DMISCOMPILED) wrong the way the emulator's
// is: the low half of the dividend is lost.

#include <stdint.h>

struct int128 {
    uint64_t lo;
    int64_t hi;
};

void long_idiv(struct int128 *quotient, int64_t *remainder, const struct int128 *dividend,
               int64_t divisor) __asm__("_Z9long_idivP7Bit128sPlPKS_l");

void long_idiv(struct int128 *quotient, int64_t *remainder, const struct int128 *dividend,
               int64_t divisor) {
    __int128 n = (__int128)dividend->hi << 64;

#ifndef MISCOMPILED
    n |= dividend->lo;
#endif
    quotient->lo = (uint64_t)(n / divisor);
    quotient->hi = (int64_t)((n / divisor) >> 64);
    *remainder = (int64_t)(n % divisor);
}

int main(void) {
    return 0;
}
