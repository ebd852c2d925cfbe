// SPDX-License-Identifier: Apache-2.0
// The fields of the virtual-machine control structure, and access to those of the current one.
//
// Order and numbers: SDM 3D Appendix B "Field Encoding in VMCS"; the names are the manual's. A
// field belongs to the enum of its width, and each accessor takes one enum only: a wrong width is a
// compile-time error (-Wenum-conversion). An access that VT-x refuses is a bug of ours: panic, with
// the number of the field.
#pragma once

#include "lib/types.h"

enum vmcs_field16 {
    VMCS_VPID = 0x0000,
    VMCS_POSTED_INTERRUPT_VECTOR = 0x0002,
    VMCS_GUEST_SELECTORS = 0x0800, // of each enum vmcs_segment
    VMCS_GUEST_INTERRUPT_STATUS = 0x0810,
    VMCS_HOST_ES_SELECTOR = 0x0c00,
    VMCS_HOST_CS_SELECTOR = 0x0c02,
    VMCS_HOST_SS_SELECTOR = 0x0c04,
    VMCS_HOST_DS_SELECTOR = 0x0c06,
    VMCS_HOST_FS_SELECTOR = 0x0c08,
    VMCS_HOST_GS_SELECTOR = 0x0c0a,
    VMCS_HOST_TR_SELECTOR = 0x0c0c,
};

enum vmcs_field64 {
    VMCS_MSR_BITMAP = 0x2004,
    VMCS_EXIT_MSR_STORE = 0x2006,
    VMCS_EXIT_MSR_LOAD = 0x2008,
    VMCS_ENTRY_MSR_LOAD = 0x200a,
    VMCS_TSC_OFFSET = 0x2010,
    VMCS_VIRTUAL_APIC_PAGE = 0x2012,
    VMCS_POSTED_INTERRUPT_DESCRIPTOR = 0x2016,
    VMCS_EPTP = 0x201a,
    VMCS_EOI_EXIT_BITMAPS = 0x201c, // four
    VMCS_ENCLS_BITMAP = 0x202e,
    VMCS_TSC_MULTIPLIER = 0x2032,
    VMCS_ENCLV_BITMAP = 0x2036,
    VMCS_GUEST_PHYSICAL_ADDRESS = 0x2400,
    VMCS_LINK_POINTER = 0x2800,
    VMCS_GUEST_DEBUGCTL = 0x2802,
    VMCS_GUEST_PAT = 0x2804,
    VMCS_GUEST_EFER = 0x2806,
    VMCS_GUEST_PDPTES = 0x280a, // four
    VMCS_HOST_PAT = 0x2c00,
    VMCS_HOST_EFER = 0x2c02,
};

enum vmcs_field32 {
    VMCS_PIN_CONTROLS = 0x4000,
    VMCS_PRIMARY_CONTROLS = 0x4002,
    VMCS_EXCEPTION_BITMAP = 0x4004,
    VMCS_PAGE_FAULT_ERROR_MASK = 0x4006,
    VMCS_PAGE_FAULT_ERROR_MATCH = 0x4008,
    VMCS_CR3_TARGET_COUNT = 0x400a,
    VMCS_EXIT_CONTROLS = 0x400c,
    VMCS_EXIT_MSR_STORE_COUNT = 0x400e,
    VMCS_EXIT_MSR_LOAD_COUNT = 0x4010,
    VMCS_ENTRY_CONTROLS = 0x4012,
    VMCS_ENTRY_MSR_LOAD_COUNT = 0x4014,
    VMCS_ENTRY_INTERRUPTION_INFO = 0x4016,
    VMCS_ENTRY_EXCEPTION_ERROR = 0x4018,
    VMCS_ENTRY_INSTRUCTION_LENGTH = 0x401a,
    VMCS_TPR_THRESHOLD = 0x401c,
    VMCS_SECONDARY_CONTROLS = 0x401e,
    VMCS_PLE_GAP = 0x4020,
    VMCS_PLE_WINDOW = 0x4022,
    VMCS_INSTRUCTION_ERROR = 0x4400,
    VMCS_EXIT_REASON = 0x4402,
    VMCS_EXIT_INTERRUPTION_INFO = 0x4404,
    VMCS_EXIT_INTERRUPTION_ERROR = 0x4406,
    VMCS_IDT_VECTORING_INFO = 0x4408,
    VMCS_IDT_VECTORING_ERROR = 0x440a,
    VMCS_EXIT_INSTRUCTION_LENGTH = 0x440c,
    VMCS_GUEST_LIMITS = 0x4800, // of each enum vmcs_segment
    VMCS_GUEST_GDTR_LIMIT = 0x4810,
    VMCS_GUEST_IDTR_LIMIT = 0x4812,
    VMCS_GUEST_ACCESS_RIGHTS = 0x4814, // of each enum vmcs_segment
    VMCS_GUEST_INTERRUPTIBILITY = 0x4824,
    VMCS_GUEST_ACTIVITY = 0x4826,
    VMCS_GUEST_SYSENTER_CS = 0x482a,
    VMCS_HOST_SYSENTER_CS = 0x4c00,
};

enum vmcs_field_natural {
    VMCS_CR0_GUEST_HOST_MASK = 0x6000,
    VMCS_CR4_GUEST_HOST_MASK = 0x6002,
    VMCS_CR0_READ_SHADOW = 0x6004,
    VMCS_CR4_READ_SHADOW = 0x6006,
    VMCS_EXIT_QUALIFICATION = 0x6400,
    VMCS_GUEST_LINEAR_ADDRESS = 0x640a,
    VMCS_GUEST_CR0 = 0x6800,
    VMCS_GUEST_CR3 = 0x6802,
    VMCS_GUEST_CR4 = 0x6804,
    VMCS_GUEST_BASES = 0x6806, // of each enum vmcs_segment
    VMCS_GUEST_GDTR_BASE = 0x6816,
    VMCS_GUEST_IDTR_BASE = 0x6818,
    VMCS_GUEST_DR7 = 0x681a,
    VMCS_GUEST_RSP = 0x681c,
    VMCS_GUEST_RIP = 0x681e,
    VMCS_GUEST_RFLAGS = 0x6820,
    VMCS_GUEST_PENDING_DEBUG = 0x6822,
    VMCS_GUEST_SYSENTER_ESP = 0x6824,
    VMCS_GUEST_SYSENTER_EIP = 0x6826,
    VMCS_HOST_CR0 = 0x6c00,
    VMCS_HOST_CR3 = 0x6c02,
    VMCS_HOST_CR4 = 0x6c04,
    VMCS_HOST_FS_BASE = 0x6c06,
    VMCS_HOST_GS_BASE = 0x6c08,
    VMCS_HOST_TR_BASE = 0x6c0a,
    VMCS_HOST_GDTR_BASE = 0x6c0c,
    VMCS_HOST_IDTR_BASE = 0x6c0e,
    VMCS_HOST_SYSENTER_ESP = 0x6c10,
    VMCS_HOST_SYSENTER_EIP = 0x6c12,
    VMCS_HOST_RSP = 0x6c14,
    VMCS_HOST_RIP = 0x6c16,
};

// Segment registers stand in the same order in each group: ES CS SS DS FS GS LDTR TR, two apart.
enum vmcs_segment {
    VMCS_ES,
    VMCS_CS,
    VMCS_SS,
    VMCS_DS,
    VMCS_FS,
    VMCS_GS,
    VMCS_LDTR,
    VMCS_TR,
    VMCS_SEGMENT_COUNT,
};
#define VMCS_SELECTOR(segment)                                                                     \
    ((enum vmcs_field16)((unsigned)VMCS_GUEST_SELECTORS + 2 * (unsigned)(segment)))
#define VMCS_LIMIT(segment)                                                                        \
    ((enum vmcs_field32)((unsigned)VMCS_GUEST_LIMITS + 2 * (unsigned)(segment)))
#define VMCS_ACCESS_RIGHTS(segment)                                                                \
    ((enum vmcs_field32)((unsigned)VMCS_GUEST_ACCESS_RIGHTS + 2 * (unsigned)(segment)))
#define VMCS_BASE(segment)                                                                         \
    ((enum vmcs_field_natural)((unsigned)VMCS_GUEST_BASES + 2 * (unsigned)(segment)))
#define VMCS_EOI_EXIT_BITMAP(n)                                                                    \
    ((enum vmcs_field64)((unsigned)VMCS_EOI_EXIT_BITMAPS + 2 * (unsigned)(n)))
#define VMCS_PDPTE(n) ((enum vmcs_field64)((unsigned)VMCS_GUEST_PDPTES + 2 * (unsigned)(n)))

_Noreturn void vmcs_access_failed(uint32_t field);

// SDM 3C 31.3 "VMX Instructions": the operand of INVEPT and INVVPID.
struct vmx_invalidation {
    uint64_t target; // EPT pointer, or VPID
    uint64_t address;
};

#if __STDC_HOSTED__
// Unit tests bring a VMCS of their own.
uint64_t vmcs_read_field(uint32_t field);
void vmcs_write_field(uint32_t field, uint64_t value);
bool vmx_invept(uint64_t type, const struct vmx_invalidation *what);
bool vmx_invvpid(uint64_t type, const struct vmx_invalidation *what);
#else
// False: the instruction failed.
static inline bool vmx_invept(uint64_t type, const struct vmx_invalidation *what) {
    bool has_failed;
    __asm__ volatile("invept %1, %2" : "=@ccbe"(has_failed) : "m"(*what), "r"(type) : "memory");
    return !has_failed;
}
static inline bool vmx_invvpid(uint64_t type, const struct vmx_invalidation *what) {
    bool has_failed;
    __asm__ volatile("invvpid %1, %2" : "=@ccbe"(has_failed) : "m"(*what), "r"(type) : "memory");
    return !has_failed;
}

// SDM 3C 31.2 "Conventions": CF or ZF set means that the instruction failed.
static inline uint64_t vmcs_read_field(uint32_t field) {
    uint64_t value;
    __asm__ goto("vmread %1, %0\n\tjbe %l[failed]"
                 : "=r"(value)
                 : "r"((uint64_t)field)
                 : "cc"
                 : failed);
    return value;
failed:
    vmcs_access_failed(field);
}

static inline void vmcs_write_field(uint32_t field, uint64_t value) {
    __asm__ goto("vmwrite %0, %1\n\tjbe %l[failed]"
                 :
                 : "r"(value), "r"((uint64_t)field)
                 : "cc", "memory"
                 : failed);
    return;
failed:
    vmcs_access_failed(field);
}
#endif

static inline uint16_t vmcs_read16(enum vmcs_field16 field) {
    return (uint16_t)vmcs_read_field(field);
}
static inline uint32_t vmcs_read32(enum vmcs_field32 field) {
    return (uint32_t)vmcs_read_field(field);
}
static inline uint64_t vmcs_read64(enum vmcs_field64 field) {
    return vmcs_read_field(field);
}
static inline uint64_t vmcs_read(enum vmcs_field_natural field) {
    return vmcs_read_field(field);
}
static inline void vmcs_write16(enum vmcs_field16 field, uint16_t value) {
    vmcs_write_field(field, value);
}
static inline void vmcs_write32(enum vmcs_field32 field, uint32_t value) {
    vmcs_write_field(field, value);
}
static inline void vmcs_write64(enum vmcs_field64 field, uint64_t value) {
    vmcs_write_field(field, value);
}
static inline void vmcs_write(enum vmcs_field_natural field, uint64_t value) {
    vmcs_write_field(field, value);
}

#define VMCS_NONE (~0ULL)           // no VMCS is current
void vmcs_make_current(hpa_t vmcs); // VMPTRLD
void vmcs_clear(hpa_t vmcs);        // VMCLEAR: all of it is in memory, and it is not launched
hpa_t vmcs_get_current(void);       // VMPTRST
