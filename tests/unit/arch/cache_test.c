// SPDX-License-Identifier: Apache-2.0
// arch/cache: classes of service for masks of ways, on a processor of paper with its registers.
#include <criterion/criterion.h>

#include "arch/cache.h"
#include "tests/unit/kernel/support.h"

static uint64_t mask_registers[16], pqr;
static unsigned mask_writes, pqr_writes;

static void paper_wrmsr(uint32_t msr, uint64_t value) {
    if (msr == 0xc8f) {
        pqr = value;
        pqr_writes++;
        return;
    }
    cr_assert(msr > 0xc90 && msr < 0xc90 + cpu_features.cache_classes, "MSR %#x", msr);
    mask_registers[msr - 0xc90] = value;
    mask_writes++;
}

#define x86_wrmsr paper_wrmsr
#include "arch/cache.c"

static struct cpu cpus[2];

void host_has_cache(uint32_t ways, uint32_t last_class) {
    cpu_features.cache_ways = ways;
    cpu_features.cache_classes = last_class + 1;
}

Test(cache, nothing_to_divide_leaves_one_class) {
    cpu_features.cache_ways = 0;
    cpu_features.cache_classes = 0;
    cr_expect(cache_is_valid(0, 0) && !cache_is_valid(0, 1) && !cache_is_valid(1, 1));
    cache_set(0, 0);
    cache_switch(&cpus[0], 0);
    cr_expect(mask_writes == 0 && pqr_writes == 0);
}

Test(cache, masks_are_rows_of_ways_that_are_there) {
    host_has_cache(11, 15);
    const uint32_t good[] = {0x1, 0x3, 0x7fe, 0x400, 0x700, 0x0f0, 0x7ff};
    const uint32_t bad[] = {0x5, 0x800, 0xc00, 0x603, 0xffffffff, 0x80000000, 0};
    for (unsigned i = 0; i < 7; i++)
        cr_expect(cache_is_valid(1, good[i]) && !cache_is_valid(1, bad[i]), "%#x %#x", good[i],
                  bad[i]);
}

Test(cache, as_many_ways_as_a_mask_has_bits_and_classes_as_there_are) {
    host_has_cache(32, 3);
    cr_expect(cache_is_valid(3, 0xffffffff) && cache_is_valid(3, 0xffff0000));
    cr_expect_not(cache_is_valid(3, 0x80000001));
    cr_expect_not(cache_is_valid(4, 1));
    cr_expect_not(cache_is_valid(UINT32_MAX, 1));
    host_has_cache(32, CPU_CACHE_CLASSES_MAX - 1);
    cr_expect(cache_is_valid(CPU_CACHE_CLASSES_MAX - 1, 1));
    cr_expect_not(cache_is_valid(CPU_CACHE_CLASSES_MAX, 1), "the kernel has a place for no more");
}

Test(cache, registers_are_written_when_something_changed) {
    host_has_cache(20, 3);
    cache_switch(&cpus[0], 0);
    cr_expect(mask_writes == 0 && pqr_writes == 0);
    cache_set(1, 0xff);
    cache_switch(&cpus[0], 1);
    cr_expect(mask_registers[1] == 0xff && mask_writes == 1);
    cr_expect(pqr == 1ULL << 32 && pqr_writes == 1);
    cache_set(1, 0xff);
    cache_switch(&cpus[0], 1);
    cr_expect(mask_writes == 1 && pqr_writes == 1);
    cache_switch(&cpus[0], 0);
    cr_expect(pqr == 0 && pqr_writes == 2);
    // The other CPU may be of another package: it writes the masks, too.
    cache_switch(&cpus[1], 1);
    cr_expect(mask_writes == 2 && pqr == 1ULL << 32);
    cache_set(2, 0xff00);
    cache_switch(&cpus[1], 1);
    cr_expect(mask_registers[2] == 0xff00 && mask_writes == 4 && pqr_writes == 3);
}
