// SPDX-License-Identifier: Apache-2.0
// Which values control registers can have, and have after a reset.
#include "vmm/cpu/control.h"

#define ATTRIBUTES_LONG BIT(13) // of CS: 64-bit code
#define ATTRIBUTES_DB   BIT(14)
#define CR3_PCID        0xfffULL
#define DEBUGCTL_BTF    BIT(1)

// ---- by CPUID -----------------------------------------------------------------------------------

enum feature_word { F1_ECX, F1_EDX, F7_EBX, F7_ECX, F7_EDX, F7_2_EDX, F8_EDX, FEATURE_WORDS };

struct feature_row {
    enum feature_word word;
    unsigned bit;
    uint64_t may;
};

// CR4's bits by name: SDM 3A 2.5 "Control Registers". CPUID's: SDM 2A "CPUID".
static const struct feature_row cr4_rows[] = {
    {F1_EDX, 1, BIT(0) | BIT(1)}, // VME, PVI
    {F1_EDX, 4, BIT(2)},          // TSD
    {F1_EDX, 2, BIT(3)},          // DE
    {F1_EDX, 3, CR4_PSE},         {F1_EDX, 6, CR4_PAE},  {F1_EDX, 7, CR4_MCE},
    {F1_EDX, 13, CR4_PGE},        {F1_EDX, 24, BIT(9)},  // OSFXSR
    {F1_EDX, 25, BIT(10)},                               // OSXMMEXCPT
    {F1_ECX, 17, CR4_PCIDE},      {F1_ECX, 26, BIT(18)}, // OSXSAVE
    {F7_EBX, 0, BIT(16)},                                // FSGSBASE
    {F7_EBX, 7, CR4_SMEP},        {F7_EBX, 20, BIT(21)}, // SMAP
    {F7_ECX, 2, BIT(11)},                                // UMIP
};
#define CR4_PCE BIT(8) // no CPUID bit stands for it; RDPMC faults all the same

static const struct feature_row efer_rows[] = {
    {F8_EDX, 11, EFER_SCE},
    {F8_EDX, 20, EFER_NXE},
    {F8_EDX, 29, EFER_LME | EFER_LMA},
};

// SDM 4 2.1 "Architectural MSRs".
static const struct feature_row spec_ctrl_rows[] = {
    {F7_EDX, 26, BIT(0)},           // IBRS
    {F7_EDX, 27, BIT(1)},           // STIBP
    {F7_EDX, 31, BIT(2)},           // SSBD
    {F7_2_EDX, 1, BIT(3) | BIT(4)}, // IPRED
    {F7_2_EDX, 2, BIT(5) | BIT(6)}, // RRSBA
    {F7_2_EDX, 0, BIT(7)},          // PSFD
    {F7_2_EDX, 3, BIT(8)},          // DDPD
    {F7_2_EDX, 4, BIT(10)},         // BHI
};

static uint64_t allowed(const uint32_t words[FEATURE_WORDS], const struct feature_row *rows,
                        size_t count) {
    uint64_t may = 0;
    for (size_t i = 0; i < count; i++)
        may |= words[rows[i].word] >> rows[i].bit & 1 ? rows[i].may : 0;
    return may;
}

static void learn_row(struct control *control, const struct abi_cpuid *row,
                      uint32_t words[FEATURE_WORDS]) {
    if (row->leaf == 1) {
        control->signature = row->eax;
        words[F1_ECX] = row->ecx;
        words[F1_EDX] = row->edx;
    } else if (row->leaf == 7 && row->subleaf == 0) {
        words[F7_EBX] = row->ebx;
        words[F7_ECX] = row->ecx;
        words[F7_EDX] = row->edx;
    } else if (row->leaf == 7 && row->subleaf == 2) {
        words[F7_2_EDX] = row->edx;
    } else if (row->leaf == 0xd && row->subleaf == 0) {
        control->xcr0 |= (uint64_t)row->edx << 32 | row->eax;
    } else if (row->leaf == 0x80000001) {
        words[F8_EDX] = row->edx;
    }
}

void control_learn(struct control *control, const struct abi_cpuid *table, size_t count) {
    uint32_t words[FEATURE_WORDS] = {0};
    control->xcr0 = XCR0_X87;
    for (size_t i = 0; i < count; i++)
        learn_row(control, &table[i], words);
    control->cr4 = CR4_PCE | allowed(words, cr4_rows, ARRAY_COUNT(cr4_rows));
    control->efer = allowed(words, efer_rows, ARRAY_COUNT(efer_rows));
    control->spec_ctrl = allowed(words, spec_ctrl_rows, ARRAY_COUNT(spec_ctrl_rows));
}

// Bits that MOV to CR0 ignores must be the guest's own: it would ask for them for ever.
uint64_t control_cr0_own(const struct control *control) {
    uint64_t own = ~(CR0_CD | CR0_NW | CR0_NE);
    return control->has_modes ? own : own & ~(CR0_PE | CR0_PG);
}

// MCE: machine checks are the host's.
uint64_t control_cr4_own(const struct control *control) {
    return control->cr4 & ~CR4_MCE;
}

// ---- writes -------------------------------------------------------------------------------------

static bool is_code_long(const struct vcpu_registers *r) {
    return (r->cs.attributes & ATTRIBUTES_LONG) != 0;
}

bool control_cr0_is_valid(const struct vcpu_registers *r, uint64_t value) {
    bool is_paging = (value & CR0_PG) != 0, was_paging = (r->cr0 & CR0_PG) != 0;
    if (value > UINT32_MAX || (is_paging && !(value & CR0_PE)) ||
        ((value & CR0_NW) && !(value & CR0_CD)))
        return false;
    if (!was_paging && is_paging && (r->efer & EFER_LME))
        return (r->cr4 & CR4_PAE) && !is_code_long(r);
    if (was_paging && !is_paging)
        return !(r->cr4 & CR4_PCIDE) && !((r->efer & EFER_LMA) && is_code_long(r));
    return true;
}

bool control_cr4_is_valid(const struct control *control, const struct vcpu_registers *r,
                          uint64_t value) {
    if ((value & ~control->cr4) || ((value & ~r->cr4 & CR4_PCIDE) && (r->cr3 & CR3_PCID)))
        return false;
    bool is_long = (r->efer & EFER_LMA) != 0;
    if (is_long && !(value & CR4_PAE))
        return false;
    return is_long || (r->cr4 & CR4_PCIDE) || !(value & CR4_PCIDE);
}

// Whether no processor could deliver it. SDM 3C Table 25-15 "Format of the VM-Entry
// Interruption-Information Field"; APM 2 15.20 "Event Injection".
static bool is_event_wrong(const struct vcpu_inject *event) {
    enum { EXTERNAL = 0, NMI = 2, EXCEPTION = 3, SOFTWARE_FIRST = 4, SOFTWARE_LAST = 6 };
    const uint32_t with_error = 0x60227d00u; // SDM 3A 6.15 "Exception and Interrupt Reference"
    if (event->type == EXTERNAL || (event->type >= SOFTWARE_FIRST && event->type <= SOFTWARE_LAST))
        return event->has_error;
    if (event->type == NMI)
        return event->vector != 2 || event->has_error;
    return event->type != EXCEPTION || event->vector >= 32 || event->vector == 2 ||
           (event->has_error && !(with_error & BIT(event->vector)));
}

const char *control_find_wrong(const struct control *control, const struct vcpu_registers *r,
                               unsigned physical_bits) {
    bool is_long = (r->efer & EFER_LME) && (r->cr0 & CR0_PG);
    if (r->cr0 > UINT32_MAX)
        return "CR0";
    if ((r->cr0 & CR0_PG) && !(r->cr0 & CR0_PE))
        return "CR0.PE";
    if (r->cr3 >> physical_bits)
        return "CR3";
    if (r->cr4 & ~control->cr4)
        return "CR4";
    if (is_long && !(r->cr4 & CR4_PAE))
        return "CR4.PAE";
    if (r->efer & ~(control->efer | EFER_LMA))
        return "EFER";
    if (is_long && is_code_long(r) && (r->cs.attributes & ATTRIBUTES_DB))
        return "CS.L and CS.D";
    if (r->dr6 > UINT32_MAX || r->dr7 > UINT32_MAX)
        return "DR6 or DR7";
    if (r->has_pending && is_event_wrong(&r->pending))
        return "the event that is pending";
    return "a segment or an address";
}

bool control_efer_is_valid(const struct control *control, const struct vcpu_registers *r,
                           uint64_t value) {
    if (value & ~control->efer)
        return false;
    return !(r->cr0 & CR0_PG) || !((r->efer ^ value) & EFER_LME);
}

// SDM 1 13.3 "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".
bool control_xcr0_is_valid(const struct control *control, uint64_t value) {
    if ((value & ~control->xcr0) || !(value & XCR0_X87))
        return false;
    if ((value & XCR0_AVX) && !(value & XCR0_SSE))
        return false;
    uint64_t avx512 = value & XCR0_AVX512;
    return !avx512 || (avx512 == XCR0_AVX512 && (value & XCR0_AVX));
}

// APM 2 7.8.1 "PAT Register": 2, 3 and what is above 7 are reserved.
bool control_pat_is_valid(uint64_t value) {
    for (unsigned at = 0; at < 64; at += 8) {
        uint8_t type = (uint8_t)(value >> at);
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

bool control_debugctl_is_valid(uint64_t value) {
    return !(value & ~DEBUGCTL_BTF);
}

bool control_loads_pdptes(const struct vcpu_registers *r, uint64_t cr0, uint64_t cr4) {
    const uint64_t cr0_loading = CR0_CD | CR0_NW | CR0_PG;
    const uint64_t cr4_loading = CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP;
    bool is_long = (r->efer & (EFER_LMA | EFER_LME)) != 0;
    return (cr0 & CR0_PG) && !is_long && (cr4 & CR4_PAE) &&
           (((r->cr0 ^ cr0) & cr0_loading) || ((r->cr4 ^ cr4) & cr4_loading));
}

bool control_pdpte_is_valid(uint64_t pdpte, unsigned physical_bits) {
    const uint64_t present = BIT(0), reserved = BIT(1) | BIT(2) | 0x1e0;
    return !(pdpte & present) || (!(pdpte & reserved) && !(pdpte >> physical_bits));
}

// ---- reset --------------------------------------------------------------------------------------

#define RESET_CR0 (CR0_CD | CR0_NW | CR0_ET)
#define RESET_RIP 0xfff0u
#define RESET_DR6 0xffff0ff0u
#define RESET_DR7 0x400u
#define RESET_RDX 0x600u                // a P6, where CPUID does not say more
#define RESET_PAT 0x0007040600070406ULL // WB WT UC- UC, twice
#define GPR_RDX   2u
#define RFLAGS_1  BIT(1)
#define SIPI_PAGE 12u

void control_init(const struct control *control, struct vcpu_registers *r) {
    const struct vcpu_segment data = {.attributes = 0x93, .limit = 0xffff};
    for (unsigned i = 0; i < ARRAY_COUNT(r->gpr); i++)
        r->gpr[i] = 0;
    r->gpr[GPR_RDX] = control->signature ? control->signature : RESET_RDX;
    r->rip = RESET_RIP;
    r->rflags = RFLAGS_1;
    r->cr0 = (r->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
    r->cr2 = r->cr3 = r->cr4 = r->efer = 0;
    r->dr[0] = r->dr[1] = r->dr[2] = r->dr[3] = 0;
    r->dr6 = RESET_DR6;
    r->dr7 = RESET_DR7;
    r->debugctl = r->pending_debug = 0;
    r->interruptibility = r->has_pending = 0;
    r->cs = (struct vcpu_segment){0xf000, 0x9b, 0xffff, 0xffff0000};
    r->es = r->ss = r->ds = r->fs = r->gs = data;
    r->ldtr = (struct vcpu_segment){.attributes = 0x82, .limit = 0xffff};
    r->tr = (struct vcpu_segment){.attributes = 0x8b, .limit = 0xffff};
    r->gdtr = r->idtr = (struct vcpu_segment){.limit = 0xffff};
}

void control_power_on(const struct control *control, struct vcpu_registers *r) {
    control_init(control, r);
    r->cr0 = RESET_CR0;
    r->pat = RESET_PAT;
    r->xcr0 = XCR0_X87;
    r->star = r->lstar = r->cstar = r->sfmask = r->kernel_gs_base = r->tsc_aux = 0;
    r->sysenter_cs = r->sysenter_esp = r->sysenter_eip = 0;
    r->spec_ctrl = 0;
    r->cr0_own = control_cr0_own(control);
    r->cr4_own = control_cr4_own(control);
    r->spec_ctrl_own = control->spec_ctrl;
}

void control_sipi(struct vcpu_registers *r, uint8_t vector) {
    r->cs.selector = (uint16_t)(vector << 8);
    r->cs.base = (uint64_t)vector << SIPI_PAGE;
    r->rip = 0;
}
