// SPDX-License-Identifier: Apache-2.0
// vmx/cr.c: what control registers accept.
#include <criterion/criterion.h>

#include "vmx/cr.c"

#define LONG_CR0  (CR0_PE | CR0_PG | CR0_ET | CR0_NE)
#define LONG_EFER (EFER_LME | EFER_LMA)

static const struct cr_features everything = {
    .leaf1_ecx = UINT32_MAX,
    .leaf1_edx = UINT32_MAX,
    .leaf7_ebx = UINT32_MAX,
    .leaf7_ecx = UINT32_MAX,
    .leaf80000001_edx = UINT32_MAX,
};

Test(vmx_cr, features_decide_what_cr4_may_have) {
    const struct cr_features none = {0};
    cr_expect_eq(cr4_allowed(&none), CR4_PCE);
    uint64_t all = cr4_allowed(&everything);
    // PKRU is not among the state that is moved, so no guest may turn keys on.
    cr_expect_eq(all & (CR4_VMXE | CR4_SMXE | CR4_LA57 | CR4_CET | CR4_PKE), 0);
    cr_expect_eq(all & (CR4_PAE | CR4_OSXSAVE | CR4_SMEP | CR4_UMIP),
                 CR4_PAE | CR4_OSXSAVE | CR4_SMEP | CR4_UMIP);
    cr_expect_eq(efer_allowed(&none), 0);
    cr_expect_eq(efer_allowed(&everything), EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
}

// SDM 4 2.1 "Architectural MSRs", IA32_SPEC_CTRL: a bit of CPUID for each.
Test(vmx_cr, features_decide_what_spec_ctrl_may_have) {
    const struct {
        uint32_t leaf7_edx, leaf7_2_edx;
        uint64_t allowed;
    } rows[] = {
        {0, 0, 0},
        {1u << 26, 0, 1},
        {1u << 27, 0, 2},
        {1u << 31, 0, 4},
        {0, 1u << 1, 0x18},
        {0, 1u << 2, 0x60},
        {0, 1u << 0, 0x80},
        {0, 1u << 3, 0x100},
        {0, 1u << 4, 0x400},
        {0, 1u << 5, 0},
        {1u << 28 | 1u << 29 | 1u << 30 | 1u << 10, 0, 0},
        {0xbc000410, 0, 7},        // Ice Lake
        {0xffdd4430, 0x17, 0x4ff}, // Sapphire Rapids
        {UINT32_MAX, UINT32_MAX, 0x5ff},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct cr_features features = {.leaf7_edx = rows[i].leaf7_edx,
                                             .leaf7_2_edx = rows[i].leaf7_2_edx};
        cr_expect_eq(spec_ctrl_allowed(&features), rows[i].allowed, "row %zu", i);
    }
}

Test(vmx_cr, host_masks_hold_what_is_ours) {
    cr_expect_eq(cr0_host_mask(true), CR0_CD | CR0_NW | CR0_NE);
    cr_expect_eq(cr0_host_mask(false), CR0_CD | CR0_NW | CR0_NE | CR0_PE | CR0_PG);
    uint64_t mask = cr4_host_mask(cr4_allowed(&everything));
    cr_expect_eq(mask & (CR4_MCE | CR4_VMXE | CR4_PKE | CR4_LA57),
                 CR4_MCE | CR4_VMXE | CR4_PKE | CR4_LA57);
    cr_expect_eq(mask & (CR4_PGE | CR4_PAE | CR4_SMEP), 0);
    // What CPUID does not show must exit, to fault.
    cr_expect_eq(cr4_host_mask(CR4_PAE) & CR4_SMEP, CR4_SMEP);
}

Test(vmx_cr, merge_takes_our_bits_from_the_shadow) {
    cr_expect_eq(cr_merge(0xf0, 0x0f, 0x3c), 0xcc);
}

Test(vmx_cr, whole_state_must_be_consistent) {
    uint64_t cr4 = cr4_allowed(&everything), efer = efer_allowed(&everything);
    cr_expect(cr_state_is_valid(LONG_CR0, CR4_PAE, LONG_EFER, cr4, efer));
    cr_expect(cr_state_is_valid(LONG_CR0, CR4_PAE | CR4_PCIDE, LONG_EFER, cr4, efer));
    cr_expect(cr_state_is_valid(CR0_ET | CR0_CD | CR0_NW, 0, 0, cr4, efer)); // reset
    cr_expect(cr_state_is_valid(CR0_PE, 0, EFER_LME, cr4, efer));
    cr_expect_not(cr_state_is_valid(LONG_CR0, 0, LONG_EFER, cr4, efer), "no PAE");
    cr_expect_not(cr_state_is_valid(LONG_CR0, CR4_PAE, EFER_LMA, cr4, efer), "LMA without LME");
    cr_expect_not(cr_state_is_valid(LONG_CR0, CR4_PAE, EFER_LME, cr4, efer), "LMA missing");
    cr_expect_not(cr_state_is_valid(CR0_PG, 0, 0, cr4, efer), "PG without PE");
    cr_expect_not(cr_state_is_valid(CR0_NW, 0, 0, cr4, efer), "NW without CD");
    cr_expect_not(cr_state_is_valid(BIT(32) | CR0_PE, 0, 0, cr4, efer), "upper half");
    cr_expect_not(cr_state_is_valid(CR0_PE, CR4_PCIDE, 0, cr4, efer), "PCID outside long mode");
    cr_expect_not(cr_state_is_valid(CR0_PE, CR4_VMXE, 0, cr4, efer), "VMX");
    cr_expect_not(cr_state_is_valid(CR0_PE, 0, BIT(1), cr4, efer), "reserved EFER");
}

Test(vmx_cr, cr0_writes_fault_as_on_a_processor) {
    cr_expect(cr0_write_is_valid(CR0_PE, CR0_PE | CR0_PG, CR4_PAE, EFER_LME, false));
    cr_expect_not(cr0_write_is_valid(CR0_PE, CR0_PE | CR0_PG, 0, EFER_LME, false), "no PAE");
    cr_expect_not(cr0_write_is_valid(CR0_PE, CR0_PE | CR0_PG, CR4_PAE, EFER_LME, true), "CS.L");
    cr_expect(cr0_write_is_valid(CR0_PE, CR0_PE | CR0_PG, 0, 0, false));
    cr_expect_not(cr0_write_is_valid(LONG_CR0, CR0_PE, CR4_PAE, LONG_EFER, true), "64-bit code");
    cr_expect(cr0_write_is_valid(LONG_CR0, CR0_PE, CR4_PAE, LONG_EFER, false));
    cr_expect_not(cr0_write_is_valid(LONG_CR0, CR0_PE, CR4_PAE | CR4_PCIDE, LONG_EFER, false));
    cr_expect(cr0_write_is_valid(LONG_CR0, LONG_CR0 | CR0_CD, CR4_PAE, LONG_EFER, true));
    cr_expect_not(cr0_write_is_valid(LONG_CR0, LONG_CR0 | CR0_NW, CR4_PAE, LONG_EFER, true));
}

Test(vmx_cr, cr4_writes_fault_as_on_a_processor) {
    uint64_t allowed = cr4_allowed(&everything);
    cr_expect(cr4_write_is_valid(CR4_PAE, CR4_PAE | CR4_OSXSAVE, allowed, LONG_EFER, 0x1fff));
    cr_expect_not(cr4_write_is_valid(CR4_PAE, 0, allowed, LONG_EFER, 0), "PAE in long mode");
    cr_expect_not(cr4_write_is_valid(CR4_PAE, CR4_PAE | CR4_VMXE, allowed, LONG_EFER, 0));
    cr_expect_not(cr4_write_is_valid(0, CR4_PCIDE, allowed, 0, 0), "PCID outside long mode");
    cr_expect(cr4_write_is_valid(CR4_PAE, CR4_PAE | CR4_PCIDE, allowed, LONG_EFER, 0x1000));
    cr_expect_not(cr4_write_is_valid(CR4_PAE, CR4_PAE | CR4_PCIDE, allowed, LONG_EFER, 0x1008));
    cr_expect(cr4_write_is_valid(CR4_PAE | CR4_PCIDE, CR4_PAE | CR4_PCIDE, allowed, LONG_EFER, 8));
}

Test(vmx_cr, efer_writes_fault_as_on_a_processor) {
    uint64_t allowed = efer_allowed(&everything);
    cr_expect(efer_write_is_valid(0, EFER_LME | EFER_NXE, allowed, CR0_PE));
    cr_expect_not(efer_write_is_valid(LONG_EFER, EFER_NXE, allowed, LONG_CR0), "LME with PG");
    cr_expect(efer_write_is_valid(LONG_EFER, EFER_LME | EFER_SCE, allowed, LONG_CR0));
    cr_expect_not(efer_write_is_valid(0, EFER_NXE, allowed & ~EFER_NXE, CR0_PE), "no NX");
    cr_expect_not(efer_write_is_valid(0, BIT(12), allowed, CR0_PE), "SVME");
}

Test(vmx_cr, xcr0_keeps_features_together) {
    uint64_t all = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_MPX;
    cr_expect(xcr0_is_valid(XCR0_X87, all));
    cr_expect(xcr0_is_valid(all, all));
    cr_expect_not(xcr0_is_valid(XCR0_SSE, all), "x87 is always on");
    cr_expect_not(xcr0_is_valid(XCR0_X87 | XCR0_AVX, all), "AVX needs SSE");
    cr_expect_not(xcr0_is_valid(XCR0_X87 | XCR0_SSE | XCR0_AVX512, all), "AVX-512 needs AVX");
    cr_expect_not(xcr0_is_valid(XCR0_X87 | XCR0_SSE | XCR0_AVX | BIT(5), all), "all three");
    cr_expect_not(xcr0_is_valid(XCR0_X87 | BIT(3), all), "MPX in pairs");
    cr_expect_not(xcr0_is_valid(XCR0_X87 | XCR0_SSE, XCR0_X87), "not in CPUID");
    cr_expect_not(xcr0_is_valid(XCR0_X87 | BIT(62), all));
}

Test(vmx_cr, pat_has_known_types) {
    cr_expect(pat_is_valid(PAT_RESET));
    cr_expect(pat_is_valid(0));
    cr_expect_not(pat_is_valid(0x02));
    cr_expect_not(pat_is_valid(0x0300));
    cr_expect_not(pat_is_valid(0x08ULL << 56));
}

Test(vmx_cr, canonical_addresses) {
    cr_expect(is_canonical(0));
    cr_expect(is_canonical(0x00007fffffffffff));
    cr_expect(is_canonical(0xffff800000000000));
    cr_expect_not(is_canonical(0x0000800000000000));
    cr_expect_not(is_canonical(0xffff7fffffffffff));
}
