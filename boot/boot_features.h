// SPDX-License-Identifier: Apache-2.0
// What this processor offers (include/features.h). No instructions but what is passed in, so that
// the host's tests can link it.
//
//   boot_features_read     info->features, info->word: before boot_mitigation_read
//   boot_idle_read         of info->features, how idle CPUs wait: part of it
//   boot_mitigation_read   info->mitigation
//   boot_features_limit_cpus   info->cpu: behind boot_features_read
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

// Zeroes for a leaf that the processor does not have.
static inline struct boot_cpuid boot_leaf(const struct boot_processor *cpu, uint32_t number,
                                          uint32_t subleaf) {
    const struct boot_cpuid none = {0, 0, 0, 0};
    uint32_t max = cpu->cpuid(number & 0x80000000, 0).eax;
    return number <= max ? cpu->cpuid(number, subleaf) : none;
}

// What idle CPUs rely on. SDM 2A "CPUID".
#define LEAF_MONITOR 0x5u
#define LEAF_THERMAL 0x6u
#define ECX_MWAIT    3u        // of LEAF_MONITOR: hints are told; interrupts that are off end MWAIT
#define EAX_ARAT     (1u << 2) // of LEAF_THERMAL: the local APIC's timer always runs

// `x2apic_is_refused`: the firmware asks for xAPIC mode (the opt-out flag of DMAR). It is obeyed
// where that mode is still on, and no CPU has an ID that needs more than 8 bits.
void boot_features_read(const struct boot_processor *cpu, bool x2apic_is_refused,
                        struct boot_info *info);
// By the command line (`idle=mwait`) and what else is in info->features; says what came of it.
void boot_idle_read(const struct boot_processor *cpu, struct boot_info *info);
// Takes the CPUs out of info->cpu that no interrupt could be sent to, and says so; and that
// `cpus_left` found no room there.
void boot_features_limit_cpus(struct boot_info *info, uint32_t cpus_left);
void boot_features_report(const struct boot_processor *cpu, struct boot_info *info);

// By info->features and the command line (`mitigations=off`).
void boot_mitigation_read(const struct boot_processor *cpu, struct boot_info *info);
// By what a processor is judged; all 0 where it has none.
struct boot_speculation {
    bool is_intel;
    uint32_t family;                               // of AMD and its kin, from 0FH on; else 0
    struct boot_cpuid leaf7, leaf7_2, amd, amd_21; // leaf 7, its subleaf 2, 80000008H, 80000021H
    uint64_t capabilities;                         // IA32_ARCH_CAPABILITIES
};
// Pure. Fills *hazards.
struct mitigation boot_mitigation_judge(const struct boot_speculation *cpu,
                                        struct boot_hazards *hazards);
void boot_mitigation_report(struct boot_info *info);
