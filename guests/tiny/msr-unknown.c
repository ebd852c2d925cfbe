// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR of a register that the processor does not have are #GP(0): each of the two ranges
// that VT-x has bitmaps for, on AMD's processors the third, and samples outside of them. What is
// not in the list below is unknown.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

struct range {
    uint32_t first, last;
};

static const struct range known[] = {
    {0x10, 0x10},             // TSC
    {0x17, 0x17},             // PLATFORM_ID
    {0x1b, 0x1b},             // APIC_BASE
    {0x2a, 0x2a},             // EBL_CR_POWERON
    {0x3a, 0x3b},             // FEATURE_CONTROL, TSC_ADJUST
    {0x48, 0x49},             // SPEC_CTRL, PRED_CMD: speculation.c has them, and the next two
    {0x79, 0x79},             // BIOS_UPDT_TRIG
    {0x8b, 0x8b},             // BIOS_SIGN_ID
    {0xce, 0xce},             // PLATFORM_INFO
    {0xfe, 0xfe},             // MTRRCAP
    {0x10a, 0x10b},           // ARCH_CAPABILITIES, FLUSH_CMD
    {0x174, 0x176},           // SYSENTER
    {0x179, 0x17a},           // MCG_CAP, MCG_STATUS
    {0x1a0, 0x1a0},           // MISC_ENABLE
    {0x1d9, 0x1d9},           // DEBUGCTL
    {0x200, 0x20f},           // MTRRs
    {0x250, 0x250},           //
    {0x258, 0x259},           //
    {0x268, 0x26f},           //
    {0x277, 0x277},           // PAT
    {0x2ff, 0x2ff},           // MTRR_DEF_TYPE
    {0x6e0, 0x6e0},           // TSC_DEADLINE
    {0x4b564d00, 0x4b564d01}, // KVM_WALL_CLOCK_NEW, KVM_SYSTEM_TIME_NEW
    {0x4b564d03, 0x4b564d03}, // KVM_STEAL_TIME
    {0xc0000080, 0xc0000084}, // EFER, STAR to SFMASK
    {0xc0000100, 0xc0000103}, // FS, GS, KERNEL_GS base, TSC_AUX
};

// Beside these, on AMD's processors.
static const struct range known_amd[] = {
    {0xc0010000, 0xc0010007}, // performance counters
    {0xc0010010, 0xc0010010}, // SYSCFG
    {0xc0010015, 0xc0010015}, // HWCR
    {0xc001001a, 0xc001001a}, // TOP_MEM
    {0xc001001d, 0xc001001d}, // TOP_MEM2
    {0xc001001f, 0xc0010020}, // NB_CFG, PATCH_LOADER
    {0xc0010055, 0xc0010055}, // INTERRUPT_PENDING
    {0xc0010058, 0xc0010058}, // MMIO_CONFIG_BASE
    {0xc0010114, 0xc0010114}, // VM_CR
    {0xc0011021, 0xc0011023}, // IC_CFG, DC_CFG, BU_CFG
    {0xc0011029, 0xc001102a}, // DE_CFG, BU_CFG2
};

static bool is_in(const struct range *ranges, size_t count, uint32_t msr) {
    for (size_t i = 0; i < count; i++)
        if (msr >= ranges[i].first && msr <= ranges[i].last)
            return true;
    return false;
}

static bool is_known(uint32_t msr) {
    static bool has_amd, is_set;
    if (!is_set)
        has_amd = is_amd();
    is_set = true;
    return is_in(known, ARRAY_COUNT(known), msr) ||
           (has_amd && is_in(known_amd, ARRAY_COUNT(known_amd), msr));
}

static void check_unknown(uint32_t msr) {
    static uint32_t told;
    bool is_right;
    (void)try_rdmsr(msr);
    is_right = trap_last.is_taken && trap_last.vector == EXC_GP && trap_last.error == 0;
    try_wrmsr(msr, 0);
    is_right = is_right && trap_last.is_taken && trap_last.vector == EXC_GP && trap_last.error == 0;
    CHECK(is_right);
    if (!is_right && told++ < 20)
        print("MSR 0x%x does not fault\n", msr);
}

static void check_range(uint32_t first, uint32_t last) {
    for (uint32_t msr = first; msr <= last; msr++)
        if (!is_known(msr))
            check_unknown(msr);
}

void test(void) {
    check_range(0, 0x1fff);
    check_range(0xc0000000, 0xc0001fff);
    check_range(0xc0002000, 0xc00023ff);     // banks of machine checks
    for (unsigned bit = 13; bit < 32; bit++) // one of each power of two, where no bitmap is
        check_unknown((uint32_t)BIT(bit) + 0x123);
    check_unknown(0x40000000);
    check_unknown(0x4b564d02); // KVM's asynchronous page faults, which CPUID does not offer
    check_unknown(0x4b564d04); // and its EOI
    if (is_amd())
        check_range(0xc0010000, 0xc0011fff);
    else
        check_unknown(0xc0010000);
    check_unknown(UINT32_MAX);
}
