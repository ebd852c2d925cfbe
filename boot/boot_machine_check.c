// SPDX-License-Identifier: Apache-2.0
// See boot/boot_machine_check.h. SDM 3B 15.3.1.1 "IA32_MCG_CAP MSR", 15.3.1.5 "IA32_MCG_EXT_CTL
// MSR", 15.8 "Machine-Check Initialization"; APM 2 9.1.2 "Machine Check Registers", CPUID
// 80000007H.
#include "boot/boot_machine_check.h"

#include "lib/types.h"

#define LEAF_FEATURES 0x1u
#define EDX_MCE       BIT(7)
#define EDX_MCA       BIT(14)
#define LEAF_POWER    0x80000007u
#define EBX_OVERFLOW  BIT(0) // McaOverflowRecov
#define EBX_SUCCOR    BIT(1)
#define EBX_SCALABLE  BIT(3)

#define MSR_FEATURE_CONTROL  0x3au
#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_LMCE BIT(20)
#define MSR_MCG_CAP          0x179u
#define MCG_CAP_COUNT(cap)   ((uint32_t)(cap)&0xff)
#define MCG_CAP_CTL          BIT(8)
#define MCG_CAP_SER          BIT(24) // software error recovery
#define MCG_CAP_LMCE         BIT(27)

#define LEGACY_MSR    0x400u
#define LEGACY_MSRS   4u
#define LEGACY_BANKS  32u // behind them are the MSRs of VT-x
#define SCALABLE_MSR  0xc0002000u
#define SCALABLE_MSRS 16u

#define MCG_STATUS_RIPV BIT(0)
#define MCG_STATUS_EIPV BIT(1)

// MCi_STATUS: SDM 3B 15.3.2.2 "IA32_MCi_STATUS MSRS"; APM 2 9.3.2 "Error-Reporting Register Banks".
#define STATUS_VALID  BIT(63)
#define STATUS_OVER   BIT(62)
#define STATUS_UC     BIT(61)
#define STATUS_EN     BIT(60)
#define STATUS_MISCV  BIT(59)
#define STATUS_ADDRV  BIT(58)
#define STATUS_PCC    BIT(57)
#define STATUS_S      BIT(56) // Intel: signalled
#define STATUS_AR     BIT(55) // Intel: action required
#define STATUS_POISON BIT(43) // AMD
#define STATUS_CODE   0xefffu // but for the filter bit
#define DATA_LOAD     0x134u
#define FETCH         0x150u

// MCi_MISC: SDM 3B 15.3.2.4 "IA32_MCi_MISC MSRs". AMD's scalable banks have the LSB elsewhere.
#define MISC_MODE     (7u << 6)
#define MISC_PHYSICAL (2u << 6)
#define ADDRESS_LSB   56
#define STATUS_LSB    24

// Of the signature, SDM 2A "CPUID" Figure 3-6.
#define FAMILY_P6        6u
#define MODEL_BROADCAST  0x0eu // from it on, in that family
#define MODEL_BANK_0_CTL 0x1au // likewise

static uint32_t family_of(uint32_t signature) {
    uint32_t family = signature >> 8 & 0xf;
    return family != 0xf ? family : family + (signature >> 20 & 0xff);
}

static uint32_t model_of(uint32_t signature) {
    return (signature >> 4 & 0xf) | (signature >> 12 & 0xf0);
}

static void add_word(struct boot_info *info, uint32_t msr, uint64_t bits) {
    if (bits != 0 && info->word_count < BOOT_WORDS_MAX)
        info->word[info->word_count++] = (struct cpu_word){.number = msr,
                                                           .source = CPU_WORD_MSR,
                                                           .rule = CPU_WORD_BITS,
                                                           .mask = bits,
                                                           .value = bits};
}

// ---- what an error means ------------------------------------------------------------------------

static void add_rule(struct machine_check *m, const struct machine_check_rule *rule) {
    if (m->rule_count < MACHINE_CHECK_RULES_MAX)
        m->rule[m->rule_count++] = *rule;
}

// With these bits of the status as in `value`.
static void add_status(struct machine_check *m, uint64_t mask, uint64_t value, uint32_t severity) {
    const struct machine_check_rule rule = {.status = {mask, value}, .severity = severity};
    add_rule(m, &rule);
}

// Of six bits: 0 to 7, 8 to 11, 12.
static const struct { uint64_t mask, lsb; } most_12[] = {{0x38, 0}, {0x3c, 8}, {0x3f, 12}};

// `rule` for errors within a frame: bits of the address below the LSB mean nothing.
static void add_within_frame(struct machine_check *m, struct machine_check_rule rule, bool is_amd) {
    for (uint32_t i = 0; i < ARRAY_COUNT(most_12); i++) {
        if (is_amd) {
            rule.address.mask = most_12[i].mask << ADDRESS_LSB;
            rule.address.value = most_12[i].lsb << ADDRESS_LSB;
        } else {
            rule.misc.mask = MISC_MODE | most_12[i].mask;
            rule.misc.value = MISC_PHYSICAL | most_12[i].lsb;
        }
        add_rule(m, &rule);
    }
}

// SDM 3B 15.6.3 "UCR Error Classification", 15.9.3.2 "Architecturally Defined SRAR Errors". An
// instruction pointer that is valid neither to restart nor as the error's says nothing of who used
// the frame.
static void add_rules_of_intel(struct machine_check *m) {
    static const uint32_t codes[] = {DATA_LOAD, FETCH};
    const uint64_t has_frame = STATUS_MISCV | STATUS_ADDRV;
    const struct machine_check_rule others = {
        .status = {STATUS_OVER | has_frame, has_frame},
        .global = {MCG_STATUS_RIPV | MCG_STATUS_EIPV, MCG_STATUS_RIPV},
        .severity = SEVERITY_OTHERS,
    };
    add_status(m, STATUS_S, 0, SEVERITY_NONE);
    add_status(m, STATUS_AR, 0, SEVERITY_OPTIONAL);
    add_rule(m, &others);
    for (uint32_t i = 0; i < ARRAY_COUNT(codes); i++) {
        const struct machine_check_rule used = {
            .status = {STATUS_OVER | has_frame | STATUS_CODE, has_frame | codes[i]},
            .global = {MCG_STATUS_EIPV, MCG_STATUS_EIPV},
            .severity = SEVERITY_CONSUMED,
        };
        add_within_frame(m, used, false);
    }
}

// APM 2 9.3.2.2 "MCA Status Register": poison that was deferred when it was found, and is used now.
// The LSB is the status's or the address's, by bit 8 of the bank's MCA_CONFIG; the other one is 0.
static void add_rules_of_amd(struct machine_check *m, bool can_overflow) {
    const uint64_t used_bits = STATUS_ADDRV | STATUS_POISON;
    for (uint32_t i = 0; i < ARRAY_COUNT(most_12); i++) {
        const struct machine_check_rule used = {
            .status = {used_bits | (can_overflow ? 0 : STATUS_OVER) | most_12[i].mask << STATUS_LSB,
                       used_bits | most_12[i].lsb << STATUS_LSB},
            .global = {MCG_STATUS_EIPV, MCG_STATUS_EIPV},
            .severity = SEVERITY_CONSUMED,
        };
        add_within_frame(m, used, true);
    }
}

// What no rule names is fatal.
static void add_rules(struct machine_check *m) {
    add_status(m, STATUS_VALID, 0, SEVERITY_NONE);
    add_status(m, STATUS_EN, 0, SEVERITY_NONE); // it raises no exception, whatever it is
    add_status(m, STATUS_PCC, STATUS_PCC, SEVERITY_FATAL);
    add_status(m, STATUS_UC, 0, SEVERITY_NONE); // corrected; AMD: or deferred
}

// ---- what there is ------------------------------------------------------------------------------

static void read_intel(const struct boot_processor *cpu, uint32_t signature, uint64_t cap,
                       struct boot_info *info) {
    struct machine_check *m = &info->machine_check;
    const uint64_t is_let = FEATURE_CONTROL_LOCK | FEATURE_CONTROL_LMCE;
    uint32_t family = family_of(signature), model = model_of(signature);
    m->is_broadcast = family > FAMILY_P6 || (family == FAMILY_P6 && model >= MODEL_BROADCAST);
    if (family == FAMILY_P6 && model < MODEL_BANK_0_CTL)
        m->controls &= ~BIT(0); // the firmware's
    m->has_local =
        (cap & MCG_CAP_LMCE) != 0 && (cpu->rdmsr(MSR_FEATURE_CONTROL) & is_let) == is_let;
    add_word(info, MSR_FEATURE_CONTROL, m->has_local ? is_let : 0);
    if ((cap & MCG_CAP_SER) != 0)
        add_rules_of_intel(m);
}

static void read_amd(const struct boot_processor *cpu, uint64_t cap, struct machine_check *m) {
    uint32_t ebx = boot_leaf(cpu, LEAF_POWER, 0).ebx;
    if ((ebx & EBX_SCALABLE) != 0) {
        m->has_config = true;
        m->first_msr = SCALABLE_MSR;
        m->msrs_a_bank = SCALABLE_MSRS;
        m->bank_count = MIN(MCG_CAP_COUNT(cap), MACHINE_CHECK_BANKS_MAX);
    }
    if ((ebx & EBX_SUCCOR) != 0 && m->has_config) // else the address is not one of memory
        add_rules_of_amd(m, (ebx & EBX_OVERFLOW) != 0);
}

void boot_machine_check_read(const struct boot_processor *cpu, struct boot_info *info) {
    struct machine_check *m = &info->machine_check;
    struct boot_cpuid one = boot_leaf(cpu, LEAF_FEATURES, 0);
    *m = (struct machine_check){0};
    if ((one.edx & EDX_MCE) == 0 || (one.edx & EDX_MCA) == 0)
        return;
    uint64_t cap = cpu->rdmsr(MSR_MCG_CAP);
    *m = (struct machine_check){
        .controls = UINT64_MAX,
        .bank_count = MIN(MCG_CAP_COUNT(cap), LEGACY_BANKS),
        .first_msr = LEGACY_MSR,
        .msrs_a_bank = LEGACY_MSRS,
        .has_control = (cap & MCG_CAP_CTL) != 0,
    };
    add_rules(m);
    if (info->features.is_intel)
        read_intel(cpu, one.eax, cap, info);
    else
        read_amd(cpu, cap, m);
    add_word(info, MSR_MCG_CAP, cap & (MCG_CAP_CTL | MCG_CAP_SER | MCG_CAP_LMCE));
}
