# SPDX-License-Identifier: Apache-2.0
"""The hostile guests and the witness beside them: how each of their VMs may end.

They take a seed and a number of rounds from the command line (guests/tiny/runtime/hostile.h); the guest
tier gives all of them SEED and their own short number, tests/soak other ones.
"""

from dataclasses import replace

from .cases import Case, crashed

SEED = 1

# What a guest can do to itself, and how the VMM says so. Not among them: that the processor refused
# the guest's state, or left the guest for a reason that nobody handles. That would be our fault,
# whatever the guest did.
_MODE = "the guest entered a mode .*"
_TRIPLE = "triple fault"
CRASHES = f"crashed: ({'|'.join([_MODE, _TRIPLE])})"
BY_PORT = r"debug-exit \d+|reset|powered off"
BY_INIT = "reset"  # a store to the interrupt command: INIT, to itself, and what stands at the reset vector resets
PASSED = "debug-exit 0"


def _stack(what, where, end):
    return Case(f"h-{what}-{where}", "hostile-stack", f"{what} {where}", end=end)


def _kept(name, kernel, words, end):
    """Its second processor ends the VM where its code hangs the first; with one, that is the run tool's."""
    return Case(name, kernel, words, vcpus=2, end=end, restricted_end=end)


# Names are short: they stand before each line of output.
HOSTILES = [
    Case("h-ports", "hostile-ports"),
    Case("h-ports-ends", "hostile-ports", "ends", end=BY_PORT),
    Case("h-msr", "hostile-msr"),
    Case("h-vmx", "hostile-vmx"),
    Case("h-hypercall", "hostile-hypercall"),
    Case("h-control", "hostile-control"),
    Case("h-user", "hostile-instructions", "user"),
    Case("h-user-devices", "hostile-instructions", "user devices", end=f"{PASSED}|{BY_INIT}|{CRASHES}"),
    _kept("h-kernel", "hostile-instructions", "kernel", f"{BY_PORT}|{CRASHES}"),
    _kept("h-modes", "hostile-modes", "", f"{PASSED}|{BY_PORT}|{CRASHES}"),
    _kept("h-modes-real", "hostile-modes", "real", f"{PASSED}|{BY_PORT}|{CRASHES}"),
    # Its stores may hit its tables.
    Case("h-tables", "hostile-tables", end=f"{PASSED}|{BY_INIT}|{CRASHES}"),
    Case("h-tables-mmio", "hostile-tables", "devices", end=f"{PASSED}|{BY_INIT}|{CRASHES}"),
    Case("h-apic", "hostile-apic"),
    Case("h-x2apic", "hostile-apic", "x2apic"),
    Case("h-flood", "hostile-flood"),
    Case("h-flood-x2apic", "hostile-flood", "x2apic"),
    Case("h-irqoff", "hostile-irqoff"),
    Case("h-edge", "hostile-edge"),
    Case("h-edge-end", "hostile-edge", "end"),
    Case("h-edge-cross", "hostile-edge", "cross"),
    Case("h-edge-exit", "hostile-edge", "exit"),
    Case("h-edge-top", "hostile-edge", "top", end="reset"),
    Case("h-edge-lapic", "hostile-edge", "devices"),
    Case("h-smp", "hostile-smp", vcpus=3),
    Case("h-smp-x2apic", "hostile-smp", "x2apic", vcpus=4),
    Case("h-smp-endless", "hostile-smp", "endless", vcpus=6),
    Case("h-tasks", "hostile-tasks", end=f"{PASSED}|{CRASHES}"),  # a gate may lead to a stack that is none
    *(
        Case(
            f"h-tasks-{way}", "hostile-tasks", f"protected {way}",
            end=crashed(end), restricted_end=crashed(_MODE),
        )
        for way, end in (("jump", _TRIPLE), ("gate", _TRIPLE), ("iret", _TRIPLE))  # to a TSS of zeroes
    ),
    _stack("stack", "lapic", PASSED),
    _stack("push", "ioapic", PASSED),
    _stack("push", "nowhere", PASSED),
    _stack("call", "lapic", PASSED),
    _stack("call", "nowhere", PASSED),
    _stack("iret", "beyond", PASSED),
    _stack("gdt", "lapic", crashed(_TRIPLE)),
    _stack("idt", "ioapic", crashed(_TRIPLE)),
    _stack("tss", "nowhere", PASSED),
    _stack("ldt", "lapic", PASSED),
]

BEATS = 300
TICKS_A_MS = 50_000  # of a guest's TSC on Bochs
SLICE_MS = 5
AUDIT_MS = 150  # that all CPUs stand still behind the end of a VM: twice what is seen


def witness(name, others, beats=BEATS, audits=0):
    """Who looks on. The scheduler lets a thread that was woken run before those that compute, so at worst
    each other thread of the machine has one slice of time left: `others` of them, and so many audits come
    one behind the other. None: any beat may be late."""
    bound = 0 if others is None else (SLICE_MS * (others + 2) + 1 + AUDIT_MS * audits) * TICKS_A_MS
    return Case(name, "witness", f"beats={beats} bound={bound}")


def seeded(case, seed, rounds=None):
    words = f"{case.cmdline} seed={seed}" + (f" rounds={rounds}" if rounds else "")
    return replace(case, cmdline=words.strip())


def hostile_cases(is_bounded=False):
    """All of them and two witnesses: the first VM and the last. How late a beat may be is asserted only where
    nobody audits: all CPUs stand still while the auditor looks, which it does behind each end."""
    cases = [seeded(case, SEED) for case in HOSTILES]
    threads = sum(case.vcpus + 1 for case in HOSTILES) if is_bounded else None
    witnesses = [witness(f"witness-{name}", threads) for name in "ab"]
    return [witnesses[0], *cases, witnesses[1]]
