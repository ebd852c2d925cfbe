// SPDX-License-Identifier: Apache-2.0
// The fields of the virtual-machine control structure, and access to those of the current one.
//
// Order and numbers: SDM 3D Appendix B "Field Encoding in VMCS"; the names are the manual's. A
// field belongs to the enum of its width, and each accessor takes one enum only: a wrong width is a
// compile-time error (-Wenum-conversion). An access that VT-x refuses is a bug of ours: panic, with
// the name of the field.
#pragma once

#include "lib/types.h"

#define VMCS_FIELDS16(X)                                                                           \
    X(VMCS_VPID, 0x0000)                                                                           \
    X(VMCS_POSTED_INTERRUPT_VECTOR, 0x0002)                                                        \
    X(VMCS_GUEST_ES_SELECTOR, 0x0800)                                                              \
    X(VMCS_GUEST_CS_SELECTOR, 0x0802)                                                              \
    X(VMCS_GUEST_SS_SELECTOR, 0x0804)                                                              \
    X(VMCS_GUEST_DS_SELECTOR, 0x0806)                                                              \
    X(VMCS_GUEST_FS_SELECTOR, 0x0808)                                                              \
    X(VMCS_GUEST_GS_SELECTOR, 0x080a)                                                              \
    X(VMCS_GUEST_LDTR_SELECTOR, 0x080c)                                                            \
    X(VMCS_GUEST_TR_SELECTOR, 0x080e)                                                              \
    X(VMCS_GUEST_INTERRUPT_STATUS, 0x0810)                                                         \
    X(VMCS_HOST_ES_SELECTOR, 0x0c00)                                                               \
    X(VMCS_HOST_CS_SELECTOR, 0x0c02)                                                               \
    X(VMCS_HOST_SS_SELECTOR, 0x0c04)                                                               \
    X(VMCS_HOST_DS_SELECTOR, 0x0c06)                                                               \
    X(VMCS_HOST_FS_SELECTOR, 0x0c08)                                                               \
    X(VMCS_HOST_GS_SELECTOR, 0x0c0a)                                                               \
    X(VMCS_HOST_TR_SELECTOR, 0x0c0c)

#define VMCS_FIELDS64(X)                                                                           \
    X(VMCS_MSR_BITMAP, 0x2004)                                                                     \
    X(VMCS_EXIT_MSR_STORE, 0x2006)                                                                 \
    X(VMCS_EXIT_MSR_LOAD, 0x2008)                                                                  \
    X(VMCS_ENTRY_MSR_LOAD, 0x200a)                                                                 \
    X(VMCS_TSC_OFFSET, 0x2010)                                                                     \
    X(VMCS_VIRTUAL_APIC_PAGE, 0x2012)                                                              \
    X(VMCS_POSTED_INTERRUPT_DESCRIPTOR, 0x2016)                                                    \
    X(VMCS_EPTP, 0x201a)                                                                           \
    X(VMCS_EOI_EXIT_BITMAP0, 0x201c)                                                               \
    X(VMCS_EOI_EXIT_BITMAP1, 0x201e)                                                               \
    X(VMCS_EOI_EXIT_BITMAP2, 0x2020)                                                               \
    X(VMCS_EOI_EXIT_BITMAP3, 0x2022)                                                               \
    X(VMCS_ENCLS_BITMAP, 0x202e)                                                                   \
    X(VMCS_TSC_MULTIPLIER, 0x2032)                                                                 \
    X(VMCS_ENCLV_BITMAP, 0x2036)                                                                   \
    X(VMCS_GUEST_PHYSICAL_ADDRESS, 0x2400)                                                         \
    X(VMCS_LINK_POINTER, 0x2800)                                                                   \
    X(VMCS_GUEST_DEBUGCTL, 0x2802)                                                                 \
    X(VMCS_GUEST_PAT, 0x2804)                                                                      \
    X(VMCS_GUEST_EFER, 0x2806)                                                                     \
    X(VMCS_GUEST_PDPTE0, 0x280a)                                                                   \
    X(VMCS_GUEST_PDPTE1, 0x280c)                                                                   \
    X(VMCS_GUEST_PDPTE2, 0x280e)                                                                   \
    X(VMCS_GUEST_PDPTE3, 0x2810)                                                                   \
    X(VMCS_HOST_PAT, 0x2c00)                                                                       \
    X(VMCS_HOST_EFER, 0x2c02)

#define VMCS_FIELDS32(X)                                                                           \
    X(VMCS_PIN_CONTROLS, 0x4000)                                                                   \
    X(VMCS_PRIMARY_CONTROLS, 0x4002)                                                               \
    X(VMCS_EXCEPTION_BITMAP, 0x4004)                                                               \
    X(VMCS_PAGE_FAULT_ERROR_MASK, 0x4006)                                                          \
    X(VMCS_PAGE_FAULT_ERROR_MATCH, 0x4008)                                                         \
    X(VMCS_CR3_TARGET_COUNT, 0x400a)                                                               \
    X(VMCS_EXIT_CONTROLS, 0x400c)                                                                  \
    X(VMCS_EXIT_MSR_STORE_COUNT, 0x400e)                                                           \
    X(VMCS_EXIT_MSR_LOAD_COUNT, 0x4010)                                                            \
    X(VMCS_ENTRY_CONTROLS, 0x4012)                                                                 \
    X(VMCS_ENTRY_MSR_LOAD_COUNT, 0x4014)                                                           \
    X(VMCS_ENTRY_INTERRUPTION_INFO, 0x4016)                                                        \
    X(VMCS_ENTRY_EXCEPTION_ERROR, 0x4018)                                                          \
    X(VMCS_ENTRY_INSTRUCTION_LENGTH, 0x401a)                                                       \
    X(VMCS_TPR_THRESHOLD, 0x401c)                                                                  \
    X(VMCS_SECONDARY_CONTROLS, 0x401e)                                                             \
    X(VMCS_PLE_GAP, 0x4020)                                                                        \
    X(VMCS_PLE_WINDOW, 0x4022)                                                                     \
    X(VMCS_INSTRUCTION_ERROR, 0x4400)                                                              \
    X(VMCS_EXIT_REASON, 0x4402)                                                                    \
    X(VMCS_EXIT_INTERRUPTION_INFO, 0x4404)                                                         \
    X(VMCS_EXIT_INTERRUPTION_ERROR, 0x4406)                                                        \
    X(VMCS_IDT_VECTORING_INFO, 0x4408)                                                             \
    X(VMCS_IDT_VECTORING_ERROR, 0x440a)                                                            \
    X(VMCS_EXIT_INSTRUCTION_LENGTH, 0x440c)                                                        \
    X(VMCS_EXIT_INSTRUCTION_INFO, 0x440e)                                                          \
    X(VMCS_GUEST_ES_LIMIT, 0x4800)                                                                 \
    X(VMCS_GUEST_CS_LIMIT, 0x4802)                                                                 \
    X(VMCS_GUEST_SS_LIMIT, 0x4804)                                                                 \
    X(VMCS_GUEST_DS_LIMIT, 0x4806)                                                                 \
    X(VMCS_GUEST_FS_LIMIT, 0x4808)                                                                 \
    X(VMCS_GUEST_GS_LIMIT, 0x480a)                                                                 \
    X(VMCS_GUEST_LDTR_LIMIT, 0x480c)                                                               \
    X(VMCS_GUEST_TR_LIMIT, 0x480e)                                                                 \
    X(VMCS_GUEST_GDTR_LIMIT, 0x4810)                                                               \
    X(VMCS_GUEST_IDTR_LIMIT, 0x4812)                                                               \
    X(VMCS_GUEST_ES_ACCESS_RIGHTS, 0x4814)                                                         \
    X(VMCS_GUEST_CS_ACCESS_RIGHTS, 0x4816)                                                         \
    X(VMCS_GUEST_SS_ACCESS_RIGHTS, 0x4818)                                                         \
    X(VMCS_GUEST_DS_ACCESS_RIGHTS, 0x481a)                                                         \
    X(VMCS_GUEST_FS_ACCESS_RIGHTS, 0x481c)                                                         \
    X(VMCS_GUEST_GS_ACCESS_RIGHTS, 0x481e)                                                         \
    X(VMCS_GUEST_LDTR_ACCESS_RIGHTS, 0x4820)                                                       \
    X(VMCS_GUEST_TR_ACCESS_RIGHTS, 0x4822)                                                         \
    X(VMCS_GUEST_INTERRUPTIBILITY, 0x4824)                                                         \
    X(VMCS_GUEST_ACTIVITY, 0x4826)                                                                 \
    X(VMCS_GUEST_SYSENTER_CS, 0x482a)                                                              \
    X(VMCS_HOST_SYSENTER_CS, 0x4c00)

#define VMCS_FIELDS_NATURAL(X)                                                                     \
    X(VMCS_CR0_GUEST_HOST_MASK, 0x6000)                                                            \
    X(VMCS_CR4_GUEST_HOST_MASK, 0x6002)                                                            \
    X(VMCS_CR0_READ_SHADOW, 0x6004)                                                                \
    X(VMCS_CR4_READ_SHADOW, 0x6006)                                                                \
    X(VMCS_EXIT_QUALIFICATION, 0x6400)                                                             \
    X(VMCS_GUEST_LINEAR_ADDRESS, 0x640a)                                                           \
    X(VMCS_GUEST_CR0, 0x6800)                                                                      \
    X(VMCS_GUEST_CR3, 0x6802)                                                                      \
    X(VMCS_GUEST_CR4, 0x6804)                                                                      \
    X(VMCS_GUEST_ES_BASE, 0x6806)                                                                  \
    X(VMCS_GUEST_CS_BASE, 0x6808)                                                                  \
    X(VMCS_GUEST_SS_BASE, 0x680a)                                                                  \
    X(VMCS_GUEST_DS_BASE, 0x680c)                                                                  \
    X(VMCS_GUEST_FS_BASE, 0x680e)                                                                  \
    X(VMCS_GUEST_GS_BASE, 0x6810)                                                                  \
    X(VMCS_GUEST_LDTR_BASE, 0x6812)                                                                \
    X(VMCS_GUEST_TR_BASE, 0x6814)                                                                  \
    X(VMCS_GUEST_GDTR_BASE, 0x6816)                                                                \
    X(VMCS_GUEST_IDTR_BASE, 0x6818)                                                                \
    X(VMCS_GUEST_DR7, 0x681a)                                                                      \
    X(VMCS_GUEST_RSP, 0x681c)                                                                      \
    X(VMCS_GUEST_RIP, 0x681e)                                                                      \
    X(VMCS_GUEST_RFLAGS, 0x6820)                                                                   \
    X(VMCS_GUEST_PENDING_DEBUG, 0x6822)                                                            \
    X(VMCS_GUEST_SYSENTER_ESP, 0x6824)                                                             \
    X(VMCS_GUEST_SYSENTER_EIP, 0x6826)                                                             \
    X(VMCS_HOST_CR0, 0x6c00)                                                                       \
    X(VMCS_HOST_CR3, 0x6c02)                                                                       \
    X(VMCS_HOST_CR4, 0x6c04)                                                                       \
    X(VMCS_HOST_FS_BASE, 0x6c06)                                                                   \
    X(VMCS_HOST_GS_BASE, 0x6c08)                                                                   \
    X(VMCS_HOST_TR_BASE, 0x6c0a)                                                                   \
    X(VMCS_HOST_GDTR_BASE, 0x6c0c)                                                                 \
    X(VMCS_HOST_IDTR_BASE, 0x6c0e)                                                                 \
    X(VMCS_HOST_SYSENTER_ESP, 0x6c10)                                                              \
    X(VMCS_HOST_SYSENTER_EIP, 0x6c12)                                                              \
    X(VMCS_HOST_RSP, 0x6c14)                                                                       \
    X(VMCS_HOST_RIP, 0x6c16)

#define VMCS_ENUM_ROW(name, encoding) name = (encoding),
enum vmcs_field16 { VMCS_FIELDS16(VMCS_ENUM_ROW) };
enum vmcs_field64 { VMCS_FIELDS64(VMCS_ENUM_ROW) };
enum vmcs_field32 { VMCS_FIELDS32(VMCS_ENUM_ROW) };
enum vmcs_field_natural { VMCS_FIELDS_NATURAL(VMCS_ENUM_ROW) };
#undef VMCS_ENUM_ROW

// SDM 3C 25.11.2 "VMREAD, VMWRITE, and Encodings of VMCS Fields": bits 14:13 are the width, the
// lowest bit would name the upper half of a 64-bit field.
#define VMCS_WIDTH(encoding) (((encoding) >> 13) & 3)
#define VMCS_CHECK16(name, encoding)                                                               \
    _Static_assert(VMCS_WIDTH(encoding) == 0 && !((encoding)&1), #name);
#define VMCS_CHECK64(name, encoding)                                                               \
    _Static_assert(VMCS_WIDTH(encoding) == 1 && !((encoding)&1), #name);
#define VMCS_CHECK32(name, encoding)                                                               \
    _Static_assert(VMCS_WIDTH(encoding) == 2 && !((encoding)&1), #name);
#define VMCS_CHECK_NATURAL(name, encoding)                                                         \
    _Static_assert(VMCS_WIDTH(encoding) == 3 && !((encoding)&1), #name);
VMCS_FIELDS16(VMCS_CHECK16)
VMCS_FIELDS64(VMCS_CHECK64)
VMCS_FIELDS32(VMCS_CHECK32)
VMCS_FIELDS_NATURAL(VMCS_CHECK_NATURAL)

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
    ((enum vmcs_field16)((unsigned)VMCS_GUEST_ES_SELECTOR + 2 * (unsigned)(segment)))
#define VMCS_LIMIT(segment)                                                                        \
    ((enum vmcs_field32)((unsigned)VMCS_GUEST_ES_LIMIT + 2 * (unsigned)(segment)))
#define VMCS_ACCESS_RIGHTS(segment)                                                                \
    ((enum vmcs_field32)((unsigned)VMCS_GUEST_ES_ACCESS_RIGHTS + 2 * (unsigned)(segment)))
#define VMCS_BASE(segment)                                                                         \
    ((enum vmcs_field_natural)((unsigned)VMCS_GUEST_ES_BASE + 2 * (unsigned)(segment)))
#define VMCS_EOI_EXIT_BITMAP(n)                                                                    \
    ((enum vmcs_field64)((unsigned)VMCS_EOI_EXIT_BITMAP0 + 2 * (unsigned)(n)))
#define VMCS_PDPTE(n) ((enum vmcs_field64)((unsigned)VMCS_GUEST_PDPTE0 + 2 * (unsigned)(n)))

const char *vmcs_field_name(uint32_t field); // "?" for what is not in the tables
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
