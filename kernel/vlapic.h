// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC of one vCPU, xAPIC and x2APIC. All of it works by software, on every CPU;
// what the processor can do by itself on the same page of registers, the backend lets it do
// (vlapic->abilities).
//
// SDM 3A chapter 11 "Advanced Programmable Interrupt Controller (APIC)". It is a version 0x14 with
// six local-vector entries, without EOI-broadcast suppression; the APIC ID is the vCPU's number and
// cannot be changed, and the register page cannot be moved. Timer input clock: the TSC's frequency,
// which the VMM tells in CPUID leaf 0x15.
//
// Files: vlapic.c (interrupts), vlapic_state.c (life, state), vlapic_register.c (register access),
// vlapic_timer.c, vlapic_ipi.c (destinations).
//
// Ownership: registers belong to the vCPU's owner thread. Any CPU sets bits of `posted`, `levels`
// and esr_pending, atomically (vlapic_accept), which the owner takes into IRR and TMR before entry
// (vlapic_take_requests), or the processor does for it (SDM 3C 30.6), and reads what tells whether
// the vCPU is addressed (ID, LDR, DFR, SVR, base_msr); a stale value there is a message that came
// before or after the change.
#pragma once

#include "arch/lapic.h"
#include "include/abi.h"
#include "kernel/timer.h"
#include "lib/types.h"

struct vcpu;
struct vm;

#define VLAPIC_BASE 0xfee00000ULL

#define VLAPIC_REGISTER_COUNT 64
#define VLAPIC_VECTOR_WORDS   4 // 256 bits
#define MSR_X2APIC(offset)    (MSR_X2APIC_FIRST + (offset) / 16u)

// Posted-interrupt descriptor: SDM 3C 30.6 "Posted-Interrupt Processing". The last two fields are
// for devices, which post to no guest here.
struct vlapic_posted {
    uint64_t requests[VLAPIC_VECTOR_WORDS]; // edges, by vector (atomic)
    uint32_t control;                       // VLAPIC_POSTED_* (atomic)
    uint32_t reserved[7];
};
#define VLAPIC_POSTED_OUTSTANDING 1u // a notification is on its way

// What the processor does by itself while the guest runs.
enum vlapic_ability {
    VLAPIC_DELIVERS = 1u << 0, // takes interrupts from IRR to the guest, and keeps ISR and PPR
    VLAPIC_POSTS = 1u << 1,    // takes edges from `posted` into IRR when VECTOR_POSTED arrives
};

struct vlapic {
    _Alignas(64) struct vlapic_posted posted;
    uint32_t abilities;                   // enum vlapic_ability [c]
    bool is_tmr_changed;                  // since vlapic_take_tmr [o]
    uint64_t levels[VLAPIC_VECTOR_WORDS]; // level-triggered requests, by vector (atomic)
    uint64_t base_msr;                    // IA32_APIC_BASE
    uint8_t *page;         // registers, each at its offset: the virtual-APIC page [c]
    uint64_t tsc_deadline; // guest TSC, 0: disarmed
    uint64_t timer_start;  // the VM's clock when the current period began
    uint64_t timer_period; // ticks of that clock in a period, 0: stopped (atomic)
    struct timer timer;
    uint32_t is_timer_resting; // it fired in vain and was not armed again (atomic)
    uint32_t esr_pending;      // errors seen since the last write to ESR (atomic)
    uint8_t eoi_vector;        // of VCPU_PENDING_EOI
};
_Static_assert(sizeof(struct vlapic_posted) == 64, "as the processor has it");

void vlapic_init(struct vcpu *vcpu);       // power-on state; vCPU 0 is the boot processor
void vlapic_reset(struct vcpu *vcpu);      // by INIT: the APIC ID and APIC_BASE stay
void vlapic_timer_stop(struct vcpu *vcpu); // before the vCPU ends

// Register access as MMIO (xAPIC). An offset that does not exist reads 0 and sets ESR. Outside
// xAPIC mode there is nothing at the address: reads give all ones.
uint32_t vlapic_mmio_read(struct vcpu *vcpu, uint32_t offset);
void vlapic_mmio_write(struct vcpu *vcpu, uint32_t offset, uint32_t value);
// Register access as MSR (x2APIC), IA32_APIC_BASE and IA32_TSC_DEADLINE. False: #GP.
bool vlapic_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool vlapic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);
// The guest moves its TSC (vcpu->tsc_offset): a deadline that it has not reached moves nearer or
// away.
void vlapic_move_tsc(struct vcpu *vcpu, uint64_t by);
// The owner runs (vcpu->is_running is set): a periodic timer that rested goes on.
void vlapic_timer_wake(struct vcpu *vcpu);
static inline bool vlapic_is_requested(const struct vlapic *vlapic, uint8_t vector) {
    return (__atomic_load_n(&vlapic->posted.requests[vector / 64], __ATOMIC_RELAXED) >>
                vector % 64 &
            1) != 0;
}

// Interrupts. `vlapic_take_requests` moves what other CPUs asked for into IRR and TMR, the one
// place that does. `vlapic_pending` is the highest vector in IRR above the processor priority, or
// -1. `vlapic_acknowledge` moves it from IRR to ISR.
void vlapic_take_requests(struct vcpu *vcpu);
// Requests came with no more than VECTOR_POSTED, to the CPU where the vCPU ran. Any CPU.
static inline bool vlapic_is_notified(const struct vlapic *vlapic) {
    return (__atomic_load_n(&vlapic->posted.control, __ATOMIC_SEQ_CST) &
            VLAPIC_POSTED_OUTSTANDING) != 0;
}
int vlapic_pending(const struct vcpu *vcpu);
void vlapic_acknowledge(struct vcpu *vcpu, uint8_t vector);
// Any CPU: a fixed interrupt arrives.
void vlapic_accept(struct vcpu *vcpu, uint8_t vector, bool is_level);
// Whether the 8259's INTR reaches the vCPU: LINT0 unmasked as ExtINT, or the APIC disabled.
bool vlapic_takes_extint(const struct vcpu *vcpu);
// CR8 and TPR are one register.
uint8_t vlapic_get_cr8(const struct vcpu *vcpu);
void vlapic_set_cr8(struct vcpu *vcpu, uint8_t cr8);

// For a backend that lets the processor do its part. Whenever one of these may have changed other
// than by the processor itself, VCPU_PENDING_INTERRUPT is posted.
// In x2APIC mode and enabled, so that registers may be read and written without an exit.
bool vlapic_is_open(const struct vcpu *vcpu);
// The highest vector in IRR that the guest's SVR lets through and the highest in ISR; 0: none.
uint8_t vlapic_get_request(const struct vcpu *vcpu);
uint8_t vlapic_get_service(const struct vcpu *vcpu);
// The priority class that TPR alone holds back; 0: none.
uint32_t vlapic_get_held_class(const struct vcpu *vcpu);
// The vectors whose EOI the VMM wants to know of. False: as at the last call.
bool vlapic_take_tmr(struct vcpu *vcpu, uint64_t vectors[VLAPIC_VECTOR_WORDS]);
// The processor has ended an interrupt whose EOI the VMM wants to know of.
void vlapic_report_eoi(struct vcpu *vcpu, uint8_t vector);

// An interrupt message on the VM's bus: resolves destination and delivery mode, delivers. Returns
// how many vCPUs took it. Any CPU.
uint32_t vlapic_deliver_message(struct vm *vm, uint64_t address, uint32_t data);

// State for vcpu_read and vcpu_write, in any order. restore: 0 or ABI_ERROR_ARGUMENT, then nothing
// changed. The two words that stand in struct vcpu_registers come by restore_msrs, without the
// rules for a guest's writes; is_base_valid says beforehand whether it takes the first.
void vlapic_save(struct vcpu *vcpu, struct vcpu_apic *state);
int vlapic_restore(struct vcpu *vcpu, const struct vcpu_apic *state);
bool vlapic_is_base_valid(const struct vcpu *vcpu, uint64_t apic_base);
void vlapic_restore_msrs(struct vcpu *vcpu, uint64_t apic_base, uint64_t tsc_deadline);
