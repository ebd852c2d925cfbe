// SPDX-License-Identifier: Apache-2.0
// What the processor remembers of translations, and how it forgets. Mappings are tagged with the
// VPID of a vCPU and with the EPT pointer of its VM (SDM 3C 29.4 "Caching Translation
// Information").
//
// VPIDs are numbered for the whole machine; a vCPU keeps its own. Remembered under it on a CPU may
// be what another vCPU once had, or what this one had before the guest changed its tables on
// another CPU. So it is flushed whenever the vCPU comes to a CPU where it did not run last.
//
// Locks: none; the bitmap is changed atomically.
#include "arch/log.h"
#include "kernel/vm.h"
#include "vmx/ept.h"
#include "vmx/vmx.h"

#define VPID_COUNT 0x10000u
#define VPID_BITS  64u
static uint64_t vpid_used[VPID_COUNT / VPID_BITS] = {1}; // VPID 0 is the host's

uint16_t vpid_alloc(void) {
    if (!vmx_caps.has_vpid)
        return 0;
    for (uint32_t i = 0; i < ARRAY_COUNT(vpid_used); i++) {
        uint64_t used = __atomic_load_n(&vpid_used[i], __ATOMIC_RELAXED);
        while (~used) {
            unsigned bit = (unsigned)__builtin_ctzll(~used);
            if (__atomic_compare_exchange_n(&vpid_used[i], &used, used | BIT(bit), false,
                                            __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
                return (uint16_t)(i * VPID_BITS + bit);
        }
    }
    return 0;
}

void vpid_free(uint16_t vpid) {
    if (vpid)
        __atomic_fetch_and(&vpid_used[vpid / VPID_BITS], ~BIT(vpid % VPID_BITS), __ATOMIC_RELEASE);
}

void vmx_flush_vpid(uint16_t vpid) {
    const struct vmx_invalidation what = {vpid, 0};
    if (vpid && !vmx_invvpid(vmx_caps.invvpid_type, &what))
        panic("INVVPID of VPID %u failed", vpid);
}

void vmx_flush_space(struct vcpu *vcpu) {
    const struct vmx_invalidation what = {ept_pointer(vcpu->vm->space.pt.root), 0};
    if (!vmx_invept(vmx_caps.invept_type, &what))
        panic("INVEPT of 0x%llx failed", (unsigned long long)what.target);
}
