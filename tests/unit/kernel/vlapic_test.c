// SPDX-License-Identifier: Apache-2.0
// kernel/vlapic*.c against a clock, a timer and a pending word of paper. The modules are compiled
// in here under other names, so that nothing else need be linked. Timers and state, and what the
// processor does by itself: vlapic_timer_test.c, vlapic_help_test.c.
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

uint64_t vlapic_now, vlapic_haste;
#define x86_rdtsc() (vlapic_now += vlapic_haste)
#include "boot/boot_maps.c"
#include "kernel/vlapic.c"
#include "kernel/vlapic_ipi.c"
#include "kernel/vlapic_register.c"
#include "kernel/vlapic_state.c"
#include "kernel/vlapic_timer.c"
#include "kernel/vmtime.c"

#include "tests/unit/kernel/vlapic_support.h"

uint64_t tsc_hz = HZ;

struct vm vlapic_vm;
struct vcpu vlapic_vcpu[VCPUS];
static struct vcpu_page vlapic_page[VCPUS];
static _Alignas(PAGE_SIZE) uint8_t vlapic_registers[VCPUS][PAGE_SIZE];
struct abi_cpuid vlapic_leaf1;

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
unsigned vlapic_notified;
void vcpu_post_nmi(struct vcpu *vcpu) {
    vcpu->pending |= VCPU_PENDING_NMI;
}
void vcpu_notify(struct vcpu *vcpu) {
    cr_expect(vlapic_is_notified(&vcpu->vlapic));
    vlapic_notified++;
}
const struct abi_cpuid *vm_find_cpuid(const struct vm *vm, uint32_t leaf, uint32_t subleaf) {
    (void)vm, (void)subleaf;
    return leaf == 1 ? &vlapic_leaf1 : NULL;
}

void vlapic_advance_to(uint64_t tsc) {
    vlapic_now = tsc;
    for (unsigned i = 0; i < VCPUS; i++) {
        struct timer *timer = &vlapic_vcpu[i].vlapic.timer;
        while (timer->cpu && timer->node.key <= tsc) {
            timer->cpu = NULL;
            timer->run(timer);
        }
    }
}

void vlapic_set_up(void) {
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

TestSuite(vlapic, .init = vlapic_set_up);

Test(vlapic, power_on_state) {
    struct vcpu *v = &vlapic_vcpu[1];
    uint64_t base = 0;
    cr_expect(vlapic_msr_read(v, MSR_APIC_BASE, &base));
    cr_expect_eq(base, VLAPIC_BASE | APIC_BASE_ENABLE);
    cr_expect(vlapic_msr_read(&vlapic_vcpu[0], MSR_APIC_BASE, &base));
    cr_expect_eq(base, VLAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_BSP);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_ID), 1u << 24);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_VERSION), 0x50014);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_SVR), 0xff);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_DFR), 0xffffffff);
    for (uint32_t lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt += 16)
        cr_expect_eq(vlapic_mmio_read(v, lvt), LVT_MASKED);
}

Test(vlapic, register_rules_do_not_overlap) {
    for (size_t i = 0; i < ARRAY_COUNT(register_rules); i++) {
        const struct register_rule *rule = &register_rules[i];
        cr_expect_leq(rule->first, rule->last);
        cr_expect_eq(rule->first % 16, 0);
        cr_expect_eq(rule->last % 16, 0);
        cr_expect_lt(rule->last, VLAPIC_REGISTER_COUNT * 16);
        cr_expect_eq(rule->writable & rule->ignored, 0);
        for (size_t j = 0; j < i; j++)
            cr_expect(rule->first > register_rules[j].last || rule->last < register_rules[j].first,
                      "rules %zu and %zu", j, i);
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
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_PPR), 0x80);
    cr_expect_eq(take(v), -1, "same class waits");
    vlapic_accept(v, 0x90, false);
    cr_expect_eq(take(v), 0x90, "a higher class nests");
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect_eq(highest_vector(v, LAPIC_ISR), 0x85);
    v->pending = 0;
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT, "EOI makes the next one seen");
    cr_expect_eq(take(v), 0x82);
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect_eq(take(v), 0x41);
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect_eq(highest_vector(v, LAPIC_ISR), -1);
    v->pending = 0;
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect_eq(v->pending, 0, "an EOI too many does nothing");
}

Test(vlapic, task_priority_holds_back) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_set_cr8(v, 8);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TPR), 0x80);
    vlapic_accept(v, 0x8f, false);
    cr_expect_eq(take(v), -1);
    v->pending = 0;
    vlapic_mmio_write(v, LAPIC_TPR, 0x7f);
    cr_expect_eq(vlapic_get_cr8(v), 7);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT);
    cr_expect_eq(vlapic_pending(v), 0x8f);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_PPR), 0x7f);
}

Test(vlapic, software_disabled_takes_nothing_and_masks) {
    struct vcpu *v = &vlapic_vcpu[0];
    vlapic_accept(v, 0x50, false);
    cr_expect_not(has_irr(v, 0x50));
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_LINT1, 0x400);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_LVT_LINT1), 0x400);
    vlapic_mmio_write(v, LAPIC_SVR, 0xff);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_LVT_LINT1), 0x400 | LVT_MASKED);
    vlapic_mmio_write(v, LAPIC_LVT_LINT1, 0x400);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_LVT_LINT1), 0x400 | LVT_MASKED, "cannot be unmasked");
}

Test(vlapic, level_interrupts_tell_their_end) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_accept(v, 0x60, true);
    cr_expect_eq(take(v), 0x60);
    v->pending = 0;
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect(v->pending & VCPU_PENDING_EOI);
    cr_expect_eq(v->vlapic.eoi_vector, 0x60);
    vlapic_accept(v, 0x60, false); // now as an edge
    cr_expect_eq(take(v), 0x60);
    v->pending = 0;
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect_not(v->pending & VCPU_PENDING_EOI);
}

Test(vlapic, illegal_vectors_and_registers_set_esr) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_ERROR, 0xfe);
    vlapic_accept(v, 5, false);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_ESR), 0, "seen after a write only");
    cr_expect_eq(take(v), 0xfe);
    vlapic_mmio_write(v, LAPIC_ESR, 0);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_ESR), ESR_RECEIVE_VECTOR);
    cr_expect_eq(vlapic_mmio_read(v, 0x40), 0);
    vlapic_mmio_write(v, LAPIC_ISR, 1);
    vlapic_mmio_write(v, LAPIC_ICR, 0x40000 | 3); // to itself, vector 3
    vlapic_mmio_write(v, LAPIC_ESR, 0);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_ESR), ESR_ILLEGAL_REGISTER | ESR_SEND_VECTOR);
    vlapic_mmio_write(v, LAPIC_ESR, 0);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_ESR), 0);
}

Test(vlapic, error_entry_with_illegal_vector_ends) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_ERROR, 0x05);
    vlapic_accept(v, 5, false);
    cr_expect_eq(vlapic_pending(v), -1);
}

Test(vlapic, extint_comes_through_lint0) {
    struct vcpu *v = &vlapic_vcpu[0];
    cr_expect_not(vlapic_takes_extint(v));
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_LINT0, LVT_MODE_EXTINT);
    cr_expect(v->pending & VCPU_PENDING_EXTINT);
    cr_expect(vlapic_takes_extint(v));
    vlapic_mmio_write(v, LAPIC_LVT_LINT0, 0x30);
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

// What boot lets a guest read without an exit stands in the page as the guest is to see it. (PPR
// does where the processor keeps it.)
Test(vlapic, what_does_not_exit_stands_in_the_page) {
    static uint8_t bitmaps[VMX_BITMAPS][BOOT_PAGE];
    const struct vmx_caps caps = {.apic = APIC_REGISTERS};
    struct vcpu *v = &vlapic_vcpu[1];
    unsigned open = 0;
    boot_maps_fill_vmx(bitmaps, &caps, false);
    enable_x2apic(v);
    for (uint32_t offset = 0; offset < PAGE_SIZE; offset += 16)
        vlapic_set(v, offset, 0x5a5a5a5a ^ offset); // the page, whatever the registers are
    for (uint32_t i = 0; i < 0x100; i++) {
        uint32_t msr = MSR_X2APIC_FIRST + i;
        uint64_t value = 0;
        if (bitmaps[VMX_BITMAP_APIC][msr / 8] >> msr % 8 & 1)
            continue;
        open++;
        cr_expect(vlapic_msr_read(v, msr, &value), "MSR %#x", msr);
        if (i * 16 != LAPIC_PPR)
            cr_expect_eq(value, vlapic_get(v, i * 16), "MSR %#x", msr);
    }
    cr_expect_eq(open, 39);
}

Test(vlapic, x2apic_faults_on_what_is_reserved) {
    struct vcpu *v = &vlapic_vcpu[3];
    enable_x2apic(v);
    uint64_t value;
    cr_expect_eq(x2_read(v, LAPIC_ID), 3);
    cr_expect_eq(x2_read(v, LAPIC_LDR), 8);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_ID), UINT32_MAX, "no page in x2APIC mode");
    cr_expect_not(x2_write(v, LAPIC_ID, 0));
    cr_expect_not(x2_write(v, LAPIC_LDR, 0));
    cr_expect_not(x2_write(v, LAPIC_DFR, 0));
    cr_expect_not(x2_write(v, LAPIC_EOI, 1));
    cr_expect_not(x2_write(v, LAPIC_ESR, 1));
    cr_expect_not(x2_write(v, LAPIC_TPR, 0x100));
    cr_expect_not(x2_write(v, LAPIC_ICR, 0x2000));
    cr_expect_not(x2_write(v, LAPIC_LVT_TIMER, BIT(13)));
    cr_expect_not(x2_write(v, 0x40, 0));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + LAPIC_EOI / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + LAPIC_DFR / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + LAPIC_ICR2 / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_FIRST + LAPIC_SELF_IPI / 16, &value));
    cr_expect_not(vlapic_msr_read(v, MSR_X2APIC_LAST, &value));
    cr_expect(x2_write(v, LAPIC_LVT_LINT0, LVT_MASKED | LVT_DELIVERY_STATUS));
    cr_expect_eq(x2_read(v, LAPIC_LVT_LINT0), LVT_MASKED);
}

Test(vlapic, init_keeps_mode_and_id) {
    struct vcpu *v = &vlapic_vcpu[2];
    enable_x2apic(v);
    vlapic_accept(v, 0x77, false);
    vlapic_reset(v);
    cr_expect_not(has_irr(v, 0x77));
    cr_expect_eq(x2_read(v, LAPIC_ID), 2);
    cr_expect_eq(x2_read(v, LAPIC_SVR), 0xff);
}

// ---- destinations -------------------------------------------------------------------------------

static unsigned who_has(uint8_t vector) {
    unsigned mask = 0;
    for (unsigned i = 0; i < VCPUS; i++)
        mask |= has_irr(&vlapic_vcpu[i], vector) ? 1u << i : 0;
    return mask;
}

static void xapic_ipi(struct vcpu *v, uint32_t destination, uint32_t low) {
    vlapic_mmio_write(v, LAPIC_ICR2, destination << 24);
    vlapic_mmio_write(v, LAPIC_ICR, low);
}

Test(vlapic, xapic_ipi_destinations) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable_all(false);
    for (unsigned i = 0; i < VCPUS; i++)
        vlapic_mmio_write(&vlapic_vcpu[i], LAPIC_LDR, 0x01000000u << i);
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
        vlapic_mmio_write(&vlapic_vcpu[i], LAPIC_DFR, 0);
        vlapic_mmio_write(&vlapic_vcpu[i], LAPIC_LDR, (i / 2) << 28 | 0x01000000u << (i % 2));
    }
    xapic_ipi(v, 0x13, ICR_LOGICAL | 0x37);
    cr_expect_eq(who_has(0x37), 12, "cluster 1");
    xapic_ipi(v, 0xf1, ICR_LOGICAL | 0x38);
    cr_expect_eq(who_has(0x38), 5, "all clusters");
}

Test(vlapic, x2apic_ipi_destinations) {
    struct vcpu *v = &vlapic_vcpu[1];
    enable_all(true);
    cr_expect(x2_write(v, LAPIC_ICR, 3ULL << 32 | 0x40));
    cr_expect_eq(who_has(0x40), 8);
    cr_expect_eq(x2_read(v, LAPIC_ICR), 3ULL << 32 | 0x40);
    cr_expect(x2_write(v, LAPIC_ICR, 0x5ULL << 32 | ICR_LOGICAL | 0x41));
    cr_expect_eq(who_has(0x41), 5);
    cr_expect(x2_write(v, LAPIC_ICR, 0x10005ULL << 32 | ICR_LOGICAL | 0x42));
    cr_expect_eq(who_has(0x42), 0, "another cluster");
    cr_expect(x2_write(v, LAPIC_ICR, 0xffffffffULL << 32 | 0x43));
    cr_expect_eq(who_has(0x43), 15);
    cr_expect(x2_write(v, LAPIC_ICR, 0xffULL << 32 | 0x44));
    cr_expect_eq(who_has(0x44), 0, "0xff is an ID like others here");
    cr_expect(x2_write(v, LAPIC_SELF_IPI, 0x45));
    cr_expect_eq(who_has(0x45), 2);
    cr_expect_not(x2_write(v, LAPIC_SELF_IPI, 0x145));
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
    cr_expect(x2_write(v, LAPIC_ICR, (uint64_t)VM_VCPUS_MAX << 32 | 0x64));
    cr_expect(x2_write(v, LAPIC_ICR, (uint64_t)VM_VCPUS_MAX << 32 | 0x400));
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
        vlapic_mmio_write(&vlapic_vcpu[i], LAPIC_LDR, 0x01000000u << i);
        vlapic_mmio_write(&vlapic_vcpu[i], LAPIC_TPR, i == 2 ? 0x10 : 0x40);
    }
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee0f00c, 0x151), 1);
    cr_expect_eq(who_has(0x51), 4);
    vlapic_mmio_write(&vlapic_vcpu[2], LAPIC_SVR, 0xff); // off, so nobody's choice
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee0f00c, 0x152), 1);
    cr_expect_eq(who_has(0x52), 1);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee0400c, 0x153), 0);
}

Test(vlapic, messages_reach_their_destination) {
    enable_all(false);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee03000, 0x52), 1);
    cr_expect_eq(who_has(0x52), 8);
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfeeff000, 0xc053), 4);
    cr_expect(has_irr(&vlapic_vcpu[2], 0x53) && is_vector_set(&vlapic_vcpu[2], LAPIC_TMR, 0x53));
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee09000, 0x54), 0, "nobody");
    vlapic_vcpu[1].pending = 0;
    cr_expect_eq(vlapic_deliver_message(&vlapic_vm, 0xfee01000, 0x400), 1);
    cr_expect_eq(vlapic_vcpu[1].pending, VCPU_PENDING_NMI);
}
