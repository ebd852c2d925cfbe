// SPDX-License-Identifier: Apache-2.0
// What Frama-C sees of the compiler: included before each file that is proved. Each line is an
// assumption, see docs/proofs.md.
#pragma once

#include <stdint.h>

// The memory that tables lie in: what the functions of struct pt_memory give out are rows of it.
#define PT_MODEL_TABLES 4096
extern uint64_t pt_tables[PT_MODEL_TABLES * 512];

// Layouts are the compiler's to check.
#define _Static_assert(condition, message)
// One load or store; nothing that is proved here depends on another CPU.
#define __atomic_load_n(address, order)           (*(address))
#define __atomic_store_n(address, value, order)   (*(address) = (value))
#define __atomic_fetch_add(address, value, order) ((*(address) += (value)) - (value))
