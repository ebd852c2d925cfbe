// SPDX-License-Identifier: Apache-2.0
// The processor's instructions and register formats that the kernel uses; nothing with state. Bits
// and indices: SDM 3A 2.5 "Control Registers", SDM 4 "Model-Specific Registers", SDM 2A "CPUID".
#pragma once

#include "lib/types.h"

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_VMXE       BIT(13)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)

// What a guest may have in force. Of the others either VT-x or the host needs CR4's as they are, or
// they bring state that nobody moves.
#define CR4_GUEST                                                                                  \
    (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR |   \
     CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP)

#define EFER_SCE    BIT(0)
#define EFER_LME    BIT(8)
#define EFER_LMA    BIT(10)
#define EFER_NXE    BIT(11)
#define EFER_SVME   BIT(12)
#define EFER_AIBRSE BIT(21)

#define RFLAGS_ONE BIT(1)
#define RFLAGS_TF  BIT(8)
#define RFLAGS_IF  BIT(9)
#define RFLAGS_RF  BIT(16)

enum exception {
    EXC_DB = 1,
    EXC_NMI = 2,
    EXC_BP = 3,
    EXC_OF = 4,
    EXC_UD = 6,
    EXC_DF = 8,
    EXC_GP = 13,
    EXC_PF = 14,
    EXC_AC = 17,
    EXC_MC = 18,
};

#define PF_PRESENT BIT(0)
#define PF_WRITE   BIT(1)
#define PF_FETCH   BIT(4)

enum msr {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_FLUSH_CMD = 0x10b,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_PAT = 0x277,
    MSR_MCG_EXT_CTL = 0x4d0,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_CSTAR = 0xc0000083,
    MSR_SFMASK = 0xc0000084,
    MSR_FS_BASE = 0xc0000100,
    MSR_GS_BASE = 0xc0000101,
    MSR_KERNEL_GS_BASE = 0xc0000102,
    MSR_TSC_AUX = 0xc0000103,
    MSR_TSC_RATIO = 0xc0000104,
    MSR_VM_CR = 0xc0010114,
    MSR_VM_HSAVE_PA = 0xc0010117,
    MSR_DE_CFG = 0xc0011029,
};

#define FEATURE_CONTROL_LOCK  BIT(0)
#define FEATURE_CONTROL_VMXON BIT(2)
#define MCG_EXT_CTL_LOCAL     BIT(0)
#define VM_CR_LOCK            BIT(3)
#define VM_CR_SVMDIS          BIT(4)
#define APIC_BASE_BSP         BIT(8)
#define APIC_BASE_X2APIC      BIT(10)
#define APIC_BASE_ENABLE      BIT(11)
#define PAT_RESET             0x0007040600070406ULL // WB WT UC- UC WB WT UC- UC
#define XCR0_X87              BIT(0)
#define XCR0_SSE              BIT(1)
#define XCR0_AVX              BIT(2)
#define XCR0_AVX512           (BIT(5) | BIT(6) | BIT(7))

struct cpuid_result {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_result x86_cpuid(uint32_t leaf, uint32_t subleaf) {
    struct cpuid_result r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(subleaf));
    return r;
}

static inline bool is_canonical(uint64_t address) {
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

static inline uint64_t x86_rdmsr(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void x86_wrmsr(uint32_t msr, uint64_t value) {
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static inline uint64_t x86_rdtsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

// (high << 64 | low) / by; the quotient must fit, so high < by.
static inline uint64_t x86_div(uint64_t high, uint64_t low, uint64_t by) {
    uint64_t quotient, remainder;
    __asm__("divq %4" : "=a"(quotient), "=d"(remainder) : "a"(low), "d"(high), "r"(by) : "cc");
    return quotient;
}

// State of the features in `mask`, which XCR0 has; SDM 1 13.7 to 13.9 "Operation of XSAVE", "of
// XRSTOR".
static inline void x86_xsave(void *area, uint64_t mask) {
    __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
                     : "memory");
}
static inline void x86_xrstor(const void *area, uint64_t mask) {
    __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
                     : "memory");
}
static inline void x86_fxsave(void *area) {
    __asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}
static inline void x86_fxrstor(const void *area) {
    __asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}
// The handler of NMIs, as an NMI calls it: its IRET unblocks the next one.
static inline void x86_call_nmi(void) {
    __asm__ volatile("int %0" ::"i"(EXC_NMI) : "memory");
}

static inline void x86_xsetbv(uint32_t index, uint64_t value) {
    __asm__ volatile("xsetbv" ::"c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static inline uint64_t x86_xgetbv(uint32_t index) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
    return (uint64_t)high << 32 | low;
}

#define X86_REGISTER_ACCESSORS(name)                                                               \
    static inline uint64_t x86_read_##name(void) {                                                 \
        uint64_t value;                                                                            \
        __asm__ volatile("mov %%" #name ", %0" : "=r"(value)::"memory");                           \
        return value;                                                                              \
    }                                                                                              \
    static inline void x86_write_##name(uint64_t value) {                                          \
        __asm__ volatile("mov %0, %%" #name ::"r"(value) : "memory");                              \
    }

X86_REGISTER_ACCESSORS(cr0)
X86_REGISTER_ACCESSORS(cr2)
X86_REGISTER_ACCESSORS(cr3)
X86_REGISTER_ACCESSORS(cr4)
X86_REGISTER_ACCESSORS(dr0)
X86_REGISTER_ACCESSORS(dr1)
X86_REGISTER_ACCESSORS(dr2)
X86_REGISTER_ACCESSORS(dr3)
X86_REGISTER_ACCESSORS(dr6)
X86_REGISTER_ACCESSORS(dr7)

#define X86_PORT_ACCESSORS(letter, type)                                                           \
    static inline type x86_in##letter(uint16_t port) {                                             \
        type value;                                                                                \
        __asm__ volatile("in" #letter " %1, %0" : "=a"(value) : "Nd"(port));                       \
        return value;                                                                              \
    }                                                                                              \
    static inline void x86_out##letter(uint16_t port, type value) {                                \
        __asm__ volatile("out" #letter " %0, %1" ::"a"(value), "Nd"(port));                        \
    }

X86_PORT_ACCESSORS(b, uint8_t)
X86_PORT_ACCESSORS(w, uint16_t)
X86_PORT_ACCESSORS(l, uint32_t)

static inline void x86_outsb(uint16_t port, const uint8_t *bytes, size_t count) {
    __asm__ volatile("rep outsb" : "+S"(bytes), "+c"(count) : "d"(port) : "memory");
}

#define X86_INSTRUCTION(name, text)                                                                \
    static inline void x86_##name(void) {                                                          \
        __asm__ volatile(text ::: "memory", "cc");                                                 \
    }

// No instruction behind it begins, not even in what the processor only supposes, before those in
// front of it are done.
X86_INSTRUCTION(lfence, "lfence")
X86_INSTRUCTION(pause, "pause")
X86_INSTRUCTION(clts, "clts")
X86_INSTRUCTION(stac, "stac")
X86_INSTRUCTION(clac, "clac")
X86_INSTRUCTION(cli, "cli")
X86_INSTRUCTION(hlt, "hlt")
// Takes the interrupts that wait: STI works behind the instruction after it.
X86_INSTRUCTION(sti_nop_cli, "sti; nop; cli")
// Lets exactly the interrupts in that arrive until the first one: STI's shadow covers HLT. In
// arch/traps.S, whose NMIs know of it.
void x86_sti_hlt_cli(void);
// From now on a store to the line of `word` ends x86_mwait, as does one that waits already.
static inline void x86_monitor(const void *word) {
    __asm__ volatile("monitor" ::"a"(word), "c"(0), "d"(0) : "memory");
}
// With interrupts off: one that comes ends it, and is only then taken. So none is lost that came
// after the last look (SDM 2B "MWAIT", ECX bit 0).
static inline void x86_mwait(uint32_t hint) {
    __asm__ volatile("mwait; sti; nop; cli" ::"a"(hint), "c"(1) : "memory");
}
// Goes on in a function that does not return, at the top of another stack.
_Noreturn static inline void x86_leave_stack(uint64_t top, void (*run)(void)) {
    __asm__ volatile("mov %0, %%rsp; call *%1; ud2" ::"r"(top), "r"(run) : "memory");
    __builtin_unreachable();
}
static inline void x86_invlpg(hva_t address) {
    __asm__ volatile("invlpg (%0)" ::"r"(address.v) : "memory");
}
