// SPDX-License-Identifier: Apache-2.0
// Whether this machine can run guests by AMD-V, and what of it is used (include/svm.h). APM 3
// Appendix E "Obtaining Processor Information Via the CPUID Instruction", function 8000_000Ah.
#pragma once

#include "boot/boot_features.h"
#include "include/svm.h"

// Fills info->svm and info->refusal, by info->features. Where the processor has no AMD-V, nothing.
void boot_svm_read(const struct boot_processor *cpu, struct boot_info *info);
// Adds to the preflight report what is used, and what is missing and what that costs.
void boot_svm_report(struct boot_info *info);
