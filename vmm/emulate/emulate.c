// SPDX-License-Identifier: Apache-2.0
//
// Executes one decoded MMIO instruction. The order is the same everywhere: address, resolve (all
// that can fault), load, compute, store, registers. Instructions with one memory operand are
// `run_single`; PUSH, POP and strings, which have a second one, are in string.c.

#include "vmm/emulate/emulate.h"

#include "vmm/emulate/alu.h"
#include "vmm/emulate/operand.h"

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

// What goes into a register, or for SETCC and the shifts into memory.
static uint64_t calculate(const struct insn *insn, struct emulate_ctx *ctx, uint64_t memory) {
    unsigned size = insn->operand_size;
    uint64_t other = operand_other(ctx, insn);
    uint64_t third = insn->third == INSN_THIRD_CL ? ctx->gpr[INSN_RCX] : insn->imm;
    uint64_t *rflags = ctx->rflags;

    switch (insn->op) {
    case INSN_CMOV:
        return alu_condition(insn->condition, *rflags) ? memory : other;
    case INSN_SETCC:
        return alu_condition(insn->condition, *rflags);
    case INSN_SHLD:
    case INSN_SHRD:
        return alu_double_shift(insn->op, memory, other, size, third, rflags);
    case INSN_IMUL:
        return alu_multiply(memory, insn->third == INSN_THIRD_NONE ? other : third, size, rflags);
    case INSN_BSF:
    case INSN_BSR:
    case INSN_POPCNT:
        return alu_count(insn->op, memory, other, size, rflags);
    case INSN_TZCNT:
        return alu_count(ctx->has_tzcnt ? INSN_TZCNT : INSN_BSF, memory, other, size, rflags);
    case INSN_LZCNT:
        return alu_count(ctx->has_lzcnt ? INSN_LZCNT : INSN_BSR, memory, other, size, rflags);
    case INSN_ADCX:
        return alu_add_with(EMULATE_FLAG_CF, other, memory, size, rflags);
    case INSN_ADOX:
        return alu_add_with(EMULATE_FLAG_OF, other, memory, size, rflags);
    case INSN_CRC32:
        return alu_crc32(other, memory, insn->memory_size);
    default: // ROL to SAR
        return alu_shift(insn->op, memory, size, third, rflags);
    }
}

static uint64_t execute(const struct insn *insn, struct emulate_ctx *ctx, uint64_t memory) {
    unsigned bit_mask = insn->operand_size * 8u - 1;
    uint64_t value;

    if (insn->op >= INSN_CMOV && insn->op <= INSN_CRC32) {
        value = calculate(insn, ctx, memory);
        if (!insn->memory_is_first)
            register_write(ctx, insn, value);
        return value;
    }
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

// ---- RDX:RAX ------------------------------------------------------------------------------------

static struct alu_pair pair_read(const struct emulate_ctx *ctx, unsigned size) {
    uint64_t rax = ctx->gpr[INSN_RAX];

    if (size == 1)
        return (struct alu_pair){(uint8_t)rax, (uint8_t)(rax >> 8)};
    return (struct alu_pair){alu_cut(rax, size), alu_cut(ctx->gpr[INSN_RDX], size)};
}

static void pair_write(struct emulate_ctx *ctx, unsigned size, const struct alu_pair *pair) {
    uint64_t *rax = &ctx->gpr[INSN_RAX];

    if (size == 1) {
        *rax = register_merge(*rax, pair->high << 8 | pair->low, 2);
        return;
    }
    *rax = register_merge(*rax, pair->low, size);
    ctx->gpr[INSN_RDX] = register_merge(ctx->gpr[INSN_RDX], pair->high, size);
}

static enum emulate_result run_wide(const struct insn *insn, struct emulate_ctx *ctx) {
    bool is_signed = insn->op == INSN_IMUL_WIDE || insn->op == INSN_IDIV;
    unsigned size = insn->operand_size;
    struct alu_pair pair = pair_read(ctx, size);
    struct alu_pair quotient;
    struct operand memory;
    enum emulate_result result = operand_resolve_exit(ctx, insn, &memory);

    if (result != EMULATE_DONE)
        return result;
    uint64_t value = operand_load(ctx, &memory);
    if (insn->op == INSN_MUL || insn->op == INSN_IMUL_WIDE) {
        alu_multiply_wide(is_signed, pair.low, value, size, &pair, ctx->rflags);
        pair_write(ctx, size, &pair);
        return EMULATE_DONE;
    }
    if (!alu_divide(is_signed, &pair, value, size, &quotient)) {
        ctx->fault = (struct emulate_fault){.vector = EMULATE_DE};
        return EMULATE_FAULT;
    }
    pair_write(ctx, size, &quotient);
    return EMULATE_DONE;
}

// As compare_exchange: where they differ, memory gets its own value back.
static enum emulate_result run_compare_pair(const struct insn *insn, struct emulate_ctx *ctx) {
    unsigned size = insn->operand_size;
    struct alu_pair pair = pair_read(ctx, size);
    struct alu_pair seen = {0, 0};
    uint8_t bytes[OPERAND_BYTES];
    struct operand memory;
    enum emulate_result result;

    if (size == sizeof(uint64_t) && !operand_is_aligned(ctx, insn))
        return emulate_protection(ctx, INSN_DS);
    result = operand_resolve_exit(ctx, insn, &memory);
    if (result != EMULATE_DONE)
        return result;
    operand_load_bytes(ctx, &memory, bytes);
    __builtin_memcpy(&seen.low, bytes, size);
    __builtin_memcpy(&seen.high, bytes + size, size);
    *ctx->rflags &= ~(uint64_t)EMULATE_FLAG_ZF;
    if (seen.low == pair.low && seen.high == pair.high) {
        *ctx->rflags |= EMULATE_FLAG_ZF;
        __builtin_memcpy(bytes, &ctx->gpr[INSN_RBX], size);
        __builtin_memcpy(bytes + size, &ctx->gpr[INSN_RCX], size);
    } else {
        pair_write(ctx, size, &seen);
    }
    operand_store_bytes(ctx, &memory, bytes);
    return EMULATE_DONE;
}

static enum emulate_result run(const struct insn *insn, struct emulate_ctx *ctx) {
    if (insn->op >= INSN_MOVS)
        return run_string(insn, ctx);
    if (insn->op >= INSN_PUSH)
        return run_stack(insn, ctx);
    switch (insn->op) {
    case INSN_MUL:
    case INSN_IMUL_WIDE:
    case INSN_DIV:
    case INSN_IDIV:
        return run_wide(insn, ctx);
    case INSN_CMPXCHG_PAIR:
        return run_compare_pair(insn, ctx);
    case INSN_VMOV:
    case INSN_MMX:
        return run_vector(insn, ctx);
    case INSN_HINT:
        return EMULATE_DONE;
    default:
        return run_single(insn, ctx);
    }
}

enum emulate_result emulate_mmio(const struct insn *insn, struct emulate_ctx *ctx) {
    bool is_branch = insn->op == INSN_CALL || insn->op == INSN_JMP;
    enum emulate_result result = is_branch ? run_branch(insn, ctx) : run(insn, ctx);
    uint64_t next;

    if (result != EMULATE_DONE)
        return result;
    *ctx->rflags &= ~(uint64_t)EMULATE_FLAG_RF;
    if (is_branch)
        return EMULATE_DONE;
    next = *ctx->rip + insn->length;
    *ctx->rip = ctx->mode == DECODE_64BIT ? next : (uint32_t)next;
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

// As decode_insn, with what it said before about the same bytes.
static enum decode_error decode(const struct emulate_ctx *ctx, const struct walk_code *code,
                                struct insn *insn) {
    struct emulate_recent *recent;
    uint64_t key[sizeof(recent->code) / sizeof(uint64_t)];

    if (ctx->recent == NULL || code->count != DECODE_BYTES)
        return decode_insn(code->bytes, code->count, ctx->mode, insn);
    recent = &ctx->recent[(*ctx->rip ^ *ctx->rip >> 4) % EMULATE_RECENT];
    __builtin_memcpy(key, code->bytes, sizeof(key));
    if (recent->mode != ctx->mode || recent->code[0] != key[0] || recent->code[1] != key[1]) {
        recent->mode = 0;
        enum decode_error error = decode_insn(code->bytes, code->count, ctx->mode, &recent->insn);
        if (error != DECODE_OK)
            return error;
        __builtin_memcpy(recent->code, key, sizeof(key));
        recent->mode = (uint8_t)ctx->mode;
    }
    *insn = recent->insn;
    return DECODE_OK;
}

static uint64_t code_address(const struct emulate_ctx *ctx) {
    if (ctx->mode == DECODE_64BIT)
        return *ctx->rip;
    return ctx->segment[INSN_CS].base + (uint32_t)*ctx->rip;
}

static bool is_within_code(const struct emulate_ctx *ctx, unsigned length) {
    return ctx->mode == DECODE_64BIT ||
           (uint32_t)*ctx->rip + (uint64_t)length - 1 <= ctx->segment[INSN_CS].limit;
}

enum emulate_result emulate_exit(struct emulate_ctx *ctx, struct insn *insn) {
    struct walk_code code;
    enum decode_error error;

    walk_fetch(ctx->walk, code_address(ctx), ctx->mode == DECODE_64BIT, &code);
    error = decode(ctx, &code, insn);
    if (error != DECODE_OK) {
        insn->length = 0;
        return undecodable(ctx, error, &code);
    }
    return is_within_code(ctx, insn->length) ? emulate_mmio(insn, ctx)
                                             : emulate_protection(ctx, INSN_CS);
}

enum emulate_result emulate_decode_system(struct emulate_ctx *ctx, struct system_insn *insn) {
    struct walk_code code;
    enum decode_error error;

    walk_fetch(ctx->walk, code_address(ctx), ctx->mode == DECODE_64BIT, &code);
    error = decode_system(code.bytes, code.count, ctx->mode, insn);
    if (error != DECODE_OK)
        return undecodable(ctx, error, &code);
    return is_within_code(ctx, insn->insn.length) ? EMULATE_DONE : emulate_protection(ctx, INSN_CS);
}
