// SPDX-License-Identifier: Apache-2.0
// Passing an MSR through needs that its value is the guest's whenever the guest runs: by the VMCS
// (SYSENTER, FS and GS base, PAT, TSC by its offset), or by load.c (the system-call MSRs, TSC_AUX).
// PRED_CMD and FLUSH_CMD have none: they are orders to forget, which harm nobody else.
#include "vmx/msr_bitmap.h"
#include "vmx/vmx.h"

#include "arch/cpu.h"
#include "arch/x86.h"
#include "kernel/frame.h"
#include "kernel/vlapic.h"
#include "lib/string.h"

const struct msr_rule msr_rules[] = {
    {MSR_TSC, MSR_TSC, MSR_PASS_READ, MSR_NEEDS_NOTHING},
    {MSR_PRED_CMD, MSR_PRED_CMD, MSR_PASS_WRITE, MSR_NEEDS_PRED_CMD},
    {MSR_FLUSH_CMD, MSR_FLUSH_CMD, MSR_PASS_WRITE, MSR_NEEDS_FLUSH_CMD},
    {MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_PASS_BOTH, MSR_NEEDS_NOTHING},
    {MSR_PAT, MSR_PAT, MSR_PASS_BOTH, MSR_NEEDS_NOTHING},
    {MSR_STAR, MSR_SFMASK, MSR_PASS_BOTH, MSR_NEEDS_NOTHING},
    {MSR_FS_BASE, MSR_KERNEL_GS_BASE, MSR_PASS_BOTH, MSR_NEEDS_NOTHING},
    {MSR_TSC_AUX, MSR_TSC_AUX, MSR_PASS_BOTH, MSR_NEEDS_RDTSCP},
};
const size_t msr_rule_count = ARRAY_COUNT(msr_rules);

_Static_assert(MSR_SYSENTER_EIP - MSR_SYSENTER_CS == 2, "CS, ESP, EIP in a row");
_Static_assert(MSR_SFMASK - MSR_STAR == 3, "STAR, LSTAR, CSTAR, SFMASK in a row");
_Static_assert(MSR_KERNEL_GS_BASE - MSR_FS_BASE == 2, "the three bases in a row");

// SDM 3C 25.6.9 "MSR-Bitmap Address": four KiB-sized parts; MSRs that no part covers always exit.
#define BITMAP_HIGH    1024u // offset of the part for MSRs from MSR_HIGH_FIRST
#define BITMAP_WRITE   2048u // what is added for writes
#define MSR_PART_COUNT 0x2000u
#define MSR_HIGH_FIRST 0xc0000000u

// The bit's position in the page for reads, or -1.
static int32_t bitmap_bit(uint32_t msr) {
    if (msr < MSR_PART_COUNT)
        return (int32_t)msr;
    if (msr - MSR_HIGH_FIRST < MSR_PART_COUNT)
        return (int32_t)(msr - MSR_HIGH_FIRST + BITMAP_HIGH * 8);
    return -1;
}

static void clear_bit(uint8_t *bitmap, int32_t bit) {
    bitmap[bit / 8] &= (uint8_t) ~(1u << (bit % 8));
}

static void let_pass(uint8_t *bitmap, uint32_t msr, uint32_t pass) {
    int32_t bit = bitmap_bit(msr);
    if (bit >= 0 && (pass & MSR_PASS_READ))
        clear_bit(bitmap, bit);
    if (bit >= 0 && (pass & MSR_PASS_WRITE))
        clear_bit(bitmap + BITMAP_WRITE, bit);
}

void msr_bitmap_fill(uint8_t bitmap[PAGE_SIZE], uint32_t has) {
    memset(bitmap, 0xff, PAGE_SIZE);
    for (size_t i = 0; i < msr_rule_count; i++) {
        const struct msr_rule *rule = &msr_rules[i];
        for (uint32_t msr = rule->first; msr <= rule->last; msr++)
            if ((rule->need & ~has) == 0)
                let_pass(bitmap, msr, rule->pass);
    }
}

void msr_bitmap_close_addresses(uint8_t bitmap[PAGE_SIZE]) {
    static const uint32_t addresses[] = {MSR_SYSENTER_ESP,  MSR_SYSENTER_EIP, MSR_LSTAR,
                                         MSR_CSTAR,         MSR_FS_BASE,      MSR_GS_BASE,
                                         MSR_KERNEL_GS_BASE};
    for (size_t i = 0; i < ARRAY_COUNT(addresses); i++) {
        uint32_t bit = (uint32_t)bitmap_bit(addresses[i]);
        bitmap[BITMAP_WRITE + bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
}

// SDM 3C 30.5 "Virtualizing MSR-Based APIC Accesses".
void msr_bitmap_open_apic(uint8_t bitmap[PAGE_SIZE], enum apic_level level) {
    let_pass(bitmap, MSR_X2APIC(VLAPIC_TPR), MSR_PASS_BOTH);
    if (level < APIC_REGISTERS)
        return;
    for (uint32_t msr = MSR_X2APIC_FIRST; msr <= MSR_X2APIC_LAST; msr++)
        if (vlapic_is_msr_stored(msr))
            let_pass(bitmap, msr, MSR_PASS_READ);
    let_pass(bitmap, MSR_X2APIC(VLAPIC_EOI), MSR_PASS_WRITE);
    let_pass(bitmap, MSR_X2APIC(VLAPIC_SELF_IPI), MSR_PASS_WRITE);
}

void msr_bitmap_open_spec(uint8_t bitmap[PAGE_SIZE]) {
    let_pass(bitmap, MSR_SPEC_CTRL, MSR_PASS_BOTH);
}

bool msr_bitmap_exits(const uint8_t bitmap[PAGE_SIZE], uint32_t msr, bool is_write) {
    int32_t bit = bitmap_bit(msr);
    if (bit < 0)
        return true;
    const uint8_t *part = is_write ? bitmap + BITMAP_WRITE : bitmap;
    return (part[bit / 8] >> (bit % 8)) & 1;
}

static void *bitmaps[2][2]; // [is_apic_open][is_spec_open]

static uint32_t needs_met(void) {
    return (vmx_caps.has_rdtscp ? MSR_NEEDS_RDTSCP : 0u) |
           (vmx_caps.has_pred_cmd ? MSR_NEEDS_PRED_CMD : 0u) |
           (vmx_caps.has_flush_cmd ? MSR_NEEDS_FLUSH_CMD : 0u);
}

static void fill(uint8_t *bitmap, bool is_apic_open, bool is_spec_open) {
    msr_bitmap_fill(bitmap, needs_met());
    if (cpu_features.has_la57)
        msr_bitmap_close_addresses(bitmap);
    if (is_apic_open)
        msr_bitmap_open_apic(bitmap, vmx_caps.apic);
    if (is_spec_open)
        msr_bitmap_open_spec(bitmap);
}

bool msr_bitmap_init(void) {
    for (unsigned apic = 0; apic < 2; apic++)
        for (unsigned spec = 0; spec < (vmx_caps.has_spec_ctrl ? 2 : 1); spec++) {
            bitmaps[apic][spec] = kernel_page_alloc();
            if (!bitmaps[apic][spec])
                return false;
            fill(bitmaps[apic][spec], apic, spec);
        }
    return true;
}

hpa_t msr_bitmap_get(bool is_apic_open, bool is_spec_open) {
    return frame_of_kernel(bitmaps[is_apic_open][is_spec_open]);
}
