// SPDX-License-Identifier: Apache-2.0
// Sets of the host's CPUs, as struct abi_group has them: bit n % 64 of word n / 64 is CPU n.
#pragma once

#include "include/abi.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUSET_WORDS     (ABI_CPUS_MAX / 64)
#define CPUSET_TEXT_SIZE 48u

struct cpuset {
    uint64_t word[CPUSET_WORDS];
};

// CPUs 0 to count - 1.
struct cpuset cpuset_first(uint32_t count);

static inline bool cpuset_has(const struct cpuset *set, uint32_t cpu) {
    return (set->word[cpu / 64] >> cpu % 64 & 1) != 0;
}

static inline void cpuset_add(struct cpuset *set, uint32_t cpu) {
    set->word[cpu / 64] |= 1ULL << cpu % 64;
}

struct cpuset cpuset_and(struct cpuset a, struct cpuset b);
struct cpuset cpuset_or(struct cpuset a, struct cpuset b);
struct cpuset cpuset_without(struct cpuset a, struct cpuset b);
uint32_t cpuset_count(const struct cpuset *set);

// "0-3,6", or "none"; "..." stands for what does not fit into CPUSET_TEXT_SIZE.
void cpuset_text(const struct cpuset *set, char out[CPUSET_TEXT_SIZE]);
