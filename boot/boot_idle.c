// SPDX-License-Identifier: Apache-2.0
// How idle CPUs wait (boot_features.h): by MWAIT where the command line asks for it. SDM 2A
// "CPUID", leaves 5 and 6; "MWAIT"; SDM 3A 9.10.4 "MONITOR/MWAIT Instruction".
//
// The errata are those of Intel's specification updates that matter for a kernel which has no
// interrupt in service while it is idle (kernel/trap.c).
#include "boot/boot_features.h"
#include "boot/boot_platform.h"
#include "boot/boot_report.h"
#include "lib/types.h"
#include "lib/words.h"

#define LEAF_FEATURES 0x1u
#define ECX_MONITOR   BIT(3)
#define ECX_DEADLINE  BIT(24)

#define STATE_C1      1u
#define STATE_DEEPEST 7u // that CPUID has room for

struct erratum {
    uint32_t first, last; // models of family 6, sorted
    const char *text;
};

static const struct erratum monitor_errata[] = {
    {0x1d, 0x1d, "a store may not end its MWAIT (erratum AAI65)"}, // Xeon 7400
    {0x2e, 0x2f, "a store may not end its MWAIT (erratum)"},       // Nehalem-EX, Westmere-EX
    {0x5c, 0x5c, "a store may not end its MWAIT (erratum APL30)"}, // Goldmont
    {0xbd, 0xbd, "a store may not end its MWAIT (erratum)"},       // Lunar Lake
};

// BA80, AAK120, AAM108, AAO67, BD59, AAY54 of Nehalem and Westmere: quick changes to C3 and C6.
static const struct erratum state_errata[] = {
    {0x1a, 0x1a, ""}, {0x1e, 0x1f, ""}, {0x25, 0x25, ""}, {0x2c, 0x2c, ""}};

static uint32_t model_of(const struct boot_processor *cpu) {
    uint32_t signature = boot_leaf(cpu, LEAF_FEATURES, 0).eax;
    return (signature >> 8 & 15) == 6 ? (signature >> 4 & 15) | (signature >> 12 & 0xf0) : 0;
}

static const char *find(const struct boot_processor *cpu, const struct cpu_features *f,
                        const struct erratum *errata, uint32_t count) {
    uint32_t model = model_of(cpu);
    for (uint32_t i = 0; f->is_intel && i < count; i++)
        if (model >= errata[i].first && model <= errata[i].last)
            return errata[i].text;
    return NULL;
}

// Why not; NULL: nothing is against it.
static const char *find_reason(const struct boot_processor *cpu, const struct cpu_features *f) {
    uint32_t features = boot_leaf(cpu, LEAF_FEATURES, 0).ecx;
    if ((features & ECX_MONITOR) == 0)
        return "the CPU has no MONITOR, or the firmware turned it off";
    if ((boot_leaf(cpu, LEAF_MONITOR, 0).ecx & ECX_MWAIT) != ECX_MWAIT)
        return "interrupts do not end this CPU's MWAIT while they are off";
    if ((features & ECX_DEADLINE) != 0 && !f->has_tsc_deadline)
        return "its timer has an erratum (update the microcode)";
    return find(cpu, f, monitor_errata, ARRAY_COUNT(monitor_errata));
}

// Both clocks go on: the local APIC's timer and the TSC.
static bool may_be_deep(const struct boot_processor *cpu, const struct cpu_features *f) {
    return (boot_leaf(cpu, LEAF_THERMAL, 0).eax & EAX_ARAT) != 0 && f->has_tsc_invariant &&
           find(cpu, f, state_errata, ARRAY_COUNT(state_errata)) == NULL;
}

void boot_idle_read(const struct boot_processor *cpu, struct boot_info *info) {
    struct cpu_features *f = &info->features;
    if (!words_have(info->platform->start.cmdline, "idle=mwait"))
        return;
    const char *reason = find_reason(cpu, f);
    if (reason != NULL) {
        boot_report(info, "idle=mwait: %s: idle CPUs HLT", reason);
        return;
    }
    // Of each state, how many further ones it is divided into; the last one is the deepest.
    uint32_t counts = boot_leaf(cpu, LEAF_MONITOR, 0).edx;
    uint32_t state = may_be_deep(cpu, f) ? STATE_DEEPEST : STATE_C1;
    while (state > STATE_C1 && (counts >> 4 * state & 15) == 0)
        state--;
    f->has_mwait = true;
    f->idle_hint = state > STATE_C1 ? (state - 1) << 4 | ((counts >> 4 * state & 15) - 1) : 0;
    boot_report(info, "idle CPUs wait by MWAIT, hint 0x%x%s", f->idle_hint,
                state > STATE_C1 ? "" : " (C1)");
}
