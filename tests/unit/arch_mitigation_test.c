// SPDX-License-Identifier: Apache-2.0
// arch/mitigation: which barriers a CPU needs and has, and when there is one. VERW and the return
// stack are real here; MSRs are counted.
#include <criterion/criterion.h>

#include "arch/mitigation.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static unsigned ibpb_count, l1d_count, ibrs_count;
static uint64_t spec_ctrl;
static char said[1024];

static void paper_wrmsr(uint32_t msr, uint64_t value) {
    cr_assert(value == 1 || msr == 0x48);
    ibpb_count += msr == 0x49;
    l1d_count += msr == 0x10b;
    ibrs_count += msr == 0x48;
    spec_ctrl = msr == 0x48 ? value : spec_ctrl;
}
__attribute__((format(printf, 1, 2))) static void paper_log_line(const char *format, ...) {
    size_t used = strlen(said);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said + used, sizeof(said) - used - 1, format, arguments);
    va_end(arguments);
    strcat(said, "\n");
}
static struct cpuid_result paper_leaf1, paper_leaf7, paper_leaf7_2, paper_amd;
static uint64_t paper_capabilities;
static unsigned rdmsr_count;
static struct cpuid_result paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    cr_assert(subleaf == 0 || (leaf == 7 && subleaf == 2 && paper_leaf7.eax >= 2));
    if (subleaf == 2)
        return paper_leaf7_2;
    switch (leaf) {
    case 1:
        return paper_leaf1;
    case 0:
        return (struct cpuid_result){0x16, 0, 0, 0};
    case 0x80000000:
        return (struct cpuid_result){0x80000008, 0, 0, 0};
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

#define x86_wrmsr   paper_wrmsr
#define x86_rdmsr   paper_rdmsr
#define x86_cpuid   paper_cpuid
#define log_line    paper_log_line
#define split_clear paper_split_clear
#include "arch/split.h"
static unsigned clear_count;
void paper_split_clear(struct cpu *cpu) {
    (void)cpu;
    clear_count++;
}
#include "arch/mitigation.c"

#define SPEC_CTRL (1u << 26)
#define STIBP     (1u << 27)
#define L1D       (1u << 28)
#define ARCH_CAPS (1u << 29)
#define MD_CLEAR  (1u << 10)
#define RTM       (1u << 11)

static uint32_t bhi; // CPUID.7.2:EDX

static struct mitigation intel(uint32_t ebx, uint32_t edx, uint64_t capabilities) {
    return mitigation_judge(true, (struct cpuid_result){0, ebx, 0, edx},
                            (struct cpuid_result){0, 0, 0, bhi}, (struct cpuid_result){0, 0, 0, 0},
                            capabilities);
}

// Nehalem as it was sold, with no microcode of 2018.
Test(mitigation, old_intel_needs_all_and_has_none) {
    struct mitigation m = intel(0, 0, 0);
    cr_expect(m.needs_verw && m.needs_l1d_flush && m.has_page_hazard);
    cr_expect_not(m.has_ibpb || m.has_verw || m.has_l1d_flush || m.has_enhanced_ibrs);
}

Test(mitigation, skylake_with_microcode_has_all_but_enhanced_ibrs) {
    struct mitigation m = intel(RTM, SPEC_CTRL | STIBP | L1D | MD_CLEAR, 0);
    cr_expect(m.needs_verw && m.needs_l1d_flush);
    cr_expect(m.has_ibpb && m.has_verw && m.has_l1d_flush);
    cr_expect_not(m.has_enhanced_ibrs);
}

Test(mitigation, cascade_lake_needs_verw_for_tsx_alone) {
    const uint64_t caps = 0x2b; // RDCL_NO, IBRS_ALL, SKIP_L1DFL_VMENTRY, MDS_NO
    const uint32_t edx = SPEC_CTRL | L1D | ARCH_CAPS | MD_CLEAR;
    cr_expect(intel(RTM, edx, caps).needs_verw);
    cr_expect_not(intel(0, edx, caps).needs_verw);
    cr_expect_not(intel(RTM, edx, caps | 1 << 8).needs_verw); // TAA_NO
    struct mitigation m = intel(RTM, edx, caps);
    cr_expect(m.has_enhanced_ibrs && m.has_page_hazard && !m.needs_l1d_flush);
    cr_expect_not(intel(RTM, edx, caps | 1 << 6).has_page_hazard);
}

// Register file data sampling: a CPU without the older faults whose VERW was taught to empty
// buffers again.
Test(mitigation, late_stale_data_needs_and_has_verw) {
    struct mitigation m = intel(0, SPEC_CTRL | ARCH_CAPS, 0x16b | 1ULL << 28);
    cr_expect(m.needs_verw && m.has_verw);
    m = intel(0, SPEC_CTRL | ARCH_CAPS, 0x16b);
    cr_expect_not(m.needs_verw || m.has_verw);
}

// An outer hypervisor does the flush for its guest: either bit says so.
Test(mitigation, l1d_flush_is_not_needed_where_somebody_else_does_it) {
    cr_expect_not(intel(0, SPEC_CTRL | L1D | ARCH_CAPS, 1 << 3).needs_l1d_flush);
    cr_expect_not(intel(0, SPEC_CTRL | L1D | ARCH_CAPS, 1 << 0).needs_l1d_flush);
}

Test(mitigation, amd_needs_predictors_alone) {
    struct cpuid_result none = {0, 0, 0, 0}, amd = {0, 1 << 12, 0, 0};
    struct mitigation m = mitigation_judge(false, none, none, amd, 0);
    cr_expect(m.has_ibpb);
    cr_expect_not(m.needs_verw || m.needs_l1d_flush || m.has_page_hazard || m.has_verw);
    cr_expect(m.fills_returns && !m.splits_tables && !m.clears_history);
    cr_expect_not(mitigation_judge(false, none, none, none, 0).has_ibpb);
}

// "Meltdown": who does not say that it is free of it is not, also under a hypervisor that hides the
// register.
Test(mitigation, tables_are_split_where_ring_3_could_read_through) {
    cr_expect(intel(0, SPEC_CTRL, 0).splits_tables);
    cr_expect(intel(0, SPEC_CTRL | ARCH_CAPS, 0x2a).splits_tables);
    cr_expect_not(intel(0, SPEC_CTRL | ARCH_CAPS, 1).splits_tables);
}

Test(mitigation, branch_history_is_cut_off_where_the_cpu_can) {
    const uint64_t eibrs = 0x6b, bhi_no = 1 << 20;
    struct mitigation m = intel(0, SPEC_CTRL | ARCH_CAPS, eibrs);
    cr_expect(m.spec_ctrl == 1 && m.clears_history, "Ice Lake");
    m = intel(0, SPEC_CTRL | ARCH_CAPS, eibrs | bhi_no);
    cr_expect(m.spec_ctrl == 1 && !m.clears_history);
    bhi = 1 << 4;
    m = intel(0, SPEC_CTRL | ARCH_CAPS, eibrs);
    cr_expect(m.spec_ctrl == 0x401 && !m.clears_history, "Sapphire Rapids");
    bhi = 0xf & ~(1u << 4); // its neighbours
    cr_expect_eq(intel(0, SPEC_CTRL | ARCH_CAPS, eibrs).spec_ctrl, 1);
    bhi = 0;
    cr_expect_not(intel(0, SPEC_CTRL, 0).clears_history,
                  "without enhanced IBRS that is not what is missing");
}

// Cascade Lake with TSX, and Alder Lake's RFDS: ring 3 on tables that are not split.
Test(mitigation, buffers_are_empty_for_ring_3_where_its_way_out_is_the_plain_one) {
    const uint32_t edx = SPEC_CTRL | ARCH_CAPS;
    cr_expect(intel(RTM, edx | MD_CLEAR, 0x2b).empties_for_users);
    cr_expect(intel(0, edx, 0x16b | 1ULL << 28).empties_for_users);
    cr_expect_not(intel(0, edx | MD_CLEAR, 0x16b).empties_for_users, "nothing leaks");
    cr_expect_not(intel(RTM, edx, 0x2b).empties_for_users, "VERW empties nothing");
    cr_expect_not(intel(RTM, SPEC_CTRL | MD_CLEAR, 0).empties_for_users, "arch/split.S does it");
}

Test(mitigation, history_is_cleared_by_instructions_where_no_bit_does) {
    strcpy(cpu_features.vendor, "GenuineIntel");
    paper_leaf7.edx = SPEC_CTRL | ARCH_CAPS;
    paper_capabilities = 0x6b;
    mitigation_init(false);
    mitigation_report();
    cr_expect(mitigation.clears_history);
    cr_expect_not_null(strstr(said, "branch history is cleared by instructions"));
    mitigation_clear_history(); // and comes back
}

static bool is_off;

static void boot(const char *vendor, uint32_t ebx, uint32_t edx, uint64_t capabilities) {
    strcpy(cpu_features.vendor, vendor);
    paper_leaf7 = (struct cpuid_result){0, ebx, 0, edx};
    paper_capabilities = capabilities;
    mitigation_init(is_off);
    mitigation_init_cpu();
    mitigation_report();
}

Test(mitigation, capabilities_are_read_only_where_they_exist) {
    boot("GenuineIntel", 0, SPEC_CTRL | MD_CLEAR | L1D, 0x2b);
    cr_expect(rdmsr_count == 0 && mitigation.needs_l1d_flush && ibrs_count == 0);
    boot("GenuineIntel", 0, SPEC_CTRL | MD_CLEAR | L1D | ARCH_CAPS, 0x2b);
    cr_expect(rdmsr_count == 1 && !mitigation.needs_l1d_flush && ibrs_count == 1);
}

Test(mitigation, report_names_what_is_missing) {
    boot("GenuineIntel", 0, 0, 0);
    cr_expect_not_null(strstr(said, "missing: IBPB VERW L1D flush ("));
    cr_expect_not_null(strstr(said, "missing: enhanced IBRS"));
    said[0] = '\0';
    boot("GenuineIntel", 0, SPEC_CTRL | MD_CLEAR | L1D | ARCH_CAPS, 0x6b | 1 << 20);
    cr_expect_null(strstr(said, "missing"));
    cr_expect_str_eq(said,
                     "side channels: between domains: return stack, IBPB, VERW; enhanced IBRS\n");
}

static struct cpu cpus[2];

static void run(struct cpu *cpu, uint64_t domain) {
    if (mitigation_is_switch(cpu, domain))
        mitigation_switch(cpu, domain);
}

Test(mitigation, one_barrier_for_another_domain_and_none_for_the_same) {
    boot("GenuineIntel", 0, SPEC_CTRL | L1D | MD_CLEAR, 0);
    const uint64_t domains[] = {1, 1, 2, 2, 2, 1, 3};
    const uint32_t barriers[] = {1, 1, 2, 2, 2, 3, 4};
    for (unsigned i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
        run(&cpus[0], domains[i]);
        cr_expect_eq(cpus[0].barriers, barriers[i], "step %u", i);
        cr_expect_eq(ibpb_count, barriers[i]);
        cr_expect_eq(l1d_count, barriers[i]);
    }
    run(&cpus[1], 3); // each CPU has its own
    cr_expect(cpus[1].barriers == 1 && cpus[0].barriers == 4 && ibpb_count == 5);
}

Test(mitigation, barrier_is_without_what_the_cpu_lacks_or_needs_not) {
    boot("GenuineIntel", 0, 0, 0);
    run(&cpus[0], 1);
    boot("GenuineIntel", 0, L1D | ARCH_CAPS, 1); // RDCL_NO
    run(&cpus[0], 2);
    cr_expect(cpus[0].barriers == 2 && ibpb_count == 0 && l1d_count == 0);
}

Test(mitigation, off_is_off_and_said) {
    is_off = true;
    boot("GenuineIntel", RTM, SPEC_CTRL | MD_CLEAR | L1D, 0);
    struct mitigation off = {.is_off = true};
    cr_expect_arr_eq(&mitigation, &off, sizeof(off));
    cr_expect_not_null(strstr(said, "mitigations=off"));
    run(&cpus[0], 1);
    cr_expect(cpus[0].barriers == 1 && ibpb_count + l1d_count + ibrs_count + clear_count == 0);
    // What the CPU is does not change by it.
    boot("GenuineIntel", 0, SPEC_CTRL | ARCH_CAPS, 0x6b);
    cr_expect(mitigation.capabilities == 0x6b && !mitigation.splits_tables);
    cr_expect_eq(mitigation.spec_ctrl, 0);
}

Test(mitigation, split_says_so_and_uses_pcids) {
    paper_leaf1.ecx = 1 << 17;
    boot("GenuineIntel", 0, SPEC_CTRL | ARCH_CAPS, 0x6b);
    cr_expect_not(mitigation.has_pcid, "nothing to tell apart");
    boot("GenuineIntel", 0, SPEC_CTRL, 0);
    cr_expect(mitigation.has_pcid);
    cr_expect_not_null(strstr(said, "page tables are split"));
    run(&cpus[0], 1);
    cr_expect_eq(clear_count, 1, "the entry stacks are the last domain's");
    paper_leaf1.ecx = 0;
    boot("GenuineIntel", 0, SPEC_CTRL, 0);
    cr_expect_not(mitigation.has_pcid);
}

Test(mitigation, spec_ctrl_is_written_where_it_has_bits) {
    paper_leaf7.eax = 2;
    paper_leaf7_2.edx = 1 << 4;
    strcpy(cpu_features.vendor, "GenuineIntel");
    paper_leaf7.edx = SPEC_CTRL | ARCH_CAPS;
    paper_capabilities = 0x6b;
    mitigation_init(false);
    mitigation_init_cpu();
    cr_expect_eq(spec_ctrl, 0x401);
    mitigation_report();
    cr_expect_not_null(strstr(said, "BHI_DIS_S"));
    cr_expect_null(strstr(said, "branch history"));
}

// Words below RSP behind the fill: addresses of calls, six bytes apart, that lead to INT3.
Test(mitigation, fill_is_32_calls_to_nowhere) {
    mitigation.fills_returns = true;
    uint64_t words[32], *to = words, size = sizeof(words);
    mitigation_fill_returns();
    __asm__ volatile("lea -256(%%rsp), %%rsi\n\trep movsb"
                     : "+D"(to), "+c"(size)
                     :
                     : "rsi", "memory");
    for (unsigned i = 0; i < 32; i++) {
        cr_expect_eq(*(const uint8_t *)words[i], 0xcc, "entry %u", i);
        if (i > 0)
            cr_expect_eq(words[i - 1] - words[i], 6);
    }
}
