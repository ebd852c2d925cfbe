# SPDX-License-Identifier: Apache-2.0
"""Mutants by hand: faults that no rule makes, or that survived once. Each text must stand in its file exactly once, blanks
aside, so that one that has gone stale is seen."""

import re

from rules import Mutant, Source

# (name, file, text, what stands there instead)
PLANTED = [
    ("xcomp-bv", "kernel/vcpu.c", "unsigned i = 1; i < HEADER_SIZE / sizeof(*header)", "unsigned i = 2; i < HEADER_SIZE / sizeof(*header)"),
    ("no-flush-on-a-new-cpu", "kernel/vcpu.c", "if (vcpu->npt_cpu_seen != cpu) {", "if (vcpu->npt_cpu_seen == NULL) {"),
    ("second-thread-takes-vcpu", "kernel/vcpu.c", "if (vcpu->owner != NULL) {", "if (vcpu->owner != NULL && 0) {"),
    # VT-x.
    ("lstar-by-wrmsr", "vmx/exit_msr.c", "if (!is_canonical(value)) return MSR_FAULT;",
     "if (!is_canonical(value) && msr != MSR_LSTAR) return MSR_FAULT;"),
    ("lstar-by-state", "vmx/registers.c", "is_canonical(registers->lstar) &&", "1 &&"),
    ("returns-not-filled", "vmx/enter.c", "mitigation_fill_returns(); return action;", "return action;"),
    ("no-verw-before-entry", "vmx/enter.c", "if (mitigation.has_verw) mitigation_empty_buffers(); do {", "do {"),
    ("no-verw-after-interrupt", "vmx/exit_misc.c", "mitigation_empty_buffers(); // the", "// the"),
    ("spec-ctrl-kept-in-host", "vmx/speculation.c", "vmcs_write32(VMCS_EXIT_MSR_LOAD_COUNT, 1);", "vmcs_write32(VMCS_EXIT_MSR_LOAD_COUNT, 0);"),
    ("spec-ctrl-of-another-cpu", "vmx/load.c", "write_cpu_host_state(cpu); speculation_load(x);", "write_cpu_host_state(cpu);"),
    ("spec-ctrl-open-to-all", "vmx/policy.c", "if (is_spec_open) msr", "if (1) msr"),
    ("cr4-written-in-part", "vmx/exit_cr.c", "if (!cr4_write_is_valid(", "x->cr4_shadow = value; if (!cr4_write_is_valid("),
    ("event-twice-after-reset", "vmx/inject.c", "{ vmcs_write32(VMCS_ENTRY_INTERRUPTION_INFO, 0);", "{"),
    ("event-over-a-queued-one", "vmx/inject.c", "return (vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO) & EVENT_VALID) ||", "return"),
    ("nmi-merged-over-an-exit", "vmx/inject.c", "|| queued == (EVENT_VALID | EVENT_NMI);", ";"),
    ("nmi-blocks-itself", "vmx/inject.c", "if ((info & EVENT_TYPE) == EVENT_NMI) vmcs", "if (0) vmcs"),
    ("ports-open", "vmx/control.c", "NEEDED, PRIMARY_UNCONDITIONAL_IO_EXITING", "NEVER, PRIMARY_UNCONDITIONAL_IO_EXITING"),
    ("input-rings-a-doorbell", "vmx/exit_io.c", "!io.is_in && !io.is_string;", "!io.is_string;"),
    ("msr-bitmap-opened-by-one", "vmx/policy.c", "msr <= rule->last;", "msr <= rule->last + 1;"),
    ("msr-write-opened-with-read", "vmx/policy.c", "if (bit >= 0 && (pass & MSR_PASS_WRITE))", "if (bit >= 0)"),
    ("ept-writable", "vmx/ept.c", "rights & PT_WRITE ? EPT_WRITE : 0;", "rights & PT_READ ? EPT_WRITE : 0;"),
    ("ept-large-code", "vmx/ept.c", "&& !(level > 0 && ept_format.is_code_small);", ";"),
    ("vpid-of-the-host", "vmx/tlb.c", "= {1}; // VPID 0", "= {0}; // VPID 0"),
    ("vpid-not-flushed-on-a-new-cpu", "vmx/load.c", "vmx_flush_vpid(x->vpid); x->last_cpu = cpu;", "x->last_cpu = cpu;"),
    ("tsc-aux-left-to-the-next", "vmx/load.c", "if (vmx_caps.has_rdtscp) x86_wrmsr(MSR_TSC_AUX, 0);", ""),
    ("fpu-left-to-the-next", "vmx/load.c", "x86_xrstor(initial, cpu_features.xcr0_mask);", ";"),
    ("xcr-other-than-0", "vmx/exit_misc.c", "if (index != 0 || !xcr0", "if (!xcr0"),
    # Shared, and the loader.
    ("split-widens-rights", "lib/pagetable.c", "leaf_split(pt, entry, level, leaf_rights(pt->format, *entry, level))",
     "leaf_split(pt, entry, level, PT_READ | PT_WRITE | PT_EXECUTE)"),
    ("ring-index-trusted", "lib/ring.c", "return count <= size ? count : size;", "return count;"),
    ("segments-share-a-page", "lib/elf.c", "page_floor(segment.virtual_address) <= last_page)", "page_floor(segment.virtual_address) < last_page)"),
    ("segment-wraps", "lib/elf.c", "memory_size > UINT64_MAX - load64(header + P_VADDR)", "0"),
    ("kernel-data-executable", "boot/boot_paging.c", "if (!(segment.flags & ELF_FLAG_EXECUTE))", "if (0)"),
    ("kernel-code-writable", "boot/boot_paging.c", "if (segment.flags & ELF_FLAG_WRITE)", "if (1)"),
    ("fdt-string-unended", "boot/boot_fdt.c", "|| string_length(value, size, 0) != size - 1)", ")"),
    # The supervisor.
    ("escape-printed", "supervisor/line.c", "return byte >= 0x20 && byte < 0x7f;", "return byte < 0x7f;"),
    ("guest-line-too-long", "supervisor/line.c", "line->length > line->start + LINE_LENGTH_MAX - ESCAPED_MAX;",
     "line->length > line->start + LINE_LENGTH_MAX;"),
    ("backlog-drops-what-is-not-there", "supervisor/backlog.c", "count < left ? count : left;", "count;"),
    ("foreign-vm-on-the-terminal", "supervisor/mux.c", "} else if (vm == focus) { console", "} else if (1) { console"),
    ("event-with-all-bits", "supervisor/partition.c", "start->supervisor_mask); return keep", "UINT64_MAX); return keep"),
    ("initrd-writable", "supervisor/partition.c", "initrd->memory, ABI_RIGHT_READ,", "initrd->memory, ABI_RIGHT_READ | ABI_RIGHT_WRITE,"),
    ("test-key-in-a-release", "supervisor/manifest.c", "if (vm->vmm != NULL && !manifest->is_test_image)", "if (0)"),
    # The virtual PC.
    ("guest-memory-one-too-far", "vmm/memory.c", "length <= high - gpa;", "length <= high - gpa + 1;"),
    ("rom-writable", "vmm/memory.c", "memory_is_rom(gpa, length) ? NULL : memory_pointer", "0 ? NULL : memory_pointer"),
    ("rom-alias-writable", "vmm/memory.c", "last >= MEMORY_ROM_BASE) || (", "last >= MEMORY_ROM_BASE) || (0 && "),
    ("exit-kind-trusted", "vmm/emulate_operand.c", "ctx->exit_access & needed &&", "needed &&"),
    ("exit-page-trusted", "vmm/emulate_operand.c", "&& PAGE_OFFSET(gva) + insn->memory_size <= PAGE_SIZE", ""),
    ("fetch-not-wrapped", "vmm/walk.c", "is_64bit ? UINT64_MAX : UINT32_MAX;", "is_64bit ? UINT64_MAX : UINT64_MAX;"),
    ("dirty-before-allowed", "vmm/walk.c", "if (status == WALK_OK && !is_allowed(w)) {", "if (status == WALK_OK && mark(w) && !is_allowed(w)) {"),
    ("time-in-a-record", "vmm/rtc.c", "if (!record_is_valid(&r, device_now(device)))", "if (0)"),
    ("pic-record", "vmm/pic.c", "if (!chip_record_is_valid(&r.chip[0], true) || !chip", "if (!chip"),
    ("segment-below-1-mib", "vmm/load/exec.c", "if (base < LOAD_KERNEL_MIN)", "if (0)"),
    ("segment-beyond-memory", "vmm/load/exec.c", "if (range_exceeds(base, segment.memory_size, memory->low_size))", "if (0)"),
    ("ins-to-a-read-only-page", "vmm/exit_io.c", "io->is_in ? WALK_WRITE : WALK_READ", "WALK_READ"),
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
