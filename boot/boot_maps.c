// SPDX-License-Identifier: Apache-2.0
// See boot/boot_maps.h.
#include "boot/boot_maps.h"

#include "lib/string.h"
#include "lib/types.h"

const struct msr_rule boot_msr_rules[] = {
    {0x10, 0x10, PASS_READ, NEEDS_VTX},               // IA32_TIME_STAMP_COUNTER
    {0x48, 0x48, PASS_BOTH, NEEDS_SPEC_CTRL},         // IA32_SPEC_CTRL
    {0x49, 0x49, PASS_WRITE, NEEDS_PRED_CMD},         // IA32_PRED_CMD
    {0x10b, 0x10b, PASS_WRITE, NEEDS_FLUSH_CMD},      // IA32_FLUSH_CMD
    {0x174, 0x174, PASS_BOTH, 0},                     // IA32_SYSENTER_CS
    {0x175, 0x176, PASS_READ, 0},                     // IA32_SYSENTER_ESP, _EIP
    {0x175, 0x176, PASS_WRITE, NEEDS_48_BITS},        //
    {0x277, 0x277, PASS_BOTH, NEEDS_VTX},             // IA32_PAT
    {0x802, 0x803, PASS_READ, NEEDS_APIC_REGISTERS},  // ID, version
    {0x808, 0x808, PASS_BOTH, NEEDS_APIC_TPR},        // task priority
    {0x80a, 0x80a, PASS_READ, NEEDS_APIC_REGISTERS},  // processor priority
    {0x80b, 0x80b, PASS_WRITE, NEEDS_APIC_REGISTERS}, // EOI
    {0x80d, 0x80d, PASS_READ, NEEDS_APIC_REGISTERS},  // logical destination
    {0x80f, 0x828, PASS_READ, NEEDS_APIC_REGISTERS},  // spurious, ISR, TMR, IRR, error status
    {0x832, 0x838, PASS_READ, NEEDS_APIC_REGISTERS},  // LVT, initial count
    {0x83e, 0x83e, PASS_READ, NEEDS_APIC_REGISTERS},  // divide configuration
    {0x83f, 0x83f, PASS_WRITE, NEEDS_APIC_REGISTERS}, // self IPI
    {0xc0000081, 0xc0000081, PASS_BOTH, 0},           // IA32_STAR
    {0xc0000082, 0xc0000083, PASS_READ, 0},           // IA32_LSTAR, _CSTAR
    {0xc0000082, 0xc0000083, PASS_WRITE, NEEDS_48_BITS},
    {0xc0000084, 0xc0000084, PASS_BOTH, 0}, // IA32_FMASK
    {0xc0000100, 0xc0000102, PASS_READ, 0}, // IA32_FS_BASE, _GS_BASE, _KERNEL_GS_BASE
    {0xc0000100, 0xc0000102, PASS_WRITE, NEEDS_48_BITS},
    {0xc0000103, 0xc0000103, PASS_BOTH, NEEDS_RDTSCP}, // IA32_TSC_AUX
};
const uint32_t boot_msr_rule_count = ARRAY_COUNT(boot_msr_rules);

#define MSR_PART 0x2000u     // MSRs of a part of the maps; what no part covers always exits
#define MSR_HIGH 0xc0000000u // where the second part begins

// Clears the bits of what `has` lets pass: an MSR's are `bits_each` * (number in its part +
// MSR_PART if in the second) on; those of writes are `write_distance` behind those of reads.
static void let_pass(uint8_t *map, uint32_t has, uint32_t bits_each, uint32_t write_distance) {
    for (uint32_t i = 0; i < boot_msr_rule_count; i++) {
        const struct msr_rule *rule = &boot_msr_rules[i];
        if ((rule->needs & ~has) != 0)
            continue;
        for (uint32_t msr = rule->first; msr <= rule->last; msr++) {
            uint32_t bit = (msr < MSR_PART ? msr : msr - MSR_HIGH + MSR_PART) * bits_each;
            if ((rule->pass & PASS_READ) != 0)
                map[bit / 8] &= (uint8_t) ~(1u << bit % 8);
            bit += write_distance;
            if ((rule->pass & PASS_WRITE) != 0)
                map[bit / 8] &= (uint8_t) ~(1u << bit % 8);
        }
    }
}

// SDM 3C 25.6.9 "MSR-Bitmap Address": reads of both parts, then writes.
void boot_maps_fill_vmx(uint8_t pages[VMX_BITMAPS][BOOT_PAGE], const struct vmx_caps *caps,
                        bool has_la57) {
    const uint32_t always = NEEDS_VTX | (caps->has_rdtscp ? NEEDS_RDTSCP : 0u) |
                            (caps->has_pred_cmd ? NEEDS_PRED_CMD : 0u) |
                            (caps->has_flush_cmd ? NEEDS_FLUSH_CMD : 0u) |
                            (has_la57 ? 0u : NEEDS_48_BITS);
    const uint32_t apic =
        NEEDS_APIC_TPR | (caps->apic < APIC_REGISTERS ? 0u : NEEDS_APIC_REGISTERS);
    memset(pages, 0xff, VMX_BITMAPS * BOOT_PAGE);
    for (unsigned i = 0; i < VMX_BITMAPS; i++)
        let_pass(pages[i],
                 always | (i & VMX_BITMAP_APIC ? apic : 0u) |
                     (i & VMX_BITMAP_SPEC ? NEEDS_SPEC_CTRL : 0u),
                 1, 2 * MSR_PART);
}

// APM 2 15.10.1 "I/O Permissions Map", 15.11 "MSR Intercepts": of each MSR the read, then the
// write.
void boot_maps_fill_svm(uint8_t pages[SVM_MAP_PAGES][BOOT_PAGE], const struct svm_caps *caps) {
    const uint32_t has = NEEDS_48_BITS | (caps->has_rdtscp ? NEEDS_RDTSCP : 0u) |
                         (caps->has_pred_cmd ? NEEDS_PRED_CMD : 0u) |
                         (caps->has_spec_ctrl ? NEEDS_SPEC_CTRL : 0u);
    memset(pages, 0xff, SVM_MAP_PAGES * BOOT_PAGE);
    let_pass(pages[SVM_IOPM_PAGES], has, 2, 1);
}
