# SPDX-License-Identifier: Apache-2.0
"""Mutants by hand: faults that no rule makes, or that survived once. Each text must stand in its file exactly once, blanks
aside, so that one that has gone stale is seen."""

import re

from rules import Mutant, Source

# (name, file, text, what stands there instead)
PLANTED = [
    # Handles, and what they let their holder do.
    ("signal-without-right", "kernel/syscall.c",
     "OBJECT_EVENT, ABI_RIGHT_SIGNAL, &object, &has",
     "OBJECT_EVENT, 0, &object, &has"),
    ("copy-without-right", "kernel/syscall.c", "OBJECT_NONE, ABI_RIGHT_COPY,", "OBJECT_NONE, 0,"),
    ("copy-with-more-rights", "kernel/syscall.c", "copy.rights &= c->a[2];", "copy.rights = (typeof(copy.rights))c->a[2];"),
    ("copy-with-more-bits", "kernel/syscall.c", "copy.mask &= c->a[3];", "copy.mask = c->a[3];"),
    ("write-where-memory-is-read-only", "kernel/syscall.c",
     "OBJECT_MEMORY, rights, &object",
     "OBJECT_MEMORY, ABI_RIGHT_READ, &object"),
    ("message-beyond-its-buffer", "kernel/syscall.c", "c->a[2] <= sizeof(message)", "c->a[2] <= sizeof(message) + 1"),
    ("guest-writes-read-only-memory", "kernel/syscall_vm.c",
     "OBJECT_MEMORY, rights, &object",
     "OBJECT_MEMORY, ABI_RIGHT_READ, &object"),
    ("vcpu-65", "kernel/syscall_vm.c", "c->a[1] < VM_VCPUS_MAX", "c->a[1] <= VM_VCPUS_MAX"),
    ("registers-of-anybodys-vcpu", "kernel/syscall_vm.c", "thread_current()->vcpu != *vcpu", "thread_current()->vcpu == NULL"),
    ("handle-of-any-type", "kernel/process.c",
     "(type != OBJECT_NONE && handle->object->type != type)",
     "(type == OBJECT_NONE && handle->object->type == type)"),
    ("handle-of-what-is-gone", "kernel/process.c", "handle->object = NULL;", ""),
    ("write-in-a-read-only-region", "kernel/process.c",
     "region != NULL && (region->rights & right) != 0",
     "region != NULL && region->rights != 0"),
    ("writable-code", "kernel/process.c", "!is_wx && ", ""),
    ("no-flush-at-unmap", "kernel/process.c", "smp_flush_root(process->pt.root);", "(void)0;"),
    # Quotas, memory, tables.
    ("quotas-page-for-nothing", "kernel/quota.c", "!quota_charge(parent, bytes + PAGE_SIZE)", "!quota_charge(parent, bytes)"),
    ("tables-for-nothing", "kernel/space.c", "void *page = quota_alloc_page(opaque);", "void *page = kernel_page_alloc();"),
    ("tables-never-given-back", "kernel/space.c",
     "quota_free_page(opaque, frame_to_kernel(frame));",
     "kernel_page_free(frame_to_kernel(frame));"),
    ("guests-tables-for-nothing", "kernel/vm.c",
     "spare_take(vm) : quota_alloc_page(vm->quota)",
     "spare_take(vm) : kernel_page_alloc()"),
    ("memory-of-the-last-owner", "kernel/memory.c", "clear_chunk(*word, chunk_size(memory, index));", "(void)0;"),
    ("page-of-a-dead-vcpu", "kernel/memory.c", "object_ref(owner);", "(void)0;"),
    ("all-is-writable", "kernel/region.c", "(region->rights & ABI_RIGHT_WRITE) != 0 ? PT_WRITE : 0u", "PT_WRITE"),
    ("regions-overlap", "kernel/region.c", "next->base - region->base < region->size", "next->base - region->base < PAGE_SIZE"),
    ("unmap-waits-for-nobody", "kernel/vm.c", "if (generation > 0) wait_flushed(vm, generation);", ""),
    ("guest-has-its-vcpus-page", "kernel/vm.c", "if (memory->kind == MEMORY_PAGE)", "if (memory->kind == MEMORY_PAGE && 0)"),
    ("guest-writes-a-read-only-region", "kernel/vm.c",
     "region != NULL && (region->rights & right) != 0",
     "region != NULL && region->rights != 0"),
    ("clock-in-read-only-memory", "kernel/pvtime.c",
     "region == NULL || (region->rights & ABI_RIGHT_WRITE) == 0",
     "region == NULL"),
    # vCPUs.
    ("state-of-a-vcpu-that-runs", "kernel/vcpu.c",
     "int vcpu_read_state(struct vcpu *vcpu, uint64_t group, void *page) { if (!vcpu_claim(vcpu))",
     "int vcpu_read_state(struct vcpu *vcpu, uint64_t group, void *page) { if (0)"),
    ("exception-with-any-vector", "kernel/vcpu.c", "inject.vector < 32", "inject.vector < 256"),
    ("flush-seen-and-not-done", "kernel/vcpu.c", "vcpu_backend->flush_npt(vcpu); __atomic_store_n", "__atomic_store_n"),
    # Domains, and time.
    ("evicted-behind-the-barrier", "kernel/scheduler.c",
     "vcpu_evict(); mitigation_switch(cpu, domain);",
     "mitigation_switch(cpu, domain); vcpu_evict();"),
    ("a-cap-for-every-other-thread", "kernel/scheduler.c",
     "if (self->class == THREAD_SHARED) group_charge",
     "if (self->class != THREAD_SHARED) group_charge"),
    ("evicted-beside-another-domain", "kernel/core.c",
     "if (was_inside && !(is_granted && is_same))",
     "if (was_inside && is_granted && !is_same)"),
    ("domain-of-a-cpu-not-of-a-core", "kernel/core.c", "each = each->sibling;", "each = cpu;"),
    ("no-barrier-where-the-domain-changes", "kernel/core.c", "each->domain = 0;", "each->domain = domain;"),
    ("two-domains-on-a-core", "kernel/core.c", ": is_same && core->promised == 0;", ": core->promised == 0;"),
    ("debt-forgiven", "kernel/group.c", "(int64_t)periods * budget;", "budget - left;"),
    ("kernel-segments", "kernel/thread.c", "frame->cs = SELECTOR_USER_CODE | 3;", "frame->cs = SELECTOR_KERNEL_CODE;"),
    # Interrupts.
    ("single-destination-of-64", "kernel/vlapic_ipi.c",
     "!d->is_logical && d->destination < VM_VCPUS_MAX",
     "!d->is_logical && d->destination <= VM_VCPUS_MAX"),
    ("others-includes-self", "kernel/vlapic_ipi.c", "!vcpu || vcpu == except ||", "!vcpu ||"),
    ("self-ipi-of-another-vector", "kernel/vlapic_register.c",
     "vlapic_accept(vcpu, (uint8_t)value, false);",
     "vlapic_accept(vcpu, (uint8_t)(value >> 1), false);"),
    ("eoi-of-the-lowest", "kernel/vlapic.c",
     "clear_vector(vcpu, VLAPIC_ISR, vector);",
     "clear_vector(vcpu, VLAPIC_ISR, vector & 0xf0u);"),
    ("deadline-fires-twice", "kernel/vlapic_timer.c",
     "return deadline > now + vcpu->tsc_offset ? deadline : 0;",
     "return deadline;"),
    ("reserved-bits-of-x2apic", "kernel/vlapic_register.c",
     "(value & ~(uint64_t)(rule->writable | rule->ignored))",
     "(value & ~(uint64_t)UINT32_MAX)"),
    # The way into the kernel.
    ("users-end-a-page-late", "arch/traps.c",
     "!range_exceeds(address, size, ABI_USER_END)",
     "!range_exceeds(address, size, ABI_USER_END + PAGE_SIZE)"),
    ("fault-of-ring-3-taken-as-the-kernels", "arch/traps.c",
     "bool is_user = (frame->cs & 3) != 0;",
     "bool is_user = frame->vector == EXC_PF ? (frame->error & 4) != 0 : (frame->cs & 3) != 0;"),
    ("supervisors-fault-populates", "arch/traps.c", "(frame->error & PF_PRESENT) != 0 && (frame->error & PF_WRITE) == 0", "0"),
    # The auditor.
    ("auditor-trusts-dirty-memory", "kernel/audit_judge.c",
     "return place->is_cleared ? ABI_AUDIT_NONE : ABI_AUDIT_DIRTY;",
     "return ABI_AUDIT_NONE;"),
    ("auditor-skips-processes", "kernel/audit.c", "judge_process(audit, CONTAINER_OF(o, struct process, object));", "(void)0;"),
    ("auditor-skips-kernels-half", "kernel/audit.c", "!space_is_kernel_half(&process->pt) ||", ""),
    ("auditor-looks-at-first-frame-alone", "kernel/audit.c",
     "owner_of(audit, leaf.frame + done)",
     "owner_of(audit, leaf.frame)"),
    # Drivers.
    ("anybody-ends-the-machine", "drivers/syscall_system.c",
     "int64_t call_system_power(const struct syscall *c) { int error = check(c, ABI_RIGHT_MANAGE);",
     "int64_t call_system_power(const struct syscall *c) { int error = check(c, 0);"),
    ("guests-fill-the-logs-half", "drivers/console.c", "used < OUTPUT_SIZE ? OUTPUT_SIZE - used : 0", "RING_SIZE - used"),
    ("table-with-a-bad-sum", "drivers/acpi_tables.c", "table.size == length && is_sum_zero(table)", "table.size == length"),
    # What survived before it had a test.
    ("xcomp-bv", "kernel/vcpu.c", "unsigned i = 1; i < HEADER_SIZE / sizeof(*header)", "unsigned i = 2; i < HEADER_SIZE / sizeof(*header)"),
    ("no-flush-on-a-new-cpu", "kernel/vcpu.c", "if (vcpu->npt_cpu_seen != cpu) {", "if (vcpu->npt_cpu_seen == NULL) {"),
    ("second-thread-takes-vcpu", "kernel/vcpu.c", "if (vcpu->owner != NULL) {", "if (vcpu->owner != NULL && 0) {"),
]


def mutants():
    for name, file, old, new in PLANTED:
        source = Source(file)
        words = [re.escape(word.encode()) for word in old.split()]
        found = list(re.finditer(rb"\s+".join(words), source.bytes))
        if len(found) != 1:
            raise LookupError(f"planted {name}: its text stands {len(found)} times in {file}")
        begin, end = found[0].span()
        yield Mutant(f"{file}:planted:{name}", file, begin, end, new, source.line_of(begin), f"{old}  ->  {new}")
