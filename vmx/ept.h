// SPDX-License-Identifier: Apache-2.0
// The extended page tables' entry format, for lib/pagetable. SDM 3C 29.3.2 "EPT Translation Mechanism".
#pragma once

#include "lib/pagetable.h"

// leaf_level_max is set by ept_init.
extern struct pt_format ept_format;
void ept_init(bool has_2m_pages, bool has_1g_pages);

// The EPT pointer for tables with this root: SDM 3C Table 25-9 "Format of Extended-Page-Table Pointer".
uint64_t ept_pointer(hpa_t root);
