// SPDX-License-Identifier: Apache-2.0
// vmm/cpuid: the policy against a host that has every feature there is, and against a bare one.
#include "vmm/cpu/cpuid.h"

#include <criterion/criterion.h>
#include <string.h>

#define AVX512_XCR0 0xe7u

// Claims everything; caches of types 1, 2, 3, 3 and then none; XSAVE areas as on a server.
static void rich(uint32_t leaf, uint32_t subleaf, struct abi_cpuid *answer) {
    answer->eax = answer->ebx = answer->ecx = answer->edx = UINT32_MAX;
    if (leaf == 0 || leaf == 0x80000000)
        answer->eax = leaf + 0x20;
    if (leaf == 0) {
        answer->ebx = 0x756e6547;
        answer->edx = 0x49656e69;
        answer->ecx = 0x6c65746e;
    }
    if (leaf == 4) {
        static const uint32_t types[] = {1, 2, 3, 3, 0};
        static const uint32_t levels[] = {1, 1, 2, 3, 0};
        answer->eax = subleaf < 5 ? types[subleaf] | levels[subleaf] << 5 | 0xffffc000u : 0;
        if (subleaf >= 4)
            answer->eax = 0;
    }
    if (leaf == 0xd && subleaf >= 2) {
        static const uint32_t offset[] = {0, 0, 576, 960, 1024, 1088, 1152, 1664};
        static const uint32_t size[] = {0, 0, 256, 64, 64, 64, 512, 1024};
        answer->ebx = subleaf < 8 ? offset[subleaf] : 0;
        answer->eax = subleaf < 8 ? size[subleaf] : 0;
        answer->ecx = 2;
    }
}

// A processor of 2008: leaves up to 0xb, no extended features at all.
static void bare(uint32_t leaf, uint32_t subleaf, struct abi_cpuid *answer) {
    (void)subleaf;
    answer->eax = answer->ebx = answer->ecx = answer->edx = 0;
    if (leaf == 0)
        answer->eax = 0xb;
    if (leaf == 0x80000000)
        answer->eax = 0x80000008;
    if (leaf == 0x80000008)
        answer->eax = 0x3924;            // 57 bits of linear addresses
    if (leaf > 0xb && leaf < 0x40000000) // what lies beyond repeats the last leaf
        answer->eax = answer->ebx = answer->ecx = answer->edx = UINT32_MAX;
}

static struct abi_cpuid table[ABI_CPUID_MAX];
static size_t count;

static struct cpuid_config config(cpuid_read *host) {
    return (struct cpuid_config){.host = host,
                                 .tsc_hz = 2900000000,
                                 .xcr0_mask = AVX512_XCR0,
                                 .physical_bits = 39,
                                 .vcpu_count = 3};
}

static const struct abi_cpuid *get(uint32_t leaf, uint32_t subleaf) {
    static const struct abi_cpuid none;
    for (size_t i = 0; i < count; i++)
        if (table[i].leaf == leaf &&
            (table[i].subleaf == subleaf || table[i].subleaf == ABI_CPUID_ANY_SUBLEAF))
            return &table[i];
    return &none;
}

Test(vmm_cpuid, rules_and_rows_are_sorted) {
    struct cpuid_config c = config(rich);
    count = cpuid_build(&c, table);
    cr_assert_leq(count, ABI_CPUID_MAX);
    for (size_t i = 1; i < cpuid_rule_count; i++)
        cr_assert(cpuid_rules[i].leaf > cpuid_rules[i - 1].leaf ||
                  (cpuid_rules[i].leaf == cpuid_rules[i - 1].leaf &&
                   cpuid_rules[i].subleaf > cpuid_rules[i - 1].subleaf &&
                   cpuid_rules[i].subleaf != ABI_CPUID_ANY_SUBLEAF));
    for (size_t i = 1; i < count; i++)
        cr_assert(table[i].leaf > table[i - 1].leaf || table[i].subleaf > table[i - 1].subleaf);
}

Test(vmm_cpuid, dangerous_features_are_hidden) {
    struct cpuid_config c = config(rich);
    count = cpuid_build(&c, table);
    const uint32_t hidden_1 = 1u << 2 | 1u << 3 | 1u << 5 | 1u << 6 | 1u << 8 | 1u << 15 | 1u << 27;
    cr_assert_eq(get(1, 0)->ecx & hidden_1, 0); // DTES64 MONITOR VMX SMX TM2 PDCM OSXSAVE
    cr_assert_eq(get(1, 0)->edx & (1u << 21 | 1u << 22 | 1u << 29 | 1u << 31), 0); // DS ACPI TM PBE
    const uint32_t hidden_7b = 1u << 2 | 1u << 4 | 1u << 11 | 1u << 12 | 1u << 14 | 1u << 15 |
                               1u << 25; // SGX HLE RTM RDT-M MPX RDT-A PT
    cr_assert_eq(get(7, 0)->ebx & hidden_7b, 0);
    const uint32_t hidden_7c = 1u << 3 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 16 | 1u << 29 |
                               1u << 30 | 1u << 31; // PKU OSPKE WAITPKG CET LA57 ENQCMD SGX_LC PKS
    cr_assert_eq(get(7, 0)->ecx & hidden_7c, 0);
    cr_assert_eq(get(7, 0)->edx & (1u << 9 | 1u << 13 | 1u << 30), 0); // SRBDS, TSX abort, CORE_CAP
    cr_assert_eq(get(7, 2)->edx & ~0x3fu, 0);
    cr_assert_eq(get(7, 0)->edx & (1u << 20 | 7u << 22), 1u << 23); // IBT and AMX; not AVX512-FP16
    cr_assert_eq(get(0xd, 1)->eax, 5); // XSAVEOPT and XGETBV1, neither XSAVEC nor XSAVES
    for (uint32_t leaf = 0x8; leaf <= 0x14; leaf++)
        if (leaf != 0xb && leaf != 0xd)
            cr_assert_eq(get(leaf, 0)->eax, 0, "leaf %#x", leaf);
    cr_assert_eq(get(0x80000001, 0)->ecx & (1u << 2), 0); // SVM
    cr_assert_eq(get(6, 0)->eax, 4);                      // ARAT alone
}

// Each has its register, or is an instruction; ARCH_CAPABILITIES only where there is something to
// say.
Test(vmm_cpuid, speculation_controls_pass) {
    struct cpuid_config c = config(rich);
    c.arch_capabilities = 1;
    count = cpuid_build(&c, table);
    const uint32_t controls =
        0xbc000400u; // MD_CLEAR SPEC_CTRL STIBP L1D_FLUSH ARCH_CAPABILITIES SSBD
    cr_assert_eq(get(7, 0)->edx & controls, controls);
    cr_assert_eq(get(7, 2)->edx, 0x3f);
    cr_assert_eq(get(7, 0)->eax, 2);
    c.arch_capabilities = 0;
    count = cpuid_build(&c, table);
    cr_assert_eq(get(7, 0)->edx & controls, controls & ~(1u << 29));
    c = config(bare);
    count = cpuid_build(&c, table);
    cr_assert_eq(get(7, 0)->edx, 0);
    cr_assert_eq(get(7, 2)->edx, 0);
}

Test(vmm_cpuid, emulated_features_are_always_there) {
    cpuid_read *hosts[] = {rich, bare};
    for (int i = 0; i < 2; i++) {
        struct cpuid_config c = config(hosts[i]);
        count = cpuid_build(&c, table);
        const uint32_t emulated = 1u << 21 | 1u << 24 | 1u << 31;
        cr_assert_eq(get(1, 0)->ecx & emulated, emulated);
        cr_assert(get(1, 0)->edx & 1u << 9);
        cr_assert(get(7, 0)->ebx & 1u << 1); // TSC_ADJUST
        cr_assert(get(0x80000007, 0)->edx & 1u << 8);
        cr_assert_eq(get(0x15, 0)->eax, 1);
        cr_assert_eq(get(0x15, 0)->ebx, 1);
        cr_assert_eq(get(0x15, 0)->ecx, 2900000000);
        cr_assert_eq(get(0x16, 0)->eax, 2900);
        cr_assert_geq(get(0, 0)->eax, 0x16);
    }
}

Test(vmm_cpuid, leaves_the_host_lacks_are_not_borrowed) {
    struct cpuid_config c = config(bare);
    c.xcr0_mask = 0;
    count = cpuid_build(&c, table);
    cr_assert_eq(get(0xd, 0)->eax, 0);
    cr_assert_eq(get(0xd, 1)->eax, 0);
    cr_assert_eq(get(7, 0)->ebx, 1u << 1);
    cr_assert_eq(get(0x80000008, 0)->eax, 0x3000 | 39);
}

Test(vmm_cpuid, vector_features_follow_xcr0) {
    struct cpuid_config c = config(rich);
    c.xcr0_mask = 7;
    count = cpuid_build(&c, table);
    cr_assert(get(1, 0)->ecx & 1u << 28);
    cr_assert(get(7, 0)->ebx & 1u << 5);
    cr_assert_eq(get(7, 0)->ebx & 0xdc230000u & ~(1u << 19 | 1u << 20), 0);
    cr_assert_eq(get(7, 0)->edx & (1u << 23), 0);
    cr_assert_eq(get(0xd, 0)->ecx, 576 + 256);
    cr_assert_eq(get(0xd, 5)->eax, 0);
    c.xcr0_mask = 0;
    count = cpuid_build(&c, table);
    cr_assert_eq(get(1, 0)->ecx & (1u << 12 | 1u << 26 | 1u << 28 | 1u << 29), 0);
    cr_assert_eq(get(7, 0)->ebx & 1u << 5, 0);
}

Test(vmm_cpuid, xsave_sizes_are_of_what_may_be_enabled) {
    struct cpuid_config c = config(rich);
    c.xcr0_mask = AVX512_XCR0 | 1u << 9; // PKRU is not for guests
    count = cpuid_build(&c, table);
    cr_assert_eq(get(0xd, 0)->eax, AVX512_XCR0);
    cr_assert_eq(get(0xd, 0)->ecx, 1664 + 1024);
    cr_assert_eq(get(0xd, 6)->ebx, 1152);
    cr_assert_eq(get(0xd, 9)->eax, 0);
}

Test(vmm_cpuid, topology_is_one_package_of_single_threads) {
    struct cpuid_config c = config(rich);
    count = cpuid_build(&c, table);
    cr_assert_eq(get(1, 0)->ebx >> 16 & 0xff, 4);
    cr_assert(get(1, 0)->edx & 1u << 28);
    cr_assert_eq(get(0xb, 0)->eax, 0);
    cr_assert_eq(get(0xb, 0)->ebx, 1);
    cr_assert_eq(get(0xb, 0)->ecx, 0x100);
    cr_assert_eq(get(0xb, 1)->eax, 2);
    cr_assert_eq(get(0xb, 1)->ebx, 3);
    cr_assert_eq(get(0xb, 1)->ecx, 0x201);
    cr_assert_eq(get(4, 0)->eax >> 14 & 0xfff, 0); // L1: each core's own
    cr_assert_eq(get(4, 3)->eax >> 14 & 0xfff, 3); // L3: all
    cr_assert_eq(get(4, 3)->eax >> 26, 3);
    cr_assert_eq(get(4, 4)->eax, 0);
    c.vcpu_count = 1;
    count = cpuid_build(&c, table);
    cr_assert_eq(get(1, 0)->edx & 1u << 28, 0);
    cr_assert_eq(get(0xb, 1)->eax, 0);
}

Test(vmm_cpuid, hypervisor_says_kvm_with_its_frequencies) {
    struct cpuid_config c = config(rich);
    char signature[13] = {0};
    count = cpuid_build(&c, table);
    memcpy(signature, &get(0x40000000, 0)->ebx, 4);
    memcpy(signature + 4, &get(0x40000000, 0)->ecx, 4);
    memcpy(signature + 8, &get(0x40000000, 0)->edx, 4);
    cr_assert_str_eq(signature, "KVMKVMKVM");
    cr_assert_eq(get(0x40000001, 0)->eax, 0x0100002a); // no I/O delay, clock, steal time, stable
    cr_assert_eq(get(0x40000010, 0)->eax, 2900000);
}

Test(vmm_cpuid, frequencies_too_high_for_the_leaf_are_left_out) {
    struct cpuid_config c = config(rich);
    c.tsc_hz = 5000000000;
    count = cpuid_build(&c, table);
    cr_assert_eq(get(0x15, 0)->eax, 0);
    cr_assert_eq(get(0x16, 0)->eax, 5000);
}

// ---- AMD ----------------------------------------------------------------------------------------

// The rich one again, of AMD's, with its caches in another leaf.
static void rich_amd(uint32_t leaf, uint32_t subleaf, struct abi_cpuid *answer) {
    rich(leaf, subleaf, answer);
    if (leaf == 0) {
        answer->ebx = 0x68747541;
        answer->edx = 0x69746e65;
        answer->ecx = 0x444d4163;
    }
    if (leaf == 0x80000000)
        answer->eax = 0x80000028;
    if (leaf == 0x8000001d)
        rich(4, subleaf, answer);
}

static void amd_without_topology(uint32_t leaf, uint32_t subleaf, struct abi_cpuid *answer) {
    rich_amd(leaf, subleaf, answer);
    if (leaf == 0x80000001)
        answer->ecx &= ~(1u << 22);
}

static bool has_row(uint32_t leaf) {
    for (size_t i = 0; i < count; i++)
        if (table[i].leaf == leaf)
            return true;
    return false;
}

Test(vmm_cpuid, amd_has_no_leaves_of_intels) {
    struct cpuid_config c = config(rich_amd);
    count = cpuid_build(&c, table);
    cr_assert_leq(count, ABI_CPUID_MAX);
    cr_expect_eq(get(0, 0)->ebx, 0x68747541);
    cr_expect_not(has_row(2));
    cr_expect_not(has_row(4));
    cr_expect_eq(get(0x80000000, 0)->eax, 0x80000021);
    for (size_t i = 1; i < count; i++)
        cr_assert(table[i].leaf > table[i - 1].leaf || table[i].subleaf > table[i - 1].subleaf);
}

Test(vmm_cpuid, intel_has_no_leaves_of_amds) {
    struct cpuid_config c = config(rich);
    count = cpuid_build(&c, table);
    cr_expect_eq(get(0x80000000, 0)->eax, 0x80000008);
    cr_expect_not(has_row(0x8000001d) || has_row(0x8000001e) || has_row(0x80000021));
    cr_expect_eq(get(0x80000001, 0)->ecx & (1u << 22 | 1u << 1), 0);
    cr_expect_eq(get(0x80000008, 0)->ecx, 0);
    cr_expect_eq(get(0x80000008, 0)->ebx & 1u << 20, 0);
}

// APM 3 Appendix E.4.2 "Function 8000_0001h": each bit that passes, by name.
Test(vmm_cpuid, amd_features_are_those_that_guests_can_use) {
    const uint32_t ecx = 1u << 0 | 1u << 1 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 |
                         1u << 11 | 1u << 16 | 1u << 21 | 1u << 22; // LAHF CMP_LEGACY CR8_LEGACY
    // ABM SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM TOPOEXT
    struct cpuid_config c = config(rich_amd);
    count = cpuid_build(&c, table);
    cr_expect_eq(get(0x80000001, 0)->ecx, ecx, "%#x", get(0x80000001, 0)->ecx);
    cr_expect_eq(get(0x80000001, 0)->edx & 1u << 25, 0, "EFER.FFXSR faults");
    cr_expect_not(has_row(0x8000000a), "SVM");
    cr_expect_not(has_row(0x8000001b), "IBS");
    cr_expect_not(has_row(0x8000001f), "SEV");
    cr_expect_eq(get(0x80000021, 0)->eax, 0x70000e65);
    cr_expect_eq(get(0x80000021, 0)->ecx, 6);
    c.vcpu_count = 1;
    count = cpuid_build(&c, table);
    cr_expect_eq(get(0x80000001, 0)->ecx, ecx & ~(1u << 1));
}

// PRED_CMD is there; SPEC_CTRL is not, whatever the host says, in either vendor's leaf.
Test(vmm_cpuid, amd_speculation_controls_are_those_with_registers) {
    struct cpuid_config c = config(rich_amd);
    count = cpuid_build(&c, table);
    // CLZERO XSAVEERPTR WBNOINVD IBPB EferLmsleUnsupported SSB_NO BTC_NO IBPB_RET
    cr_expect_eq(get(0x80000008, 0)->ebx, 0x64101205, "%#x", get(0x80000008, 0)->ebx);
    cr_expect_eq(get(7, 0)->edx & (1u << 26 | 1u << 27 | 1u << 28 | 1u << 31), 0);
    cr_expect_eq(get(7, 2)->edx, 0);
}

Test(vmm_cpuid, amd_topology_is_one_package_of_single_threads) {
    struct cpuid_config c = config(rich_amd);
    count = cpuid_build(&c, table);
    cr_expect_eq(get(0x80000008, 0)->ecx, 0x2002); // three cores, two bits of APIC ID
    cr_expect_eq(get(0x8000001d, 0)->eax, 1 | 1 << 5);
    cr_expect_eq(get(0x8000001d, 3)->eax, 3 | 3 << 5 | 3 << 14, "L3: all");
    cr_expect_eq(get(0x8000001d, 4)->eax, 0);
    cr_expect(has_row(0x8000001e));
    cr_expect(get(0x8000001e, 0)->eax == 0 && get(0x8000001e, 0)->ebx == 0 &&
              get(0x8000001e, 0)->ecx == 0 && get(0x8000001e, 0)->edx == 0);
    cr_expect_eq(get(0xb, 1)->ebx, 3);
    c = config(amd_without_topology);
    count = cpuid_build(&c, table);
    cr_expect_not(has_row(0x8000001d) || has_row(0x8000001e));
}
