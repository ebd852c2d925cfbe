// SPDX-License-Identifier: Apache-2.0
// The instructions on whole control structures. A failure of any of them
// is a bug of the host.
#include "vmx/vmcs.h"

#include "arch/log.h"

// Reads the error number with a plain VMREAD: when that fails too, no VMCS is current.
_Noreturn void vmcs_access_failed(uint32_t field) {
    uint64_t error = 0;
    __asm__ volatile("vmread %1, %0" : "+r"(error) : "r"((uint64_t)VMCS_INSTRUCTION_ERROR) : "cc");
    panic("VMCS access failed: field 0x%x, VM-instruction error %u, current VMCS 0x%llx", field,
          (uint32_t)error, (unsigned long long)vmcs_get_current().v);
}

void vmcs_make_current(hpa_t vmcs) {
    bool has_failed;
    __asm__ volatile("vmptrld %1" : "=@ccbe"(has_failed) : "m"(vmcs.v) : "memory");
    if (has_failed)
        panic("VMPTRLD of 0x%llx failed", (unsigned long long)vmcs.v);
}

void vmcs_clear(hpa_t vmcs) {
    bool has_failed;
    __asm__ volatile("vmclear %1" : "=@ccbe"(has_failed) : "m"(vmcs.v) : "memory");
    if (has_failed)
        panic("VMCLEAR of 0x%llx failed", (unsigned long long)vmcs.v);
}

hpa_t vmcs_get_current(void) {
    hpa_t vmcs = {VMCS_NONE};
    __asm__ volatile("vmptrst %0" : "=m"(vmcs.v)::"cc", "memory");
    return vmcs;
}
