// SPDX-License-Identifier: Apache-2.0
// See boot/boot_vmx.h.
#include "boot/boot_vmx.h"

#include "boot/boot_report.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define MSR_FEATURE_CONTROL   0x3au
#define FEATURE_CONTROL_LOCK  BIT(0)
#define FEATURE_CONTROL_VMXON BIT(2)

#define LEAF_STRUCTURED 7u
#define EDX_PRED_CMD    BIT(26)
#define EDX_SPEC_CTRL   (BIT(26) | BIT(27) | BIT(31)) // IBRS, STIBP, SSBD
#define EDX_FLUSH_CMD   BIT(28)

// The speculation controls, which are no matter of VT-x: SDM 2A "CPUID".
static void read_speculation(const struct boot_processor *cpu, struct vmx_caps *caps) {
    uint32_t edx = boot_leaf(cpu, LEAF_STRUCTURED, 0).edx;
    caps->has_spec_ctrl = (edx & EDX_SPEC_CTRL) != 0;
    caps->has_pred_cmd = (edx & EDX_PRED_CMD) != 0;
    caps->has_flush_cmd = (edx & EDX_FLUSH_CMD) != 0;
}

static bool has_all(uint64_t value, uint64_t mask) {
    return (value & mask) == mask;
}

static const char *judge_ept(const struct control_allowed *allowed, uint64_t ept_vpid) {
    if (!(allowed[CONTROL_PRIMARY].may1 & PRIMARY_SECONDARY_CONTROLS) ||
        !(allowed[CONTROL_SECONDARY].may1 & SECONDARY_EPT))
        return "this CPU has VT-x but no EPT: Bulkhead needs a CPU with nested paging (Intel from "
               "Nehalem, 2008, on), or an outer hypervisor that passes EPT through";
    if (!has_all(ept_vpid, EPT_CAP_WALK_4 | EPT_CAP_WRITE_BACK))
        return "this CPU's EPT has no 4-level walk in write-back memory: Bulkhead needs both";
    if (!(ept_vpid & EPT_CAP_INVEPT) || !(ept_vpid & (EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL)))
        return "this CPU has EPT but no INVEPT: Bulkhead needs it";
    return NULL;
}

#define SECONDARY_APIC                                                                             \
    (SECONDARY_X2APIC_MODE | SECONDARY_APIC_REGISTERS | SECONDARY_INTERRUPT_DELIVERY)

static enum apic_level best_apic(const uint32_t control[CONTROL_WORD_COUNT]) {
    if (!(control[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW))
        return APIC_SOFTWARE;
    if (!has_all(control[CONTROL_SECONDARY], SECONDARY_APIC))
        return APIC_TPR;
    return control[CONTROL_PIN] & PIN_POSTED_INTERRUPTS ? APIC_POSTED : APIC_REGISTERS;
}

static void turn_off(struct vmx_caps *caps, const struct control_allowed *allowed,
                     enum control_word word, uint64_t bits) {
    caps->control[word] &= ~(uint32_t)bits | allowed[word].must1;
}

void boot_vmx_limit_apic(struct vmx_caps *caps,
                         const struct control_allowed allowed[CONTROL_WORD_COUNT],
                         enum apic_level limit) {
    const uint64_t cr8_exits = PRIMARY_CR8_LOAD_EXITING | PRIMARY_CR8_STORE_EXITING;
    caps->apic = MIN(caps->apic, limit);
    if (caps->apic < APIC_POSTED)
        turn_off(caps, allowed, CONTROL_PIN, PIN_POSTED_INTERRUPTS);
    if (caps->apic < APIC_REGISTERS)
        turn_off(caps, allowed, CONTROL_SECONDARY, SECONDARY_APIC);
    if (caps->apic < APIC_TPR) {
        turn_off(caps, allowed, CONTROL_PRIMARY, PRIMARY_TPR_SHADOW);
        caps->control[CONTROL_PRIMARY] |= (uint32_t)cr8_exits;
    } else {
        turn_off(caps, allowed, CONTROL_PRIMARY, cr8_exits);
    }
    caps->has_x2apic_mode &= caps->apic >= APIC_TPR;
}

// x2APIC mode is virtualized while a guest's APIC is in it: the control starts clear.
static void judge_apic(struct vmx_caps *caps, const struct control_allowed *allowed) {
    caps->apic = best_apic(caps->control);
    caps->has_x2apic_mode = (caps->control[CONTROL_SECONDARY] & SECONDARY_X2APIC_MODE) != 0;
    turn_off(caps, allowed, CONTROL_SECONDARY, SECONDARY_X2APIC_MODE);
    boot_vmx_limit_apic(caps, allowed, caps->apic);
}

bool boot_vmx_judge(struct vmx_caps *caps, const struct control_allowed allowed[CONTROL_WORD_COUNT],
                    uint64_t ept_vpid, char refusal[BOOT_REFUSAL_MAX]) {
    const char *why = judge_ept(allowed, ept_vpid);
    if (why != NULL) {
        fmt_format(refusal, BOOT_REFUSAL_MAX, "%s", why);
        return false;
    }
    const char *missing = control_build(allowed, caps->control);
    if (missing != NULL) {
        fmt_format(refusal, BOOT_REFUSAL_MAX,
                   "this CPU's VT-x is too old or cut down by an outer hypervisor (control: %s): "
                   "use another CPU, or pass the control through",
                   missing);
        return false;
    }
    uint32_t secondary = caps->control[CONTROL_SECONDARY];
    uint64_t invvpid_any = ept_vpid & (VPID_CAP_INVVPID_SINGLE | VPID_CAP_INVVPID_ALL);
    caps->has_vpid = (secondary & SECONDARY_VPID) && (ept_vpid & VPID_CAP_INVVPID) && invvpid_any;
    if (!caps->has_vpid)
        caps->control[CONTROL_SECONDARY] &= ~(uint32_t)SECONDARY_VPID;
    judge_apic(caps, allowed);
    caps->has_trap_flag = (allowed[CONTROL_PRIMARY].may1 & PRIMARY_MONITOR_TRAP_FLAG) != 0;
    caps->has_unrestricted_guest = (secondary & SECONDARY_UNRESTRICTED_GUEST) != 0;
    caps->has_ple = (secondary & SECONDARY_PAUSE_LOOP_EXITING) != 0;
    caps->has_rdtscp = (secondary & SECONDARY_RDTSCP) != 0;
    caps->has_tsc_scaling = (secondary & SECONDARY_TSC_SCALING) != 0;
    caps->has_2m_pages = (ept_vpid & EPT_CAP_2M) != 0;
    caps->has_1g_pages = (ept_vpid & EPT_CAP_1G) != 0;
    caps->invept_type = ept_vpid & EPT_CAP_INVEPT_SINGLE ? 1 : 2;
    caps->invvpid_type = ept_vpid & VPID_CAP_INVVPID_SINGLE ? 1 : 2;
    return true;
}

static uint64_t read_controls(const struct boot_processor *cpu, bool has_true,
                              struct control_allowed *allowed) {
    static const struct {
        uint32_t msr, msr_true;
    } rows[] = {
        [CONTROL_PIN] = {MSR_VMX_PIN, MSR_VMX_TRUE_PIN},
        [CONTROL_PRIMARY] = {MSR_VMX_PRIMARY, MSR_VMX_TRUE_PRIMARY},
        [CONTROL_EXIT] = {MSR_VMX_EXIT, MSR_VMX_TRUE_EXIT},
        [CONTROL_ENTRY] = {MSR_VMX_ENTRY, MSR_VMX_TRUE_ENTRY},
    };
    for (unsigned word = 0; word < CONTROL_WORD_COUNT; word++)
        if (word != CONTROL_SECONDARY)
            allowed[word] =
                control_from_msr(cpu->rdmsr(has_true ? rows[word].msr_true : rows[word].msr));
    // The next two MSRs exist only when the control before them does.
    if (allowed[CONTROL_PRIMARY].may1 & PRIMARY_SECONDARY_CONTROLS)
        allowed[CONTROL_SECONDARY] = control_from_msr(cpu->rdmsr(MSR_VMX_SECONDARY));
    if (allowed[CONTROL_SECONDARY].may1 & (SECONDARY_EPT | SECONDARY_VPID))
        return cpu->rdmsr(MSR_VMX_EPT_VPID_CAP);
    return 0;
}

static void read_vmx(const struct boot_processor *cpu, struct boot_info *info) {
    struct control_allowed allowed[CONTROL_WORD_COUNT] = {{0, 0}};
    uint64_t basic = cpu->rdmsr(MSR_VMX_BASIC);
    uint64_t ept_vpid = read_controls(cpu, (basic & VMX_BASIC_TRUE_CONTROLS) != 0, allowed);
    info->vmx = (struct vmx_caps){
        .revision = (uint32_t)(basic & VMX_BASIC_REVISION),
        .cr0_fixed0 = cpu->rdmsr(MSR_VMX_CR0_FIXED0),
        .cr0_fixed1 = cpu->rdmsr(MSR_VMX_CR0_FIXED1),
        .cr4_fixed0 = cpu->rdmsr(MSR_VMX_CR4_FIXED0),
        .cr4_fixed1 = cpu->rdmsr(MSR_VMX_CR4_FIXED1),
    };
    read_speculation(cpu, &info->vmx);
    if (!boot_vmx_judge(&info->vmx, allowed, ept_vpid, info->refusal))
        return;
    boot_vmx_limit_apic(&info->vmx, allowed, info->words.apic);
    info->vmx.has_rdtscp &= info->features.has_rdtscp; // else nobody moves TSC_AUX (kernel/fpu.c)
    info->features.has_unrestricted_guest = info->vmx.has_unrestricted_guest;
    info->features.has_tsc_scaling = info->vmx.has_tsc_scaling;
}

// A VT-x that is locked off is named before what its capabilities say.
void boot_vmx_read(const struct boot_processor *cpu, struct boot_info *info) {
    const uint64_t locked = FEATURE_CONTROL_LOCK, on = FEATURE_CONTROL_VMXON;
    const char *refusal = NULL;
    if (info->features.has_svm)
        return;
    if (!info->features.has_vmx)
        refusal = "this CPU has neither VT-x nor AMD-V, or its firmware hides them: Bulkhead needs "
                  "one of them, with nested paging";
    else if ((cpu->rdmsr(MSR_FEATURE_CONTROL) & (locked | on)) == locked)
        refusal =
            "VT-x is locked off by the firmware: enable \"Intel Virtualization Technology\" in "
            "the firmware setup";
    else
        read_vmx(cpu, info);
    if (refusal != NULL)
        fmt_format(info->refusal, sizeof(info->refusal), "%s", refusal);
}

static void report_apic(struct boot_info *info) {
    const enum apic_level apic = info->vmx.apic;
    static const char *const uses[] = {
        [APIC_SOFTWARE] = "software alone",
        [APIC_TPR] = "TPR shadow",
        [APIC_REGISTERS] = "TPR shadow, virtual registers, interrupt delivery",
        [APIC_POSTED] = "TPR shadow, virtual registers, interrupt delivery, posted interrupts",
    };
    boot_report(info, "APIC: %s", uses[apic]);
    if (apic < APIC_TPR)
        boot_report(
            info,
            "APIC: without TPR shadow: a guest's changes of its task priority (CR8) cost exits");
    if (apic < APIC_REGISTERS)
        boot_report(
            info,
            "APIC: without interrupt delivery: each interrupt and its end cost a guest an exit");
    else if (apic < APIC_POSTED)
        boot_report(
            info, "APIC: without posted interrupts: those between vCPUs cost the receiver an exit");
}

void boot_vmx_report(struct boot_info *info) {
    const struct vmx_caps *caps = &info->vmx;
    if (!info->features.has_vmx || info->refusal[0] != '\0')
        return;
    boot_report(info, "VT-x: EPT pages 4K%s%s%s%s%s%s", caps->has_2m_pages ? " 2M" : "",
                caps->has_1g_pages ? " 1G" : "", caps->has_vpid ? ", VPID" : "",
                caps->has_unrestricted_guest ? ", unrestricted guest" : "",
                caps->has_ple ? ", PAUSE-loop exiting" : "",
                caps->has_tsc_scaling ? ", TSC scaling" : "");
    if (!caps->has_unrestricted_guest)
        boot_report(
            info,
            "VT-x: no unrestricted guest: guests that use real mode or turn paging off cannot "
            "run on this CPU");
    if (!caps->has_vpid)
        boot_report(info, "VT-x: no VPID: each exit flushes the TLB, guests run slower");
    if (!caps->has_1g_pages)
        boot_report(info, "VT-x: no 1 GiB EPT pages: guests with much memory run a little slower");
    if (!caps->has_ple)
        boot_report(info,
                    "VT-x: no PAUSE-loop exiting: guests with more vCPUs than CPUs waste time in "
                    "spinlocks");
    if (!caps->has_tsc_scaling)
        boot_report(info, "VT-x: no TSC scaling: guests' TSCs count at this machine's rate alone");
    report_apic(info);
}
