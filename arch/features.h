// SPDX-License-Identifier: Apache-2.0
// Fills cpu_features (arch/cpu.h) and turns on what the kernel uses.
#pragma once

#include "arch/cpu.h"

void features_read(void);   // once, on the boot CPU
void features_enable(void); // on every CPU: CR0, CR4, EFER, XCR0, PAT
