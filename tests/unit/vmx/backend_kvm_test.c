// SPDX-License-Identifier: Apache-2.0
// The backend below KVM, which lends a VT-x of its own making: a VMCS field that is not among
// KVM's, or a control that it does not offer, must not be taken for granted, since an access to the
// one ends the machine, and with the other no guest is entered.
//
// The fields and which of them come and go with the processor's features: Linux,
// arch/x86/kvm/vmx/vmcs12.c; what the capability MSRs say to a guest: vmx/nested.c there. Numbers
// and names are the manual's: SDM 3D Appendix A and B.
#include <criterion/criterion.h>

#include "tests/unit/vmx/support.h"

#include "arch/tsc.h"
#define vmx_msr boot_vmx_msr // vmx/ has another of that name
#include "boot/boot_vmx.h"
#undef vmx_msr

TestSuite(backend_kvm);

// ---- what KVM lends -----------------------------------------------------------------------------

// By what the outer processor has, and a Linux that passes it on: what KVM hides where it is not
// there. PAUSE-loop exiting and ENCLV exiting it never has.
enum outer {
    OUTER_TPR_SHADOW = 1u << 0,
    OUTER_APICV = 1u << 1, // with posted interrupts
    OUTER_TSC_SCALING = 1u << 2,
    OUTER_SGX = 1u << 3,
    OUTER_VPID = 1u << 4,
    OUTER_ALL = (1u << 5) - 1,
};
static uint32_t outer;

// Fields two apart. `needs`: one of enum outer, or 0.
static const struct {
    uint16_t first, last;
    uint32_t needs;
} fields[] = {
    {0x0000, 0x0000, OUTER_VPID},
    {0x0002, 0x0002, OUTER_APICV},       // posted-interrupt notification vector
    {0x0800, 0x080e, 0},                 // guest selectors
    {0x0810, 0x0810, OUTER_APICV},       // guest interrupt status
    {0x0812, 0x0812, 0},                 // PML index
    {0x0c00, 0x0c0c, 0},                 // host selectors
    {0x2000, 0x200a, 0},                 // I/O and MSR bitmaps, MSR areas; not executive-VMCS
    {0x200e, 0x2010, 0},                 // PML address, TSC offset
    {0x2012, 0x2012, OUTER_TPR_SHADOW},  // virtual-APIC address
    {0x2014, 0x2014, 0},                 // APIC-access address
    {0x2016, 0x2016, OUTER_APICV},       // posted-interrupt descriptor
    {0x2018, 0x2028, 0},                 // VM functions, EPTP, EOI-exit, EPTP list, VMCS shadowing
    {0x202c, 0x202c, 0},                 // XSS-exiting bitmap
    {0x202e, 0x202e, OUTER_SGX},         // ENCLS-exiting bitmap; not ENCLV's
    {0x2032, 0x2032, OUTER_TSC_SCALING}, // TSC multiplier
    {0x2400, 0x2400, 0},                 // guest-physical address
    {0x2800, 0x2812, 0},                 // guest's 64-bit fields, to BNDCFGS
    {0x2c00, 0x2c04, 0},                 // host's
    {0x4000, 0x401a, 0},                 // controls
    {0x401c, 0x401c, OUTER_TPR_SHADOW},  // TPR threshold
    {0x401e, 0x401e, 0},                 // secondary controls; not PLE_Gap and PLE_Window
    {0x4400, 0x440e, 0},                 // of exits
    {0x4800, 0x4826, 0},                 // guest's 32-bit fields; not SMBASE
    {0x482a, 0x482a, 0},                 // SYSENTER_CS
    {0x482e, 0x482e, 0},                 // preemption timer
    {0x4c00, 0x4c00, 0},                 // host's SYSENTER_CS
    {0x6000, 0x6006, 0},                 // CR masks and shadows; not CR3-target values
    {0x6400, 0x6400, 0},                 // exit qualification; not I/O RCX to RIP
    {0x640a, 0x640a, 0},                 // guest-linear address
    {0x6800, 0x6826, 0},                 // guest's natural-width fields
    {0x6c00, 0x6c16, 0},                 // host's
};

static bool has_field(uint32_t field) {
    for (unsigned i = 0; i < ARRAY_COUNT(fields); i++)
        if (field >= fields[i].first && field <= fields[i].last && field % 2 == 0)
            return (fields[i].needs & outer) == fields[i].needs;
    return false;
}

static uint64_t bits_if(enum outer what, uint64_t bits) {
    return outer & what ? bits : 0;
}

#define MSR(must1, may1) ((uint64_t)(must1) | (uint64_t)(may1) << 32)

static uint64_t read_msr(uint32_t msr) {
    switch (msr) {
    case 0x3a:
        return 5; // locked, VMX outside SMX
    case MSR_VMX_BASIC:
        return 0x11e57ed0 | 0x1000ULL << 32 | 6ULL << 50 | VMX_BASIC_TRUE_CONTROLS;
    case MSR_VMX_CR0_FIXED0:
        return CR0_PE | CR0_NE | CR0_PG;
    case MSR_VMX_CR0_FIXED1:
        return UINT32_MAX;
    case MSR_VMX_CR4_FIXED0:
        return CR4_VMXE;
    case MSR_VMX_CR4_FIXED1:
        return 0x3767ff;
    case MSR_VMX_TRUE_PIN:
        return MSR(0x16, 0x7f | bits_if(OUTER_APICV, PIN_POSTED_INTERRUPTS));
    case MSR_VMX_TRUE_PRIMARY:
        return MSR(0x04006172, 0xffd9fffe | bits_if(OUTER_TPR_SHADOW, PRIMARY_TPR_SHADOW));
    case MSR_VMX_TRUE_EXIT:
        return MSR(0x00036dfb, 0x007fefff);
    case MSR_VMX_TRUE_ENTRY:
        return MSR(0x000011fb, 0x0000d3ff);
    case MSR_VMX_SECONDARY:
        return MSR(
            0, SECONDARY_APIC_ACCESSES | SECONDARY_EPT | SECONDARY_DESCRIPTOR_EXITING |
                   SECONDARY_RDTSCP | SECONDARY_X2APIC_MODE | bits_if(OUTER_VPID, SECONDARY_VPID) |
                   SECONDARY_WBINVD_EXITING | SECONDARY_UNRESTRICTED_GUEST |
                   bits_if(OUTER_APICV, SECONDARY_APIC_REGISTERS | SECONDARY_INTERRUPT_DELIVERY) |
                   SECONDARY_RDRAND_EXITING | SECONDARY_INVPCID | SECONDARY_VMFUNC |
                   SECONDARY_VMCS_SHADOWING | bits_if(OUTER_SGX, SECONDARY_ENCLS_EXITING) |
                   SECONDARY_RDSEED_EXITING | SECONDARY_PML | SECONDARY_XSAVES |
                   bits_if(OUTER_TSC_SCALING, SECONDARY_TSC_SCALING));
    case MSR_VMX_EPT_VPID_CAP:
        return 0x06334141 | (outer & OUTER_VPID ? 0xf01ULL << 32 : 0);
    default:
        cr_assert_fail("MSR %#x", msr);
    }
    return 0;
}

// Leaf 7 shows speculation controls.
static struct boot_cpuid read_cpuid(uint32_t leaf, uint32_t subleaf) {
    (void)subleaf;
    return (struct boot_cpuid){.eax = leaf == 0 ? 7 : 0, .edx = leaf == 7 ? 0x1c000000 : 0};
}

// ---- what is entered ----------------------------------------------------------------------------

static struct boot_info info;

static void check_control(uint32_t field, uint32_t msr) {
    uint64_t allowed = read_msr(msr), value = paper.vmcs[field];
    cr_assert_eq(value & ~(allowed >> 32), 0, "control %#x: %#lx may not be 1", field, value);
    cr_assert_eq(~value & (uint32_t)allowed, 0, "control %#x: %#lx must be 1", field, value);
}

static void check_entry(void) {
    check_control(VMCS_PIN_CONTROLS, MSR_VMX_TRUE_PIN);
    check_control(VMCS_PRIMARY_CONTROLS, MSR_VMX_TRUE_PRIMARY);
    check_control(VMCS_SECONDARY_CONTROLS, MSR_VMX_SECONDARY);
    check_control(VMCS_EXIT_CONTROLS, MSR_VMX_TRUE_EXIT);
    check_control(VMCS_ENTRY_CONTROLS, MSR_VMX_TRUE_ENTRY);
}

static struct vcpu_registers registers(void) {
    return (struct vcpu_registers){
        .rflags = RFLAGS_ONE | RFLAGS_IF,
        .cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET,
        .cr4 = CR4_PAE,
        .cs.attributes = 0xa09b,
        .efer = EFER_LME | EFER_LMA,
        .spec_ctrl = 1,
        .spec_ctrl_own = 7,
    };
}

// A vCPU, loaded, of what the boot gate makes of this VT-x.
static void begin(uint32_t has) {
    static struct platform platform;
    const struct boot_processor cpu = {.cpuid = read_cpuid, .rdmsr = read_msr};
    outer = has;
    paper_set_up();
    memset(paper.vmcs, 0, sizeof(paper.vmcs));
    info = (struct boot_info){.platform = &platform, .words.apic = APIC_POSTED};
    info.features.has_vmx = true;
    boot_vmx_read(&cpu, &info);
    cr_assert_str_eq(info.refusal, "", "with %#x: %s", has, info.refusal);
    vmx_caps = info.vmx;
    paper_vm.tsc_ratio = vmx_caps.has_tsc_scaling ? 0x180000000 : 0;
    paper_vcpu.vlapic.page = paper_vcpu.xsave; // any page
    paper.has_field = has_field;
    paper.on_entry = check_entry;
    paper_make(&paper_vcpu);
    struct vcpu_registers r = registers();
    vmx_write_registers(&paper_vcpu, &r);
    vmx_load(&paper_vcpu);
}

static void enter(uint32_t reason) {
    paper.entries = paper.step_count = 0;
    paper.reasons[0] = reason;
    paper_vcpu.pending = VCPU_PENDING_KICK; // one exit is enough
    (void)vmx_enter(&paper_vcpu);
    cr_assert_eq(paper.entries, 1);
    vmx_leave(&paper_vcpu);
}

static void end(void) {
    paper.has_field = NULL;
}

// ---- tests --------------------------------------------------------------------------------------

Test(backend_kvm, gate_takes_what_is_there_and_no_more) {
    begin(OUTER_ALL);
    cr_expect(vmx_caps.apic == APIC_POSTED && vmx_caps.has_x2apic_mode && vmx_caps.has_vpid);
    cr_expect(vmx_caps.has_unrestricted_guest && vmx_caps.has_tsc_scaling && vmx_caps.has_1g_pages);
    cr_expect_not(vmx_caps.has_ple, "never");
    end();
    begin(0);
    cr_expect(vmx_caps.apic == APIC_SOFTWARE && !vmx_caps.has_x2apic_mode && !vmx_caps.has_vpid);
    cr_expect_not(vmx_caps.has_tsc_scaling || vmx_caps.has_ple);
    end();
}

// Each exit, with what its handlers look at at its widest.
Test(backend_kvm, exits_use_fields_that_are_there) {
    const uint64_t qualifications[] = {0,          0x10,           4,         8,      0x18,
                                       0x03f80011, 0x03f80019,     0x183,     0x1081, 0x4000,
                                       3ULL << 30, LAPIC_SELF_IPI, UINT64_MAX};
    const uint64_t events[] = {0, 0x80000202, 0x80000301, 0x80000311, 0x80000b0e, 0x80000030};
    for (uint32_t has = 0; has <= OUTER_ALL; has++) {
        begin(has);
        for (uint32_t reason = 0; reason < VMX_EXIT_COUNT; reason++)
            for (unsigned i = 0; i < ARRAY_COUNT(qualifications) * ARRAY_COUNT(events); i++) {
                paper.vmcs[VMCS_EXIT_QUALIFICATION] = qualifications[i / ARRAY_COUNT(events)];
                paper.vmcs[VMCS_EXIT_INTERRUPTION_INFO] = events[i % ARRAY_COUNT(events)];
                paper.vmcs[VMCS_IDT_VECTORING_INFO] = events[i % ARRAY_COUNT(events)];
                paper.vmcs[VMCS_GUEST_RFLAGS] ^= i & 1 ? RFLAGS_TF : RFLAGS_IF;
                paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY] = i % 4;
                paper_page.gpr[GPR_RCX] = i & 1 ? MSR_SPEC_CTRL : MSR_FS_BASE;
                enter(reason);
            }
        end();
    }
}

static void check_refusal(uint32_t reason) {
    paper.tsc += 2 * tsc_hz;
    enter(reason);
    cr_expect_eq(paper.seen.failure, VCPU_FAILURE_ENTRY);
}

// What the kernel and the VMM ask for between entries.
Test(backend_kvm, operations_use_fields_that_are_there) {
    struct vcpu_registers r = {0};
    for (uint32_t has = 0; has <= OUTER_ALL; has++) {
        begin(has);
        for (unsigned i = 0; i < 2; i++) {
            (void)vmx_can_take_interrupt(&paper_vcpu);
            (void)vmx_can_take_nmi(&paper_vcpu);
            vmx_inject_interrupt(&paper_vcpu, 0x30);
        }
        enter(12);
        paper.vmcs[VMCS_ENTRY_INTERRUPTION_INFO] = 0;
        vmx_inject_nmi(&paper_vcpu);
        vmx_inject_exception(&paper_vcpu, EXC_PF, 2);
        vmx_sync_apic(&paper_vcpu);
        cr_expect(vmx_step(&paper_vcpu));
        vmx_sync_registers(&paper_vcpu, UINT32_MAX);
        vmx_flush_space(&paper_vcpu);
        vmcs_write64(VMCS_TSC_OFFSET, 5);
        enter(12);
        check_refusal(0x80000021);
        vmx_unload(&paper_vcpu);
        vmx_forget();
        vmx_read_registers(&paper_vcpu, &r);
        vmx_write_registers(&paper_vcpu, &r);
        end();
    }
}

// The check itself: what KVM has not is seen.
Test(backend_kvm, missing_fields_are_missing) {
    const uint32_t missing[] = {
        0x200c, VMCS_ENCLV_BITMAP, VMCS_PLE_GAP, VMCS_PLE_WINDOW, 0x4828, 0x6008, 0x6402, 0x2005};
    outer = OUTER_ALL;
    for (unsigned i = 0; i < ARRAY_COUNT(missing); i++)
        cr_expect_not(has_field(missing[i]), "field %#x", missing[i]);
    cr_expect(has_field(VMCS_TSC_MULTIPLIER) && has_field(VMCS_GUEST_INTERRUPT_STATUS));
    outer = 0;
    cr_expect_not(has_field(VMCS_TSC_MULTIPLIER) || has_field(VMCS_GUEST_INTERRUPT_STATUS));
}
