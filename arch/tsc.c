// SPDX-License-Identifier: Apache-2.0
// See arch/tsc.h.
#include "arch/tsc.h"

uint64_t tsc_hz;
