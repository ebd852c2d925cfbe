// SPDX-License-Identifier: Apache-2.0
// arch/cache: classes of service for masks of ways, on a processor of paper with its registers.
#include <criterion/criterion.h>

#include "arch/cache.h"
#include "tests/unit/kernel/support.h"

static uint32_t l3_bits, class_max, max_leaf = 0x16;
static bool has_rdt = true, has_l3 = true;
static uint64_t mask_registers[16], pqr;
static unsigned mask_writes, pqr_writes;

static struct cpuid_result paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    struct cpuid_result r = {0, 0, 0, 0};
    if (leaf == 0)
        r.eax = max_leaf;
    if (leaf == 7 && has_rdt)
        r.ebx = 1 << 15;
    if (leaf == 0x10 && subleaf == 0 && has_l3)
        r.ebx = 1 << 1;
    if (leaf == 0x10 && subleaf == 1) {
        r.eax = l3_bits - 1;
        r.edx = class_max;
    }
    return r;
}

static void paper_wrmsr(uint32_t msr, uint64_t value) {
    if (msr == 0xc8f) {
        pqr = value;
        pqr_writes++;
        return;
    }
    cr_assert(msr > 0xc90 && msr <= 0xc90 + class_max, "MSR %#x", msr);
    mask_registers[msr - 0xc90] = value;
    mask_writes++;
}

#define x86_cpuid paper_cpuid
#define x86_wrmsr paper_wrmsr
#include "arch/cache.c"

static struct cpu cpus[2];

static void boot(uint32_t bits, uint32_t last_class) {
    l3_bits = bits;
    class_max = last_class;
    cache_init();
}
void host_has_cache(uint32_t bits, uint32_t last_class) {
    boot(bits, last_class);
}

static void expect_one_class(void) {
    boot(11, 15);
    cr_expect(cache_is_valid(0, 0) && !cache_is_valid(0, 1) && !cache_is_valid(1, 1));
    cache_set(0, 0);
    cache_switch(&cpus[0], 0);
    cr_expect(mask_writes == 0 && pqr_writes == 0);
}

Test(cache, missing_feature_leaves_one_class) {
    has_l3 = false;
    expect_one_class();
    has_l3 = true;
    has_rdt = false;
    expect_one_class();
    has_rdt = true;
    max_leaf = 0xf;
    expect_one_class();
}

Test(cache, masks_are_rows_of_ways_that_are_there) {
    boot(11, 15);
    const uint32_t good[] = {0x1, 0x3, 0x7fe, 0x400, 0x700, 0x0f0, 0x7ff};
    const uint32_t bad[] = {0x5, 0x800, 0xc00, 0x603, 0xffffffff, 0x80000000, 0};
    for (unsigned i = 0; i < 7; i++)
        cr_expect(cache_is_valid(1, good[i]) && !cache_is_valid(1, bad[i]), "%#x %#x", good[i],
                  bad[i]);
}

Test(cache, as_many_ways_as_a_mask_has_bits_and_classes_as_there_are) {
    boot(32, 3);
    cr_expect(cache_is_valid(3, 0xffffffff) && cache_is_valid(3, 0xffff0000));
    cr_expect_not(cache_is_valid(3, 0x80000001));
    cr_expect_not(cache_is_valid(4, 1));
    cr_expect_not(cache_is_valid(UINT32_MAX, 1));
    boot(32, 0xffff);
    cr_expect_not(cache_is_valid(CLASS_COUNT_MAX, 1), "the kernel has a place for no more");
}

Test(cache, registers_are_written_when_something_changed) {
    boot(20, 3);
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
