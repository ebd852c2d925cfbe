// SPDX-License-Identifier: Apache-2.0
// The registers that the guest has: each keeps what is written to it, and refuses what hardware
// refuses.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define NON_CANONICAL 0x8000000000000000ULL
#define CANONICAL     0xffff800012345678ULL
#define PAT_RESET     0x0007040600070406ULL
#define PAT_OTHER     0x0001040600070406ULL // a WC
#define PAT_BAD       0x0002040600070406ULL // type 2 is reserved

static void check_kept(uint32_t msr, uint64_t value) {
    uint64_t before = rdmsr(msr);
    try_wrmsr(msr, value);
    CHECK_NO_FAULT();
    CHECK_EQ(rdmsr(msr), value);
    wrmsr(msr, before);
    CHECK_EQ(rdmsr(msr), before);
}

static void check_refused(uint32_t msr, uint64_t value) {
    uint64_t before = rdmsr(msr);
    try_wrmsr(msr, value);
    CHECK_FAULT(EXC_GP, 0);
    CHECK_EQ(rdmsr(msr), before);
}

static void check_bases(void) {
    static const uint32_t bases[] = {MSR_FS_BASE, MSR_GS_BASE,      MSR_KERNEL_GS_BASE,
                                     MSR_LSTAR,   MSR_SYSENTER_ESP, MSR_SYSENTER_EIP};
    for (size_t i = 0; i < ARRAY_COUNT(bases); i++) {
        // AMD's processors have no 64-bit SYSENTER: the upper halves are not theirs to check.
        if (is_amd() && (bases[i] == MSR_SYSENTER_ESP || bases[i] == MSR_SYSENTER_EIP)) {
            check_kept(bases[i], CANONICAL & UINT32_MAX);
            continue;
        }
        check_kept(bases[i], CANONICAL);
        check_refused(bases[i], NON_CANONICAL);
    }
    check_kept(MSR_SYSENTER_CS, 0x10);
    check_kept(MSR_STAR, 0x0023001000000000ULL);
    check_kept(MSR_SFMASK, 0x47700);
}

static void check_efer(void) {
    uint64_t efer = rdmsr(MSR_EFER);
    check_kept(MSR_EFER, efer | EFER_SCE | EFER_NXE);
    check_refused(MSR_EFER, efer & ~EFER_LME); // paging is on
    check_refused(MSR_EFER, efer | BIT(1));
    check_refused(MSR_EFER, efer | BIT(12)); // SVME
    check_refused(MSR_EFER, efer | BIT(63));
    wrmsr(MSR_EFER, efer & ~EFER_LMA); // not the guest's to write, ignored
    CHECK_EQ(rdmsr(MSR_EFER), efer);
}

static void check_tsc(void) {
    uint64_t now = rdtsc(), adjust;
    CHECK(rdmsr(MSR_TSC) >= now);
    CHECK_EQ(rdmsr(MSR_TSC_ADJUST), 0);
    wrmsr(MSR_TSC, now + BIT(40));
    CHECK(rdtsc() >= now + BIT(40) && rdtsc() < now + BIT(41));
    adjust = rdmsr(MSR_TSC_ADJUST);
    CHECK(adjust <= BIT(40) && adjust > BIT(40) - BIT(30));
    wrmsr(MSR_TSC_ADJUST, 0);
    CHECK(rdtsc() >= now && rdtsc() < now + BIT(40));
    check_kept(MSR_TSC_AUX, 7);
}

static void check_virtualization_is_locked_off(void) {
    CHECK_EQ(rdmsr(MSR_FEATURE_CONTROL), 1);
    check_refused(MSR_FEATURE_CONTROL, 5);
    if (!is_amd())
        return;
    CHECK_EQ(rdmsr(MSR_VM_CR), 0x18); // LOCK, SVMDIS
    wrmsr(MSR_VM_CR, 0);
    CHECK_EQ(rdmsr(MSR_VM_CR), 0x18);
}

static void check_mtrrs(void) {
    uint32_t count = (uint32_t)rdmsr(MSR_MTRRCAP) & 0xff;
    for (uint32_t i = 0; i < 2 * count; i++)
        check_kept(MSR_MTRR_PHYSBASE0 + i, 0x12345806);
    check_kept(MSR_MTRR_DEF_TYPE, 0x800);
    check_refused(MSR_MTRRCAP, 0);
}

void test(void) {
    check_bases();
    check_efer();
    check_tsc();
    check_virtualization_is_locked_off();
    check_mtrrs();
    CHECK_EQ(rdmsr(MSR_PAT), PAT_RESET);
    check_kept(MSR_PAT, PAT_OTHER);
    check_refused(MSR_PAT, PAT_BAD);
}
