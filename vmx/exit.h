// SPDX-License-Identifier: Apache-2.0
// The one table of exits: a row for each basic exit reason that is expected, or for a run of them
// that are one thing. It yields their numbers and their entries in the dispatch table. SDM 3D
// Appendix C "VMX Basic Exit Reasons".
//
// A handler runs on the owner thread with the VMCS current and says what happens next; it never
// moves RIP itself. All reasons without a row have `exit_unexpected`, which reports a failure, for
// which the VMM ends the VM. They are the manual's reserved ones and those whose control is off, so
// that the exit can only come from a fault of ours or of the processor's.
// tests/unit/boot/vmx_test.c names each, and holds the table against the controls.
#pragma once

#include "kernel/vcpu.h"

#define VMX_EXITS(X)                                                                               \
    X(0, 0, EXCEPTION_OR_NMI, exit_exception)                                                      \
    X(1, 1, EXTERNAL_INTERRUPT, exit_external_interrupt)                                           \
    X(2, 2, TRIPLE_FAULT, vcpu_exit_shutdown)                                                      \
    X(7, 7, INTERRUPT_WINDOW, exit_interrupt_window)                                               \
    X(8, 8, NMI_WINDOW, exit_nmi_window)                                                           \
    X(9, 9, TASK_SWITCH, exit_task_switch)                                                         \
    X(10, 10, CPUID, vcpu_emulate_cpuid)                                                           \
    X(11, 11, GETSEC, vcpu_exit_undefined)                                                         \
    X(12, 12, HLT, vcpu_exit_hlt)                                                                  \
    X(13, 13, INVD, vcpu_exit_ignored)                                                             \
    X(15, 15, RDPMC, vcpu_exit_protected)                                                          \
    X(17, 17, RSM, vcpu_exit_undefined)                                                            \
    X(18, 18, VMCALL, exit_vmcall)                                                                 \
    X(19, 27, VMCLEAR_TO_VMXON, vcpu_exit_undefined)                                               \
    X(28, 28, CONTROL_REGISTER, exit_control_register)                                             \
    X(30, 30, IO_INSTRUCTION, exit_io)                                                             \
    X(31, 31, RDMSR, exit_rdmsr)                                                                   \
    X(32, 32, WRMSR, exit_wrmsr)                                                                   \
    X(36, 36, MWAIT, vcpu_exit_undefined)                                                          \
    X(37, 37, MONITOR_TRAP_FLAG, exit_monitor_trap)                                                \
    X(39, 39, MONITOR, vcpu_exit_undefined)                                                        \
    X(40, 40, PAUSE, vcpu_exit_pause)                                                              \
    X(43, 43, TPR_BELOW_THRESHOLD, exit_tpr_below_threshold)                                       \
    X(45, 45, VIRTUALIZED_EOI, exit_virtualized_eoi)                                               \
    X(48, 48, EPT_VIOLATION, exit_ept_violation)                                                   \
    X(50, 50, INVEPT, vcpu_exit_undefined)                                                         \
    X(53, 53, INVVPID, vcpu_exit_undefined)                                                        \
    X(54, 54, WBINVD, vcpu_exit_ignored)                                                           \
    X(55, 55, XSETBV, exit_xsetbv)                                                                 \
    X(56, 56, APIC_WRITE, exit_apic_write)                                                         \
    X(59, 60, VMFUNC_AND_ENCLS, vcpu_exit_undefined)                                               \
    X(63, 65, XSAVES_TO_PCONFIG, vcpu_exit_undefined)                                              \
    X(67, 70, UMWAIT_TO_ENCLV, vcpu_exit_undefined)                                                \
    X(72, 73, ENQCMD_AND_ENQCMDS_PASID, vcpu_exit_undefined)                                       \
    X(76, 77, SEAMCALL_AND_TDCALL, vcpu_exit_undefined)

#define VMX_EXIT_ENUM_ROW(first, last, name, handler)                                              \
    VMX_EXIT_##name = (first), VMX_EXIT_LAST_##name = (last),
enum vmx_exit { VMX_EXITS(VMX_EXIT_ENUM_ROW) VMX_EXIT_COUNT };
#undef VMX_EXIT_ENUM_ROW
_Static_assert(VMX_EXIT_COUNT <= ARRAY_COUNT(((struct cpu *)0)->exits),
               "a counter for each reason");

// Exit reason: bits 15:0 are the basic reason, bit 31 tells that the entry failed.
// SDM 3C 25.9.1 "Basic VM-Exit Information".
#define EXIT_REASON_BASIC        0xffffu
#define EXIT_REASON_ENTRY_FAILED BIT(31)
// Only with that bit: SDM 3C 27.9 "Machine-Check Events During VM Entry".
#define EXIT_REASON_MACHINE_CHECK 41u

typedef enum exit_action exit_handler(struct vcpu *vcpu);

#define VMX_EXIT_PROTOTYPE_ROW(first, last, name, handler) exit_handler handler;
VMX_EXITS(VMX_EXIT_PROTOTYPE_ROW)
#undef VMX_EXIT_PROTOTYPE_ROW

exit_handler exit_unexpected;
extern exit_handler *const vmx_exit_handlers[VMX_EXIT_COUNT]; // no NULL among them

// vcpu_fail with what the VMCS tells of it. VMCS current.
enum exit_action vmx_fail(struct vcpu *vcpu, enum vcpu_failure failure, uint64_t detail);
