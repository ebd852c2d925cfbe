// SPDX-License-Identifier: Apache-2.0
// The CPUID policy; the interface is told in cpuid.h. The bits that a guest may see
// are named in cpuid_bits.h; here stands what is computed rather than masked, then the rules.
//
// Not named, so hidden: VMX, SMX and SVM (no nesting yet); MONITOR (it would exit); the PMU with
// its DS and PDCM, PT, RDT, SGX, thermal and power management (the host's); TSX and MPX (dead);
// PKU, CET, LA57, LAM (the MMIO walker does not model them); XSAVES, XSAVEC (the kernel keeps the
// standard format only); WAITPKG; CORE_CAPABILITIES and SRBDS_CTRL with their MSRs. Of AMD's: what
// needs registers that guests have not (OSVW, IBS, LWP, TCE, WDT, FFXSR, PREFETCH_CTL, VIRT_SSBD,
// and SPEC_CTRL with IBRS, STIBP, SSBD, PSFD), the counters, SKINIT, RDPRU, INVLPGB, SEV.
#include "vmm/cpu/cpuid.h"

#include "vmm/cpu/cpuid_bits.h"

#define ALL UINT32_MAX
#define ANY ABI_CPUID_ANY_SUBLEAF

// What the guest may set in XCR0, without components whose features are hidden.
static uint64_t xcr0(const struct cpuid_config *config) {
    return config->xcr0_mask & XCR0_KNOWN;
}

// APM 3 Appendix E.3.1 "Function 0h—Maximum Standard Function Number and Vendor String".
static bool is_amd(const struct cpuid_config *config) {
    struct abi_cpuid vendor;
    config->host(0, 0, &vendor);
    return vendor.ebx == VENDOR_AMD_EBX;
}

// AMD's leaves 0x8000001d and 0x8000001e. APM 3 Appendix E.4.2 "Function 8000_0001h".
static bool has_topology_leaves(const struct cpuid_config *config) {
    struct abi_cpuid features;
    if (!is_amd(config))
        return false;
    config->host(0x80000001, 0, &features);
    return (features.ecx & X1_ECX_TOPOEXT) != 0;
}

static uint32_t core_bits(const struct cpuid_config *config) {
    uint32_t bits = 0;
    while ((1u << bits) < config->vcpu_count)
        bits++;
    return bits;
}

static bool has_avx(const struct cpuid_config *config) {
    return (xcr0(config) & XCR0_AVX) != 0;
}

static bool has_avx512(const struct cpuid_config *config) {
    return has_avx(config) && (xcr0(config) & XCR0_AVX512) == XCR0_AVX512;
}

static bool finish_vendor(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)config;
    row->eax = LEAF_BASIC_MAX;
    return true;
}

static bool finish_features(const struct cpuid_config *config, struct abi_cpuid *row) {
    row->ebx |= 1u << core_bits(config) << L1_EBX_LOGICAL_SHIFT;
    row->ecx |= L1_ECX_EMULATED;
    row->edx |= L1_EDX_EMULATED;
    if (config->vcpu_count > 1)
        row->edx |= L1_EDX_HTT;
    if (xcr0(config) == 0)
        row->ecx &= ~L1_ECX_XSAVE;
    if (!has_avx(config))
        row->ecx &= ~L1_ECX_NEED_AVX;
    return true;
}

// Reserved on AMD's processors, whatever an emulator says of them.
static bool finish_intel(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)row;
    return !is_amd(config);
}

// Inner caches are each core's own, outer ones the package's.
static bool share_cache(const struct cpuid_config *config, struct abi_cpuid *row) {
    if ((row->eax & L4_EAX_TYPE) == 0)
        return false;
    uint32_t level = (row->eax & L4_EAX_LEVEL) >> L4_EAX_LEVEL_SHIFT;
    if (level >= L4_LEVEL_SHARED)
        row->eax |= ((1u << core_bits(config)) - 1) << L4_EAX_SHARING_SHIFT;
    return true;
}

static bool finish_cache(const struct cpuid_config *config, struct abi_cpuid *row) {
    if (is_amd(config) || !share_cache(config, row))
        return false;
    row->eax |= ((1u << core_bits(config)) - 1) << L4_EAX_CORES_SHIFT;
    return true;
}

static bool finish_power(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)config;
    row->eax |= L6_EAX_ARAT; // the virtual APIC timer never stops
    return true;
}

static bool finish_extended_features(const struct cpuid_config *config, struct abi_cpuid *row) {
    row->eax = L7_EAX_LAST;
    row->ebx |= L7_EBX_EMULATED;
    if (!has_avx(config)) {
        row->ebx &= ~L7_EBX_AVX2;
        row->ecx &= ~L7_ECX_NEED_AVX;
    }
    if (!has_avx512(config)) {
        row->ebx &= ~L7_EBX_AVX512;
        row->ecx &= ~L7_ECX_AVX512;
        row->edx &= ~L7_EDX_AVX512;
    }
    if (config->arch_capabilities == 0)
        row->edx &= ~L7_EDX_ARCH_CAPABILITIES;
    if (is_amd(config))
        row->edx &= ~L7_EDX_INTEL;
    return true;
}

static bool finish_extended_features_2(const struct cpuid_config *config, struct abi_cpuid *row) {
    if (is_amd(config))
        row->edx = 0;
    return true;
}

static bool finish_extended_features_1(const struct cpuid_config *config, struct abi_cpuid *row) {
    if (!has_avx(config))
        row->eax &= ~L7_1_EAX_NEED_AVX;
    if (!has_avx512(config))
        row->eax &= ~L7_1_EAX_AVX512_BF16;
    return true;
}

// One thread a core, all cores in one package; EDX is the kernel's.
static bool finish_topology(const struct cpuid_config *config, struct abi_cpuid *row) {
    row->ecx = row->subleaf;
    if (row->subleaf == 0) {
        row->ebx = 1;
        row->ecx |= LB_TYPE_SMT;
    } else if (row->subleaf == 1) {
        row->eax = core_bits(config);
        row->ebx = config->vcpu_count;
        row->ecx |= LB_TYPE_CORE;
    }
    return true;
}

// The standard format's size with all that the guest may enable; components may leave gaps.
static uint32_t xsave_size(const struct cpuid_config *config) {
    uint32_t size = XSAVE_HEAD;
    for (uint32_t i = 2; i < 63; i++) {
        if ((xcr0(config) >> i & 1) == 0)
            continue;
        struct abi_cpuid component;
        config->host(0xd, i, &component);
        if (component.ebx + component.eax > size)
            size = component.ebx + component.eax;
    }
    return size;
}

static bool finish_xsave(const struct cpuid_config *config, struct abi_cpuid *row) {
    if (xcr0(config) == 0)
        return false;
    row->eax = (uint32_t)xcr0(config);
    row->edx = (uint32_t)(xcr0(config) >> 32);
    row->ebx = XSAVE_HEAD;
    row->ecx = xsave_size(config);
    return true;
}

static bool finish_xsave_features(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)row;
    return xcr0(config) != 0;
}

static bool finish_xsave_component(const struct cpuid_config *config, struct abi_cpuid *row) {
    return (xcr0(config) >> row->subleaf & 1) != 0;
}

// The crystal runs at the TSC's own frequency, and so do the local APIC timers (kernel/vlapic.h):
// exact for every guest. Above what the leaf can say the guest has to measure.
static bool finish_tsc(const struct cpuid_config *config, struct abi_cpuid *row) {
    if (config->tsc_hz > UINT32_MAX)
        return false;
    row->eax = 1;
    row->ebx = 1;
    row->ecx = (uint32_t)config->tsc_hz;
    return true;
}

static bool finish_frequency(const struct cpuid_config *config, struct abi_cpuid *row) {
    uint32_t mhz = (uint32_t)((config->tsc_hz + 500000) / 1000000);
    row->eax = mhz;
    row->ebx = mhz;
    row->ecx = mhz; // bus: the crystal
    return true;
}

static bool finish_hypervisor(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)config;
    row->eax = LEAF_HYPERVISOR_MAX;
    row->ebx = 0x4b4d564b; // "KVMK"
    row->ecx = 0x564b4d56; // "VMKV"
    row->edx = 0x0000004d; // "M"
    return true;
}

static bool finish_paravirtual(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)config;
    row->eax = KVM_FEATURES;
    return true;
}

// VMware's timing leaf, which several guests read under any hypervisor: kHz of TSC and APIC timer.
static bool finish_timing(const struct cpuid_config *config, struct abi_cpuid *row) {
    row->eax = (uint32_t)(config->tsc_hz / 1000);
    row->ebx = row->eax;
    return true;
}

static bool finish_extended_vendor(const struct cpuid_config *config, struct abi_cpuid *row) {
    row->eax = is_amd(config) ? LEAF_AMD_MAX : LEAF_EXTENDED_MAX;
    return true;
}

static bool finish_extended_amd(const struct cpuid_config *config, struct abi_cpuid *row) {
    if (!has_avx(config))
        row->ecx &= ~X1_ECX_NEED_AVX;
    if (!is_amd(config))
        row->ecx &= ~X1_ECX_TOPOEXT;
    else if (config->vcpu_count > 1)
        row->ecx |= X1_ECX_CMP_LEGACY;
    return true;
}

static bool finish_invariant_tsc(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)config;
    row->edx |= X7_EDX_INVARIANT_TSC;
    return true;
}

static bool finish_addresses(const struct cpuid_config *config, struct abi_cpuid *row) {
    row->eax = X8_EAX_LINEAR_BITS | config->physical_bits;
    if (is_amd(config)) {
        row->ebx |= X8_EBX_LMSLE_LACKS;
        row->ecx = (config->vcpu_count - 1) | core_bits(config) << X8_ECX_ID_SIZE_SHIFT;
    }
    return true;
}

static bool finish_amd_cache(const struct cpuid_config *config, struct abi_cpuid *row) {
    return has_topology_leaves(config) && share_cache(config, row);
}

// One thread a core, one node; APIC ID and core are the kernel's.
static bool finish_amd_topology(const struct cpuid_config *config, struct abi_cpuid *row) {
    (void)row;
    return has_topology_leaves(config);
}

static bool finish_amd_features(const struct cpuid_config *config, struct abi_cpuid *row) {
    row->eax |= X21_EAX_SMM_CTL_LACKS;
    return is_amd(config);
}

const struct cpuid_rule cpuid_rules[] = {
    {0x0, ANY, {0, ALL, ALL, ALL}, finish_vendor},
    {0x1, ANY, {ALL, L1_EBX_CLFLUSH_SIZE, L1_ECX_PASS, L1_EDX_PASS}, finish_features},
    {0x2, ANY, {ALL, ALL, ALL, ALL}, finish_intel},
    {0x4, 0, {L4_EAX_SHAPE, ALL, ALL, ALL}, finish_cache},
    {0x4, 1, {L4_EAX_SHAPE, ALL, ALL, ALL}, finish_cache},
    {0x4, 2, {L4_EAX_SHAPE, ALL, ALL, ALL}, finish_cache},
    {0x4, 3, {L4_EAX_SHAPE, ALL, ALL, ALL}, finish_cache},
    {0x4, 4, {L4_EAX_SHAPE, ALL, ALL, ALL}, finish_cache},
    {0x6, ANY, {0, 0, 0, 0}, finish_power},
    {0x7, 0, {0, L7_EBX_PASS, L7_ECX_PASS, L7_EDX_PASS}, finish_extended_features},
    {0x7, 1, {L7_1_EAX_PASS, 0, 0, 0}, finish_extended_features_1},
    {0x7, 2, {0, 0, 0, L7_2_EDX_PASS}, finish_extended_features_2},
    {0xb, 0, {0, 0, 0, 0}, finish_topology},
    {0xb, 1, {0, 0, 0, 0}, finish_topology},
    {0xb, 2, {0, 0, 0, 0}, finish_topology},
    {0xd, 0, {0, 0, 0, 0}, finish_xsave},
    {0xd, 1, {LD_1_XSAVEOPT | LD_1_XGETBV1, 0, 0, 0}, finish_xsave_features},
    {0xd, 2, {ALL, ALL, LD_N_ALIGN_64, 0}, finish_xsave_component},
    {0xd, 5, {ALL, ALL, LD_N_ALIGN_64, 0}, finish_xsave_component},
    {0xd, 6, {ALL, ALL, LD_N_ALIGN_64, 0}, finish_xsave_component},
    {0xd, 7, {ALL, ALL, LD_N_ALIGN_64, 0}, finish_xsave_component},
    {0x15, ANY, {0, 0, 0, 0}, finish_tsc},
    {0x16, ANY, {0, 0, 0, 0}, finish_frequency},
    {LEAF_HYPERVISOR, ANY, {0, 0, 0, 0}, finish_hypervisor},
    {0x40000001, ANY, {0, 0, 0, 0}, finish_paravirtual},
    {LEAF_HYPERVISOR_MAX, ANY, {0, 0, 0, 0}, finish_timing},
    {0x80000000, ANY, {0, ALL, ALL, ALL}, finish_extended_vendor},
    {0x80000001, ANY, {ALL, 0, X1_ECX_PASS, X1_EDX_PASS}, finish_extended_amd},
    {0x80000002, ANY, {ALL, ALL, ALL, ALL}, NULL},
    {0x80000003, ANY, {ALL, ALL, ALL, ALL}, NULL},
    {0x80000004, ANY, {ALL, ALL, ALL, ALL}, NULL},
    {0x80000005, ANY, {ALL, ALL, ALL, ALL}, NULL},
    {0x80000006, ANY, {ALL, ALL, ALL, ALL}, NULL},
    {0x80000007, ANY, {0, 0, 0, 0}, finish_invariant_tsc},
    {0x80000008, ANY, {0, X8_EBX_PASS, 0, 0}, finish_addresses},
    {0x8000001d, 0, {X1D_EAX_SHAPE, ALL, ALL, X1D_EDX_PASS}, finish_amd_cache},
    {0x8000001d, 1, {X1D_EAX_SHAPE, ALL, ALL, X1D_EDX_PASS}, finish_amd_cache},
    {0x8000001d, 2, {X1D_EAX_SHAPE, ALL, ALL, X1D_EDX_PASS}, finish_amd_cache},
    {0x8000001d, 3, {X1D_EAX_SHAPE, ALL, ALL, X1D_EDX_PASS}, finish_amd_cache},
    {0x8000001e, ANY, {0, 0, 0, 0}, finish_amd_topology},
    {0x80000021, ANY, {X21_EAX_PASS, 0, X21_ECX_PASS, 0}, finish_amd_features},
};
const size_t cpuid_rule_count = sizeof(cpuid_rules) / sizeof(cpuid_rules[0]);
_Static_assert(sizeof(cpuid_rules) / sizeof(cpuid_rules[0]) <= ABI_CPUID_MAX, "fits the kernel");

// Beyond its last leaf a processor repeats some other leaf: no answer of its own.
static void read_host(const struct cpuid_config *config, struct abi_cpuid *row) {
    struct abi_cpuid last;
    config->host(row->leaf & 0x80000000u, 0, &last);
    if (row->leaf > last.eax)
        return;
    config->host(row->leaf, row->subleaf == ANY ? 0 : row->subleaf, row);
}

size_t cpuid_build(const struct cpuid_config *config,
                   struct abi_cpuid table[static ABI_CPUID_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < cpuid_rule_count; i++) {
        const struct cpuid_rule *rule = &cpuid_rules[i];
        struct abi_cpuid *row = &table[count];
        *row = (struct abi_cpuid){.leaf = rule->leaf, .subleaf = rule->subleaf};
        read_host(config, row);
        row->eax &= rule->mask.eax;
        row->ebx &= rule->mask.ebx;
        row->ecx &= rule->mask.ecx;
        row->edx &= rule->mask.edx;
        if (rule->finish == NULL || rule->finish(config, row))
            count++;
    }
    return count;
}

void cpuid_execute(uint32_t leaf, uint32_t subleaf, struct abi_cpuid *answer) {
    __asm__ volatile("cpuid"
                     : "=a"(answer->eax), "=b"(answer->ebx), "=c"(answer->ecx), "=d"(answer->edx)
                     : "a"(leaf), "c"(subleaf));
}
