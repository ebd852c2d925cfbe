// SPDX-License-Identifier: Apache-2.0
// What the processor remembers of translations, and how it forgets. While EPT is in use, it makes
// and uses no linear mappings: only guest-physical ones, tagged with the EPT pointer of the VM, and
// combined ones, tagged with it and with the VPID of the vCPU (SDM 3C 29.4.2 "Creating and Using
// Cached Translation Information"). So VPIDs need to differ only within a VM. That of two VMs
// mostly do (vmx/state.c), since a flush takes what a VPID has under all EPT pointers.
//
// Remembered under both on a CPU may be what a VM had that is gone, and whose tables' root this one
// got, or what this vCPU had before the guest changed its tables on another CPU. So the VPID is
// flushed whenever the vCPU comes to a CPU where it did not run last, and the EPT pointer, too
// (kernel/vcpu.c).
//
// Locks: none.
#include "arch/log.h"
#include "kernel/vm.h"
#include "vmx/ept.h"
#include "vmx/vmx.h"

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
