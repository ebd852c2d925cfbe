// SPDX-License-Identifier: Apache-2.0
// XSETBV takes what hardware takes and refuses the rest with #GP(0); XGETBV and CPUID leaf 0xd show
// what was set.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define L1_ECX_XSAVE BIT(26)
#define X87          BIT(0)
#define SSE          BIT(1)
#define AVX          BIT(2)
#define HEAD         576u // legacy area and header: SDM 1 13.4

static uint64_t xgetbv(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void try_xsetbv(uint32_t index, uint64_t value) {
    __asm__ volatile(TRY("xsetbv")
                     :
                     : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index)
                     : TRY_CLOBBERS);
}

static void check_refused(uint32_t index, uint64_t value) {
    uint64_t before = xgetbv();
    try_xsetbv(index, value);
    CHECK_FAULT(EXC_GP, 0);
    CHECK_EQ(xgetbv(), before);
}

static void check_taken(uint64_t value) {
    try_xsetbv(0, value);
    CHECK_NO_FAULT();
    CHECK_EQ(xgetbv(), value);
}

void test(void) {
    struct cpuid leaf = cpuid(0xd, 0);
    uint64_t all = leaf.eax | (uint64_t)leaf.edx << 32;
    CHECK_EQ((cpuid(1, 0).ecx & L1_ECX_XSAVE) != 0, all != 0);
    try_xsetbv(0, X87); // CR4.OSXSAVE is off
    CHECK_FAULT(EXC_UD, 0);
    if (all == 0) {
        print("this processor has no XSAVE\n");
        return;
    }
    write_cr4(read_cr4() | CR4_OSXSAVE);
    CHECK_EQ(xgetbv(), X87);
    check_refused(0, 0);
    check_refused(0, SSE);
    check_refused(0, X87 | AVX);
    check_refused(0, X87 | SSE | BIT(63));
    check_refused(0, all << 1 | X87 | SSE | BIT(40));
    check_refused(1, X87);
    check_refused(UINT32_MAX, X87);
    check_taken(X87 | SSE);
    CHECK_EQ(cpuid(0xd, 0).ebx, HEAD);
    check_taken(all);
    CHECK_EQ(cpuid(0xd, 0).ebx, cpuid(0xd, 0).ecx);
    if (all & AVX) {
        check_taken(X87 | SSE | AVX);
        CHECK_EQ(cpuid(0xd, 0).ebx, HEAD + 256);
    }
}
