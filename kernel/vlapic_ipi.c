// SPDX-License-Identifier: Apache-2.0
// Who an interrupt is for, and how it arrives: inter-processor interrupts and the messages of
// devices. SDM 3A 11.6 "Issuing Interprocessor Interrupts", 11.11 "Message Signalled Interrupts",
// 11.12.10 "Determining IPI Destination in x2APIC Mode".
//
// Runs on any CPU against any vCPU: all that it changes there is IRR, TMR and the pending word.
#include "kernel/vlapic_internal.h"
#include "kernel/vm.h"
#include "lib/index.h"

enum delivery_mode {
    DELIVERY_FIXED = 0,
    DELIVERY_LOWEST_PRIORITY = 1,
    DELIVERY_NMI = 4,
    DELIVERY_INIT = 5,
    DELIVERY_START_UP = 6,
};

// The same places in ICR and in the data of a message.
#define ICR_MODE(low)       ((low) >> 8 & 7)
#define ICR_LOGICAL         BIT(11)
#define ICR_LEVEL           BIT(15)
#define ICR_SHORTHAND_SHIFT 18
#define ICR_SHORTHAND_MASK  3u
enum shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

#define MESSAGE_DESTINATION_SHIFT 12
#define MESSAGE_LOGICAL           BIT(2)

#define BROADCAST_X2APIC 0xffffffffu
#define DFR_FLAT         0xf0000000u
#define CLUSTER_ALL      0xfu

static bool matches_logical_xapic(const struct vcpu *vcpu, uint32_t destination) {
    uint32_t logical_id = vlapic_get(vcpu, LAPIC_LDR) >> 24;
    if (vlapic_get(vcpu, LAPIC_DFR) >= DFR_FLAT)
        return (logical_id & destination & 0xff) != 0;
    uint32_t cluster = (destination >> 4) & CLUSTER_ALL;
    return (cluster == CLUSTER_ALL || cluster == logical_id >> 4) &&
           (logical_id & destination & 0xf) != 0;
}

static bool matches_logical_x2apic(const struct vcpu *vcpu, uint32_t destination) {
    uint32_t logical_id = vlapic_get(vcpu, LAPIC_LDR);
    return (destination >> 16) == (logical_id >> 16) && (destination & logical_id & 0xffff) != 0;
}

// `is_wide`: the destination has 32 bits, as an x2APIC sends it.
static bool is_addressed(const struct vcpu *vcpu, uint32_t destination, bool is_logical,
                         bool is_wide) {
    if (!vlapic_is_on(vcpu))
        return false;
    if (destination == (is_wide ? BROADCAST_X2APIC : BROADCAST_XAPIC))
        return true;
    if (!is_logical)
        return destination == vcpu->index;
    return vlapic_is_x2apic(vcpu) ? matches_logical_x2apic(vcpu, destination)
                                  : matches_logical_xapic(vcpu, destination);
}

// True: the vCPU took it.
static bool deliver_to(struct vcpu *vcpu, uint32_t low) {
    switch (ICR_MODE(low)) {
    case DELIVERY_FIXED:
    case DELIVERY_LOWEST_PRIORITY:
        vlapic_accept(vcpu, (uint8_t)low, (low & ICR_LEVEL) != 0);
        return vlapic_is_software_enabled(vcpu);
    case DELIVERY_NMI:
        vcpu_post_nmi(vcpu);
        return true;
    case DELIVERY_INIT:
        // The de-assertion that follows on old systems does nothing to a P6 or later.
        if ((low & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
            return true;
        // A SIPI from before it is void.
        __atomic_fetch_and(&vcpu->pending, ~(uint32_t)VCPU_PENDING_SIPI, __ATOMIC_RELAXED);
        vcpu_post(vcpu, VCPU_PENDING_INIT);
        return true;
    case DELIVERY_START_UP:
        __atomic_store_n(&vcpu->sipi_vector, low & APIC_VECTOR, __ATOMIC_RELAXED);
        vcpu_post(vcpu, VCPU_PENDING_SIPI);
        return true;
    default:
        return false; // SMI: no system management here; ExtINT: has its own line
    }
}

static struct vcpu *get_vcpu(struct vm *vm, uint32_t index) {
    return __atomic_load_n(&vm->vcpus[index_mask(index, VM_VCPUS_MAX)], __ATOMIC_ACQUIRE);
}

// Of an earlier choice (NULL: none) and another addressed vCPU, which one lowest-priority delivery
// prefers: one that takes interrupts at all, and the lower task priority.
static struct vcpu *prefer(struct vcpu *a, struct vcpu *b) {
    if (!vlapic_is_software_enabled(b))
        return a;
    if (!a)
        return b;
    return vlapic_get(b, LAPIC_TPR) < vlapic_get(a, LAPIC_TPR) ? b : a;
}

// `except`: not to this one (NULL: to all that are addressed).
static uint32_t deliver(struct vm *vm, uint32_t low, uint32_t destination, bool is_logical,
                        bool is_wide, const struct vcpu *except) {
    // One vCPU by its ID, the case of nearly all interrupts, needs no search.
    if (!is_logical && destination < VM_VCPUS_MAX) {
        struct vcpu *vcpu = get_vcpu(vm, destination);
        return vcpu && vlapic_is_on(vcpu) && deliver_to(vcpu, low);
    }
    uint32_t taken = 0;
    struct vcpu *preferred = NULL;
    for (uint32_t i = 0; i < VM_VCPUS_MAX; i++) {
        struct vcpu *vcpu = get_vcpu(vm, i);
        if (!vcpu || vcpu == except || !is_addressed(vcpu, destination, is_logical, is_wide))
            continue;
        if (ICR_MODE(low) == DELIVERY_LOWEST_PRIORITY)
            preferred = prefer(preferred, vcpu);
        else
            taken += deliver_to(vcpu, low);
    }
    return preferred ? deliver_to(preferred, low) : taken;
}

void vlapic_send_ipi(struct vcpu *sender, uint32_t icr, uint32_t destination) {
    bool is_wide = vlapic_is_x2apic(sender);
    uint32_t shorthand = icr >> ICR_SHORTHAND_SHIFT & ICR_SHORTHAND_MASK, mode = ICR_MODE(icr);
    if (mode != DELIVERY_INIT)
        icr &= ~(uint32_t)ICR_LEVEL; // IPIs are edges (SDM 3A 11.6.1), but for INIT
    if (mode <= DELIVERY_LOWEST_PRIORITY && (icr & APIC_VECTOR) < APIC_VECTOR_MIN) {
        vlapic_raise_error(sender, ESR_SEND_VECTOR);
        return;
    }
    if (shorthand == SHORTHAND_SELF) {
        deliver_to(sender, icr);
        return;
    }
    if (shorthand != SHORTHAND_NONE)
        destination = is_wide ? BROADCAST_X2APIC : BROADCAST_XAPIC;
    deliver(sender->vm, icr, destination, (icr & ICR_LOGICAL) != 0, is_wide,
            shorthand == SHORTHAND_OTHERS ? sender : NULL);
}

uint32_t vlapic_deliver_message(struct vm *vm, uint64_t address, uint32_t data) {
    uint32_t destination = (uint32_t)(address >> MESSAGE_DESTINATION_SHIFT) & BROADCAST_XAPIC;
    return deliver(vm, data, destination, (address & MESSAGE_LOGICAL) != 0, false, NULL);
}
