// SPDX-License-Identifier: Apache-2.0
// Reading and judging the capability MSRs.
#include "vmx/caps.h"

#include "arch/log.h"
#include "arch/x86.h"
#include "lib/fmt.h"

struct vmx_caps vmx_caps;

enum msr_vmx {
    MSR_VMX_PIN = 0x481,
    MSR_VMX_PRIMARY = 0x482,
    MSR_VMX_EXIT = 0x483,
    MSR_VMX_ENTRY = 0x484,
    MSR_VMX_CR0_FIXED0 = 0x486,
    MSR_VMX_CR0_FIXED1 = 0x487,
    MSR_VMX_CR4_FIXED0 = 0x488,
    MSR_VMX_CR4_FIXED1 = 0x489,
    MSR_VMX_SECONDARY = 0x48b,
    MSR_VMX_EPT_VPID_CAP = 0x48c,
    MSR_VMX_TRUE_PIN = 0x48d,
    MSR_VMX_TRUE_PRIMARY = 0x48e,
    MSR_VMX_TRUE_EXIT = 0x48f,
    MSR_VMX_TRUE_ENTRY = 0x490,
};

// SDM 3D A.1 "Basic VMX Information".
#define VMX_BASIC_REVISION       0x7fffffffULL
#define VMX_BASIC_STRING_IO_INFO BIT(54)
#define VMX_BASIC_TRUE_CONTROLS  BIT(55)

static struct control_allowed read_allowed(const struct vmx_caps *caps, uint32_t msr,
                                           uint32_t true_msr) {
    return control_from_msr(x86_rdmsr(caps->has_true_controls ? true_msr : msr));
}

#define LEAF_STRUCTURED 7u
#define EDX_PRED_CMD    BIT(26)
#define EDX_SPEC_CTRL   (BIT(26) | BIT(27) | BIT(31)) // IBRS, STIBP, SSBD
#define EDX_FLUSH_CMD   BIT(28)

// The speculation controls, which are no matter of VT-x: SDM 2A "CPUID".
static void read_speculation(struct vmx_caps *caps) {
    if (x86_cpuid(0, 0).eax < LEAF_STRUCTURED)
        return;
    uint32_t edx = x86_cpuid(LEAF_STRUCTURED, 0).edx;
    caps->has_spec_ctrl = (edx & EDX_SPEC_CTRL) != 0;
    caps->has_pred_cmd = (edx & EDX_PRED_CMD) != 0;
    caps->has_flush_cmd = (edx & EDX_FLUSH_CMD) != 0;
}

void caps_read(struct vmx_caps *caps) {
    uint64_t basic = x86_rdmsr(MSR_VMX_BASIC);
    *caps = (struct vmx_caps){
        .revision = (uint32_t)(basic & VMX_BASIC_REVISION),
        .has_true_controls = (basic & VMX_BASIC_TRUE_CONTROLS) != 0,
        .has_string_io_info = (basic & VMX_BASIC_STRING_IO_INFO) != 0,
        .cr0_fixed0 = x86_rdmsr(MSR_VMX_CR0_FIXED0),
        .cr0_fixed1 = x86_rdmsr(MSR_VMX_CR0_FIXED1),
        .cr4_fixed0 = x86_rdmsr(MSR_VMX_CR4_FIXED0),
        .cr4_fixed1 = x86_rdmsr(MSR_VMX_CR4_FIXED1),
    };
    struct control_allowed *allowed = caps->allowed;
    allowed[CONTROL_PIN] = read_allowed(caps, MSR_VMX_PIN, MSR_VMX_TRUE_PIN);
    allowed[CONTROL_PRIMARY] = read_allowed(caps, MSR_VMX_PRIMARY, MSR_VMX_TRUE_PRIMARY);
    allowed[CONTROL_EXIT] = read_allowed(caps, MSR_VMX_EXIT, MSR_VMX_TRUE_EXIT);
    allowed[CONTROL_ENTRY] = read_allowed(caps, MSR_VMX_ENTRY, MSR_VMX_TRUE_ENTRY);
    // The next two MSRs exist only when the control before them does.
    if (allowed[CONTROL_PRIMARY].may1 & PRIMARY_SECONDARY_CONTROLS)
        allowed[CONTROL_SECONDARY] = control_from_msr(x86_rdmsr(MSR_VMX_SECONDARY));
    if (allowed[CONTROL_SECONDARY].may1 & (SECONDARY_EPT | SECONDARY_VPID))
        caps->ept_vpid = x86_rdmsr(MSR_VMX_EPT_VPID_CAP);
    read_speculation(caps);
}

static bool has_all(uint64_t value, uint64_t mask) {
    return (value & mask) == mask;
}

static const char *judge_ept(const struct vmx_caps *caps) {
    const struct control_allowed *allowed = caps->allowed;
    if (!(allowed[CONTROL_PRIMARY].may1 & PRIMARY_SECONDARY_CONTROLS) ||
        !(allowed[CONTROL_SECONDARY].may1 & SECONDARY_EPT))
        return "this CPU has VT-x but no EPT: Bulkhead needs a CPU with nested paging (Intel from "
               "Nehalem, 2008, on), or an outer hypervisor that passes EPT through";
    if (!has_all(caps->ept_vpid, EPT_CAP_WALK_4 | EPT_CAP_WRITE_BACK))
        return "this CPU's EPT has no 4-level walk in write-back memory: Bulkhead needs both";
    if (!(caps->ept_vpid & EPT_CAP_INVEPT) ||
        !(caps->ept_vpid & (EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL)))
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

static void turn_off(struct vmx_caps *caps, enum control_word word, uint64_t bits) {
    caps->control[word] &= ~(uint32_t)bits | caps->allowed[word].must1;
}

void caps_limit_apic(struct vmx_caps *caps, enum apic_level limit) {
    const uint64_t cr8_exits = PRIMARY_CR8_LOAD_EXITING | PRIMARY_CR8_STORE_EXITING;
    caps->apic = MIN(caps->apic, limit);
    if (caps->apic < APIC_POSTED)
        turn_off(caps, CONTROL_PIN, PIN_POSTED_INTERRUPTS);
    if (caps->apic < APIC_REGISTERS)
        turn_off(caps, CONTROL_SECONDARY, SECONDARY_APIC);
    if (caps->apic < APIC_TPR) {
        turn_off(caps, CONTROL_PRIMARY, PRIMARY_TPR_SHADOW);
        caps->control[CONTROL_PRIMARY] |= (uint32_t)cr8_exits;
    } else {
        turn_off(caps, CONTROL_PRIMARY, cr8_exits);
    }
    caps->has_x2apic_mode &= caps->apic >= APIC_TPR;
}

// x2APIC mode is virtualized while a guest's APIC is in it: the control starts clear.
static void judge_apic(struct vmx_caps *caps) {
    caps->apic = best_apic(caps->control);
    caps->has_x2apic_mode = (caps->control[CONTROL_SECONDARY] & SECONDARY_X2APIC_MODE) != 0;
    turn_off(caps, CONTROL_SECONDARY, SECONDARY_X2APIC_MODE);
    caps_limit_apic(caps, caps->apic);
}

const char *caps_judge(struct vmx_caps *caps) {
    static char text[160];
    const char *refusal = judge_ept(caps);
    if (refusal)
        return refusal;
    const char *missing = control_build(caps->allowed, caps->control);
    if (missing) {
        fmt_format(text, sizeof text,
                   "this CPU's VT-x is too old or cut down by an outer hypervisor (control: %s): "
                   "use another CPU, or pass the control through",
                   missing);
        return text;
    }
    uint32_t secondary = caps->control[CONTROL_SECONDARY];
    uint64_t invvpid_any = caps->ept_vpid & (VPID_CAP_INVVPID_SINGLE | VPID_CAP_INVVPID_ALL);
    caps->has_vpid =
        (secondary & SECONDARY_VPID) && (caps->ept_vpid & VPID_CAP_INVVPID) && invvpid_any;
    if (!caps->has_vpid)
        caps->control[CONTROL_SECONDARY] &= ~(uint32_t)SECONDARY_VPID;
    judge_apic(caps);
    caps->has_unrestricted_guest = (secondary & SECONDARY_UNRESTRICTED_GUEST) != 0;
    caps->has_ple = (secondary & SECONDARY_PAUSE_LOOP_EXITING) != 0;
    caps->has_rdtscp = (secondary & SECONDARY_RDTSCP) != 0;
    caps->has_tsc_scaling = (secondary & SECONDARY_TSC_SCALING) != 0;
    caps->has_2m_pages = (caps->ept_vpid & EPT_CAP_2M) != 0;
    caps->has_1g_pages = (caps->ept_vpid & EPT_CAP_1G) != 0;
    caps->has_invept_single = (caps->ept_vpid & EPT_CAP_INVEPT_SINGLE) != 0;
    caps->has_invvpid_single = (caps->ept_vpid & VPID_CAP_INVVPID_SINGLE) != 0;
    return NULL;
}

static void report_apic(const struct vmx_caps *caps) {
    static const char *const uses[] = {
        [APIC_SOFTWARE] = "software alone",
        [APIC_TPR] = "TPR shadow",
        [APIC_REGISTERS] = "TPR shadow, virtual registers, interrupt delivery",
        [APIC_POSTED] = "TPR shadow, virtual registers, interrupt delivery, posted interrupts",
    };
    log_line("APIC: %s", uses[caps->apic]);
    if (caps->apic < APIC_TPR)
        log_line(
            "APIC: without TPR shadow: a guest's changes of its task priority (CR8) cost exits");
    if (caps->apic < APIC_REGISTERS)
        log_line(
            "APIC: without interrupt delivery: each interrupt and its end cost a guest an exit");
    else if (caps->apic < APIC_POSTED)
        log_line("APIC: without posted interrupts: those between vCPUs cost the receiver an exit");
}

void caps_report(const struct vmx_caps *caps) {
    log_line("VT-x: EPT pages 4K%s%s%s%s%s%s", caps->has_2m_pages ? " 2M" : "",
             caps->has_1g_pages ? " 1G" : "", caps->has_vpid ? ", VPID" : "",
             caps->has_unrestricted_guest ? ", unrestricted guest" : "",
             caps->has_ple ? ", PAUSE-loop exiting" : "",
             caps->has_tsc_scaling ? ", TSC scaling" : "");
    if (!caps->has_unrestricted_guest)
        log_line("VT-x: no unrestricted guest: guests that use real mode or turn paging off cannot "
                 "run on this CPU");
    if (!caps->has_vpid)
        log_line("VT-x: no VPID: each exit flushes the TLB, guests run slower");
    if (!caps->has_1g_pages)
        log_line("VT-x: no 1 GiB EPT pages: guests with much memory run a little slower");
    if (!caps->has_ple)
        log_line("VT-x: no PAUSE-loop exiting: guests with more vCPUs than CPUs waste time in "
                 "spinlocks");
    if (!caps->has_tsc_scaling)
        log_line("VT-x: no TSC scaling: guests' TSCs count at this machine's rate alone");
    report_apic(caps);
}

const char *caps_unlock(void) {
    uint64_t control = x86_rdmsr(MSR_FEATURE_CONTROL);
    if (!(control & FEATURE_CONTROL_LOCK)) {
        x86_wrmsr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_VMXON | FEATURE_CONTROL_LOCK);
        return NULL;
    }
    if (control & FEATURE_CONTROL_VMXON)
        return NULL;
    return "VT-x is locked off by the firmware: enable \"Intel Virtualization Technology\" in the "
           "firmware setup";
}
