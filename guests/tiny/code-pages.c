// SPDX-License-Identifier: Apache-2.0
// Code all over the RAM, as a hostile guest or a large kernel has it: in each 2 MiB something is
// executed, written over and executed again, at two places. How many exits that costs the host
// counts (tests/guest/code.py).
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define STEP   BIT(21)
#define SECOND 0x123000ULL // bytes behind the first place
#define ROUNDS 3u

// MOV EAX, value; RET.
static void put_code(uint64_t address, uint32_t value) {
    volatile uint8_t *code = (volatile uint8_t *)(uintptr_t)address;
    code[0] = 0xb8;
    for (uint32_t i = 0; i < 4; i++)
        code[1 + i] = (uint8_t)(value >> 8 * i);
    code[5] = 0xc3;
}

static uint32_t call(uint64_t address) {
    uint32_t value;
    __asm__ volatile("call *%1" : "=a"(value) : "r"(address) : "memory", "cc");
    return value;
}

static void check_place(uint64_t address, uint32_t value) {
    put_code(address, value);
    CHECK_EQ(call(address), value);
}

void test(void) {
    uint64_t from = align_up((uintptr_t)image_end, STEP), to = low_ram_end(), count = 0;
    for (uint32_t round = 1; round <= ROUNDS; round++)
        for (uint64_t at = from; at < to; at += STEP) {
            check_place(at, (uint32_t)at + round);
            check_place(at + SECOND, (uint32_t)at ^ round);
            count += round == 1;
        }
    print("large pages %llu\n", (unsigned long long)count);
    CHECK(count > 20);
}
