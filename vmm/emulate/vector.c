// SPDX-License-Identifier: Apache-2.0
//
// Moves between memory and a vector register: XMM, YMM or MMX. The registers are in an XSAVE area,
// SDM 1 13.4 "XSAVE Area", of the standard format; what its header says to be in its initial state
// is made so before it is used.
//
// Whether the guest may use them at all was checked before the processor touched memory, and is
// checked here again, since the instruction may have become another one meanwhile.

#include "lib/string.h"
#include "vmm/emulate/alu.h"
#include "vmm/emulate/operand.h"

#define CR0_PE      UINT64_C(1)
#define CR0_EM      (UINT64_C(1) << 2)
#define CR0_TS      (UINT64_C(1) << 3)
#define CR4_OSFXSR  (UINT64_C(1) << 9)
#define CR4_OSXSAVE (UINT64_C(1) << 18)
#define RFLAGS_VM   (UINT64_C(1) << 17)

// The legacy region: SDM 1 Table 13-1 "Format of the Legacy Region of an XSAVE Area".
#define AREA_FCW     0
#define AREA_FSW     2
#define AREA_FTW     4
#define AREA_FPU_END 24 // MXCSR is no part of the x87 state
#define AREA_ST      32
#define AREA_XMM     160
#define AREA_HEADER  512
#define AREA_YMM     576 // the upper halves: SDM 1 13.5.3 "AVX State"
#define ST_STRIDE    16
#define ST_COUNT     8
#define XMM_SIZE     16
#define XMM_COUNT    16
#define FCW_RESET    0x037f
#define FSW_TOP      0x3800
#define FSW_SHIFT    11

#define STATE_X87 UINT64_C(1)
#define STATE_SSE UINT64_C(2)
#define STATE_AVX UINT64_C(4)

// The components are no longer in their initial state.
static void materialise(uint8_t *area, uint64_t components) {
    uint64_t header;

    memcpy(&header, area + AREA_HEADER, sizeof header);
    components &= ~header;
    if (components & STATE_X87) {
        memset(area, 0, AREA_FPU_END);
        memset(area + AREA_ST, 0, ST_COUNT * ST_STRIDE);
        memcpy(area + AREA_FCW, &(uint16_t){FCW_RESET}, sizeof(uint16_t));
    }
    if (components & STATE_SSE)
        memset(area + AREA_XMM, 0, XMM_COUNT * XMM_SIZE);
    if (components & STATE_AVX)
        memset(area + AREA_YMM, 0, XMM_COUNT * XMM_SIZE);
    header |= components;
    memcpy(area + AREA_HEADER, &header, sizeof header);
}

static enum emulate_result unavailable(struct emulate_ctx *ctx, uint8_t vector) {
    ctx->fault = (struct emulate_fault){.vector = vector};
    return EMULATE_FAULT;
}

// SDM 2A 2.4 "AVX and SSE Instruction Exception Classification".
static enum emulate_result check_usable(const struct insn *insn, struct emulate_ctx *ctx,
                                        uint64_t xcr0) {
    const struct walk_ctx *walk = ctx->walk;
    bool is_defined = !(walk->cr0 & CR0_EM);

    if (insn->is_vex)
        is_defined = walk->cr4 & CR4_OSXSAVE && walk->cr0 & CR0_PE && !(*ctx->rflags & RFLAGS_VM) &&
                     (xcr0 & (STATE_SSE | STATE_AVX)) == (STATE_SSE | STATE_AVX);
    else if (insn->op == INSN_VMOV)
        is_defined = is_defined && walk->cr4 & CR4_OSFXSR;
    if (!is_defined)
        return unavailable(ctx, EMULATE_UD);
    return walk->cr0 & CR0_TS ? unavailable(ctx, EMULATE_NM) : EMULATE_DONE;
}

// SDM 1 9.6.2 "Transitions Between x87 FPU and MMX Code": the stack's top is register 0 from here
// on, and all registers are in use. The area lists them from the top.
static uint8_t *mmx_register(uint8_t *area, unsigned number) {
    uint8_t old[ST_COUNT * ST_STRIDE];
    uint16_t status;

    materialise(area, STATE_X87);
    memcpy(&status, area + AREA_FSW, sizeof status);
    unsigned top = (status & FSW_TOP) >> FSW_SHIFT;
    memcpy(old, area + AREA_ST, sizeof old);
    for (unsigned i = 0; i < ST_COUNT; i++)
        memcpy(area + AREA_ST + (i + top) % ST_COUNT * ST_STRIDE, old + i * ST_STRIDE, ST_STRIDE);
    status &= (uint16_t)~FSW_TOP;
    memcpy(area + AREA_FSW, &status, sizeof status);
    area[AREA_FTW] = UINT8_MAX;
    return area + AREA_ST + number * ST_STRIDE;
}

static void load_mmx(const struct insn *insn, uint8_t *area, const uint8_t *bytes) {
    uint8_t *to = mmx_register(area, insn->reg);

    memset(to, 0, sizeof(uint64_t));
    memcpy(to, bytes, insn->memory_size);
    memset(to + sizeof(uint64_t), UINT8_MAX, sizeof(uint16_t)); // exponent and sign
}

static void load_vector(const struct insn *insn, uint8_t *area, const uint8_t *bytes) {
    uint8_t *low = area + AREA_XMM + insn->reg * XMM_SIZE;
    uint8_t *high = area + AREA_YMM + insn->reg * XMM_SIZE;
    unsigned at = insn->vector & INSN_VECTOR_HIGH ? sizeof(uint64_t) : 0;
    unsigned size = insn->memory_size;

    if (insn->is_vex && insn->vector & INSN_VECTOR_MERGES)
        memmove(low, area + AREA_XMM + insn->source * XMM_SIZE, XMM_SIZE);
    if (insn->vector & INSN_VECTOR_CLEARS)
        memset(low, 0, XMM_SIZE);
    if (insn->is_vex)
        memset(high, 0, XMM_SIZE);
    memcpy(low + at, bytes, size < XMM_SIZE ? size : XMM_SIZE);
    if (size > XMM_SIZE)
        memcpy(high, bytes + XMM_SIZE, XMM_SIZE);
}

static void store_vector(const struct insn *insn, uint8_t *area, uint8_t *bytes) {
    const uint8_t *low = area + AREA_XMM + insn->reg * XMM_SIZE;
    unsigned at = insn->vector & INSN_VECTOR_HIGH ? sizeof(uint64_t) : 0;
    unsigned size = insn->memory_size;

    memcpy(bytes, low + at, size < XMM_SIZE ? size : XMM_SIZE);
    if (size > XMM_SIZE)
        memcpy(bytes + XMM_SIZE, area + AREA_YMM + insn->reg * XMM_SIZE, XMM_SIZE);
}

static void move(const struct insn *insn, const struct emulate_ctx *ctx,
                 const struct operand *memory, uint8_t *area) {
    uint8_t bytes[OPERAND_BYTES];

    materialise(area, insn->op == INSN_MMX ? STATE_X87 : STATE_SSE);
    if (insn->is_vex)
        materialise(area, STATE_AVX);
    if (insn->access & INSN_READS) {
        operand_load_bytes(ctx, memory, bytes);
        if (insn->op == INSN_MMX)
            load_mmx(insn, area, bytes);
        else
            load_vector(insn, area, bytes);
        return;
    }
    if (insn->op == INSN_MMX)
        memcpy(bytes, mmx_register(area, insn->reg), insn->memory_size);
    else
        store_vector(insn, area, bytes);
    operand_store_bytes(ctx, memory, bytes);
}

enum emulate_result run_vector(const struct insn *insn, struct emulate_ctx *ctx) {
    struct emulate_vectors vectors;
    struct operand memory;
    enum emulate_result result;

    if (ctx->vectors_read == NULL || !ctx->vectors_read(ctx->opaque, &vectors))
        return EMULATE_UNHANDLED;
    result = check_usable(insn, ctx, vectors.xcr0);
    if (result != EMULATE_DONE)
        return result;
    if (insn->vector & INSN_VECTOR_ALIGNED && !operand_is_aligned(ctx, insn))
        return emulate_protection(ctx, INSN_DS);
    result = operand_resolve_exit(ctx, insn, &memory);
    if (result != EMULATE_DONE)
        return result;
    move(insn, ctx, &memory, vectors.area);
    // A store leaves the registers as they were, but for what MMX does to the x87 stack.
    if (insn->access & INSN_READS || insn->op == INSN_MMX)
        ctx->vectors_write(ctx->opaque, &vectors);
    return EMULATE_DONE;
}
