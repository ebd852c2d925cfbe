// SPDX-License-Identifier: Apache-2.0
// What the files of a hardware task switch share; the interface is told in task.h.
#pragma once

#include "lib/types.h"
#include "vmm/cpu/task.h"

#define FLAGS_VM BIT(17)

enum vector { VECTOR_DB = 1, VECTOR_TS = 10, VECTOR_NP = 11, VECTOR_SS = 12, VECTOR_GP = 13 };

// Attributes as in struct vcpu_segment.
#define TYPE          0xfu
#define TYPE_ACCESSED 1u
#define TYPE_WRITABLE 2u // of data; of code: readable
#define TYPE_EXPANDS  4u // down, of data
#define TYPE_BUSY     2u
#define CODE_OR_DATA  0x10u
#define SYSTEM_TYPE   (CODE_OR_DATA | TYPE)
#define DPL_SHIFT     5
#define PRESENT       0x80u
#define BIG           0x4000u

#define RPL             3u
#define TABLE_LDT       4u
#define SELECTOR_INDEX  0xfff8u
#define DESCRIPTOR_TYPE 5u // its byte with type, S, DPL and P

// SDM 3A Figure 8-2 "32-Bit Task-State Segment (TSS)", Figure 8-10 "16-Bit TSS Format".
struct tss_format {
    uint8_t size;      // at least
    uint8_t width;     // of a register
    uint8_t cr3;       // offset; 0: it has none
    uint8_t eip;       // EFLAGS and the eight registers follow
    uint8_t selectors; // ES CS SS DS FS GS, the first of which are there
    uint8_t selector_count;
    uint8_t selector_step;
    uint8_t ldt;
    uint8_t trap; // 0: it has none
};

// Guest memory that an access is allowed to. NULL: nothing is there.
struct span {
    uint8_t *piece[2];
    unsigned first; // bytes in piece[0]
};

struct descriptor {
    uint64_t at;                 // linear address
    struct vcpu_segment segment; // with the selector it was found by
};

struct task {
    const struct task_request *request;
    struct vcpu_registers *r;
    struct task_fault *fault;
    enum task_result result;
    struct walk_ctx walk;
    const struct tss_format *old_format, *new_format;
    struct span old_tss, new_tss, link;
    struct span old_type, new_type; // that byte of the descriptor
    struct descriptor new;
    uint64_t pdpte[4];
    uint64_t cr3;
    unsigned cpl;   // of the new task
    uint16_t stack; // its SS
};

// Does an instruction deliver the event, INT n, INT3 or INTO?
bool task_is_software(const struct task *t);

// The switch ends by this fault. False, always. `task_fail_selector`: the error code names it.
bool task_fail(struct task *t, enum vector vector, unsigned error);
bool task_fail_selector(struct task *t, enum vector vector, uint16_t selector);

// Translates `size` bytes, at most a page, of linear memory for an access (WALK_*); false: it
// faults, and the switch ends by it.
bool task_resolve(struct task *t, uint64_t gva, unsigned size, unsigned access, struct span *span);

// A number of `size` bytes, little endian, at an offset in what was translated.
uint32_t task_load(const struct span *span, unsigned offset, unsigned size);
void task_store(const struct span *span, unsigned offset, unsigned size, uint64_t value);

// Bits of a descriptor's type, in one locked access each.
void task_change_type(const struct span *type, uint8_t set, uint8_t clear);

// What a selector names; outside the table it is a fault of that vector. SDM 3A 3.4.5 "Segment
// Descriptors".
bool task_find(struct task *t, uint16_t selector, enum vector vector, struct descriptor *found);

// Qualifies the new task's LDT and segments and loads them, in the order of SDM 3A Table 8-1
// "Exception Conditions Checked During a Task Switch". False: one faults in the new task.
bool task_load_segments(struct task *t);
