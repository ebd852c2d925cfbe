// SPDX-License-Identifier: Apache-2.0
//
// Executes one decoded MMIO instruction. The order is the same everywhere: address, resolve (all
// that can fault), load, compute, store, registers. Instructions with one memory operand are
// `run_single`; PUSH, POP and strings, which have a second one, are in emulate_string.c.

#include "emulate.h"

#include "emulate_alu.h"
#include "emulate_operand.h"

// What the instruction leaves in memory; the registers and flags are updated on the way. `memory`
// is what was read, 0 if nothing was.
static uint64_t move(const struct insn *insn, struct emulate_ctx *ctx, uint64_t memory) {
    uint64_t value = insn->memory_is_first ? operand_other(ctx, insn) : memory;

    if (insn->op == INSN_MOVSX)
        value = alu_sign_extend(value, insn->memory_size);
    if (insn->op == INSN_MOVBE)
        value = __builtin_bswap64(value) >> (64 - insn->operand_size * 8);
    if (!insn->memory_is_first)
        register_write(ctx, insn, value);
    return value;
}

static uint64_t compute(const struct insn *insn, struct emulate_ctx *ctx, uint64_t memory) {
    uint64_t other = operand_other(ctx, insn);
    uint64_t left = insn->memory_is_first ? memory : other;
    uint64_t right = insn->memory_is_first ? other : memory;
    uint64_t result = alu_compute(insn->op, left, right, insn->operand_size, ctx->rflags);

    if (!insn->memory_is_first && insn->op != INSN_CMP)
        register_write(ctx, insn, result);
    return result;
}

// The accumulator is compared with memory. Where they differ, memory gets its own value back: the
// processor's write cycle happens in any case.
static uint64_t compare_exchange(const struct insn *insn, struct emulate_ctx *ctx,
                                 uint64_t memory) {
    unsigned size = insn->operand_size;
    uint64_t *rax = &ctx->gpr[INSN_RAX];
    uint64_t value = operand_other(ctx, insn);

    alu_compute(INSN_CMP, *rax, memory, size, ctx->rflags);
    if (*ctx->rflags & EMULATE_FLAG_ZF)
        return value;
    *rax = register_merge(*rax, memory, size);
    return memory;
}

static uint64_t execute(const struct insn *insn, struct emulate_ctx *ctx, uint64_t memory) {
    unsigned bit_mask = insn->operand_size * 8u - 1;
    uint64_t value;

    switch (insn->op) {
    case INSN_MOV:
    case INSN_MOVBE:
    case INSN_MOVZX:
    case INSN_MOVSX:
        return move(insn, ctx, memory);
    case INSN_XCHG:
        value = operand_other(ctx, insn);
        register_write(ctx, insn, memory);
        return value;
    case INSN_XADD:
        value = alu_compute(INSN_ADD, memory, operand_other(ctx, insn), insn->operand_size,
                            ctx->rflags);
        register_write(ctx, insn, memory);
        return value;
    case INSN_CMPXCHG:
        return compare_exchange(insn, ctx, memory);
    case INSN_BT:
    case INSN_BTS:
    case INSN_BTR:
    case INSN_BTC:
        return alu_bit(insn->op, memory, (unsigned)operand_other(ctx, insn) & bit_mask,
                       ctx->rflags);
    default:
        return compute(insn, ctx, memory);
    }
}

static enum emulate_result run_single(const struct insn *insn, struct emulate_ctx *ctx) {
    struct operand memory;
    enum emulate_result result = operand_resolve_exit(ctx, insn, &memory);
    uint64_t value = 0;

    if (result != EMULATE_DONE)
        return result;
    if (insn->access & INSN_READS)
        value = operand_load(ctx, &memory);
    value = execute(insn, ctx, value);
    if (insn->access & INSN_WRITES)
        operand_store(ctx, &memory, value);
    return EMULATE_DONE;
}

enum emulate_result emulate_mmio(const struct insn *insn, struct emulate_ctx *ctx) {
    enum emulate_result result;
    uint64_t next;

    if (insn->op >= INSN_MOVS)
        result = run_string(insn, ctx);
    else if (insn->op >= INSN_PUSH)
        result = run_stack(insn, ctx);
    else
        result = run_single(insn, ctx);
    if (result != EMULATE_DONE)
        return result;
    next = *ctx->rip + insn->length;
    *ctx->rip = ctx->mode == DECODE_64BIT ? next : (uint32_t)next;
    *ctx->rflags &= ~(uint64_t)EMULATE_FLAG_RF;
    return EMULATE_DONE;
}

static enum emulate_result undecodable(struct emulate_ctx *ctx, enum decode_error error,
                                       const struct walk_code *code) {
    switch (error) {
    case DECODE_UNDEFINED:
        ctx->fault = (struct emulate_fault){.vector = EMULATE_UD};
        return EMULATE_FAULT;
    case DECODE_TOO_LONG:
        return emulate_protection(ctx, INSN_CS);
    case DECODE_TRUNCATED:
        return emulate_walk_failed(ctx, code->status, INSN_CS, code->fault_gva, code->error_code);
    default:
        return EMULATE_UNHANDLED;
    }
}

enum emulate_result emulate_exit(struct emulate_ctx *ctx, struct insn *insn) {
    bool is_64bit = ctx->mode == DECODE_64BIT;
    const struct vcpu_segment *cs = &ctx->segment[INSN_CS];
    struct walk_code code;
    enum decode_error error;

    walk_fetch(ctx->walk, is_64bit ? *ctx->rip : cs->base + (uint32_t)*ctx->rip, is_64bit, &code);
    error = decode_insn(code.bytes, code.count, ctx->mode, insn);
    if (error != DECODE_OK) {
        insn->length = 0;
        return undecodable(ctx, error, &code);
    }
    if (!is_64bit && (uint32_t)*ctx->rip + (uint64_t)insn->length - 1 > cs->limit)
        return emulate_protection(ctx, INSN_CS);
    return emulate_mmio(insn, ctx);
}
