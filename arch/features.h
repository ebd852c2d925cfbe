// SPDX-License-Identifier: Apache-2.0
// Compares the other CPUs with what boot/ found of the first one (include/features.h), and turns on
// what the kernel uses.
#pragma once

#include "arch/cpu.h"

// Once, on the boot CPU. The list stays.
void features_init(const struct cpu_word *words, uint32_t count);
// On every other CPU, first of all: does it offer all that the boot CPU offers? If not, says which
// word differs first.
bool features_compare(uint32_t apic_id);
void features_enable(void); // on every CPU: CR0, CR4, EFER, XCR0, PAT
