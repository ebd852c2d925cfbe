// SPDX-License-Identifier: Apache-2.0
// What VM entry wants of the registers that a task switch leaves, written down from SDM 3C 27.3.1
// "Checks on the Guest State Area" and without a look at the code that it judges. Outside long
// mode, in protected mode.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/abi.h"

#define STATE_VM86 (1u << 17)

static bool has_granularity_of_its_limit(const struct vcpu_segment *s) {
    bool is_granular = (s->attributes & 0x8000) != 0;
    return is_granular ? (s->limit & 0xfff) == 0xfff : (s->limit >> 20) == 0;
}

static const char *refuse_code(const struct vcpu_registers *r) {
    unsigned type = r->cs.attributes & 0xf, dpl = r->cs.attributes >> 5 & 3;
    unsigned stack_dpl = r->ss.attributes >> 5 & 3;
    if (r->cs.attributes & VCPU_SEGMENT_UNUSABLE || (r->cs.attributes & 0x90) != 0x90)
        return "CS is not there";
    if (type != 9 && type != 11 && type != 13 && type != 15)
        return "type of CS";
    if (type < 12 ? dpl != stack_dpl : dpl > stack_dpl)
        return "DPL of CS";
    if ((r->cs.selector & 3) != (r->ss.selector & 3))
        return "RPL of CS and SS";
    return NULL;
}

static const char *refuse_data(const struct vcpu_segment *s) {
    unsigned type = s->attributes & 0xf;
    if (s->attributes & VCPU_SEGMENT_UNUSABLE)
        return NULL;
    if (!(type & 1) || ((type & 8) && !(type & 2)) || (s->attributes & 0x90) != 0x90)
        return "type of a data segment";
    if (type < 12 && (unsigned)(s->attributes >> 5 & 3) < (s->selector & 3u))
        return "DPL of a data segment";
    return NULL;
}

static const char *refuse_segments(const struct vcpu_registers *r) {
    const struct vcpu_segment *segments = &r->es;
    if (r->rflags & STATE_VM86) {
        for (unsigned i = 0; i < 6; i++)
            if (segments[i].base != (uint64_t)segments[i].selector << 4 ||
                segments[i].limit != 0xffff || segments[i].attributes != 0xf3)
                return "a segment of virtual-8086 mode";
        return NULL;
    }
    if ((r->ss.attributes >> 5 & 3) != (r->ss.selector & 3))
        return "DPL and RPL of SS";
    if (!(r->ss.attributes & VCPU_SEGMENT_UNUSABLE) &&
        ((r->ss.attributes & 0xf) != 3 && (r->ss.attributes & 0xf) != 7))
        return "type of SS";
    const char *reason = refuse_code(r);
    for (unsigned i = 0; i < 6; i++) {
        if (!reason && i != 1)
            reason = refuse_data(&segments[i]);
        if (!(segments[i].attributes & VCPU_SEGMENT_UNUSABLE) &&
            (!has_granularity_of_its_limit(&segments[i]) || segments[i].base >> 32))
            return "limit or base of a segment";
    }
    return reason;
}

// NULL: it would be entered.
static inline const char *task_state_refused(const struct vcpu_registers *r) {
    if ((r->rflags & ~0x3f7fd7ULL) || !(r->rflags & 2) || r->rip >> 32)
        return "RFLAGS or RIP";
    unsigned tr = r->tr.attributes & 0x19f;
    if ((tr != 0x8b && tr != 0x83) || (r->tr.selector & 4) || !has_granularity_of_its_limit(&r->tr))
        return "TR";
    if (!(r->ldtr.attributes & VCPU_SEGMENT_UNUSABLE) &&
        ((r->ldtr.attributes & 0x19f) != 0x82 || (r->ldtr.selector & 4) ||
         !has_granularity_of_its_limit(&r->ldtr)))
        return "LDTR";
    if (r->interruptibility & ~8u)
        return "blocking";
    return refuse_segments(r);
}
