// SPDX-License-Identifier: Apache-2.0
// The backend below KVM, which lends an AMD-V of its own making: what CPUID hides there must not be
// taken for granted, as no bit of it has an effect, or the entry is refused. Which features KVM
// shows: Linux, arch/x86/kvm/svm/svm.c; numbers are the manual's: APM 3 E.4.9 "Function
// 8000_000Ah", APM 2 Appendix B "Layout of VMCB".
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/svm/support.h"

#include "boot/boot_svm.h"
#include "kernel/machine.h"

TestSuite(svm_kvm);

// ---- what KVM lends -----------------------------------------------------------------------------

// EDX of the leaf: NPT and what comes and goes with module parameters and the processor. Decode
// assists, AVIC and its x2APIC mode, SPEC_CTRL by the VMCB are never there; flush by ASID and
// virtual NMIs not before Linux 6.4.
#define NPT        BIT(0)
#define LBRV       BIT(1)
#define NEXT_RIP   BIT(3)
#define TSC_RATIO  BIT(4)
#define CLEAN_BITS BIT(5)
#define FILTER     (BIT(10) | BIT(12))
#define VLS        BIT(15)
#define VGIF       BIT(16)
#define SMALLEST   (NPT | BIT(28)) // VMRUN looks at the address
#define KVM_ASIDS  8u

static uint32_t flags;
static bool has_new_instructions; // RDTSCP, INVPCID, RDPRU

static struct boot_cpuid read_cpuid(uint32_t leaf, uint32_t subleaf) {
    (void)subleaf;
    switch (leaf) {
    case 0:
        return (struct boot_cpuid){.eax = 0xd};
    case 7:
        return (struct boot_cpuid){.ebx = has_new_instructions ? BIT(10) : 0};
    case 0x80000000:
        return (struct boot_cpuid){.eax = 0x8000001f};
    case 0x80000008:
        return (struct boot_cpuid){.ebx = has_new_instructions ? BIT(4) : 0};
    case 0x8000000a:
        return (struct boot_cpuid){.eax = 1, .ebx = KVM_ASIDS, .edx = flags};
    default:
        cr_assert_fail("leaf %#x", leaf);
    }
    return (struct boot_cpuid){0};
}

static uint64_t read_msr(uint32_t msr) {
    cr_assert_eq(msr, MSR_VM_CR);
    return 0;
}

// A vCPU, loaded, of what the boot gate makes of it.
static void begin(uint32_t edx, bool is_new) {
    static struct platform platform;
    static struct boot_info info;
    const struct boot_processor cpu = {.cpuid = read_cpuid, .rdmsr = read_msr};
    flags = edx;
    has_new_instructions = is_new;
    paper_set_up();
    info = (struct boot_info){.platform = &platform};
    info.features.has_svm = true;
    info.features.has_rdtscp = cpu_features.has_rdtscp = is_new;
    boot_svm_read(&cpu, &info);
    cr_assert_str_eq(info.refusal, "", "with %#x: %s", edx, info.refusal);
    info.svm.maps = machine.svm.maps;
    machine.svm = info.svm;
    svm_backend.init();
    paper.cpuid_rdtscp = paper.cpuid_invpcid = 0;
    *paper_msr(MSR_TSC_RATIO) = *paper_msr(MSR_TSC_AUX) = 0x1234;
    paper_make(&paper_vcpu);
    struct vcpu_registers r = paper_registers();
    r.spec_ctrl = r.spec_ctrl_own = 7;
    svm_write_registers(&paper_vcpu, &r);
    svm_load(&paper_vcpu);
}

// ---- what is entered ----------------------------------------------------------------------------

static uint32_t bits_unless(bool is_shown, uint64_t bits) {
    return is_shown ? 0 : (uint32_t)bits;
}

static void check_entry(void) {
    const struct vmcb *v = &paper.entered;
    const uint8_t *bytes = (const uint8_t *)v;
    bool has_filter = (flags & FILTER) == FILTER;
    cr_assert_eq(v->intercept_1 & bits_unless(has_filter, BIT(23)), 0, "PAUSE filter");
    cr_assert(has_filter || (v->pause_count == 0 && v->pause_threshold == 0));
    cr_assert_eq(v->intercept_2 & bits_unless(has_new_instructions, BIT(7) | BIT(14)), 0);
    cr_assert_eq(v->intercept_2 >> 15, 0, "traps of EFER and CR writes");
    cr_assert_eq(v->intercept_3 & ~bits_unless(!has_new_instructions, BIT(2)), 0);
    cr_assert_leq(v->tlb_control, 1, "flush by ASID");
    cr_assert_lt(v->asid, KVM_ASIDS);
    cr_assert_eq(v->interrupt & ~0x11f010fULL, 0, "virtual GIF, virtual NMI, AVIC");
    cr_assert_eq(v->np_enable, 1, "SEV, guest mode execute trap, shadow stacks");
    cr_assert(v->avic_bar == 0 && v->ghcb == 0);
    cr_assert_eq(v->lbr_enable, 0, "branch records, virtual VMLOAD and VMSAVE");
    cr_assert(v->clean == 0 || (flags & CLEAN_BITS));
    cr_assert(v->s_cet == 0 && v->ssp == 0 && v->isst == 0 && v->spec_ctrl == 0);
    for (unsigned i = 0xd0; i < 0x400; i++) // AVIC's pages, and what is reserved
        cr_assert_eq(bytes[i], 0, "byte %#x", i);
}

static void check_msrs(void) {
    cr_assert(*paper_msr(MSR_TSC_RATIO) == 0x1234 || (flags & TSC_RATIO));
    cr_assert(*paper_msr(MSR_TSC_AUX) == 0x1234 || has_new_instructions);
    cr_assert(*paper_msr(MSR_SPEC_CTRL) == 0 && *paper_msr(MSR_PRED_CMD) == 0);
}

static enum exit_action enter(uint64_t code, uint64_t info_1, uint64_t int_info) {
    enum exit_action action = paper_run(
        (struct paper_exit){.code = code, .info_1 = info_1, .int_info = int_info, .length = 2});
    check_entry();
    svm_leave(&paper_vcpu);
    return action;
}

static const uint32_t shown[] = {
    SMALLEST, // an old Linux, or all module parameters off
    SMALLEST | NEXT_RIP,
    SMALLEST | CLEAN_BITS,
    SMALLEST | TSC_RATIO,
    SMALLEST | FILTER,
    SMALLEST | LBRV | NEXT_RIP | TSC_RATIO | CLEAN_BITS | FILTER | VLS | VGIF, // Linux 6.1
};

// ---- tests --------------------------------------------------------------------------------------

Test(svm_kvm, gate_takes_what_is_there_and_no_more) {
    begin(SMALLEST, false);
    cr_expect_not(svm_caps.has_next_rip || svm_caps.has_decode_assists || svm_caps.has_clean_bits ||
                  svm_caps.has_tsc_ratio || svm_caps.has_pause_filter || svm_caps.has_rdtscp ||
                  svm_caps.has_invpcid || svm_caps.has_rdpru || svm_caps.has_spec_ctrl ||
                  svm_caps.has_pred_cmd);
    begin(shown[ARRAY_COUNT(shown) - 1], true);
    cr_expect(svm_caps.has_next_rip && svm_caps.has_clean_bits && svm_caps.has_tsc_ratio);
    cr_expect(svm_caps.has_pause_filter && svm_caps.has_rdtscp && svm_caps.has_invpcid);
    cr_expect_not(svm_caps.has_decode_assists || svm_caps.has_spec_ctrl);
}

Test(svm_kvm, exits_set_no_bit_of_what_is_hidden) {
    const uint64_t events[] = {0, 0x80000030, 0x80000202, 0x80000b0e, 0x80000480};
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(shown); i++) {
        begin(shown[i / 2], i % 2);
        for (uint64_t code = 0; code <= 0x403; code += code == 0xaf ? 0x400 - 0xaf : 1)
            for (unsigned k = 0; k < ARRAY_COUNT(events); k++) {
                paper_vmcb()->event = 0;
                paper_vmcb()->shadow = k & 1;
                paper_page.gpr[GPR_RCX] = k & 1 ? MSR_SPEC_CTRL : MSR_PAT;
                (void)enter(code, k & 2 ? 0x03f80011 : BIT(63), events[k]);
            }
        svm_unload(&paper_vcpu);
        check_msrs();
    }
}

Test(svm_kvm, operations_set_no_bit_of_what_is_hidden) {
    struct vcpu_registers r;
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(shown); i++) {
        begin(shown[i / 2], i % 2);
        for (unsigned n = 0; n < 2 * KVM_ASIDS; n++) { // more than there are ASIDs
            svm_flush_space(&paper_vcpu);
            (void)svm_can_take_interrupt(&paper_vcpu);
            (void)svm_can_take_nmi(&paper_vcpu);
            if (n % 2 != 0)
                svm_inject_interrupt(&paper_vcpu, 0x30);
            else
                svm_inject_nmi(&paper_vcpu);
            (void)svm_can_take_interrupt(&paper_vcpu);
            (void)enter(CODE_PAUSE, 0, 0);
            paper.held_class = n % 3;
            svm_sync_apic(&paper_vcpu);
            (void)svm_step(&paper_vcpu);
            (void)enter(CODE_NPF, 0, 0);
            (void)enter(CODE_DB, 0, 0);
            svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP | VCPU_DIRTY_RSP);
        }
        cr_expect_gt(paper.flushes, 0);
        svm_unload(&paper_vcpu);
        svm_backend.forget();
        svm_read_registers(&paper_vcpu, &r);
        r.spec_ctrl = r.spec_ctrl_own = 7;
        svm_write_registers(&paper_vcpu, &r);
        svm_load(&paper_vcpu);
        (void)enter(CODE_PAUSE, 0, 0);
        check_msrs();
    }
}
