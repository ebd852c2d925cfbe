// SPDX-License-Identifier: Apache-2.0
// Numbers that C and enter.S share; nothing but #defines. vmx.h asserts that they are right.
#pragma once

// Offsets in struct vmx_vcpu.
#define VMX_VCPU_GPR         8 // what HOST_RSP points at
#define VMX_VCPU_RSP         16
#define VMX_VCPU_IS_LAUNCHED 24

// A field by its encoding: enum vmcs_field32.
#define ASM_VMCS_EXIT_REASON 0x4402

// vmx_switch: no exit, VT-x refused the VMCS. Above every basic exit reason.
#define VMX_REFUSED 0x10000
