// SPDX-License-Identifier: Apache-2.0
// boot/boot_svm.c: what is made of AMD-V's CPUID leaf, and what is in the way.
#include <criterion/criterion.h>
#include <string.h>

#include "boot/boot_svm.h"
#include "boot/boot_vmx.h"
#include "lib/types.h"

static uint64_t vm_cr;
static uint32_t asids, flags, last_extended, last_basic;
static struct platform platform;
static struct boot_info info;

static struct boot_cpuid read_cpuid(uint32_t number, uint32_t subleaf) {
    struct boot_cpuid r = {0};
    (void)subleaf;
    cr_assert(number <= (number & 0x80000000 ? last_extended : last_basic), "leaf %#x", number);
    if ((number & 0x7fffffff) == 0)
        r.eax = number != 0 ? last_extended : last_basic;
    else if (number == 7)
        r.ebx = BIT(10);
    else if (number == 0x80000008)
        r.ebx = BIT(4) | BIT(12);
    else if (number == 0x8000000a)
        r = (struct boot_cpuid){.eax = 1, .ebx = asids, .edx = flags};
    return r;
}

static uint64_t read_msr(uint32_t msr) {
    cr_assert_eq(msr, 0xc0010114);
    return vm_cr;
}

static void read_paper(void) {
    const struct boot_processor cpu = {.cpuid = read_cpuid, .rdmsr = read_msr};
    info.refusal[0] = '\0';
    memset(info.report, 0, sizeof(info.report));
    boot_vmx_read(&cpu, &info);
    boot_svm_read(&cpu, &info);
    boot_vmx_report(&info);
    boot_svm_report(&info);
}

static void set_up(void) {
    vm_cr = 0;
    asids = 0x8000;
    flags = 0x1bcff | BIT(20); // EPYC
    last_basic = 0xd;
    last_extended = 0x8000001f;
    info = (struct boot_info){.platform = &platform};
    info.features =
        (struct cpu_features){.has_svm = true, .has_1g_pages = true, .has_rdtscp = true};
}

static bool says(const char *text) {
    for (const char *line = info.report; *line != '\0'; line += strlen(line) + 1)
        if (strstr(line, text) != NULL)
            return true;
    return false;
}

TestSuite(boot_svm, .init = set_up);

Test(boot_svm, fills_what_the_kernel_gets) {
    read_paper();
    const struct svm_caps *caps = &info.svm;
    cr_expect_str_eq(info.refusal, "");
    cr_expect_eq(caps->asid_count, 0x8000);
    cr_expect(caps->has_next_rip && caps->has_decode_assists);
    cr_expect(caps->has_clean_bits && caps->has_tsc_ratio && caps->has_pause_filter);
    cr_expect(caps->has_rdtscp && caps->has_invpcid && caps->has_rdpru);
    cr_expect(caps->has_spec_ctrl && caps->has_pred_cmd);
    cr_expect(info.features.has_unrestricted_guest && info.features.has_tsc_scaling);
    cr_expect_str_eq(info.report, "AMD-V: nested pages 4K 2M 1G, 32768 ASIDs, next RIP, decode "
                                  "assists, clean bits, PAUSE filter, TSC ratio");
}

// Each by its own bit of EDX.
Test(boot_svm, features_follow_their_bits) {
    flags = 1;
    read_paper();
    cr_expect_str_eq(info.refusal, "");
    const struct svm_caps *caps = &info.svm;
    cr_expect_not(caps->has_next_rip || caps->has_decode_assists || caps->has_clean_bits ||
                  caps->has_tsc_ratio || caps->has_pause_filter || caps->has_spec_ctrl);
    cr_expect_not(info.features.has_tsc_scaling);
    cr_expect(says("no decode assists") && says("no PAUSE filter") && says("no TSC ratio"));
    flags = 1 | BIT(3);
    read_paper();
    cr_expect(caps->has_next_rip && !caps->has_decode_assists);
    flags = 1 | BIT(7);
    read_paper();
    cr_expect_not(caps->has_decode_assists, "without the length they are no use");
    flags = 1 | BIT(4);
    read_paper();
    cr_expect(caps->has_tsc_ratio && info.features.has_tsc_scaling);
    flags = 1 | BIT(5);
    read_paper();
    cr_expect(caps->has_clean_bits);
    flags = 1 | BIT(10);
    read_paper();
    cr_expect_not(caps->has_pause_filter, "no threshold");
    flags = 1 | BIT(12);
    read_paper();
    cr_expect_not(caps->has_pause_filter);
    flags = 1 | BIT(20);
    read_paper();
    cr_expect(caps->has_spec_ctrl);
}

Test(boot_svm, leaves_that_are_not_there_are_not_read) {
    last_basic = 1;
    last_extended = 0x8000000a;
    read_paper();
    cr_expect_not(info.svm.has_invpcid);
    last_extended = 0x80000004;
    read_paper();
    cr_expect_not_null(strstr(info.refusal, "no nested paging"), "%s", info.refusal);
}

Test(boot_svm, names_what_is_in_the_way) {
    vm_cr = BIT(3) | BIT(4);
    read_paper();
    cr_expect_not_null(strstr(info.refusal, "locked off by the firmware"), "%s", info.refusal);
    cr_expect_str_eq(info.report, "", "nothing is used");
    vm_cr = BIT(4); // the kernel turns it on
    read_paper();
    cr_expect_str_eq(info.refusal, "");
    vm_cr = BIT(3); // locked on
    read_paper();
    cr_expect_str_eq(info.refusal, "");
    flags &= ~1u;
    read_paper();
    cr_expect_not_null(strstr(info.refusal, "no nested paging"), "%s", info.refusal);
    cr_expect_str_eq(info.report, "");
    flags |= 1;
    asids = 1;
    read_paper();
    cr_expect_not_null(strstr(info.refusal, "1 ASIDs"), "%s", info.refusal);
    asids = 2;
    read_paper();
    cr_expect_str_eq(info.refusal, "");
}

Test(boot_svm, without_either_the_machine_has_no_guests) {
    info.features.has_svm = false;
    read_paper();
    cr_expect_not_null(strstr(info.refusal, "neither VT-x nor AMD-V"), "%s", info.refusal);
    cr_expect_str_eq(info.report, "");
    cr_expect_eq(info.svm.asid_count, 0);
}
