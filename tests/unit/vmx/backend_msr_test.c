// SPDX-License-Identifier: Apache-2.0
// vmx/exit_msr.c and speculation.c, where the processor itself would take what a guest must not
// have, or would keep what is another's.
#include <criterion/criterion.h>

#include "tests/unit/vmx/support.h"

#include "vmx/exit.h"

TestSuite(backend_msr, .init = paper_set_up_loaded);

static enum exit_action write_msr(uint32_t msr, uint64_t value) {
    paper.seen.has_vector = false;
    paper_page.gpr[GPR_RCX] = msr;
    paper_page.gpr[GPR_RAX] = (uint32_t)value;
    paper_page.gpr[GPR_RDX] = value >> 32;
    return exit_wrmsr(&paper_vcpu);
}

// Where an address goes that an MSR is given.
static uint64_t *address_of(uint32_t msr) {
    switch (msr) {
    case MSR_SYSENTER_ESP:
        return &paper.vmcs[VMCS_GUEST_SYSENTER_ESP];
    case MSR_SYSENTER_EIP:
        return &paper.vmcs[VMCS_GUEST_SYSENTER_EIP];
    case MSR_FS_BASE:
        return &paper.vmcs[VMCS_BASE(VMCS_FS)];
    case MSR_GS_BASE:
        return &paper.vmcs[VMCS_BASE(VMCS_GS)];
    default:
        return paper_msr(msr);
    }
}

// With 57 bits the processor takes addresses that are none for a guest with 48: VM entry, or the
// kernel's own WRMSR of the next load, would fail on them.
Test(backend_msr, only_canonical_addresses_are_written) {
    const uint32_t msrs[] = {MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_LSTAR,         MSR_CSTAR,
                             MSR_FS_BASE,      MSR_GS_BASE,      MSR_KERNEL_GS_BASE};
    const uint64_t good[] = {0, 0x7fffffffffff, 0xffff800000000000, 0xffffffff81000000};
    const uint64_t bad[] = {0x800000000000, 0xffff7fffffffffff, 0xff00000000000000, 1ULL << 63};
    for (unsigned i = 0; i < ARRAY_COUNT(msrs); i++) {
        for (unsigned k = 0; k < ARRAY_COUNT(good); k++) {
            cr_expect_eq(write_msr(msrs[i], good[k]), EXIT_ADVANCE);
            cr_expect_not(paper.seen.has_vector);
            cr_expect_eq(*address_of(msrs[i]), good[k], "MSR %#x", msrs[i]);
        }
        for (unsigned k = 0; k < ARRAY_COUNT(bad); k++) {
            cr_expect_eq(write_msr(msrs[i], bad[k]), EXIT_RETRY);
            cr_expect(paper.seen.has_vector && paper.seen.vector == EXC_GP, "MSR %#x", msrs[i]);
            cr_expect_eq(*address_of(msrs[i]), good[3], "MSR %#x", msrs[i]);
        }
    }
}

// CPUs may differ in it: what an exit restores is the CPU's own.
Test(backend_msr, host_value_is_that_of_the_cpu) {
    paper_x()->spec_allowed = 7;
    *paper_msr(MSR_SPEC_CTRL) = 0x401;
    paper_cpu = 1;
    vmx_load(&paper_vcpu);
    cr_expect_eq(paper_x()->spec_host.value, 0x401);
    *paper_msr(MSR_SPEC_CTRL) = 0;
    paper_cpu = 0;
    vmx_load(&paper_vcpu);
    cr_expect_eq(paper_x()->spec_host.value, 0);
}

// A guest's value is gone with the exit: the processor loads the host's.
Test(backend_msr, exits_restore_the_hosts_value) {
    paper_x()->spec_allowed = 7;
    speculation_load(paper_x());
    cr_expect_eq(write_msr(MSR_SPEC_CTRL, 4), EXIT_ADVANCE);
    cr_expect_eq(paper.vmcs[VMCS_ENTRY_MSR_LOAD_COUNT], 1);
    cr_expect_eq(paper.vmcs[VMCS_EXIT_MSR_STORE_COUNT], 1);
    cr_expect_eq(paper.vmcs[VMCS_EXIT_MSR_LOAD_COUNT], 1);
}
