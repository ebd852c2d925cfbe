// SPDX-License-Identifier: Apache-2.0
#include "runtime/code.h"

#include "lib/string.h"

static uint8_t *code;
static uint32_t size;

void code_begin(const struct area *area) {
    code = area->at;
    memset(code, 0xcc, area->size);
    size = 0;
}

void code_emit(const void *bytes, uint32_t count) {
    memcpy(code + size, bytes, count);
    size += count;
}

void code_move(uint32_t reg, uint64_t value) {
    const uint8_t move[2] = {(uint8_t)(0x48 | reg >> 3), (uint8_t)(0xb8 | (reg & 7))};
    code_emit(move, sizeof(move));
    code_emit(&value, sizeof(value));
}

void code_skip(uint32_t offset) {
    size = offset;
}

uint32_t code_size(void) {
    return size;
}
