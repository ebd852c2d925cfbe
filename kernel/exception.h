// SPDX-License-Identifier: Apache-2.0
// The rules of exceptions, which are the same on all processors. Pure.
#pragma once

#include "lib/types.h"

#define EXCEPTION_COUNT 32u

bool exception_has_error_code(uint8_t vector);
// It reports an instruction that was not done.
bool exception_is_fault(uint8_t vector);

// What becomes of `second` when it comes while `first` is being delivered.
enum exception_merge { MERGE_SECOND, MERGE_DOUBLE_FAULT, MERGE_SHUTDOWN };
enum exception_merge exception_combine(uint8_t first, uint8_t second);
