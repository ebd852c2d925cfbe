// SPDX-License-Identifier: Apache-2.0
//
// Operands of the emulator. Guest RAM is touched by single loads and stores of 1, 2, 4 or 8 bytes,
// so that other vCPUs see what they would see of a processor.

#include "vmm/emulate/operand.h"

#include "vmm/emulate/alu.h"

#define PAGE_SIZE      UINT64_C(4096)
#define PAGE_OFFSET(A) ((A) & (PAGE_SIZE - 1))
#define BYTE_BITS      8
#define CPL_USER       3

#define CR0_PE             UINT64_C(1)
#define CR0_AM             (UINT64_C(1) << 18)
#define CR4_LA57           (UINT64_C(1) << 12)
#define RFLAGS_VM          (UINT64_C(1) << 17)
#define RFLAGS_AC          (UINT64_C(1) << 18)
#define CANONICAL_SHIFT_48 16 // of 64 bits, how many repeat bit 47
#define CANONICAL_SHIFT_57 7

// SDM 3C 25.4.1 "Guest Register State", access rights.
#define SEGMENT_CODE        0x8u
#define SEGMENT_READABLE    0x2u // of code
#define SEGMENT_WRITABLE    0x2u // of data
#define SEGMENT_EXPAND_DOWN 0x4u

uint64_t operand_other(const struct emulate_ctx *ctx, const struct insn *insn) {
    if (insn->other == INSN_OTHER_REGISTER)
        return ctx->gpr[insn->reg] >> (insn->reg_is_high_byte ? BYTE_BITS : 0);
    return insn->imm;
}

uint64_t register_merge(uint64_t old, uint64_t value, unsigned size) {
    uint64_t mask;

    if (size >= sizeof(uint32_t))
        return alu_cut(value, size);
    mask = alu_cut(UINT64_MAX, size);
    return (old & ~mask) | (value & mask);
}

void register_write(struct emulate_ctx *ctx, const struct insn *insn, uint64_t value) {
    uint64_t *reg = &ctx->gpr[insn->reg];

    if (insn->reg_is_high_byte)
        *reg = (*reg & ~(UINT64_C(0xff) << BYTE_BITS)) | (uint64_t)(uint8_t)value << BYTE_BITS;
    else
        *reg = register_merge(*reg, value, insn->operand_size);
}

uint64_t operand_offset(const struct emulate_ctx *ctx, const struct insn *insn) {
    uint64_t offset = (uint64_t)insn->disp;

    if (insn->base < INSN_REGISTER_COUNT)
        offset += ctx->gpr[insn->base];
    else if (insn->base == INSN_RIP)
        offset += *ctx->rip + insn->length;
    if (insn->index < INSN_REGISTER_COUNT)
        offset += ctx->gpr[insn->index] * insn->scale;
    // SDM 2A "BT": a register counts bits, by operands of the operand size, from the address on.
    if (insn->op >= INSN_BT && insn->op <= INSN_BTC && insn->other == INSN_OTHER_REGISTER) {
        int64_t bit = (int64_t)alu_sign_extend(ctx->gpr[insn->reg], insn->operand_size);

        offset += (uint64_t)((bit >> 3) & -(int64_t)insn->operand_size);
    }
    return alu_cut(offset, insn->address_size);
}

static uint64_t linear_address(const struct emulate_ctx *ctx, unsigned segment, uint64_t offset) {
    if (ctx->mode != DECODE_64BIT)
        return (uint32_t)(ctx->segment[segment].base + offset);
    return segment >= INSN_FS ? ctx->segment[segment].base + offset : offset;
}

bool emulate_is_canonical(const struct emulate_ctx *ctx, uint64_t gva) {
    unsigned unused = ctx->walk->cr4 & CR4_LA57 ? CANONICAL_SHIFT_57 : CANONICAL_SHIFT_48;

    return (uint64_t)((int64_t)(gva << unused) >> unused) == gva;
}

static enum emulate_result fault(struct emulate_ctx *ctx, uint8_t vector, uint32_t error_code,
                                 uint64_t cr2) {
    ctx->fault = (struct emulate_fault){vector, true, error_code, cr2};
    return EMULATE_FAULT;
}

enum emulate_result emulate_protection(struct emulate_ctx *ctx, unsigned segment) {
    return fault(ctx, segment == INSN_SS ? EMULATE_SS : EMULATE_GP, 0, 0);
}

enum emulate_result emulate_walk_failed(struct emulate_ctx *ctx, enum walk_status status,
                                        unsigned segment, uint64_t gva, uint32_t error_code) {
    if (status == WALK_PAGE_FAULT)
        return fault(ctx, EMULATE_PF, error_code, gva);
    return emulate_protection(ctx, segment);
}

// SDM 3A 5.4 "Type Checking" and Table 3-1 "Code- and Data-Segment Types". Real-address and
// virtual-8086 mode check limits alone.
static bool is_type_right(const struct emulate_ctx *ctx, const struct vcpu_segment *segment,
                          unsigned access) {
    bool is_protected = ctx->walk->cr0 & CR0_PE && !(*ctx->rflags & RFLAGS_VM);

    if (!is_protected)
        return true;
    if (segment->attributes & VCPU_SEGMENT_UNUSABLE)
        return false;
    if (segment->attributes & SEGMENT_CODE)
        return !(access & WALK_WRITE) && segment->attributes & SEGMENT_READABLE;
    return !(access & WALK_WRITE) || segment->attributes & SEGMENT_WRITABLE;
}

// SDM 3A 5.3 "Limit Checking". An access may wrap around the end of a segment of 4 GiB: the manual
// leaves that open.
static bool is_within_limit(const struct vcpu_segment *segment, uint64_t offset, unsigned size) {
    uint64_t last = offset + size - 1;

    if ((segment->attributes & (SEGMENT_CODE | SEGMENT_EXPAND_DOWN)) == SEGMENT_EXPAND_DOWN)
        return offset > segment->limit &&
               last <= (segment->attributes & SEGMENT_BIG ? UINT32_MAX : UINT16_MAX);
    return last <= segment->limit || segment->limit == UINT32_MAX;
}

static enum emulate_result check_segment(struct emulate_ctx *ctx, unsigned number, uint64_t offset,
                                         unsigned size, unsigned access) {
    const struct vcpu_segment *segment = &ctx->segment[number];

    if (ctx->mode == DECODE_64BIT ||
        (is_type_right(ctx, segment, access) && is_within_limit(segment, (uint32_t)offset, size)))
        return EMULATE_DONE;
    return emulate_protection(ctx, number);
}

static enum emulate_result resolve_piece(struct emulate_ctx *ctx, unsigned segment, uint64_t gva,
                                         unsigned size, unsigned access, struct operand *operand) {
    struct operand_piece *piece = &operand->piece[operand->piece_count];
    const struct walk_ctx *walk = ctx->walk;
    struct walk_result result;
    enum walk_status status = walk_translate(walk, gva, access, &result);

    if (status != WALK_OK)
        return emulate_walk_failed(ctx, status, segment, gva, result.error_code);
    piece->gpa = result.gpa;
    piece->size = (uint8_t)size;
    piece->ram = walk->guest_ptr(walk->opaque, result.gpa, size, access & WALK_WRITE);
    operand->piece_count++;
    return EMULATE_DONE;
}

static bool is_aligned_enough(const struct emulate_ctx *ctx, uint64_t gva, unsigned size) {
    return (gva & (size - 1)) == 0 || ctx->walk->cpl != CPL_USER || !(ctx->walk->cr0 & CR0_AM) ||
           !(*ctx->rflags & RFLAGS_AC);
}

static enum emulate_result resolve_linear(struct emulate_ctx *ctx, unsigned segment, uint64_t gva,
                                          unsigned size, unsigned access, struct operand *operand) {
    uint64_t left_in_page = PAGE_SIZE - PAGE_OFFSET(gva);
    unsigned first = left_in_page < size ? (unsigned)left_in_page : size;
    enum emulate_result result;

    operand->piece_count = 0;
    result = resolve_piece(ctx, segment, gva, first, access, operand);
    if (result == EMULATE_DONE && first < size) {
        gva += first;
        if (ctx->mode != DECODE_64BIT)
            gva = (uint32_t)gva;
        result = resolve_piece(ctx, segment, gva, size - first, access, operand);
        gva -= first;
    }
    if (result == EMULATE_DONE && !is_aligned_enough(ctx, gva, size))
        return fault(ctx, EMULATE_AC, 0, 0);
    return result;
}

static enum emulate_result check_canonical(struct emulate_ctx *ctx, unsigned segment, uint64_t gva,
                                           unsigned size) {
    if (ctx->mode != DECODE_64BIT ||
        (emulate_is_canonical(ctx, gva) && emulate_is_canonical(ctx, gva + size - 1)))
        return EMULATE_DONE;
    return emulate_walk_failed(ctx, WALK_NONCANONICAL, segment, gva, 0);
}

enum emulate_result operand_resolve(struct emulate_ctx *ctx, unsigned segment, uint64_t offset,
                                    unsigned size, unsigned access, struct operand *operand) {
    uint64_t gva = linear_address(ctx, segment, offset);
    enum emulate_result result = check_segment(ctx, segment, offset, size, access);

    if (result == EMULATE_DONE)
        result = check_canonical(ctx, segment, gva, size);
    if (result != EMULATE_DONE)
        return result;
    return resolve_linear(ctx, segment, gva, size, access, operand);
}

// The exit named one address of the access. It is good for all of it when it is the first one and
// the access stays on its page; see emulate.h for the rest.
static bool is_exit_access(const struct emulate_ctx *ctx, uint64_t gva, const struct insn *insn) {
    unsigned needed = insn->access & INSN_WRITES ? VCPU_ACCESS_WRITE : VCPU_ACCESS_READ;

    return ctx->has_exit && ctx->exit_gva == gva && ctx->exit_access & needed &&
           ctx->walk->cpl != CPL_USER && PAGE_OFFSET(gva) + insn->memory_size <= PAGE_SIZE &&
           PAGE_OFFSET(ctx->exit_gpa) == PAGE_OFFSET(gva);
}

enum emulate_result operand_resolve_exit(struct emulate_ctx *ctx, const struct insn *insn,
                                         struct operand *operand) {
    uint64_t offset = operand_offset(ctx, insn);
    uint64_t gva = linear_address(ctx, insn->segment, offset);
    unsigned access = insn->access & INSN_WRITES ? WALK_WRITE : WALK_READ;
    enum emulate_result result;

    result = check_segment(ctx, insn->segment, offset, insn->memory_size, access);
    if (result != EMULATE_DONE)
        return result;
    if (is_exit_access(ctx, gva, insn)) {
        operand->piece[0] = (struct operand_piece){NULL, ctx->exit_gpa, insn->memory_size};
        operand->piece_count = 1;
        return EMULATE_DONE;
    }
    result = check_canonical(ctx, insn->segment, gva, insn->memory_size);
    if (result == EMULATE_DONE)
        result = resolve_linear(ctx, insn->segment, gva, insn->memory_size, access, operand);
    if (result != EMULATE_DONE)
        return result;
    for (unsigned k = 0; k < operand->piece_count; k++) {
        if (operand->piece[k].ram == NULL)
            return EMULATE_DONE;
    }
    return EMULATE_AGAIN;
}

// The next access that a piece of a split operand is cut into: the largest naturally aligned one.
static unsigned chunk_size(const struct operand_piece *piece, unsigned done) {
    unsigned left = piece->size - done;
    unsigned size = sizeof(uint64_t);

    while (size > left || (piece->gpa + done) & (size - 1))
        size /= 2;
    return size;
}

static uint64_t chunk_load(const struct emulate_ctx *ctx, const struct operand_piece *piece,
                           unsigned done, unsigned size) {
    uint16_t word;
    uint32_t dword;
    uint64_t qword;

    if (piece->ram == NULL)
        return alu_cut(ctx->mmio_read(ctx->opaque, piece->gpa + done, size), size);
    switch (size) {
    case 1:
        return piece->ram[done];
    case 2:
        __builtin_memcpy(&word, piece->ram + done, sizeof word);
        return word;
    case 4:
        __builtin_memcpy(&dword, piece->ram + done, sizeof dword);
        return dword;
    default:
        __builtin_memcpy(&qword, piece->ram + done, sizeof qword);
        return qword;
    }
}

static void chunk_store(const struct emulate_ctx *ctx, const struct operand_piece *piece,
                        unsigned done, unsigned size, uint64_t value) {
    uint16_t word = (uint16_t)value;
    uint32_t dword = (uint32_t)value;

    if (piece->ram == NULL) {
        ctx->mmio_write(ctx->opaque, piece->gpa + done, size, alu_cut(value, size));
        return;
    }
    switch (size) {
    case 1:
        piece->ram[done] = (uint8_t)value;
        break;
    case 2:
        __builtin_memcpy(piece->ram + done, &word, sizeof word);
        break;
    case 4:
        __builtin_memcpy(piece->ram + done, &dword, sizeof dword);
        break;
    default:
        __builtin_memcpy(piece->ram + done, &value, sizeof value);
        break;
    }
}

bool operand_is_aligned(const struct emulate_ctx *ctx, const struct insn *insn) {
    uint64_t gva = linear_address(ctx, insn->segment, operand_offset(ctx, insn));

    return (gva & (insn->memory_size - 1u)) == 0;
}

void operand_load_bytes(const struct emulate_ctx *ctx, const struct operand *operand,
                        uint8_t bytes[OPERAND_BYTES]) {
    for (unsigned k = 0; k < operand->piece_count; k++) {
        const struct operand_piece *piece = &operand->piece[k];
        unsigned size;

        for (unsigned done = 0; done < piece->size; done += size, bytes += size) {
            size = chunk_size(piece, done);
            uint64_t value = chunk_load(ctx, piece, done, size);
            __builtin_memcpy(bytes, &value, size);
        }
    }
}

void operand_store_bytes(const struct emulate_ctx *ctx, const struct operand *operand,
                         const uint8_t bytes[OPERAND_BYTES]) {
    for (unsigned k = 0; k < operand->piece_count; k++) {
        const struct operand_piece *piece = &operand->piece[k];
        unsigned size;

        for (unsigned done = 0; done < piece->size; done += size, bytes += size) {
            uint64_t value = 0;
            size = chunk_size(piece, done);
            __builtin_memcpy(&value, bytes, size);
            chunk_store(ctx, piece, done, size, value);
        }
    }
}

uint64_t operand_load(const struct emulate_ctx *ctx, const struct operand *operand) {
    uint64_t value = 0;
    unsigned bits = 0;

    if (operand->piece_count == 1)
        return chunk_load(ctx, operand->piece, 0, operand->piece->size);
    for (unsigned k = 0; k < operand->piece_count; k++) {
        const struct operand_piece *piece = &operand->piece[k];
        unsigned size;

        for (unsigned done = 0; done < piece->size; done += size) {
            size = chunk_size(piece, done);
            value |= chunk_load(ctx, piece, done, size) << bits;
            bits += size * BYTE_BITS;
        }
    }
    return value;
}

void operand_store(const struct emulate_ctx *ctx, const struct operand *operand, uint64_t value) {
    unsigned bits = 0;

    if (operand->piece_count == 1) {
        chunk_store(ctx, operand->piece, 0, operand->piece->size, value);
        return;
    }
    for (unsigned k = 0; k < operand->piece_count; k++) {
        const struct operand_piece *piece = &operand->piece[k];
        unsigned size;

        for (unsigned done = 0; done < piece->size; done += size) {
            size = chunk_size(piece, done);
            chunk_store(ctx, piece, done, size, value >> bits);
            bits += size * BYTE_BITS;
        }
    }
}
