// SPDX-License-Identifier: Apache-2.0
// Code made at random, for who runs it here and in the emulator and compares.
#pragma once

#include <sys/mman.h>

#include "tests/unit/vmm/emulate/support.h"

static uint64_t random_state = 88172645463325252u;

static inline uint64_t random64(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

// Values near the edges make carries and overflows more often than even ones.
static inline uint64_t random_operand(void) {
    static const uint64_t edges[] = {0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0x7fff,
                                     0x8000,
                                     0xffff,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     UINT64_C(0x7fffffffffffffff),
                                     UINT64_C(1) << 63,
                                     UINT64_MAX};
    uint64_t r = random64();

    return r & 1 ? random64() : edges[(r >> 8) % (sizeof edges / sizeof edges[0])];
}

struct code_buffer {
    uint8_t bytes[16];
    unsigned count;
};

static inline void emit(struct code_buffer *c, unsigned byte) {
    c->bytes[c->count++] = (uint8_t)byte;
}

static inline void fill(uint8_t *bytes, unsigned count, bool is_string) {
    for (unsigned k = 0; k < count; k += 8) {
        uint64_t value = random64() & (is_string ? UINT64_C(0x0101010101010101) : UINT64_MAX);
        memcpy(bytes + k, &value, 8);
    }
}

// As `start`, but the guest was started with other code before.
static inline void restart(const struct code_buffer *c) {
    memcpy(guest.ram + CODE, c->bytes, c->count);
    guest.rip = CODE;
    guest.gpr[INSN_RSP] = STACK;
}

static inline uint8_t *code_page(void) {
    uint8_t *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        cr_skip_test("no executable memory to be had here");
    return page;
}
