// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/control.c: what control registers accept, and what a reset makes of them.
#include <criterion/criterion.h>
#include <string.h>

#include "vmm/cpu/control.h"

#define LONG_CR0  (CR0_PE | CR0_PG | CR0_ET | CR0_NE)
#define LONG_EFER (EFER_LME | EFER_LMA)
#define LONG_CS   0xa09b
#define CR4_ALL   0x370fffULL // but for LA57, VMXE and SMXE; MCE included

static struct control learn(uint32_t word, uint32_t xcr0) {
    const struct abi_cpuid table[] = {
        {.leaf = 1, .eax = 0x50654, .ecx = word, .edx = word},
        {.leaf = 7, .ebx = word, .ecx = word, .edx = word},
        {.leaf = 7, .subleaf = 1, .edx = ~word},
        {.leaf = 7, .subleaf = 2, .edx = word},
        {.leaf = 0xd, .eax = xcr0},
        {.leaf = 0xd, .subleaf = 1, .eax = UINT32_MAX},
        {.leaf = 0x80000001, .edx = word},
    };
    struct control control = {.has_modes = true};
    control_learn(&control, table, ARRAY_COUNT(table));
    return control;
}

Test(vmm_control, features_decide_what_registers_may_have) {
    struct control none = learn(0, 0), all = learn(UINT32_MAX, 7);
    cr_expect_eq(none.cr4, BIT(8));
    // PKRU is not among the state that is moved, so no guest may turn keys on.
    cr_expect_eq(all.cr4, CR4_ALL);
    cr_expect_eq(none.efer, 0);
    cr_expect_eq(all.efer, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    cr_expect(none.xcr0 == XCR0_X87 && all.xcr0 == 7);
    cr_expect_eq(all.signature, 0x50654);
}

// SDM 4 2.1 "Architectural MSRs", IA32_SPEC_CTRL: a bit of CPUID for each.
Test(vmm_control, features_decide_what_spec_ctrl_may_have) {
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
        const struct abi_cpuid table[] = {
            {.leaf = 7, .edx = rows[i].leaf7_edx},
            {.leaf = 7, .subleaf = 2, .edx = rows[i].leaf7_2_edx},
        };
        struct control control = {0};
        control_learn(&control, table, ARRAY_COUNT(table));
        cr_expect_eq(control.spec_ctrl, rows[i].allowed, "row %zu", i);
    }
}

Test(vmm_control, what_is_without_effect_is_not_the_guests_own) {
    struct control control = learn(UINT32_MAX, 7);
    cr_expect_eq(~control_cr0_own(&control), CR0_CD | CR0_NW | CR0_NE);
    cr_expect_eq(control_cr4_own(&control), CR4_ALL & ~CR4_MCE);
    control.has_modes = false;
    cr_expect_eq(~control_cr0_own(&control), CR0_CD | CR0_NW | CR0_NE | CR0_PE | CR0_PG);
    control.cr4 = CR4_PAE; // what CPUID does not show must leave, to fault
    cr_expect_eq(control_cr4_own(&control), CR4_PAE);
}

static bool cr0(uint64_t old, uint64_t value, uint64_t cr4, uint64_t efer, bool is_long) {
    const struct vcpu_registers r = {
        .cr0 = old, .cr4 = cr4, .efer = efer, .cs.attributes = is_long ? LONG_CS : 0xc09b};
    return control_cr0_is_valid(&r, value);
}

Test(vmm_control, cr0_writes_fault_as_on_a_processor) {
    cr_expect(cr0(CR0_PE, CR0_PE | CR0_PG, CR4_PAE, EFER_LME, false));
    cr_expect_not(cr0(CR0_PE, CR0_PE | CR0_PG, 0, EFER_LME, false), "no PAE");
    cr_expect_not(cr0(CR0_PE, CR0_PE | CR0_PG, CR4_PAE, EFER_LME, true), "CS.L");
    cr_expect(cr0(CR0_PE, CR0_PE | CR0_PG, 0, 0, false));
    cr_expect_not(cr0(CR0_PE, CR0_PG, 0, 0, false), "PG without PE");
    cr_expect_not(cr0(CR0_PE, CR0_PE | CR0_NW, 0, 0, false), "NW without CD");
    cr_expect_not(cr0(CR0_PE, CR0_PE | BIT(32), 0, 0, false), "upper half");
    cr_expect_not(cr0(LONG_CR0, CR0_PE, CR4_PAE, LONG_EFER, true), "64-bit code");
    cr_expect(cr0(LONG_CR0, CR0_PE, CR4_PAE, LONG_EFER, false));
    cr_expect_not(cr0(LONG_CR0, CR0_PE, CR4_PAE | CR4_PCIDE, LONG_EFER, false));
    cr_expect(cr0(LONG_CR0, LONG_CR0 | CR0_CD, CR4_PAE, LONG_EFER, true));
    cr_expect_not(cr0(LONG_CR0, LONG_CR0 | CR0_NW, CR4_PAE, LONG_EFER, true));
}

static bool cr4(uint64_t old, uint64_t value, uint64_t efer, uint64_t cr3) {
    const struct control control = {.cr4 = CR4_ALL};
    const struct vcpu_registers r = {.cr4 = old, .efer = efer, .cr3 = cr3};
    return control_cr4_is_valid(&control, &r, value);
}

Test(vmm_control, cr4_writes_fault_as_on_a_processor) {
    cr_expect(cr4(CR4_PAE, CR4_PAE | BIT(18), LONG_EFER, 0x1fff));
    cr_expect_not(cr4(CR4_PAE, 0, LONG_EFER, 0), "PAE in long mode");
    cr_expect_not(cr4(CR4_PAE, CR4_PAE | BIT(13), LONG_EFER, 0), "VMXE");
    cr_expect_not(cr4(0, CR4_PCIDE, 0, 0), "PCID outside long mode");
    cr_expect(cr4(CR4_PAE, CR4_PAE | CR4_PCIDE, LONG_EFER, 0x1000));
    cr_expect_not(cr4(CR4_PAE, CR4_PAE | CR4_PCIDE, LONG_EFER, 0x1008));
    cr_expect(cr4(CR4_PAE | CR4_PCIDE, CR4_PAE | CR4_PCIDE, LONG_EFER, 8));
}

static bool efer(uint64_t old, uint64_t value, uint64_t may, uint64_t cr0) {
    const struct control control = {.efer = may};
    const struct vcpu_registers r = {.efer = old, .cr0 = cr0};
    return control_efer_is_valid(&control, &r, value);
}

Test(vmm_control, efer_writes_fault_as_on_a_processor) {
    const uint64_t all = EFER_SCE | EFER_NXE | LONG_EFER;
    cr_expect(efer(0, EFER_LME | EFER_NXE, all, CR0_PE));
    cr_expect_not(efer(LONG_EFER, EFER_NXE, all, LONG_CR0), "LME with PG");
    cr_expect(efer(LONG_EFER, EFER_LME | EFER_SCE, all, LONG_CR0));
    cr_expect_not(efer(0, EFER_NXE, all & ~EFER_NXE, CR0_PE), "no NX");
    cr_expect_not(efer(0, BIT(12), all, CR0_PE), "SVME");
}

static bool xcr0(uint64_t value, uint64_t may) {
    const struct control control = {.xcr0 = may};
    return control_xcr0_is_valid(&control, value);
}

Test(vmm_control, xcr0_keeps_features_together) {
    const uint64_t all = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;
    cr_expect(xcr0(XCR0_X87, all));
    cr_expect(xcr0(all, all));
    cr_expect_not(xcr0(XCR0_SSE, all), "x87 is always on");
    cr_expect_not(xcr0(XCR0_X87 | XCR0_AVX, all), "AVX needs SSE");
    cr_expect_not(xcr0(XCR0_X87 | XCR0_SSE | XCR0_AVX512, all), "AVX-512 needs AVX");
    cr_expect_not(xcr0(XCR0_X87 | XCR0_SSE | XCR0_AVX | BIT(5), all), "all three");
    cr_expect_not(xcr0(XCR0_X87 | XCR0_SSE, XCR0_X87), "not in CPUID");
    cr_expect_not(xcr0(XCR0_X87 | BIT(62), all));
}

Test(vmm_control, pat_takes_the_types_that_there_are) {
    cr_expect(control_pat_is_valid(0x0001040506070000));
    for (unsigned byte = 0; byte < 8; byte++)
        for (uint64_t type = 0; type < 256; type++) {
            bool is_valid = type < 8 && type != 2 && type != 3;
            cr_assert_eq(control_pat_is_valid(type << byte * 8), is_valid);
        }
}

Test(vmm_control, debugctl_has_no_records_and_traces) {
    cr_expect(control_debugctl_is_valid(0) && control_debugctl_is_valid(2));
    cr_expect_not(control_debugctl_is_valid(1));
    cr_expect_not(control_debugctl_is_valid(BIT(6)));
}

// SDM 3A 4.4.1 "PDPTE Registers".
Test(vmm_control, pdptes_are_loaded_under_pae_paging) {
    const uint64_t paging = CR0_PE | CR0_PG;
    struct vcpu_registers r = {.cr0 = paging, .cr4 = CR4_PAE};
    cr_expect(control_loads_pdptes(&r, paging, CR4_PAE | CR4_PGE));
    cr_expect(control_loads_pdptes(&r, paging, CR4_PAE | CR4_SMEP));
    cr_expect(control_loads_pdptes(&r, paging, CR4_PAE | CR4_PSE | CR4_MCE));
    cr_expect(control_loads_pdptes(&r, paging | CR0_CD, CR4_PAE));
    cr_expect_not(control_loads_pdptes(&r, paging, CR4_PAE | CR4_MCE));
    cr_expect_not(control_loads_pdptes(&r, paging | CR0_NE, CR4_PAE));
    cr_expect_not(control_loads_pdptes(&r, paging, CR4_PGE), "it turns PAE off");
    cr_expect_not(control_loads_pdptes(&r, CR0_PE, CR4_PAE), "it turns paging off");
    r.cr0 = CR0_PE;
    cr_expect(control_loads_pdptes(&r, paging, CR4_PAE));
    cr_expect_not(control_loads_pdptes(&r, CR0_PE, CR4_PAE | CR4_PGE));
    r.efer = EFER_LME;
    cr_expect_not(control_loads_pdptes(&r, paging, CR4_PAE), "to long mode");
    r.efer = LONG_EFER, r.cr0 = paging;
    cr_expect_not(control_loads_pdptes(&r, paging, CR4_PAE | CR4_PGE));
}

Test(vmm_control, pdptes_have_reserved_bits) {
    cr_expect(control_pdpte_is_valid(0, 36));
    cr_expect(control_pdpte_is_valid(UINT64_MAX & ~BIT(0), 36), "not present");
    cr_expect(control_pdpte_is_valid(0xfffffee19 & ~0x1e0ULL, 36));
    for (unsigned bit = 0; bit < 64; bit++) {
        bool is_reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 36;
        cr_expect_eq(control_pdpte_is_valid(BIT(0) | BIT(bit), 36), !is_reserved, "bit %u", bit);
    }
}

// ---- reset --------------------------------------------------------------------------------------

static void check_reset(const struct vcpu_registers *r) {
    cr_expect_eq(r->rip, 0xfff0);
    cr_expect(r->cs.selector == 0xf000 && r->cs.base == 0xffff0000 && r->cs.limit == 0xffff);
    cr_expect(r->ss.selector == 0 && r->ss.attributes == 0x93 && r->gs.limit == 0xffff);
    cr_expect(r->tr.attributes == 0x8b && r->ldtr.attributes == 0x82);
    cr_expect(r->gdtr.limit == 0xffff && r->idtr.limit == 0xffff && r->idtr.base == 0);
    cr_expect_eq(r->rflags, 2);
    cr_expect(r->dr6 == 0xffff0ff0 && r->dr7 == 0x400 && r->dr[3] == 0);
    cr_expect(r->cr2 == 0 && r->cr3 == 0 && r->cr4 == 0 && r->efer == 0);
    cr_expect(r->interruptibility == 0 && r->has_pending == 0 && r->pending_debug == 0);
    cr_expect(r->debugctl == 0);
    cr_expect(r->gpr[2] == 0x50654 && r->gpr[0] == 0 && r->gpr[15] == 0);
}

Test(vmm_control, power_on_is_the_manuals) {
    struct control control = learn(UINT32_MAX, 7);
    struct vcpu_registers r;
    memset(&r, 0xee, sizeof(r));
    control_power_on(&control, &r);
    check_reset(&r);
    cr_expect_eq(r.cr0, 0x60000010);
    cr_expect_eq(r.pat, 0x0007040600070406ULL);
    cr_expect_eq(r.xcr0, 1);
    cr_expect(r.star == 0 && r.lstar == 0 && r.cstar == 0 && r.sfmask == 0);
    cr_expect(r.kernel_gs_base == 0 && r.tsc_aux == 0 && r.spec_ctrl == 0);
    cr_expect(r.sysenter_cs == 0 && r.sysenter_esp == 0 && r.sysenter_eip == 0);
    cr_expect(r.cr0_own == control_cr0_own(&control) && r.cr4_own == control_cr4_own(&control));
    cr_expect_eq(r.spec_ctrl_own, 0x5ff);
    cr_expect_eq(r.tsc, 0xeeeeeeeeeeeeeeeeULL, "time goes on");
    control.signature = 0;
    control_power_on(&control, &r);
    cr_expect_eq(r.gpr[2], 0x600);
}

// SDM 3A Table 10-1.
Test(vmm_control, init_keeps_what_the_manual_says) {
    struct control control = learn(UINT32_MAX, 7);
    struct vcpu_registers r;
    memset(&r, 0xee, sizeof(r));
    r.cr0 = CR0_PE | CR0_PG | CR0_CD;
    control_init(&control, &r);
    check_reset(&r);
    cr_expect_eq(r.cr0, CR0_CD | CR0_ET);
    const uint64_t kept[] = {r.pat,          r.star,     r.lstar,          r.cstar,
                             r.sfmask,       r.xcr0,     r.kernel_gs_base, r.sysenter_cs,
                             r.sysenter_esp, r.tsc_aux,  r.spec_ctrl,      r.cr0_own,
                             r.cr4_own,      r.apic_base};
    for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
        cr_expect_eq(kept[i], 0xeeeeeeeeeeeeeeeeULL, "member %zu", i);
}

Test(vmm_control, sipi_names_a_page) {
    struct control control = learn(UINT32_MAX, 7);
    struct vcpu_registers r = {0};
    control_init(&control, &r);
    control_sipi(&r, 0x9a);
    cr_expect(r.cs.selector == 0x9a00 && r.cs.base == 0x9a000 && r.rip == 0);
    cr_expect_eq(r.cs.attributes, 0x9b);
}

Test(vmm_control, refused_state_is_named) {
    const struct control control = {.cr4 = CR4_PAE | CR4_PGE, .efer = EFER_LME | EFER_NXE};
    const struct vcpu_registers good = {.cr0 = CR0_PE | CR0_PG,
                                        .cr3 = BIT(39),
                                        .cr4 = CR4_PAE,
                                        .efer = EFER_LME | EFER_LMA,
                                        .cs.attributes = 0xa09b,
                                        .has_pending = 1,
                                        .pending = {.vector = 0x80}};
    const char *const names[] = {"CR0",
                                 "CR0.PE",
                                 "CR3",
                                 "CR4",
                                 "CR4.PAE",
                                 "EFER",
                                 "CS.L and CS.D",
                                 "DR6 or DR7",
                                 "the event that is pending",
                                 "a segment or an address"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct vcpu_registers r = good;
        r.cr0 ^= i == 0 ? BIT(40) : i == 1 ? CR0_PE : 0;
        r.cr3 |= i == 2 ? BIT(40) : 0;
        r.cr4 ^= i == 3 ? CR4_SMEP : i == 4 ? CR4_PAE : 0;
        r.efer |= i == 5 ? BIT(12) : 0;
        r.cs.attributes ^= i == 6 ? 0x4000 : 0;
        r.dr7 = i == 7 ? BIT(32) : 0;
        r.pending.type = i == 8 ? 1 : 0;
        cr_expect_str_eq(control_find_wrong(&control, &r, 40), names[i]);
    }
}

Test(vmm_control, event_that_can_be_delivered_is_not_blamed) {
    const struct {
        struct vcpu_inject event;
        bool is_wrong;
    } cases[] = {
        {{.vector = 0xff, .type = 0}, false},
        {{.vector = 0xff, .type = 0, .has_error = 1}, true},
        {{.vector = 2, .type = 2}, false},
        {{.vector = 3, .type = 2}, true},
        {{.vector = 14, .type = 3, .has_error = 1}, false},
        {{.vector = 6, .type = 3, .has_error = 1}, true},
        {{.vector = 6, .type = 3}, false},
        {{.vector = 2, .type = 3}, true},
        {{.vector = 32, .type = 3}, true},
        {{.vector = 0x80, .type = 4}, false},
        {{.vector = 1, .type = 5}, false},
        {{.vector = 3, .type = 6}, false},
        {{.vector = 3, .type = 6, .has_error = 1}, true},
        {{.type = 7}, true},
    };
    const struct control control = {0};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct vcpu_registers r = {.has_pending = 1, .pending = cases[i].event};
        bool is_blamed = strstr(control_find_wrong(&control, &r, 40), "event") != NULL;
        cr_expect_eq(is_blamed, cases[i].is_wrong, "case %u", i);
    }
}
