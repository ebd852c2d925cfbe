// SPDX-License-Identifier: Apache-2.0
// include/boot.h: what the kernel asks of the hand-over before it believes it.
#include "include/boot.h"

#include <criterion/criterion.h>

Test(boot_info, counts_beyond_their_arrays_are_refused) {
    static struct boot_info info;
    const struct {
        uint32_t *count;
        uint32_t max;
    } counts[] = {
        {&info.memory_count, BOOT_MEMORY_MAX},
        {&info.module_count, BOOT_MODULES_MAX},
        {&info.cpu_count, BOOT_CPUS_MAX},
        {&info.node_count, BOOT_NODES_MAX},
        {&info.ioapic_count, BOOT_IOAPICS_MAX},
        {&info.console_count, BOOT_CONSOLES_MAX},
        {&info.ecam_count, BOOT_ECAMS_MAX},
        {&info.segment_count, BOOT_SEGMENTS_MAX},
        {&info.thread_bits, 31},
    };
    info.tsc_hz = BOOT_TSC_HZ_MIN;
    cr_assert(boot_info_is_bounded(&info));
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        *counts[i].count = counts[i].max;
        cr_expect(boot_info_is_bounded(&info), "count %zu", i);
        *counts[i].count = counts[i].max + 1;
        cr_expect_not(boot_info_is_bounded(&info), "count %zu", i);
        *counts[i].count = 0;
    }
    info.tsc_hz = BOOT_TSC_HZ_MIN - 1;
    cr_assert_not(boot_info_is_bounded(&info));
}
