// SPDX-License-Identifier: Apache-2.0
// Random values for the control registers, the debug registers, XCR0 and EFER: each is either taken
// and read back, or refused with an exception and nothing has changed. Values are mostly the
// present one with a few bits turned, since those are taken; CR3 keeps its tables.
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define CR3_FRAME   0x000000fffffff000ULL
#define CR3_NOFLUSH BIT(63)
#define DR6_ONES    0xffff0ff0ULL
#define CR0_IGNORED 0x1ffaffd0ULL // reserved bits of the lower half, and ET
#define DR6_DEFINED 0xe00fULL     // B0 to B3, BD, BS, BT
#define DR7_ONES    0x400ULL
#define DR7_GD_BIT  BIT(13)
#define DR7_ZEROES  0xd800ULL // 11 is RTM

static uint32_t taken, refused;

static uint64_t turned(uint64_t value) {
    if (random_one_in(8))
        return random_value();
    for (uint32_t bits = random_below(3) + 1; bits > 0; bits--)
        value ^= BIT(random_below(random_one_in(8) ? 64 : 24));
    return value;
}

// What stood in the register before, what was to be written, what stands there now; `fixed` bits
// need not agree.
static void judge(const char *name, uint64_t before, uint64_t value, uint64_t now, uint64_t fixed) {
    bool is_right;
    if (trap_last.is_taken) {
        refused++;
        is_right = now == before && (trap_last.vector == EXC_GP || trap_last.vector == EXC_DB ||
                                     trap_last.vector == EXC_UD);
    } else {
        taken++;
        is_right = (now & ~fixed) == (value & ~fixed);
    }
    CHECK(is_right);
    if (!is_right)
        print("%s: %lx, written %lx, now %lx, exception %u\n", name, before, value, now,
              trap_last.is_taken ? trap_last.vector : UINT8_MAX);
}

#define ATTACK(name, new_value, fixed, restore)                                                    \
    do {                                                                                           \
        uint64_t before = read_##name(), value = (new_value);                                      \
        __asm__ volatile(TRY("mov %0, %%" #name) : : "r"(value) : TRY_CLOBBERS);                   \
        uint64_t now = read_##name();                                                              \
        judge(#name, before, value, now, fixed);                                                   \
        exits();                                                                                   \
        if (restore)                                                                               \
            write_##name(before);                                                                  \
    } while (0)

// What was taken must be a state that the processor enters again with.
static void exits(void) {
    struct trap last = trap_last;
    (void)cpuid(random_below(2), 0);
    out8(0x80, 0);
    trap_last = last;
}

static void attack_cr4(void) {
    ATTACK(cr4, turned(read_cr4()), 0, true);
}

static void attack_cr3(void) {
    uint64_t frame = read_cr3() & CR3_FRAME;
    ATTACK(cr3, (turned(read_cr3()) & ~CR3_FRAME) | frame, CR3_NOFLUSH, true);
}

// A random DR7 has breakpoints, which hit or do not.
static void on_debug(struct trap_frame *frame) {
    __asm__ volatile("mov %0, %%dr7" : : "r"(DR7_ONES));
    frame->rflags |= RFLAGS_RF;
}

static void attack_debug(void) {
    switch (random_below(6)) {
    case 0:
        ATTACK(dr0, random_value(), 0, false);
        break;
    case 1:
        ATTACK(dr1, random_value(), 0, false);
        break;
    case 2:
        ATTACK(dr2, random_value(), 0, false);
        break;
    case 3:
        ATTACK(dr3, random_value(), 0, false);
        break;
    case 4:
        ATTACK(dr6, random_value(), ~DR6_DEFINED, false);
        break;
    default:
        ATTACK(dr7, turned(read_dr7()) & ~DR7_GD_BIT, DR7_ONES | DR7_ZEROES, true);
        write_dr7(DR7_ONES);
        break;
    }
}

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void attack_xcr0(void) {
    write_cr4(read_cr4() | CR4_OSXSAVE);
    uint64_t before = read_xcr0(), value = turned(before);
    uint32_t index = random_one_in(8) ? (uint32_t)random_value() : 0;
    __asm__ volatile(TRY("xsetbv")
                     :
                     : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index)
                     : TRY_CLOBBERS);
    judge("xcr0", before, value, read_xcr0(), 0);
    exits();
}

static void attack_efer(void) {
    uint64_t before = rdmsr(MSR_EFER), value = turned(before);
    try_wrmsr(MSR_EFER, value);
    struct trap last = trap_last;
    uint64_t now = rdmsr(MSR_EFER);
    trap_last = last;
    judge("efer", before, value, now, EFER_LMA);
    exits();
    wrmsr(MSR_EFER, before | EFER_NXE);
}

// LMSW cannot clear PE, and touches no bit above TS.
static void attack_lmsw(void) {
    uint64_t before = read_cr0(), value = random_value();
    __asm__ volatile(TRY("lmsw %w0") : : "r"(value) : TRY_CLOBBERS);
    judge("lmsw", before, (before & ~0xeULL) | (value & 0xe), read_cr0(), 0);
    exits();
    write_cr0(before);
}

static void attack_one(bool has_xsave) {
    switch (random_below(7)) {
    case 0:
        ATTACK(cr0, turned(read_cr0()), CR0_IGNORED, true);
        break;
    case 1:
        attack_cr3();
        break;
    case 2:
        attack_cr4();
        break;
    case 3:
        ATTACK(cr8, turned(read_cr8()), 0, true);
        break;
    case 4:
        attack_efer();
        break;
    case 5:
        if (has_xsave && random_one_in(2))
            attack_xcr0();
        else
            attack_lmsw();
        break;
    default:
        attack_debug();
        break;
    }
}

void test(void) {
    bool has_xsave = (cpuid(1, 0).ecx & BIT(26)) != 0;
    hostile_init(6000);
    trap_set_handler(EXC_DB, on_debug);
    for (uint64_t round = 0; round < hostile_rounds; round++)
        attack_one(has_xsave);
    print("%u taken, %u refused\n", taken, refused);
    CHECK(taken > 0 && refused > 0);
}
