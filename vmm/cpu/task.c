// SPDX-License-Identifier: Apache-2.0
// Hardware task switches; the interface is told in task.h. In the order of the manual: find the new
// TSS, translate all that is read or written before the commit point, save, load, then qualify the
// segments in the new task. SDM 3A 8.3 "Task Switching", Table 8-1 "Exception Conditions Checked
// During a Task Switch".
#include "vmm/cpu/task_parts.h"

#define CR0_TS          BIT(3)
#define CR0_PG          BIT(31)
#define CR4_PAE         BIT(5)
#define EFER_LMA        BIT(10)
#define DR6_BT          BIT(15)
#define DR7_LOCAL       0x155ULL // L0 to L3, LE
#define FLAGS_ONE       BIT(1)
#define FLAGS_NT        BIT(14)
#define FLAGS_AC        BIT(18)
#define FLAGS_DEFINED   0x3f7fd7ULL
#define BLOCKING_BY_NMI 8u // SDM 3C Table 25-3 "Format of Interruptibility State"

// SDM 3C Table 25-15 "Format of the VM-Entry Interruption-Information Field".
enum event_type { EVENT_NMI = 2, EVENT_INT1 = 5 };

#define TYPE_32BIT     8u      // of a TSS
#define FLAT_CODE      0xc09bu // present, accessed
#define REGISTER_COUNT 8u
#define RSP            4u
#define LINK_SIZE      2u

static const struct tss_format format_16 = {0x2c, 2, 0, 0x0e, 0x22, 4, 2, 0x2a, 0};
static const struct tss_format format_32 = {0x68, 4, 0x1c, 0x20, 0x48, 6, 4, 0x60, 0x64};

// ---- before the commit point --------------------------------------------------------------------

static bool is_nesting(const struct task *t) {
    return t->request->source == VCPU_TASK_CALL || t->request->source == VCPU_TASK_GATE;
}

static const struct tss_format *format_of(const struct vcpu_segment *segment) {
    return segment->attributes & TYPE_32BIT ? &format_32 : &format_16;
}

static bool find_new(struct task *t) {
    bool is_return = t->request->source == VCPU_TASK_IRET;
    uint16_t selector = t->request->selector;
    enum vector vector = is_return ? VECTOR_TS : VECTOR_GP;
    if ((t->r->efer & EFER_LMA) || (selector & TABLE_LDT) || !(selector & SELECTOR_INDEX))
        return task_fail_selector(t, vector, selector);
    if (!task_find(t, selector, vector, &t->new))
        return false;
    unsigned type = t->new.segment.attributes &SYSTEM_TYPE & ~TYPE_32BIT;
    if (type != (is_return ? 1u | TYPE_BUSY : 1u))
        return task_fail_selector(t, vector, selector);
    if (!(t->new.segment.attributes &PRESENT))
        return task_fail_selector(t, VECTOR_NP, selector);
    t->new_format = format_of(&t->new.segment);
    if (t->new.segment.limit < t->new_format->size - 1u)
        return task_fail_selector(t, VECTOR_TS, selector);
    return true;
}

// What of the old TSS is written: from EIP to the last selector.
static unsigned saved_size(const struct tss_format *format) {
    return (unsigned)(format->ldt - format->eip);
}

static bool resolve_all(struct task *t) {
    const struct vcpu_segment *old = &t->r->tr;
    t->old_format = format_of(old);
    if (old->limit < t->old_format->size - 1u)
        return task_fail_selector(t, VECTOR_TS, old->selector);
    if (!task_resolve(t, old->base + t->old_format->eip, saved_size(t->old_format), WALK_WRITE,
                      &t->old_tss) ||
        !task_resolve(t, t->new.segment.base, t->new_format->size, WALK_READ, &t->new_tss))
        return false;
    if (is_nesting(t) && !task_resolve(t, t->new.segment.base, LINK_SIZE, WALK_WRITE, &t->link))
        return false;
    if (t->request->source != VCPU_TASK_IRET &&
        !task_resolve(t, t->new.at + DESCRIPTOR_TYPE, 1, WALK_WRITE, &t->new_type))
        return false;
    uint64_t old_at = t->r->gdtr.base + (old->selector & SELECTOR_INDEX);
    return is_nesting(t) || task_resolve(t, old_at + DESCRIPTOR_TYPE, 1, WALK_WRITE, &t->old_type);
}

// SDM 3A 4.4.1 "PDPTE Registers". The processor has them from here on, whatever the memory is
// later.
static bool take_cr3(struct task *t) {
    struct vcpu_registers *r = t->r;
    const struct task_request *request = t->request;
    const uint64_t reserved = ~(BIT(request->memory.physical_bits) - 1) | 0x1e6;
    t->cr3 = r->cr3;
    for (unsigned i = 0; i < 4; i++)
        t->pdpte[i] = r->pdpte[i];
    if (t->new_format->cr3 == 0 || !(r->cr0 & CR0_PG))
        return true;
    t->cr3 = task_load(&t->new_tss, t->new_format->cr3, 4);
    if (!(r->cr4 & CR4_PAE))
        return true;
    const volatile uint64_t *table =
        t->walk.guest_ptr(t->walk.opaque, t->cr3 & ~0x1fULL, sizeof(t->pdpte), false);
    for (unsigned i = 0; i < 4; i++) {
        t->pdpte[i] = table != NULL ? table[i] : UINT64_MAX;
        if ((t->pdpte[i] & 1) && (t->pdpte[i] & reserved))
            return task_fail(t, VECTOR_GP, 0);
    }
    return true;
}

// ---- the commit ---------------------------------------------------------------------------------

// Where the old task goes on: behind an instruction that asked for the switch, else where the event
// came.
static uint64_t old_rip(const struct task *t) {
    const struct task_request *request = t->request;
    if (!request->has_event)
        return t->r->rip + request->instruction_length;
    bool has_length = task_is_software(t) || request->event.type == EVENT_INT1;
    return t->r->rip + (has_length ? request->event.length : 0);
}

static void save_old(const struct task *t) {
    const struct tss_format *format = t->old_format;
    const struct vcpu_registers *r = t->r;
    const struct vcpu_segment *segments = &r->es;
    unsigned width = format->width, at = 0;
    bool is_return = t->request->source == VCPU_TASK_IRET;
    task_store(&t->old_tss, at, width, old_rip(t));
    task_store(&t->old_tss, at += width, width, is_return ? r->rflags & ~FLAGS_NT : r->rflags);
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        task_store(&t->old_tss, at += width, width, r->gpr[i]);
    at = (unsigned)(format->selectors - format->eip);
    for (unsigned i = 0; i < format->selector_count; i++, at += format->selector_step)
        task_store(&t->old_tss, at, 2, segments[i].selector);
}

// Table 8-2 "Effect of a Task Switch on Busy Flag, NT Flag, Previous Task Link Field, and TS Flag".
static void mark(const struct task *t) {
    if (is_nesting(t))
        task_store(&t->link, 0, LINK_SIZE, t->r->tr.selector);
    else
        task_change_type(&t->old_type, 0, TYPE_BUSY);
    if (t->request->source != VCPU_TASK_IRET)
        task_change_type(&t->new_type, TYPE_BUSY, 0);
}

// Segments that are not yet qualified: a state that VM entry takes, should one of them fault. CPL
// is that of the new task.
static void forget_segments(struct task *t) {
    struct vcpu_registers *r = t->r;
    struct vcpu_segment *segments = &r->es;
    const struct tss_format *format = t->new_format;
    for (unsigned i = 0; i < 6; i++) {
        unsigned at = format->selectors + i * format->selector_step;
        uint32_t selector = i < format->selector_count ? task_load(&t->new_tss, at, 2) : 0;
        segments[i] = (struct vcpu_segment){.selector = (uint16_t)selector,
                                            .attributes = VCPU_SEGMENT_UNUSABLE};
    }
    t->cpl = r->rflags & FLAGS_VM ? 3 : r->cs.selector & RPL;
    r->cs.attributes = (uint16_t)(FLAT_CODE | t->cpl << DPL_SHIFT);
    r->cs.limit = UINT32_MAX;
    r->ss.attributes |= (uint16_t)(t->cpl << DPL_SHIFT);
    t->stack = r->ss.selector;
    r->ss.selector = (uint16_t)((t->stack & ~RPL) | t->cpl);
    r->ldtr = (struct vcpu_segment){.selector = (uint16_t)task_load(&t->new_tss, format->ldt, 2),
                                    .attributes = VCPU_SEGMENT_UNUSABLE};
}

static void load_new(struct task *t) {
    struct vcpu_registers *r = t->r;
    const struct tss_format *format = t->new_format;
    unsigned width = format->width, at = format->eip;
    r->rip = task_load(&t->new_tss, at, width);
    r->rflags = (task_load(&t->new_tss, at += width, width) & FLAGS_DEFINED) | FLAGS_ONE;
    r->rflags |= is_nesting(t) ? FLAGS_NT : 0;
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        r->gpr[i] = task_load(&t->new_tss, at += width, width);
    r->cr3 = t->cr3;
    for (unsigned i = 0; i < 4; i++)
        r->pdpte[i] = t->pdpte[i];
    r->cr0 |= CR0_TS;
    r->dr7 &= ~DR7_LOCAL;
    r->pending_debug = 0;
    r->interruptibility &= t->request->source == VCPU_TASK_IRET ? 0 : BLOCKING_BY_NMI;
    if (t->request->has_event && t->request->event.type == EVENT_NMI)
        r->interruptibility = BLOCKING_BY_NMI;
    r->tr = t->new.segment;
    r->tr.attributes |= TYPE_BUSY;
    forget_segments(t);
    t->walk.cr0 = r->cr0;
    t->walk.cr3 = r->cr3;
}

// ---- in the new task ----------------------------------------------------------------------------

// SDM 3A 3.4.5.1 "Code- and Data-Segment Descriptor Types": what an expand-down segment's limit
// means.
static bool is_within(const struct vcpu_segment *segment, uint32_t offset, unsigned size) {
    uint32_t top = segment->attributes & BIG ? UINT32_MAX : 0xffff;
    if (offset > top || size - 1 > top - offset)
        return false;
    if (segment->attributes & TYPE_EXPANDS)
        return offset > segment->limit;
    return offset + (size - 1) <= segment->limit;
}

static bool push_error(struct task *t) {
    struct vcpu_registers *r = t->r;
    unsigned size = t->new_format->width;
    uint32_t mask = r->ss.attributes & BIG ? UINT32_MAX : 0xffff;
    struct span span;
    if (!t->request->has_event || !t->request->event.has_error)
        return true;
    uint32_t offset = (uint32_t)(r->gpr[RSP] - size) & mask;
    if (!is_within(&r->ss, offset, size))
        return task_fail(t, VECTOR_SS, 0);
    t->walk.cpl = (uint8_t)t->cpl;
    t->walk.rflags = r->rflags;
    if (!task_resolve(t, r->ss.base + offset, size, WALK_WRITE, &span))
        return false;
    task_store(&span, 0, size, t->request->event.error);
    r->gpr[RSP] = (r->gpr[RSP] & ~(uint64_t)mask) | offset;
    return true;
}

// A task that wants to be seen starts with #DB: SDM 3B 18.3.1.5 "Task-Switch Exception Condition".
static bool check_trap(struct task *t) {
    if (t->new_format->trap == 0 || !(task_load(&t->new_tss, t->new_format->trap, 1) & 1))
        return true;
    t->r->dr6 |= DR6_BT;
    *t->fault = (struct task_fault){.vector = VECTOR_DB};
    t->result = TASK_FAULT;
    return false;
}

enum task_result task_switch(const struct task_request *request, struct vcpu_registers *registers,
                             struct task_fault *fault) {
    struct task t = {.request = request, .r = registers, .fault = fault, .walk = request->memory};
    *fault = (struct task_fault){0};
    t.walk.cr0 = registers->cr0;
    t.walk.cr3 = registers->cr3;
    t.walk.cr4 = registers->cr4;
    t.walk.efer = registers->efer;
    t.walk.rflags = registers->rflags & ~FLAGS_AC;
    t.walk.cpl = 0;
    if (!find_new(&t) || !resolve_all(&t) || !take_cr3(&t))
        return t.result;
    save_old(&t);
    mark(&t);
    load_new(&t);
    if (!task_load_segments(&t) || !push_error(&t))
        return t.result;
    registers->has_pending = 0;
    return check_trap(&t) ? TASK_DONE : t.result;
}
