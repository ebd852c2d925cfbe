// SPDX-License-Identifier: Apache-2.0
// Which values control registers can have.
#include "vmx/cr.h"

// CPUID bits: SDM 2A "CPUID".
#define LEAF1_ECX_PCID   BIT(17)
#define LEAF1_ECX_XSAVE  BIT(26)
#define LEAF1_EDX_VME    BIT(1)
#define LEAF1_EDX_DE     BIT(2)
#define LEAF1_EDX_PSE    BIT(3)
#define LEAF1_EDX_TSC    BIT(4)
#define LEAF1_EDX_PAE    BIT(6)
#define LEAF1_EDX_MCE    BIT(7)
#define LEAF1_EDX_PGE    BIT(13)
#define LEAF1_EDX_FXSR   BIT(24)
#define LEAF1_EDX_SSE    BIT(25)
#define LEAF7_EBX_FSGS   BIT(0)
#define LEAF7_EBX_SMEP   BIT(7)
#define LEAF7_EBX_SMAP   BIT(20)
#define LEAF7_ECX_UMIP   BIT(2)
#define LEAF7_EDX_IBRS   BIT(26) // and IBPB
#define LEAF7_EDX_STIBP  BIT(27)
#define LEAF7_EDX_SSBD   BIT(31)
#define LEAF7_2_PSFD     BIT(0)
#define LEAF7_2_IPRED    BIT(1)
#define LEAF7_2_RRSBA    BIT(2)
#define LEAF7_2_DDPD     BIT(3)
#define LEAF7_2_BHI      BIT(4)
#define EXTENDED_EDX_SCE BIT(11)
#define EXTENDED_EDX_NX  BIT(20)
#define EXTENDED_EDX_LM  BIT(29)

uint64_t cr4_allowed(const struct cr_features *features) {
    const struct {
        uint32_t features;
        uint64_t cpuid, cr4;
    } rows[] = {
        {features->leaf1_edx, LEAF1_EDX_VME, CR4_VME | CR4_PVI},
        {features->leaf1_edx, LEAF1_EDX_TSC, CR4_TSD},
        {features->leaf1_edx, LEAF1_EDX_DE, CR4_DE},
        {features->leaf1_edx, LEAF1_EDX_PSE, CR4_PSE},
        {features->leaf1_edx, LEAF1_EDX_PAE, CR4_PAE},
        {features->leaf1_edx, LEAF1_EDX_MCE, CR4_MCE},
        {features->leaf1_edx, LEAF1_EDX_PGE, CR4_PGE},
        {features->leaf1_edx, LEAF1_EDX_FXSR, CR4_OSFXSR},
        {features->leaf1_edx, LEAF1_EDX_SSE, CR4_OSXMMEXCPT},
        {features->leaf1_ecx, LEAF1_ECX_PCID, CR4_PCIDE},
        {features->leaf1_ecx, LEAF1_ECX_XSAVE, CR4_OSXSAVE},
        {features->leaf7_ebx, LEAF7_EBX_FSGS, CR4_FSGSBASE},
        {features->leaf7_ebx, LEAF7_EBX_SMEP, CR4_SMEP},
        {features->leaf7_ebx, LEAF7_EBX_SMAP, CR4_SMAP},
        {features->leaf7_ecx, LEAF7_ECX_UMIP, CR4_UMIP},
    };
    uint64_t allowed = CR4_PCE; // no CPUID bit stands for it; RDPMC faults all the same
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].features & rows[i].cpuid)
            allowed |= rows[i].cr4;
    return allowed;
}

uint64_t efer_allowed(const struct cr_features *features) {
    uint32_t edx = features->leaf80000001_edx;
    return (edx & EXTENDED_EDX_SCE ? EFER_SCE : 0) | (edx & EXTENDED_EDX_NX ? EFER_NXE : 0) |
           (edx & EXTENDED_EDX_LM ? EFER_LME | EFER_LMA : 0);
}

uint64_t spec_ctrl_allowed(const struct cr_features *features) {
    const struct {
        uint32_t features;
        uint64_t cpuid, bits;
    } rows[] = {
        {features->leaf7_edx, LEAF7_EDX_IBRS, BIT(0)},
        {features->leaf7_edx, LEAF7_EDX_STIBP, BIT(1)},
        {features->leaf7_edx, LEAF7_EDX_SSBD, BIT(2)},
        {features->leaf7_2_edx, LEAF7_2_IPRED, BIT(3) | BIT(4)},
        {features->leaf7_2_edx, LEAF7_2_RRSBA, BIT(5) | BIT(6)},
        {features->leaf7_2_edx, LEAF7_2_PSFD, BIT(7)},
        {features->leaf7_2_edx, LEAF7_2_DDPD, BIT(8)},
        {features->leaf7_2_edx, LEAF7_2_BHI, BIT(10)},
    };
    uint64_t allowed = 0;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        allowed |= rows[i].features & rows[i].cpuid ? rows[i].bits : 0;
    return allowed;
}

uint64_t cr0_host_mask(bool has_unrestricted_guest) {
    uint64_t mask = CR0_NE | CR0_NW | CR0_CD;
    return has_unrestricted_guest ? mask : mask | CR0_PE | CR0_PG;
}

uint64_t cr4_host_mask(uint64_t allowed) {
    const uint64_t harmless = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE |
                              CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE |
                              CR4_OSXSAVE | CR4_PCIDE | CR4_SMEP | CR4_SMAP;
    return ~(harmless & allowed);
}

static bool cr0_is_valid(uint64_t cr0) {
    if (cr0 >> 32)
        return false;
    if ((cr0 & CR0_PG) && !(cr0 & CR0_PE))
        return false;
    return !(cr0 & CR0_NW) || (cr0 & CR0_CD);
}

bool cr_state_is_valid(uint64_t cr0, uint64_t cr4, uint64_t efer, uint64_t cr4_may,
                       uint64_t efer_may) {
    if (!cr0_is_valid(cr0) || (cr4 & ~cr4_may) || (efer & ~efer_may))
        return false;
    bool is_long = (cr0 & CR0_PG) && (efer & EFER_LME);
    if (is_long != ((efer & EFER_LMA) != 0))
        return false;
    if (is_long)
        return (cr4 & CR4_PAE) != 0;
    return !(cr4 & CR4_PCIDE);
}

bool cr0_write_is_valid(uint64_t old, uint64_t value, uint64_t cr4, uint64_t efer,
                        bool is_cs_long) {
    if (!cr0_is_valid(value))
        return false;
    bool was_paging = (old & CR0_PG) != 0;
    bool is_paging = (value & CR0_PG) != 0;
    if (!was_paging && is_paging && (efer & EFER_LME))
        return (cr4 & CR4_PAE) && !is_cs_long;
    if (was_paging && !is_paging)
        return !(cr4 & CR4_PCIDE) && !((efer & EFER_LMA) && is_cs_long);
    return true;
}

bool cr4_write_is_valid(uint64_t old, uint64_t value, uint64_t allowed, uint64_t efer,
                        uint64_t cr3) {
    if ((value & ~allowed) || ((value & ~old & CR4_PCIDE) && (cr3 & CR3_PCID)))
        return false;
    bool is_long = (efer & EFER_LMA) != 0;
    if (is_long && !(value & CR4_PAE))
        return false;
    return is_long || (old & CR4_PCIDE) || !(value & CR4_PCIDE);
}

bool cr4_write_loads_pdptes(uint64_t old, uint64_t value, uint64_t cr0, uint64_t efer) {
    const uint64_t loading = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP;
    return (cr0 & CR0_PG) && !(efer & EFER_LMA) && (value & CR4_PAE) && ((old ^ value) & loading);
}

bool efer_write_is_valid(uint64_t old, uint64_t value, uint64_t allowed, uint64_t cr0) {
    if (value & ~allowed)
        return false;
    return !(cr0 & CR0_PG) || !((old ^ value) & EFER_LME);
}

// SDM 1 13.3 "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".
bool xcr0_is_valid(uint64_t value, uint64_t allowed) {
    if ((value & ~allowed) || !(value & XCR0_X87))
        return false;
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        return false;
    uint64_t mpx = value & XCR0_MPX;
    if (mpx && mpx != XCR0_MPX)
        return false;
    uint64_t amx = value & XCR0_AMX;
    if (amx && amx != XCR0_AMX)
        return false;
    uint64_t avx512 = value & XCR0_AVX512;
    return !avx512 || (avx512 == XCR0_AVX512 && (value & XCR0_AVX));
}

// SDM 3A 12.12.2 "IA32_PAT MSR": each byte is one of UC, WC, WT, WP, WB, UC-.
bool pat_is_valid(uint64_t value) {
    const uint32_t valid_types = BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6) | BIT(7);
    for (unsigned i = 0; i < sizeof value; i++) {
        uint8_t type = (uint8_t)(value >> (8 * i));
        if (type > 7 || !(valid_types & BIT(type)))
            return false;
    }
    return true;
}
