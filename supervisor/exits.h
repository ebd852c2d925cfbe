// SPDX-License-Identifier: Apache-2.0
// Names for the reasons of VM exits.
#pragma once

#include "include/abi.h"

// As SDM 3D Appendix C "VMX Basic Exit Reasons" or APM 2 Appendix C "SVM Intercept Exit Codes"
// calls it, or "reason N". `reason` is an index of struct abi_usage's exit.
const char *exits_name(enum abi_virtualization virtualization, uint32_t reason);
