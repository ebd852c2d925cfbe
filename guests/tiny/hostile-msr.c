// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR of random registers, half of them from the ranges where there are some, with
// random values: each is done or raises #GP(0), and the guest goes on. Left out is what would end
// this guest by right: INIT and the like through the interrupt command, and registers that name
// memory for the hypervisor to write.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define MSR_ICR       (MSR_X2APIC + LAPIC_ICR / 16)
#define ICR_MODE      0x700u
#define MSR_DEBUGCTL  0x1d9u
#define DEBUGCTL_BTF  BIT(1)
#define KVM_FIRST     0x4b564d00u
#define KVM_LAST      0x4b564dffu
#define KVM_OLD_FIRST 0x11u
#define KVM_OLD_LAST  0x12u

static const struct {
    uint32_t first, last;
} ranges[] = {
    {0, 0x200},
    {0x200, 0x2ff},
    {0x300, 0x3ff},
    {0x400, 0x4ff},
    {0x480, 0x4ff},
    {0x560, 0x580},
    {0x600, 0x6ff},
    {0x6e0, 0x6e0},
    {0x700, 0x7ff},
    {0x800, 0x8ff},
    {0x800, 0x83f},
    {0xc80, 0xdff},
    {0x1000, 0x1fff},
    {0x174, 0x176},
    {0x40000000, 0x400001ff},
    {KVM_FIRST, KVM_LAST},
    {0xc0000000, 0xc0002000},
    {0xc0000080, 0xc0000104},
    {0xc0000080, 0xc0000104},
    {0xc0010000, 0xc00111ff},
    {0x10, 0x10},
    {0x3b, 0x3b},
    {0x1b, 0x1b},
};

static uint32_t done, refused;

static uint32_t choose(void) {
    if (random_one_in(4))
        return (uint32_t)random_value();
    uint32_t i = random_below(ARRAY_COUNT(ranges));
    return ranges[i].first + random_below(ranges[i].last - ranges[i].first + 1);
}

static bool names_memory(uint32_t msr) {
    return (msr >= KVM_FIRST && msr <= KVM_LAST) || (msr >= KVM_OLD_FIRST && msr <= KVM_OLD_LAST);
}

static uint64_t choose_value(uint32_t msr) {
    uint64_t value = random_value();
    if (random_one_in(4))
        value = try_rdmsr(msr) ^ BIT(random_below(64));
    if (msr == MSR_ICR)
        value &= ~(uint64_t)ICR_MODE;
    if (msr == MSR_DEBUGCTL)
        value &= ~DEBUGCTL_BTF;
    return value;
}

static void count(void) {
    CHECK(!trap_last.is_taken || (trap_last.vector == EXC_GP && trap_last.error == 0));
    done += !trap_last.is_taken;
    refused += trap_last.is_taken;
}

void test(void) {
    hostile_init(6000);
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        uint32_t msr = choose();
        if (random_one_in(2)) {
            (void)try_rdmsr(msr);
            count();
        } else if (!names_memory(msr)) {
            uint64_t value = choose_value(msr);
            try_wrmsr(msr, value);
            count();
        }
    }
    print("%u done, %u refused\n", done, refused);
    CHECK(done > 0 && refused > 0);
    CHECK_EQ(rdmsr(MSR_EFER) & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
}
