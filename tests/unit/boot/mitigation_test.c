// SPDX-License-Identifier: Apache-2.0
// boot/boot_mitigation: which barriers a CPU needs and has, and what is said of them.
#include <criterion/criterion.h>
#include <string.h>

#include "boot/boot_features.h"

static struct boot_cpuid paper_leaf1, paper_leaf7, paper_leaf7_2, paper_amd, paper_amd_21;
static uint32_t last_extended = 0x80000008;
static uint64_t paper_capabilities;
static unsigned rdmsr_count;
static struct platform platform;
static struct boot_info info = {.platform = &platform};

static struct boot_cpuid paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    cr_assert(subleaf == 0 || (leaf == 7 && subleaf == 2 && paper_leaf7.eax >= 2));
    if (subleaf == 2)
        return paper_leaf7_2;
    switch (leaf) {
    case 1:
        return paper_leaf1;
    case 0:
        return (struct boot_cpuid){0x16, 0, 0, 0};
    case 0x80000000:
        return (struct boot_cpuid){last_extended, 0, 0, 0};
    case 0x80000021:
        cr_assert_geq(last_extended, 0x80000021);
        return paper_amd_21;
    case 7:
        return paper_leaf7;
    default:
        return paper_amd;
    }
}

static uint64_t paper_rdmsr(uint32_t msr) {
    cr_assert_eq(msr, 0x10a);
    rdmsr_count++;
    return paper_capabilities;
}

#define SPEC_CTRL (1u << 26)
#define STIBP     (1u << 27)
#define L1D       (1u << 28)
#define ARCH_CAPS (1u << 29)
#define MD_CLEAR  (1u << 10)
#define RTM       (1u << 11)

static uint32_t bhi;                // CPUID.7.2:EDX
static struct boot_hazards hazards; // of who was judged last

static struct mitigation intel(uint32_t ebx, uint32_t edx, uint64_t capabilities) {
    const struct boot_speculation cpu = {.is_intel = true,
                                         .leaf7 = {.ebx = ebx, .edx = edx},
                                         .leaf7_2 = {.edx = bhi},
                                         .capabilities = capabilities};
    return boot_mitigation_judge(&cpu, &hazards);
}

static bool needs_verw(uint32_t ebx, uint32_t edx, uint64_t capabilities) {
    (void)intel(ebx, edx, capabilities);
    return hazards.needs_verw;
}

static struct mitigation amd(uint32_t family, uint32_t ebx_8, uint32_t eax_21) {
    const struct boot_speculation cpu = {
        .family = family, .amd = {.ebx = ebx_8}, .amd_21 = {.eax = eax_21}};
    return boot_mitigation_judge(&cpu, &hazards);
}

// Nehalem as it was sold, with no microcode of 2018.
Test(boot_mitigation, old_intel_needs_all_and_has_none) {
    struct mitigation m = intel(0, 0, 0);
    cr_expect(hazards.needs_verw && m.needs_l1d_flush && m.has_page_hazard);
    cr_expect_not(m.has_ibpb || m.has_verw || m.has_l1d_flush || hazards.has_enhanced_ibrs);
}

Test(boot_mitigation, skylake_with_microcode_has_all_but_enhanced_ibrs) {
    struct mitigation m = intel(RTM, SPEC_CTRL | STIBP | L1D | MD_CLEAR, 0);
    cr_expect(hazards.needs_verw && m.needs_l1d_flush);
    cr_expect(m.has_ibpb && m.has_verw && m.has_l1d_flush);
    cr_expect_not(hazards.has_enhanced_ibrs);
}

Test(boot_mitigation, cascade_lake_needs_verw_for_tsx_alone) {
    const uint64_t caps = 0x2b; // RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, MDS_NO
    const uint32_t edx = SPEC_CTRL | L1D | ARCH_CAPS | MD_CLEAR;
    cr_expect(needs_verw(RTM, edx, caps));
    cr_expect_not(needs_verw(0, edx, caps));
    cr_expect_not(needs_verw(RTM, edx, caps | 1 << 8)); // TAA_NO
    struct mitigation m = intel(RTM, edx, caps);
    cr_expect(hazards.has_enhanced_ibrs && m.has_page_hazard && !m.needs_l1d_flush);
    cr_expect_not(intel(RTM, edx, caps | 1 << 6).has_page_hazard);
}

// Register file data sampling: a CPU without the older faults whose VERW was taught to empty
// buffers again.
Test(boot_mitigation, late_stale_data_needs_and_has_verw) {
    struct mitigation m = intel(0, SPEC_CTRL | ARCH_CAPS, 0x16b | 1ULL << 28);
    cr_expect(hazards.needs_verw && m.has_verw);
    m = intel(0, SPEC_CTRL | ARCH_CAPS, 0x16b);
    cr_expect_not(hazards.needs_verw || m.has_verw);
}

// An outer hypervisor does the flush for its guest: either bit says so.
Test(boot_mitigation, l1d_flush_is_not_needed_where_somebody_else_does_it) {
    cr_expect_not(intel(0, SPEC_CTRL | L1D | ARCH_CAPS, 1 << 3).needs_l1d_flush);
    cr_expect_not(intel(0, SPEC_CTRL | L1D | ARCH_CAPS, 1 << 0).needs_l1d_flush);
}

Test(boot_mitigation, amd_needs_predictors_alone) {
    struct mitigation m = amd(0x10, 1 << 12, 0);
    cr_expect(m.has_ibpb && m.spec_ctrl == 0);
    cr_expect_not(hazards.needs_verw || m.needs_l1d_flush || m.has_page_hazard || m.has_verw);
    cr_expect(m.stuffs_rsb && !m.splits_tables && !m.clears_bhb);
    cr_expect_not(hazards.has_enhanced_ibrs || m.has_auto_ibrs || hazards.has_return_hazard);
    cr_expect_not(amd(0x10, 0, 0).has_ibpb);
}

// TSA: Zen 3 and 4, and what an outer hypervisor says of them.
Test(boot_mitigation, amd_empties_buffers_where_the_cpu_is_not_free_of_tsa) {
    const struct {
        uint32_t family, eax_21, ecx_21;
        bool has;
    } cases[] = {
        {0x17, 0, 0, false},     {0x19, 0, 0, true},       {0x19, 0, 1 << 1, true},
        {0x19, 0, 1 << 2, true}, {0x19, 0, 3 << 1, false}, {0x1a, 0, 0, false},
        {0x1a, 1 << 5, 0, true}, {0x0f, 1 << 5, 6, false},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct boot_speculation cpu = {
            .family = cases[i].family, .amd_21 = {.eax = cases[i].eax_21, .ecx = cases[i].ecx_21}};
        struct mitigation m = boot_mitigation_judge(&cpu, &hazards);
        cr_expect_eq(hazards.needs_verw, cases[i].has, "case %u", i);
        cr_expect(m.has_verw == hazards.needs_verw && m.empties_for_users == hazards.needs_verw);
    }
    const struct boot_speculation intel = {
        .is_intel = true, .capabilities = 1 << 5, .family = 0x19, .amd_21 = {.eax = 1 << 5}};
    cr_expect_not(boot_mitigation_judge(&intel, &hazards).has_verw, "leaf 80000021H is AMD's");
}

// Zen 4: EFER's bit stands in for IA32_SPEC_CTRL's, which Intel's CPUs alone take from there.
Test(boot_mitigation, automatic_ibrs_is_amds) {
    struct mitigation m = amd(0x19, 0, 1 << 8);
    cr_expect(m.has_auto_ibrs && hazards.has_enhanced_ibrs && m.spec_ctrl == 0);
    const struct boot_speculation intel = {.is_intel = true, .amd_21 = {.eax = 1 << 8}};
    cr_expect_not(boot_mitigation_judge(&intel, &hazards).has_auto_ibrs);
}

Test(boot_mitigation, returns_are_steered_but_where_the_cpu_says_not) {
    const uint32_t btc_no = 1 << 29, srso_no = 1 << 29;
    const struct {
        uint32_t family, ebx_8, eax_21;
        bool has;
    } cases[] = {
        {0, 0, 0, false},
        {0x10, 0, 0, false},
        {0x14, 0, 0, false},
        {0x15, 0, 0, true},
        {0x15, btc_no, 0, false},
        {0x16, 0, 0, true},
        {0x17, btc_no, 0, true},
        {0x17, 0, srso_no, true},
        {0x17, btc_no, srso_no, false},
        {0x18, btc_no, 0, true},
        {0x19, 0, 0, true},
        {0x19, 0, srso_no, false}, // Zen 3 and 4; and Zen 4c
        {0x1a, 0, 0, true},
        {0x1a, 0, srso_no, false},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)amd(cases[i].family, cases[i].ebx_8, cases[i].eax_21);
        cr_expect_eq(hazards.has_return_hazard, cases[i].has, "case %u", i);
    }
}

// "Meltdown": who does not say that it is free of it is not, also under a hypervisor that hides the
// register.
Test(boot_mitigation, tables_are_split_where_ring_3_could_read_through) {
    cr_expect(intel(0, SPEC_CTRL, 0).splits_tables);
    cr_expect(intel(0, SPEC_CTRL | ARCH_CAPS, 0x2a).splits_tables);
    cr_expect_not(intel(0, SPEC_CTRL | ARCH_CAPS, 1).splits_tables);
}

Test(boot_mitigation, branch_history_is_cut_off_where_the_cpu_can) {
    const uint64_t eibrs = 0x6b, bhi_no = 1 << 20;
    struct mitigation m = intel(0, SPEC_CTRL | ARCH_CAPS, eibrs);
    cr_expect(m.spec_ctrl == 1 && m.clears_bhb, "Ice Lake");
    m = intel(0, SPEC_CTRL | ARCH_CAPS, eibrs | bhi_no);
    cr_expect(m.spec_ctrl == 1 && !m.clears_bhb);
    bhi = 1 << 4;
    m = intel(0, SPEC_CTRL | ARCH_CAPS, eibrs);
    cr_expect(m.spec_ctrl == 0x401 && !m.clears_bhb, "Sapphire Rapids");
    bhi = 0xf & ~(1u << 4); // its neighbours
    cr_expect_eq(intel(0, SPEC_CTRL | ARCH_CAPS, eibrs).spec_ctrl, 1);
    bhi = 0;
    cr_expect_not(intel(0, SPEC_CTRL, 0).clears_bhb,
                  "without enhanced IBRS that is not what is missing");
}

// Cascade Lake with TSX, and Alder Lake's RFDS: ring 3 on tables that are not split.
Test(boot_mitigation, buffers_are_empty_for_ring_3_where_its_way_out_is_the_plain_one) {
    const uint32_t edx = SPEC_CTRL | ARCH_CAPS;
    cr_expect(intel(RTM, edx | MD_CLEAR, 0x2b).empties_for_users);
    cr_expect(intel(0, edx, 0x16b | 1ULL << 28).empties_for_users);
    cr_expect_not(intel(0, edx | MD_CLEAR, 0x16b).empties_for_users, "nothing leaks");
    cr_expect_not(intel(RTM, edx, 0x2b).empties_for_users, "VERW empties nothing");
    cr_expect_not(intel(RTM, SPEC_CTRL | MD_CLEAR, 0).empties_for_users, "arch/split.S does it");
}

static bool says(const char *text) {
    bool is_said = false;
    for (const char *line = info.report; *line != '\0'; line += strlen(line) + 1)
        is_said |= strstr(line, text) != NULL;
    return is_said;
}

static const struct mitigation *boot(uint32_t ebx, uint32_t edx, uint64_t capabilities) {
    const struct boot_processor cpu = {.cpuid = paper_cpuid, .rdmsr = paper_rdmsr};
    memset(info.report, 0, sizeof(info.report));
    info.features.is_intel = true;
    paper_leaf7.ebx = ebx;
    paper_leaf7.edx = edx;
    paper_capabilities = capabilities;
    boot_mitigation_read(&cpu, &info);
    boot_mitigation_report(&info);
    return &info.mitigation;
}

Test(boot_mitigation, history_is_cleared_by_instructions_where_no_bit_does) {
    cr_expect(boot(0, SPEC_CTRL | ARCH_CAPS, 0x6b)->clears_bhb);
    cr_expect(says("branch history is cleared by instructions"));
    paper_leaf7.eax = 2;
    paper_leaf7_2.edx = 1 << 4;
    cr_expect_eq(boot(0, SPEC_CTRL | ARCH_CAPS, 0x6b)->spec_ctrl, 0x401);
    cr_expect(says("BHI_DIS_S") && !says("branch history"));
}

Test(boot_mitigation, capabilities_are_read_only_where_they_exist) {
    cr_expect(boot(0, SPEC_CTRL | MD_CLEAR | L1D, 0x2b)->needs_l1d_flush && rdmsr_count == 0);
    cr_expect(!boot(0, SPEC_CTRL | MD_CLEAR | L1D | ARCH_CAPS, 0x2b)->needs_l1d_flush);
    cr_expect(rdmsr_count == 1 && info.mitigation.spec_ctrl == 1);
}

Test(boot_mitigation, report_names_what_is_missing) {
    boot(0, 0, 0);
    cr_expect(says("missing: IBPB VERW L1D flush (") && says("missing: enhanced IBRS"));
    boot(0, SPEC_CTRL | MD_CLEAR | L1D | ARCH_CAPS, 0x6b | 1 << 20);
    cr_expect_not(says("missing"));
    cr_expect_str_eq(info.report,
                     "side channels: between domains: return stack, IBPB, VERW; enhanced IBRS");
}

Test(boot_mitigation, off_is_off_and_said) {
    struct mitigation off = {.is_off = true};
    strcpy(platform.start.cmdline, "console=batch mitigations=off x=1");
    cr_expect_arr_eq(boot(RTM, SPEC_CTRL | MD_CLEAR | L1D, 0), &off, sizeof(off));
    cr_expect(says("mitigations=off"));
    // What the CPU is does not change by it.
    boot(0, SPEC_CTRL | ARCH_CAPS, 0x6b);
    cr_expect(info.mitigation.capabilities == 0x6b && !info.mitigation.splits_tables);
    cr_expect_eq(info.mitigation.spec_ctrl, 0);
    strcpy(platform.start.cmdline, "mitigations=offx xmitigations=off");
    cr_expect_not(boot(0, 0, 0)->is_off, "other words");
}

Test(boot_mitigation, split_says_so_and_uses_pcids) {
    paper_leaf1.ecx = 1 << 17;
    cr_expect_not(boot(0, SPEC_CTRL | ARCH_CAPS, 0x6b)->has_pcid, "nothing to tell apart");
    cr_expect(boot(0, SPEC_CTRL, 0)->has_pcid);
    cr_expect(says("page tables are split"));
    paper_leaf1.ecx = 0;
    cr_expect_not(boot(0, SPEC_CTRL, 0)->has_pcid);
}

// The families by CPUID leaf 1: K8, Barcelona, Griffin, Bulldozer, Zen, Hygon's, Zen 4.
Test(boot_mitigation, lfence_needs_a_bit_on_amd_that_does_not_say_otherwise) {
    const struct boot_processor cpu = {.cpuid = paper_cpuid, .rdmsr = paper_rdmsr};
    const struct {
        uint32_t signature, last, eax_21, ecx;
        bool is_intel, needs;
    } cases[] = {
        {0x00000f48, 0x80000018, 0, 0, false, false},
        {0x00100f22, 0x8000001a, 0, 0, false, true},
        {0x00200f31, 0x8000001a, 0, 0, false, false},
        {0x00600f12, 0x8000001e, 0, 0, false, true},
        {0x00800f11, 0x8000001f, 0, 0, false, true},
        {0x00900f01, 0x8000001f, 0, 0, false, true},
        {0x00a10f11, 0x80000028, 1 << 2, 0, false, false}, // always
        {0x00a10f11, 0x80000028, ~(1u << 2), 0, false, true},
        {0x00800f11, 0x8000001f, 0, 1u << 31, false, false}, // below a hypervisor
        {0x00400f01, 0x80000008, 0, 0, true, false},
        {0x000006f6, 0x80000008, 0, 0, false, false}, // who is neither
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        paper_leaf1 = (struct boot_cpuid){.eax = cases[i].signature, .ecx = cases[i].ecx};
        paper_amd_21.eax = cases[i].eax_21;
        last_extended = cases[i].last;
        info.features.is_intel = cases[i].is_intel;
        boot_mitigation_read(&cpu, &info);
        cr_expect_eq(info.mitigation.needs_lfence_bit, cases[i].needs, "case %u", i);
    }
}

Test(boot_mitigation, returns_that_guests_can_train_are_named) {
    const struct boot_processor cpu = {.cpuid = paper_cpuid, .rdmsr = paper_rdmsr};
    const struct {
        uint32_t signature, eax_21;
        bool is_named;
    } cases[] = {
        {0x00500f20, 0, false},       // 14H
        {0x00800f11, 0, true},        // Zen
        {0x00a10f11, 0, true},        // Zen 4
        {0x00a10f11, 1 << 29, false}, // SRSO_NO
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        paper_leaf1 = (struct boot_cpuid){.eax = cases[i].signature};
        paper_amd_21.eax = cases[i].eax_21;
        last_extended = 0x80000028;
        memset(info.report, 0, sizeof(info.report));
        boot_mitigation_read(&cpu, &info);
        boot_mitigation_report(&info);
        cr_expect_eq(says("retbleed, SRSO/Inception ("), cases[i].is_named, "case %u", i);
    }
}
