// SPDX-License-Identifier: Apache-2.0
// CPUID tells of a processor that the guest really has: what is not virtualized is not shown, what
// depends on the guest's own state follows it, and leaves that do not exist are zero.
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define L1_ECX_MONITOR           BIT(3)
#define L1_ECX_VMX               BIT(5)
#define L1_ECX_SMX               BIT(6)
#define L1_ECX_PDCM              BIT(15)
#define L1_ECX_X2APIC            BIT(21)
#define L1_ECX_DEADLINE          BIT(24)
#define L1_ECX_XSAVE             BIT(26)
#define L1_ECX_OSXSAVE           BIT(27)
#define L1_ECX_HYPERVISOR        BIT(31)
#define L1_EDX_DS                BIT(21)
#define L7_EBX_SGX               BIT(2)
#define L7_EBX_PT                BIT(25)
#define L7_ECX_WAITPKG           BIT(5)
#define L7_ECX_LA57              BIT(16)
#define X1_ECX_SVM               BIT(2)
#define X1_EDX_LM                BIT(29)
#define X1_EDX_NX                BIT(20)
#define L7_EDX_CORE_CAPABILITIES BIT(30)
#define EXTENDED                 0x80000000u
#define HYPERVISOR               0x40000000u
#define LEAF_LIMIT               0x40u

static bool is_equal(struct cpuid a, struct cpuid b) {
    return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

static bool is_zero(struct cpuid r) {
    return is_equal(r, (struct cpuid){0, 0, 0, 0});
}

static void check_hidden(void) {
    struct cpuid features = cpuid(1, 0), structured = cpuid(7, 0),
                 extended = cpuid(EXTENDED + 1, 0);
    CHECK_EQ(features.ecx & (L1_ECX_MONITOR | L1_ECX_VMX | L1_ECX_SMX | L1_ECX_PDCM), 0);
    CHECK_EQ(features.edx & L1_EDX_DS, 0);
    CHECK_EQ(structured.ebx & (L7_EBX_SGX | L7_EBX_PT), 0);
    CHECK_EQ(structured.ecx & (L7_ECX_WAITPKG | L7_ECX_LA57), 0);
    CHECK_EQ(structured.edx & L7_EDX_CORE_CAPABILITIES, 0);
    CHECK_EQ(extended.ecx & X1_ECX_SVM, 0);
    CHECK(is_zero(cpuid(0xa, 0))); // performance monitoring
}

static void check_shown(void) {
    struct cpuid features = cpuid(1, 0), extended = cpuid(EXTENDED + 1, 0);
    uint32_t always = L1_ECX_X2APIC | L1_ECX_DEADLINE | L1_ECX_HYPERVISOR;
    CHECK_EQ(features.ecx & always, always);
    CHECK_EQ(extended.edx & (X1_EDX_LM | X1_EDX_NX), X1_EDX_LM | X1_EDX_NX);
    CHECK(cpuid(0, 0).eax >= 0x15);
    CHECK(tsc_hz() > 1000000);
}

static void check_topology(void) {
    CHECK_EQ(cpuid(1, 0).ebx >> 24, 0);
    CHECK_EQ(cpuid(0xb, 0).edx, 0);
    CHECK_EQ(cpuid(0xb, 1).ebx, 1); // processors
    CHECK_EQ(cpuid(0xb, 1).ecx >> 8, 2);
    CHECK_EQ(cpuid(0xb, 2).ecx >> 8, 0);
}

// APM 3 Appendix E.3 "Standard Feature Function Numbers", E.4 "Extended Feature Function Numbers".
static void check_amd(void) {
    if (!is_amd())
        return;
    CHECK(is_zero(cpuid(2, 0)) && is_zero(cpuid(4, 0)));
    CHECK_EQ(cpuid(EXTENDED, 0).eax, EXTENDED + 0x21);
    CHECK(is_zero(cpuid(EXTENDED + 0xa, 0)));  // SVM
    CHECK(is_zero(cpuid(EXTENDED + 0x1f, 0))); // encrypted memory
    CHECK_EQ(cpuid(EXTENDED + 8, 0).ecx, 0);
    CHECK(is_zero(cpuid(EXTENDED + 0x1e, 0))); // core 0 of node 0
}

static void check_hypervisor_leaves(void) {
    struct cpuid r = cpuid(HYPERVISOR, 0);
    CHECK(r.eax >= HYPERVISOR && r.eax < HYPERVISOR + 0x100);
    CHECK(r.ebx != 0);
    CHECK(is_zero(cpuid(HYPERVISOR + 0xff, 0)));
}

static void check_osxsave(void) {
    if (!(cpuid(1, 0).ecx & L1_ECX_XSAVE))
        return;
    CHECK_EQ(cpuid(1, 0).ecx & L1_ECX_OSXSAVE, 0);
    write_cr4(read_cr4() | CR4_OSXSAVE);
    CHECK_EQ(cpuid(1, 0).ecx & L1_ECX_OSXSAVE, L1_ECX_OSXSAVE);
    write_cr4(read_cr4() & ~CR4_OSXSAVE);
    CHECK_EQ(cpuid(1, 0).ecx & L1_ECX_OSXSAVE, 0);
}

static void check_limits(void) {
    uint32_t bits = cpuid(EXTENDED + 8, 0).eax;
    CHECK((bits & 0xff) >= 36 && (bits & 0xff) <= 52);
    CHECK_EQ(bits >> 8 & 0xff, 48);
    for (uint32_t leaf = cpuid(0, 0).eax + 1; leaf < LEAF_LIMIT; leaf++)
        CHECK(is_zero(cpuid(leaf, 0)));
    CHECK(is_zero(cpuid(EXTENDED - 1, 0)));
    CHECK(is_zero(cpuid(UINT32_MAX, 0)));
    for (uint32_t leaf = 0; leaf < LEAF_LIMIT; leaf++)
        CHECK(is_equal(cpuid(leaf, 0), cpuid(leaf, 0)));
}

// SDM 2A "CPUID": the upper halves of the four registers are cleared.
static void check_upper_halves(void) {
    uint64_t a = UINT64_MAX << 32, b = UINT64_MAX, c = UINT64_MAX << 32, d = UINT64_MAX;
    __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    CHECK_EQ((a | b | c | d) >> 32, 0);
}

void test(void) {
    check_hidden();
    check_shown();
    check_topology();
    check_amd();
    check_hypervisor_leaves();
    check_osxsave();
    check_limits();
    check_upper_halves();
}
