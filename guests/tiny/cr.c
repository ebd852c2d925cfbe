// SPDX-License-Identifier: Apache-2.0
// Control registers: what hardware refuses is #GP(0) and changes nothing; what it takes is read
// back, also the bits that the hypervisor keeps for itself.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define L1_ECX_PCID    BIT(17)
#define L1_ECX_XSAVE   BIT(26)
#define L1_ECX_OSXSAVE BIT(27)

#define TRY_WRITE(name, value)                                                                     \
    __asm__ volatile(TRY("mov %0, %%" #name) : : "r"((uint64_t)(value)) : TRY_CLOBBERS)
#define REFUSED(name, value)                                                                       \
    do {                                                                                           \
        uint64_t before = read_##name();                                                           \
        TRY_WRITE(name, value);                                                                    \
        CHECK_FAULT(EXC_GP, 0);                                                                    \
        CHECK_EQ(read_##name(), before);                                                           \
    } while (0)
#define TAKEN(name, value)                                                                         \
    do {                                                                                           \
        uint64_t before = read_##name();                                                           \
        TRY_WRITE(name, value);                                                                    \
        CHECK_NO_FAULT();                                                                          \
        CHECK_EQ(read_##name(), value);                                                            \
        write_##name(before);                                                                      \
    } while (0)

static void check_cr0(void) {
    uint64_t cr0 = read_cr0();
    REFUSED(cr0, cr0 & ~CR0_PE);
    REFUSED(cr0, cr0 & ~CR0_PG); // not from 64-bit code
    REFUSED(cr0, cr0 & ~(CR0_PE | CR0_PG));
    REFUSED(cr0, cr0 | CR0_NW);
    REFUSED(cr0, cr0 | BIT(32));
    TAKEN(cr0, cr0 | CR0_CD);
    TAKEN(cr0, cr0 | CR0_CD | CR0_NW);
    TAKEN(cr0, cr0 ^ CR0_NE);
    TAKEN(cr0, cr0 | CR0_TS | CR0_MP);
    TAKEN(cr0, cr0 | CR0_WP | CR0_AM);
    write_cr0(cr0 & ~CR0_ET); // is always 1
    CHECK_EQ(read_cr0(), cr0 | CR0_ET);
}

static void check_machine_status(void) {
    uint64_t cr0 = read_cr0(), status;
    __asm__ volatile("smsw %0" : "=r"(status));
    CHECK_EQ(status & 0xffff, cr0 & 0xffff);
    __asm__ volatile("lmsw %w0" : : "r"(CR0_TS | CR0_MP)); // cannot clear PE
    CHECK_EQ(read_cr0(), cr0 | CR0_TS | CR0_MP);
    __asm__ volatile("clts");
    CHECK_EQ(read_cr0(), cr0 | CR0_MP);
    write_cr0(cr0);
}

static void check_cr4(void) {
    uint64_t cr4 = read_cr4();
    REFUSED(cr4, cr4 & ~CR4_PAE);
    REFUSED(cr4, cr4 | CR4_VMXE);
    REFUSED(cr4, cr4 | CR4_SMXE);
    REFUSED(cr4, cr4 | CR4_LA57);
    REFUSED(cr4, cr4 | CR4_CET);
    REFUSED(cr4, cr4 | BIT(15));
    REFUSED(cr4, cr4 | BIT(31));
    REFUSED(cr4, cr4 | BIT(63));
    TAKEN(cr4, cr4 | CR4_MCE);
    TAKEN(cr4, cr4 | CR4_PGE | CR4_DE | CR4_TSD);
    if (!(cpuid(1, 0).ecx & L1_ECX_XSAVE))
        return;
    TAKEN(cr4, cr4 | CR4_OSXSAVE);
    write_cr4(cr4 | CR4_OSXSAVE);
    CHECK(cpuid(1, 0).ecx & L1_ECX_OSXSAVE);
    write_cr4(cr4);
    CHECK(!(cpuid(1, 0).ecx & L1_ECX_OSXSAVE));
}

static void check_pcid(void) {
    uint64_t cr3 = read_cr3(), cr4 = read_cr4();
    if (!(cpuid(1, 0).ecx & L1_ECX_PCID)) {
        REFUSED(cr4, cr4 | CR4_PCIDE);
        return;
    }
    write_cr3(cr3 | 8);
    REFUSED(cr4, cr4 | CR4_PCIDE); // CR3's low bits are not 0
    REFUSED(cr4, (cr4 ^ CR4_MCE) | CR4_PCIDE);
    if (cpuid(1, 0).ecx & L1_ECX_XSAVE)
        REFUSED(cr4, (cr4 ^ CR4_MCE) | CR4_PCIDE | CR4_OSXSAVE);
    CHECK(!(cpuid(1, 0).ecx & L1_ECX_OSXSAVE));
    write_cr3(cr3);
    write_cr4(cr4 | CR4_PCIDE);
    CHECK_EQ(read_cr4(), cr4 | CR4_PCIDE);
    write_cr3(cr3 | 5);
    CHECK_EQ(read_cr3(), cr3 | 5);
    __asm__ volatile(TRY("mov %0, %%cr3") : : "r"(cr3 | 5 | BIT(63)) : TRY_CLOBBERS);
    CHECK_NO_FAULT();
    CHECK_EQ(read_cr3(), cr3 | 5);
    write_cr3(cr3);
    write_cr4(cr4);
}

static void check_cr3(void) {
    uint64_t cr3 = read_cr3();
    uint32_t bits = cpuid(0x80000008, 0).eax & 0xff;
    REFUSED(cr3, cr3 | BIT(63));
    REFUSED(cr3, cr3 | BIT(bits));
    TAKEN(cr3, cr3 | BIT(3) | BIT(4)); // PWT, PCD
}

static void check_cr8(void) {
    REFUSED(cr8, 16);
    REFUSED(cr8, UINT64_MAX);
    TAKEN(cr8, 0xa);
    CHECK_EQ(read_cr8(), 0);
}

static void check_no_register(void) {
    __asm__ volatile(TRY(".byte 0x0f, 0x20, 0xc8") : : : "rax", TRY_CLOBBERS); // MOV RAX, CR1
    CHECK_FAULT(EXC_UD, 0);
    __asm__ volatile(TRY(".byte 0x0f, 0x22, 0xf8") : : : "rax", TRY_CLOBBERS); // MOV CR7, RAX
    CHECK_FAULT(EXC_UD, 0);
}

void test(void) {
    check_cr0();
    check_machine_status();
    check_cr3();
    check_cr4();
    check_pcid();
    check_cr8();
    check_no_register();
    write_cr2(0x123456789abcULL);
    (void)cpuid(0, 0);
    out8(0x80, 0);
    CHECK_EQ(read_cr2(), 0x123456789abcULL);
}
