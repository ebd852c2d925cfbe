// SPDX-License-Identifier: Apache-2.0
// The MSR policy; the interface is told in msr.h. msr_rules is sorted by register without overlap
// (a unit test sees to it), and a register that stores has its place in struct msr_state by its
// position.
#include "vmm/cpu/msr.h"

#include "vmm/cpu/pvclock.h"

// Names of SDM 4 2.1 "Architectural MSRs".
#define IA32_PLATFORM_ID       0x17u
#define EBL_CR_POWERON         0x2au
#define IA32_FEATURE_CONTROL   0x3au
#define IA32_BIOS_UPDT_TRIG    0x79u
#define IA32_BIOS_SIGN_ID      0x8bu
#define MSR_PLATFORM_INFO      0xceu
#define IA32_MTRRCAP           0xfeu
#define IA32_ARCH_CAPABILITIES 0x10au
#define IA32_MCG_CAP           0x179u
#define IA32_MCG_STATUS        0x17au
#define IA32_MISC_ENABLE       0x1a0u
#define IA32_MTRR_PHYSBASE0    0x200u
#define IA32_MTRR_PHYSMASK7    0x20fu
#define IA32_MTRR_FIX64K       0x250u
#define IA32_MTRR_FIX16K_8000  0x258u
#define IA32_MTRR_FIX16K_A000  0x259u
#define IA32_MTRR_FIX4K_C0000  0x268u
#define IA32_MTRR_FIX4K_F8000  0x26fu
#define IA32_MTRR_DEF_TYPE     0x2ffu

// Locked with nothing enabled: SDM 3C 24.7 "Enabling and Entering VMX Operation".
#define FEATURE_CONTROL_LOCKED (1u << 0)
// Revision 1, in the upper half: SDM 3A 10.11.7.1 "Determining the Signature".
#define BIOS_SIGN_REVISION (1ULL << 32)
// SDM 3A 12.11.1 "MTRR Feature Identification": 8 variable ranges, fixed ranges, write-combining.
#define MTRR_CAP 0x508u
// SDM 3A 12.11.2.1 "IA32_MTRR_DEF_TYPE MSR": both enables, write-back.
#define MTRR_DEF_TYPE          0xc06u
#define MTRR_DEF_TYPE_WRITABLE 0xcffu
#define MTRR_ALL_WRITE_BACK    0x0606060606060606ULL
#define MTRR_ALL_UNCACHABLE    0
// Bytes that hold a memory type: SDM 3A 12.11.2 "Setting Memory Ranges with MTRRs".
#define TYPE_LOW  0xffULL
#define TYPE_ALL  UINT64_MAX
#define TYPE_BITS 8u
// Fast strings; branch trace and PEBS unavailable (bits 11 and 12).
#define MISC_ENABLE          0x1801u
#define MISC_ENABLE_WRITABLE 0x1u
#define MCG_STATUS_WRITABLE  0x7u
#define WALL_CLOCK_ADDRESS   (~3ULL) // aligned to 4 bytes
#define CLOCK_ADDRESS        (~2ULL) // likewise, and bit 0

const struct msr_rule msr_rules[] = {
    {IA32_PLATFORM_ID, IA32_PLATFORM_ID, MSR_WRITE_FAULTS, 0, 0, 0},
    {EBL_CR_POWERON, EBL_CR_POWERON, MSR_WRITE_IGNORED, 0, 0, 0},
    {IA32_FEATURE_CONTROL, IA32_FEATURE_CONTROL, MSR_WRITE_FAULTS, FEATURE_CONTROL_LOCKED, 0, 0},
    {IA32_BIOS_UPDT_TRIG, IA32_BIOS_UPDT_TRIG, MSR_WRITE_IGNORED, 0, 0, 0},
    {IA32_BIOS_SIGN_ID, IA32_BIOS_SIGN_ID, MSR_WRITE_IGNORED, BIOS_SIGN_REVISION, 0, 0},
    {MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, MSR_WRITE_FAULTS, 0, 0, 0},
    {IA32_MTRRCAP, IA32_MTRRCAP, MSR_WRITE_FAULTS, MTRR_CAP, 0, 0},
    {IA32_MCG_CAP, IA32_MCG_CAP, MSR_WRITE_FAULTS, 0, 0, 0}, // no banks
    {IA32_MCG_STATUS, IA32_MCG_STATUS, MSR_WRITE_STORED, 0, MCG_STATUS_WRITABLE, 0},
    {IA32_MISC_ENABLE, IA32_MISC_ENABLE, MSR_WRITE_MASKED, MISC_ENABLE, MISC_ENABLE_WRITABLE, 0},
    {IA32_MTRR_PHYSBASE0, IA32_MTRR_PHYSMASK7, MSR_WRITE_STORED, 0, UINT64_MAX, TYPE_LOW},
    {IA32_MTRR_FIX64K, IA32_MTRR_FIX64K, MSR_WRITE_STORED, MTRR_ALL_WRITE_BACK, UINT64_MAX,
     TYPE_ALL},
    {IA32_MTRR_FIX16K_8000, IA32_MTRR_FIX16K_8000, MSR_WRITE_STORED, MTRR_ALL_WRITE_BACK,
     UINT64_MAX, TYPE_ALL},
    {IA32_MTRR_FIX16K_A000, IA32_MTRR_FIX16K_A000, MSR_WRITE_STORED, MTRR_ALL_UNCACHABLE,
     UINT64_MAX, TYPE_ALL},
    {IA32_MTRR_FIX4K_C0000, IA32_MTRR_FIX4K_F8000, MSR_WRITE_STORED, MTRR_ALL_WRITE_BACK,
     UINT64_MAX, TYPE_ALL},
    {IA32_MTRR_DEF_TYPE, IA32_MTRR_DEF_TYPE, MSR_WRITE_STORED, MTRR_DEF_TYPE,
     MTRR_DEF_TYPE_WRITABLE, TYPE_LOW},
    {MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_WALL_CLOCK_NEW, MSR_WRITE_STORED, 0, WALL_CLOCK_ADDRESS, 0},
    {MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_SYSTEM_TIME_NEW, MSR_WRITE_STORED, 0, CLOCK_ADDRESS, 0},
};
const size_t msr_rule_count = sizeof(msr_rules) / sizeof(msr_rules[0]);

// Bits of IA32_ARCH_CAPABILITIES that pass. Left out are those that tell of registers (TSX_CTRL,
// MCU_CONTROL, MISC_PACKAGE_CTLS, ENERGY_FILTERING_CTL, DOITM, FB_CLEAR_CTRL, XAPIC_DISABLE_STATUS,
// OVERCLOCKING_STATUS, GDS_CTRL), or of what guests have not (MONITOR).
#define CAPABILITY(bit) (1ULL << (bit))
static const uint64_t promises = CAPABILITY(0)     // RDCL_NO
                                 | CAPABILITY(1)   // IBRS_ALL
                                 | CAPABILITY(3)   // SKIP_L1DFL_VMENTRY
                                 | CAPABILITY(4)   // SSB_NO
                                 | CAPABILITY(5)   // MDS_NO
                                 | CAPABILITY(6)   // IF_PSCHANGE_MC_NO
                                 | CAPABILITY(8)   // TAA_NO
                                 | CAPABILITY(13)  // SBDR_SSDP_NO
                                 | CAPABILITY(14)  // FBSDP_NO
                                 | CAPABILITY(15)  // PSDP_NO
                                 | CAPABILITY(17)  // FB_CLEAR
                                 | CAPABILITY(20)  // BHI_NO
                                 | CAPABILITY(24)  // PBRSB_NO
                                 | CAPABILITY(26)  // GDS_NO
                                 | CAPABILITY(27)  // RFDS_NO
                                 | CAPABILITY(28)  // RFDS_CLEAR
                                 | CAPABILITY(62); // ITS_NO
static const uint64_t warnings = CAPABILITY(2)     // RSBA
                                 | CAPABILITY(19); // RRSBA

uint64_t msr_guest_capabilities(uint64_t host) {
    return host & (promises | warnings);
}

static bool stores(const struct msr_rule *rule) {
    return rule->write == MSR_WRITE_STORED || rule->write == MSR_WRITE_MASKED;
}

// The row of a register and, when it stores, its place in struct msr_state; NULL: unknown.
static const struct msr_rule *find(uint32_t msr, size_t *place) {
    *place = 0;
    for (const struct msr_rule *rule = msr_rules; rule < msr_rules + msr_rule_count; rule++) {
        if (msr < rule->first)
            return NULL;
        if (msr <= rule->last) {
            *place += msr - rule->first;
            return rule;
        }
        if (stores(rule))
            *place += rule->last - rule->first + 1;
    }
    return NULL;
}

void msr_reset(struct msr_state *state, uint64_t arch_capabilities) {
    size_t place = 0;
    state->arch_capabilities = arch_capabilities;
    for (const struct msr_rule *rule = msr_rules; rule < msr_rules + msr_rule_count; rule++)
        for (uint32_t msr = rule->first; stores(rule) && msr <= rule->last; msr++)
            state->stored[place++] = rule->value;
    while (place < MSR_STORED_MAX)
        state->stored[place++] = 0;
}

bool msr_read(const struct msr_state *state, uint32_t msr, uint64_t *value) {
    size_t place;
    const struct msr_rule *rule = find(msr, &place);
    if (msr == IA32_ARCH_CAPABILITIES) {
        *value = state->arch_capabilities;
        return *value != 0;
    }
    if (rule == NULL)
        return false;
    *value = stores(rule) ? state->stored[place] : rule->value;
    return true;
}

// SDM 3A 12.11, Table 12-8 "Memory Types That Can Be Encoded in MTRRs".
static bool is_memory_type(uint8_t type) {
    return type <= 1 || (type >= 4 && type <= 6);
}

static bool has_memory_types(const struct msr_rule *rule, uint64_t value) {
    for (unsigned shift = 0; shift < 64; shift += TYPE_BITS)
        if ((rule->types >> shift & 1) && !is_memory_type((uint8_t)(value >> shift)))
            return false;
    return true;
}

bool msr_write(struct msr_state *state, uint32_t msr, uint64_t value) {
    size_t place;
    const struct msr_rule *rule = find(msr, &place);
    if (rule == NULL || rule->write == MSR_WRITE_FAULTS)
        return false;
    if (rule->write == MSR_WRITE_IGNORED)
        return true;
    uint64_t kept = state->stored[place] & ~rule->writable;
    if (rule->write == MSR_WRITE_STORED && (value & ~rule->writable) != kept)
        return false;
    if (!has_memory_types(rule, value))
        return false;
    state->stored[place] = kept | (value & rule->writable);
    return true;
}

bool msr_state_is_valid(const struct msr_state *state, uint64_t arch_capabilities) {
    size_t place = 0;
    uint64_t told = state->arch_capabilities, here = arch_capabilities;
    if ((told & ~(here | warnings)) != 0 || (here & ~told & warnings) != 0)
        return false;
    for (const struct msr_rule *rule = msr_rules; rule < msr_rules + msr_rule_count; rule++)
        for (uint32_t msr = rule->first; stores(rule) && msr <= rule->last; msr++, place++)
            if ((state->stored[place] & ~rule->writable) != (rule->value & ~rule->writable) ||
                !has_memory_types(rule, state->stored[place]))
                return false;
    return true;
}
