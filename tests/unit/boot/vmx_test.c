// SPDX-License-Identifier: Apache-2.0
// boot/boot_vmx.c and boot_vmx_control.c: the choice of controls, on the capability MSRs of several
// processors.
// The table of rows is looked at from within.
#define control_from_msr vmx_test_from_msr
#define control_build    vmx_test_build
#include "boot/boot_vmx_control.c"
#include "vmx/exit.h"

#include <criterion/criterion.h>
#include <string.h>

// Values as the processors report them (TRUE controls; secondary; EPT and VPID).
struct model {
    const char *name;
    uint64_t pin, primary, secondary, exit, entry, ept_vpid;
};

static const struct model nehalem = {
    "nehalem",          0x0000007f00000016, 0xfff9fffe04006172, 0x0000006f00000000,
    0x007fffff00036dfb, 0x0000ffff000011fb, 0x00000f0106114141,
};
static const struct model westmere = {
    "westmere",         0x0000007f00000016, 0xfff9fffe04006172, 0x000000ef00000000,
    0x007fffff00036dfb, 0x0000ffff000011fb, 0x00000f0106114141,
};
static const struct model haswell = {
    "haswell",          0x0000007f00000016, 0xfff9fffe04006172, 0x00007cff00000000,
    0x007fffff00036dfb, 0x0000ffff000011fb, 0x00000f0106334141,
};
static const struct model skylake = {
    "skylake",          0x000000ff00000016, 0xfff9fffe04006172, 0x037fffcf00000000 | 0xffULL << 32,
    0x01ffffff00036dfb, 0x0003ffff000011fb, 0x00000f0106734141,
};

static struct control_allowed allowed[CONTROL_WORD_COUNT];
static char refusal[BOOT_REFUSAL_MAX];

// What is used of it. Nothing, and `refusal`, where it is refused.
static struct vmx_caps caps_of(const struct model *model) {
    struct vmx_caps caps = {0};
    allowed[CONTROL_PIN] = control_from_msr(model->pin);
    allowed[CONTROL_PRIMARY] = control_from_msr(model->primary);
    allowed[CONTROL_SECONDARY] = control_from_msr(model->secondary);
    allowed[CONTROL_EXIT] = control_from_msr(model->exit);
    allowed[CONTROL_ENTRY] = control_from_msr(model->entry);
    bool is_good = boot_vmx_judge(&caps, allowed, model->ept_vpid, refusal);
    cr_assert_eq(is_good, refusal[0] == '\0', "%s", refusal);
    return caps;
}

static const char *refusal_of(const struct model *model) {
    (void)caps_of(model);
    return refusal;
}

Test(boot_vmx, words_obey_what_is_allowed_on_each_model) {
    const struct model *models[] = {&nehalem, &westmere, &haswell, &skylake};
    for (size_t i = 0; i < ARRAY_COUNT(models); i++) {
        struct vmx_caps caps = caps_of(models[i]);
        cr_assert_str_eq(refusal, "", "%s: %s", models[i]->name, refusal);
        for (unsigned word = 0; word < CONTROL_WORD_COUNT; word++) {
            struct control_allowed may = allowed[word];
            cr_expect_eq(caps.control[word] & may.must1, may.must1, "%s word %u", models[i]->name,
                         word);
            cr_expect_eq(caps.control[word] & ~may.may1, 0, "%s word %u", models[i]->name, word);
        }
    }
}

Test(boot_vmx, nothing_exits_that_has_no_handler) {
    struct vmx_caps caps = caps_of(&skylake);
    cr_expect_str_eq(refusal, "");
    cr_expect_eq(caps.control[CONTROL_PRIMARY] &
                     (PRIMARY_CR3_LOAD_EXITING | PRIMARY_CR3_STORE_EXITING |
                      PRIMARY_INVLPG_EXITING | PRIMARY_RDTSC_EXITING | PRIMARY_MOV_DR_EXITING |
                      PRIMARY_INTERRUPT_WINDOW_EXITING | PRIMARY_NMI_WINDOW_EXITING |
                      PRIMARY_IO_BITMAPS),
                 0);
    cr_expect_eq(caps.control[CONTROL_SECONDARY] &
                     (SECONDARY_APIC_ACCESSES | SECONDARY_PML | SECONDARY_XSAVES |
                      SECONDARY_VMFUNC | SECONDARY_EPT_VIOLATION_VE | SECONDARY_VMCS_SHADOWING |
                      SECONDARY_DESCRIPTOR_EXITING),
                 0);
}

Test(boot_vmx, entry_leaves_the_guest_mode_open) {
    struct vmx_caps caps = caps_of(&haswell);
    cr_expect_str_eq(refusal, "");
    cr_expect_eq(caps.control[CONTROL_ENTRY] & ENTRY_CONTROL_IA32E_GUEST, 0);
}

Test(boot_vmx, optional_features_follow_the_model) {
    struct vmx_caps old = caps_of(&nehalem), new = caps_of(&haswell), newest = caps_of(&skylake);
    cr_expect_str_eq(refusal, "");
    cr_expect_str_eq(refusal, "");
    cr_expect_str_eq(refusal, "");
    cr_expect_not(old.has_unrestricted_guest);
    cr_expect_not(old.has_1g_pages);
    cr_expect_not(old.has_ple);
    cr_expect_not(old.has_tsc_scaling);
    cr_expect(old.has_vpid);
    cr_expect(old.has_2m_pages);
    cr_expect(new.has_unrestricted_guest);
    cr_expect(new.has_1g_pages);
    cr_expect(new.has_ple);
    cr_expect_not(new.has_tsc_scaling);
    cr_expect(newest.has_tsc_scaling);
    cr_expect(new.control[CONTROL_SECONDARY] & SECONDARY_INVPCID);
    cr_expect_not(old.control[CONTROL_SECONDARY] & SECONDARY_INVPCID);
}

Test(boot_vmx, mwait_exiting_may_be_missing) {
    struct model model = skylake;
    model.primary &= ~((PRIMARY_MWAIT_EXITING | PRIMARY_MONITOR_EXITING) << 32);
    struct vmx_caps caps = caps_of(&model);
    cr_expect_str_eq(refusal, "");
    cr_expect_not(caps.control[CONTROL_PRIMARY] & PRIMARY_MWAIT_EXITING);
}

Test(boot_vmx, vpid_without_invvpid_is_not_used) {
    struct model model = haswell;
    model.ept_vpid &= ~VPID_CAP_INVVPID;
    struct vmx_caps caps = caps_of(&model);
    cr_expect_str_eq(refusal, "");
    cr_expect_not(caps.has_vpid);
    cr_expect_not(caps.control[CONTROL_SECONDARY] & SECONDARY_VPID);
}

Test(boot_vmx, missing_ept_is_named) {
    struct model penryn = nehalem;
    penryn.secondary &= ~(SECONDARY_EPT << 32);
    (void)caps_of(&penryn);
    cr_expect_not_null(strstr(refusal, "no EPT"), "%s", refusal);
}

Test(boot_vmx, missing_secondary_controls_mean_no_ept) {
    struct model model = nehalem;
    model.primary &= ~(PRIMARY_SECONDARY_CONTROLS << 32);
    cr_expect_not_null(strstr(refusal_of(&model), "no EPT"));
}

Test(boot_vmx, missing_control_is_named) {
    struct model model = haswell;
    model.exit &= ~(EXIT_CONTROL_SAVE_EFER << 32);
    (void)caps_of(&model);
    cr_expect_not_null(strstr(refusal, "saving IA32_EFER on exit"), "%s", refusal);
}

Test(boot_vmx, cr3_exits_that_stay_on_are_refused) {
    struct model model = haswell; // without TRUE controls
    model.primary |= PRIMARY_CR3_LOAD_EXITING | PRIMARY_CR3_STORE_EXITING;
    (void)caps_of(&model);
    cr_expect_not_null(strstr(refusal, "CR3"), "%s", refusal);
}

Test(boot_vmx, rows_name_each_bit_once) {
    uint32_t seen[CONTROL_WORD_COUNT] = {0};
    for (size_t i = 0; i < ARRAY_COUNT(control_rows); i++) {
        const struct control_row *row = &control_rows[i];
        cr_expect_eq(seen[row->word] & row->mask, 0, "%s", row->name);
        seen[row->word] |= row->mask;
    }
}

Test(boot_vmx, apic_level_follows_the_model) {
    struct model no_shadow = skylake, no_delivery = skylake;
    no_shadow.primary &= ~(PRIMARY_TPR_SHADOW << 32);
    no_delivery.secondary &= ~(SECONDARY_INTERRUPT_DELIVERY << 32);
    const struct {
        const struct model *model;
        enum apic_level level;
    } rows[] = {{&nehalem, APIC_TPR},
                {&haswell, APIC_TPR},
                {&skylake, APIC_POSTED},
                {&no_shadow, APIC_SOFTWARE},
                {&no_delivery, APIC_TPR}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct vmx_caps caps = caps_of(rows[i].model);
        cr_expect_str_eq(refusal, "");
        cr_expect_eq(caps.apic, rows[i].level, "row %zu: %d", i, caps.apic);
    }
}

// What VM entry demands: SDM 3C 27.2.1.1 "VM-Execution Control Fields".
Test(boot_vmx, apic_controls_come_together) {
    const uint64_t exits = PRIMARY_CR8_LOAD_EXITING | PRIMARY_CR8_STORE_EXITING;
    for (enum apic_level limit = APIC_SOFTWARE; limit <= APIC_POSTED; limit++) {
        struct vmx_caps caps = caps_of(&skylake);
        cr_expect_str_eq(refusal, "");
        boot_vmx_limit_apic(&caps, allowed, limit);
        const uint32_t *control = caps.control;
        cr_expect_eq(caps.apic, limit);
        cr_expect_eq((control[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW) != 0, limit >= APIC_TPR);
        cr_expect_eq(control[CONTROL_PRIMARY] & exits, limit >= APIC_TPR ? 0 : exits);
        cr_expect_eq((control[CONTROL_SECONDARY] & SECONDARY_APIC_REGISTERS) != 0,
                     limit >= APIC_REGISTERS);
        cr_expect_eq((control[CONTROL_SECONDARY] & SECONDARY_INTERRUPT_DELIVERY) != 0,
                     limit >= APIC_REGISTERS);
        cr_expect_eq((control[CONTROL_PIN] & PIN_POSTED_INTERRUPTS) != 0, limit >= APIC_POSTED);
        cr_expect_eq(control[CONTROL_SECONDARY] & (SECONDARY_APIC_ACCESSES | SECONDARY_X2APIC_MODE),
                     0);
        cr_expect_eq(caps.has_x2apic_mode, limit >= APIC_TPR);
    }
}

// ---- exits and controls -------------------------------------------------------------------------

// Why an exit can come: SDM 3C 26.1 "Instructions That Cause VM Exits", 26.2 "Other Causes of VM
// Exits".
enum cause {
    ALWAYS,      // whatever the controls say
    ASKED,       // by the control, which we want where it is
    IN_TIME,     // by a control that comes and goes while a guest runs
    NEVER_ASKED, // by the control, which is off
    UNDEFINED,   // while the control is off the instruction is #UD by itself
    NO_SUCH,     // not for a guest like ours: SMM, failed entries
};
struct exit_cause {
    uint32_t exit;
    enum cause cause;
    enum control_word word;
    uint64_t mask;
};

static const struct exit_cause exit_causes[] = {
    {VMX_EXIT_EXCEPTION_OR_NMI, ASKED, CONTROL_PIN, PIN_NMI_EXITING},
    {VMX_EXIT_EXTERNAL_INTERRUPT, ASKED, CONTROL_PIN, PIN_EXTERNAL_INTERRUPT_EXITING},
    {VMX_EXIT_TRIPLE_FAULT, ALWAYS, 0, 0},
    {3, NO_SUCH, 0, 0}, // INIT_SIGNAL
    {4, NO_SUCH, 0, 0}, // STARTUP_IPI
    {5, NO_SUCH, 0, 0}, // IO_SMI
    {6, NO_SUCH, 0, 0}, // OTHER_SMI
    {VMX_EXIT_INTERRUPT_WINDOW, IN_TIME, CONTROL_PRIMARY, PRIMARY_INTERRUPT_WINDOW_EXITING},
    {VMX_EXIT_NMI_WINDOW, IN_TIME, CONTROL_PRIMARY, PRIMARY_NMI_WINDOW_EXITING},
    {VMX_EXIT_TASK_SWITCH, ALWAYS, 0, 0},
    {VMX_EXIT_CPUID, ALWAYS, 0, 0},
    {VMX_EXIT_GETSEC, ALWAYS, 0, 0},
    {VMX_EXIT_HLT, ASKED, CONTROL_PRIMARY, PRIMARY_HLT_EXITING},
    {VMX_EXIT_INVD, ALWAYS, 0, 0},
    {14, NEVER_ASKED, CONTROL_PRIMARY, PRIMARY_INVLPG_EXITING}, // INVLPG
    {VMX_EXIT_RDPMC, ASKED, CONTROL_PRIMARY, PRIMARY_RDPMC_EXITING},
    {16, NEVER_ASKED, CONTROL_PRIMARY, PRIMARY_RDTSC_EXITING}, // RDTSC
    {VMX_EXIT_RSM, ALWAYS, 0, 0},
    {VMX_EXIT_VMCALL, ALWAYS, 0, 0},
    {19, ALWAYS, 0, 0}, // VMCLEAR
    {20, ALWAYS, 0, 0}, // VMLAUNCH
    {21, ALWAYS, 0, 0}, // VMPTRLD
    {22, ALWAYS, 0, 0}, // VMPTRST
    {23, ALWAYS, 0, 0}, // VMREAD
    {24, ALWAYS, 0, 0}, // VMRESUME
    {25, ALWAYS, 0, 0}, // VMWRITE
    {26, ALWAYS, 0, 0}, // VMXOFF
    {27, ALWAYS, 0, 0}, // VMXON
    {VMX_EXIT_CONTROL_REGISTER, ALWAYS, 0, 0},
    {29, NEVER_ASKED, CONTROL_PRIMARY, PRIMARY_MOV_DR_EXITING}, // MOV_DR
    {VMX_EXIT_IO_INSTRUCTION, ASKED, CONTROL_PRIMARY, PRIMARY_UNCONDITIONAL_IO_EXITING},
    {VMX_EXIT_RDMSR, ASKED, CONTROL_PRIMARY, PRIMARY_MSR_BITMAPS},
    {VMX_EXIT_WRMSR, ASKED, CONTROL_PRIMARY, PRIMARY_MSR_BITMAPS},
    {33, NO_SUCH, 0, 0}, // ENTRY_FAILED_GUEST_STATE
    {34, NO_SUCH, 0, 0}, // ENTRY_FAILED_MSR_LOADING
    {VMX_EXIT_MWAIT, ASKED, CONTROL_PRIMARY, PRIMARY_MWAIT_EXITING},
    {VMX_EXIT_MONITOR_TRAP_FLAG, IN_TIME, CONTROL_PRIMARY, PRIMARY_MONITOR_TRAP_FLAG},
    {VMX_EXIT_MONITOR, ASKED, CONTROL_PRIMARY, PRIMARY_MONITOR_EXITING},
    {VMX_EXIT_PAUSE, ASKED, CONTROL_SECONDARY, SECONDARY_PAUSE_LOOP_EXITING},
    {41, NO_SUCH, 0, 0}, // ENTRY_FAILED_MACHINE_CHECK
    {VMX_EXIT_TPR_BELOW_THRESHOLD, ASKED, CONTROL_PRIMARY, PRIMARY_TPR_SHADOW},
    {44, NEVER_ASKED, CONTROL_SECONDARY, SECONDARY_APIC_ACCESSES}, // APIC_ACCESS
    {VMX_EXIT_VIRTUALIZED_EOI, ASKED, CONTROL_SECONDARY, SECONDARY_INTERRUPT_DELIVERY},
    {46, NEVER_ASKED, CONTROL_SECONDARY, SECONDARY_DESCRIPTOR_EXITING}, // GDTR_OR_IDTR
    {47, NEVER_ASKED, CONTROL_SECONDARY, SECONDARY_DESCRIPTOR_EXITING}, // LDTR_OR_TR
    {VMX_EXIT_EPT_VIOLATION, ASKED, CONTROL_SECONDARY, SECONDARY_EPT},
    {49, NO_SUCH, 0, 0}, // EPT_MISCONFIGURATION
    {VMX_EXIT_INVEPT, ALWAYS, 0, 0},
    {51, NEVER_ASKED, CONTROL_PRIMARY, PRIMARY_RDTSC_EXITING}, // RDTSCP
    {52, NEVER_ASKED, CONTROL_PIN, BIT(6)},                    // PREEMPTION_TIMER
    {VMX_EXIT_INVVPID, ALWAYS, 0, 0},
    {VMX_EXIT_WBINVD, ASKED, CONTROL_SECONDARY, SECONDARY_WBINVD_EXITING},
    {VMX_EXIT_XSETBV, ALWAYS, 0, 0},
    {VMX_EXIT_APIC_WRITE, ASKED, CONTROL_SECONDARY, SECONDARY_APIC_REGISTERS},
    {57, NEVER_ASKED, CONTROL_SECONDARY, SECONDARY_RDRAND_EXITING}, // RDRAND
    {58, NEVER_ASKED, CONTROL_PRIMARY, PRIMARY_INVLPG_EXITING},     // INVPCID
    {59, UNDEFINED, CONTROL_SECONDARY, SECONDARY_VMFUNC},           // VMFUNC
    {60, ASKED, CONTROL_SECONDARY, SECONDARY_ENCLS_EXITING},        // ENCLS
    {61, NEVER_ASKED, CONTROL_SECONDARY, SECONDARY_RDSEED_EXITING}, // RDSEED
    {62, NEVER_ASKED, CONTROL_SECONDARY, SECONDARY_PML},            // PAGE_MODIFICATION_LOG_FULL
    {63, UNDEFINED, CONTROL_SECONDARY, SECONDARY_XSAVES},           // XSAVES
    {64, UNDEFINED, CONTROL_SECONDARY, SECONDARY_XSAVES},           // XRSTORS
    {65, UNDEFINED, CONTROL_SECONDARY, BIT(27)},                    // PCONFIG
    {66, NEVER_ASKED, CONTROL_SECONDARY, BIT(23)},                  // SPP_EVENT
    {67, UNDEFINED, CONTROL_SECONDARY, SECONDARY_USER_WAIT_PAUSE},  // UMWAIT
    {68, UNDEFINED, CONTROL_SECONDARY, SECONDARY_USER_WAIT_PAUSE},  // TPAUSE
    {69, UNDEFINED, CONTROL_PRIMARY, BIT(17)}, // LOADIWKEY: a tertiary control, and CR4.KL
    {70, ASKED, CONTROL_SECONDARY, SECONDARY_ENCLV_EXITING}, // ENCLV
    {72, UNDEFINED, CONTROL_SECONDARY, BIT(21)},             // ENQCMD_PASID
    {73, UNDEFINED, CONTROL_SECONDARY, BIT(21)},             // ENQCMDS_PASID
    {74, NEVER_ASKED, CONTROL_SECONDARY, BIT(30)},           // BUS_LOCK
    {75, NEVER_ASKED, CONTROL_SECONDARY, BIT(31)},           // NOTIFY
    {76, ALWAYS, 0, 0},                                      // SEAMCALL
    {77, ALWAYS, 0, 0},                                      // TDCALL
};

// No row overrides another: the compiler would say so here. NULL: unexpected.
#define HANDLER_NAME_ROW(first, last, name, handler) [first... last] = #handler,
static const char *const handler_names[VMX_EXIT_COUNT] = {VMX_EXITS(HANDLER_NAME_ROW)};

static bool is_reserved(uint32_t reason) {
    return reason == 35 || reason == 38 || reason == 42 || reason == 71;
}

// What docs/vmx.md says under "Policy", on a processor that has every control there is: an exit
// that has a handler is asked for, or comes by itself; one that is not asked for has none.
Test(boot_vmx, each_exit_with_a_handler_is_asked_for_and_no_other) {
    struct vmx_caps caps = {0};
    for (unsigned word = 0; word < CONTROL_WORD_COUNT; word++)
        allowed[word] = (struct control_allowed){0, UINT32_MAX};
    cr_assert(boot_vmx_judge(&caps, allowed, UINT64_MAX, refusal));
    unsigned rows[VMX_EXIT_COUNT] = {0};
    for (size_t i = 0; i < ARRAY_COUNT(exit_causes); i++) {
        const struct exit_cause *row = &exit_causes[i];
        const char *handler = handler_names[row->exit];
        bool is_on = (caps.control[row->word] & row->mask) != 0;
        bool has_handler = handler != NULL;
        rows[row->exit]++;
        cr_expect_eq(is_on, row->cause == ASKED, "exit %u, %s", row->exit, handler);
        if (row->cause == NEVER_ASKED || row->cause == NO_SUCH)
            cr_expect_not(has_handler, "exit %u: %s", row->exit, handler);
        else
            cr_expect(has_handler, "exit %u: %s", row->exit, handler);
    }
    cr_expect_eq(VMX_EXIT_COUNT, 78, "all of the manual's");
    for (unsigned i = 0; i < VMX_EXIT_COUNT; i++) {
        cr_expect_eq(rows[i], is_reserved(i) ? 0 : 1, "exit %u", i);
        cr_expect(!is_reserved(i) || handler_names[i] == NULL, "exit %u", i);
    }
}

// ---- on a processor of paper --------------------------------------------------------------------

static const struct model *processor;
static uint64_t feature_control, basic;
static struct boot_info info;

static struct boot_cpuid read_cpuid(uint32_t leaf, uint32_t subleaf) {
    (void)subleaf;
    return leaf == 0 ? (struct boot_cpuid){.eax = 7} : (struct boot_cpuid){.edx = 1u << 26};
}

// A register that the processor lacks is a fault: none may be read that is not promised.
static uint64_t read_msr(uint32_t msr) {
    const bool has_true = (basic & BIT(55)) != 0;
    const bool has_secondary = (processor->primary >> 32 & PRIMARY_SECONDARY_CONTROLS) != 0;
    const bool has_ept =
        has_secondary && (processor->secondary >> 32 & (SECONDARY_EPT | SECONDARY_VPID)) != 0;
    const struct {
        uint32_t msr;
        bool is_there;
        uint64_t value;
    } rows[] = {
        {0x3a, true, feature_control},
        {0x480, true, basic},
        {0x481, true, processor->pin | 0xff},
        {0x482, true, processor->primary | PRIMARY_CR3_LOAD_EXITING},
        {0x483, true, processor->exit},
        {0x484, true, processor->entry},
        {0x486, true, 0x80000021},
        {0x487, true, 0xffffffff},
        {0x488, true, 0x2000},
        {0x489, true, 0x3727ff},
        {0x48b, has_secondary, processor->secondary},
        {0x48c, has_ept, processor->ept_vpid},
        {0x48d, has_true, processor->pin},
        {0x48e, has_true, processor->primary},
        {0x48f, has_true, processor->exit},
        {0x490, has_true, processor->entry},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].msr == msr && rows[i].is_there)
            return rows[i].value;
    cr_assert_fail("the processor has no MSR 0x%x", msr);
    return 0;
}

static void read_paper(const struct model *model) {
    const struct boot_processor cpu = {.cpuid = read_cpuid, .rdmsr = read_msr};
    processor = model;
    boot_vmx_read(&cpu, &info);
}

static void set_up_paper(void) {
    feature_control = 5;
    basic = BIT(55) | BIT(54) | 0x12345;
    info.features = (struct cpu_features){.is_intel = true, .has_vmx = true};
    info.words.apic = APIC_POSTED;
}

TestSuite(boot_vmx_read, .init = set_up_paper);

Test(boot_vmx_read, fills_what_the_kernel_gets) {
    read_paper(&skylake);
    const struct vmx_caps *caps = &info.vmx;
    cr_expect_str_eq(info.refusal, "");
    cr_expect(caps->revision == 0x12345);
    cr_expect(caps->cr0_fixed0 == 0x80000021 && caps->cr0_fixed1 == 0xffffffff);
    cr_expect(caps->cr4_fixed0 == 0x2000 && caps->cr4_fixed1 == 0x3727ff);
    cr_expect(caps->has_trap_flag && caps->has_unrestricted_guest && caps->has_tsc_scaling);
    cr_expect(caps->has_spec_ctrl && caps->has_pred_cmd && !caps->has_flush_cmd);
    cr_expect_not(caps->has_rdtscp, "CPUID hides it, so the kernel leaves TSC_AUX alone");
    cr_expect(info.features.has_unrestricted_guest && info.features.has_tsc_scaling);
    cr_expect_eq(caps->apic, APIC_POSTED);
    boot_vmx_report(&info);
    cr_expect_str_eq(info.report, "VT-x: EPT pages 4K 2M 1G, VPID, unrestricted guest, PAUSE-loop "
                                  "exiting, TSC scaling");
}

Test(boot_vmx_read, uses_no_more_of_apic_virtualization_than_it_may) {
    info.words.apic = APIC_TPR;
    read_paper(&skylake);
    cr_expect_eq(info.vmx.apic, APIC_TPR);
    cr_expect_eq(info.vmx.control[CONTROL_PIN] & PIN_POSTED_INTERRUPTS, 0);
}

// Without TRUE controls what has to be on says so elsewhere.
Test(boot_vmx_read, reads_the_old_registers_of_an_old_processor) {
    basic &= ~BIT(55);
    read_paper(&nehalem);
    cr_expect_not_null(strstr(info.refusal, "CR3 exiting"), "%s", info.refusal);
    boot_vmx_report(&info);
    cr_expect_str_eq(info.report, "", "nothing is used");
}

Test(boot_vmx_read, asks_for_no_register_that_is_not_promised) {
    struct model old = nehalem;
    old.primary &= ~(PRIMARY_SECONDARY_CONTROLS << 32);
    read_paper(&old);
    cr_expect_not_null(strstr(info.refusal, "no EPT"), "%s", info.refusal);
    old = nehalem;
    old.secondary &= ~((SECONDARY_EPT | SECONDARY_VPID) << 32);
    read_paper(&old);
    cr_expect_not_null(strstr(info.refusal, "no EPT"), "%s", info.refusal);
}

Test(boot_vmx_read, rdtscp_wants_cpuid_and_the_control) {
    info.features.has_rdtscp = true;
    read_paper(&skylake);
    cr_expect(info.vmx.has_rdtscp);
}

Test(boot_vmx_read, names_what_is_in_the_way) {
    feature_control = 1;
    read_paper(&skylake);
    cr_expect_not_null(strstr(info.refusal, "locked off"), "%s", info.refusal);
    feature_control = 0; // open: the kernel turns it on
    info.refusal[0] = '\0';
    read_paper(&skylake);
    cr_expect_str_eq(info.refusal, "");
    info.features.has_vmx = false;
    read_paper(&skylake);
    cr_expect_not_null(strstr(info.refusal, "neither VT-x nor AMD-V"), "%s", info.refusal);
    info.refusal[0] = '\0';
    info.features.has_svm = true; // boot_svm.c's to judge
    read_paper(&skylake);
    cr_expect_str_eq(info.refusal, "");
    boot_vmx_report(&info);
    cr_expect_str_eq(info.report, "", "not a word of VT-x");
}
