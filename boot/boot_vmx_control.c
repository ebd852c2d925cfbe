// SPDX-License-Identifier: Apache-2.0
// What we ask of VT-x, as one table: a row for each control that matters to us. Whatever is not
// named is off where the processor lets it be off.
#include "boot/boot_vmx.h"

enum control_wish {
    NEEDED, // without it this processor is refused
    WANTED, // used where it is there
    NEVER,  // a processor that forces it on is refused: no handler for it
};

struct control_row {
    uint8_t word; // enum control_word
    uint8_t wish; // enum control_wish
    uint32_t mask;
    const char *name;
};

#define ROW(word, wish, mask, name)                                                                \
    { (word), (wish), (uint32_t)(mask), (name) }

static const struct control_row control_rows[] = {
    ROW(CONTROL_PIN, NEEDED, PIN_EXTERNAL_INTERRUPT_EXITING, "external-interrupt exiting"),
    ROW(CONTROL_PIN, NEEDED, PIN_NMI_EXITING, "NMI exiting"),
    ROW(CONTROL_PIN, NEEDED, PIN_VIRTUAL_NMIS, "virtual NMIs"),
    ROW(CONTROL_PIN, WANTED, PIN_POSTED_INTERRUPTS, "processing posted interrupts"),

    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_TSC_OFFSETTING, "TSC offsetting"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_HLT_EXITING, "HLT exiting"),
    ROW(CONTROL_PRIMARY, WANTED, PRIMARY_MWAIT_EXITING, "MWAIT exiting"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_RDPMC_EXITING, "RDPMC exiting"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_CR8_LOAD_EXITING, "CR8-load exiting"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_CR8_STORE_EXITING, "CR8-store exiting"),
    ROW(CONTROL_PRIMARY, WANTED, PRIMARY_TPR_SHADOW, "TPR shadow"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_UNCONDITIONAL_IO_EXITING, "unconditional I/O exiting"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_MSR_BITMAPS, "MSR bitmaps"),
    ROW(CONTROL_PRIMARY, WANTED, PRIMARY_MONITOR_EXITING, "MONITOR exiting"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_SECONDARY_CONTROLS, "secondary controls"),
    ROW(CONTROL_PRIMARY, NEVER, PRIMARY_INVLPG_EXITING, "INVLPG exiting that cannot be turned off"),
    ROW(CONTROL_PRIMARY, NEVER, PRIMARY_RDTSC_EXITING, "RDTSC exiting that cannot be turned off"),
    ROW(CONTROL_PRIMARY, NEVER, PRIMARY_CR3_LOAD_EXITING, "CR3 exiting that cannot be turned off"),
    ROW(CONTROL_PRIMARY, NEVER, PRIMARY_CR3_STORE_EXITING, "CR3 exiting that cannot be turned off"),
    ROW(CONTROL_PRIMARY, NEVER, PRIMARY_MOV_DR_EXITING, "MOV-DR exiting that cannot be turned off"),

    ROW(CONTROL_SECONDARY, NEEDED, SECONDARY_EPT, "EPT"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_RDTSCP, "RDTSCP"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_X2APIC_MODE, "virtualizing x2APIC mode"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_VPID, "VPID"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_WBINVD_EXITING, "WBINVD exiting"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_UNRESTRICTED_GUEST, "unrestricted guest"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_APIC_REGISTERS, "APIC-register virtualization"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_INTERRUPT_DELIVERY, "virtual-interrupt delivery"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_PAUSE_LOOP_EXITING, "PAUSE-loop exiting"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_INVPCID, "INVPCID"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_ENCLS_EXITING, "ENCLS exiting"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_TSC_SCALING, "TSC scaling"),
    ROW(CONTROL_SECONDARY, WANTED, SECONDARY_ENCLV_EXITING, "ENCLV exiting"),

    ROW(CONTROL_EXIT, NEEDED, EXIT_CONTROL_SAVE_DEBUG, "saving debug controls on exit"),
    ROW(CONTROL_EXIT, NEEDED, EXIT_CONTROL_HOST_64, "64-bit hosts"),
    ROW(CONTROL_EXIT, NEEDED, EXIT_CONTROL_ACKNOWLEDGE, "acknowledging interrupts on exit"),
    ROW(CONTROL_EXIT, NEEDED, EXIT_CONTROL_SAVE_PAT, "saving IA32_PAT on exit"),
    ROW(CONTROL_EXIT, NEEDED, EXIT_CONTROL_LOAD_PAT, "loading IA32_PAT on exit"),
    ROW(CONTROL_EXIT, NEEDED, EXIT_CONTROL_SAVE_EFER, "saving IA32_EFER on exit"),
    ROW(CONTROL_EXIT, NEEDED, EXIT_CONTROL_LOAD_EFER, "loading IA32_EFER on exit"),

    ROW(CONTROL_ENTRY, NEEDED, ENTRY_CONTROL_LOAD_DEBUG, "loading debug controls on entry"),
    ROW(CONTROL_ENTRY, NEEDED, ENTRY_CONTROL_IA32E_GUEST, "64-bit guests"),
    ROW(CONTROL_ENTRY, NEEDED, ENTRY_CONTROL_LOAD_PAT, "loading IA32_PAT on entry"),
    ROW(CONTROL_ENTRY, NEEDED, ENTRY_CONTROL_LOAD_EFER, "loading IA32_EFER on entry"),
};

// Controls that come and go while a guest runs: they must be there, but start clear.
static const struct control_row control_dynamic_rows[] = {
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_INTERRUPT_WINDOW_EXITING, "interrupt-window exiting"),
    ROW(CONTROL_PRIMARY, NEEDED, PRIMARY_NMI_WINDOW_EXITING, "NMI-window exiting"),
};

struct control_allowed control_from_msr(uint64_t value) {
    return (struct control_allowed){(uint32_t)value, (uint32_t)(value >> 32)};
}

static bool is_refused(const struct control_row *row, const struct control_allowed *allowed) {
    if (row->wish == NEEDED)
        return (allowed->may1 & row->mask) != row->mask;
    return row->wish == NEVER && (allowed->must1 & row->mask) != 0;
}

const char *control_build(const struct control_allowed allowed[CONTROL_WORD_COUNT],
                          uint32_t words[CONTROL_WORD_COUNT]) {
    uint32_t want[CONTROL_WORD_COUNT] = {0};
    for (size_t i = 0; i < ARRAY_COUNT(control_rows); i++) {
        const struct control_row *row = &control_rows[i];
        if (is_refused(row, &allowed[row->word]))
            return row->name;
        if (row->wish != NEVER)
            want[row->word] |= row->mask;
    }
    for (size_t i = 0; i < ARRAY_COUNT(control_dynamic_rows); i++) {
        const struct control_row *row = &control_dynamic_rows[i];
        if (is_refused(row, &allowed[row->word]))
            return row->name;
    }
    for (unsigned word = 0; word < CONTROL_WORD_COUNT; word++)
        words[word] = (want[word] | allowed[word].must1) & allowed[word].may1;
    words[CONTROL_ENTRY] &= ~(uint32_t)ENTRY_CONTROL_IA32E_GUEST;
    return NULL;
}
