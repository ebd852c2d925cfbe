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
        {&info.memory_count, BOOT_MEMORY_MAX},    {&info.module_count, BOOT_MODULES_MAX},
        {&info.cpu_count, BOOT_CPUS_MAX},         {&info.ioapic_count, BOOT_IOAPICS_MAX},
        {&info.segment_count, BOOT_SEGMENTS_MAX}, {&info.thread_bits, 31},
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

Test(boot_info, pool_and_low_page_lie_where_they_can_be_used) {
    static const struct {
        uint64_t pool, size, low;
        bool is_good;
    } cases[] = {
        {0x200000, 0x200000, 0xff000, true},
        {0x200000, 0x200000, 0, true},
        {BOOT_POOL_END - 0x200000, 0x200000, 0, true},
        {BOOT_POOL_END - 0x200000, 0x400000, 0, false},
        {BOOT_POOL_END, 0x200000, 0, false},
        {0x200000, 0ull - 0x200000, 0, false}, // wraps
        {0x201000, 0x200000, 0, false},
        {0x200000, 0x201000, 0, false},
        {0x200000, 0x200000, 0x100000, false},
        {0x200000, 0x200000, 0x9f800, false},
    };
    static struct boot_info info = {.tsc_hz = BOOT_TSC_HZ_MIN};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        info.pool = cases[i].pool;
        info.pool_size = cases[i].size;
        info.low_page = cases[i].low;
        cr_expect_eq(boot_info_is_bounded(&info), cases[i].is_good, "case %zu", i);
    }
}

#define PAGE 4096ull

static struct boot_info info;
static struct boot_memory memory[3];

static bool is_ordered(void) {
    return boot_info_is_ordered(&info, memory);
}

static void set_up_ordered(void) {
    memory[0] = (struct boot_memory){256 * PAGE, 16 * PAGE, BOOT_MEMORY_FREE, BOOT_NODE_NONE};
    memory[1] = (struct boot_memory){272 * PAGE, PAGE, BOOT_MEMORY_ACPI, BOOT_NODE_NONE};
    memory[2] = (struct boot_memory){288 * PAGE, PAGE, BOOT_MEMORY_DEVICE, BOOT_NODE_NONE};
    info.memory_count = 3;
    info.memory_end = 272 * PAGE;
    info.cpu[0].apic_id = 2;
    info.cpu[1].apic_id = 4;
    info.cpu_count = 2;
    info.ioapic[0].address = 288 * PAGE;
    info.ioapic[1] = (struct boot_ioapic){.address = 0xfec00000, .gsi_base = 24};
    info.ioapic_count = 2;
    cr_assert(is_ordered());
}

TestSuite(boot_info_order, .init = set_up_ordered);

Test(boot_info_order, memory_is_sorted_and_of_whole_pages) {
    static const struct boot_memory bad[] = {
        {271 * PAGE, PAGE, BOOT_MEMORY_FREE, 0},    // overlaps
        {16 * PAGE, PAGE, BOOT_MEMORY_FIRMWARE, 0}, // before the first
        {272 * PAGE, 0, BOOT_MEMORY_FREE, 0},
        {272 * PAGE, PAGE + 1, BOOT_MEMORY_FREE, 0},
        {272 * PAGE + 1, PAGE, BOOT_MEMORY_FREE, 0},
        {272 * PAGE, PAGE, 0, 0},
        {272 * PAGE, PAGE, BOOT_MEMORY_DEVICE + 1, 0},
        {1ull << 52, PAGE, BOOT_MEMORY_FREE, 0},
        {(1ull << 52) - PAGE, 2 * PAGE, BOOT_MEMORY_FREE, 0},
        {272 * PAGE, -PAGE, BOOT_MEMORY_FREE, 0}, // wraps
    };
    info.memory_count = 2;
    info.memory_end = UINT64_MAX;
    info.ioapic_count = 0;
    cr_assert(is_ordered());
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memory[1] = bad[i];
        cr_expect_not(is_ordered(), "range %zu", i);
    }
    info.memory_count = 0;
    cr_assert_not(is_ordered());
}

Test(boot_info_order, cpus_ascend) {
    info.cpu[1].apic_id = 2;
    cr_assert_not(is_ordered());
    info.cpu[1].apic_id = 1;
    cr_assert_not(is_ordered());
    info.cpu_count = 0;
    cr_assert(is_ordered());
}

Test(boot_info_order, ioapics_ascend_and_are_no_ram) {
    static const uint64_t bad[] = {0, 256 * PAGE, 272 * PAGE, 273 * PAGE - BOOT_IOAPIC_SIZE,
                                   0xfec00000 + BOOT_IOAPIC_SIZE / 2};
    info.ioapic[0].gsi_base = 25;
    cr_assert_not(is_ordered());
    info.ioapic[0].gsi_base = 24;
    cr_assert(is_ordered());
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        info.ioapic[1].address = bad[i];
        cr_expect_not(is_ordered(), "I/O APIC %zu", i);
    }
}

// RAM below 1 MiB that the kernel would give out.
Test(boot_info_order, low_memory_is_not_ours) {
    memory[0] = (struct boot_memory){PAGE, PAGE, BOOT_MEMORY_FIRMWARE, 0};
    cr_assert(is_ordered());
    memory[0].type = BOOT_MEMORY_FREE;
    cr_assert_not(is_ordered());
    memory[0].type = BOOT_MEMORY_LOADER;
    cr_assert_not(is_ordered());
}

// Frames beyond it have no place in the kernel's maps.
Test(boot_info_order, all_that_the_kernel_may_own_is_below_the_end) {
    static const uint32_t types[] = {BOOT_MEMORY_FREE, BOOT_MEMORY_LOADER, BOOT_MEMORY_KERNEL,
                                     BOOT_MEMORY_MODULE};
    info.memory_end = 271 * PAGE;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        memory[0].type = types[i];
        cr_expect_not(is_ordered(), "type %u", types[i]);
    }
    memory[0].type = BOOT_MEMORY_ACPI;
    cr_expect(is_ordered());
}

// It may lie in several ranges, of nodes, but all of it is the kernel's.
Test(boot_info_order, pool_is_the_kernels) {
    info.ioapic_count = 0;
    info.memory_end = 1024 * PAGE;
    memory[0] = (struct boot_memory){512 * PAGE, 256 * PAGE, BOOT_MEMORY_KERNEL, 0};
    memory[1] = (struct boot_memory){768 * PAGE, 256 * PAGE, BOOT_MEMORY_KERNEL, 1};
    memory[2] = (struct boot_memory){1024 * PAGE, PAGE, BOOT_MEMORY_DEVICE, 0};
    info.pool = 512 * PAGE;
    info.pool_size = 512 * PAGE;
    cr_assert(is_ordered());
    info.pool_size += PAGE;
    cr_expect_not(is_ordered(), "behind it");
    info.pool -= PAGE;
    info.pool_size = 2 * PAGE;
    cr_expect_not(is_ordered(), "before it");
    info.pool = 600 * PAGE;
    cr_expect(is_ordered());
    for (uint32_t i = 0; i < 2; i++) {
        info.pool = 512 * PAGE;
        info.pool_size = 512 * PAGE;
        memory[i].type = BOOT_MEMORY_FREE;
        cr_expect_not(is_ordered(), "range %u", i);
        memory[i].type = BOOT_MEMORY_KERNEL;
    }
    memory[1].base += PAGE;
    memory[1].length -= PAGE;
    cr_expect_not(is_ordered(), "a hole");
}
