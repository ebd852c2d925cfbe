// SPDX-License-Identifier: Apache-2.0
// Moves of vector registers in the emulator, against the processor this test runs on.
#include "tests/unit/vmm/emulate/native.h"

#define XSAVE_AREA 1024u // x87, SSE, AVX
#define XSAVE_MASK 7u
#define XMM_AT     160u
#define YMM_AT     576u

struct vector_state {
    _Alignas(64) uint8_t area[4096];
};

static struct vector_state vectors;
static unsigned vector_writes;

static bool vectors_read(void *opaque, struct emulate_vectors *out) {
    (void)opaque;
    *out = (struct emulate_vectors){vectors.area, XSAVE_MASK};
    return true;
}

static void vectors_write(void *opaque, const struct emulate_vectors *in) {
    (void)opaque;
    cr_assert_eq(in->area, vectors.area);
    vector_writes++;
}

// Runs `code` with RDI = `address` and the registers of `state`, which it leaves there.
static void run_vector_native(struct vector_state *state, void (*code)(void), void *address) {
    static struct vector_state own;

    __asm__ volatile("sub $128, %%rsp\n\t"
                     "xsave64 (%[own])\n\t"
                     "xrstor64 (%[state])\n\t"
                     "call *%[code]\n\t"
                     "xsave64 (%[state])\n\t"
                     "xrstor64 (%[own])\n\t"
                     "add $128, %%rsp"
                     :
                     : [own] "r"(&own), [state] "r"(state), [code] "r"(code), "D"(address),
                       "a"(XSAVE_MASK), "d"(0)
                     : "memory", "cc");
}

static const struct {
    uint8_t prefix; // 0: none
    uint8_t opcode;
    bool is_0f38, has_vex, has_256, is_load, by_w;
} moves[] = {
    {0, 0x10, false, true, true, true, false},      {0x66, 0x10, false, true, true, true, false},
    {0xf3, 0x10, false, true, false, true, false},  {0xf2, 0x10, false, true, false, true, false},
    {0, 0x11, false, true, true, false, false},     {0x66, 0x11, false, true, true, false, false},
    {0xf3, 0x11, false, true, false, false, false}, {0xf2, 0x11, false, true, false, false, false},
    {0, 0x12, false, true, false, true, false},     {0x66, 0x13, false, true, false, false, false},
    {0, 0x16, false, true, false, true, false},     {0x66, 0x17, false, true, false, false, false},
    {0, 0x28, false, true, true, true, false},      {0x66, 0x29, false, true, true, false, false},
    {0, 0x2b, false, true, true, false, false},     {0, 0x6e, false, false, false, true, true},
    {0x66, 0x6e, false, true, false, true, true},   {0, 0x7e, false, false, false, false, true},
    {0x66, 0x7e, false, true, false, false, true},  {0xf3, 0x7e, false, true, false, true, false},
    {0, 0x6f, false, false, false, true, false},    {0x66, 0x6f, false, true, true, true, false},
    {0xf3, 0x6f, false, true, true, true, false},   {0, 0x7f, false, false, false, false, false},
    {0x66, 0x7f, false, true, true, false, false},  {0xf3, 0x7f, false, true, true, false, false},
    {0x66, 0xd6, false, true, false, false, false}, {0, 0xe7, false, false, false, false, false},
    {0x66, 0xe7, false, true, true, false, false},  {0xf2, 0xf0, false, true, true, true, false},
    {0x66, 0x2a, true, true, false, true, false},
};

static void emit_legacy_move(struct code_buffer *c, unsigned which, unsigned reg) {
    unsigned rex = (moves[which].by_w && random64() & 1 ? 0x48 : 0) | (reg > 7 ? 0x44 : 0);

    if (moves[which].prefix)
        emit(c, moves[which].prefix);
    if (rex)
        emit(c, rex);
    emit(c, 0x0f);
    if (moves[which].is_0f38)
        emit(c, 0x38);
}

static void emit_vex_move(struct code_buffer *c, unsigned which, unsigned reg) {
    static const uint8_t pp[256] = {[0x66] = 1, [0xf3] = 2, [0xf2] = 3};
    bool merges = (moves[which].opcode == 0x12 || moves[which].opcode == 0x16);
    unsigned source = merges ? (unsigned)(random64() % 16) : 0;
    unsigned last = (~source & 0xf) << 3 | pp[moves[which].prefix] |
                    (moves[which].has_256 && random64() & 1 ? 4u : 0);

    if (!moves[which].is_0f38 && !moves[which].by_w && random64() & 1) {
        emit(c, 0xc5);
        emit(c, last | (reg > 7 ? 0 : 0x80));
        return;
    }
    emit(c, 0xc4);
    emit(c, (reg > 7 ? 0x60 : 0xe0) | (moves[which].is_0f38 ? 2 : 1));
    emit(c, last | (moves[which].by_w && random64() & 1 ? 0x80u : 0));
}

static void compare_move(unsigned which, uint8_t *page) {
    static _Alignas(64) uint8_t memory[128];
    static struct vector_state native;
    struct code_buffer c = {{0}, 0};
    bool is_mmx = !moves[which].has_vex;
    unsigned reg = (unsigned)(random64() % (is_mmx ? 8 : 16));
    void (*code)(void);

    if (moves[which].has_vex && random64() & 1 && __builtin_cpu_supports("avx"))
        emit_vex_move(&c, which, reg);
    else
        emit_legacy_move(&c, which, reg);
    emit(&c, moves[which].opcode);
    emit(&c, (reg & 7) << 3 | 7);
    fill(vectors.area + XMM_AT, 256, false);
    fill(vectors.area + YMM_AT, 256, false);
    for (unsigned k = 0; k < 8; k++) {
        uint64_t value = random64();
        memcpy(vectors.area + 32 + 16 * k, &value, 8);
    }
    uint16_t top = (uint16_t)(random64() % 8 << 11);
    memcpy(vectors.area + 2, &top, 2);
    vectors.area[512] = (uint8_t)(random64() & XSAVE_MASK); // the others are in their initial state
    memcpy(native.area, vectors.area, XSAVE_AREA);
    fill(guest.device + MIDDLE, 64, false);
    memcpy(memory, guest.device + MIDDLE, 64);

    memcpy(page, c.bytes, c.count);
    page[c.count] = 0xc3;
    memcpy(&code, &page, sizeof code);
    run_vector_native(&native, code, memory);
    restart(&c);
    guest.gpr[INSN_RDI] = DEVICE + MIDDLE;
    cr_assert_eq(run(), EMULATE_DONE, "%02x %02x %02x %02x %02x", c.bytes[0], c.bytes[1],
                 c.bytes[2], c.bytes[3], c.bytes[4]);
    // Through the processor once, which makes of both areas what it sees in them.
    page[0] = 0xc3;
    run_vector_native(&native, code, memory);
    memcpy(&guest.ram[DATA], vectors.area, XSAVE_AREA);
    static struct vector_state ours;
    memcpy(ours.area, vectors.area, XSAVE_AREA);
    run_vector_native(&ours, code, memory);
    cr_assert_eq(memcmp(guest.device + MIDDLE, memory, 64), 0, "memory: %02x %02x %02x %02x %02x",
                 c.bytes[0], c.bytes[1], c.bytes[2], c.bytes[3], c.bytes[4]);
    for (unsigned k = 0; k < YMM_AT + 256; k++)
        cr_assert(ours.area[k] == native.area[k] || (k >= 6 && k < 24) || (k >= 464 && k < 576),
                  "byte %u of the area: ours %02x, processor %02x: %02x %02x %02x %02x %02x", k,
                  ours.area[k], native.area[k], c.bytes[0], c.bytes[1], c.bytes[2], c.bytes[3],
                  c.bytes[4]);
}

Test(emulate, vector_moves_agree_with_the_processor) {
    uint8_t *page = code_page();

    if (!__builtin_cpu_supports("avx"))
        cr_skip_test("this processor has no AVX");
    START(DECODE_64BIT, 0);
    guest.ctx.vectors_read = vectors_read;
    guest.ctx.vectors_write = vectors_write;
    guest.walk.cr0 = 1;
    guest.walk.cr4 = UINT64_C(1) << 9 | UINT64_C(1) << 18;
    vectors.area[0] = 0x7f;
    vectors.area[1] = 0x03;
    memcpy(vectors.area + 24, &(uint32_t){0x1f80}, 4);
    for (unsigned round = 0; round < 3000; round++)
        for (unsigned which = 0; which < sizeof moves / sizeof moves[0]; which++)
            compare_move(which, page);
    cr_assert_gt(vector_writes, 0);
    munmap(page, 4096);
}
