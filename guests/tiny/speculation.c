// SPDX-License-Identifier: Apache-2.0
// The speculation controls: what CPUID shows is there, keeps what is written to it and refuses what
// hardware refuses; what it does not show raises #GP. `set=MASK`: a value that stays this guest's
// while others with other values run.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define MSR_SPEC_CTRL         0x48u
#define MSR_PRED_CMD          0x49u
#define MSR_ARCH_CAPABILITIES 0x10au
#define MSR_FLUSH_CMD         0x10bu

#define EBX_IBPB              BIT(12) // of leaf 0x80000008, as AMD tells it
#define EDX_IBRS              BIT(26)
#define EDX_STIBP             BIT(27)
#define EDX_L1D_FLUSH         BIT(28)
#define EDX_ARCH_CAPABILITIES BIT(29)
#define EDX_CORE_CAPABILITIES BIT(30)
#define EDX_SSBD              BIT(31)
#define SSBD                  BIT(2)
#define DDPD_U                BIT(8) // Bochs has it whatever its CPUID says
#define TURNS                 5u

// What may be told to a guest: none that promises a register (SDM 4 2.1 "Architectural MSRs").
#define CAPABILITIES                                                                               \
    (0x3full | BIT(6) | BIT(8) | 7 * BIT(13) | BIT(17) | BIT(19) | BIT(20) | BIT(24) |             \
     7 * BIT(26) | BIT(62))

static uint64_t spec_ctrl_bits(void) {
    uint32_t basic = cpuid(7, 0).edx, more = cpuid(7, 2).edx;
    return (basic & EDX_IBRS ? BIT(0) : 0) | (basic & EDX_STIBP ? BIT(1) : 0) |
           (basic & EDX_SSBD ? SSBD : 0) | (more & BIT(1) ? BIT(3) | BIT(4) : 0) |
           (more & BIT(2) ? BIT(5) | BIT(6) : 0) | (more & BIT(0) ? BIT(7) : 0) |
           (more & BIT(3) ? BIT(8) : 0) | (more & BIT(4) ? BIT(10) : 0);
}

static void check_absent(uint32_t msr) {
    (void)try_rdmsr(msr);
    CHECK_FAULT(EXC_GP, 0);
    try_wrmsr(msr, 0);
    CHECK_FAULT(EXC_GP, 0);
    try_wrmsr(msr, 1);
    CHECK_FAULT(EXC_GP, 0);
}

static void check_spec_ctrl(uint64_t bits) {
    CHECK_EQ(rdmsr(MSR_SPEC_CTRL), 0);
    for (uint32_t bit = 0; bit < 64; bit++) {
        uint64_t before = rdmsr(MSR_SPEC_CTRL);
        if ((BIT(bit) & DDPD_U & ~bits) != 0)
            continue;
        try_wrmsr(MSR_SPEC_CTRL, BIT(bit));
        if (bits & BIT(bit)) {
            CHECK_NO_FAULT();
            CHECK_EQ(rdmsr(MSR_SPEC_CTRL), BIT(bit));
        } else {
            CHECK_FAULT(EXC_GP, 0);
            CHECK_EQ(rdmsr(MSR_SPEC_CTRL), before);
        }
    }
    wrmsr(MSR_SPEC_CTRL, bits);
    CHECK_EQ(rdmsr(MSR_SPEC_CTRL), bits);
    wrmsr(MSR_SPEC_CTRL, 0);
    CHECK_EQ(rdmsr(MSR_SPEC_CTRL), 0);
}

// An order: bit 0 is carried out, others are refused, and it cannot be read.
static void check_order(uint32_t msr) {
    (void)try_rdmsr(msr);
    CHECK_FAULT(EXC_GP, 0);
    try_wrmsr(msr, 1);
    CHECK_NO_FAULT();
    try_wrmsr(msr, BIT(63));
    CHECK_FAULT(EXC_GP, 0);
}

static void check_capabilities(void) {
    uint64_t value = rdmsr(MSR_ARCH_CAPABILITIES);
    print("capabilities %llx\n", (unsigned long long)value);
    CHECK(value != 0);
    CHECK_EQ(value & ~CAPABILITIES, 0);
    try_wrmsr(MSR_ARCH_CAPABILITIES, value);
    CHECK_FAULT(EXC_GP, 0);
}

// The VM's only value from here on; every exit, and each turn of another VM, finds and leaves it.
static void check_kept(uint64_t value) {
    wrmsr(MSR_SPEC_CTRL, value);
    for (uint32_t i = 0; i < TURNS; i++) {
        (void)cpuid(0, 0);
        CHECK_EQ(rdmsr(MSR_SPEC_CTRL), value);
        wait_us(20000);
        CHECK_EQ(rdmsr(MSR_SPEC_CTRL), value);
    }
}

void test(void) {
    uint32_t edx = cpuid(7, 0).edx;
    uint64_t bits = spec_ctrl_bits(), set = cmdline_number("set") & bits;
    print("speculation controls %llx\n", (unsigned long long)bits);
    CHECK_EQ(edx & EDX_CORE_CAPABILITIES, 0);
    if (bits != 0) {
        check_kept(set & 1); // what the host has, too
        wrmsr(MSR_SPEC_CTRL, 0);
        check_spec_ctrl(bits);
        check_kept(set);
    } else {
        check_absent(MSR_SPEC_CTRL);
    }
    if (edx & EDX_IBRS || cpuid(0x80000008, 0).ebx & EBX_IBPB)
        check_order(MSR_PRED_CMD);
    else
        check_absent(MSR_PRED_CMD);
    if (edx & EDX_L1D_FLUSH)
        check_order(MSR_FLUSH_CMD);
    else
        check_absent(MSR_FLUSH_CMD);
    if (edx & EDX_ARCH_CAPABILITIES)
        check_capabilities();
    else
        check_absent(MSR_ARCH_CAPABILITIES);
}
