// SPDX-License-Identifier: Apache-2.0
// Frames whose memory is broken. Who has one keeps it; when it is freed, kernel/frame.c leaves it
// out, so that nobody gets it again. No locks: a machine check writes, whoever holds one.
#pragma once

#include "lib/types.h"

#define WITHDRAWN_MAX 64u

// Any CPU, any context. False: it is the kernel's own or no RAM that could be anybody's, or there
// are WITHDRAWN_MAX already.
bool withdrawn_add(hpa_t frame);
// The first withdrawn frame in [begin, end); `end`: there is none.
uint64_t withdrawn_next(uint64_t begin, uint64_t end);
