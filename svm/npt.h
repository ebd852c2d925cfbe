// SPDX-License-Identifier: Apache-2.0
// The nested page tables' entry format, for lib/pagetable. APM 2 15.25.5 "Nested Table Walk": each
// access is a user's. leaf_level_max is set by npt_init.
#pragma once

#include "lib/pagetable.h"

extern struct pt_format npt_format;
void npt_init(bool has_1g_pages);
