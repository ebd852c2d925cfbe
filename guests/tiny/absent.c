// SPDX-License-Identifier: Apache-2.0
// Instructions of all kinds on addresses where a PC has nothing: they read all ones, what they
// write is lost, and they do what they do anywhere else; also across the end of RAM, under a
// debugger, and where they fault. With `smp` on the command line, by several processors at once on
// the same page.
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define ABSENT  0xfeb00000ULL
#define IOAPIC  0xfec00000ULL
#define PATTERN 0x1122334455667788ULL
#define FLOOD   400u

static bool has_avx;
static uint64_t buffer[64] __attribute__((aligned(64)));

static bool are_ones(const void *bytes, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (((const volatile uint8_t *)bytes)[i] != 0xff)
            return false;
    return true;
}

static void forget(void) {
    for (unsigned i = 0; i < ARRAY_COUNT(buffer); i++)
        buffer[i] = PATTERN;
}

// Whatever was written there, by the processor itself too, is gone.
static void check_still_ones(uint64_t at) {
    CHECK_EQ(*(volatile uint64_t *)(uintptr_t)at, UINT64_MAX);
    forget();
    __asm__ volatile("fildll (%0); fistpll (%1)" : : "r"(at), "r"(buffer) : "memory");
    CHECK_EQ(buffer[0], UINT64_MAX);
}

// One instruction with RDI = `at`, which faults or does not.
#define DO(code, at, ...)                                                                          \
    do {                                                                                           \
        uint64_t rdi = (at);                                                                       \
        __asm__ volatile(TRY(code)                                                                 \
                         : "+D"(rdi)                                                               \
                         : "S"(buffer), ##__VA_ARGS__                                              \
                         : "rax", "rbx", "rcx", "rdx", TRY_CLOBBERS);                              \
    } while (0)
#define DONE(code, at)                                                                             \
    do {                                                                                           \
        DO(code, at);                                                                              \
        CHECK_NO_FAULT();                                                                          \
    } while (0)
#define FAULTS(code, at, vector, error)                                                            \
    do {                                                                                           \
        DO(code, at);                                                                              \
        CHECK_FAULT(vector, error);                                                                \
    } while (0)

static void enable_vectors(void) {
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    if (!(cpuid(1, 0).ecx & BIT(26)))
        return;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    uint32_t components = cpuid(0xd, 0).eax & 7;
    __asm__ volatile("xsetbv" : : "c"(0), "a"(components), "d"(0));
    has_avx = (components & 4) != 0;
}

static void check_vectors(void) {
    forget();
    DONE("movdqu (%%rdi), %%xmm0; movdqu %%xmm0, (%%rsi)", ABSENT + 5);
    CHECK(are_ones(buffer, 16));
    forget();
    DONE("movaps (%%rdi), %%xmm0; movaps %%xmm0, (%%rsi)", ABSENT);
    CHECK(are_ones(buffer, 16));
    FAULTS("movaps (%%rdi), %%xmm0", ABSENT + 8, EXC_GP, 0);
    DONE("pxor %%xmm0, %%xmm0; movq %%xmm0, (%%rdi)", ABSENT);
    DONE("pxor %%xmm1, %%xmm1; movntdq %%xmm1, (%%rdi)", ABSENT);
    forget();
    DONE("pxor %%xmm0, %%xmm0; paddb (%%rdi), %%xmm0; movdqu %%xmm0, (%%rsi)", ABSENT);
    CHECK(are_ones(buffer, 16));
    DONE("movq (%%rdi), %%mm0; movq %%mm0, (%%rsi); emms", ABSENT);
    CHECK(are_ones(buffer, 8));
    if (has_avx) {
        forget();
        DONE("vmovdqu (%%rdi), %%ymm0; vmovdqu %%ymm0, (%%rsi)", ABSENT);
        CHECK(are_ones(buffer, 32));
        DONE("vpxor %%xmm0, %%xmm0, %%xmm0; vmovups %%ymm0, (%%rdi)", ABSENT + 1);
    }
    check_still_ones(ABSENT);
}

static void check_whole_state(void) {
    DONE("fxsave (%%rdi)", ABSENT);
    FAULTS("fxrstor (%%rdi)", ABSENT, EXC_GP, 0); // MXCSR's reserved bits
    FAULTS("ldmxcsr (%%rdi)", ABSENT, EXC_GP, 0);
    DONE("stmxcsr (%%rdi)", ABSENT);
    DONE("fldz; fstpl (%%rdi)", ABSENT);
    DONE("fnstenv (%%rdi)", ABSENT);
    DONE("fnsave (%%rdi); fninit", ABSENT + 0xf80);
    if (has_avx) {
        DONE("mov $7, %%eax; xor %%edx, %%edx; xsave (%%rdi)", ABSENT);
        FAULTS("mov $7, %%eax; xor %%edx, %%edx; xrstor (%%rdi)", ABSENT, EXC_GP, 0);
    }
    check_still_ones(ABSENT);
    check_still_ones(ABSENT + 0x1000);
}

static void check_hints(void) {
    DONE("clflush (%%rdi)", ABSENT);
    DONE("prefetcht0 (%%rdi)", ABSENT);
    if (cpuid(7, 0).ebx & BIT(23))
        DONE("clflushopt (%%rdi)", ABSENT);
}

#define RESULT(code, start, want)                                                                  \
    do {                                                                                           \
        uint64_t rax = (start), rdi = ABSENT;                                                      \
        __asm__ volatile(TRY(code)                                                                 \
                         : "+D"(rdi), "+a"(rax)                                                    \
                         : "S"(buffer)                                                             \
                         : "rbx", "rcx", "rdx", TRY_CLOBBERS);                                     \
        CHECK_NO_FAULT();                                                                          \
        CHECK_EQ(rax, want);                                                                       \
    } while (0)

static void check_integers(void) {
    RESULT("mull (%%rdi); mov %%edx, %%eax", 3, 2);
    RESULT("xor %%edx, %%edx; divl (%%rdi); mov %%edx, %%eax", 7, 7);
    RESULT("imull (%%rdi), %%eax", 5, 0xfffffffb);
    RESULT("imull $3, (%%rdi), %%eax", 5, 0xfffffffd);
    RESULT("cmp %%eax, %%eax; cmovzl (%%rdi), %%eax", 5, 0xffffffff);
    RESULT("cmp %%eax, %%eax; cmovnzl (%%rdi), %%eax", 5, 5);
    RESULT("cmp %%eax, %%eax; sete (%%rdi); mov (%%rdi), %%al", 0, 0xff);
    RESULT("bsf (%%rdi), %%eax", 5, 0);
    RESULT("bsr (%%rdi), %%eax", 5, 31);
    RESULT("shll $4, (%%rdi); setc %%al", 0, 1);
    RESULT("shldl $4, %%eax, (%%rdi); setc %%al", 0, 1);
    RESULT("xor %%edx, %%edx; cmpxchg8b (%%rdi)", 0, 0xffffffff);
    RESULT("xor %%edx, %%edx; lock cmpxchg16b (%%rdi)", 0, UINT64_MAX);
    if (cpuid(1, 0).ecx & BIT(20))
        RESULT("crc32l (%%rdi), %%eax", 0, 0xb798b438);
    if (cpuid(7, 0).ebx & BIT(19))
        RESULT("xor %%ecx, %%ecx; adcxl (%%rdi), %%eax", 1, 0);
    check_still_ones(ABSENT);
}

static void check_systems(void) {
    struct table_pointer gdt;
    DONE("smsw (%%rdi)", ABSENT);
    DONE("sldt (%%rdi)", ABSENT);
    DONE("sgdt (%%rdi)", ABSENT);
    FAULTS("movw (%%rdi), %%fs", ABSENT, EXC_GP, 0xfffc);
    FAULTS("ltr (%%rdi)", ABSENT, EXC_GP, 0xfffc);
    RESULT("verr (%%rdi); setz %%al", 1, 0);
    __asm__ volatile("sgdt %0" : "=m"(gdt));
    __asm__ volatile("lgdt (%0); lgdt %1"
                     :
                     : "r"(ABSENT), "m"(gdt)
                     : "memory"); // base and limit all ones
    check_still_ones(ABSENT);
}

static void check_stack(void) {
    FAULTS("jmp *(%%rdi)", ABSENT, EXC_PF, 0);
    __asm__ volatile(TRY("mov %%rsp, %%rbx; call *(%0)") "mov %%rbx, %%rsp"
                     :
                     : "D"(ABSENT)
                     : "rbx", TRY_CLOBBERS);
    CHECK_FAULT(EXC_PF, 0);
    RESULT("pushq (%%rdi); pop %%rax", 0, UINT64_MAX);
    DONE("pushq $0; popq (%%rdi)", ABSENT);
    RESULT("mov %%rsp, %%rbx; mov %%rdi, %%rsp; push $5; push %%rax; pop %%rax; pushfq; mov %%rbx, "
           "%%rsp",
           7, UINT64_MAX);
    RESULT("mov %%rsp, %%rbx; mov %%rbp, %%rcx; mov %%rdi, %%rsp; enter $16, $1; mov %%rcx, %%rbp; "
           "mov %%rbx, %%rsp",
           7, 7);
    DONE("mov $64, %%ecx; rep stosl", ABSENT);
    DONE("mov $0x71, %%edx; insb", ABSENT);
    check_still_ones(ABSENT);
    check_still_ones(ABSENT - 8);
}

// Half of it is RAM.
static void check_end_of_ram(void) {
    uint64_t end = low_ram_end();
    *(volatile uint64_t *)(uintptr_t)(end - 8) = PATTERN;
    forget();
    DONE("movdqu (%%rdi), %%xmm0; movdqu %%xmm0, (%%rsi)", end - 8);
    CHECK_EQ(buffer[0], PATTERN);
    CHECK_EQ(buffer[1], UINT64_MAX);
    DONE("pxor %%xmm0, %%xmm0; fnsave (%%rdi); fninit", end - 8);
    CHECK(*(volatile uint64_t *)(uintptr_t)(end - 8) != PATTERN);
    check_still_ones(end);
}

static volatile uint32_t step_count;

static void on_step(struct trap_frame *frame) {
    (void)frame;
    CHECK(read_dr6() & DR6_BS);
    write_dr6(0xffff0ff0);
    step_count++;
}

// NOP, FXSAVE, NOP, and the three that end it.
static void check_single_step(void) {
    trap_set_handler(EXC_DB, on_step);
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq\n\t"
                     "nop; fxsave (%0); nop\n\t"
                     "pushfq; andq $~0x100, (%%rsp); popfq"
                     :
                     : "r"(ABSENT)
                     : "memory", "cc");
    CHECK_EQ(step_count, 6);
    trap_set_handler(EXC_DB, NULL);
}

// ---- on a device --------------------------------------------------------------------------------

#define IOAPIC_DATA    (IOAPIC + 0x10)
#define IOAPIC_VERSION 0x00170011U // 24 inputs

// IOREGSEL takes and gives an index, IOWIN what stands there, 32 bits each; beside them is nothing.
static void check_device_moves(void) {
    mmio_write32(IOAPIC, 1);
    forget();
    DONE("movdqu (%%rdi), %%xmm0; movdqu %%xmm0, (%%rsi)", IOAPIC_DATA);
    CHECK_EQ((uint32_t)buffer[0], IOAPIC_VERSION);
    DONE("mov $2, %%eax; movd %%eax, %%xmm0; movd %%xmm0, (%%rdi)", IOAPIC);
    CHECK_EQ(mmio_read32(IOAPIC), 2);
    DONE("mov $1, %%eax; movd %%eax, %%xmm0; movups %%xmm0, (%%rdi)", IOAPIC);
    CHECK_EQ(mmio_read32(IOAPIC), 1);
    DONE("movq (%%rdi), %%mm0; movq %%mm0, (%%rsi); emms", IOAPIC_DATA);
    CHECK_EQ((uint32_t)buffer[0], IOAPIC_VERSION);
    FAULTS("movaps (%%rdi), %%xmm0", IOAPIC + 8, EXC_GP, 0);
    if (has_avx) {
        forget();
        DONE("vmovups (%%rdi), %%ymm1; vmovdqu %%ymm1, (%%rsi)", IOAPIC);
        CHECK_EQ((uint32_t)buffer[0], 1);
        CHECK_EQ((uint32_t)buffer[2], IOAPIC_VERSION);
    }
    write_cr0(read_cr0() | CR0_TS);
    FAULTS("movdqu (%%rdi), %%xmm0", IOAPIC, EXC_NM, 0);
    write_cr0(read_cr0() & ~CR0_TS);
}

#define VERSION_IS(code, start, want)                                                              \
    do {                                                                                           \
        uint64_t rax = (start), rdi = IOAPIC_DATA;                                                 \
        __asm__ volatile(TRY(code) : "+D"(rdi), "+a"(rax) : : "rbx", "rcx", "rdx", TRY_CLOBBERS);  \
        CHECK_NO_FAULT();                                                                          \
        CHECK_EQ(rax, want);                                                                       \
    } while (0)

static void check_device_integers(void) {
    VERSION_IS("imull $3, (%%rdi), %%eax", 0, IOAPIC_VERSION * 3);
    VERSION_IS("mull (%%rdi)", 2, IOAPIC_VERSION * 2);
    VERSION_IS("xor %%edx, %%edx; divl (%%rdi)", IOAPIC_VERSION * 5, 5);
    VERSION_IS("cmp %%eax, %%eax; cmovzl (%%rdi), %%eax", 0, IOAPIC_VERSION);
    VERSION_IS("bsrl (%%rdi), %%eax", 0, 20);
    VERSION_IS("xor %%edx, %%edx; cmpxchg8b (%%rdi)", 0, IOAPIC_VERSION);
    VERSION_IS("pushq (%%rdi); pop %%rax; mov %%eax, %%eax", 0, IOAPIC_VERSION);
    FAULTS("mov $5, %%edx; divl (%%rdi)", IOAPIC, EXC_DE, 0); // by 1
    DONE("shll (%%rdi)", IOAPIC);
    CHECK_EQ(mmio_read32(IOAPIC), 2);
    DONE("clflush (%%rdi); prefetcht0 (%%rdi)", IOAPIC);
    FAULTS("jmp *(%%rdi)", IOAPIC, EXC_PF, 0);
}

// The rest is #GP there.
static void check_device(void) {
    check_device_moves();
    check_device_integers();
    FAULTS("fxsave (%%rdi)", IOAPIC, EXC_GP, 0);
    FAULTS("fxsave (%%rdi)", IOAPIC - 16, EXC_GP, 0); // begins where nothing is
    FAULTS("fldl (%%rdi)", IOAPIC, EXC_GP, 0);
    FAULTS("lgdt (%%rdi)", IOAPIC, EXC_GP, 0);
    FAULTS("jmp *%%rdi", IOAPIC, EXC_GP, 0);
    FAULTS("fxsave (%%rdi)", 0xfee00000, EXC_GP, 0);
    check_still_ones(IOAPIC - 16);
}

// ---- several processors -------------------------------------------------------------------------

static struct smp_barrier barrier;
static volatile uint32_t wrong, kept;

// Who only reads: nobody can write what it finds.
static void read_flood(void) {
    uint32_t low, high;
    smp_barrier(&barrier, smp_count);
    for (uint32_t i = 0; i < FLOOD; i++) {
        __asm__ volatile("fildll (%2); sub $8, %%rsp; fistpll (%%rsp); pop %%rax; mov %%eax, %0; "
                         "shr $32, %%rax; mov "
                         "%%eax, %1"
                         : "=&r"(low), "=&r"(high)
                         : "r"(ABSENT)
                         : "rax", "memory", "cc");
        if ((low & high) != UINT32_MAX)
            smp_add(&wrong);
    }
}

// Some write by themselves, some through the hypervisor. What is read may be another's write of
// that very moment, and nothing else.
static void write_flood(void) {
    smp_barrier(&barrier, smp_count);
    for (uint32_t i = 0; i < FLOOD; i++) {
        if (smp_self() % 2)
            __asm__ volatile("fldz; fstpl (%0)" : : "r"(ABSENT) : "memory");
        else
            *(volatile uint64_t *)ABSENT = 0;
        uint64_t seen = *(volatile uint64_t *)ABSENT;
        if (seen != UINT64_MAX && seen != 0)
            smp_add(&wrong);
        if (seen == 0)
            smp_add(&kept);
    }
}

static void check_together(void) {
    smp_start(false);
    smp_run_all(read_flood);
    CHECK_EQ(wrong, 0);
    check_still_ones(ABSENT);
    smp_run_all(write_flood);
    CHECK_EQ(wrong, 0);
    print("another's write was seen %u times\n", kept);
    check_still_ones(ABSENT);
}

void test(void) {
    enable_vectors();
    if (cmdline_has("smp")) {
        check_together();
        return;
    }
    check_vectors();
    check_whole_state();
    check_hints();
    check_integers();
    check_systems();
    check_stack();
    check_end_of_ram();
    check_single_step();
    check_device();
}
