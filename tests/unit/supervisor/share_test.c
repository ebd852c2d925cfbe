// SPDX-License-Identifier: Apache-2.0
// The whole supervisor: what the manifest says about CPU time arrives at the kernel and the VMM.
#include "tests/unit/supervisor/support.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <string.h>

// Every VM that was started powers off, one a step.
static bool share_script_off(unsigned int step) {
    if (step < life.vmm_count) {
        life_report(step, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
    }
    return step < life.vmm_count;
}

static void share_dedicated(void *tree) {
    fdt_property_string(tree, "schedule", "dedicated");
    fdt_property_string(tree, "trust", "us");
}

static void share_small(void *tree) {
    fdt_property_u32(tree, "weight", 7);
    fdt_property_u32(tree, "cap", 150);
    fdt_property_string(tree, "trust", "us");
}

static void share_realtime_10(void *tree) {
    fdt_property_string(tree, "schedule", "realtime");
    fdt_property_u64(tree, "budget", 100000000);
    fdt_property_u64(tree, "period", 1000000000);
}

static void share_realtime_80(void *tree) {
    fdt_property_string(tree, "schedule", "realtime");
    fdt_property_u64(tree, "budget", 800000000);
    fdt_property_u64(tree, "period", 1000000000);
}

static const struct life_config share_plain[] = {
    {.name = "plain", .mib = 8}, {.name = "small", .mib = 8, .more = share_small}, {.name = NULL}};

Test(supervisor_share, group_says_what_the_manifest_says) {
    life.cpu_count = 4;
    life_prepare(share_plain, "console=batch", "stay", share_script_off);
    unsigned int handles = life_open_handles();
    cr_assert_eq(life_run(), LIFE_POWERED);
    const struct abi_group *plain = life_group(0);
    cr_assert_eq(plain->weight, ABI_WEIGHT_DEFAULT);
    cr_assert_eq(plain->cap, 0);
    cr_assert_eq(plain->cpus[0], 0xf);
    cr_assert_eq(plain->reserved[0], 0);
    cr_assert_eq(plain->budget, 0);
    cr_assert_eq(plain->domain, 0);
    cr_assert_eq(life_group(1)->weight, 7);
    cr_assert_eq(life_group(1)->cap, 150);
    cr_assert_neq(life_group(1)->domain, 0);
    cr_assert_eq(life_open_handles(), handles + LIFE_KEPT, "the groups are given back");
}

static const struct life_config share_mixed[] = {
    {.name = "tenth", .mib = 8, .vcpus = 1, .more = share_realtime_10},
    {.name = "most", .mib = 8, .vcpus = 1, .more = share_realtime_80},
    {.name = "alone", .mib = 8, .vcpus = 2, .more = share_dedicated},
    {.name = NULL}};

Test(supervisor_share, hardest_to_place_comes_first) {
    life.cpu_count = 4;
    life_prepare(share_mixed, "console=batch", "stay", share_script_off);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_str_eq(life.vmm[0].start.name, "tenth", "they start in the manifest's order");
    cr_assert_eq(life_group(0)->reserved[0], 1, "first fit decreasing: beside the larger one");
    cr_assert_eq(life_group(1)->reserved[0], 1);
    cr_assert_eq(life_group(0)->budget, 100, "ticks");
    cr_assert_eq(life_group(0)->period, 1000);
    cr_assert_eq(life_group(2)->reserved[0], 0xc);
    cr_assert_eq(life_group(2)->budget, 0);
    cr_assert_eq(life_group(2)->cpus[0], 0x3, "its I/O thread");
    cr_assert_eq(life_group(0)->cpus[0], 0x3, "all keep off what is dedicated, from the start");
    cr_assert_eq(life.object[LIFE_OWN].group.cpus[0], 0xf, "and come back in the end");
    cr_assert_eq(life.object[LIFE_OWN].group.weight, 20 * ABI_WEIGHT_DEFAULT);
    cr_assert_eq(life.vmm[2].start.cpu[0], 3);
    cr_assert_eq(life.vmm[2].start.cpu[1], 2);
    cr_assert_eq(life.vmm[0].start.cpu[0], 0);
}

static void share_realtime_90(void *tree) {
    fdt_property_string(tree, "schedule", "realtime");
    fdt_property_u64(tree, "budget", 90000);
    fdt_property_u64(tree, "period", 100000);
}

static const struct life_config share_exact[] = {
    {.name = "exact", .mib = 8, .vcpus = 1, .more = share_realtime_90}, {.name = NULL}};

Test(supervisor_share, rounding_to_ticks_asks_for_no_more_than_was_admitted) {
    life.tsc_hz = 2100015000; // 189001.35 of 210001.5 ticks
    life_prepare(share_exact, "console=batch", "stay", share_script_off);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life_group(0)->period, 210001);
    cr_assert_eq(life_group(0)->budget, 189000);
}

static const struct life_config share_full[] = {
    {.name = "all", .mib = 8, .vcpus = 1, .more = share_realtime_80},
    {.name = "also", .mib = 8, .vcpus = 2, .more = share_realtime_80},
    {.name = NULL}};

Test(supervisor_share, overload_is_refused_in_words) {
    life_prepare(share_full, "console=batch", "stay", share_script_off);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm all: powered off\n");
    life_expect(
        "[bulkhead] vm also: refused: each of its 2 vCPUs wants 80 % of a CPU that is its own; "
        "free: CPU 0 10 %, CPU 1 90 %; lower \"budget\" or \"vcpus\", lengthen \"period\", or "
        "change \"cpus\"\n");
}

Test(supervisor_share, refusal_of_the_kernel_is_told) {
    life.group_result = -ABI_ERROR_MEMORY;
    life_prepare(share_plain, "console=batch", "stay", share_script_off);
    unsigned int handles = life_open_handles();
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect(
        "[bulkhead] vm plain: refused: its virtual machine monitor could not be started: not "
        "enough memory\n");
    cr_assert_eq(life_open_handles(), handles + LIFE_KEPT);
}

static unsigned int share_charges[2];

static unsigned int share_charges_of(unsigned int vm) {
    return life.object[life.object[life.vmm[vm].process].in_group].charges;
}

static bool share_script_prints(unsigned int step) {
    if (step < 5) {
        life_print(0, "hello\n");
        return true;
    }
    if (step == 5) {
        share_charges[0] = share_charges_of(0);
        share_charges[1] = share_charges_of(1);
    }
    return share_script_off(step - 5);
}

Test(supervisor_share, each_service_is_charged_to_its_vms_group_and_no_other) {
    life_prepare(share_plain, "console=batch", "stay", share_script_prints);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_expect_eq(share_charges[0], share_charges[1] + 2 * 5); // the piece, and the service
}
