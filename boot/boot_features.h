// SPDX-License-Identifier: Apache-2.0
// What this processor offers (include/features.h). No instructions but what is passed in, so that
// the host's tests can link it.
//
//   boot_features_read     info->features, info->word: before boot_mitigation_read
//   boot_mitigation_read   info->mitigation
//   boot_features_report   adds what they say to the preflight report
//
// Sources: SDM 2A "CPUID"; SDM 3D A "VMX Capability Reporting Facility"; Intel's specification
// updates of the processors named in boot_features.c.
#pragma once

#include "boot/boot_platform.h"
#include "boot/boot_topology.h"

struct boot_processor {
    boot_cpuid_t cpuid;
    uint64_t (*rdmsr)(uint32_t msr);
    uint32_t microcode; // its revision; 0: not told, as under hypervisors and emulators
};

// `x2apic_is_refused`: the firmware asks for xAPIC mode (the opt-out flag of DMAR). It is obeyed
// where that mode is still on, and no CPU has an ID that needs more than 8 bits.
void boot_features_read(const struct boot_processor *cpu, bool x2apic_is_refused,
                        struct boot_info *info);
void boot_features_report(const struct boot_processor *cpu, struct boot_info *info);

// By info->features and the command line (`mitigations=off`).
void boot_mitigation_read(const struct boot_processor *cpu, struct boot_info *info);
// Pure. `leaf7`, `leaf7_2` and `amd` are CPUID leaves 7, its subleaf 2, and 80000008H, 0 where
// there are none; `capabilities` is IA32_ARCH_CAPABILITIES, 0 where there is none.
struct mitigation boot_mitigation_judge(bool is_intel, struct boot_cpuid leaf7,
                                        struct boot_cpuid leaf7_2, struct boot_cpuid amd,
                                        uint64_t capabilities);
void boot_mitigation_report(struct boot_info *info);
