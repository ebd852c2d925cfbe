// SPDX-License-Identifier: Apache-2.0
// boot/boot_machine_check: what of the banks is used of a processor of paper, and by its rules,
// what each kind of error means.
#include <criterion/criterion.h>
#include <string.h>

#include "boot/boot_machine_check.h"
#include "lib/types.h"

#define VALID  BIT(63)
#define OVER   BIT(62)
#define UC     BIT(61)
#define EN     BIT(60)
#define MISCV  BIT(59)
#define ADDRV  BIT(58)
#define PCC    BIT(57)
#define S      BIT(56)
#define AR     BIT(55)
#define POISON BIT(43)
#define RIPV   BIT(0)
#define EIPV   BIT(1)

#define CTL_P  BIT(8)
#define SER_P  BIT(24)
#define LMCE_P BIT(27)

static uint32_t signature, edx, amd_ebx;
static uint64_t cap, feature_control;
static uint32_t reads; // of MSRs
static struct boot_info info;

static struct boot_cpuid paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    cr_assert_eq(subleaf, 0);
    switch (leaf) {
    case 0:
        return (struct boot_cpuid){0x16, 0, 0, 0};
    case 1:
        return (struct boot_cpuid){signature, 0, 0, edx};
    case 0x80000000:
        return (struct boot_cpuid){0x80000008, 0, 0, 0};
    case 0x80000007:
        return (struct boot_cpuid){0, amd_ebx, 0, 0};
    default:
        return (struct boot_cpuid){0, 0, 0, 0};
    }
}

static uint64_t paper_rdmsr(uint32_t msr) {
    reads++;
    cr_assert(msr == 0x179 || msr == 0x3a, "MSR %#x", msr);
    cr_assert(msr == 0x179 || (cap & LMCE_P) != 0, "IA32_FEATURE_CONTROL is not promised");
    return msr == 0x179 ? cap : feature_control;
}

static const struct machine_check *read_banks(bool is_intel) {
    const struct boot_processor cpu = {paper_cpuid, paper_rdmsr, 0};
    memset(&info, 0, sizeof(info));
    info.features.is_intel = is_intel;
    boot_machine_check_read(&cpu, &info);
    return &info.machine_check;
}

static void set_up(void) {
    signature = 0x50654;
    edx = BIT(7) | BIT(14);
    amd_ebx = 0;
    cap = 20 | CTL_P | SER_P;
    feature_control = 0;
}

TestSuite(boot_machine_check, .init = set_up);

// ---- what is used -------------------------------------------------------------------------------

Test(boot_machine_check, without_it_nothing_is_read_and_nothing_used) {
    const uint32_t lacking[] = {0, BIT(7), BIT(14)};
    for (unsigned i = 0; i < ARRAY_COUNT(lacking); i++) {
        edx = lacking[i];
        reads = 0;
        cr_expect_eq(read_banks(true)->bank_count, 0);
        cr_expect(reads == 0 && info.word_count == 0);
    }
}

Test(boot_machine_check, banks_are_where_the_vendor_has_them) {
    const struct machine_check *m = read_banks(true);
    cr_expect(m->bank_count == 20 && m->first_msr == 0x400 && m->msrs_a_bank == 4);
    cr_expect(m->has_control && !m->has_config && m->controls == UINT64_MAX);
    cap = 200;
    cr_expect_eq(read_banks(true)->bank_count, 32, "behind them are the MSRs of VT-x");
    cr_expect_not(info.machine_check.has_control);
    m = read_banks(false);
    cr_expect(m->bank_count == 32 && m->first_msr == 0x400 && !m->has_config);
    amd_ebx = BIT(3);
    m = read_banks(false);
    cr_expect(m->bank_count == 64 && m->first_msr == 0xc0002000 && m->msrs_a_bank == 16);
    cr_expect(m->has_config);
    cr_expect_eq(read_banks(true)->first_msr, 0x400, "that leaf is AMD's");
}

Test(boot_machine_check, bank_0_of_old_models_is_the_firmwares) {
    const struct {
        uint32_t signature;
        bool is_written, is_broadcast;
    } cases[] = {
        {0x6d8, false, false},  // 06_0DH
        {0x6e8, false, true},   // 06_0EH
        {0x106a5, true, true},  // 06_1AH
        {0x10676, false, true}, // 06_17H
        {0xf4a, true, true},    // 0F_04H
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        signature = cases[i].signature;
        const struct machine_check *m = read_banks(true);
        cr_expect_eq(m->controls & 1, cases[i].is_written, "%#x", signature);
        cr_expect_eq(m->controls >> 1, UINT64_MAX >> 1);
        cr_expect_eq(m->is_broadcast, cases[i].is_broadcast, "%#x", signature);
        m = read_banks(false);
        cr_expect(m->controls == UINT64_MAX && !m->is_broadcast, "AMD has no such rules");
    }
}

Test(boot_machine_check, local_ones_need_processor_and_firmware) {
    const struct {
        uint64_t cap, control;
        bool has_local;
    } cases[] = {
        {LMCE_P, BIT(20) | BIT(0), true},
        {LMCE_P, BIT(20), false}, // not locked: VT-x's start would lock it
        {LMCE_P, BIT(0), false},
        {0, BIT(20) | BIT(0), false},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        cap = 20 | cases[i].cap;
        feature_control = cases[i].control;
        cr_expect_eq(read_banks(true)->has_local, cases[i].has_local, "case %u", i);
        uint32_t compared = 0;
        for (uint32_t k = 0; k < info.word_count; k++)
            compared += info.word[k].number == 0x3a && info.word[k].value == (BIT(20) | BIT(0));
        cr_expect_eq(compared, cases[i].has_local, "other CPUs need it, too");
        cr_expect_not(read_banks(false)->has_local);
    }
}

Test(boot_machine_check, other_cpus_need_what_is_used) {
    cap = 20 | CTL_P | SER_P | BIT(10) | BIT(11); // CMCI and threshold status are not used
    (void)read_banks(true);
    cr_assert_eq(info.word_count, 1);
    cr_expect(info.word[0].number == 0x179 && info.word[0].source == CPU_WORD_MSR);
    cr_expect(info.word[0].rule == CPU_WORD_BITS && info.word[0].value == (CTL_P | SER_P));
    cap = 20;
    (void)read_banks(true);
    cr_expect_eq(info.word_count, 0);
}

// ---- what an error means ------------------------------------------------------------------------

struct error {
    uint64_t status, misc, global;
    enum machine_check_severity severity;
};

static void judge(const struct machine_check *m, const struct error *errors, unsigned count,
                  bool is_amd) {
    for (unsigned i = 0; i < count; i++) {
        const struct error *e = &errors[i];
        struct abi_machine_check bank = {.status = e->status, .address = 0x12345678};
        if (is_amd)
            bank.address |= e->misc << 56;
        else
            bank.misc = e->misc;
        cr_expect_eq(machine_check_judge(m, e->global, &bank), e->severity, "error %u: %u", i,
                     machine_check_judge(m, e->global, &bank));
    }
}

#define SIGNALLED (VALID | UC | EN | S)
#define SRAR      (SIGNALLED | AR | MISCV | ADDRV)
#define PHYSICAL  (2ULL << 6)

// SDM 3B Tables 15-6, 15-19 and 15-20.
Test(boot_machine_check, intel_with_recovery) {
    const struct error errors[] = {
        {0, 0, RIPV, SEVERITY_NONE},
        {~VALID, 0, RIPV, SEVERITY_NONE},
        {VALID | EN | 0x134, 0, RIPV, SEVERITY_NONE}, // corrected
        {VALID | OVER | EN, 0, RIPV, SEVERITY_NONE},
        {VALID | UC | 0x134, 0, RIPV, SEVERITY_NONE},                              // not enabled
        {VALID | UC | EN | ADDRV | 0x136, 0, RIPV, SEVERITY_NONE},                 // UCNA
        {SIGNALLED | MISCV | ADDRV | 0xc0, PHYSICAL | 6, RIPV, SEVERITY_OPTIONAL}, // SRAO
        {SIGNALLED | OVER | 0x17a, 0, RIPV, SEVERITY_OPTIONAL},
        {SRAR | 0x134, PHYSICAL | 6, RIPV | EIPV, SEVERITY_CONSUMED},
        {SRAR | 0x134, PHYSICAL | 6, EIPV, SEVERITY_CONSUMED}, // not to be continued
        {SRAR | 0x150, PHYSICAL | 6, RIPV | EIPV, SEVERITY_CONSUMED},
        {SRAR | 0x1134, PHYSICAL | 6, RIPV | EIPV, SEVERITY_CONSUMED}, // filtered or not
        {SRAR | 0x134, PHYSICAL | 6, RIPV, SEVERITY_OTHERS},
        {SRAR | 0x135, PHYSICAL | 6, RIPV, SEVERITY_OTHERS},
        {SRAR | OVER | 0x134, PHYSICAL | 6, RIPV, SEVERITY_FATAL}, // another one is lost
        {(SRAR & ~ADDRV) | 0x134, PHYSICAL | 6, RIPV, SEVERITY_FATAL},
        {(SRAR & ~MISCV) | 0x134, PHYSICAL | 6, RIPV, SEVERITY_FATAL},
        {SRAR | 0x134, PHYSICAL | 6, 0, SEVERITY_FATAL}, // nobody knows who
        {SRAR | OVER | 0x134, PHYSICAL | 6, RIPV | EIPV, SEVERITY_FATAL},
        {SRAR | PCC | 0x134, PHYSICAL | 6, RIPV | EIPV, SEVERITY_FATAL},
        {SRAR | PCC | 0x134, PHYSICAL | 6, RIPV, SEVERITY_FATAL},
        {VALID | EN | PCC, 0, RIPV, SEVERITY_FATAL},
        {VALID | UC | PCC | S | AR, 0, RIPV, SEVERITY_NONE}, // not enabled: no exception comes
        {(SRAR & ~ADDRV) | 0x134, PHYSICAL | 6, RIPV | EIPV, SEVERITY_FATAL},
        {(SRAR & ~MISCV) | 0x134, PHYSICAL | 6, RIPV | EIPV, SEVERITY_FATAL},
        {SRAR | 0x135, PHYSICAL | 6, RIPV | EIPV, SEVERITY_FATAL}, // a code that says nothing
        {SRAR | 0x134, (1 << 6) | 6, RIPV | EIPV, SEVERITY_FATAL}, // a linear address
        {SRAR | 0x134, (3 << 6) | 6, RIPV | EIPV, SEVERITY_FATAL},
    };
    judge(read_banks(true), errors, ARRAY_COUNT(errors), false);
}

// More than a frame may be broken: the rest of it would be used again.
Test(boot_machine_check, an_error_beyond_a_frame_is_fatal) {
    for (unsigned lsb = 0; lsb < 64; lsb++) {
        uint32_t severity = lsb <= 12 ? SEVERITY_CONSUMED : SEVERITY_FATAL;
        const struct error intel = {SRAR | 0x134, PHYSICAL | lsb, RIPV | EIPV, severity};
        judge(read_banks(true), &intel, 1, false);
        amd_ebx = BIT(0) | BIT(1) | BIT(3);
        const struct error amd = {VALID | UC | EN | ADDRV | POISON, lsb, RIPV | EIPV, severity};
        judge(read_banks(false), &amd, 1, true);
        struct error in_status = amd;
        in_status.status |= (uint64_t)lsb << 24;
        in_status.misc = 0;
        judge(&info.machine_check, &in_status, 1, true);
    }
    cr_expect_lt(info.machine_check.rule_count, MACHINE_CHECK_RULES_MAX, "none is left out");
}

Test(boot_machine_check, intel_without_recovery) {
    const struct error errors[] = {
        {VALID | EN, 0, RIPV, SEVERITY_NONE},
        {VALID | UC, 0, RIPV, SEVERITY_NONE}, // not enabled
        {VALID | UC | EN, 0, RIPV, SEVERITY_FATAL},
        {SRAR | 0x134, PHYSICAL | 6, RIPV | EIPV, SEVERITY_FATAL},
        {VALID | PCC | UC | EN, 0, RIPV, SEVERITY_FATAL},
    };
    cap = 20;
    judge(read_banks(true), errors, ARRAY_COUNT(errors), false);
}

Test(boot_machine_check, amd) {
    const uint64_t used = VALID | UC | EN | ADDRV | POISON, deferred = BIT(44);
    const struct error errors[] = {
        {0, 0, RIPV, SEVERITY_NONE},
        {VALID | EN, 0, RIPV, SEVERITY_NONE},
        {VALID | deferred | ADDRV | POISON, 0, RIPV, SEVERITY_NONE},
        {used, 6, RIPV | EIPV, SEVERITY_CONSUMED},
        {used | OVER, 6, RIPV | EIPV, SEVERITY_CONSUMED},
        {used | AR, 6, EIPV, SEVERITY_CONSUMED}, // TCC: who used it ends anyway
        {used, 6, RIPV, SEVERITY_FATAL},         // the kernel may have used it, before it left
        {used, 6, 0, SEVERITY_FATAL},
        {used & ~POISON, 6, RIPV | EIPV, SEVERITY_FATAL},
        {used & ~ADDRV, 6, RIPV | EIPV, SEVERITY_FATAL},
        {used | PCC, 6, RIPV | EIPV, SEVERITY_FATAL},
        {(used | PCC) & ~EN, 6, RIPV | EIPV, SEVERITY_NONE},
        {used & ~(S | AR), 6, RIPV | EIPV, SEVERITY_CONSUMED}, // which are Intel's
    };
    amd_ebx = BIT(0) | BIT(1) | BIT(3);
    judge(read_banks(false), errors, ARRAY_COUNT(errors), true);
    const struct error lost = {used | OVER, 6, RIPV | EIPV, SEVERITY_FATAL};
    amd_ebx = BIT(1) | BIT(3);
    judge(read_banks(false), &lost, 1, true);
    judge(&info.machine_check, &errors[3], 1, true);
    const struct error plain = {used, 6, RIPV | EIPV, SEVERITY_FATAL};
    amd_ebx = BIT(0) | BIT(3);
    judge(read_banks(false), &plain, 1, true);
    amd_ebx = BIT(0) | BIT(1); // whose banks tell no address of memory
    judge(read_banks(false), &plain, 1, true);
}
