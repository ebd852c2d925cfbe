// SPDX-License-Identifier: Apache-2.0
// CPUID by name: the feature bits that a guest may see and the fields that the policy computes.
// Read by cpuid.c alone. For a leaf and register, _PASS is what passes from the host, _EMULATED
// what is there always, _NEED_AVX and _AVX512 what goes with the guest's XCR0.
#pragma once

#define B(n) (1u << (n))

// ---- leaf 1 ----
#define L1_ECX_SSE3         B(0)
#define L1_ECX_PCLMULQDQ    B(1)
#define L1_ECX_SSSE3        B(9)
#define L1_ECX_FMA          B(12)
#define L1_ECX_CMPXCHG16B   B(13)
#define L1_ECX_PCID         B(17)
#define L1_ECX_SSE4_1       B(19)
#define L1_ECX_SSE4_2       B(20)
#define L1_ECX_X2APIC       B(21)
#define L1_ECX_MOVBE        B(22)
#define L1_ECX_POPCNT       B(23)
#define L1_ECX_TSC_DEADLINE B(24)
#define L1_ECX_AESNI        B(25)
#define L1_ECX_XSAVE        B(26)
#define L1_ECX_AVX          B(28)
#define L1_ECX_F16C         B(29)
#define L1_ECX_RDRAND       B(30)
#define L1_ECX_HYPERVISOR   B(31)

#define L1_ECX_PASS                                                                                \
    (L1_ECX_SSE3 | L1_ECX_PCLMULQDQ | L1_ECX_SSSE3 | L1_ECX_FMA | L1_ECX_CMPXCHG16B |              \
     L1_ECX_PCID | L1_ECX_SSE4_1 | L1_ECX_SSE4_2 | L1_ECX_MOVBE | L1_ECX_POPCNT | L1_ECX_AESNI |   \
     L1_ECX_XSAVE | L1_ECX_AVX | L1_ECX_F16C | L1_ECX_RDRAND)
#define L1_ECX_EMULATED (L1_ECX_X2APIC | L1_ECX_TSC_DEADLINE | L1_ECX_HYPERVISOR)
#define L1_ECX_NEED_AVX (L1_ECX_AVX | L1_ECX_FMA | L1_ECX_F16C)

#define L1_EDX_FPU   B(0)
#define L1_EDX_VME   B(1)
#define L1_EDX_DE    B(2)
#define L1_EDX_PSE   B(3)
#define L1_EDX_TSC   B(4)
#define L1_EDX_MSR   B(5)
#define L1_EDX_PAE   B(6)
#define L1_EDX_MCE   B(7)
#define L1_EDX_CX8   B(8)
#define L1_EDX_APIC  B(9)
#define L1_EDX_SEP   B(11)
#define L1_EDX_MTRR  B(12)
#define L1_EDX_PGE   B(13)
#define L1_EDX_MCA   B(14)
#define L1_EDX_CMOV  B(15)
#define L1_EDX_PAT   B(16)
#define L1_EDX_PSE36 B(17)
#define L1_EDX_CLFSH B(19)
#define L1_EDX_MMX   B(23)
#define L1_EDX_FXSR  B(24)
#define L1_EDX_SSE   B(25)
#define L1_EDX_SSE2  B(26)
#define L1_EDX_SS    B(27)
#define L1_EDX_HTT   B(28)

#define L1_EDX_PASS                                                                                \
    (L1_EDX_FPU | L1_EDX_VME | L1_EDX_DE | L1_EDX_PSE | L1_EDX_TSC | L1_EDX_MSR | L1_EDX_PAE |     \
     L1_EDX_CX8 | L1_EDX_SEP | L1_EDX_PGE | L1_EDX_CMOV | L1_EDX_PAT | L1_EDX_PSE36 |              \
     L1_EDX_CLFSH | L1_EDX_MMX | L1_EDX_FXSR | L1_EDX_SSE | L1_EDX_SSE2 | L1_EDX_SS)
#define L1_EDX_EMULATED (L1_EDX_APIC | L1_EDX_MTRR | L1_EDX_MCE | L1_EDX_MCA)

#define L1_EBX_CLFLUSH_SIZE  0x0000ff00u
#define L1_EBX_LOGICAL_SHIFT 16

// ---- leaves 4 and 6 ----
#define L4_EAX_TYPE          0x0000001fu
#define L4_EAX_LEVEL_SHIFT   5
#define L4_EAX_LEVEL         0x000000e0u
#define L4_EAX_SHAPE         0x000003ffu // type, level, self-initializing, fully associative
#define L4_EAX_SHARING_SHIFT 14
#define L4_EAX_CORES_SHIFT   26
#define L4_LEVEL_SHARED      3u // level 3 and outer caches belong to the whole package
#define L6_EAX_ARAT          B(2)

// ---- leaf 7 ----
#define L7_EBX_FSGSBASE   B(0)
#define L7_EBX_TSC_ADJUST B(1)
#define L7_EBX_BMI1       B(3)
#define L7_EBX_AVX2       B(5)
#define L7_EBX_FDP_EXCPTN B(6)
#define L7_EBX_SMEP       B(7)
#define L7_EBX_BMI2       B(8)
#define L7_EBX_ERMS       B(9)
#define L7_EBX_INVPCID    B(10)
#define L7_EBX_FPU_CS_DS  B(13)
#define L7_EBX_AVX512F    B(16)
#define L7_EBX_AVX512DQ   B(17)
#define L7_EBX_RDSEED     B(18)
#define L7_EBX_ADX        B(19)
#define L7_EBX_SMAP       B(20)
#define L7_EBX_AVX512IFMA B(21)
#define L7_EBX_CLFLUSHOPT B(23)
#define L7_EBX_CLWB       B(24)
#define L7_EBX_AVX512PF   B(26)
#define L7_EBX_AVX512ER   B(27)
#define L7_EBX_AVX512CD   B(28)
#define L7_EBX_SHA        B(29)
#define L7_EBX_AVX512BW   B(30)
#define L7_EBX_AVX512VL   B(31)

#define L7_EBX_AVX512                                                                              \
    (L7_EBX_AVX512F | L7_EBX_AVX512DQ | L7_EBX_AVX512IFMA | L7_EBX_AVX512PF | L7_EBX_AVX512ER |    \
     L7_EBX_AVX512CD | L7_EBX_AVX512BW | L7_EBX_AVX512VL)
#define L7_EBX_PASS                                                                                \
    (L7_EBX_FSGSBASE | L7_EBX_BMI1 | L7_EBX_AVX2 | L7_EBX_FDP_EXCPTN | L7_EBX_SMEP | L7_EBX_BMI2 | \
     L7_EBX_ERMS | L7_EBX_INVPCID | L7_EBX_FPU_CS_DS | L7_EBX_RDSEED | L7_EBX_ADX | L7_EBX_SMAP |  \
     L7_EBX_CLFLUSHOPT | L7_EBX_CLWB | L7_EBX_SHA | L7_EBX_AVX512)
#define L7_EBX_EMULATED L7_EBX_TSC_ADJUST

#define L7_ECX_PREFETCHWT1      B(0)
#define L7_ECX_AVX512_VBMI      B(1)
#define L7_ECX_UMIP             B(2)
#define L7_ECX_AVX512_VBMI2     B(6)
#define L7_ECX_GFNI             B(8)
#define L7_ECX_VAES             B(9)
#define L7_ECX_VPCLMULQDQ       B(10)
#define L7_ECX_AVX512_VNNI      B(11)
#define L7_ECX_AVX512_BITALG    B(12)
#define L7_ECX_AVX512_VPOPCNTDQ B(14)
#define L7_ECX_RDPID            B(22)
#define L7_ECX_CLDEMOTE         B(25)
#define L7_ECX_MOVDIRI          B(27)
#define L7_ECX_MOVDIR64B        B(28)

#define L7_ECX_AVX512                                                                              \
    (L7_ECX_AVX512_VBMI | L7_ECX_AVX512_VBMI2 | L7_ECX_AVX512_VNNI | L7_ECX_AVX512_BITALG |        \
     L7_ECX_AVX512_VPOPCNTDQ)
#define L7_ECX_NEED_AVX (L7_ECX_VAES | L7_ECX_VPCLMULQDQ)
#define L7_ECX_PASS                                                                                \
    (L7_ECX_PREFETCHWT1 | L7_ECX_UMIP | L7_ECX_GFNI | L7_ECX_RDPID | L7_ECX_CLDEMOTE |             \
     L7_ECX_MOVDIRI | L7_ECX_MOVDIR64B | L7_ECX_AVX512 | L7_ECX_NEED_AVX)

#define L7_EDX_AVX512_4VNNIW       B(2)
#define L7_EDX_AVX512_4FMAPS       B(3)
#define L7_EDX_FSRM                B(4)
#define L7_EDX_AVX512_VP2INTERSECT B(8)
#define L7_EDX_MD_CLEAR            B(10)
#define L7_EDX_SERIALIZE           B(14)
#define L7_EDX_AVX512_FP16         B(23)
#define L7_EDX_SPEC_CTRL           B(26) // IBRS and IBPB
#define L7_EDX_STIBP               B(27)
#define L7_EDX_L1D_FLUSH           B(28)
#define L7_EDX_ARCH_CAPABILITIES   B(29)
#define L7_EDX_SSBD                B(31)

#define L7_EDX_AVX512                                                                              \
    (L7_EDX_AVX512_4VNNIW | L7_EDX_AVX512_4FMAPS | L7_EDX_AVX512_VP2INTERSECT | L7_EDX_AVX512_FP16)
#define L7_EDX_PASS                                                                                \
    (L7_EDX_FSRM | L7_EDX_MD_CLEAR | L7_EDX_SERIALIZE | L7_EDX_AVX512 | L7_EDX_SPEC_CTRL |         \
     L7_EDX_STIBP | L7_EDX_L1D_FLUSH | L7_EDX_ARCH_CAPABILITIES | L7_EDX_SSBD)

// Of registers that AMD tells by leaf 0x80000008, or has not; KVM tells of them here, too.
#define L7_EDX_INTEL (L7_EDX_SPEC_CTRL | L7_EDX_STIBP | L7_EDX_L1D_FLUSH | L7_EDX_SSBD)

#define L7_1_EAX_AVX_VNNI    B(4)
#define L7_1_EAX_AVX512_BF16 B(5)
#define L7_1_EAX_FZLRM       B(10)
#define L7_1_EAX_FSRS        B(11)
#define L7_1_EAX_FSRCS       B(12)
#define L7_1_EAX_AVX_IFMA    B(23)
#define L7_1_EAX_NEED_AVX    (L7_1_EAX_AVX_VNNI | L7_1_EAX_AVX_IFMA)
#define L7_1_EAX_PASS                                                                              \
    (L7_1_EAX_FZLRM | L7_1_EAX_FSRS | L7_1_EAX_FSRCS | L7_1_EAX_AVX512_BF16 | L7_1_EAX_NEED_AVX)

// Bits of IA32_SPEC_CTRL, and that a fault is not there.
#define L7_2_EDX_PSFD    B(0)
#define L7_2_EDX_IPRED   B(1)
#define L7_2_EDX_RRSBA   B(2)
#define L7_2_EDX_DDPD    B(3)
#define L7_2_EDX_BHI     B(4)
#define L7_2_EDX_MCDT_NO B(5)
#define L7_2_EDX_PASS                                                                              \
    (L7_2_EDX_PSFD | L7_2_EDX_IPRED | L7_2_EDX_RRSBA | L7_2_EDX_DDPD | L7_2_EDX_BHI |              \
     L7_2_EDX_MCDT_NO)
#define L7_EAX_LAST 2u // subleaf

// ---- leaves 0xb and 0xd ----
#define LB_TYPE_SMT   (1u << 8)
#define LB_TYPE_CORE  (2u << 8)
#define LD_1_XSAVEOPT B(0)
#define LD_1_XGETBV1  B(2)
#define LD_N_ALIGN_64 B(1)
#define XCR0_AVX      (1ULL << 2)
#define XCR0_AVX512   (7ULL << 5)
#define XCR0_KNOWN    (3ULL | XCR0_AVX | XCR0_AVX512) // x87 and SSE before them
#define XSAVE_HEAD    576u // legacy area and header: SDM 1 13.4 "XSAVE Area"

// ---- extended leaves ----
#define X1_ECX_LAHF        B(0)
#define X1_ECX_CMP_LEGACY  B(1)
#define X1_ECX_CR8_LEGACY  B(4)
#define X1_ECX_LZCNT       B(5)
#define X1_ECX_SSE4A       B(6)
#define X1_ECX_MISALIGNSSE B(7)
#define X1_ECX_PREFETCHW   B(8)
#define X1_ECX_XOP         B(11)
#define X1_ECX_FMA4        B(16)
#define X1_ECX_TBM         B(21)
#define X1_ECX_TOPOEXT     B(22)
#define X1_ECX_NEED_AVX    (X1_ECX_XOP | X1_ECX_FMA4)
#define X1_ECX_PASS                                                                                \
    (X1_ECX_LAHF | X1_ECX_CR8_LEGACY | X1_ECX_LZCNT | X1_ECX_SSE4A | X1_ECX_MISALIGNSSE |          \
     X1_ECX_PREFETCHW | X1_ECX_TBM | X1_ECX_TOPOEXT | X1_ECX_NEED_AVX)

#define X1_EDX_SYSCALL   B(11)
#define X1_EDX_NX        B(20)
#define X1_EDX_MMXEXT    B(22)
#define X1_EDX_PAGE1GB   B(26)
#define X1_EDX_RDTSCP    B(27)
#define X1_EDX_LM        B(29)
#define X1_EDX_3DNOWEXT  B(30)
#define X1_EDX_3DNOW     B(31)
#define X1_EDX_AS_LEAF_1 0x0183f3ffu // AMD repeats these of leaf 1
#define X1_EDX_PASS                                                                                \
    (X1_EDX_SYSCALL | X1_EDX_NX | X1_EDX_MMXEXT | X1_EDX_PAGE1GB | X1_EDX_RDTSCP | X1_EDX_LM |     \
     X1_EDX_3DNOWEXT | X1_EDX_3DNOW | X1_EDX_AS_LEAF_1)

#define X7_EDX_INVARIANT_TSC B(8)
#define X8_EAX_LINEAR_BITS   (48u << 8) // whatever the processor has: guests have no LA57
#define X8_EBX_CLZERO        B(0)
#define X8_EBX_XSAVEERPTR    B(2)
#define X8_EBX_WBNOINVD      B(9)
#define X8_EBX_IBPB          B(12)
#define X8_EBX_LMSLE_LACKS   B(20) // EFER.LMSLE faults
#define X8_EBX_SSB_NO        B(26)
#define X8_EBX_BTC_NO        B(29)
#define X8_EBX_IBPB_RET      B(30)
#define X8_EBX_PASS                                                                                \
    (X8_EBX_CLZERO | X8_EBX_XSAVEERPTR | X8_EBX_WBNOINVD | X8_EBX_IBPB | X8_EBX_SSB_NO |           \
     X8_EBX_BTC_NO | X8_EBX_IBPB_RET)
#define X8_ECX_ID_SIZE_SHIFT 12

// ---- extended leaves of AMD's processors alone ----
#define X1D_EAX_SHAPE            L4_EAX_SHAPE // as leaf 4, without the number of cores
#define X1D_EDX_PASS             3u           // WBINVD reaches the sharers' caches; inclusive
#define X21_EAX_NO_NESTED_DATABP B(0)
#define X21_EAX_LFENCE           B(2) // it always waits for what went before
#define X21_EAX_VERW_CLEAR       B(5) // VERW empties buffers: an outer hypervisor says so
#define X21_EAX_NULL_CLEARS_BASE B(6)
#define X21_EAX_SMM_CTL_LACKS    B(9)
#define X21_EAX_FSRS             B(10)
#define X21_EAX_FSRC             B(11)
#define X21_EAX_IBPB_BRTYPE      B(28)
#define X21_EAX_SRSO_NO          B(29)
#define X21_EAX_SRSO_USER_NO     B(30)
#define X21_EAX_PASS                                                                               \
    (X21_EAX_NO_NESTED_DATABP | X21_EAX_LFENCE | X21_EAX_VERW_CLEAR | X21_EAX_NULL_CLEARS_BASE |   \
     X21_EAX_FSRS | X21_EAX_FSRC | X21_EAX_IBPB_BRTYPE | X21_EAX_SRSO_NO | X21_EAX_SRSO_USER_NO)
#define X21_ECX_PASS (B(1) | B(2)) // free of TSA in the store queue, in the first-level cache

#define LEAF_BASIC_MAX      0x16u
#define LEAF_HYPERVISOR     0x40000000u
#define LEAF_HYPERVISOR_MAX 0x40000010u
#define LEAF_EXTENDED_MAX   0x80000008u
#define LEAF_AMD_MAX        0x80000021u
#define VENDOR_AMD_EBX      0x68747541u // "Auth", of AuthenticAMD

// Leaf 0x40000001: Linux, Documentation/virt/kvm/x86/cpuid.rst.
#define KVM_FEATURE_NOP_IO_DELAY       B(1) // no need to wait on I/O ports with writes to port 0x80
#define KVM_FEATURE_CLOCKSOURCE2       B(3) // MSRs KVM_WALL_CLOCK_NEW, KVM_SYSTEM_TIME_NEW
#define KVM_FEATURE_STEAL_TIME         B(5)
#define KVM_FEATURE_CLOCKSOURCE_STABLE B(24) // the clock says whether it is one for all vCPUs
#define KVM_FEATURES                                                                               \
    (KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 | KVM_FEATURE_STEAL_TIME |                \
     KVM_FEATURE_CLOCKSOURCE_STABLE)
