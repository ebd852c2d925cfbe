// SPDX-License-Identifier: Apache-2.0
// Names for the reasons of VM exits.
#pragma once

#include <stdint.h>

// As SDM 3D Appendix C "VMX Basic Exit Reasons" calls it, or "reason N".
const char *exits_name(uint32_t reason);
