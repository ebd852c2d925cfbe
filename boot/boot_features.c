// SPDX-License-Identifier: Apache-2.0
// See boot/boot_features.h.
#include "boot/boot_features.h"

#include "boot/boot_report.h"
#include "boot/boot_vmx.h"
#include "lib/string.h"
#include "lib/types.h"

#define LEAF_BASIC      0x0u
#define LEAF_FEATURES   0x1u
#define LEAF_STRUCTURED 0x7u
#define LEAF_XSAVE      0xdu
#define LEAF_ALLOCATION 0x10u
#define LEAF_EXT_FLAGS  0x80000001u
#define LEAF_BRAND      0x80000002u
#define LEAF_POWER      0x80000007u
#define LEAF_ADDRESSES  0x80000008u
#define LEAF_SVM        0x8000000au
#define LEAF_EXTENDED_2 0x80000021u
#define ECX_VMX         BIT(5)
#define ECX_OSXSAVE     BIT(27) // as CR4 says
#define ECX_HYPERVISOR  BIT(31)
#define ECX_OSPKE       BIT(4) // of leaf 7: as CR4 says

#define XCR0_X87    BIT(0)
#define XCR0_SSE    BIT(1)
#define XCR0_AVX    BIT(2)
#define XCR0_AVX512 (BIT(5) | BIT(6) | BIT(7))
#define XSAVE_FIRST 576u // where what has no place of its own in FXSAVE begins
#define BRAND_SIZE  49u

#define EBX_ALLOCATION BIT(15) // of leaf 7: RDT-A
#define EBX_L3         BIT(1)  // of LEAF_ALLOCATION, subleaf 0
#define SUBLEAF_L3     1u
#define WAYS(eax)      (((eax)&0x1f) + 1)
#define CLASSES(edx)   (((edx)&0xffff) + 1)

#define MSR_APIC_BASE    0x1bu
#define APIC_BASE_X2APIC BIT(10)
#define XAPIC_IDS        255u // 8 bits, and the last one is everybody

static uint32_t signature(const struct boot_processor *cpu) {
    return boot_leaf(cpu, LEAF_FEATURES, 0).eax;
}

// The features whose state the kernel can move for guests: the largest set that fits one page. SDM
// 1 13.4.3 "Extended Region of an XSAVE Area": subleaf i has size and place of feature i.
static void read_xsave(const struct boot_processor *cpu, struct cpu_features *f) {
    f->xcr0_mask = XCR0_X87 | XCR0_SSE;
    if (!f->has_xsave)
        return;
    uint32_t supported = boot_leaf(cpu, LEAF_XSAVE, 0).eax;
    f->xcr0_mask |= supported & XCR0_AVX;
    if ((f->xcr0_mask & XCR0_AVX) != 0 && (supported & XCR0_AVX512) == XCR0_AVX512)
        f->xcr0_mask |= XCR0_AVX512;
    uint32_t size = XSAVE_FIRST;
    for (uint32_t i = 2; i < 8; i++) {
        struct boot_cpuid r = boot_leaf(cpu, LEAF_XSAVE, i);
        if ((f->xcr0_mask >> i & 1) != 0)
            size = MAX(size, r.ebx + r.eax);
    }
    if (size <= BOOT_PAGE)
        return;
    f->has_xsave = false;
    read_xsave(cpu, f);
}

// SDM 2A "CPUID", leaf 10H: Cache Allocation Technology.
static void read_cache(const struct boot_processor *cpu, struct cpu_features *f) {
    if ((boot_leaf(cpu, LEAF_STRUCTURED, 0).ebx & EBX_ALLOCATION) == 0 ||
        (boot_leaf(cpu, LEAF_ALLOCATION, 0).ebx & EBX_L3) == 0)
        return;
    struct boot_cpuid r = boot_leaf(cpu, LEAF_ALLOCATION, SUBLEAF_L3);
    f->cache_ways = WAYS(r.eax);
    f->cache_classes = MIN(CLASSES(r.edx), CPU_CACHE_CLASSES_MAX);
}

// Timers on the TSC's deadline that fire early or never, until microcode mends them: errata HSE83,
// BDF83, SKX... of the specification updates. Servers of Haswell, Broadwell and Skylake, and their
// desktop and mobile sisters.
static bool has_deadline_erratum(const struct boot_processor *cpu) {
    static const struct {
        uint32_t signature, mask, microcode;
    } errata[] = {
        {0x306f2, 0, 0x3a},       {0x306f4, 0, 0x0f},       {0x406f0, 0xf, 0x0b000020},
        {0x50662, 0, 0x11},       {0x50663, 0, 0x0700000e}, {0x50664, 0, 0x0f00000c},
        {0x50665, 0, 0x0e000003}, {0x50653, 0, 0x01000136}, {0x50654, 0, 0x02000014},
        {0x306c0, 0xf, 0x22},     {0x40650, 0xf, 0x20},     {0x40660, 0xf, 0x17},
        {0x306d0, 0xf, 0x25},     {0x40670, 0xf, 0x17},     {0x406e0, 0xf, 0xb2},
        {0x506e0, 0xf, 0xb2},     {0x806e0, 0xf, 0x52},     {0x906e0, 0xf, 0x52},
    };
    if (cpu->microcode == 0 || (boot_leaf(cpu, LEAF_FEATURES, 0).ecx & ECX_HYPERVISOR) != 0)
        return false;
    for (uint32_t i = 0; i < ARRAY_COUNT(errata); i++)
        if ((signature(cpu) & ~errata[i].mask) == errata[i].signature)
            return cpu->microcode < errata[i].microcode;
    return false;
}

static bool needs_x2apic(const struct boot_processor *cpu, const struct boot_info *info) {
    uint32_t last =
        info->cpu_count == 0 ? info->boot_apic_id : info->cpu[info->cpu_count - 1].apic_id;
    return last >= XAPIC_IDS || (cpu->rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC) != 0;
}

static void add_word(struct boot_info *info, uint32_t number, uint32_t subleaf,
                     enum cpu_word_source source, enum cpu_word_rule rule, uint64_t mask,
                     uint64_t value) {
    if (info->word_count < BOOT_WORDS_MAX)
        info->word[info->word_count++] = (struct cpu_word){.number = number,
                                                           .subleaf = (uint16_t)subleaf,
                                                           .source = (uint8_t)source,
                                                           .rule = (uint8_t)rule,
                                                           .mask = mask,
                                                           .value = value & mask};
}

// What the kernel and its guests take from CPUID, wherever they run.
static void add_leaves(const struct boot_processor *cpu, struct boot_info *info) {
    static const struct {
        uint32_t number, subleaf;
        enum cpu_word_source source;
        uint32_t mask;
        enum cpu_word_rule rule;
    } rows[] = {
        {LEAF_FEATURES, 0, CPU_WORD_ECX, ~(uint32_t)ECX_OSXSAVE, CPU_WORD_BITS},
        {LEAF_FEATURES, 0, CPU_WORD_EDX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_STRUCTURED, 0, CPU_WORD_EBX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_STRUCTURED, 0, CPU_WORD_ECX, 0x1f003fef, CPU_WORD_BITS}, // the bits that are flags
        {LEAF_STRUCTURED, 0, CPU_WORD_EDX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_STRUCTURED, 2, CPU_WORD_EDX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_XSAVE, 0, CPU_WORD_EAX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_XSAVE, 1, CPU_WORD_EAX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_EXT_FLAGS, 0, CPU_WORD_ECX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_EXT_FLAGS, 0, CPU_WORD_EDX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_POWER, 0, CPU_WORD_EDX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_ADDRESSES, 0, CPU_WORD_EAX, 0xffff, CPU_WORD_SAME},
        {LEAF_ADDRESSES, 0, CPU_WORD_EBX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_EXTENDED_2, 0, CPU_WORD_EAX, UINT32_MAX, CPU_WORD_BITS},
        {LEAF_SVM, 0, CPU_WORD_EBX, UINT32_MAX, CPU_WORD_SAME}, // what boot_svm.c found
        {LEAF_SVM, 0, CPU_WORD_EDX, UINT32_MAX, CPU_WORD_BITS},
    };
    _Static_assert((0x1f003fef & ECX_OSPKE) == 0, "as CR4 says");
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct boot_cpuid r = boot_leaf(cpu, rows[i].number, rows[i].subleaf);
        const uint32_t registers[] = {r.eax, r.ebx, r.ecx, r.edx};
        uint32_t value = registers[rows[i].source];
        if ((value & rows[i].mask) != 0)
            add_word(info, rows[i].number, rows[i].subleaf, rows[i].source, rows[i].rule,
                     rows[i].mask, value);
    }
}

// What idle CPUs rely on, see boot_idle.c.
static void add_idle(const struct boot_processor *cpu, struct boot_info *info) {
    add_word(info, LEAF_MONITOR, 0, CPU_WORD_ECX, CPU_WORD_BITS, ECX_MWAIT,
             boot_leaf(cpu, LEAF_MONITOR, 0).ecx);
    add_word(info, LEAF_THERMAL, 0, CPU_WORD_EAX, CPU_WORD_BITS, EAX_ARAT,
             boot_leaf(cpu, LEAF_THERMAL, 0).eax);
}

#define MISC_TIMER_AND_MSR 0x3fffffff // what has to be the same of it, but for the revision of MSEG

static void add_msr(const struct boot_processor *cpu, struct boot_info *info, uint32_t msr,
                    enum cpu_word_rule rule) {
    add_word(info, msr, 0, CPU_WORD_MSR, rule, UINT64_MAX, cpu->rdmsr(msr));
}

// SDM 3D A.2 to A.10. The VMCS of one CPU is loaded on another: the words that it was made by hold.
static void add_vmx(const struct boot_processor *cpu, struct boot_info *info) {
    uint64_t basic = cpu->rdmsr(MSR_VMX_BASIC);
    add_msr(cpu, info, MSR_VMX_BASIC, CPU_WORD_SAME);
    for (uint32_t msr = MSR_VMX_BASIC + 1; msr < MSR_VMX_MISC; msr++)
        add_msr(cpu, info, msr, CPU_WORD_CONTROLS);
    add_word(info, MSR_VMX_MISC, 0, CPU_WORD_MSR, CPU_WORD_SAME, MISC_TIMER_AND_MSR,
             cpu->rdmsr(MSR_VMX_MISC));
    for (uint32_t msr = MSR_VMX_MISC + 1; msr <= MSR_VMX_MISC + 4; msr++)
        add_msr(cpu, info, msr, CPU_WORD_SAME); // bits of CR0 and CR4
    if ((cpu->rdmsr(MSR_VMX_PRIMARY) >> 32 & PRIMARY_SECONDARY_CONTROLS) != 0) {
        add_msr(cpu, info, MSR_VMX_SECONDARY, CPU_WORD_CONTROLS);
        if ((cpu->rdmsr(MSR_VMX_SECONDARY) >> 32 & (SECONDARY_EPT | SECONDARY_VPID)) != 0)
            add_msr(cpu, info, MSR_VMX_EPT_VPID_CAP, CPU_WORD_BITS);
    }
    bool has_true = (basic & VMX_BASIC_TRUE_CONTROLS) != 0;
    for (uint32_t msr = MSR_VMX_TRUE_PIN; has_true && msr <= MSR_VMX_TRUE_ENTRY; msr++)
        add_msr(cpu, info, msr, CPU_WORD_CONTROLS);
}

void boot_features_read(const struct boot_processor *cpu, bool x2apic_is_refused,
                        struct boot_info *info) {
    static const char intel[] = "GenuntelineI"; // EBX, ECX, EDX
    struct cpu_features *f = &info->features;
    struct boot_cpuid basic = boot_leaf(cpu, LEAF_BASIC, 0), one = boot_leaf(cpu, LEAF_FEATURES, 0);
    struct boot_cpuid seven = boot_leaf(cpu, LEAF_STRUCTURED, 0),
                      ext = boot_leaf(cpu, LEAF_EXT_FLAGS, 0);
    struct boot_cpuid addresses = boot_leaf(cpu, LEAF_ADDRESSES, 0);
    *f = (struct cpu_features){
        .is_intel = memcmp(&basic.ebx, intel, 12) == 0,
        .has_vmx = (one.ecx & ECX_VMX) != 0,
        .has_x2apic = (one.ecx & BIT(21)) != 0,
        .has_tsc_deadline = (one.ecx & BIT(24)) != 0,
        .has_xsave = (one.ecx & BIT(26)) != 0,
        .has_tsc_adjust = (seven.ebx & BIT(1)) != 0,
        .has_smep = (seven.ebx & BIT(7)) != 0,
        .has_smap = (seven.ebx & BIT(20)) != 0,
        .has_umip = (seven.ecx & BIT(2)) != 0,
        .has_la57 = (seven.ecx & BIT(16)) != 0,
        .has_svm = (ext.ecx & BIT(2)) != 0,
        .has_syscall = (ext.edx & BIT(11)) != 0,
        .has_nx = (ext.edx & BIT(20)) != 0,
        .has_1g_pages = (ext.edx & BIT(26)) != 0,
        .has_rdtscp = (ext.edx & BIT(27)) != 0,
        .has_tsc_invariant = (boot_leaf(cpu, LEAF_POWER, 0).edx & BIT(8)) != 0,
        .physical_bits = addresses.eax != 0 ? addresses.eax & 0xff : 36,
    };
    read_xsave(cpu, f);
    read_cache(cpu, f);
    if (f->has_tsc_deadline && has_deadline_erratum(cpu)) {
        f->has_tsc_deadline = false;
        boot_report(info,
                    "the TSC-deadline timer has an erratum with microcode 0x%x: the local "
                    "APIC's timer counts instead (update the microcode)",
                    cpu->microcode);
    }
    boot_idle_read(cpu, info);
    add_leaves(cpu, info);
    if (f->has_mwait)
        add_idle(cpu, info);
    if (f->has_vmx)
        add_vmx(cpu, info);
    if (f->has_x2apic && x2apic_is_refused) {
        f->has_x2apic = needs_x2apic(cpu, info);
        boot_report(info, "the firmware asks for xAPIC mode: %s",
                    f->has_x2apic ? "not possible here, x2APIC mode is used" : "done");
    }
}

void boot_features_limit_cpus(struct boot_info *info, uint32_t cpus_left) {
    if (cpus_left > 0)
        boot_report(info, "%u CPUs beyond the first %u are left off", cpus_left, BOOT_CPUS_MAX);
    uint32_t count = info->cpu_count;
    if (!info->features.has_x2apic)
        while (count > 0 && info->cpu[count - 1].apic_id >= XAPIC_IDS)
            count--;
    if (count < info->cpu_count)
        boot_report(info,
                    "%u CPUs, from APIC ID %u on, need x2APIC mode, which this one lacks: left out",
                    info->cpu_count - count, info->cpu[count].apic_id);
    info->cpu_count = count;
}

static void read_brand(const struct boot_processor *cpu, char brand[BRAND_SIZE]) {
    memset(brand, 0, BRAND_SIZE);
    for (uint32_t i = 0; i < 3; i++) {
        struct boot_cpuid r = boot_leaf(cpu, LEAF_BRAND + i, 0);
        memcpy(brand + 16 * i, &r, 16);
    }
}

void boot_features_report(const struct boot_processor *cpu, struct boot_info *info) {
    static const char *const clocks[] = {"?", "CPUID", "PM timer", "HPET", "8254"};
    const struct cpu_features *f = &info->features;
    const uint64_t kilo = 1000, mega = 1000000;
    char brand[BRAND_SIZE];
    read_brand(cpu, brand);
    boot_report(info, "clock: TSC at %llu kHz by %s, within %u ppm%s",
                (unsigned long long)(info->tsc_hz / kilo), clocks[info->platform->tsc_source],
                info->platform->tsc_error,
                info->platform->tsc_error == 0 ? " (nothing to measure it by)" : "");
    boot_report(info, "CPU: %s, %u MHz", brand[0] != '\0' ? brand : "?",
                (uint32_t)((info->tsc_hz + mega / 2) / mega));
    if (!f->has_smep || !f->has_smap || !f->has_umip)
        boot_report(info, "missing:%s%s%s (hardening only)", f->has_smep ? "" : " SMEP",
                    f->has_smap ? "" : " SMAP", f->has_umip ? "" : " UMIP");
    if (!f->has_tsc_invariant)
        boot_report(
            info, "missing: invariant TSC (guests may see time drift when the CPU changes speed)");
    boot_mitigation_report(info);
}
