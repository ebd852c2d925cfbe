// SPDX-License-Identifier: Apache-2.0
//
// Preloaded into a program that has the emulator's long_idiv(), tells at the program's end whether
// that function divides rightly: exit status 0 when it does, 1 when not. The end, since all that
// repairs it has run by then.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct int128 {
    uint64_t lo;
    int64_t hi;
};

static const struct {
    struct int128 dividend;
    int64_t divisor;
    struct int128 quotient;
    int64_t remainder;
} divisions[] = {
    {{100, 0}, 7, {14, 0}, 2},
    {{(uint64_t)-100, -1}, 7, {(uint64_t)-14, -1}, -2},
    {{100, 0}, -7, {(uint64_t)-14, -1}, 2},
    {{(uint64_t)-100, -1}, -7, {14, 0}, -2},
    {{5000000000, 0}, 1000000000, {5, 0}, 0},
    {{0, 1}, 3, {0x5555555555555555, 0}, 1},    // 2^64 / 3
    {{0, -1}, 3, {0xaaaaaaaaaaaaaaab, -1}, -1}, // -2^64 / 3
    {{0, 4}, 2, {0, 2}, 0},                     // a quotient of more than 64 bits
};

__attribute__((destructor)) static void check(void) {
    void (*long_idiv)(struct int128 *, int64_t *, const struct int128 *, int64_t);
    void *symbol = dlsym(RTLD_DEFAULT, "_Z9long_idivP7Bit128sPlPKS_l");
    int wrong = 0;

    memcpy(&long_idiv, &symbol, sizeof(symbol));
    for (size_t i = 0; symbol != NULL && i < sizeof(divisions) / sizeof(divisions[0]); i++) {
        struct int128 quotient = {0, 0};
        int64_t remainder = 0;

        long_idiv(&quotient, &remainder, &divisions[i].dividend, divisions[i].divisor);
        wrong += quotient.lo != divisions[i].quotient.lo ||
                 quotient.hi != divisions[i].quotient.hi || remainder != divisions[i].remainder;
    }
    fprintf(stderr, "idiv-check: %s, %d wrong\n", symbol == NULL ? "no long_idiv" : "tested",
            wrong);
    _exit(symbol == NULL || wrong != 0);
}
