// SPDX-License-Identifier: Apache-2.0
// Accesses to guest-physical memory that is not RAM: devices, the local APIC's page, and nothing.
#include "lib/string.h"
#include "lib/syscall.h"
#include "vmm/cpu/run.h"
#include "vmm/device/pc.h"
#include "vmm/emulate/emulate.h"

#define PAGE_OFFSET(A) ((uint32_t)(A) & (ABI_PAGE - 1))
#define APIC_REGISTERS 0x400u // bytes of the page that hold registers ...
#define APIC_ALIGNMENT 16u    // ... one in so many bytes
#define APIC_DWORD     4u

// Of struct vcpu_segment.
#define ATTRIBUTES_DPL_SHIFT 5
#define ATTRIBUTES_DPL       3
#define ATTRIBUTES_LONG      0x2000u // of CS: 64-bit code
#define ATTRIBUTES_BIG       0x4000u // of CS: 32-bit code

static bool is_apic(uint64_t gpa) {
    return (gpa & ~(uint64_t)(ABI_PAGE - 1)) == PC_LAPIC_BASE;
}

static bool is_apic_register(uint64_t gpa) {
    return PAGE_OFFSET(gpa) < APIC_REGISTERS && PAGE_OFFSET(gpa) % APIC_ALIGNMENT == 0;
}

// SDM 3A 11.4.1 "The Local APIC Block Diagram": other than aligned 32-bit accesses are undefined;
// here what lies outside the registers reads 0 and takes no writes.
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

static uint8_t vector_area[ABI_XSAVE_SIZE]; // with the lock held

static bool vectors_read(void *opaque, struct emulate_vectors *vectors) {
    const struct vcpu *vcpu = opaque;
    struct vcpu_registers registers;
    if (sys_vcpu_read(vcpu->handle, VCPU_STATE_REGISTERS, &registers, sizeof(registers)) != 0 ||
        sys_vcpu_read(vcpu->handle, VCPU_STATE_FPU, vector_area, sizeof(vector_area)) != 0)
        return false;
    *vectors = (struct emulate_vectors){vector_area, registers.xcr0};
    return true;
}

static void vectors_write(void *opaque, const struct emulate_vectors *vectors) {
    const struct vcpu *vcpu = opaque;
    (void)sys_vcpu_write(vcpu->handle, VCPU_STATE_FPU, vectors->area, sizeof(vector_area));
}

void *run_guest_pointer(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    const struct memory *memory = &((const struct vcpu *)opaque)->vmm->machine.memory;
    return is_write ? memory_writable(memory, gpa, length) : memory_pointer(memory, gpa, length);
}

void run_walk_of(const struct vcpu_registers *r, struct vcpu_walk *walk) {
    bool is_long = (r->efer & EFER_LMA) && (r->cs.attributes & ATTRIBUTES_LONG);
    uint8_t legacy_size = r->cs.attributes & ATTRIBUTES_BIG ? DECODE_32BIT : DECODE_16BIT;
    *walk = (struct vcpu_walk){
        .cr0 = r->cr0,
        .cr3 = r->cr3,
        .cr4 = r->cr4,
        .efer = r->efer,
        .segment = {r->es, r->cs, r->ss, r->ds, r->fs, r->gs},
        .cpl = r->ss.attributes >> ATTRIBUTES_DPL_SHIFT & ATTRIBUTES_DPL,
        .code_size = is_long ? DECODE_64BIT : legacy_size,
    };
}

void run_emulate_init(struct vcpu *vcpu, struct walk_ctx *walk, struct emulate_ctx *emulate) {
    struct vcpu_page *page = vcpu->page;
    const struct vcpu_walk *state = &page->walk;
    const struct memory *memory = &vcpu->vmm->machine.memory;
    *walk = (struct walk_ctx){
        .cr0 = state->cr0,
        .cr3 = state->cr3,
        .cr4 = state->cr4,
        .efer = state->efer,
        .rflags = page->rflags,
        .cpl = state->cpl,
        .physical_bits = (uint8_t)vcpu->vmm->start->physical_bits,
        .has_1g_pages = vcpu->vmm->has_1g_pages,
        .ram = memory->base,
        .ram_low_size = MEMORY_VIDEO_BASE,
        .ram_start = MEMORY_BIOS_END,
        .ram_size = memory->low_size - MEMORY_BIOS_END,
        .guest_ptr = run_guest_pointer,
        .opaque = vcpu,
    };
    *emulate = (struct emulate_ctx){
        .gpr = page->gpr,
        .rip = &page->rip,
        .rflags = &page->rflags,
        .segment = state->segment,
        .mode = (enum decode_mode)state->code_size,
        .walk = walk,
        .mmio_read = mmio_read,
        .mmio_write = mmio_write,
        .vectors_read = vectors_read,
        .vectors_write = vectors_write,
        .opaque = vcpu,
        .recent = vcpu->recent,
        .has_tzcnt = vcpu->vmm->has_tzcnt,
        .has_lzcnt = vcpu->vmm->has_lzcnt,
    };
}

// ---- what is not carried out here ---------------------------------------------------------------

// Whether a PC has nothing on the whole page of an address.
static bool is_nothing(struct vcpu *vcpu, uint64_t gpa) {
    struct machine *machine = &vcpu->vmm->machine;
    uint64_t page = gpa - PAGE_OFFSET(gpa);
    machine_lock(machine);
    bool is_free = bus_mmio_is_free(&machine->board.bus, page, ABI_PAGE);
    uint32_t after = machine_unlock(machine);
    if (after != 0)
        process_do_after(vcpu->vmm, vcpu, after);
    return is_free && !is_apic(gpa) && memory_pointer(&machine->memory, page, ABI_PAGE) == NULL;
}

enum exit_action exit_refused(struct vcpu *vcpu) {
    return run_inject(vcpu, EMULATE_GP, 0, 0);
}

// Another vCPU's step may have a page of ones there: it is gone soon.
enum exit_action exit_shortage(struct vcpu *vcpu) {
    uint64_t gpa = vcpu->page->failure_detail;
    if (!is_nothing(vcpu, gpa))
        return run_crash(vcpu, "out of memory for the tables that map 0x%lx", gpa);
    sys_thread_yield();
    return EXIT_RESUME;
}

// Where a PC has nothing, the guest does it by itself; a device's registers it can not have.
static enum exit_action leave_to_guest(struct vcpu *vcpu) {
    const struct vcpu_exit_memory *memory = &vcpu->page->memory;
    uint64_t page = memory->gpa - PAGE_OFFSET(memory->gpa);
    bool writes = (memory->access & VCPU_ACCESS_WRITE) != 0;
    if (!is_nothing(vcpu, memory->gpa))
        return exit_refused(vcpu);
    switch (step_add(&vcpu->vmm->step, vcpu->index, page, writes)) {
    case STEP_READY:
        vcpu->page->dirty |= VCPU_DIRTY_STEP;
        return EXIT_RESUME;
    case STEP_BUSY:
        sys_thread_yield();
        return EXIT_RESUME;
    default:
        return exit_refused(vcpu);
    }
}

static enum exit_action emulate(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    struct machine *machine = &vcpu->vmm->machine;
    struct walk_ctx walk;
    struct emulate_ctx ctx;
    struct insn insn;
    uint64_t rsp = page->gpr[INSN_RSP];
    run_emulate_init(vcpu, &walk, &ctx);
    ctx.has_exit = page->memory.has_gva != 0;
    ctx.exit_access = (uint8_t)page->memory.access;
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
        return leave_to_guest(vcpu);
    }
}

enum exit_action exit_memory(struct vcpu *vcpu) {
    const struct vcpu_exit_memory *memory = &vcpu->page->memory;
    bool is_instruction =
        !memory->is_delivery && !memory->is_walk && !(memory->access & VCPU_ACCESS_FETCH);
    enum exit_action action = is_instruction ? emulate(vcpu) : leave_to_guest(vcpu);
    if (step_is_own(&vcpu->vmm->step, vcpu->index) && !(vcpu->page->dirty & VCPU_DIRTY_STEP))
        (void)step_end(&vcpu->vmm->step, vcpu->index);
    return action;
}
