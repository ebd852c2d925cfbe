// SPDX-License-Identifier: Apache-2.0
// The x87, SSE and AVX registers are zero (or in their reset state) at the start, whatever ran on
// the processor before, and survive exits of all kinds and other VMs' turns; two VMs run this with
// different values (`seed=`).
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define L1_ECX_XSAVE BIT(26)
#define L1_ECX_AVX   BIT(28)
#define XCR0_AVX     7u
#define MXCSR_RESET  0x1f80u
#define MXCSR_OTHER  0x5f80u // round up
#define VECTOR       0x60
#define ROUNDS       200u
#define REGISTERS    16u

struct registers {
    uint8_t ymm[REGISTERS][32] __attribute__((aligned(32)));
};

static struct registers wanted, got;
static bool has_avx;

#define EACH_REGISTER(X)                                                                           \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_XMM(n)  "movdqu " #n "*32(%0), %%xmm" #n "\n\t"
#define STORE_XMM(n) "movdqu %%xmm" #n ", " #n "*32(%0)\n\t"
#define LOAD_YMM(n)  "vmovdqu " #n "*32(%0), %%ymm" #n "\n\t"
#define STORE_YMM(n) "vmovdqu %%ymm" #n ", " #n "*32(%0)\n\t"

static void load(const struct registers *from) {
    if (has_avx)
        __asm__ volatile(EACH_REGISTER(LOAD_YMM) : : "r"(from) : "memory");
    else
        __asm__ volatile(EACH_REGISTER(LOAD_XMM) : : "r"(from) : "memory");
}

static void store(struct registers *to) {
    if (has_avx)
        __asm__ volatile(EACH_REGISTER(STORE_YMM) : : "r"(to) : "memory");
    else
        __asm__ volatile(EACH_REGISTER(STORE_XMM) : : "r"(to) : "memory");
}

static uint32_t get_mxcsr(void) {
    uint32_t value;
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value;
}

static uint16_t get_fpu_control(void) {
    uint16_t value;
    __asm__ volatile("fnstcw %0" : "=m"(value));
    return value;
}

static void on_timer(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

static void switch_on(void) {
    uint32_t features = cpuid(1, 0).ecx;
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    has_avx = (features & L1_ECX_XSAVE) && (features & L1_ECX_AVX);
    if (has_avx) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
        __asm__ volatile("xsetbv" : : "a"(XCR0_AVX), "d"(0), "c"(0));
    }
    print("AVX %s\n", has_avx ? "yes" : "no");
}

// One exit of each kind that there is.
static void leave_the_guest(void) {
    (void)cpuid(0, 0);
    out8(0x80, 0);
    (void)ioapic_read(IOAPIC_VERSION);
    (void)try_rdmsr(0x1234);
    lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)(tsc_hz() / 10000));
    interrupts_on_and_halt();
    interrupts_off();
}

static void check_survival(uint32_t seed) {
    uint32_t mxcsr = MXCSR_OTHER;
    uint64_t before, after;
    double value;
    for (uint32_t i = 0; i < sizeof(wanted); i++)
        ((uint8_t *)&wanted)[i] = (uint8_t)((i + seed) * 167 + (i >> 5));
    before = 0x400921fb54442d18ULL + seed; // a double
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    memcpy(&value, &before, sizeof(value));
    __asm__ volatile("fldl %0" : : "m"(value));
    load(&wanted);
    for (uint32_t i = 0; i < ROUNDS; i++)
        leave_the_guest();
    store(&got);
    __asm__ volatile("fstpl %0" : "=m"(value));
    memcpy(&after, &value, sizeof(after));
    for (uint32_t i = 0; i < REGISTERS; i++)
        CHECK(memcmp(wanted.ymm[i], got.ymm[i], has_avx ? 32 : 16) == 0);
    CHECK_EQ(after, before);
    CHECK_EQ(get_mxcsr(), MXCSR_OTHER);
}

void test(void) {
    static const struct registers zero;
    switch_on();
    store(&got);
    for (uint32_t i = 0; i < REGISTERS; i++)
        CHECK(memcmp(zero.ymm[i], got.ymm[i], has_avx ? 32 : 16) == 0);
    CHECK_EQ(get_mxcsr(), MXCSR_RESET);
    CHECK(get_fpu_control() == 0x0040 || get_fpu_control() == 0x037f); // reset, or FNINIT's
    __asm__ volatile("fninit");
    lapic_init(false);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    lapic_write(LAPIC_LVT_TIMER, VECTOR);
    trap_set_handler(VECTOR, on_timer);
    check_survival((uint32_t)cmdline_number("seed"));
}
