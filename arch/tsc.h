// SPDX-License-Identifier: Apache-2.0
// The rate of the host's time-stamp counter, in which all times in the kernel are given. Set once at
// boot by drivers/clock.c.
#pragma once

#include <stdint.h>

extern uint64_t tsc_hz;
