// SPDX-License-Identifier: Apache-2.0
//
// The emulated instructions with an implied memory operand: strings, PUSH and POP. Either operand
// may be the device, so both are translated and what the exit said is not used.
//
// A repeated string instruction may be left after any iteration, by a fault or by the limit: RIP
// stays, RCX, RSI and RDI count what is done, and entering the guest again goes on from there.

#include "vmm/emulate/alu.h"
#include "vmm/emulate/operand.h"

static void counter_add(uint64_t *reg, uint64_t step, unsigned address_size) {
    *reg = register_merge(*reg, *reg + step, address_size);
}

static bool uses_rsi(unsigned op) {
    return op == INSN_MOVS || op == INSN_CMPS || op == INSN_LODS;
}

static bool uses_rdi(unsigned op) {
    return op != INSN_LODS;
}

static void execute(const struct insn *insn, struct emulate_ctx *ctx, const struct operand *source,
                    const struct operand *target) {
    uint64_t *rax = &ctx->gpr[INSN_RAX];
    unsigned size = insn->operand_size;
    uint64_t left;

    switch (insn->op) {
    case INSN_MOVS:
        operand_store(ctx, target, operand_load(ctx, source));
        break;
    case INSN_STOS:
        operand_store(ctx, target, *rax);
        break;
    case INSN_LODS:
        *rax = register_merge(*rax, operand_load(ctx, source), size);
        break;
    case INSN_CMPS:
        left = operand_load(ctx, source);
        alu_compute(INSN_CMP, left, operand_load(ctx, target), size, ctx->rflags);
        break;
    default: // SCAS
        alu_compute(INSN_CMP, *rax, operand_load(ctx, target), size, ctx->rflags);
        break;
    }
}

static enum emulate_result iterate(const struct insn *insn, struct emulate_ctx *ctx) {
    unsigned size = insn->operand_size;
    unsigned address_size = insn->address_size;
    uint64_t *rsi = &ctx->gpr[INSN_RSI];
    uint64_t *rdi = &ctx->gpr[INSN_RDI];
    bool writes = insn->op == INSN_MOVS || insn->op == INSN_STOS;
    uint64_t step = *ctx->rflags & EMULATE_FLAG_DF ? -(uint64_t)size : size;
    struct operand source = {.piece_count = 0};
    struct operand target = {.piece_count = 0};
    enum emulate_result result = EMULATE_DONE;

    if (uses_rsi(insn->op))
        result = operand_resolve(ctx, insn->segment, alu_cut(*rsi, address_size), size, WALK_READ,
                                 &source);
    if (result == EMULATE_DONE && uses_rdi(insn->op))
        result = operand_resolve(ctx, INSN_ES, alu_cut(*rdi, address_size), size,
                                 writes ? WALK_WRITE : WALK_READ, &target);
    if (result != EMULATE_DONE)
        return result;
    execute(insn, ctx, &source, &target);
    if (uses_rsi(insn->op))
        counter_add(rsi, step, address_size);
    if (uses_rdi(insn->op))
        counter_add(rdi, step, address_size);
    return EMULATE_DONE;
}

// Whether REPE or REPNE ends the loop after this iteration.
static bool ends_by_flag(const struct insn *insn, const struct emulate_ctx *ctx) {
    bool is_equal = *ctx->rflags & EMULATE_FLAG_ZF;

    if (insn->op != INSN_CMPS && insn->op != INSN_SCAS)
        return false;
    return is_equal != (insn->repeat == INSN_REPEAT_EQUAL);
}

enum emulate_result run_string(const struct insn *insn, struct emulate_ctx *ctx) {
    uint64_t *rcx = &ctx->gpr[INSN_RCX];

    if (insn->repeat == INSN_REPEAT_NONE)
        return iterate(insn, ctx);
    for (unsigned done = 0; alu_cut(*rcx, insn->address_size) != 0; done++) {
        enum emulate_result result;

        if (done == EMULATE_STRING_ITERATIONS)
            return EMULATE_AGAIN;
        result = iterate(insn, ctx);
        if (result != EMULATE_DONE)
            return result;
        counter_add(rcx, -UINT64_C(1), insn->address_size);
        if (ends_by_flag(insn, ctx))
            break;
    }
    return EMULATE_DONE;
}

static enum emulate_result push(const struct insn *insn, struct emulate_ctx *ctx, unsigned width) {
    uint64_t *rsp = &ctx->gpr[INSN_RSP];
    unsigned size = insn->operand_size;
    uint64_t top = alu_cut(*rsp - size, width);
    struct operand source;
    struct operand target;
    enum emulate_result result =
        operand_resolve(ctx, insn->segment, operand_offset(ctx, insn), size, WALK_READ, &source);

    if (result == EMULATE_DONE)
        result = operand_resolve(ctx, INSN_SS, top, size, WALK_WRITE, &target);
    if (result != EMULATE_DONE)
        return result;
    operand_store(ctx, &target, operand_load(ctx, &source));
    *rsp = register_merge(*rsp, top, width);
    return EMULATE_DONE;
}

// SDM 2B "POP": an address formed with RSP uses its value after the increment.
static enum emulate_result pop(const struct insn *insn, struct emulate_ctx *ctx, unsigned width) {
    uint64_t *rsp = &ctx->gpr[INSN_RSP];
    uint64_t before = *rsp;
    unsigned size = insn->operand_size;
    struct operand source;
    struct operand target;
    enum emulate_result result =
        operand_resolve(ctx, INSN_SS, alu_cut(before, width), size, WALK_READ, &source);

    if (result != EMULATE_DONE)
        return result;
    counter_add(rsp, size, width);
    result =
        operand_resolve(ctx, insn->segment, operand_offset(ctx, insn), size, WALK_WRITE, &target);
    if (result != EMULATE_DONE) {
        *rsp = before;
        return result;
    }
    operand_store(ctx, &target, operand_load(ctx, &source));
    return EMULATE_DONE;
}

static unsigned stack_width(const struct emulate_ctx *ctx) {
    if (ctx->mode == DECODE_64BIT)
        return 8;
    return ctx->segment[INSN_SS].attributes & SEGMENT_BIG ? 4 : 2;
}

enum emulate_result run_stack(const struct insn *insn, struct emulate_ctx *ctx) {
    unsigned width = stack_width(ctx);

    return insn->op == INSN_PUSH ? push(insn, ctx, width) : pop(insn, ctx, width);
}

static bool is_target_right(const struct emulate_ctx *ctx, uint64_t target) {
    if (ctx->mode == DECODE_64BIT)
        return emulate_is_canonical(ctx, target);
    return target <= ctx->segment[INSN_CS].limit;
}

enum emulate_result run_branch(const struct insn *insn, struct emulate_ctx *ctx) {
    uint64_t *rsp = &ctx->gpr[INSN_RSP];
    unsigned size = insn->operand_size;
    unsigned width = stack_width(ctx);
    uint64_t top = alu_cut(*rsp - size, width);
    uint64_t target;
    struct operand source;
    struct operand stack;
    enum emulate_result result =
        operand_resolve(ctx, insn->segment, operand_offset(ctx, insn), size, WALK_READ, &source);

    if (result == EMULATE_DONE && insn->op == INSN_CALL)
        result = operand_resolve(ctx, INSN_SS, top, size, WALK_WRITE, &stack);
    if (result != EMULATE_DONE)
        return result;
    target = operand_load(ctx, &source);
    if (!is_target_right(ctx, target))
        return emulate_protection(ctx, INSN_CS);
    if (insn->op == INSN_CALL) {
        operand_store(ctx, &stack, *ctx->rip + insn->length);
        *rsp = register_merge(*rsp, top, width);
    }
    *ctx->rip = target;
    return EMULATE_DONE;
}
