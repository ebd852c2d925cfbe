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
    DELIVERY_SMI = 2,
    DELIVERY_NMI = 4,
    DELIVERY_INIT = 5,
    DELIVERY_START_UP = 6,
    DELIVERY_EXTINT = 7,
};

// The same places in ICR and in the data of a message.
#define ICR_DELIVERY_SHIFT  8
#define ICR_DELIVERY_MASK   7u
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

struct delivery {
    uint32_t destination;
    uint32_t mode; // enum delivery_mode
    uint8_t vector;
    bool is_logical;
    bool is_level;
    bool is_assert;
};

static struct delivery delivery_decode(uint32_t low, uint32_t destination, bool is_logical) {
    return (struct delivery){
        .destination = destination,
        .mode = (low >> ICR_DELIVERY_SHIFT) & ICR_DELIVERY_MASK,
        .vector = (uint8_t)(low & APIC_VECTOR),
        .is_logical = is_logical,
        .is_level = (low & ICR_LEVEL) != 0,
        .is_assert = (low & ICR_ASSERT) != 0,
    };
}

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

static bool is_addressed(const struct vcpu *vcpu, const struct delivery *d, bool is_wide) {
    if (!vlapic_is_on(vcpu))
        return false;
    if (d->destination == (is_wide ? BROADCAST_X2APIC : BROADCAST_XAPIC))
        return true;
    if (!d->is_logical)
        return d->destination == vcpu->index;
    return vlapic_is_x2apic(vcpu) ? matches_logical_x2apic(vcpu, d->destination)
                                  : matches_logical_xapic(vcpu, d->destination);
}

// True: the vCPU took it.
static bool deliver_to(struct vcpu *vcpu, const struct delivery *d) {
    switch (d->mode) {
    case DELIVERY_FIXED:
    case DELIVERY_LOWEST_PRIORITY:
        vlapic_accept(vcpu, d->vector, d->is_level);
        return vlapic_is_software_enabled(vcpu);
    case DELIVERY_NMI:
        vcpu_post_nmi(vcpu);
        return true;
    case DELIVERY_INIT:
        // The de-assertion that follows on old systems does nothing to a P6 or later.
        if (d->is_level && !d->is_assert)
            return true;
        // A SIPI from before it is void.
        __atomic_fetch_and(&vcpu->pending, ~(uint32_t)VCPU_PENDING_SIPI, __ATOMIC_RELAXED);
        vcpu_post(vcpu, VCPU_PENDING_INIT);
        return true;
    case DELIVERY_START_UP:
        __atomic_store_n(&vcpu->sipi_vector, d->vector, __ATOMIC_RELAXED);
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

// `is_wide`: the destination has 32 bits, as an x2APIC sends it. `except`: not to this one (NULL:
// to all that are addressed).
static uint32_t deliver(struct vm *vm, const struct delivery *d, bool is_wide,
                        const struct vcpu *except) {
    // One vCPU by its ID, the case of nearly all interrupts, needs no search.
    if (!d->is_logical && d->destination < VM_VCPUS_MAX) {
        struct vcpu *vcpu = get_vcpu(vm, d->destination);
        return vcpu && vlapic_is_on(vcpu) && deliver_to(vcpu, d);
    }
    uint32_t taken = 0;
    struct vcpu *preferred = NULL;
    for (uint32_t i = 0; i < VM_VCPUS_MAX; i++) {
        struct vcpu *vcpu = get_vcpu(vm, i);
        if (!vcpu || vcpu == except || !is_addressed(vcpu, d, is_wide))
            continue;
        if (d->mode == DELIVERY_LOWEST_PRIORITY)
            preferred = prefer(preferred, vcpu);
        else
            taken += deliver_to(vcpu, d);
    }
    return preferred ? deliver_to(preferred, d) : taken;
}

void vlapic_send_ipi(struct vcpu *sender, uint32_t icr, uint32_t destination) {
    struct delivery d = delivery_decode(icr, destination, (icr & ICR_LOGICAL) != 0);
    bool is_wide = vlapic_is_x2apic(sender);
    bool has_vector = d.mode == DELIVERY_FIXED || d.mode == DELIVERY_LOWEST_PRIORITY;
    uint32_t shorthand = (icr >> ICR_SHORTHAND_SHIFT) & ICR_SHORTHAND_MASK;
    d.is_level &= d.mode == DELIVERY_INIT; // IPIs are edges (SDM 3A 11.6.1), but for INIT
    if (has_vector && d.vector < APIC_VECTOR_MIN) {
        vlapic_raise_error(sender, ESR_SEND_VECTOR);
        return;
    }
    if (shorthand == SHORTHAND_SELF) {
        deliver_to(sender, &d);
        return;
    }
    if (shorthand != SHORTHAND_NONE)
        d.destination = is_wide ? BROADCAST_X2APIC : BROADCAST_XAPIC;
    deliver(sender->vm, &d, is_wide, shorthand == SHORTHAND_OTHERS ? sender : NULL);
}

uint32_t vlapic_deliver_message(struct vm *vm, uint64_t address, uint32_t data) {
    uint32_t destination = (uint32_t)(address >> MESSAGE_DESTINATION_SHIFT) & BROADCAST_XAPIC;
    struct delivery d = delivery_decode(data, destination, (address & MESSAGE_LOGICAL) != 0);
    return deliver(vm, &d, false, NULL);
}
