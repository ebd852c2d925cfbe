// SPDX-License-Identifier: Apache-2.0
// supervisor/placement, supervisor/cpuset and supervisor/cache: who gets which CPUs and which ways
// of the cache, and who is refused with which words.
#include "tests/unit/supervisor/support.h"

#include "supervisor/cache.h"
#include "supervisor/machine.h"
#include "supervisor/placement.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct vm_config config_test[8];
static struct placement placement_test[8];
static char why_test[PLACEMENT_WHY_MAX];

// CPUs in cores of `threads`.
static void place_on(uint32_t cpus, uint32_t threads) {
    life_start.system = LIFE_SYSTEM;
    machine.start = &life_start;
    life.cpu_count = cpus;
    for (uint32_t i = 0; i < cpus; i++) {
        life.cpu[i].core = i / threads;
    }
    placement_open();
}

static struct vm_config *place_config(unsigned int index, enum vm_schedule schedule,
                                      uint32_t vcpus) {
    struct vm_config *config = &config_test[index];
    *config = (struct vm_config){.vcpus = vcpus, .scheduling = {.schedule = schedule}};
    memset(config->scheduling.cpus, 0xff, sizeof(config->scheduling.cpus));
    return config;
}

static void place_realtime(unsigned int index, uint32_t vcpus, uint64_t budget, uint64_t period) {
    struct vm_config *config = place_config(index, VM_REALTIME, vcpus);
    config->scheduling.budget = budget;
    config->scheduling.period = period;
}

static void place_on_cpus(unsigned int index, uint64_t mask) {
    memset(config_test[index].scheduling.cpus, 0, sizeof(config_test[index].scheduling.cpus));
    config_test[index].scheduling.cpus[0] = mask;
}

static bool place_take(unsigned int index) {
    why_test[0] = '\0';
    return placement_take(&placement_test[index], &config_test[index], why_test);
}

static void place_expect(unsigned int index, uint64_t reserved) {
    cr_assert(place_take(index), "%s", why_test);
    cr_assert_eq(placement_test[index].reserved.word[0], reserved, "reserved 0x%llx",
                 (unsigned long long)placement_test[index].reserved.word[0]);
}

static void place_expect_refusal(unsigned int index, const char *words) {
    cr_assert_not(place_take(index));
    cr_assert_not_null(strstr(why_test, words), "no \"%s\" in \"%s\"", words, why_test);
    struct cpuset none = {0};
    cr_assert(memcmp(&placement_test[index].reserved, &none, sizeof(none)) == 0);
}

// ---- shared -------------------------------------------------------------------------------------

Test(supervisor_placement, shared_runs_anywhere) {
    place_on(4, 1);
    place_config(0, VM_SHARED, 64);
    place_expect(0, 0);
    cr_assert_eq(placement_test[0].cpus.word[0], 0xf);
    cr_assert_eq(placement_cpu(&placement_test[0], 63), ABI_CPU_ANY);
    place_config(1, VM_SHARED, 1);
    place_on_cpus(1, 0xff0a);
    place_expect(1, 0);
    cr_assert_eq(placement_test[1].cpus.word[0], 0xa, "only CPUs that there are");
}

Test(supervisor_placement, shared_without_a_cpu_is_refused) {
    place_on(4, 1);
    place_config(0, VM_SHARED, 1);
    place_on_cpus(0, 0xf0);
    place_expect_refusal(0, "\"cpus\" names none of this machine's 4; they count from 0");
    place_config(1, VM_DEDICATED, 2);
    place_expect(1, 0xc);
    place_on_cpus(0, 0x8);
    place_expect_refusal(0, "CPUs 3 are dedicated to other VMs; name others in \"cpus\"");
    placement_release(&placement_test[1]);
    place_expect(0, 0);
}

// ---- dedicated ----------------------------------------------------------------------------------

Test(supervisor_placement, dedicated_takes_from_the_highest_down) {
    place_on(4, 1);
    place_config(0, VM_DEDICATED, 2);
    place_expect(0, 0xc);
    cr_assert_eq(placement_cpu(&placement_test[0], 0), 3);
    cr_assert_eq(placement_cpu(&placement_test[0], 1), 2);
    cr_assert_eq(placement_test[0].cpus.word[0], 0xf, "its VMM runs where there is room");
    place_config(1, VM_DEDICATED, 1);
    place_expect(1, 0x2);
    place_config(2, VM_DEDICATED, 1);
    place_expect_refusal(2, "its 1 vCPUs want whole cores for themselves; free of reservations: "
                            "CPUs 0 of 4, and every shared VM must keep one;");
    placement_release(&placement_test[0]);
    place_expect(2, 0x8);
}

Test(supervisor_placement, dedicated_leaves_shared_vms_their_cpus) {
    place_on(4, 1);
    place_config(0, VM_SHARED, 1);
    place_on_cpus(0, 0x8);
    place_expect(0, 0);
    place_config(1, VM_DEDICATED, 2);
    place_expect(1, 0x6);
    place_config(2, VM_DEDICATED, 1);
    place_expect(2, 0x1);
    place_config(3, VM_DEDICATED, 1);
    place_expect_refusal(3, "CPUs 3 of 4");
}

Test(supervisor_placement, dedicated_reserves_whole_cores) {
    place_on(8, 2);
    place_config(0, VM_DEDICATED, 2);
    place_expect(0, 0xf0);
    cr_assert_eq(placement_cpu(&placement_test[0], 0), 7);
    cr_assert_eq(placement_cpu(&placement_test[0], 1), 5);
    place_config(1, VM_DEDICATED, 2); // the last core stays for the others, so both get one core
    place_expect(1, 0x0c);
    cr_assert_eq(placement_cpu(&placement_test[1], 0), 3);
    cr_assert_eq(placement_cpu(&placement_test[1], 1), 2);
    place_config(2, VM_DEDICATED, 1);
    place_expect_refusal(2, "CPUs 0-1 of 8");
}

Test(supervisor_placement, dedicated_stays_within_its_cpus) {
    place_on(8, 2);
    place_config(0, VM_DEDICATED, 1);
    place_on_cpus(0, 0x4);
    place_expect(0, 0xc);
    cr_assert_eq(placement_cpu(&placement_test[0], 0), 2);
    place_config(1, VM_DEDICATED, 1);
    place_on_cpus(1, 0x8); // free, but not its core
    place_expect_refusal(1, "CPUs none of 8");
}

// ---- real-time ----------------------------------------------------------------------------------

Test(supervisor_placement, realtime_takes_the_first_fit) {
    place_on(3, 1);
    place_realtime(0, 1, 6, 10);
    place_realtime(1, 1, 5, 10);
    place_realtime(2, 1, 3, 10);
    place_realtime(3, 1, 4, 10);
    place_expect(0, 0x1);
    place_expect(1, 0x2);
    place_expect(2, 0x1); // 90 % now
    place_expect(3, 0x2);
    place_realtime(4, 2, 1, 1000);
    place_expect_refusal(4, "each of its 2 vCPUs wants 1 % of a CPU that is its own; free: CPU 0 0 "
                            "%, CPU 1 0 %, CPU 2 90 %; lower \"budget\" or \"vcpus\"");
    placement_release(&placement_test[0]);
    place_expect(4, 0x5);
}

Test(supervisor_placement, realtime_and_dedicated_do_not_mix) {
    place_on(3, 1);
    place_config(0, VM_DEDICATED, 1);
    place_expect(0, 0x4);
    place_realtime(1, 2, 1, 2);
    place_expect(1, 0x3);
    place_realtime(2, 1, 1, 2);
    place_expect_refusal(2, "free: CPU 0 40 %, CPU 1 40 %, CPU 2 0 %;");
    cr_assert_eq(placement_reserved_permil(0), 500);
    cr_assert_eq(placement_reserved_permil(2), 1000);
    cr_assert_eq(placement_shared().word[0], 0x3);
    place_config(3, VM_DEDICATED, 1);
    place_expect_refusal(3, "CPUs none of 3");
}

Test(supervisor_placement, strangers_on_a_core_share_its_time) {
    place_on(2, 2);
    place_realtime(0, 1, 6, 10);
    place_realtime(1, 1, 6, 10);
    place_expect(0, 0x1);
    place_expect_refusal(1, "free: CPU 0 30 %, CPU 1 30 %;");
    config_test[1].scheduling.domain = 7;
    place_expect_refusal(1, "free: CPU 0 30 %, CPU 1 30 %;");
    config_test[0].scheduling.domain = 7;
    place_expect(1, 0x2); // friends may run beside each other
    place_realtime(2, 1, 1, 10);
    place_expect_refusal(2, "free: CPU 0 0 %, CPU 1 0 %;");
    config_test[2].scheduling.domain = 7;
    place_expect(2, 0x1);
}

Test(supervisor_placement, a_reservation_is_taken_once) {
    place_on(2, 1);
    place_realtime(0, 1, 8, 10);
    place_expect(0, 0x1);
    place_expect(0, 0x1);
    placement_release(&placement_test[0]);
    placement_release(&placement_test[0]);
    place_realtime(1, 1, 8, 10);
    place_expect(1, 0x1);
}

// Numbers that neither a byte nor four words of a mask have room for.
Test(supervisor_placement, three_hundred_cpus) {
    place_on(300, 2);
    place_config(0, VM_DEDICATED, 2);
    cr_assert(place_take(0), "%s", why_test);
    uint32_t first = placement_cpu(&placement_test[0], 0);
    uint32_t second = placement_cpu(&placement_test[0], 1);
    cr_expect(first / 2 == 149 || second / 2 == 149, "%u and %u", first, second);
    cr_expect(first >= 256 && second >= 256 && first != second, "%u and %u", first, second);
    cr_expect(cpuset_has(&placement_test[0].reserved, first));
    cr_expect(cpuset_has(&placement_test[0].reserved, second));
    cr_expect_eq(placement_test[0].reserved.word[0], 0);
    place_realtime(1, 1, 1, 2);
    memset(config_test[1].scheduling.cpus, 0, sizeof(config_test[1].scheduling.cpus));
    config_test[1].scheduling.cpus[4] = 1;
    cr_assert(place_take(1), "%s", why_test);
    cr_expect_eq(placement_cpu(&placement_test[1], 0), 256);
    place_config(2, VM_SHARED, 300);
    cr_assert(place_take(2), "%s", why_test);
    const struct cpuset *shared = &placement_test[2].cpus;
    cr_expect(cpuset_has(shared, 0) && cpuset_has(shared, 260));
}

// ---- sets and ways ------------------------------------------------------------------------------

static void cpuset_expect(uint64_t word0, uint64_t word3, const char *expected) {
    struct cpuset set = {{word0, 0, 0, word3}};
    char text[CPUSET_TEXT_SIZE];
    cpuset_text(&set, text);
    cr_assert_str_eq(text, expected);
}

Test(supervisor_cpuset, text_has_ranges) {
    cpuset_expect(0, 0, "none");
    cpuset_expect(1, 0, "0");
    cpuset_expect(0x4f, 0, "0-3,6");
    cpuset_expect(UINT64_MAX, 1ULL << 63, "0-63,255");
    struct cpuset last = {{0}};
    char text[CPUSET_TEXT_SIZE];
    last.word[15] = 0xfULL << 60 | 1;
    cpuset_text(&last, text);
    cr_expect_str_eq(text, "960,1020-1023");
    cpuset_expect(0x5555555555555555, 0, "0,2,4,6,8,10,12,14,16,18,20,22,24,26,...");
}

static void ways_expect(const struct manifest *manifest, uint32_t index, uint32_t ways,
                        uint32_t expected) {
    struct cache_part part;
    cr_assert(cache_divide(manifest, index, (struct cache){ways, 16}, &part));
    cr_assert_eq(part.mask, expected, "VM %u has 0x%x", index, part.mask);
    cr_assert_eq(part.class != 0, expected != 0);
}

Test(supervisor_cache, ways_are_exclusive) {
    static struct manifest manifest;
    struct cache_part part;
    manifest.vm_count = 4;
    ways_expect(&manifest, 0, 11, 0);
    manifest.vm[1].scheduling.cache = 4;
    manifest.vm[2].scheduling.cache = 7; // one too many: a way stays for VMs 0 and 3
    manifest.vm[3].scheduling.cache = 2;
    ways_expect(&manifest, 0, 11, 0x01f);
    ways_expect(&manifest, 1, 11, 0x780);
    cr_assert_not(cache_divide(&manifest, 2, (struct cache){11, 16}, &part));
    ways_expect(&manifest, 3, 11, 0x060);
    for (uint32_t i = 0; i < 4; i++) {
        ways_expect(&manifest, i, 0, 0); // a CPU without
    }
    manifest.vm[2].scheduling.cache = 31;
    cr_assert_not(cache_divide(&manifest, 2, (struct cache){32, 16}, &part));
    manifest.vm[1].scheduling.cache = 0;
    ways_expect(&manifest, 2, 32, 0xfffffffe);
}

Test(supervisor_cache, who_has_ways_has_a_class) {
    static struct manifest manifest;
    struct cache_part part;
    const struct cache cache = {20, 4}; // class 0, the rest's and two more
    manifest.vm_count = 4;
    for (uint32_t i = 1; i < 4; i++) {
        manifest.vm[i].scheduling.cache = 2;
        cr_assert_eq(cache_divide(&manifest, i, cache, &part), i < 3, "VM %u", i);
        cr_assert(i == 3 || part.class == i + 1);
    }
    cr_assert(cache_divide(&manifest, 0, cache, &part));
    cr_assert_eq(part.class, 1);
    cr_assert_eq(part.mask, 0xffff, "who was refused has nothing");
}
