// SPDX-License-Identifier: Apache-2.0
// A fuzzer's input as a stream of numbers; behind its end come zeroes.
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t input_byte(struct input *input) {
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static inline uint64_t input_number(struct input *input, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)input_byte(input) << 8 * i;
    return value;
}
