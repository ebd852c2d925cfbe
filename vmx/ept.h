// SPDX-License-Identifier: Apache-2.0
// The extended page tables' entry format, for lib/pagetable. SDM 3C 29.3.2 "EPT Translation
// Mechanism".
#pragma once

#include "lib/pagetable.h"

// leaf_level_max and is_code_small are set by ept_init. `is_code_small`: code is mapped by pages of
// 4 KiB alone, since this CPU may be stopped by a guest that changes the size of a page that it
// executes (ITLB multihit: Intel, "Machine Check Error on Page Size Change", CVE-2018-12207).
extern struct pt_format ept_format;
void ept_init(bool has_2m_pages, bool has_1g_pages, bool is_code_small);

// The EPT pointer for tables with this root: SDM 3C Table 25-9 "Format of Extended-Page-Table
// Pointer".
uint64_t ept_pointer(hpa_t root);
