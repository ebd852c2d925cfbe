// SPDX-License-Identifier: Apache-2.0
// boot/boot_start.c: what the supervisor finds on its start page.
#include "boot/boot_start.h"

#include <criterion/criterion.h>
#include <string.h>

static struct platform platform;
static struct boot_info info = {.platform = &platform};
static const struct abi_start *start = &platform.start;

TestSuite(boot_start);

Test(boot_start, modules_are_named_by_their_handles_in_order) {
    char name[START_NAME_MAX] = "";
    memset(name, 'n', sizeof(name) - 1);
    for (uint32_t i = 0; i < BOOT_MODULES_MAX; i++) {
        boot_start_module(&info, i == 0 ? "manifest.dtb" : name, (void *)(0x200000ull + i * 8192),
                          5000 + i);
        cr_assert(info.module_count == i + 1 && start->module_count == i + 1);
    }
    cr_expect_str_eq(start->module[0].name, "manifest.dtb");
    cr_expect_str_eq(start->module[1].name, name, "whole");
    for (uint32_t i = 0; i < BOOT_MODULES_MAX; i++) {
        cr_expect_eq(start->module[i].memory, ABI_START_MODULE + i);
        cr_expect(start->module[i].size == 5000 + i && info.module[i].size == 5000 + i);
        cr_expect_eq(info.module[i].base, 0x200000ull + i * 8192);
    }
}

static void set_up_machine(void) {
    info.tsc_hz = 2000000000;
    info.features = (struct cpu_features){.has_xsave = true,
                                          .xcr0_mask = 7,
                                          .physical_bits = 39,
                                          .has_unrestricted_guest = true,
                                          .has_tsc_scaling = true};
    info.mitigation.capabilities = 0x6b;
    info.uart = (struct boot_uart){.base = 0x2f8, .stride = 1, .width = 1, .divisor = 1};
    info.framebuffer = (struct boot_framebuffer){0xe0000000, 800, 600, 832, BOOT_PIXEL_BGRX};
}

Test(boot_start, page_has_what_the_kernel_is_told, .init = set_up_machine) {
    platform.start.utc_tsc = 77; // what others found stays
    boot_start_finish(&info);
    cr_expect(start->version == ABI_VERSION && start->process == ABI_START_PROCESS &&
              start->quota == ABI_START_QUOTA && start->system == ABI_START_SYSTEM &&
              start->group == ABI_START_GROUP);
    cr_expect(start->tsc_hz == 2000000000 && start->xcr0_mask == 7 && start->utc_tsc == 77);
    cr_expect(start->arch_capabilities == 0x6b && start->physical_bits == 39);
    cr_expect(start->has_unrestricted_guest == 1 && start->has_tsc_scaling == 1);
    cr_expect_str_eq(info.report, "", "it has a date");
    cr_expect_eq(memcmp(&start->uart, &info.uart, sizeof(info.uart)), 0);
    cr_expect_eq(memcmp(&start->framebuffer, &info.framebuffer, sizeof(info.framebuffer)), 0);
}

Test(boot_start, nothing_is_promised_that_no_guest_gets, .init = set_up_machine) {
    info.features.has_xsave = false;
    strcpy(info.refusal, "this machine is a toaster");
    boot_start_finish(&info);
    cr_expect(start->xcr0_mask == 0 && start->has_unrestricted_guest == 0 &&
              start->has_tsc_scaling == 0);
    cr_expect_str_eq(info.report, "no clock on this machine: guests start in 1970");
}
