// SPDX-License-Identifier: Apache-2.0
// kernel/vlapic*.c against a clock, a timer and a pending word of paper. The modules are compiled
// in here under other names, so that nothing else need be linked.
#include <criterion/criterion.h>

#define tsc_hz        vlapic_test_tsc_hz
#define timer_arm     vlapic_test_timer_arm
#define timer_cancel  vlapic_test_timer_cancel
#define vcpu_post     vlapic_test_post
#define vcpu_notify   vlapic_test_notify
#define vcpu_post_nmi vlapic_test_post_nmi
#define vm_find_cpuid vlapic_test_find_cpuid
#define vmtime_ratio  vlapic_test_vmtime_ratio
#define vmtime_host   vlapic_test_vmtime_host
#include "kernel/vcpu.h"
#include "kernel/vm.h"

static uint64_t vlapic_now, vlapic_haste; // what passes between two looks at the clock
#define x86_rdtsc() (vlapic_now += vlapic_haste)
#include "kernel/vlapic.c"
#include "kernel/vlapic_ipi.c"
#include "kernel/vlapic_register.c"
#include "kernel/vlapic_state.c"
#include "kernel/vlapic_timer.c"
#include "kernel/vmtime.c"

#define VCPUS 4u
#define HZ    1000000000ULL

uint64_t tsc_hz = HZ;

static struct vm vlapic_vm;
static struct vcpu vlapic_vcpu[VCPUS];
static struct vcpu_page vlapic_page[VCPUS];
static _Alignas(PAGE_SIZE) uint8_t vlapic_registers[VCPUS][PAGE_SIZE];
static struct abi_cpuid vlapic_leaf1;

void timer_arm(struct timer *timer, uint64_t deadline) {
    static struct cpu cpu;
    timer->node.key = deadline;
    timer->cpu = &cpu;
}
void timer_cancel(struct timer *timer) {
    timer->cpu = NULL;
}
void vcpu_post(struct vcpu *vcpu, uint32_t bits) {
    vcpu->pending |= bits;
}
static unsigned notified;
void vcpu_post_nmi(struct vcpu *vcpu) {
    vcpu->pending |= VCPU_PENDING_NMI;
}
void vcpu_notify(struct vcpu *vcpu) {
    cr_expect(vlapic_is_notified(&vcpu->vlapic));
    notified++;
}
const struct abi_cpuid *vm_find_cpuid(const struct vm *vm, uint32_t leaf, uint32_t subleaf) {
    (void)vm, (void)subleaf;
    return leaf == 1 ? &vlapic_leaf1 : NULL;
}

static void advance_to(uint64_t tsc) {
    vlapic_now = tsc;
    for (unsigned i = 0; i < VCPUS; i++) {
        struct timer *timer = &vlapic_vcpu[i].vlapic.timer;
        while (timer->cpu && timer->node.key <= tsc) {
            timer->cpu = NULL;
            timer->run(timer);
        }
    }
}

static void vlapic_set_up(void) {
    memset(&vlapic_vm, 0, sizeof vlapic_vm);
    memset(vlapic_vcpu, 0, sizeof vlapic_vcpu);
    vlapic_now = 1000;
    vlapic_leaf1.ecx = CPUID_1_ECX_X2APIC;
    for (unsigned i = 0; i < VCPUS; i++) {
        vlapic_vcpu[i].vm = &vlapic_vm;
        vlapic_vcpu[i].index = i;
        vlapic_vcpu[i].page = &vlapic_page[i];
        vlapic_vcpu[i].vlapic.page = vlapic_registers[i];
        vlapic_vm.vcpus[i] = &vlapic_vcpu[i];
        vlapic_init(&vlapic_vcpu[i]);
        vlapic_vcpu[i].pending = 0;
    }
}

static void enable(struct vcpu *vcpu) {
    vlapic_mmio_write(vcpu, VLAPIC_SVR, SVR_ENABLED | 0xff);
    vcpu->pending = 0;
}

static void enable_x2apic(struct vcpu *vcpu) {
    cr_assert(vlapic_msr_write(vcpu, MSR_APIC_BASE, vcpu->vlapic.base_msr | APIC_BASE_X2APIC));
    cr_assert(vlapic_msr_write(vcpu, MSR_X2APIC_FIRST + 0xf, SVR_ENABLED | 0xff));
    vcpu->pending = 0;
}

static bool x2_write(struct vcpu *vcpu, uint32_t offset, uint64_t value) {
    return vlapic_msr_write(vcpu, MSR_X2APIC_FIRST + offset / 16, value);
}

static uint64_t x2_read(struct vcpu *vcpu, uint32_t offset) {
    uint64_t value = 0;
    cr_assert(vlapic_msr_read(vcpu, MSR_X2APIC_FIRST + offset / 16, &value), "offset %x", offset);
    return value;
}

static bool has_irr(struct vcpu *vcpu, uint8_t vector) {
    vlapic_take_requests(vcpu);
    return has_vector(vcpu, VLAPIC_IRR, vector);
}

// What vcpu_run does with a deliverable interrupt.
static int take(struct vcpu *vcpu) {
    vlapic_take_requests(vcpu);
    int vector = vlapic_pending(vcpu);
    if (vector >= 0)
        vlapic_acknowledge(vcpu, (uint8_t)vector);
    return vector;
}

TestSuite(vlapic, .init = vlapic_set_up);

Test(vlapic, power_on_state) {
    struct vcpu *v = &vlapic_vcpu[1];
    uint64_t base = 0;
    cr_expect(vlapic_msr_read(v, MSR_APIC_BASE, &base));
    cr_expect_eq(base, VLAPIC_BASE | APIC_BASE_ENABLE);
    cr_expect(vlapic_msr_read(&vlapic_vcpu[0], MSR_APIC_BASE, &base));
    cr_expect_eq(base, VLAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_BSP);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_ID), 1u << 24);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_VERSION), 0x50014);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_SVR), 0xff);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_DFR), 0xffffffff);
    for (uint32_t lvt = VLAPIC_LVT_TIMER; lvt <= VLAPIC_LVT_ERROR; lvt += 16)
        cr_expect_eq(vlapic_mmio_read(v, lvt), LVT_MASKED);
}

Test(vlapic, register_table_is_sorted_without_overlap) {
    for (size_t i = 0; i < ARRAY_COUNT(register_rules); i++) {
        const struct register_rule *rule = &register_rules[i];
        cr_expect_leq(rule->first, rule->last);
        cr_expect_eq(rule->first % 16, 0);
        cr_expect_eq(rule->last % 16, 0);
        cr_expect_lt(rule->last, VLAPIC_REGISTER_COUNT * 16);
        cr_expect_eq(rule->writable & rule->ignored, 0);
        if (i > 0)
            cr_expect_gt(rule->first, register_rules[i - 1].last);
    }
}

Test(vlapic, interrupts_go_by_priority) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    cr_expect_eq(vlapic_pending(v), -1);
    vlapic_accept(v, 0x41, false);
    vlapic_accept(v, 0x82, false);
    vlapic_accept(v, 0x85, false);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT);
    cr_expect_eq(take(v), 0x85);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_PPR), 0x80);
    cr_expect_eq(take(v), -1, "same class waits");
    vlapic_accept(v, 0x90, false);
    cr_expect_eq(take(v), 0x90, "a higher class nests");
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect_eq(highest_vector(v, VLAPIC_ISR), 0x85);
    v->pending = 0;
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT, "EOI makes the next one seen");
    cr_expect_eq(take(v), 0x82);
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect_eq(take(v), 0x41);
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect_eq(highest_vector(v, VLAPIC_ISR), -1);
    v->pending = 0;
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect_eq(v->pending, 0, "an EOI too many does nothing");
}

Test(vlapic, task_priority_holds_back) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_set_cr8(v, 8);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TPR), 0x80);
    vlapic_accept(v, 0x8f, false);
    cr_expect_eq(take(v), -1);
    v->pending = 0;
    vlapic_mmio_write(v, VLAPIC_TPR, 0x7f);
    cr_expect_eq(vlapic_get_cr8(v), 7);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT);
    cr_expect_eq(vlapic_pending(v), 0x8f);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_PPR), 0x7f);
}

Test(vlapic, software_disabled_takes_nothing_and_masks) {
    struct vcpu *v = &vlapic_vcpu[0];
    vlapic_accept(v, 0x50, false);
    cr_expect_not(has_irr(v, 0x50));
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_LINT1, 0x400);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_LVT_LINT1), 0x400);
    vlapic_mmio_write(v, VLAPIC_SVR, 0xff);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_LVT_LINT1), 0x400 | LVT_MASKED);
    vlapic_mmio_write(v, VLAPIC_LVT_LINT1, 0x400);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_LVT_LINT1), 0x400 | LVT_MASKED, "cannot be unmasked");
}

Test(vlapic, level_interrupts_tell_their_end) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_accept(v, 0x60, true);
    cr_expect_eq(take(v), 0x60);
    v->pending = 0;
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect(v->pending & VCPU_PENDING_EOI);
    cr_expect_eq(v->vlapic.eoi_vector, 0x60);
    vlapic_accept(v, 0x60, false); // now as an edge
    cr_expect_eq(take(v), 0x60);
    v->pending = 0;
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect_not(v->pending & VCPU_PENDING_EOI);
}

Test(vlapic, illegal_vectors_and_registers_set_esr) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_ERROR, 0xfe);
    vlapic_accept(v, 5, false);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_ESR), 0, "seen after a write only");
    cr_expect_eq(take(v), 0xfe);
    vlapic_mmio_write(v, VLAPIC_ESR, 0);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_ESR), ESR_RECEIVE_VECTOR);
    cr_expect_eq(vlapic_mmio_read(v, 0x40), 0);
    vlapic_mmio_write(v, VLAPIC_ISR, 1);
    vlapic_mmio_write(v, VLAPIC_ICR, 0x40000 | 3); // to itself, vector 3
    vlapic_mmio_write(v, VLAPIC_ESR, 0);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_ESR), ESR_ILLEGAL_REGISTER | ESR_SEND_VECTOR);
    vlapic_mmio_write(v, VLAPIC_ESR, 0);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_ESR), 0);
}

Test(vlapic, error_entry_with_illegal_vector_ends) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_ERROR, 0x05);
    vlapic_accept(v, 5, false);
    cr_expect_eq(vlapic_pending(v), -1);
}

Test(vlapic, extint_comes_through_lint0) {
    struct vcpu *v = &vlapic_vcpu[0];
    cr_expect_not(vlapic_takes_extint(v));
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_LINT0, LVT_MODE_EXTINT);
    cr_expect(v->pending & VCPU_PENDING_EXTINT);
    cr_expect(vlapic_takes_extint(v));
    vlapic_mmio_write(v, VLAPIC_LVT_LINT0, 0x30);
    cr_expect_not(vlapic_takes_extint(v));
    cr_assert(vlapic_msr_write(v, MSR_APIC_BASE, VLAPIC_BASE));
    cr_expect(vlapic_takes_extint(v), "no APIC: the pin is INTR");
}

// ---- modes --------------------------------------------------------------------------------------

Test(vlapic, base_transitions) {
    struct vcpu *v = &vlapic_vcpu[0];
    const uint64_t on = VLAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_BSP;
    cr_expect_not(vlapic_msr_write(v, MSR_APIC_BASE, VLAPIC_BASE | APIC_BASE_X2APIC), "EXTD alone");
    cr_expect_not(vlapic_msr_write(v, MSR_APIC_BASE, on + 0x1000), "cannot be moved");
    cr_expect_not(vlapic_msr_write(v, MSR_APIC_BASE, on | 1), "reserved");
    cr_expect(vlapic_msr_write(v, MSR_APIC_BASE, on | APIC_BASE_X2APIC));
    cr_expect_not(vlapic_msr_write(v, MSR_APIC_BASE, on), "x2APIC to xAPIC");
    cr_expect(vlapic_msr_write(v, MSR_APIC_BASE, VLAPIC_BASE | APIC_BASE_BSP));
    cr_expect_not(vlapic_msr_write(v, MSR_APIC_BASE, on | APIC_BASE_X2APIC), "off to x2APIC");
    cr_expect(vlapic_msr_write(v, MSR_APIC_BASE, on));
}

Test(vlapic, no_x2apic_without_its_cpuid_bit) {
    struct vcpu *v = &vlapic_vcpu[0];
    vlapic_leaf1.ecx = 0;
    cr_expect_not(vlapic_msr_write(v, MSR_APIC_BASE, v->vlapic.base_msr | APIC_BASE_X2APIC));
    uint64_t value;
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + 2, &value));
}

Test(vlapic, x2apic_faults_on_what_is_reserved) {
    struct vcpu *v = &vlapic_vcpu[3];
    enable_x2apic(v);
    uint64_t value;
    cr_expect_eq(x2_read(v, VLAPIC_ID), 3);
    cr_expect_eq(x2_read(v, VLAPIC_LDR), 8);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_ID), UINT32_MAX, "no page in x2APIC mode");
    cr_expect_not(x2_write(v, VLAPIC_ID, 0));
    cr_expect_not(x2_write(v, VLAPIC_LDR, 0));
    cr_expect_not(x2_write(v, VLAPIC_DFR, 0));
    cr_expect_not(x2_write(v, VLAPIC_EOI, 1));
    cr_expect_not(x2_write(v, VLAPIC_ESR, 1));
    cr_expect_not(x2_write(v, VLAPIC_TPR, 0x100));
    cr_expect_not(x2_write(v, VLAPIC_ICR, 0x2000));
    cr_expect_not(x2_write(v, VLAPIC_LVT_TIMER, BIT(13)));
    cr_expect_not(x2_write(v, 0x40, 0));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + VLAPIC_EOI / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + VLAPIC_DFR / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + VLAPIC_ICR2 / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + VLAPIC_SELF_IPI / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_LAST, &value));
    cr_expect(x2_write(v, VLAPIC_LVT_LINT0, LVT_MASKED | LVT_DELIVERY_STATUS));
    cr_expect_eq(x2_read(v, VLAPIC_LVT_LINT0), LVT_MASKED);
}

Test(vlapic, init_keeps_mode_and_id) {
    struct vcpu *v = &vlapic_vcpu[2];
    enable_x2apic(v);
    vlapic_accept(v, 0x77, false);
    vlapic_reset(v);
    cr_expect_not(has_irr(v, 0x77));
    cr_expect_eq(x2_read(v, VLAPIC_ID), 2);
    cr_expect_eq(x2_read(v, VLAPIC_SVR), 0xff);
}

// ---- destinations -------------------------------------------------------------------------------

static unsigned who_has(uint8_t vector) {
    unsigned mask = 0;
    for (unsigned i = 0; i < VCPUS; i++)
        mask |= has_irr(&vlapic_vcpu[i], vector) ? 1u << i : 0;
    return mask;
}

static void enable_all(bool is_x2apic) {
    for (unsigned i = 0; i < VCPUS; i++) {
        if (is_x2apic)
            enable_x2apic(&vlapic_vcpu[i]);
        else
            enable(&vlapic_vcpu[i]);
    }
}

static void xapic_ipi(struct vcpu *v, uint32_t destination, uint32_t low) {
    vlapic_mmio_write(v, VLAPIC_ICR2, destination << 24);
    vlapic_mmio_write(v, VLAPIC_ICR, low);
}

Test(vlapic, xapic_ipi_destinations) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable_all(false);
    for (unsigned i = 0; i < VCPUS; i++)
        vlapic_mmio_write(&vlapic_vcpu[i], VLAPIC_LDR, 0x01000000u << i);
    xapic_ipi(v, 2, 0x30);
    cr_expect_eq(who_has(0x30), 4);
    xapic_ipi(v, 0xff, 0x31);
    cr_expect_eq(who_has(0x31), 15, "physical broadcast");
    xapic_ipi(v, 0x0a, ICR_LOGICAL | 0x32);
    cr_expect_eq(who_has(0x32), 10, "flat");
    xapic_ipi(v, 0, 0x40000 | 0x33);
    cr_expect_eq(who_has(0x33), 1, "self");
    xapic_ipi(v, 0, 0x80000 | 0x34);
    cr_expect_eq(who_has(0x34), 15, "all");
    xapic_ipi(v, 0, 0xc0000 | 0x35);
    cr_expect_eq(who_has(0x35), 14, "others");
    xapic_ipi(v, 9, 0x36);
    cr_expect_eq(who_has(0x36), 0, "nobody");
    for (unsigned i = 0; i < VCPUS; i++) {
        vlapic_mmio_write(&vlapic_vcpu[i], VLAPIC_DFR, 0);
        vlapic_mmio_write(&vlapic_vcpu[i], VLAPIC_LDR, (i / 2) << 28 | 0x01000000u << (i % 2));
    }
    xapic_ipi(v, 0x13, ICR_LOGICAL | 0x37);
    cr_expect_eq(who_has(0x37), 12, "cluster 1");
    xapic_ipi(v, 0xf1, ICR_LOGICAL | 0x38);
    cr_expect_eq(who_has(0x38), 5, "all clusters");
}

Test(vlapic, x2apic_ipi_destinations) {
    struct vcpu *v = &vlapic_vcpu[1];
    enable_all(true);
    cr_expect(x2_write(v, VLAPIC_ICR, 3ULL << 32 | 0x40));
    cr_expect_eq(who_has(0x40), 8);
    cr_expect_eq(x2_read(v, VLAPIC_ICR), 3ULL << 32 | 0x40);
    cr_expect(x2_write(v, VLAPIC_ICR, 0x5ULL << 32 | ICR_LOGICAL | 0x41));
    cr_expect_eq(who_has(0x41), 5);
    cr_expect(x2_write(v, VLAPIC_ICR, 0x10005ULL << 32 | ICR_LOGICAL | 0x42));
    cr_expect_eq(who_has(0x42), 0, "another cluster");
    cr_expect(x2_write(v, VLAPIC_ICR, 0xffffffffULL << 32 | 0x43));
    cr_expect_eq(who_has(0x43), 15);
    cr_expect(x2_write(v, VLAPIC_ICR, 0xffULL << 32 | 0x44));
    cr_expect_eq(who_has(0x44), 0, "0xff is an ID like others here");
    cr_expect(x2_write(v, VLAPIC_SELF_IPI, 0x45));
    cr_expect_eq(who_has(0x45), 2);
    cr_expect_not(x2_write(v, VLAPIC_SELF_IPI, 0x145));
}

// One past the last vCPU there can be is nobody's ID: what lies behind the VM's table is no vCPU.
Test(vlapic, destination_beyond_the_last_vcpu_is_nobody) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable_all(false);
    vlapic_vm.vcpus[VM_VCPUS_MAX - 1] = &vlapic_vcpu[3];
    // So that who looks there would find one.
    const struct vcpu *lure = &vlapic_vcpu[2];
    memcpy((uint8_t *)&vlapic_vm + offsetof(struct vm, vcpus) + sizeof(vlapic_vm.vcpus), &lure,
           sizeof(lure));
    const uint64_t message = 0xfee00000;
    xapic_ipi(v, VM_VCPUS_MAX - 1, 0x60);
    cr_expect_eq(who_has(0x60), 8);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, message | (VM_VCPUS_MAX - 1) << 12, 0x61), 1);
    xapic_ipi(v, VM_VCPUS_MAX, 0x62);
    cr_expect_eq(who_has(0x62), 0);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, message | VM_VCPUS_MAX << 12, 0x63), 0);
    enable_all(true);
    cr_expect(x2_write(v, VLAPIC_ICR, (uint64_t)VM_VCPUS_MAX << 32 | 0x64));
    cr_expect(x2_write(v, VLAPIC_ICR, (uint64_t)VM_VCPUS_MAX << 32 | 0x400));
    for (unsigned i = 0; i < VCPUS; i++)
        cr_expect_eq(vlapic_vcpu[i].pending & VCPU_PENDING_NMI, 0);
    cr_expect_eq(who_has(0x64), 0);
}

Test(vlapic, nmi_init_and_sipi_are_posted) {
    struct vcpu *v = &vlapic_vcpu[0], *to = &vlapic_vcpu[1];
    enable(v);
    xapic_ipi(v, 1, 0x400);
    cr_expect_eq(to->pending, VCPU_PENDING_NMI);
    to->pending = 0;
    xapic_ipi(v, 1, 0xc500); // INIT, level, assert
    cr_expect_eq(to->pending, VCPU_PENDING_INIT, "even when disabled by software");
    to->pending = 0;
    xapic_ipi(v, 1, 0x8500);
    cr_expect_eq(to->pending, 0, "de-assert");
    xapic_ipi(v, 1, 0x69a);
    cr_expect_eq(to->pending, VCPU_PENDING_SIPI);
    cr_expect_eq(to->sipi_vector, 0x9a);
    xapic_ipi(v, 1, 0xc500);
    cr_expect_eq(to->pending, VCPU_PENDING_INIT, "the SIPI before it starts nothing after it");
    xapic_ipi(v, 1, 0x69b);
    cr_expect_eq(to->pending, VCPU_PENDING_INIT | VCPU_PENDING_SIPI);
}

Test(vlapic, lowest_priority_picks_one) {
    enable_all(false);
    for (unsigned i = 0; i < VCPUS; i++) {
        vlapic_mmio_write(&vlapic_vcpu[i], VLAPIC_LDR, 0x01000000u << i);
        vlapic_mmio_write(&vlapic_vcpu[i], VLAPIC_TPR, i == 2 ? 0x10 : 0x40);
    }
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee0f00c, 0x151), 1);
    cr_expect_eq(who_has(0x51), 4);
    vlapic_mmio_write(&vlapic_vcpu[2], VLAPIC_SVR, 0xff); // off, so nobody's choice
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee0f00c, 0x152), 1);
    cr_expect_eq(who_has(0x52), 1);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee0400c, 0x153), 0);
}

Test(vlapic, messages_reach_their_destination) {
    enable_all(false);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee03000, 0x52), 1);
    cr_expect_eq(who_has(0x52), 8);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfeeff000, 0xc053), 4);
    cr_expect(has_irr(&vlapic_vcpu[2], 0x53) && has_vector(&vlapic_vcpu[2], VLAPIC_TMR, 0x53));
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee09000, 0x54), 0, "nobody");
    vlapic_vcpu[1].pending = 0;
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee01000, 0x400), 1);
    cr_expect_eq(vlapic_vcpu[1].pending, VCPU_PENDING_NMI);
}

// ---- timer --------------------------------------------------------------------------------------

Test(vlapic, one_shot_counts_down_and_fires_once) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, 0x70);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0x3); // by 16
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 1000);
    advance_to(1000 + 16 * 400);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TIMER_CURRENT), 600);
    cr_expect_not(has_irr(v, 0x70));
    advance_to(1000 + 16 * 1000);
    cr_expect(has_irr(v, 0x70));
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TIMER_CURRENT), 0);
    cr_expect_null(v->vlapic.timer.cpu);
    cr_expect_eq(take(v), 0x70);
    advance_to(vlapic_now + 1000000);
    cr_expect_not(has_irr(v, 0x70));
}

// SDM 3A 11.5.4: what has counted to 0 stays there until it is programmed again.
Test(vlapic, expired_one_shot_stays_over) {
    struct vcpu *v = &vlapic_vcpu[0];
    struct vcpu_apic state;
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, 0x70);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0x3);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 1000);
    advance_to(1000 + 16 * 1000);
    cr_expect_eq(take(v), 0x70);
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x70);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TIMER_CURRENT), 0);
    cr_expect_null(v->vlapic.timer.cpu);
    vlapic_save(v, &state);
    cr_assert_eq(vlapic_restore(v, &state), ABI_OK);
    cr_expect_null(v->vlapic.timer.cpu, "nor by a restore");
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    cr_expect_null(v->vlapic.timer.cpu, "nor by the divider");
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 1000000);
    cr_expect_not_null(v->vlapic.timer.cpu);
}

// One that runs never shows 0, which would be lost by saving it.
Test(vlapic, last_fraction_of_a_tick_counts) {
    struct vcpu *v = &vlapic_vcpu[0];
    struct vcpu_apic state;
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x70);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0x3);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 100000);
    advance_to(1000 + 1600000 - 1);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TIMER_CURRENT), 1);
    vlapic_save(v, &state);
    cr_assert_eq(vlapic_restore(v, &state), ABI_OK);
    cr_expect_not_null(v->vlapic.timer.cpu);
}

Test(vlapic, divider_codes) {
    struct vcpu *v = &vlapic_vcpu[0];
    const uint32_t code[] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};
    enable(v);
    for (unsigned shift = 0; shift < ARRAY_COUNT(code); shift++) {
        vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, code[shift]);
        cr_expect_eq(divide_shift(v), shift);
    }
}

// vCPU 0, whose timer comes each million ticks, as vector 0x71, from 1000 on.
static struct vcpu *start_periodic(void) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 1000000);
    return v;
}

Test(vlapic, periodic_keeps_its_beat) {
    struct vcpu *v = start_periodic();
    for (unsigned i = 1; i <= 5; i++) {
        advance_to(1000 + i * 1000000ULL + 500);
        cr_expect_eq(take(v), 0x71, "period %u", i);
        vlapic_mmio_write(v, VLAPIC_EOI, 0);
        cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TIMER_CURRENT), 1000000 - 500);
    }
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_MASKED | LVT_TIMER_PERIODIC | 0x71);
    cr_expect_null(v->vlapic.timer.cpu, "masked: no host timer");
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + 6000000, "still on the beat");
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 0);
    cr_expect_null(v->vlapic.timer.cpu);
}

Test(vlapic, periodic_rests_while_its_vcpu_does_not_run) {
    struct vcpu *v = start_periodic();
    advance_to(1000 + 1000000 + 500);
    cr_expect_not_null(v->vlapic.timer.cpu, "one waits to be taken");
    advance_to(1000 + 2000000 + 500);
    cr_expect_null(v->vlapic.timer.cpu, "nobody took it");
    v->is_running = 1;
    vlapic_timer_wake(v);
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + 3000000, "still on the beat");
    advance_to(1000 + 3000000 + 500);
    cr_expect_not_null(v->vlapic.timer.cpu, "who runs may be busy with interrupts off");
    cr_expect_eq(take(v), 0x71);
    v->is_running = 0;
}

Test(vlapic, periods_have_a_lower_bound) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 1);
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + HZ / PERIODS_PER_SECOND_MAX);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, 0x71);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 1);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    cr_expect_eq(v->vlapic.timer_period, HZ / PERIODS_PER_SECOND_MAX, "nor by a change of mode");
}

Test(vlapic, tsc_deadline_is_the_guests_clock) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    v->tsc_offset = (uint64_t)-500; // the guest is 500 behind
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000));
    cr_expect_null(v->vlapic.timer.cpu, "ignored in another mode");
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000));
    cr_expect_eq(v->vlapic.timer.node.key, 5500);
    uint64_t value = 1;
    cr_expect(vlapic_msr_read(v, MSR_TSC_DEADLINE, &value));
    cr_expect_eq(value, 5000);
    vlapic_move_tsc(v, 1000);
    cr_expect_eq(v->tsc_offset, 500);
    cr_expect_eq(v->vlapic.timer.node.key, 4500);
    advance_to(4500);
    cr_expect(has_irr(v, 0x72));
    vlapic_move_tsc(v, (uint64_t)-3000);
    cr_expect_null(v->vlapic.timer.cpu,
                   "what has fired is gone, though the guest's clock went back");
    cr_expect(vlapic_msr_read(v, MSR_TSC_DEADLINE, &value));
    cr_expect_eq(value, 0);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 10));
    cr_expect_eq(v->vlapic.timer.node.key, vlapic_now, "a past one fires at once");
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 0));
    cr_expect_null(v->vlapic.timer.cpu);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 90000));
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, 0x72);
    cr_expect_null(v->vlapic.timer.cpu, "leaving the mode disarms");
}

// A guest whose TSC counts 2.5 times as fast as the host's.
Test(vlapic, timers_count_the_vms_clock) {
    struct vcpu *v = &vlapic_vcpu[0];
    vlapic_vm.tsc_ratio = BIT(32) / 2 * 5;
    enable(v);
    v->tsc_offset = (uint64_t)-2500; // its TSC is 0
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000));
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + 2000);
    advance_to(3000);
    cr_expect(has_irr(v, 0x72));

    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 250003); // 100,001.2 host ticks
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TIMER_CURRENT), 250003);
    uint64_t begin = vlapic_now;
    advance_to(begin + 40000);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_TIMER_CURRENT), 250003 - 100000);
    for (uint64_t i = 1; i <= 1000; i++) {
        uint64_t due = begin + (i * 250003 * 2 + 4) / 5;
        cr_assert(v->vlapic.timer.node.key == due, "period %lu: no drift", i);
        take(v);
        vlapic_mmio_write(v, VLAPIC_EOI, 0);
        advance_to(v->vlapic.timer.node.key);
        cr_assert(has_irr(v, 0x71), "period %lu", i);
    }
}

// The guest may write a register after the counter ran out and before the host's timer interrupt.
Test(vlapic, expiry_is_not_lost_to_a_write) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, 0x70);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 1000);
    vlapic_now += 1001;
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, 0x71);
    cr_expect(has_irr(v, 0x70));
    cr_expect_null(v->vlapic.timer.cpu);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, vlapic_now + 100));
    vlapic_now += 101;
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x73);
    cr_expect(has_irr(v, 0x72));
    cr_expect_null(v->vlapic.timer.cpu, "fires once");
    cr_expect_not(has_irr(v, 0x73));
}

// The same at every moment around the expiry, of a VM with a rate of its own: the host's timer and
// the VM's clock agree on what is over.
Test(vlapic, expiry_of_a_scaled_timer_is_not_lost_to_a_write) {
    static const uint64_t ratios[] = {BIT(24), BIT(32) / 10, BIT(32) / 3, BIT(31), BIT(32) / 2 * 5};
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(ratios) * 600; i++) {
        bool is_deadline = i % 2 != 0;
        uint32_t mode = is_deadline ? LVT_TIMER_DEADLINE : 0;
        vlapic_vm.tsc_ratio = ratios[i / 2 % ARRAY_COUNT(ratios)];
        vlapic_mmio_write(v, VLAPIC_LVT_TIMER, mode | 0x72);
        vlapic_msr_write(v, MSR_TSC_DEADLINE,
                         vmtime_at(&vlapic_vm, vlapic_now) + v->tsc_offset + 7);
        vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 7);
        cr_assert_not_null(v->vlapic.timer.cpu);
        vlapic_now = v->vlapic.timer.node.key - MIN(i / 2 / ARRAY_COUNT(ratios) % 300, 5u) + 2;
        if (is_deadline && i % 4 == 1)
            vlapic_move_tsc(v, 0);
        else
            vlapic_mmio_write(v, VLAPIC_LVT_TIMER, mode | 0x72);
        cr_assert(has_irr(v, 0x72) != (v->vlapic.timer.cpu != NULL), "%u: lost, or doubled", i);
        take(v);
        vlapic_mmio_write(v, VLAPIC_EOI, 0);
        vlapic_timer_stop(v);
        vlapic_now += 1 + i % 97;
    }
}

Test(vlapic, deadline_that_nobody_lives_to_see_does_not_fire) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    for (unsigned i = 0; i < 2; i++) {
        cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, UINT64_MAX));
        cr_expect_gt(v->vlapic.timer.node.key, BIT(60));
        advance_to(vlapic_now + BIT(50));
        cr_expect_not(has_irr(v, 0x72));
        vlapic_vm.tsc_ratio = BIT(24);
    }
}

// ---- state --------------------------------------------------------------------------------------

// Much may pass between two instructions of ours: another emulated CPU's turn, an SMI.
Test(vlapic, a_time_that_is_over_when_it_is_armed_fires) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_haste = 10000;
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, 0x71);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 500);
    cr_expect_not_null(v->vlapic.timer.cpu);
    vlapic_mmio_write(v, VLAPIC_TIMER_INITIAL, 15000);
    vlapic_mmio_write(v, VLAPIC_TIMER_DIVIDE, 0xb);
    cr_expect(v->vlapic.timer.cpu || has_irr(v, 0x71));
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    vlapic_msr_write(v, MSR_TSC_DEADLINE, vlapic_now + 35000);
    vlapic_mmio_write(v, VLAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x73);
    cr_expect_not_null(v->vlapic.timer.cpu, "not yet over when it was looked at");
}

Test(vlapic, state_round_trips) {
    struct vcpu *from = &vlapic_vcpu[1], *to = &vlapic_vcpu[2];
    to->index = 1;
    enable(from);
    vlapic_accept(from, 0x61, true);
    vlapic_accept(from, 0xa2, false);
    cr_expect_eq(take(from), 0xa2);
    vlapic_mmio_write(from, VLAPIC_TPR, 0x20);
    vlapic_mmio_write(from, VLAPIC_LDR, 0x02000000);
    vlapic_mmio_write(from, VLAPIC_LVT_LINT0, LVT_MODE_EXTINT);
    vlapic_mmio_write(from, VLAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(from, VLAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(from, VLAPIC_TIMER_INITIAL, 1000000);
    advance_to(vlapic_now + 400000);
    vlapic_raise_error(from, ESR_RECEIVE_VECTOR);
    struct vcpu_apic state, again;
    vlapic_save(from, &state);
    cr_expect_eq(state.esr_pending, ESR_RECEIVE_VECTOR);
    cr_expect_eq(state.timer_remaining, 600000);
    cr_assert_eq(vlapic_restore(to, &state), ABI_OK);
    vlapic_save(to, &again);
    cr_expect_eq(memcmp(&state, &again, sizeof state), 0);
    cr_expect_eq(highest_vector(to, VLAPIC_ISR), 0xa2);
    cr_expect_eq(to->vlapic.timer.node.key, vlapic_now + 600000);
    cr_expect(to->pending & VCPU_PENDING_INTERRUPT);
    vlapic_mmio_write(to, VLAPIC_EOI, 0);
    cr_expect_eq(take(to), 0x61);
}

Test(vlapic, impossible_state_is_refused) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    struct vcpu_apic good, bad;
    vlapic_save(v, &good);
    bad = good;
    bad.version = 2;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    bad = good;
    bad.reg[VLAPIC_IRR / 16] = 1;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    bad = good;
    bad.reg[VLAPIC_TPR / 16] = 0x100;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    bad = good;
    bad.esr_pending = 1;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    memset(&bad, 0xff, sizeof bad);
    bad.version = 1;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    cr_expect_eq(vlapic_restore(v, &good), ABI_OK);
}

Test(vlapic, msrs_restore_without_transitions) {
    struct vcpu *v = &vlapic_vcpu[0];
    const uint64_t wide = VLAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    vlapic_restore_msrs(v, wide, 0);
    cr_expect_eq(x2_read(v, VLAPIC_ID), 0);
    cr_expect_eq(v->vlapic.base_msr, wide | APIC_BASE_BSP, "who boots is fixed");
    cr_assert(vlapic_is_base_valid(v, VLAPIC_BASE | APIC_BASE_ENABLE));
    vlapic_restore_msrs(v, VLAPIC_BASE | APIC_BASE_ENABLE, 0);
    cr_expect_eq(vlapic_mmio_read(v, VLAPIC_ID), 0, "back from x2APIC, as no guest could");
    cr_expect_not(vlapic_is_base_valid(v, VLAPIC_BASE | APIC_BASE_X2APIC));
    cr_expect_not(vlapic_is_base_valid(v, 0));
}

// ---- with the processor's help ------------------------------------------------------------------

// What the processor does with VECTOR_POSTED: SDM 3C 30.6 "Posted-Interrupt Processing".
static void process_posted(struct vcpu *vcpu) {
    struct vlapic_posted *posted = &vcpu->vlapic.posted;
    posted->control &= ~VLAPIC_POSTED_OUTSTANDING;
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t offset = VLAPIC_IRR + 16 * i;
        uint32_t bits = (uint32_t)(posted->requests[i / 2] >> (i % 2 * 32));
        vlapic_set(vcpu, offset, vlapic_get(vcpu, offset) | bits);
    }
    memset(posted->requests, 0, sizeof posted->requests);
}

Test(vlapic, requests_wait_for_the_owner) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_accept(v, 0x31, false);
    vlapic_accept(v, 0xf2, true);
    cr_expect_not(has_vector(v, VLAPIC_IRR, 0x31));
    cr_expect_eq(v->vlapic.posted.requests[0], BIT(0x31));
    cr_expect_eq(v->vlapic.levels[3], BIT(0xf2 - 192));
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT);
    vlapic_take_requests(v);
    cr_expect(has_vector(v, VLAPIC_IRR, 0x31) && has_vector(v, VLAPIC_IRR, 0xf2));
    cr_expect(!has_vector(v, VLAPIC_TMR, 0x31) && has_vector(v, VLAPIC_TMR, 0xf2));
    cr_expect_eq(v->vlapic.posted.requests[0] | v->vlapic.levels[3], 0);
}

Test(vlapic, reset_drops_requests) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_accept(v, 0x31, false);
    vlapic_accept(v, 0x32, true);
    vlapic_reset(v);
    enable(v);
    cr_expect_eq(take(v), -1);
    cr_expect_not(has_vector(v, VLAPIC_TMR, 0x32));
}

Test(vlapic, edges_are_posted_once_until_they_are_taken) {
    struct vcpu *v = &vlapic_vcpu[0];
    v->vlapic.abilities = VLAPIC_DELIVERS | VLAPIC_POSTS;
    enable(v);
    vlapic_accept(v, 0x31, false);
    vlapic_accept(v, 0x32, false);
    cr_expect_eq(notified, 1, "the second is on the way with the first");
    cr_expect_eq(v->pending, 0, "no exit");
    process_posted(v);
    vlapic_accept(v, 0x33, false);
    cr_expect_eq(notified, 2);
    vlapic_take_requests(v);
    cr_expect_not(vlapic_is_notified(&v->vlapic));
    vlapic_accept(v, 0x34, false);
    cr_expect_eq(notified, 3);
    vlapic_take_requests(v);
    cr_expect(has_vector(v, VLAPIC_IRR, 0x31) && has_vector(v, VLAPIC_IRR, 0x32) &&
              has_vector(v, VLAPIC_IRR, 0x33) && has_vector(v, VLAPIC_IRR, 0x34));
}

// The processor must not deliver a level before its EOI is to exit.
Test(vlapic, levels_are_never_posted) {
    struct vcpu *v = &vlapic_vcpu[0];
    uint64_t vectors[4];
    v->vlapic.abilities = VLAPIC_DELIVERS | VLAPIC_POSTS;
    enable(v);
    cr_expect(vlapic_take_tmr(v, vectors));
    cr_expect_eq(vectors[1], 0);
    vlapic_accept(v, 0x55, true);
    cr_expect_eq(notified, 0);
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT);
    process_posted(v);
    cr_expect_not(has_vector(v, VLAPIC_IRR, 0x55));
    vlapic_take_requests(v);
    cr_expect(vlapic_take_tmr(v, vectors));
    cr_expect_eq(vectors[1], BIT(0x55 - 64));
    cr_expect_not(vlapic_take_tmr(v, vectors), "told once");
    v->pending = 0;
    vlapic_accept(v, 0x55, false);
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT, "its EOI need not exit any more");
    vlapic_take_requests(v);
    cr_expect(vlapic_take_tmr(v, vectors));
    cr_expect_eq(vectors[1], 0);
}

Test(vlapic, status_follows_the_page) {
    struct vcpu *v = &vlapic_vcpu[0];
    v->vlapic.abilities = VLAPIC_DELIVERS;
    enable(v);
    cr_expect_eq(vlapic_get_request(v), 0);
    vlapic_accept(v, 0x61, false);
    vlapic_accept(v, 0x91, false);
    cr_expect_eq(take(v), 0x91);
    cr_expect_eq(vlapic_get_request(v), 0x61);
    cr_expect_eq(vlapic_get_service(v), 0x91);
    v->pending = 0;
    vlapic_mmio_write(v, VLAPIC_EOI, 0);
    cr_expect_eq(vlapic_get_service(v), 0);
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT, "the processor is to know");
    v->pending = 0;
    vlapic_mmio_write(v, VLAPIC_SVR, 0xff);
    cr_expect_eq(vlapic_get_request(v), 0, "nothing goes through an APIC that is off");
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT);
}

Test(vlapic, class_held_back_by_tpr_alone) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    cr_expect_eq(vlapic_get_held_class(v), 0);
    vlapic_accept(v, 0x65, false);
    vlapic_take_requests(v);
    cr_expect_eq(vlapic_get_held_class(v), 0, "it can be taken");
    vlapic_set_cr8(v, 6);
    cr_expect_eq(vlapic_get_held_class(v), 6);
    vlapic_set_cr8(v, 9);
    cr_expect_eq(vlapic_get_held_class(v), 6);
    vlapic_set_cr8(v, 0);
    cr_expect_eq(take(v), 0x65);
    vlapic_accept(v, 0x61, false);
    vlapic_take_requests(v);
    vlapic_set_cr8(v, 9);
    cr_expect_eq(vlapic_get_held_class(v), 0, "its EOI comes first");
}

Test(vlapic, registers_are_open_in_x2apic_mode_alone) {
    struct vcpu *v = &vlapic_vcpu[0];
    cr_expect_not(vlapic_is_open(v));
    enable(v);
    cr_expect_not(vlapic_is_open(v));
    enable_x2apic(v);
    cr_expect(vlapic_is_open(v));
    x2_write(v, VLAPIC_SVR, 0xff);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT);
    cr_expect_not(vlapic_is_open(v), "off by software");
    x2_write(v, VLAPIC_SVR, SVR_ENABLED);
    v->pending = 0;
    vlapic_msr_write(v, MSR_APIC_BASE, VLAPIC_BASE);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT);
    cr_expect_not(vlapic_is_open(v), "off");
}

// Whatever a guest writes where, the invariants hold: no vector below 16.
Test(vlapic, random_writes_keep_the_invariants) {
    uint64_t seed = 0x9e3779b97f4a7c15;
    enable_all(false);
    for (unsigned round = 0; round < 200000; round++) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        struct vcpu *v = &vlapic_vcpu[(seed >> 60) % VCPUS];
        uint32_t value = (uint32_t)(seed >> 20);
        uint32_t offset = (uint32_t)(seed >> 52) % 64 * 16;
        if ((seed >> 48) % 16 == 0)
            vlapic_msr_write(v, MSR_APIC_BASE, VLAPIC_BASE | (value & 0xd00));
        else if ((seed >> 48) % 16 < 8)
            vlapic_mmio_write(v, offset, value);
        else
            x2_write(v, offset, (seed >> 24) % 4 ? value : seed);
        if ((seed >> 44) % 4 == 0)
            take(v);
        if ((seed >> 44) % 64 == 1)
            advance_to(vlapic_now + value % 10000000);
        cr_assert_eq(vlapic_get(v, VLAPIC_ISR) & 0xffff, 0, "round %u", round);
        cr_assert_eq(vlapic_get(v, VLAPIC_IRR) & 0xffff, 0, "round %u", round);
        vlapic_mmio_read(v, offset);
    }
}
