// SPDX-License-Identifier: Apache-2.0
// vmx/speculation.c: when the processor is told to move IA32_SPEC_CTRL, and what it moves.
#include <criterion/criterion.h>
#include <stdint.h>

static uint64_t host_spec_ctrl;
static uint64_t vmx_speculation_test_rdmsr(uint32_t msr) {
    cr_assert_eq(msr, 0x48);
    return host_spec_ctrl;
}
#include "arch/cpu.h"
#define speculation_create vmx_speculation_test_create
#define speculation_load   vmx_speculation_test_load
#define speculation_write  vmx_speculation_test_write
#define x86_rdmsr          vmx_speculation_test_rdmsr
#include "vmx/speculation.c"

static _Alignas(PAGE_SIZE) struct vmx_vcpu spec_x;

static void spec_set_up(void) {
    spec_x = (struct vmx_vcpu){.spec_allowed = 0x4ff};
    host_spec_ctrl = 0x401;
    vmcs_write32(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write32(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write32(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write64(VMCS_MSR_BITMAP, 0);
    vmx_caps.msr_bitmaps = 0x11000;
    speculation_create(&spec_x);
    speculation_load(&spec_x);
}

TestSuite(vmx_speculation, .init = spec_set_up);

static bool is_moved(void) {
    uint32_t entry = vmcs_read32(VMCS_ENTRY_MSR_LOAD_COUNT);
    cr_expect_eq(vmcs_read32(VMCS_EXIT_MSR_STORE_COUNT), entry);
    cr_expect_eq(vmcs_read32(VMCS_EXIT_MSR_LOAD_COUNT), entry);
    cr_expect_eq(spec_x.is_spec_moved, entry != 0);
    return entry == 1;
}

// Nobody writes the register at exits for a guest that wants no more than the host.
Test(vmx_speculation, what_the_host_has_too_costs_nothing) {
    const uint64_t values[] = {0, 1, 0x400, 0x401, 0};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        speculation_write(&spec_x, values[i]);
        cr_expect_eq(spec_x.spec_guest.value, values[i]);
        cr_expect_not(is_moved(), "value %zu", i);
    }
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), 0, "reads exit, or would show the host's");
}

Test(vmx_speculation, what_the_host_has_not_is_moved) {
    spec_x.is_apic_open = true;
    speculation_write(&spec_x, 5);
    cr_expect(is_moved());
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), 0x11000 + 3 * PAGE_SIZE);
    // SDM 3C 25.7.2: index, reserved, value; 16 bytes, aligned.
    const uint32_t *guest = (const uint32_t *)&spec_x.spec_guest;
    const uint32_t *host = (const uint32_t *)&spec_x.spec_host;
    cr_expect(guest[0] == 0x48 && guest[1] == 0 && guest[2] == 5 && guest[3] == 0);
    cr_expect(host[0] == 0x48 && host[1] == 0 && host[2] == 0x401 && host[3] == 0);
    cr_expect_eq(vmcs_read64(VMCS_ENTRY_MSR_LOAD), frame_of_kernel(guest).v);
    cr_expect_eq(vmcs_read64(VMCS_EXIT_MSR_STORE), frame_of_kernel(guest).v);
    cr_expect_eq(vmcs_read64(VMCS_EXIT_MSR_LOAD), frame_of_kernel(host).v);
    cr_expect_eq(vmcs_read64(VMCS_EXIT_MSR_LOAD) % 16, 0);
    speculation_write(&spec_x, 0);
    cr_expect(is_moved(), "for good: the guest has it without exits");
}

// Where the host has nothing set (no enhanced IBRS, or mitigations off), each bit is the guest's
// own.
Test(vmx_speculation, host_without_its_own) {
    host_spec_ctrl = 0;
    speculation_load(&spec_x);
    speculation_write(&spec_x, 0);
    cr_expect_not(is_moved());
    speculation_write(&spec_x, 1);
    cr_expect(is_moved());
    cr_expect_eq(spec_x.spec_host.value, 0);
}

Test(vmx_speculation, another_cpu_may_have_another_value) {
    speculation_write(&spec_x, 1);
    host_spec_ctrl = 0;
    speculation_load(&spec_x);
    cr_expect(is_moved() && spec_x.spec_host.value == 0 && spec_x.spec_guest.value == 1);
}

Test(vmx_speculation, no_register_is_not_read) {
    spec_x.spec_allowed = 0;
    host_spec_ctrl = 0x77;
    speculation_load(&spec_x);
    cr_expect_eq(spec_x.spec_host.value, 0x401, "of before");
}
