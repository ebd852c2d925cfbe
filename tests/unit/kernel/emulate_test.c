// SPDX-License-Identifier: Apache-2.0
// kernel/vcpu_emulate.c: what CPUID says of a vCPU's present state, and the MSRs that the kernel
// keeps for it, with the real local APIC (vlapic_test.c).
#include "tests/unit/kernel/support.h"

#include <criterion/criterion.h>
#include <string.h>

#include "arch/x86.h"

#define vcpu_fail                emul_test_fail
#define vcpu_emulate_cpuid       emul_test_cpuid
#define vcpu_read_msr            emul_test_read_msr
#define vcpu_write_msr           emul_test_write_msr
#define x86_cpuid(leaf, subleaf) cpuid_of_paper(leaf, subleaf)
#include "kernel/vcpu.h"
#include "kernel/vlapic_internal.h"
#include "kernel/vm.h"
static struct cpuid_result cpuid_of_paper(uint32_t leaf, uint32_t subleaf) {
    cr_assert(leaf == 0xd && subleaf == 0);
    return (struct cpuid_result){1, 0x340, 3, 4};
}
#include "kernel/vcpu_emulate.c"

static struct vm *vm;
static struct vcpu vcpu;
static struct vcpu_page page;
static _Alignas(PAGE_SIZE) uint8_t registers[PAGE_SIZE];
static uint64_t cr4;

static uint64_t get_cr4(const struct vcpu *it) {
    cr_assert_eq(it, &vcpu);
    return cr4;
}

static const struct abi_cpuid rows[] = {
    {.leaf = 1,
     .subleaf = ABI_CPUID_ANY_SUBLEAF,
     .ebx = 0xaa00bbcc,
     .ecx = ECX_XSAVE | ECX_OSXSAVE,
     .edx = EDX_APIC | 1},
    {.leaf = 7, .subleaf = 0, .ebx = 7, .ecx = 8},
    {.leaf = 7, .subleaf = 1, .ecx = 9},
    {.leaf = 0xb, .subleaf = ABI_CPUID_ANY_SUBLEAF, .edx = 99},
    {.leaf = 0xd, .subleaf = 0, .ebx = 1},
    {.leaf = 0xd, .subleaf = 1, .ebx = 1},
    {.leaf = 0x80000000, .subleaf = ABI_CPUID_ANY_SUBLEAF, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4},
    {.leaf = 0x80000001, .subleaf = ABI_CPUID_ANY_SUBLEAF, .ecx = EDX_APIC, .edx = EDX_APIC | 1},
};

static void set_up(void) {
    static struct vcpu_backend backend;
    int error;
    host_init_all();
    backend = host_backend;
    backend.get_cr4 = get_cr4;
    vcpu_backend = &backend;
    vm = vm_create(quota_root(), 0, &error);
    cr_assert_not_null(vm);
    struct abi_cpuid *table = quota_alloc_page(quota_root());
    memcpy(table, rows, sizeof(rows));
    cr_assert_eq(vm_set_cpuid(vm, table, ARRAY_COUNT(rows)), ABI_OK);
    vcpu.vm = vm;
    vcpu.index = 5;
    vcpu.page = &page;
    vcpu.vlapic.page = registers;
    vlapic_init(&vcpu);
}

TestSuite(kernel_emulate, .init = set_up);

static struct cpuid_result ask(uint32_t leaf, uint32_t subleaf) {
    page.gpr[0] = leaf | 0xdead00000000ULL;
    page.gpr[1] = subleaf | 0xdead00000000ULL;
    page.gpr[2] = page.gpr[3] = UINT64_MAX;
    cr_assert_eq(vcpu_emulate_cpuid(&vcpu), EXIT_ADVANCE);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_leq(page.gpr[i], UINT32_MAX, "the upper halves are 0");
    return (struct cpuid_result){(uint32_t)page.gpr[0], (uint32_t)page.gpr[3],
                                 (uint32_t)page.gpr[1], (uint32_t)page.gpr[2]};
}

Test(kernel_emulate, leaves_with_state_are_never_constant) {
    const uint32_t with_state[] = {1, 0xb, 0xd, 0x80000001, 0x8000001e},
                   without[] = {0, 2, 4, 6, 7, 8, 0xa, 0xc, 0xe, 0x80000002, 0x40000001};
    for (unsigned i = 0; i < ARRAY_COUNT(with_state); i++)
        cr_expect(vcpu_is_cpuid_dynamic(with_state[i]), "leaf %#x", with_state[i]);
    for (unsigned i = 0; i < ARRAY_COUNT(without); i++)
        cr_expect_not(vcpu_is_cpuid_dynamic(without[i]), "leaf %#x", without[i]);
}

Test(kernel_emulate, cpuid_follows_the_state) {
    struct cpuid_result r = ask(1, 0);
    cr_expect(r.ebx == 0x0500bbcc && r.ecx == ECX_XSAVE && r.edx == (EDX_APIC | 1));
    cr_expect_eq(ask(0x80000001, 0).edx, EDX_APIC | 1);
    cr4 = CR4_OSXSAVE;
    vcpu.vlapic.base_msr &= ~APIC_BASE_ENABLE;
    r = ask(1, 3);
    cr_expect(r.ecx == (ECX_XSAVE | ECX_OSXSAVE) && r.edx == 1, "the APIC is off");
    r = ask(0x80000001, 0);
    cr_expect(r.ecx == EDX_APIC && r.edx == 1, "here, too");
    cr4 = 0;
    cr_expect(ask(7, 0).ecx == 8 && ask(7, 1).ecx == 9);
    cr_expect_eq(ask(0xb, 1).edx, 5);
    cr_expect_eq(ask(0xd, 0).ebx, 0x340);
    cr_expect_eq(ask(0xd, 1).ebx, 1);
    r = ask(0x80000000, 9);
    cr_expect(r.eax == 1 && r.ebx == 2 && r.ecx == 3 && r.edx == 4);
    r = ask(0x12345678, 0);
    cr_expect(r.eax == 0 && r.ebx == 0 && r.ecx == 0 && r.edx == 0, "what has no row is 0");
}

static uint64_t read_msr(uint32_t msr) {
    uint64_t value = 0;
    cr_assert_eq(vcpu_read_msr(&vcpu, msr, &value), MSR_DONE, "MSR %#x", msr);
    return value;
}

Test(kernel_emulate, tsc_is_the_vms_clock_with_its_offset) {
    uint64_t before = read_msr(MSR_TSC);
    vcpu.tsc_offset += 1000;
    vcpu.tsc_adjust = 300;
    cr_expect_eq(read_msr(MSR_TSC), before + 1000);
    cr_expect_eq(read_msr(MSR_TSC_ADJUST), 300);
}

Test(kernel_emulate, msrs_are_known_or_not) {
    uint64_t value;
    cr_expect_eq(read_msr(MSR_APIC_BASE), vcpu.vlapic.base_msr);
    cr_expect_eq(read_msr(MSR_TSC_DEADLINE), 0);
    cr_expect_eq(vcpu_write_msr(&vcpu, MSR_TSC, 0), MSR_UNKNOWN, "the VMM moves it");
    cr_expect_eq(vcpu_write_msr(&vcpu, MSR_TSC_ADJUST, 0), MSR_UNKNOWN);
    cr_expect_eq(vcpu_write_msr(&vcpu, MSR_APIC_BASE, 0x1000), MSR_FAULT, "it cannot be moved");
    cr_expect_eq(vcpu_read_msr(&vcpu, MSR_X2APIC_FIRST, &value), MSR_FAULT, "not in xAPIC mode");
    cr_expect_eq(vcpu_read_msr(&vcpu, MSR_X2APIC_LAST, &value), MSR_FAULT);
    cr_expect_eq(vcpu_read_msr(&vcpu, MSR_X2APIC_FIRST - 1, &value), MSR_UNKNOWN);
    cr_expect_eq(vcpu_read_msr(&vcpu, MSR_X2APIC_LAST + 1, &value), MSR_UNKNOWN);
    cr_expect_eq(vcpu_write_msr(&vcpu, 0x3a, 0), MSR_UNKNOWN);
}

Test(kernel_emulate, end_says_why) {
    vcpu.pending = VCPU_PENDING_NMI;
    cr_expect_eq(vcpu_fail(&vcpu, (enum vcpu_failure)3, 77), EXIT_FAIL);
    cr_expect(page.failure == 3 && page.failure_detail == 77);
    cr_expect_eq(page.failure_words[VCPU_WORD_PENDING], VCPU_PENDING_NMI);
}
