// SPDX-License-Identifier: Apache-2.0
// Sets of CPUs.
#include "supervisor/cpuset.h"

#include "lib/fmt.h"

#define RANGE_TEXT_MAX 10u // ",1000-1023"
#define MORE           ",..."

struct cpuset cpuset_first(uint32_t count) {
    struct cpuset set = {0};
    for (uint32_t cpu = 0; cpu < count && cpu < ABI_CPUS_MAX; cpu++) {
        cpuset_add(&set, cpu);
    }
    return set;
}

struct cpuset cpuset_and(struct cpuset a, struct cpuset b) {
    for (uint32_t i = 0; i < CPUSET_WORDS; i++) {
        a.word[i] &= b.word[i];
    }
    return a;
}

struct cpuset cpuset_or(struct cpuset a, struct cpuset b) {
    for (uint32_t i = 0; i < CPUSET_WORDS; i++) {
        a.word[i] |= b.word[i];
    }
    return a;
}

struct cpuset cpuset_without(struct cpuset a, struct cpuset b) {
    for (uint32_t i = 0; i < CPUSET_WORDS; i++) {
        a.word[i] &= ~b.word[i];
    }
    return a;
}

uint32_t cpuset_count(const struct cpuset *set) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < CPUSET_WORDS; i++) {
        for (uint64_t left = set->word[i]; left != 0; left &= left - 1) {
            count++;
        }
    }
    return count;
}

// The first CPU from `cpu` on that is (not) in the set; ABI_CPUS_MAX: none.
static uint32_t find(const struct cpuset *set, uint32_t cpu, bool is_in) {
    while (cpu < ABI_CPUS_MAX && cpuset_has(set, cpu) != is_in) {
        cpu++;
    }
    return cpu;
}

void cpuset_text(const struct cpuset *set, char out[CPUSET_TEXT_SIZE]) {
    size_t length = 0;
    uint32_t first = find(set, 0, true);
    if (first == ABI_CPUS_MAX) {
        (void)fmt_format(out, CPUSET_TEXT_SIZE, "none");
    }
    while (first < ABI_CPUS_MAX) {
        uint32_t end = find(set, first, false);
        const char *comma = length > 0 ? "," : "";
        if (length + RANGE_TEXT_MAX + sizeof(MORE) > CPUSET_TEXT_SIZE) {
            (void)fmt_format(out + length, CPUSET_TEXT_SIZE - length, MORE);
            return;
        }
        length += end == first + 1
                      ? fmt_format(out + length, CPUSET_TEXT_SIZE - length, "%s%u", comma, first)
                      : fmt_format(out + length, CPUSET_TEXT_SIZE - length, "%s%u-%u", comma, first,
                                   end - 1);
        first = find(set, end, true);
    }
}
