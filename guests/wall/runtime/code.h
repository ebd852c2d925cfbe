// SPDX-License-Identifier: Apache-2.0
// Code that a mother writes into an area for her children, byte by byte.
#pragma once

#include "runtime/wall.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

// From the area's start on, which holds breakpoints then.
void code_begin(const struct area *area);
void code_emit(const void *bytes, uint32_t size);
void code_move(uint32_t reg, uint64_t value); // MOV of all 64 bits
void code_skip(uint32_t offset);              // go on there
uint32_t code_size(void);                     // bytes up to here
