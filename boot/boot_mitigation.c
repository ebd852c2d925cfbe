// SPDX-License-Identifier: Apache-2.0
// Which barriers the processor needs and has (include/features.h; what is done with them stands in
// arch/mitigation.h). Intel, "Affected Processors: Guidance for Security Issues on Intel
// Processors"; SDM 4 2.1 "Architectural MSRs"; APM 2 3.2.9 "Speculation Control MSRs".
#include "boot/boot_features.h"
#include "boot/boot_report.h"
#include "lib/types.h"
#include "lib/words.h"

#define MSR_ARCH_CAPABILITIES 0x10au
#define SPEC_CTRL_IBRS        BIT(0)
#define SPEC_CTRL_BHI_DIS_S   BIT(10)

// CPUID leaf 1.
#define ECX_PCID       BIT(17)
#define ECX_HYPERVISOR BIT(31)
// CPUID leaf 7.
#define EBX_RTM               BIT(11)
#define EDX_MD_CLEAR          BIT(10)
#define EDX_SPEC_CTRL         BIT(26) // IBRS and IBPB
#define EDX_L1D_FLUSH         BIT(28)
#define EDX_ARCH_CAPABILITIES BIT(29)
// CPUID leaf 7, subleaf 2.
#define EDX_BHI_CTRL BIT(4)
// CPUID leaf 80000008H.
#define EBX_IBPB   BIT(12)
#define EBX_BTC_NO BIT(29)
// CPUID leaf 80000021H.
#define EAX_LFENCE_ALWAYS BIT(2)
#define EAX_VERW_CLEAR    BIT(5)
#define EAX_AUTO_IBRS     BIT(8)
#define EAX_SRSO_NO       BIT(29)
#define ECX_TSA_NO        (BIT(1) | BIT(2)) // of the store queue, of the first-level cache

#define CAP_RDCL_NO            BIT(0)
#define CAP_IBRS_ALL           BIT(1)
#define CAP_SKIP_L1DFL_VMENTRY BIT(3)
#define CAP_MDS_NO             BIT(5)
#define CAP_IF_PSCHANGE_MC_NO  BIT(6)
#define CAP_TAA_NO             BIT(8)
#define CAP_FB_CLEAR           BIT(17)
#define CAP_BHI_NO             BIT(20)
#define CAP_RFDS_CLEAR         BIT(28)

#define LEAF_FEATURES   0x1u
#define LEAF_STRUCTURED 0x7u
#define LEAF_ADDRESSES  0x80000008u
#define LEAF_EXTENDED_2 0x80000021u

// AMD, "Technical Guidance for Mitigating Branch Type Confusion" and "Technical Update Regarding
// Speculative Return Stack Overflow": families 15H to 17H (retbleed); from 17H on SRSO, which is
// Inception, where a CPU does not say that it is free of it (1AH is between its own programs and
// kernel, not between guests and host). Hygon's is 18H.
static bool has_return_hazard(const struct boot_speculation *cpu) {
    bool has_btc = cpu->family >= 0x15 && cpu->family <= 0x18 && (cpu->amd.ebx & EBX_BTC_NO) == 0;
    bool has_srso = cpu->family >= 0x17 && (cpu->amd_21.eax & EAX_SRSO_NO) == 0;
    return has_btc || has_srso;
}

static void judge_intel(const struct boot_speculation *cpu, struct mitigation *m,
                        struct boot_hazards *hazards) {
    const uint64_t capabilities = cpu->capabilities;
    bool has_bhi_dis_s = (cpu->leaf7_2.edx & EDX_BHI_CTRL) != 0;
    m->spec_ctrl |= has_bhi_dis_s ? SPEC_CTRL_BHI_DIS_S : 0;
    m->clears_bhb =
        hazards->has_enhanced_ibrs && !has_bhi_dis_s && (capabilities & CAP_BHI_NO) == 0;
    bool has_late_stale_data = (capabilities & (CAP_FB_CLEAR | CAP_RFDS_CLEAR)) != 0;
    bool has_taa = (cpu->leaf7.ebx & EBX_RTM) != 0 && (capabilities & CAP_TAA_NO) == 0;
    m->has_verw = (cpu->leaf7.edx & EDX_MD_CLEAR) != 0 || has_late_stale_data;
    hazards->needs_verw = (capabilities & CAP_MDS_NO) == 0 || has_taa || has_late_stale_data;
    m->needs_l1d_flush = (capabilities & (CAP_RDCL_NO | CAP_SKIP_L1DFL_VMENTRY)) == 0;
    m->has_page_hazard = (capabilities & CAP_IF_PSCHANGE_MC_NO) == 0;
    m->splits_tables = (capabilities & CAP_RDCL_NO) == 0;
    m->empties_for_users = hazards->needs_verw && m->has_verw && !m->splits_tables;
}

// AMD, "Technical Guidance for Mitigating Transient Scheduler Attacks": family 19H, where it does
// not say that it is free of both kinds. No processor tells whether its microcode has VERW empty
// the buffers: the bit is for outer hypervisors to set. Without, VERW does nothing.
static void judge_amd(const struct boot_speculation *cpu, struct mitigation *m,
                      struct boot_hazards *hazards) {
    bool has_tsa = (cpu->family == 0x19 || (cpu->amd_21.eax & EAX_VERW_CLEAR) != 0) &&
                   (cpu->amd_21.ecx & ECX_TSA_NO) != ECX_TSA_NO;
    m->has_verw = hazards->needs_verw = m->empties_for_users = has_tsa;
}

struct mitigation boot_mitigation_judge(const struct boot_speculation *cpu,
                                        struct boot_hazards *hazards) {
    bool has_ibrs_all =
        (cpu->leaf7.edx & EDX_SPEC_CTRL) != 0 && (cpu->capabilities & CAP_IBRS_ALL) != 0;
    struct mitigation m = {
        .stuffs_rsb = true,
        .has_ibpb = (cpu->leaf7.edx & EDX_SPEC_CTRL) != 0 || (cpu->amd.ebx & EBX_IBPB) != 0,
        .has_l1d_flush = (cpu->leaf7.edx & EDX_L1D_FLUSH) != 0,
        .has_auto_ibrs = !cpu->is_intel && (cpu->amd_21.eax & EAX_AUTO_IBRS) != 0,
        .spec_ctrl = has_ibrs_all ? SPEC_CTRL_IBRS : 0,
    };
    hazards->has_enhanced_ibrs = has_ibrs_all || m.has_auto_ibrs;
    hazards->has_return_hazard = has_return_hazard(cpu);
    if (cpu->is_intel)
        judge_intel(cpu, &m, hazards);
    else
        judge_amd(cpu, &m, hazards);
    return m;
}

// APM 3 E.3.2 "Function 1h": 0 for who is neither AMD's nor its kin's.
static uint32_t amd_family(struct boot_cpuid one) {
    uint32_t base = one.eax >> 8 & 0xf;
    return base == 0xf ? base + (one.eax >> 20 & 0xff) : 0;
}

// AMD, "Software Techniques for Managing Speculation on AMD Processors", G-2: families 0FH and 11H
// have no such register, and an LFENCE that always waits. An outer hypervisor has set the bit by
// itself, and may fault a write.
static bool needs_lfence_bit(const struct boot_speculation *cpu, struct boot_cpuid one) {
    return cpu->family >= 0x10 && cpu->family != 0x11 &&
           (cpu->amd_21.eax & EAX_LFENCE_ALWAYS) == 0 && (one.ecx & ECX_HYPERVISOR) == 0;
}

void boot_mitigation_read(const struct boot_processor *cpu, struct boot_info *info) {
    const struct boot_cpuid one = cpu->cpuid(LEAF_FEATURES, 0);
    struct boot_speculation s = {
        .is_intel = info->features.is_intel,
        .family = info->features.is_intel ? 0 : amd_family(one),
        .leaf7 = boot_leaf(cpu, LEAF_STRUCTURED, 0),
        .amd = boot_leaf(cpu, LEAF_ADDRESSES, 0),
        .amd_21 = boot_leaf(cpu, LEAF_EXTENDED_2, 0),
    };
    if (s.leaf7.eax >= 2)
        s.leaf7_2 = cpu->cpuid(LEAF_STRUCTURED, 2);
    if ((s.leaf7.edx & EDX_ARCH_CAPABILITIES) != 0)
        s.capabilities = cpu->rdmsr(MSR_ARCH_CAPABILITIES);
    struct mitigation *m = &info->mitigation;
    *m = words_have(info->platform->start.cmdline, "mitigations=off")
             ? (struct mitigation){.is_off = true}
             : boot_mitigation_judge(&s, &info->platform->hazards);
    m->capabilities = s.capabilities;
    m->needs_lfence_bit = needs_lfence_bit(&s, one);
    m->has_pcid = m->splits_tables && (one.ecx & ECX_PCID) != 0;
}

void boot_mitigation_report(struct boot_info *info) {
    const struct mitigation *m = &info->mitigation;
    const struct boot_hazards *hazards = &info->platform->hazards;
    if (m->is_off) {
        boot_report(
            info, "side channels: mitigations=off: nothing stands against them (what runs here can "
                  "read what it should not, of other VMs too)");
        return;
    }
    bool uses_l1d_flush = m->needs_l1d_flush && m->has_l1d_flush;
    boot_report(info, "side channels: between domains: return stack%s%s%s%s%s%s%s",
                m->has_ibpb ? ", IBPB" : "", m->has_verw ? ", VERW" : "",
                uses_l1d_flush ? ", L1D flush" : "",
                m->has_auto_ibrs             ? "; automatic IBRS"
                : hazards->has_enhanced_ibrs ? "; enhanced IBRS"
                                             : "",
                (m->spec_ctrl & SPEC_CTRL_BHI_DIS_S) != 0 ? "; BHI_DIS_S" : "",
                m->clears_bhb ? "; branch history is cleared by instructions" : "",
                m->splits_tables ? "; page tables are split" : "");
    bool lacks_verw = hazards->needs_verw && !m->has_verw;
    bool lacks_flush = m->needs_l1d_flush && !m->has_l1d_flush;
    if (!m->has_ibpb || lacks_verw || lacks_flush)
        boot_report(info,
                    "side channels: missing:%s%s%s (a VM may learn of others that share its CPUs: "
                    "update the microcode, or give it CPUs of its own)",
                    m->has_ibpb ? "" : " IBPB", lacks_verw ? " VERW" : "",
                    lacks_flush ? " L1D flush" : "");
    if (!hazards->has_enhanced_ibrs)
        boot_report(info,
                    "side channels: missing: enhanced IBRS (a guest can mislead the kernel's own "
                    "branches; the kernel maps no guest's memory)");
    if (hazards->has_return_hazard)
        boot_report(info,
                    "side channels: missing: returns that guests cannot train: retbleed, "
                    "SRSO/Inception (a guest can mislead the kernel's own returns; the kernel "
                    "maps no guest's memory)");
    if (m->has_page_hazard)
        boot_report(
            info, "side channels: not known to be free of ITLB multihit: guests' code is mapped by "
                  "small pages");
}
