// SPDX-License-Identifier: Apache-2.0
// See arch/features.h.
#include "arch/features.h"

#include "arch/log.h"
#include "arch/mitigation.h"

struct cpu_features cpu_features;

static const struct cpu_word *words;
static uint32_t word_count;

void features_init(const struct cpu_word *list, uint32_t count) {
    words = list;
    word_count = count;
}

static uint64_t read_word(const struct cpu_word *word) {
    if (word->source == CPU_WORD_MSR)
        return x86_rdmsr(word->number) & word->mask;
    struct cpuid_result r = x86_cpuid(word->number, word->subleaf);
    const uint32_t registers[] = {r.eax, r.ebx, r.ecx, r.edx};
    return registers[word->source] & word->mask;
}

static bool is_enough(const struct cpu_word *word, uint64_t found) {
    uint64_t more = found & ~word->value, fewer = word->value & ~found;
    if (word->rule == CPU_WORD_CONTROLS)
        return (uint32_t)more == 0 && fewer >> 32 == 0;
    return fewer == 0 && (word->rule == CPU_WORD_BITS || more == 0);
}

bool features_compare(uint32_t apic_id) {
    static const char *const names[] = {"EAX of CPUID leaf", "EBX of CPUID leaf",
                                        "ECX of CPUID leaf", "EDX of CPUID leaf", "MSR"};
    for (const struct cpu_word *word = words; word < words + word_count; word++) {
        uint64_t found = read_word(word);
        if (is_enough(word, found))
            continue;
        log_line("the CPU with APIC ID %u is not like the first one: %s 0x%x, %u: 0x%lx is not "
                 "0x%lx: left off",
                 apic_id, names[word->source], word->number, word->subleaf, found, word->value);
        return false;
    }
    return true;
}

void features_enable(void) {
    const struct cpu_features *f = &cpu_features;
    x86_write_cr0((x86_read_cr0() | CR0_WP | CR0_NE | CR0_MP | CR0_ET) &
                  ~(CR0_EM | CR0_AM | CR0_CD | CR0_NW));
    x86_write_cr4(CR4_PAE | (mitigation.splits_tables ? 0 : CR4_PGE) | CR4_MCE | CR4_OSFXSR |
                  CR4_OSXMMEXCPT | (f->has_smep ? CR4_SMEP : 0) | (f->has_smap ? CR4_SMAP : 0) |
                  (f->has_umip ? CR4_UMIP : 0) | (f->has_xsave ? CR4_OSXSAVE : 0));
    if (f->has_xsave)
        x86_xsetbv(0, f->xcr0_mask);
    x86_wrmsr(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE);
    x86_wrmsr(MSR_PAT, PAT_RESET);
    x86_write_dr7(BIT(10));
    // The FPU's registers hold a guest's state while ring 3 runs: using them there is #NM.
    x86_write_cr0(x86_read_cr0() | CR0_TS);
}
