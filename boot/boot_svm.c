// SPDX-License-Identifier: Apache-2.0
// See boot/boot_svm.h.
#include "boot/boot_svm.h"

#include "boot/boot_report.h"
#include "lib/fmt.h"
#include "lib/types.h"

// APM 2 15.30.1 "VM_CR MSR (C001_0114h)".
#define MSR_VM_CR    0xc0010114u
#define VM_CR_LOCK   BIT(3)
#define VM_CR_SVMDIS BIT(4)

#define LEAF_STRUCTURED 0x7u
#define LEAF_EXT_FLAGS  0x80000001u
#define LEAF_ADDRESSES  0x80000008u
#define LEAF_SVM        0x8000000au

#define EBX_INVPCID BIT(10) // leaf 7
#define EBX_RDPRU   BIT(4)  // leaf 80000008H
#define EBX_IBPB    BIT(12)

// EDX of LEAF_SVM.
#define SVM_NESTED_PAGING   BIT(0)
#define SVM_NEXT_RIP        BIT(3)
#define SVM_TSC_RATIO       BIT(4)
#define SVM_CLEAN_BITS      BIT(5)
#define SVM_DECODE_ASSISTS  BIT(7)
#define SVM_PAUSE_FILTER    BIT(10)
#define SVM_PAUSE_THRESHOLD BIT(12)
#define SVM_SPEC_CTRL       BIT(20)

#define ASIDS_AT_LEAST 2u // the host's, and one

static void read_svm(const struct boot_processor *cpu, struct boot_info *info) {
    struct boot_cpuid svm = boot_leaf(cpu, LEAF_SVM, 0), amd = boot_leaf(cpu, LEAF_ADDRESSES, 0);
    const uint32_t filter = SVM_PAUSE_FILTER | SVM_PAUSE_THRESHOLD;
    info->svm = (struct svm_caps){
        .asid_count = svm.ebx,
        .has_next_rip = (svm.edx & SVM_NEXT_RIP) != 0,
        .has_decode_assists = (svm.edx & SVM_DECODE_ASSISTS) != 0 && (svm.edx & SVM_NEXT_RIP) != 0,
        .has_clean_bits = (svm.edx & SVM_CLEAN_BITS) != 0,
        .has_tsc_ratio = (svm.edx & SVM_TSC_RATIO) != 0,
        .has_pause_filter = (svm.edx & filter) == filter,
        .has_rdtscp = info->features.has_rdtscp,
        .has_invpcid = (boot_leaf(cpu, LEAF_STRUCTURED, 0).ebx & EBX_INVPCID) != 0,
        .has_rdpru = (amd.ebx & EBX_RDPRU) != 0,
        .has_spec_ctrl = (svm.edx & SVM_SPEC_CTRL) != 0,
        .has_pred_cmd = (amd.ebx & EBX_IBPB) != 0,
    };
    if ((svm.edx & SVM_NESTED_PAGING) == 0)
        fmt_format(
            info->refusal, sizeof(info->refusal),
            "this CPU has AMD-V but no nested paging: Bulkhead needs a CPU with it (AMD from "
            "Barcelona, 2007, on), or an outer hypervisor that passes it through");
    else if (svm.ebx < ASIDS_AT_LEAST)
        fmt_format(info->refusal, sizeof(info->refusal),
                   "this CPU has AMD-V with %u ASIDs: Bulkhead needs 2", svm.ebx);
    info->features.has_unrestricted_guest = true;
    info->features.has_tsc_scaling = info->svm.has_tsc_ratio;
}

void boot_svm_read(const struct boot_processor *cpu, struct boot_info *info) {
    const uint64_t off = VM_CR_LOCK | VM_CR_SVMDIS;
    if (!info->features.has_svm)
        return;
    if ((cpu->rdmsr(MSR_VM_CR) & off) == off)
        fmt_format(
            info->refusal, sizeof(info->refusal),
            "AMD-V is locked off by the firmware: enable \"SVM Mode\" in the firmware setup");
    else
        read_svm(cpu, info);
}

void boot_svm_report(struct boot_info *info) {
    const struct svm_caps *caps = &info->svm;
    if (!info->features.has_svm || info->refusal[0] != '\0')
        return;
    boot_report(
        info, "AMD-V: nested pages 4K 2M%s, %u ASIDs%s%s%s%s%s",
        info->features.has_1g_pages ? " 1G" : "", caps->asid_count,
        caps->has_next_rip ? ", next RIP" : "", caps->has_decode_assists ? ", decode assists" : "",
        caps->has_clean_bits ? ", clean bits" : "", caps->has_pause_filter ? ", PAUSE filter" : "",
        caps->has_tsc_ratio ? ", TSC ratio" : "");
    if (!caps->has_decode_assists)
        boot_report(info,
                    "AMD-V: no decode assists: a guest's changes of CR0 and CR4 cost a hop to "
                    "its VMM");
    if (!caps->has_pause_filter)
        boot_report(info, "AMD-V: no PAUSE filter: guests with more vCPUs than CPUs waste time in "
                          "spinlocks");
    if (!caps->has_tsc_ratio)
        boot_report(info, "AMD-V: no TSC ratio: guests' TSCs count at this machine's rate alone");
}
