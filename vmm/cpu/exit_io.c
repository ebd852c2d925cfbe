// SPDX-License-Identifier: Apache-2.0
// Port I/O: IN and OUT, and their string forms.
#include "vmm/cpu/run.h"
#include "vmm/emulate/alu.h"
#include "vmm/emulate/operand.h"

#define RAX 0
#define RCX 1
#define RSI 6
#define RDI 7

// Elements of a repeated string in one go; then the guest is entered again, so that interrupts get
// in.
#define STRING_ELEMENTS 1024u

#define SEGMENT_ES 0u
#define SEGMENT_DS 3u

// SDM 1 3.4.1.1 "General-Purpose Registers in 64-Bit Mode": 32-bit results clear the upper half,
// others leave it.
static uint64_t merge(uint64_t old, uint32_t value, uint8_t size) {
    if (size == 1)
        return (old & ~0xffULL) | (value & 0xff);
    if (size == 2)
        return (old & ~0xffffULL) | (value & 0xffff);
    return value;
}

// ---- strings ------------------------------------------------------------------------------------

struct string {
    const struct vcpu_exit_io *io;
    uint64_t *address;     // RSI or RDI
    unsigned address_size; // 2, 4, 8
    unsigned segment;
    uint64_t step; // +size or -size
};

static void add_to_register(uint64_t *reg, uint64_t value, unsigned address_size) {
    *reg = register_merge(*reg, *reg + value, address_size);
}

// One element. The lock is held.
static enum emulate_result move_element(struct machine *machine, const struct string *string,
                                        struct emulate_ctx *ctx) {
    const struct vcpu_exit_io *io = string->io;
    struct operand operand = {.piece_count = 0};
    uint64_t offset = alu_cut(*string->address, string->address_size);
    enum emulate_result result = operand_resolve(ctx, string->segment, offset, io->size,
                                                 io->is_in ? WALK_WRITE : WALK_READ, &operand);
    if (result != EMULATE_DONE)
        return result;
    if (io->is_in)
        operand_store(ctx, &operand, bus_port_read(&machine->board.bus, io->port, io->size));
    else
        bus_port_write(&machine->board.bus, io->port, io->size,
                       (uint32_t)operand_load(ctx, &operand));
    add_to_register(string->address, string->step, string->address_size);
    return EMULATE_DONE;
}

// As many elements as can be moved in one go; *is_over: the instruction is.
static enum emulate_result move_elements(struct vcpu *vcpu, const struct string *string,
                                         struct emulate_ctx *ctx, bool *is_over) {
    struct machine *machine = &vcpu->vmm->machine;
    uint64_t *rcx = &vcpu->page->gpr[RCX];
    unsigned address_size = string->address_size;
    *is_over = false;
    for (unsigned i = 0; i < STRING_ELEMENTS && machine->after == 0; i++) {
        if (string->io->is_repeated && alu_cut(*rcx, address_size) == 0) {
            *is_over = true;
            break;
        }
        enum emulate_result result = move_element(machine, string, ctx);
        if (result != EMULATE_DONE)
            return result;
        if (!string->io->is_repeated) {
            *is_over = true;
            break;
        }
        add_to_register(rcx, UINT64_MAX, address_size);
    }
    return EMULATE_DONE;
}

// Segment and address size stand in the instruction. Where another vCPU has changed it, they are
// what they are without prefixes.
static void decode_string(struct emulate_ctx *ctx, struct string *string) {
    struct system_insn insn;
    bool is_in = string->io->is_in;
    if (emulate_decode_system(ctx, &insn) != EMULATE_DONE ||
        insn.op != (is_in ? SYSTEM_INS : SYSTEM_OUTS))
        return;
    string->address_size = insn.insn.address_size;
    if (!is_in)
        string->segment = insn.insn.segment;
}

// Its stack is large.
static __attribute__((noinline)) enum exit_action exit_io_string(struct vcpu *vcpu) {
    const struct vcpu_exit_io *io = &vcpu->page->io;
    struct machine *machine = &vcpu->vmm->machine;
    struct walk_ctx walk;
    struct emulate_ctx ctx;
    bool is_over;
    run_emulate_init(vcpu, &walk, &ctx);
    struct string string = {
        .io = io,
        .address = &vcpu->page->gpr[io->is_in ? RDI : RSI],
        .address_size = vcpu->page->walk.code_size,
        .segment = io->is_in ? SEGMENT_ES : SEGMENT_DS,
        .step = vcpu->page->rflags & EMULATE_FLAG_DF ? -(uint64_t)io->size : io->size,
    };
    decode_string(&ctx, &string);
    machine_lock(machine);
    enum emulate_result result = move_elements(vcpu, &string, &ctx, &is_over);
    uint32_t after = machine_unlock(machine);
    if (after != 0)
        process_do_after(vcpu->vmm, vcpu, after);
    if (result == EMULATE_FAULT)
        return run_inject(vcpu, ctx.fault.vector, ctx.fault.error_code, ctx.fault.cr2);
    return is_over ? EXIT_ADVANCE : EXIT_RESUME;
}

// ---- IN and OUT ---------------------------------------------------------------------------------

enum exit_action exit_io(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    struct machine *machine = &vcpu->vmm->machine;
    const struct vcpu_exit_io *io = &page->io;
    if (io->is_string)
        return exit_io_string(vcpu);
    machine_lock(machine);
    if (io->is_in)
        page->gpr[RAX] =
            merge(page->gpr[RAX], bus_port_read(&machine->board.bus, io->port, io->size), io->size);
    else
        bus_port_write(&machine->board.bus, io->port, io->size, (uint32_t)page->gpr[RAX]);
    uint32_t after = machine_unlock(machine);
    if (after != 0)
        process_do_after(vcpu->vmm, vcpu, after);
    return EXIT_ADVANCE;
}
