// SPDX-License-Identifier: Apache-2.0
// Reads what the processor offers, once, and turns on what the kernel uses of it on each CPU.
// SDM 2A "CPUID".
#include "arch/features.h"

#include "arch/log.h"
#include "arch/mitigation.h"
#include "lib/string.h"

struct cpu_features cpu_features;

#define LEAF_BASIC      0x0u
#define LEAF_FEATURES   0x1u
#define LEAF_STRUCTURED 0x7u
#define LEAF_XSAVE      0xdu
#define LEAF_EXTENDED   0x80000000u
#define LEAF_EXT_FLAGS  0x80000001u
#define LEAF_BRAND      0x80000002u
#define LEAF_POWER      0x80000007u
#define LEAF_ADDRESSES  0x80000008u
#define FXSAVE_SIZE     512u

static void read_vendor(struct cpu_features *f) {
    struct cpuid_result r = x86_cpuid(LEAF_BASIC, 0);
    memcpy(f->vendor, &r.ebx, 4);
    memcpy(f->vendor + 4, &r.edx, 4);
    memcpy(f->vendor + 8, &r.ecx, 4);
    if (x86_cpuid(LEAF_EXTENDED, 0).eax < LEAF_BRAND + 2)
        return;
    for (uint32_t i = 0; i < 3; i++) {
        r = x86_cpuid(LEAF_BRAND + i, 0);
        memcpy(f->brand + 16 * i, &r, 16);
    }
}

// The features whose state the kernel can move for guests: the largest set that fits one page.
static void read_xsave(struct cpu_features *f) {
    f->xsave_size = FXSAVE_SIZE;
    f->xcr0_mask = XCR0_X87 | XCR0_SSE;
    if (!f->has_xsave)
        return;
    struct cpuid_result r = x86_cpuid(LEAF_XSAVE, 0);
    uint64_t supported = (uint64_t)r.edx << 32 | r.eax;
    f->xcr0_mask |= supported & XCR0_AVX;
    if ((f->xcr0_mask & XCR0_AVX) != 0 && (supported & XCR0_AVX512) == XCR0_AVX512)
        f->xcr0_mask |= XCR0_AVX512;
    // The size in EBX is for what XCR0 holds now.
    x86_write_cr4(x86_read_cr4() | CR4_OSXSAVE);
    x86_xsetbv(0, f->xcr0_mask);
    f->xsave_size = x86_cpuid(LEAF_XSAVE, 0).ebx;
    assert(f->xsave_size <= PAGE_SIZE);
}

void features_read(void) {
    struct cpu_features *f = &cpu_features;
    uint32_t max = x86_cpuid(LEAF_BASIC, 0).eax;
    uint32_t max_extended = x86_cpuid(LEAF_EXTENDED, 0).eax;
    struct cpuid_result r = x86_cpuid(LEAF_FEATURES, 0);
    read_vendor(f);
    f->has_vmx = (r.ecx & BIT(5)) != 0;
    f->has_x2apic = (r.ecx & BIT(21)) != 0;
    f->has_tsc_deadline = (r.ecx & BIT(24)) != 0;
    f->has_xsave = (r.ecx & BIT(26)) != 0;
    if (max >= LEAF_STRUCTURED) {
        r = x86_cpuid(LEAF_STRUCTURED, 0);
        f->has_tsc_adjust = (r.ebx & BIT(1)) != 0;
        f->has_smep = (r.ebx & BIT(7)) != 0;
        f->has_smap = (r.ebx & BIT(20)) != 0;
        f->has_umip = (r.ecx & BIT(2)) != 0;
        f->has_la57 = (r.ecx & BIT(16)) != 0;
    }
    r = x86_cpuid(LEAF_EXT_FLAGS, 0);
    f->has_svm = (r.ecx & BIT(2)) != 0;
    f->has_nx = (r.edx & BIT(20)) != 0;
    f->has_1g_pages = (r.edx & BIT(26)) != 0;
    f->has_rdtscp = (r.edx & BIT(27)) != 0;
    if (max_extended >= LEAF_POWER)
        f->has_tsc_invariant = (x86_cpuid(LEAF_POWER, 0).edx & BIT(8)) != 0;
    f->physical_bits =
        max_extended >= LEAF_ADDRESSES ? x86_cpuid(LEAF_ADDRESSES, 0).eax & 0xff : 36;
    read_xsave(f);
}

void features_enable(void) {
    const struct cpu_features *f = &cpu_features;
    x86_write_cr0((x86_read_cr0() | CR0_WP | CR0_NE | CR0_MP | CR0_ET) &
                  ~(CR0_EM | CR0_AM | CR0_CD | CR0_NW));
    x86_write_cr4(CR4_PAE | (mitigation.splits_tables ? 0 : CR4_PGE) | CR4_MCE | CR4_OSFXSR |
                  CR4_OSXMMEXCPT | (f->has_smep ? CR4_SMEP : 0) | (f->has_smap ? CR4_SMAP : 0) |
                  (f->has_umip ? CR4_UMIP : 0) | (f->has_xsave ? CR4_OSXSAVE : 0));
    if (f->has_xsave)
        x86_xsetbv(0, f->xcr0_mask);
    x86_wrmsr(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
    x86_wrmsr(MSR_PAT, PAT_RESET);
    x86_write_dr7(BIT(10));
    // The FPU's registers hold a guest's state while ring 3 runs: using them there is #NM.
    x86_write_cr0(x86_read_cr0() | CR0_TS);
}
