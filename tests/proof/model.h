// SPDX-License-Identifier: Apache-2.0
// What Frama-C sees of the compiler: included before each file that is proved. Each line is an
// assumption, see docs/proofs.md.
#pragma once

// Layouts are the compiler's to check.
#define _Static_assert(condition, message)
// One store; nothing that is proved here depends on another CPU.
#define __atomic_store_n(address, value, order) (*(address) = (value))
