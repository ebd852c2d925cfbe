// SPDX-License-Identifier: Apache-2.0
// boot/boot_idle: how idle CPUs wait, by CPUID leaves of paper.
#include <criterion/criterion.h>
#include <string.h>

#include "boot/boot_features.h"
#include "boot/boot_platform.h"
#include "lib/types.h"

static uint32_t signature, features, extensions, counts, power;
static struct platform platform;
static struct boot_info info = {.platform = &platform};

static struct boot_cpuid paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    (void)subleaf;
    switch (leaf) {
    case 0:
        return (struct boot_cpuid){.eax = 0x16};
    case 1:
        return (struct boot_cpuid){.eax = signature, .ecx = features};
    case 5:
        return (struct boot_cpuid){64, 64, extensions, counts};
    case 6:
        return (struct boot_cpuid){.eax = power};
    default:
        return (struct boot_cpuid){0, 0, 0, 0};
    }
}

// A server of the Skylake generation: C1 with 2 states within, C3 and C6 as MWAIT's C2 and C3.
static void make_server(void) {
    signature = 0x50654;
    features = 1u << 3 | 1u << 24;
    extensions = 3;
    counts = 0x2020;
    power = 1u << 2;
    info = (struct boot_info){.platform = &platform};
    strcpy(platform.start.cmdline, "a idle=mwait b");
    info.features = (struct cpu_features){
        .is_intel = true, .has_tsc_deadline = true, .has_tsc_invariant = true};
}

// What was reported, or "".
static const char *judge(void) {
    const struct boot_processor cpu = {.cpuid = paper_cpuid};
    memset(info.report, 0, sizeof(info.report));
    info.features.has_mwait = false;
    info.features.idle_hint = 0;
    boot_idle_read(&cpu, &info);
    return info.report;
}

static void expect_hlt(const char *why) {
    const char *line = judge();
    cr_expect(!info.features.has_mwait && info.features.idle_hint == 0, "%s", why);
    cr_expect(strstr(line, "idle=mwait: ") == line && strstr(line, why) != NULL &&
                  strstr(line, ": idle CPUs HLT") != NULL,
              "'%s' does not say '%s'", line, why);
}

static void expect_hint(uint32_t hint, const char *line) {
    cr_expect_str_eq(judge(), line);
    cr_expect(info.features.has_mwait && info.features.idle_hint == hint, "hint 0x%x",
              info.features.idle_hint);
}

TestSuite(boot_idle, .init = make_server);

Test(boot_idle, nothing_changes_without_the_word) {
    const char *const others[] = {"", "idle=", "idle=mwaits", "idle=hlt", "xidle=mwait"};
    for (unsigned i = 0; i < ARRAY_COUNT(others); i++) {
        strcpy(platform.start.cmdline, others[i]);
        cr_expect_str_eq(judge(), "");
        cr_expect_not(info.features.has_mwait);
    }
}

Test(boot_idle, the_deepest_state_is_taken) {
    expect_hint(0x21, "idle CPUs wait by MWAIT, hint 0x21");
    counts = 0x20;
    expect_hint(0, "idle CPUs wait by MWAIT, hint 0x0 (C1)");
    counts = 0;
    expect_hint(0, "idle CPUs wait by MWAIT, hint 0x0 (C1)");
    counts = 0x11142120;
    expect_hint(0x60, "idle CPUs wait by MWAIT, hint 0x60");
    counts = 0x10000120;
    expect_hint(0x60, "idle CPUs wait by MWAIT, hint 0x60");
}

Test(boot_idle, clocks_that_stop_keep_it_shallow) {
    power = ~(1u << 2);
    expect_hint(0, "idle CPUs wait by MWAIT, hint 0x0 (C1)");
    make_server();
    info.features.has_tsc_invariant = false;
    expect_hint(0, "idle CPUs wait by MWAIT, hint 0x0 (C1)");
    make_server();
    features = 1u << 3; // no deadline at all: the local APIC's timer counts
    info.features.has_tsc_deadline = false;
    expect_hint(0x21, "idle CPUs wait by MWAIT, hint 0x21");
}

Test(boot_idle, what_is_missing_is_named) {
    features = 1u << 24;
    expect_hlt("the CPU has no MONITOR");
    make_server();
    for (extensions = 0; extensions < 3; extensions++)
        expect_hlt("interrupts do not end this CPU's MWAIT");
    make_server();
    info.features.has_tsc_deadline = false;
    expect_hlt("its timer has an erratum");
}

Test(boot_idle, errata_are_named) {
    static const struct {
        uint32_t signature;
        const char *text; // NULL: no deeper than C1
    } cases[] = {
        {0x106d1, "erratum AAI65"},
        {0x206e6, "erratum"},
        {0x206f2, "erratum"},
        {0x506c9, "erratum APL30"},
        {0xb06d1, "erratum"},
        {0x106a5, NULL},
        {0x106e5, NULL},
        {0x106f0, NULL},
        {0x20655, NULL},
        {0x206c2, NULL},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        make_server();
        signature = cases[i].signature;
        if (cases[i].text != NULL)
            expect_hlt(cases[i].text);
        else
            expect_hint(0, "idle CPUs wait by MWAIT, hint 0x0 (C1)");
        info.features.is_intel = false;
        expect_hint(0x21, "idle CPUs wait by MWAIT, hint 0x21");
    }
    make_server();
    signature = 0x106f1 | 0xf00; // another family
    expect_hint(0x21, "idle CPUs wait by MWAIT, hint 0x21");
}
