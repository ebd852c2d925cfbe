// SPDX-License-Identifier: Apache-2.0
// boot/boot_maps.c: each MSR that the maps have, by an expectation of its own.
#include <criterion/criterion.h>
#include <string.h>

#include "boot/boot_maps.h"
#include "lib/types.h"

static uint8_t bitmaps[VMX_BITMAPS][BOOT_PAGE];
static uint8_t maps[SVM_MAP_PAGES][BOOT_PAGE];
static struct vmx_caps vmx;
static struct svm_caps svm;
static bool has_la57;

Test(boot_maps, rules_are_sorted) {
    for (uint32_t i = 0; i < boot_msr_rule_count; i++) {
        const struct msr_rule *rule = &boot_msr_rules[i];
        cr_expect(rule->first <= rule->last && rule->pass != 0 && (rule->pass & ~3u) == 0);
        cr_expect(rule->last < 0x2000 || (rule->first >= 0xc0000000 && rule->last < 0xc0002000));
        if (i == 0 || rule->first > rule[-1].last)
            continue;
        cr_expect(rule->first == rule[-1].first && rule->last == rule[-1].last, "row %u", i);
        cr_expect_eq(rule->pass & rule[-1].pass, 0, "row %u", i);
    }
}

static bool is_in(uint32_t msr, uint32_t first, uint32_t last) {
    return msr >= first && msr <= last;
}

// What the processor, the guest or an address's width decides.
struct given {
    bool has_rdtscp, has_pred_cmd, has_spec_ctrl, is_wide;
};

// Bit 0: reads pass; bit 1: writes do. What both vendors have.
static unsigned expect_common(uint32_t msr, struct given given) {
    switch (msr) {
    case 0x48:
        return given.has_spec_ctrl ? 3 : 0;
    case 0x49:
        return given.has_pred_cmd ? 2 : 0;
    case 0xc0000103:
        return given.has_rdtscp ? 3 : 0;
    }
    if (is_in(msr, 0x175, 0x176) || is_in(msr, 0xc0000082, 0xc0000083) ||
        is_in(msr, 0xc0000100, 0xc0000102))
        return given.is_wide ? 1 : 3;
    return msr == 0x174 || msr == 0xc0000081 || msr == 0xc0000084 ? 3 : 0;
}

// SDM 3C 30.5: with the page of registers reads of what it holds, and writes of TPR, EOI, SELF IPI.
static unsigned expect_apic(uint32_t msr) {
    if (msr == 0x808)
        return 3;
    if (vmx.apic < APIC_REGISTERS)
        return 0;
    if (msr == 0x80b || msr == 0x83f)
        return 2;
    return is_in(msr, 0x802, 0x803) || msr == 0x80a || msr == 0x80d || is_in(msr, 0x80f, 0x828) ||
                   is_in(msr, 0x832, 0x838) || msr == 0x83e
               ? 1
               : 0;
}

static unsigned expect_vmx(uint32_t msr, bool is_apic_open, bool is_spec_open) {
    if (msr == 0x10)
        return 1;
    if (msr == 0x277)
        return 3;
    if (msr == 0x10b)
        return vmx.has_flush_cmd ? 2 : 0;
    if (is_in(msr, 0x800, 0x8ff))
        return is_apic_open ? expect_apic(msr) : 0;
    return expect_common(msr,
                         (struct given){vmx.has_rdtscp, vmx.has_pred_cmd, is_spec_open, has_la57});
}

static unsigned is_clear(const uint8_t *map, uint32_t bit) {
    return ~(unsigned)map[bit / 8] >> bit % 8 & 1u;
}

// SDM 3C 25.6.9: reads of the lower MSRs, of the higher ones, writes of the lower, of the higher.
static unsigned get_vmx(const uint8_t *page, uint32_t msr) {
    const uint8_t *part = page + (msr < 0x2000 ? 0 : 1024);
    uint32_t bit = msr & 0x1fff;
    return is_clear(part, bit) | is_clear(part + 2048, bit) << 1;
}

static void check_vmx(void) {
    boot_maps_fill_vmx(bitmaps, &vmx, has_la57);
    for (unsigned which = 0; which < VMX_BITMAPS; which++) {
        bool apic = which & VMX_BITMAP_APIC, spec = which & VMX_BITMAP_SPEC;
        for (uint32_t i = 0; i < 0x4000; i++) {
            uint32_t msr = i < 0x2000 ? i : 0xc0000000 + (i - 0x2000);
            cr_assert_eq(get_vmx(bitmaps[which], msr), expect_vmx(msr, apic, spec),
                         "MSR %#x, bitmap %u", msr, which);
        }
    }
}

Test(boot_maps, with_vtx_what_is_not_named_exits) {
    for (unsigned bits = 0; bits < 64; bits++) {
        vmx.has_rdtscp = bits & 1;
        vmx.has_pred_cmd = bits & 2;
        vmx.has_flush_cmd = bits & 4;
        has_la57 = bits & 8;
        vmx.apic = (enum apic_level)(bits >> 4);
        check_vmx();
    }
}

// APM 2 15.11: two bits an MSR, reads first, in three parts.
static unsigned get_svm(uint32_t msr) {
    uint32_t part = msr < 0x2000 ? 0 : msr < 0xc0002000 ? 0x800 : 0x1000;
    const uint8_t *map = maps[SVM_IOPM_PAGES] + part;
    uint32_t bit = (msr & 0x1fff) * 2;
    return is_clear(map, bit) | is_clear(map, bit + 1) << 1;
}

static unsigned expect_svm(uint32_t msr) {
    return expect_common(
        msr, (struct given){svm.has_rdtscp, svm.has_pred_cmd, svm.has_spec_ctrl, false});
}

Test(boot_maps, with_amd_v_what_is_not_named_exits) {
    for (unsigned bits = 0; bits < 8; bits++) {
        svm.has_rdtscp = bits & 1;
        svm.has_pred_cmd = bits & 2;
        svm.has_spec_ctrl = bits & 4;
        boot_maps_fill_svm(maps, &svm);
        for (uint32_t i = 0; i < 0x2000; i++) {
            cr_assert_eq(get_svm(i), expect_svm(i), "MSR %#x", i);
            cr_assert_eq(get_svm(0xc0000000 + i), expect_svm(0xc0000000 + i), "MSR %#x",
                         0xc0000000 + i);
            cr_assert_eq(get_svm(0xc0010000 + i), 0, "MSR %#x", 0xc0010000 + i);
        }
        for (unsigned i = 0x1800; i < 0x2000; i++)
            cr_assert_eq(((const uint8_t *)(maps + SVM_IOPM_PAGES))[i], 0xff, "reserved");
    }
}

Test(boot_maps, every_port_exits) {
    boot_maps_fill_svm(maps, &svm);
    for (unsigned i = 0; i < SVM_IOPM_PAGES * BOOT_PAGE; i++)
        cr_assert_eq(((const uint8_t *)maps)[i], 0xff);
}
