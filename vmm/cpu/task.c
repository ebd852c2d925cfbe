// SPDX-License-Identifier: Apache-2.0
// Hardware task switches; the interface is told in task.h. In the order of the manual: find the new
// TSS, translate all that is read or written before the commit point, save, load, then qualify the
// segments in the new task. SDM 3A 8.3 "Task Switching", Table 8-1 "Exception Conditions Checked
// During a Task Switch".
#include "vmm/cpu/task.h"

#define BIT(n)          (1ULL << (n))
#define CR0_TS          BIT(3)
#define CR0_PG          BIT(31)
#define CR4_PAE         BIT(5)
#define EFER_LMA        BIT(10)
#define DR6_BT          BIT(15)
#define DR7_LOCAL       0x155ULL // L0 to L3, LE
#define FLAGS_ONE       BIT(1)
#define FLAGS_NT        BIT(14)
#define FLAGS_VM        BIT(17)
#define FLAGS_AC        BIT(18)
#define FLAGS_DEFINED   0x3f7fd7ULL
#define BLOCKING_BY_NMI 8u // SDM 3C Table 25-3 "Format of Interruptibility State"

enum vector { VECTOR_DB = 1, VECTOR_TS = 10, VECTOR_NP = 11, VECTOR_SS = 12, VECTOR_GP = 13 };

// SDM 3C Table 25-15 "Format of the VM-Entry Interruption-Information Field".
enum event_type {
    EVENT_NMI = 2,
    EVENT_SOFTWARE_INTERRUPT = 4,
    EVENT_INT1 = 5,
    EVENT_SOFTWARE_EXCEPTION = 6,
};

// Attributes as in struct vcpu_segment.
#define TYPE            0xfu
#define TYPE_ACCESSED   1u
#define TYPE_WRITABLE   2u // of data; of code: readable
#define TYPE_CONFORMING 4u
#define TYPE_EXPANDS    4u // down, of data
#define TYPE_CODE       8u
#define TYPE_BUSY       2u
#define TYPE_32BIT      8u // of a TSS
#define TYPE_LDT        2u
#define CODE_OR_DATA    0x10u
#define SYSTEM_TYPE     (CODE_OR_DATA | TYPE)
#define DPL_SHIFT       5
#define DPL             3u
#define PRESENT         0x80u
#define BIG             0x4000u
#define GRANULAR        0x8000u
#define ATTRIBUTES      0xf0ffu
#define FLAT_CODE       0xc09bu // present, accessed
#define VIRTUAL_8086    0xf3u

#define RPL             3u
#define TABLE_LDT       4u
#define SELECTOR_INDEX  0xfff8u
#define SELECTOR_ERROR  0xfffcu // what of a selector stands in an error code
#define ERROR_EXTERNAL  1u
#define DESCRIPTOR_SIZE 8u
#define DESCRIPTOR_TYPE 5u // its byte with type, S, DPL and P

#define PAGE           4096u
#define REGISTER_COUNT 8u
#define RSP            4u
#define LINK_SIZE      2u

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
static const struct tss_format format_16 = {0x2c, 2, 0, 0x0e, 0x22, 4, 2, 0x2a, 0};
static const struct tss_format format_32 = {0x68, 4, 0x1c, 0x20, 0x48, 6, 4, 0x60, 0x64};

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

// ---- faults and memory --------------------------------------------------------------------------

static bool is_software(const struct task *t) {
    uint8_t type = t->request->event.type;
    return type == EVENT_SOFTWARE_INTERRUPT || type == EVENT_SOFTWARE_EXCEPTION;
}

// False, always. SDM 3A 6.13 "Error Code".
static bool fail(struct task *t, enum vector vector, unsigned error) {
    bool is_external = t->request->has_event && !is_software(t);
    t->fault->vector = (uint8_t)vector;
    t->fault->error = error | (is_external ? ERROR_EXTERNAL : 0);
    t->result = TASK_FAULT;
    return false;
}

static bool fail_selector(struct task *t, enum vector vector, uint16_t selector) {
    return fail(t, vector, selector & SELECTOR_ERROR);
}

static bool fail_walk(struct task *t, enum walk_status status, uint64_t gva, uint32_t error) {
    if (status != WALK_PAGE_FAULT)
        return fail(t, VECTOR_GP, 0);
    *t->fault = (struct task_fault){.vector = 14, .error = error, .cr2 = gva};
    t->result = TASK_FAULT;
    return false;
}

static bool resolve(struct task *t, uint64_t gva, unsigned size, unsigned access,
                    struct span *span) {
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

static uint32_t load(const struct span *span, unsigned offset, unsigned size) {
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        const volatile uint8_t *byte = byte_at(span, offset + i);
        value |= (uint32_t)(byte != NULL ? *byte : 0xff) << 8 * i;
    }
    return value;
}

static void store(const struct span *span, unsigned offset, unsigned size, uint64_t value) {
    for (unsigned i = 0; i < size; i++) {
        volatile uint8_t *byte = byte_at(span, offset + i);
        if (byte != NULL)
            *byte = (uint8_t)(value >> 8 * i);
    }
}

// Other processors may change other bits of it.
static void change_type(const struct span *type, uint8_t set, uint8_t clear) {
    uint8_t *byte = type->piece[0];
    if (byte == NULL)
        return;
    if (set != 0)
        __atomic_fetch_or(byte, set, __ATOMIC_SEQ_CST);
    if (clear != 0)
        __atomic_fetch_and(byte, (uint8_t)~clear, __ATOMIC_SEQ_CST);
}

// What a selector names; outside the table it is a fault of that vector. SDM 3A 3.4.5 "Segment
// Descriptors".
static bool find(struct task *t, uint16_t selector, enum vector vector, struct descriptor *found) {
    const struct vcpu_registers *r = t->r;
    const struct vcpu_segment *table = selector & TABLE_LDT ? &r->ldtr : &r->gdtr;
    uint32_t index = selector & SELECTOR_INDEX;
    struct span span;
    bool is_there = !(selector & TABLE_LDT) || !(r->ldtr.attributes & VCPU_SEGMENT_UNUSABLE);
    if (!is_there || index + DESCRIPTOR_SIZE - 1 > table->limit)
        return fail_selector(t, vector, selector);
    found->at = (uint32_t)(table->base + index);
    if (!resolve(t, found->at, DESCRIPTOR_SIZE, WALK_READ, &span))
        return false;
    uint32_t low = load(&span, 0, 4), high = load(&span, 4, 4);
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

static unsigned dpl_of(const struct vcpu_segment *segment) {
    return segment->attributes >> DPL_SHIFT & DPL;
}

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
        return fail_selector(t, vector, selector);
    if (!find(t, selector, vector, &t->new))
        return false;
    unsigned type = t->new.segment.attributes &SYSTEM_TYPE & ~TYPE_32BIT;
    if (type != (is_return ? 1u | TYPE_BUSY : 1u))
        return fail_selector(t, vector, selector);
    if (!(t->new.segment.attributes &PRESENT))
        return fail_selector(t, VECTOR_NP, selector);
    t->new_format = format_of(&t->new.segment);
    if (t->new.segment.limit < t->new_format->size - 1u)
        return fail_selector(t, VECTOR_TS, selector);
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
        return fail_selector(t, VECTOR_TS, old->selector);
    if (!resolve(t, old->base + t->old_format->eip, saved_size(t->old_format), WALK_WRITE,
                 &t->old_tss) ||
        !resolve(t, t->new.segment.base, t->new_format->size, WALK_READ, &t->new_tss))
        return false;
    if (is_nesting(t) && !resolve(t, t->new.segment.base, LINK_SIZE, WALK_WRITE, &t->link))
        return false;
    if (t->request->source != VCPU_TASK_IRET &&
        !resolve(t, t->new.at + DESCRIPTOR_TYPE, 1, WALK_WRITE, &t->new_type))
        return false;
    uint64_t old_at = t->r->gdtr.base + (old->selector & SELECTOR_INDEX);
    return is_nesting(t) || resolve(t, old_at + DESCRIPTOR_TYPE, 1, WALK_WRITE, &t->old_type);
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
    t->cr3 = load(&t->new_tss, t->new_format->cr3, 4);
    if (!(r->cr4 & CR4_PAE))
        return true;
    const volatile uint64_t *table =
        t->walk.guest_ptr(t->walk.opaque, t->cr3 & ~0x1fULL, sizeof(t->pdpte), false);
    for (unsigned i = 0; i < 4; i++) {
        t->pdpte[i] = table != NULL ? table[i] : UINT64_MAX;
        if ((t->pdpte[i] & 1) && (t->pdpte[i] & reserved))
            return fail(t, VECTOR_GP, 0);
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
    bool has_length = is_software(t) || request->event.type == EVENT_INT1;
    return t->r->rip + (has_length ? request->event.length : 0);
}

static void save_old(const struct task *t) {
    const struct tss_format *format = t->old_format;
    const struct vcpu_registers *r = t->r;
    const struct vcpu_segment *segments = &r->es;
    unsigned width = format->width, at = 0;
    bool is_return = t->request->source == VCPU_TASK_IRET;
    store(&t->old_tss, at, width, old_rip(t));
    store(&t->old_tss, at += width, width, is_return ? r->rflags & ~FLAGS_NT : r->rflags);
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        store(&t->old_tss, at += width, width, r->gpr[i]);
    at = (unsigned)(format->selectors - format->eip);
    for (unsigned i = 0; i < format->selector_count; i++, at += format->selector_step)
        store(&t->old_tss, at, 2, segments[i].selector);
}

// Table 8-2 "Effect of a Task Switch on Busy Flag, NT Flag, Previous Task Link Field, and TS Flag".
static void mark(const struct task *t) {
    if (is_nesting(t))
        store(&t->link, 0, LINK_SIZE, t->r->tr.selector);
    else
        change_type(&t->old_type, 0, TYPE_BUSY);
    if (t->request->source != VCPU_TASK_IRET)
        change_type(&t->new_type, TYPE_BUSY, 0);
}

// Segments that are not yet qualified: a state that VM entry takes, should one of them fault. CPL
// is that of the new task.
static void forget_segments(struct task *t) {
    struct vcpu_registers *r = t->r;
    struct vcpu_segment *segments = &r->es;
    const struct tss_format *format = t->new_format;
    for (unsigned i = 0; i < 6; i++) {
        unsigned at = format->selectors + i * format->selector_step;
        uint32_t selector = i < format->selector_count ? load(&t->new_tss, at, 2) : 0;
        segments[i] = (struct vcpu_segment){.selector = (uint16_t)selector,
                                            .attributes = VCPU_SEGMENT_UNUSABLE};
    }
    t->cpl = r->rflags & FLAGS_VM ? 3 : r->cs.selector & RPL;
    r->cs.attributes = (uint16_t)(FLAT_CODE | t->cpl << DPL_SHIFT);
    r->cs.limit = UINT32_MAX;
    r->ss.attributes |= (uint16_t)(t->cpl << DPL_SHIFT);
    t->stack = r->ss.selector;
    r->ss.selector = (uint16_t)((t->stack & ~RPL) | t->cpl);
    r->ldtr = (struct vcpu_segment){.selector = (uint16_t)load(&t->new_tss, format->ldt, 2),
                                    .attributes = VCPU_SEGMENT_UNUSABLE};
}

static void load_new(struct task *t) {
    struct vcpu_registers *r = t->r;
    const struct tss_format *format = t->new_format;
    unsigned width = format->width, at = format->eip;
    r->rip = load(&t->new_tss, at, width);
    r->rflags = (load(&t->new_tss, at += width, width) & FLAGS_DEFINED) | FLAGS_ONE;
    r->rflags |= is_nesting(t) ? FLAGS_NT : 0;
    for (unsigned i = 0; i < REGISTER_COUNT; i++)
        r->gpr[i] = load(&t->new_tss, at += width, width);
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

static bool load_ldt(struct task *t) {
    uint16_t selector = t->r->ldtr.selector;
    struct descriptor found;
    if (!(selector & (SELECTOR_INDEX | TABLE_LDT)))
        return true;
    if (selector & TABLE_LDT)
        return fail_selector(t, VECTOR_TS, selector);
    if (!find(t, selector, VECTOR_TS, &found))
        return false;
    unsigned kind = found.segment.attributes & (SYSTEM_TYPE | PRESENT);
    if (kind != (TYPE_LDT | PRESENT))
        return fail_selector(t, VECTOR_TS, selector);
    t->r->ldtr = found.segment;
    return true;
}

// Takes a qualified segment over, and marks its descriptor as accessed.
static bool take(struct task *t, struct vcpu_segment *to, struct descriptor *found) {
    struct span type;
    if (!(found->segment.attributes & TYPE_ACCESSED)) {
        if (!resolve(t, found->at + DESCRIPTOR_TYPE, 1, WALK_WRITE, &type))
            return false;
        change_type(&type, TYPE_ACCESSED, 0);
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
        return fail(t, VECTOR_TS, 0);
    if (!find(t, to->selector, VECTOR_TS, &found))
        return false;
    const unsigned attributes = found.segment.attributes, dpl = dpl_of(&found.segment);
    bool is_code = (attributes & (CODE_OR_DATA | TYPE_CODE)) == (CODE_OR_DATA | TYPE_CODE);
    if (!is_code || (attributes & TYPE_CONFORMING ? dpl > rpl : dpl != rpl))
        return fail_selector(t, VECTOR_TS, to->selector);
    if (!(attributes & PRESENT))
        return fail_selector(t, VECTOR_NP, to->selector);
    return take(t, to, &found);
}

static bool load_stack(struct task *t) {
    const uint16_t selector = t->stack;
    const unsigned kind = CODE_OR_DATA | TYPE_CODE | TYPE_WRITABLE;
    struct descriptor found;
    if (!(selector & ~RPL))
        return fail(t, VECTOR_TS, 0);
    if (!find(t, selector, VECTOR_TS, &found))
        return false;
    if ((found.segment.attributes & kind) != (CODE_OR_DATA | TYPE_WRITABLE) ||
        dpl_of(&found.segment) != t->cpl || (selector & RPL) != t->cpl)
        return fail_selector(t, VECTOR_TS, selector);
    if (!(found.segment.attributes & PRESENT))
        return fail_selector(t, VECTOR_SS, selector);
    return take(t, &t->r->ss, &found);
}

static bool load_data(struct task *t, struct vcpu_segment *to) {
    struct descriptor found;
    if (!(to->selector & ~RPL))
        return true;
    if (!find(t, to->selector, VECTOR_TS, &found))
        return false;
    const unsigned attributes = found.segment.attributes, dpl = dpl_of(&found.segment);
    bool is_code = (attributes & TYPE_CODE) != 0;
    bool is_open = is_code && (attributes & TYPE_CONFORMING);
    if (!(attributes & CODE_OR_DATA) || (is_code && !(attributes & TYPE_WRITABLE)) ||
        (!is_open && (dpl < t->cpl || dpl < (to->selector & RPL))))
        return fail_selector(t, VECTOR_TS, to->selector);
    if (!(attributes & PRESENT))
        return fail_selector(t, VECTOR_NP, to->selector);
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

static bool load_segments(struct task *t) {
    struct vcpu_registers *r = t->r;
    if (r->rflags & FLAGS_VM) {
        make_virtual_8086(t);
        return load_ldt(t);
    }
    return load_ldt(t) && load_stack(t) && load_code(t) && load_data(t, &r->ds) &&
           load_data(t, &r->es) && load_data(t, &r->fs) && load_data(t, &r->gs);
}

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
        return fail(t, VECTOR_SS, 0);
    t->walk.cpl = (uint8_t)t->cpl;
    t->walk.rflags = r->rflags;
    if (!resolve(t, r->ss.base + offset, size, WALK_WRITE, &span))
        return false;
    store(&span, 0, size, t->request->event.error);
    r->gpr[RSP] = (r->gpr[RSP] & ~(uint64_t)mask) | offset;
    return true;
}

// A task that wants to be seen starts with #DB: SDM 3B 18.3.1.5 "Task-Switch Exception Condition".
static bool check_trap(struct task *t) {
    if (t->new_format->trap == 0 || !(load(&t->new_tss, t->new_format->trap, 1) & 1))
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
    if (!load_segments(&t) || !push_error(&t))
        return t.result;
    registers->has_pending = 0;
    return check_trap(&t) ? TASK_DONE : t.result;
}
