// SPDX-License-Identifier: Apache-2.0
// boot/boot_pool.c: how far memory reaches that the kernel may own. That the pool has room for its
// maps, tests/unit/kernel/frame_test.c shows.
#include "boot/boot_pool.h"

#include <criterion/criterion.h>

Test(boot_pool, end_is_that_of_ram_which_the_kernel_may_own) {
    struct boot_memory map[] = {
        {.base = 0x100000, .length = 0x100000, .type = BOOT_MEMORY_FREE},
        {.base = 0x200000, .length = 0x3000, .type = BOOT_MEMORY_FREE},
        {.base = 0x300000, .length = 0x1000, .type = BOOT_MEMORY_ACPI},
    };
    cr_expect_eq(boot_pool_memory_end(map, 0), 0);
    for (uint32_t type = BOOT_MEMORY_FREE; type <= BOOT_MEMORY_MODULE; type++) {
        map[1].type = type;
        cr_expect_eq(boot_pool_memory_end(map, 3), 0x203000, "type %u", type);
    }
    for (uint32_t type = BOOT_MEMORY_ACPI; type <= BOOT_MEMORY_DEVICE; type++) {
        map[1].type = type;
        cr_expect_eq(boot_pool_memory_end(map, 3), 0x200000, "type %u", type);
    }
}
