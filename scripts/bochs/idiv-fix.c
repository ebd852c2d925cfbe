// SPDX-License-Identifier: Apache-2.0
//
// idiv-fix.so: mends the 64-bit signed division of the emulator it is preloaded into.
//
// Debian's build of Bochs 3.1 miscomputes `idiv r64`: in long_idiv() the compiler drops the stores
// that set up the dividend (a strict-aliasing miscompilation), so guests divide garbage and Linux
// dies early with a division error. long_idiv() is an exported symbol and is called through its
// address, so this library, at start,
//
//   1. divides known numbers with the emulator's own function,
//   2. where a result is wrong, overwrites the function's first bytes with a jump to a correct one,
//   3. divides again, and ends the emulator if the results are still wrong.
//
// A build whose division is right is left alone. One line on stderr says which it was.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// The emulator's Bit128s.
struct int128 {
    uint64_t lo;
    int64_t hi;
};

typedef void divide_fn(struct int128 *quotient, int64_t *remainder, const struct int128 *dividend,
                       int64_t divisor);

#define LONG_IDIV                                                                                  \
    "_Z9long_idivP7Bit128sPlPKS_l" // long_idiv(Bit128s *, Bit64s *, const Bit128s *, Bit64s)
#define EXIT_UNFIXABLE 70

static __int128 widen(const struct int128 *value) {
    return (__int128)(((unsigned __int128)(uint64_t)value->hi << 64) | value->lo);
}

// The caller has refused a zero divisor and the one dividend whose quotient overflows.
static void divide(struct int128 *quotient, int64_t *remainder, const struct int128 *dividend,
                   int64_t divisor) {
    const __int128 n = widen(dividend), q = n / divisor;

    *quotient = (struct int128){.lo = (uint64_t)q, .hi = (int64_t)(q >> 64)};
    *remainder = (int64_t)(n % divisor);
}

static bool divides_correctly(divide_fn *tested) {
    static const int64_t samples[] = {1, -1, 7, -7, 1000000000, -1000000000, INT64_MAX, INT64_MIN};
    static const int64_t high_parts[] = {0, -1, 3, -3};
    const size_t sample_count = sizeof(samples) / sizeof(samples[0]);
    const size_t high_count = sizeof(high_parts) / sizeof(high_parts[0]);

    for (size_t i = 0; i < sample_count * sample_count * high_count; i++) {
        const struct int128 dividend = {.lo = (uint64_t)samples[i % sample_count],
                                        .hi = high_parts[i / sample_count / sample_count]};
        const int64_t divisor = samples[i / sample_count % sample_count];
        struct int128 quotient = {0}, right_quotient;
        int64_t remainder = 0, right_remainder;

        tested(&quotient, &remainder, &dividend, divisor);
        divide(&right_quotient, &right_remainder, &dividend, divisor);
        if (widen(&quotient) != widen(&right_quotient) || remainder != right_remainder)
            return false;
    }
    return true;
}

// Overwrites the start of `from` with `jmp *target(%rip)`, the target behind it.
static bool redirect(void *from, divide_fn *to) {
    struct __attribute__((packed)) {
        uint8_t opcode[6];
        uint64_t target;
    } jump = {{0xff, 0x25, 0, 0, 0, 0}, (uintptr_t)to};
    const uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)from & ~(page_size - 1));
    const size_t length = (size_t)((uint8_t *)from + sizeof(jump) - (uint8_t *)page);

    if (mprotect(page, length, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        return false;
    memcpy(from, &jump, sizeof(jump));
    return mprotect(page, length, PROT_READ | PROT_EXEC) == 0;
}

__attribute__((constructor)) static void fix(void) {
    void *symbol = dlsym(RTLD_DEFAULT, LONG_IDIV);
    divide_fn *long_idiv;

    if (symbol == NULL) {
        fprintf(stderr, "idiv-fix: this program has no long_idiv, nothing to test\n");
        return;
    }
    memcpy(&long_idiv, &symbol, sizeof(long_idiv));
    if (divides_correctly(long_idiv)) {
        fprintf(stderr, "idiv-fix: long_idiv is right, left alone\n");
        return;
    }
    if (!redirect(symbol, divide) || !divides_correctly(long_idiv)) {
        fprintf(stderr, "idiv-fix: long_idiv is wrong and cannot be replaced here\n");
        _exit(EXIT_UNFIXABLE);
    }
    fprintf(stderr, "idiv-fix: long_idiv is wrong, replaced\n");
}
