// SPDX-License-Identifier: Apache-2.0
// The crash dump; the interface is told in dump.h. All comes from the kernel's copy of the state,
// since the vCPU's page holds only part of it.
#include "vmm/cpu/dump.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "vmm/cpu/run.h"
#include "vmm/cpu/walk.h"
#include "vmm/report.h"

#define CODE_BYTES  16u
#define STACK_WORDS 8u

#define SELECTOR_RPL 3u // SDM 3A 3.4.2 "Segment Selectors": the current privilege level, in CS

static void *guest_pointer(void *opaque, uint64_t gpa, uint64_t length, bool is_write) {
    const struct vmm *vmm = opaque;
    (void)is_write;
    return memory_pointer(&vmm->machine.memory, gpa, length);
}

// The address of [gva, gva + length) in RAM, or NULL.
static const uint8_t *find(struct vmm *vmm, const struct vcpu_registers *registers, uint64_t gva,
                           uint64_t length) {
    struct walk_ctx walk = {
        .cr0 = registers->cr0,
        .cr3 = registers->cr3,
        .cr4 = registers->cr4,
        .efer = registers->efer,
        .cpl = registers->cs.selector & SELECTOR_RPL,
        .physical_bits = (uint8_t)vmm->start->physical_bits,
        .has_1g_pages = vmm->has_1g_pages,
        .guest_ptr = guest_pointer,
        .opaque = vmm,
    };
    struct walk_result result;
    if (walk_translate(&walk, gva, WALK_READ, &result) != WALK_OK)
        return NULL;
    return memory_pointer(&vmm->machine.memory, result.gpa, length);
}

static void dump_general(struct vmm *vmm, const struct vcpu_registers *r) {
    const uint64_t *g = r->gpr;
    report_dump(vmm, "rip %016lx rflags %08lx", r->rip, r->rflags);
    report_dump(vmm, "rax %016lx rbx %016lx rcx %016lx rdx %016lx", g[0], g[3], g[1], g[2]);
    report_dump(vmm, "rsi %016lx rdi %016lx rbp %016lx rsp %016lx", g[6], g[7], g[5], g[4]);
    report_dump(vmm, "r8  %016lx r9  %016lx r10 %016lx r11 %016lx", g[8], g[9], g[10], g[11]);
    report_dump(vmm, "r12 %016lx r13 %016lx r14 %016lx r15 %016lx", g[12], g[13], g[14], g[15]);
}

static void dump_segment(struct vmm *vmm, const char *name, const struct vcpu_segment *segment) {
    report_dump(vmm, "%s %04x base %016lx limit %08x attributes %04x", name, segment->selector,
                segment->base, segment->limit, segment->attributes);
}

static void dump_system(struct vmm *vmm, const struct vcpu_registers *r) {
    report_dump(vmm, "cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx", r->cr0, r->cr2, r->cr3, r->cr4,
                r->efer);
    dump_segment(vmm, "cs", &r->cs);
    dump_segment(vmm, "ss", &r->ss);
    dump_segment(vmm, "ds", &r->ds);
    report_dump(vmm, "gdt %lx+%x idt %lx+%x tr %04x fs base %lx gs base %lx", r->gdtr.base,
                r->gdtr.limit, r->idtr.base, r->idtr.limit, r->tr.selector, r->fs.base, r->gs.base);
}

// Bytes (`unit` 1) or words of 8 bytes in hexadecimal, until they can not be read.
static void dump_memory(struct vmm *vmm, const struct vcpu_registers *registers, const char *name,
                        uint64_t gva, unsigned unit, unsigned count) {
    char text[200];
    size_t length = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *at = find(vmm, registers, gva + (uint64_t)i * unit, 1);
        uint64_t value = 0;
        for (unsigned k = 0; at != NULL && k < unit; k++) {
            at = find(vmm, registers, gva + (uint64_t)i * unit + k, 1);
            if (at != NULL)
                value |= (uint64_t)*at << (8 * k);
        }
        if (at == NULL)
            break;
        length += fmt_format(text + length, sizeof(text) - length, unit == 1 ? " %02lx" : " %016lx",
                             value);
    }
    report_dump(vmm, "%s%s", name, length == 0 ? " (not readable)" : text);
}

static void dump_trace(const struct vcpu *vcpu) {
    uint32_t count = vcpu->trace_count < PROCESS_TRACE ? vcpu->trace_count : PROCESS_TRACE;
    for (uint32_t i = 0; i < count; i++) {
        const struct process_trace *slot =
            &vcpu->trace[(vcpu->trace_count - 1 - i) % PROCESS_TRACE];
        const char *name = slot->exit < RUN_EXIT_COUNT ? run_exits[slot->exit].name : "unknown";
        report_dump(vcpu->vmm, "exit -%u: %s at rip %lx, %lx", i, name, slot->rip, slot->detail);
    }
}

// What only the processor and the kernel knew of it.
static void dump_failure(const struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    const uint64_t *w = page->failure_words;
    if (page->exit != VCPU_EXIT_FAILED || page->failure == VCPU_FAILURE_MEMORY)
        return;
    report_dump(vcpu->vmm, "info %lx address %lx linear %lx pending %lx", w[VCPU_WORD_INFO],
                w[VCPU_WORD_ADDRESS], w[VCPU_WORD_LINEAR], w[VCPU_WORD_PENDING]);
    report_dump(vcpu->vmm, "exit event %lx error %lx vectoring %lx entry event %lx error %lx",
                w[VCPU_WORD_EXIT_EVENT], w[VCPU_WORD_EXIT_ERROR], w[VCPU_WORD_VECTORING],
                w[VCPU_WORD_ENTRY_EVENT], w[VCPU_WORD_ENTRY_ERROR]);
    report_dump(vcpu->vmm, "interruptibility %lx activity %lx controls %lx %lx %lx entry %lx",
                w[VCPU_WORD_INTERRUPTIBILITY], w[VCPU_WORD_ACTIVITY], w[VCPU_WORD_PIN],
                w[VCPU_WORD_PRIMARY], w[VCPU_WORD_SECONDARY], w[VCPU_WORD_ENTRY]);
}

void dump_vcpu(struct vcpu *vcpu) {
    struct vmm *vmm = vcpu->vmm;
    struct vcpu_registers registers;
    report_dump(vmm, "vcpu %u: %s", vcpu->index, vcpu->reason);
    dump_failure(vcpu);
    if (sys_vcpu_read(vcpu->handle, VCPU_STATE_REGISTERS, &registers, sizeof(registers)) == 0) {
        dump_general(vmm, &registers);
        dump_system(vmm, &registers);
        dump_memory(vmm, &registers, "code ", registers.cs.base + registers.rip, 1, CODE_BYTES);
        dump_memory(vmm, &registers, "stack", registers.ss.base + registers.gpr[4], 8, STACK_WORDS);
    }
    dump_trace(vcpu);
}
