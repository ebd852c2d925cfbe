// SPDX-License-Identifier: Apache-2.0
// Numbers that C and enter.S share; nothing but #defines. vmx.h asserts that they are right.
#pragma once

// Offsets in struct vmx_vcpu.
#define VMX_VCPU_HOST_RSP    0
#define VMX_VCPU_IS_LAUNCHED 8

// Fields by encoding: enum vmcs_field32 and enum vmcs_field_natural.
#define ASM_VMCS_EXIT_REASON 0x4402
#define ASM_VMCS_HOST_RSP    0x6c14

// vmx_switch: no exit, VT-x refused the VMCS. Above every basic exit reason.
#define VMX_REFUSED 0x10000
