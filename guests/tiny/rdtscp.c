// SPDX-License-Identifier: Apache-2.0
// RDTSCP and RDPID are there when CPUID says so, in ring 3 too, and give what is in TSC_AUX; when
// it does not, they are #UD. RDTSCP's time is RDTSC's.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define CPUID_EXT_FEATURES 0x80000001u
#define EDX_RDTSCP         BIT(27)
#define ECX_RDPID          BIT(22)

static uint64_t rdtscp(uint32_t *aux) {
    uint32_t low, high;
    __asm__ volatile(TRY("rdtscp") : "=a"(low), "=d"(high), "=c"(*aux) : : TRY_CLOBBERS);
    return (uint64_t)high << 32 | low;
}

static uint64_t rdpid(void) {
    uint64_t aux;
    __asm__ volatile(TRY("rdpid %0") : "=r"(aux) : : TRY_CLOBBERS);
    return aux;
}

static void check_rdtscp(uint32_t value) {
    uint32_t aux;
    uint64_t before = rdtsc(), time = rdtscp(&aux);
    CHECK_NO_FAULT();
    CHECK(time >= before && time <= rdtsc());
    CHECK_EQ(aux, value);
}

void test(void) {
    bool has_rdtscp = (cpuid(CPUID_EXT_FEATURES, 0).edx & EDX_RDTSCP) != 0;
    bool has_rdpid = (cpuid(7, 0).ecx & ECX_RDPID) != 0;
    uint32_t aux;
    for (uint32_t i = 1; i <= 3; i++) {
        uint32_t value = i * 0x11111111u;
        if (has_rdtscp || has_rdpid)
            wrmsr(MSR_TSC_AUX, value);
        if (has_rdtscp)
            check_rdtscp(value);
        if (has_rdpid)
            CHECK_EQ(rdpid(), value);
        wait_us(20000); // others have run meanwhile, with values of their own
    }
    if (!has_rdtscp) {
        (void)rdtscp(&aux);
        CHECK_FAULT(EXC_UD, 0);
    }
    if (!has_rdpid) {
        (void)rdpid();
        CHECK_FAULT(EXC_UD, 0);
    }
}
