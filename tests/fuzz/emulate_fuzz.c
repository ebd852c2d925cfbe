// SPDX-License-Identifier: Apache-2.0
// The VMM's emulator on what a guest may give it: code, page tables, registers, vector registers
// and mode are the input's. RAM is 64 KiB of exactly allocated memory, so that the sanitizers see
// an access beside it, and so is the XSAVE area; everything else is a device. Devices are asked for
// 1, 2, 4 or 8 bytes within a page; RIP moves by the instruction's length or to where a branch
// goes, and only when it is done; so do vector registers.
//
// What the emulator leaves to the guest becomes steps on pages of ones, of several vCPUs, with
// guests that write wherever they can: one vCPU at a time has pages, no page is mapped twice, none
// is found otherwise than full of ones, and behind the end of a step there is none.
#include "tests/fuzz/input.h"
#include "vmm/cpu/step.h"
#include "vmm/emulate/emulate.h"

#include <stdlib.h>
#include <string.h>

#define RAM_SIZE       0x10000u
#define PAGE_BYTES     0x1000u
#define TABLES         0x8000u
#define CR0_PE         UINT64_C(1)
#define CR0_PG         (UINT64_C(1) << 31)
#define CR4_PAE        (UINT64_C(1) << 5)
#define EFER_LMA       (UINT64_C(1) << 10)
#define PHYSICAL       39u
#define AREA_SIZE      832u // x87, SSE, header, AVX
#define AREA_XSTATE_BV 512u
#define STATE_ALL      UINT64_C(7)
#define VCPUS          3u
#define STEP_AT        (UINT64_C(1) << 32)

struct world {
    uint8_t *ram;
    uint8_t *area;
    uint64_t xcr0;
    bool has_vectors;
    unsigned vector_writes;
};

static void expect(bool is_true) {
    if (!is_true)
        abort();
}

static void *guest_ptr(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    const struct world *world = opaque;
    (void)is_write;
    expect(length <= PAGE_BYTES);
    return gpa < RAM_SIZE && length <= RAM_SIZE - gpa ? world->ram + gpa : NULL;
}

static void check_access(uint64_t gpa, unsigned size) {
    expect(size == 1 || size == 2 || size == 4 || size == 8);
    expect(gpa % PAGE_BYTES + size <= PAGE_BYTES);
    expect(gpa < UINT64_C(1) << PHYSICAL);
}

static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size) {
    (void)opaque;
    check_access(gpa, size);
    return gpa * UINT64_C(0x9e3779b97f4a7c15);
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value) {
    (void)opaque;
    check_access(gpa, size);
    expect(size == 8 || value >> size * 8 == 0);
}

// ---- vector registers ---------------------------------------------------------------------------

static bool vectors_read(void *opaque, struct emulate_vectors *vectors) {
    struct world *world = opaque;
    *vectors = (struct emulate_vectors){world->area, world->xcr0};
    return world->has_vectors;
}

static void vectors_write(void *opaque, const struct emulate_vectors *vectors) {
    struct world *world = opaque;
    expect(world->has_vectors && vectors->area == world->area);
    world->vector_writes++;
}

// As the kernel gives it out: reserved parts of the header are zero, of the rest anything may be in
// its initial state.
static void fill_vectors(struct world *world, struct input *input) {
    uint64_t state = input_byte(input) & STATE_ALL;
    uint8_t seed = input_byte(input);
    for (unsigned i = 0; i < AREA_SIZE; i++)
        world->area[i] = (uint8_t)(seed + i * 37);
    for (unsigned i = 0; i < 8; i++)
        world->area[i] = input_byte(input); // control, status and tags of the x87
    memset(world->area + AREA_XSTATE_BV, 0, 64);
    memcpy(world->area + AREA_XSTATE_BV, &state, sizeof(state));
    world->xcr0 = (input_byte(input) & STATE_ALL) | 1;
    world->has_vectors = input_byte(input) % 8 != 0;
}

static void check_vectors(const struct world *world, const uint8_t *before, bool is_done) {
    uint64_t old, now;
    memcpy(&old, before + AREA_XSTATE_BV, sizeof(old));
    memcpy(&now, world->area + AREA_XSTATE_BV, sizeof(now));
    expect(world->vector_writes <= 1 && (world->vector_writes == 0 || is_done));
    expect(is_done || memcmp(before, world->area, AREA_SIZE) == 0);
    expect((now & old) == old && (now & ~STATE_ALL) == 0);
    expect(memcmp(before + AREA_XSTATE_BV + 8, world->area + AREA_XSTATE_BV + 8, 56) == 0);
}

// ---- steps --------------------------------------------------------------------------------------

static uint8_t ones[STEP_PAGES * PAGE_BYTES];
static struct step step;
static struct {
    uint64_t gpa; // 0: not mapped
    bool is_writable;
} mapped[STEP_PAGES];
static bool is_refusing;

static bool is_all_ones(const uint8_t *bytes, size_t size) {
    return bytes[0] == UINT8_MAX && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static bool map(void *opaque, uint64_t gpa, unsigned page, bool is_writable) {
    (void)opaque;
    expect(page < STEP_PAGES && mapped[page].gpa == 0 && gpa % PAGE_BYTES == 0);
    for (unsigned i = 0; i < STEP_PAGES; i++)
        expect(mapped[i].gpa != gpa);
    expect(is_all_ones(ones + page * PAGE_BYTES, PAGE_BYTES));
    if (is_refusing)
        return false;
    mapped[page].gpa = gpa;
    mapped[page].is_writable = is_writable;
    return true;
}

// The guest writes up to the last moment.
static void unmap(void *opaque, uint64_t gpa) {
    (void)opaque;
    for (unsigned i = 0; i < STEP_PAGES; i++) {
        if (mapped[i].gpa != gpa)
            continue;
        if (mapped[i].is_writable)
            ones[i * PAGE_BYTES + gpa % 251] = 0;
        mapped[i].gpa = 0;
        return;
    }
    expect(false);
}

static unsigned count_mapped(uint64_t gpa) {
    unsigned count = 0;
    for (unsigned i = 0; i < STEP_PAGES; i++)
        count += gpa == 0 ? mapped[i].gpa != 0 : mapped[i].gpa == gpa;
    return count;
}

static bool is_writable_at(uint64_t gpa) {
    for (unsigned i = 0; i < STEP_PAGES; i++)
        if (mapped[i].gpa == gpa)
            return mapped[i].is_writable;
    return false;
}

static void end_step(unsigned who) {
    bool is_own = step_is_own(&step, who);
    unsigned others = is_own ? 0 : count_mapped(0);
    expect(step_end(&step, who) == is_own && !step_is_own(&step, who));
    expect(count_mapped(0) == others);
    if (is_own)
        expect(is_all_ones(ones, sizeof(ones)));
}

static void request_step(struct input *input, unsigned who) {
    uint64_t page = input_byte(input), area = input_byte(input) % (STEP_AREAS + 8);
    uint64_t gpa = STEP_AT + (area << 21) + page * PAGE_BYTES;
    bool writes = input_byte(input) & 1, was_own = step_is_own(&step, who);
    unsigned before = count_mapped(0);
    is_refusing = input_byte(input) == 1;
    switch (step_add(&step, who, gpa, writes)) {
    case STEP_READY:
        expect(step_is_own(&step, who) && count_mapped(gpa) == 1);
        expect(is_writable_at(gpa) == writes);
        break;
    case STEP_BUSY:
        expect(!was_own && !step_is_own(&step, who) && count_mapped(0) == before);
        break;
    case STEP_IMPOSSIBLE:
        expect(!step_is_own(&step, who) && count_mapped(0) == 0);
        expect(is_all_ones(ones, sizeof(ones)));
        break;
    }
    expect(step.area_count <= STEP_AREAS);
}

static void run_steps(struct input *input) {
    memset(mapped, 0, sizeof(mapped));
    step_init(&step, &(struct step_backend){NULL, map, unmap}, ones);
    for (unsigned i = input_byte(input) % 64; i > 0; i--) {
        unsigned who = input_byte(input) % VCPUS;
        if (input_byte(input) % 8 == 0)
            end_step(who);
        else
            request_step(input, who);
    }
    for (unsigned who = 0; who < VCPUS; who++)
        end_step(who);
    expect(count_mapped(0) == 0);
}

// ---- one instruction ----------------------------------------------------------------------------

// Tables whose entries point at tables, RAM, devices, or are what the input says.
static void fill_tables(uint8_t *ram, struct input *input) {
    for (unsigned i = input_byte(input) % 64; i > 0; i--) {
        uint64_t at = TABLES + input_number(input, 2) % (RAM_SIZE - TABLES) / 8 * 8;
        uint64_t entry = input_number(input, 2) << 8 | 7;
        if (input_byte(input) & 1)
            entry = input_number(input, 8);
        memcpy(ram + at, &entry, sizeof(entry));
    }
}

static struct walk_ctx walk_of(struct input *input, struct world *world) {
    static const struct {
        uint64_t cr0, cr4, efer;
    } paging[] = {
        {CR0_PE, 0, 0},
        {CR0_PE | CR0_PG, 0, 0},
        {CR0_PE | CR0_PG, CR4_PAE, 0},
        {CR0_PE | CR0_PG, CR4_PAE, EFER_LMA},
    };
    unsigned kind = input_byte(input) % 4;
    return (struct walk_ctx){
        .cr0 = paging[kind].cr0 | (input_number(input, 4) & 0x7ffffffe),
        .cr3 = TABLES + input_byte(input) % 8 * PAGE_BYTES,
        .cr4 = paging[kind].cr4 | (input_number(input, 3) & ~(uint64_t)(CR4_PAE | 1 << 12)),
        .efer = paging[kind].efer | (uint64_t)(input_byte(input) & 8) << 8,
        .rflags = input_number(input, 3),
        .cpl = input_byte(input) & 3,
        .physical_bits = PHYSICAL,
        .has_1g_pages = input_byte(input) & 1,
        .guest_ptr = guest_ptr,
        .opaque = world,
    };
}

// How moves of vector registers begin: SSE, MMX, VEX in two and three bytes. Chance alone finds few
// of them.
static void fill_code(uint8_t *ram, struct input *input, uint64_t rip) {
    static const uint8_t begins[][4] = {{0x0f, 0x10},
                                        {0x0f, 0x11},
                                        {0x0f, 0x16},
                                        {0x66, 0x0f, 0x6f},
                                        {0xf3, 0x0f, 0x7f},
                                        {0x0f, 0x28},
                                        {0x0f, 0x6f},
                                        {0x0f, 0xe7},
                                        {0x66, 0x0f, 0xd6},
                                        {0x0f, 0x7e},
                                        {0x0f, 0x2b},
                                        {0xf2, 0x0f},
                                        {0xc5, 0xfc, 0x10},
                                        {0xc4, 0xe1, 0x7c, 0x11},
                                        {0xc5},
                                        {0xc4}};
    unsigned kind = input_byte(input), at = 0;
    const uint8_t *begin = begins[kind % 16];
    for (; kind < 128 && at < sizeof(begins[0]) && begin[at] != 0; at++)
        ram[(rip + at) % RAM_SIZE] = begin[at];
    for (; at < DECODE_BYTES; at++)
        ram[(rip + at) % RAM_SIZE] = input_byte(input);
}

// Of an exit that a device's page caused: its place in the page is that of the address.
static void take_exit(struct emulate_ctx *ctx, struct input *input) {
    ctx->has_exit = input_byte(input) & 1;
    ctx->exit_access = input_byte(input) & 7;
    ctx->exit_gva = input_number(input, input_byte(input) % 9);
    ctx->exit_gpa = (STEP_AT | input_number(input, 4)) / PAGE_BYTES * PAGE_BYTES;
    ctx->exit_gpa += ctx->exit_gva % PAGE_BYTES;
}

static void emulate_once(struct input *input, struct world *world) {
    static const enum decode_mode modes[] = {DECODE_16BIT, DECODE_32BIT, DECODE_64BIT};
    uint64_t gpr[16], rip = input_number(input, 2), rflags = input_number(input, 3), before;
    struct vcpu_segment segments[6] = {{0}};
    struct walk_ctx walk = walk_of(input, world);
    uint8_t vectors[AREA_SIZE];
    static struct emulate_recent recent[EMULATE_RECENT]; // of earlier inputs, too
    struct insn insn;
    struct emulate_ctx ctx = {
        .gpr = gpr,
        .rip = &rip,
        .rflags = &rflags,
        .segment = segments,
        .mode = modes[input_byte(input) % 3],
        .walk = &walk,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .vectors_read = vectors_read,
        .vectors_write = vectors_write,
        .opaque = world,
        .recent = recent,
        .has_tzcnt = input_byte(input) & 1,
        .has_lzcnt = input_byte(input) & 1,
    };
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = input_number(input, input_byte(input) % 9);
    for (unsigned i = 0; i < 6; i++) {
        segments[i].base = input_byte(input) & 1 ? input_number(input, 4) : 0;
        segments[i].limit = input_byte(input) & 1 ? (uint32_t)input_number(input, 4) : UINT32_MAX;
        segments[i].attributes = input_byte(input) & 1 ? (uint16_t)input_number(input, 2) : 0xc093;
    }
    fill_vectors(world, input);
    take_exit(&ctx, input);
    fill_tables(world->ram, input);
    fill_code(world->ram, input, rip);
    memcpy(vectors, world->area, AREA_SIZE);
    before = rip;
    enum emulate_result result = emulate_exit(&ctx, &insn);
    bool is_branch = insn.op == INSN_CALL || insn.op == INSN_JMP;
    if (result == EMULATE_DONE)
        expect(insn.length >= 1 && insn.length <= DECODE_BYTES &&
               (is_branch || (uint32_t)(rip - before) == insn.length));
    else
        expect(rip == before);
    if (result == EMULATE_FAULT)
        expect(ctx.fault.vector < 32);
    check_vectors(world, vectors, result == EMULATE_DONE);
    if (result == EMULATE_UNHANDLED)
        run_steps(input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    struct world world = {.ram = calloc(1, RAM_SIZE), .area = malloc(AREA_SIZE)};
    expect(world.ram != NULL && world.area != NULL);
    emulate_once(&input, &world);
    free(world.ram);
    free(world.area);
    return 0;
}
