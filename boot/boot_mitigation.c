// SPDX-License-Identifier: Apache-2.0
// Which barriers the processor needs and has (include/features.h; what is done with them stands in
// arch/mitigation.h). Intel, "Affected Processors: Guidance for Security Issues on Intel
// Processors"; SDM 4 2.1 "Architectural MSRs"; APM 2 3.2.9 "Speculation Control MSRs".
#include "boot/boot_features.h"
#include "boot/boot_report.h"
#include "boot/boot_words.h"
#include "lib/types.h"

#define MSR_ARCH_CAPABILITIES 0x10au
#define SPEC_CTRL_IBRS        BIT(0)
#define SPEC_CTRL_BHI_DIS_S   BIT(10)

// CPUID leaf 1.
#define ECX_PCID BIT(17)
// CPUID leaf 7.
#define EBX_RTM               BIT(11)
#define EDX_MD_CLEAR          BIT(10)
#define EDX_SPEC_CTRL         BIT(26) // IBRS and IBPB
#define EDX_L1D_FLUSH         BIT(28)
#define EDX_ARCH_CAPABILITIES BIT(29)
// CPUID leaf 7, subleaf 2.
#define EDX_BHI_CTRL BIT(4)
// CPUID leaf 80000008H.
#define EBX_IBPB BIT(12)

#define CAP_RDCL_NO            BIT(0)
#define CAP_IBRS_ALL           BIT(1)
#define CAP_SKIP_L1DFL_VMENTRY BIT(3)
#define CAP_MDS_NO             BIT(5)
#define CAP_IF_PSCHANGE_MC_NO  BIT(6)
#define CAP_TAA_NO             BIT(8)
#define CAP_FB_CLEAR           BIT(17)
#define CAP_BHI_NO             BIT(20)
#define CAP_RFDS_CLEAR         BIT(28)

#define LEAF_BASIC      0x0u
#define LEAF_FEATURES   0x1u
#define LEAF_STRUCTURED 0x7u
#define LEAF_EXTENDED   0x80000000u
#define LEAF_ADDRESSES  0x80000008u

struct mitigation boot_mitigation_judge(bool is_intel, struct boot_cpuid leaf7,
                                        struct boot_cpuid leaf7_2, struct boot_cpuid amd,
                                        uint64_t capabilities) {
    struct mitigation m = {
        .stuffs_rsb = true,
        .has_ibpb = (leaf7.edx & EDX_SPEC_CTRL) != 0 || (amd.ebx & EBX_IBPB) != 0,
        .has_l1d_flush = (leaf7.edx & EDX_L1D_FLUSH) != 0,
        .has_enhanced_ibrs = (leaf7.edx & EDX_SPEC_CTRL) != 0 && (capabilities & CAP_IBRS_ALL) != 0,
    };
    if (m.has_enhanced_ibrs)
        m.spec_ctrl |= SPEC_CTRL_IBRS;
    if (!is_intel)
        return m;
    bool has_bhi_dis_s = (leaf7_2.edx & EDX_BHI_CTRL) != 0;
    m.spec_ctrl |= has_bhi_dis_s ? SPEC_CTRL_BHI_DIS_S : 0;
    m.clears_bhb = m.has_enhanced_ibrs && !has_bhi_dis_s && (capabilities & CAP_BHI_NO) == 0;
    bool has_late_stale_data = (capabilities & (CAP_FB_CLEAR | CAP_RFDS_CLEAR)) != 0;
    bool has_taa = (leaf7.ebx & EBX_RTM) != 0 && (capabilities & CAP_TAA_NO) == 0;
    m.has_verw = (leaf7.edx & EDX_MD_CLEAR) != 0 || has_late_stale_data;
    m.needs_verw = (capabilities & CAP_MDS_NO) == 0 || has_taa || has_late_stale_data;
    m.needs_l1d_flush = (capabilities & (CAP_RDCL_NO | CAP_SKIP_L1DFL_VMENTRY)) == 0;
    m.has_page_hazard = (capabilities & CAP_IF_PSCHANGE_MC_NO) == 0;
    m.splits_tables = (capabilities & CAP_RDCL_NO) == 0;
    m.empties_for_users = m.needs_verw && m.has_verw && !m.splits_tables;
    return m;
}

void boot_mitigation_read(const struct boot_processor *cpu, struct boot_info *info) {
    struct boot_cpuid none = {0, 0, 0, 0};
    bool has_leaf7 = cpu->cpuid(LEAF_BASIC, 0).eax >= LEAF_STRUCTURED;
    bool has_amd = cpu->cpuid(LEAF_EXTENDED, 0).eax >= LEAF_ADDRESSES;
    struct boot_cpuid leaf7 = has_leaf7 ? cpu->cpuid(LEAF_STRUCTURED, 0) : none;
    struct boot_cpuid leaf7_2 = leaf7.eax >= 2 ? cpu->cpuid(LEAF_STRUCTURED, 2) : none;
    struct boot_cpuid amd = has_amd ? cpu->cpuid(LEAF_ADDRESSES, 0) : none;
    uint64_t capabilities =
        (leaf7.edx & EDX_ARCH_CAPABILITIES) != 0 ? cpu->rdmsr(MSR_ARCH_CAPABILITIES) : 0;
    struct mitigation *m = &info->mitigation;
    *m = boot_words_have(info->cmdline, "mitigations=off")
             ? (struct mitigation){.is_off = true}
             : boot_mitigation_judge(info->features.is_intel, leaf7, leaf7_2, amd, capabilities);
    m->capabilities = capabilities;
    m->has_pcid = m->splits_tables && (cpu->cpuid(LEAF_FEATURES, 0).ecx & ECX_PCID) != 0;
}

void boot_mitigation_report(struct boot_info *info) {
    const struct mitigation *m = &info->mitigation;
    if (m->is_off) {
        boot_report(
            info, "side channels: mitigations=off: nothing stands against them (what runs here can "
                  "read what it should not, of other VMs too)");
        return;
    }
    bool uses_l1d_flush = m->needs_l1d_flush && m->has_l1d_flush;
    boot_report(info, "side channels: between domains: return stack%s%s%s%s%s%s%s",
                m->has_ibpb ? ", IBPB" : "", m->has_verw ? ", VERW" : "",
                uses_l1d_flush ? ", L1D flush" : "", m->has_enhanced_ibrs ? "; enhanced IBRS" : "",
                (m->spec_ctrl & SPEC_CTRL_BHI_DIS_S) != 0 ? "; BHI_DIS_S" : "",
                m->clears_bhb ? "; branch history is cleared by instructions" : "",
                m->splits_tables ? "; page tables are split" : "");
    bool lacks_verw = m->needs_verw && !m->has_verw;
    bool lacks_flush = m->needs_l1d_flush && !m->has_l1d_flush;
    if (!m->has_ibpb || lacks_verw || lacks_flush)
        boot_report(info,
                    "side channels: missing:%s%s%s (a VM may learn of others that share its CPUs: "
                    "update the microcode, or give it CPUs of its own)",
                    m->has_ibpb ? "" : " IBPB", lacks_verw ? " VERW" : "",
                    lacks_flush ? " L1D flush" : "");
    if (!m->has_enhanced_ibrs)
        boot_report(info,
                    "side channels: missing: enhanced IBRS (a guest can mislead the kernel's own "
                    "branches; the kernel maps no guest's memory)");
    if (m->has_page_hazard)
        boot_report(
            info, "side channels: not known to be free of ITLB multihit: guests' code is mapped by "
                  "small pages");
}
