// SPDX-License-Identifier: Apache-2.0
// Accesses to guest-physical memory that is not RAM: devices, the local APIC's page, and nothing.
#include "emulate.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "pc.h"
#include "run.h"

#define PAGE_OFFSET(A) ((uint32_t)(A) & (ABI_PAGE - 1))
#define APIC_REGISTERS 0x400u // bytes of the page that hold registers ...
#define APIC_ALIGNMENT 16u    // ... one in so many bytes
#define APIC_DWORD     4u
#define NO_STACK_SIZE  0

static bool is_apic(uint64_t gpa) {
    return (gpa & ~(uint64_t)(ABI_PAGE - 1)) == PC_LAPIC_BASE;
}

static bool is_apic_register(uint64_t gpa) {
    return PAGE_OFFSET(gpa) < APIC_REGISTERS && PAGE_OFFSET(gpa) % APIC_ALIGNMENT == 0;
}

// SDM 3A 11.4.1 "The Local APIC Block Diagram": other than aligned 32-bit accesses are undefined; here
// what lies outside the registers reads 0 and takes no writes.
static uint64_t mmio_read(void *opaque, uint64_t gpa, unsigned size) {
    struct vcpu *vcpu = opaque;
    uint64_t value = 0;
    if (memory_is_rom(gpa, size)) { // of an instruction that also writes there
        memcpy(&value, memory_pointer(&vcpu->vmm->machine.memory, gpa, size), size);
        return value;
    }
    if (!is_apic(gpa))
        return bus_mmio_read(&vcpu->vmm->machine.board.bus, gpa, (uint8_t)size);
    if (!is_apic_register(gpa))
        return 0;
    int64_t word = sys_vcpu_apic_read(vcpu->handle, PAGE_OFFSET(gpa));
    return word < 0 ? 0 : (uint64_t)word;
}

static void mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value) {
    struct vcpu *vcpu = opaque;
    if (!is_apic(gpa))
        bus_mmio_write(&vcpu->vmm->machine.board.bus, gpa, (uint8_t)size, value);
    else if (is_apic_register(gpa) && size >= APIC_DWORD)
        (void)sys_vcpu_apic_write(vcpu->handle, PAGE_OFFSET(gpa), (uint32_t)value);
}

static void *guest_pointer(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    const struct vcpu *vcpu = opaque;
    if (is_write && memory_is_rom(gpa, length))
        return NULL;
    return memory_pointer(&vcpu->vmm->machine.memory, gpa, length);
}

void run_emulate_init(struct vcpu *vcpu, struct walk_ctx *walk, struct emulate_ctx *emulate) {
    struct vcpu_page *page = vcpu->page;
    const struct vcpu_walk *state = &page->walk;
    *walk = (struct walk_ctx){
        .cr0 = state->cr0,
        .cr3 = state->cr3,
        .cr4 = state->cr4,
        .efer = state->efer,
        .rflags = page->rflags,
        .cpl = state->cpl,
        .physical_bits = (uint8_t)vcpu->vmm->start->physical_bits,
        .has_1g_pages = vcpu->vmm->has_1g_pages,
        .guest_ptr = guest_pointer,
        .opaque = vcpu,
    };
    *emulate = (struct emulate_ctx){
        .gpr = page->gpr,
        .rip = &page->rip,
        .rflags = &page->rflags,
        .segment_base = state->segment_base,
        .mode = (enum decode_mode)state->code_size,
        .stack_size = NO_STACK_SIZE,
        .walk = walk,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .opaque = vcpu,
    };
}

static enum exit_action cannot_emulate(struct vcpu *vcpu, const struct insn *insn) {
    const struct vcpu_exit_memory *memory = &vcpu->page->memory;
    return run_crash(
        vcpu, "%s 0x%lx, where there is no memory, by an instruction at RIP 0x%lx that %s",
        memory->access & VCPU_ACCESS_WRITE ? "write to" : "read of", memory->gpa, vcpu->page->rip,
        insn->length == 0 ? "is not supported on devices" : "cannot be carried out");
}

static enum exit_action emulate(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    struct machine *machine = &vcpu->vmm->machine;
    struct walk_ctx walk;
    struct emulate_ctx ctx;
    struct insn insn;
    uint64_t rsp = page->gpr[INSN_RSP];
    run_emulate_init(vcpu, &walk, &ctx);
    ctx.has_exit_gpa = true;
    ctx.has_exit_gva = page->memory.has_gva;
    ctx.exit_gpa = page->memory.gpa;
    ctx.exit_gva = page->memory.gva;
    machine_lock(machine);
    enum emulate_result result = emulate_exit(&ctx, &insn);
    uint32_t after = machine_unlock(machine);
    if (after != 0)
        process_do_after(vcpu->vmm, vcpu, after);
    page->dirty |= VCPU_DIRTY_RFLAGS;
    if (rsp != page->gpr[INSN_RSP])
        page->dirty |= VCPU_DIRTY_RSP;
    switch (result) {
    case EMULATE_DONE:
        page->dirty |= VCPU_DIRTY_RIP;
        return EXIT_RESUME;
    case EMULATE_AGAIN:
        return EXIT_RESUME;
    case EMULATE_FAULT:
        return run_inject(vcpu, ctx.fault.vector, ctx.fault.error_code, ctx.fault.cr2);
    default:
        return cannot_emulate(vcpu, &insn);
    }
}

enum exit_action exit_memory(struct vcpu *vcpu) {
    const struct vcpu_exit_memory *memory = &vcpu->page->memory;
    if (memory->is_walk)
        return run_crash(vcpu, "page tables at 0x%lx, where there is no memory", memory->gpa);
    if (memory->access & VCPU_ACCESS_FETCH)
        return run_crash(vcpu, "jump to 0x%lx, where there is no memory", memory->gpa);
    return emulate(vcpu);
}
