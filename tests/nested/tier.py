# SPDX-License-Identifier: Apache-2.0
"""The tier nested: Bulkhead as somebody's guest. Tiny guests, hostile ones and Debian's self-check run in Bulkhead, that in
QEMU with OVMF under Debian's KVM, that on an emulated processor of each vendor. Nobody of these may complain."""

import re

from guest.cases import CASES
from guest.hostile import HOSTILES, SEED, seeded
from guest.tier import QEMU_OTHERWISE, audit_problem, judge, tiny_vm
from linux.tier import bad_line, judge_selfcheck, selfcheck_vm
from runner.job import Job, verdict

from .outer import OUTERS, boot_nested

TIER = "nested"

# What KVM does otherwise than a processor, so that these guests say nothing of the hypervisor.
KVM_OTHERWISE = {
    "intel": {
        "cr": "CR0's read shadow loses ET",
        "msr-known": "makes SYSENTER's addresses canonical, where a processor has #GP",
        "paging": "emulates UMIP, but lets SMSW through",
    },
    "amd": {
        "h-vmx": "writes VMMCALL over a VMCALL, or fails to",
        "modes": "emulates with all four PDPTEs checked, where the processor reads each as others",
    },
}

# What runs: each way of exits, interrupts and modes once, since an exit costs ten times what it
# costs outside.
TINY = (
    "hello", "exit-code", "cpuid", "msr-known", "cr", "xsetbv", "refused-instructions", "exceptions", "paging", "modes",
    "tasks", "fpu-a", "memory-16m", "entry-pvh", "ports-string", "mmio", "ipi-self-x2apic", "delivery", "halt",
    "smp-ipi-x2apic-2", "smp-halt-x2apic-2", "reset-control", "triple-fault", "absent", "last",
)
HOSTILE = ("h-msr", "h-vmx", "h-control", "h-apic", "h-smp", "h-idt-ioapic")
ROUNDS = 300  # of each hostile guest
DEBIAN_VCPUS, DEBIAN_MEMORY = 2, 128


def cases_of(vendor, seed=SEED):
    otherwise = KVM_OTHERWISE[vendor] | (QEMU_OTHERWISE if vendor == "amd" else {})
    tiny = [case for case in CASES if case.name in TINY and case.name not in otherwise]
    hostile = [case for case in HOSTILES if case.name in HOSTILE and case.name not in otherwise]
    return tiny + [seeded(case, seed, ROUNDS) for case in hostile]


def jobs():
    for name, outer in OUTERS.items():
        tests = [case.name for case in cases_of(outer.vendor)]
        yield Job(TIER, name, nested_job(outer), tests=tests, weight=1000)


def nested_job(outer):
    def run(context):
        cases = [case for case in cases_of(outer.vendor) if not context.pattern or context.pattern in case.name]
        return [verdict(name, problem) for name, problem in boot_all(context, outer, cases)[1]]

    return run


def boot_all(context, outer, cases):
    """Boots the cases and a Debian guest. The boot, and what is wrong with each of its parts: [(name, problem or None)]."""
    vms = [tiny_vm(case) for case in cases]
    debian = selfcheck_vm(DEBIAN_VCPUS, DEBIAN_MEMORY, "quiet selfcheck selfcheck.quick=1")
    nested = boot_nested(context, outer, [*vms, debian])
    boot, lines = nested.boot, nested.boot.lines.get("debian", [])
    end = boot.end("debian")
    problems = [(case.name, judge(case, boot)) for case in cases]
    problems.append(("debian", None if end == "powered off" else f"ended as '{end}'"))
    problems.append(("debian checks itself", judge_selfcheck(lines) or bad_line(lines)))
    problems.append(("host", boot.host_problem([0, 1]) or refused_entry(boot)))
    problems.append(("audit", audit_problem(boot, len(vms) + 1)))
    problems.append(("outer", outer_problem(nested.outer)))
    return boot, problems


REFUSED = re.compile("refuses its state|refused the guest's state|nobody handles")


def refused_entry(boot):
    """The first line that says that a guest could not be entered, or was left for a reason that nobody handles."""
    return next((line for line in boot.host if REFUSED.search(line)), None)


# The outer kernel's lines, and QEMU's

BEGUN = "Run /init as init process"  # before it the kernel speaks of the emulated processor
COMPLAINTS = re.compile(
    r"kvm|svm|vmx|WARNING|BUG|Oops|Call Trace|general protection|segfault|unchecked MSR|unhandled|soft lockup|stall|"
    r"blocked for more|Out of memory|qemu|outer: cannot", re.IGNORECASE,
)
KNOWN = re.compile(
    r"kvm: Nested Virtualization enabled|SVM: kvm: Nested Paging enabled|SVM: PMU virtualization is disabled|"
    r"kvm: exiting hardware virtualization|outer: starts QEMU|outer: QEMU ended with status 0|"
    r"kvm: SMP vm created on host with unstable TSC; guest TSC will not be reliable|"
    r"qemu-system-x86_64: warning: host doesn't support requested feature: CPUID.80000007H:EDX.invtsc \[bit 8\]|"
    r"qemu-system-x86_64: -accel kvm: warning: Number of \w+ cpus requested \(2\) exceeds the recommended .* KVM \(1\)"
)


def outer_problem(lines):
    """The first complaint of the outer machine since its init runs, or None."""
    lines = [re.sub(r"^\[ *\d+\.\d+\] ", "", line) for line in lines]
    begun = lines.index(BEGUN) if BEGUN in lines else 0
    for line in lines[begun:]:
        if COMPLAINTS.search(line) and not KNOWN.fullmatch(line):
            return line
    ended = "outer: QEMU ended with status 0" in lines
    return None if ended else f"QEMU did not come to its end; the last line is '{lines[-1] if lines else ''}'"
