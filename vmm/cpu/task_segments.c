// SPDX-License-Identifier: Apache-2.0
// Hardware task switches: the new task's segments.
#include "vmm/cpu/task_parts.h"

#define TYPE_CONFORMING 4u
#define TYPE_CODE       8u
#define TYPE_LDT        2u
#define DPL             3u
#define VIRTUAL_8086    0xf3u

static unsigned dpl_of(const struct vcpu_segment *segment) {
    return segment->attributes >> DPL_SHIFT & DPL;
}

static bool load_ldt(struct task *t) {
    uint16_t selector = t->r->ldtr.selector;
    struct descriptor found;
    if (!(selector & (SELECTOR_INDEX | TABLE_LDT)))
        return true;
    if (selector & TABLE_LDT)
        return task_fail_selector(t, VECTOR_TS, selector);
    if (!task_find(t, selector, VECTOR_TS, &found))
        return false;
    unsigned kind = found.segment.attributes & (SYSTEM_TYPE | PRESENT);
    if (kind != (TYPE_LDT | PRESENT))
        return task_fail_selector(t, VECTOR_TS, selector);
    t->r->ldtr = found.segment;
    return true;
}

// Takes a qualified segment over, and marks its descriptor as accessed.
static bool take(struct task *t, struct vcpu_segment *to, struct descriptor *found) {
    struct span type;
    if (!(found->segment.attributes & TYPE_ACCESSED)) {
        if (!task_resolve(t, found->at + DESCRIPTOR_TYPE, 1, WALK_WRITE, &type))
            return false;
        task_change_type(&type, TYPE_ACCESSED, 0);
        found->segment.attributes |= TYPE_ACCESSED;
    }
    *to = found->segment;
    return true;
}

static bool load_code(struct task *t) {
    struct vcpu_segment *to = &t->r->cs;
    struct descriptor found;
    unsigned rpl = to->selector & RPL;
    if (!(to->selector & ~RPL))
        return task_fail(t, VECTOR_TS, 0);
    if (!task_find(t, to->selector, VECTOR_TS, &found))
        return false;
    const unsigned attributes = found.segment.attributes, dpl = dpl_of(&found.segment);
    bool is_code = (attributes & (CODE_OR_DATA | TYPE_CODE)) == (CODE_OR_DATA | TYPE_CODE);
    if (!is_code || (attributes & TYPE_CONFORMING ? dpl > rpl : dpl != rpl))
        return task_fail_selector(t, VECTOR_TS, to->selector);
    if (!(attributes & PRESENT))
        return task_fail_selector(t, VECTOR_NP, to->selector);
    return take(t, to, &found);
}

static bool load_stack(struct task *t) {
    const uint16_t selector = t->stack;
    const unsigned kind = CODE_OR_DATA | TYPE_CODE | TYPE_WRITABLE;
    struct descriptor found;
    if (!(selector & ~RPL))
        return task_fail(t, VECTOR_TS, 0);
    if (!task_find(t, selector, VECTOR_TS, &found))
        return false;
    if ((found.segment.attributes & kind) != (CODE_OR_DATA | TYPE_WRITABLE) ||
        dpl_of(&found.segment) != t->cpl || (selector & RPL) != t->cpl)
        return task_fail_selector(t, VECTOR_TS, selector);
    if (!(found.segment.attributes & PRESENT))
        return task_fail_selector(t, VECTOR_SS, selector);
    return take(t, &t->r->ss, &found);
}

static bool load_data(struct task *t, struct vcpu_segment *to) {
    struct descriptor found;
    if (!(to->selector & ~RPL))
        return true;
    if (!task_find(t, to->selector, VECTOR_TS, &found))
        return false;
    const unsigned attributes = found.segment.attributes, dpl = dpl_of(&found.segment);
    bool is_code = (attributes & TYPE_CODE) != 0;
    bool is_open = is_code && (attributes & TYPE_CONFORMING);
    if (!(attributes & CODE_OR_DATA) || (is_code && !(attributes & TYPE_WRITABLE)) ||
        (!is_open && (dpl < t->cpl || dpl < (to->selector & RPL))))
        return task_fail_selector(t, VECTOR_TS, to->selector);
    if (!(attributes & PRESENT))
        return task_fail_selector(t, VECTOR_NP, to->selector);
    return take(t, to, &found);
}

static void make_virtual_8086(struct task *t) {
    struct vcpu_segment *segments = &t->r->es;
    segments[2].selector = t->stack;
    for (unsigned i = 0; i < 6; i++)
        segments[i] = (struct vcpu_segment){.selector = segments[i].selector,
                                            .attributes = VIRTUAL_8086,
                                            .limit = 0xffff,
                                            .base = (uint64_t)segments[i].selector << 4};
}

bool task_load_segments(struct task *t) {
    struct vcpu_registers *r = t->r;
    if (r->rflags & FLAGS_VM) {
        make_virtual_8086(t);
        return load_ldt(t);
    }
    return load_ldt(t) && load_stack(t) && load_code(t) && load_data(t, &r->ds) &&
           load_data(t, &r->es) && load_data(t, &r->fs) && load_data(t, &r->gs);
}
