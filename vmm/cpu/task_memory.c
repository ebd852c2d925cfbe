// SPDX-License-Identifier: Apache-2.0
// Hardware task switches: faults, descriptors, and guest memory that may be anything.
#include "vmm/cpu/task_parts.h"

#define PAGE            4096u
#define ATTRIBUTES      0xf0ffu
#define GRANULAR        0x8000u
#define SELECTOR_ERROR  0xfffcu // what of a selector stands in an error code
#define ERROR_EXTERNAL  1u
#define DESCRIPTOR_SIZE 8u

// SDM 3C Table 25-15 "Format of the VM-Entry Interruption-Information Field".
enum event_type { EVENT_SOFTWARE_INTERRUPT = 4, EVENT_SOFTWARE_EXCEPTION = 6 };

bool task_is_software(const struct task *t) {
    uint8_t type = t->request->event.type;
    return type == EVENT_SOFTWARE_INTERRUPT || type == EVENT_SOFTWARE_EXCEPTION;
}

// SDM 3A 6.13 "Error Code".
bool task_fail(struct task *t, enum vector vector, unsigned error) {
    bool is_external = t->request->has_event && !task_is_software(t);
    t->fault->vector = (uint8_t)vector;
    t->fault->error = error | (is_external ? ERROR_EXTERNAL : 0);
    t->result = TASK_FAULT;
    return false;
}

bool task_fail_selector(struct task *t, enum vector vector, uint16_t selector) {
    return task_fail(t, vector, selector & SELECTOR_ERROR);
}

static bool fail_walk(struct task *t, enum walk_status status, uint64_t gva, uint32_t error) {
    if (status != WALK_PAGE_FAULT)
        return task_fail(t, VECTOR_GP, 0);
    *t->fault = (struct task_fault){.vector = 14, .error = error, .cr2 = gva};
    t->result = TASK_FAULT;
    return false;
}

bool task_resolve(struct task *t, uint64_t gva, unsigned size, unsigned access, struct span *span) {
    gva = (uint32_t)gva;
    unsigned left = PAGE - (unsigned)(gva % PAGE);
    *span = (struct span){.first = left < size ? left : size};
    for (unsigned i = 0, done = 0; done < size; i++) {
        struct walk_result to;
        uint64_t at = (uint32_t)(gva + done);
        unsigned part = i == 0 ? span->first : size - span->first;
        enum walk_status status = walk_translate(&t->walk, at, access, &to);
        if (status != WALK_OK)
            return fail_walk(t, status, at, to.error_code);
        span->piece[i] =
            t->walk.guest_ptr(t->walk.opaque, to.gpa, part, (access & WALK_WRITE) != 0);
        done += part;
    }
    return true;
}

static volatile uint8_t *byte_at(const struct span *span, unsigned offset) {
    uint8_t *piece = span->piece[offset >= span->first];
    if (piece == NULL)
        return NULL;
    return piece + (offset >= span->first ? offset - span->first : offset);
}

uint32_t task_load(const struct span *span, unsigned offset, unsigned size) {
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        const volatile uint8_t *byte = byte_at(span, offset + i);
        value |= (uint32_t)(byte != NULL ? *byte : 0xff) << 8 * i;
    }
    return value;
}

void task_store(const struct span *span, unsigned offset, unsigned size, uint64_t value) {
    for (unsigned i = 0; i < size; i++) {
        volatile uint8_t *byte = byte_at(span, offset + i);
        if (byte != NULL)
            *byte = (uint8_t)(value >> 8 * i);
    }
}

// Other processors may change other bits of it.
void task_change_type(const struct span *type, uint8_t set, uint8_t clear) {
    uint8_t *byte = type->piece[0];
    if (byte == NULL)
        return;
    if (set != 0)
        __atomic_fetch_or(byte, set, __ATOMIC_SEQ_CST);
    if (clear != 0)
        __atomic_fetch_and(byte, (uint8_t)~clear, __ATOMIC_SEQ_CST);
}

bool task_find(struct task *t, uint16_t selector, enum vector vector, struct descriptor *found) {
    const struct vcpu_registers *r = t->r;
    const struct vcpu_segment *table = selector & TABLE_LDT ? &r->ldtr : &r->gdtr;
    uint32_t index = selector & SELECTOR_INDEX;
    struct span span;
    bool is_there = !(selector & TABLE_LDT) || !(r->ldtr.attributes & VCPU_SEGMENT_UNUSABLE);
    if (!is_there || index + DESCRIPTOR_SIZE - 1 > table->limit)
        return task_fail_selector(t, vector, selector);
    found->at = (uint32_t)(table->base + index);
    if (!task_resolve(t, found->at, DESCRIPTOR_SIZE, WALK_READ, &span))
        return false;
    uint32_t low = task_load(&span, 0, 4), high = task_load(&span, 4, 4);
    uint32_t limit = (low & 0xffff) | (high & 0xf0000);
    uint16_t attributes = (uint16_t)(high >> 8 & ATTRIBUTES);
    found->segment = (struct vcpu_segment){
        .selector = selector,
        .attributes = attributes,
        .limit = attributes & GRANULAR ? limit << 12 | 0xfff : limit,
        .base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000),
    };
    return true;
}
