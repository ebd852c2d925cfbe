# SPDX-License-Identifier: Apache-2.0
"""The VMs of the guest tests: which tiny guest (guests/tiny/NAME.c), with what, and how it ends.

A guest that checks something ends with debug-exit 0 behind a line `PASS: N checks`; others are here
with their end, as a regular expression for the whole of it.
"""

from dataclasses import dataclass

INITRD_BYTES = 3 * 1024 * 1024 + 17


@dataclass(frozen=True)
class Case:
    name: str
    kernel: str = ""  # without one: as the name
    cmdline: str = ""
    memory: str = "8M"
    end: str = ""  # without one: debug-exit 0, with PASS
    restricted_end: str = ""  # on CPUs without unrestricted guest, where it differs
    prints: tuple = ()  # lines that must be among its output
    initrd: bool = False

    @property
    def guest(self):
        return self.kernel or self.name


def crashed(reason):
    return "crashed: " + reason


CASES = [
    Case("hello", cmdline="from the command line", prints=("hello, from the command line",)),
    Case("hello-2m", "hello", "from the command line", memory="2M"),
    Case("exit-code", cmdline="code=42", end="debug-exit 42"),
    Case("cpuid"),
    Case("msr-known"),
    Case("msr-unknown"),
    Case("cr"),
    Case("xsetbv"),
    Case("refused-instructions"),
    Case("exceptions"),
    Case("debug"),
    Case("paging"),
    Case("modes", restricted_end=crashed("the guest entered a mode .*")),
    Case("fpu-a", "fpu", "seed=1"),
    Case("fpu-b", "fpu", "seed=77"),
    Case("memory-16m", "memory", "memory=16", memory="16M"),
    Case("memory-64m", "memory", "memory=64", memory="64M"),
    Case("beyond"),
    Case("initrd", cmdline=f"initrd={INITRD_BYTES}", initrd=True),
    Case("ports"),
    Case("ports-string", prints=("printed by one instruction",)),
    Case("mmio"),
    Case("acpi"),
    Case("pci"),
    Case("rtc"),
    Case("uart"),
    Case("timer-pit"),
    Case("timer-lapic", cmdline="xapic"),
    Case("timer-x2apic", "timer-lapic", "x2apic"),
    Case("ipi-self", cmdline="xapic"),
    Case("ipi-self-x2apic", "ipi-self", "x2apic"),
    Case("halt"),
    Case("power-off", end="powered off"),
    Case("reset-control", "reset", "control", end="reset"),
    Case("reset-keyboard", "reset", "keyboard", end="reset"),
    Case("reset-fast", "reset", "fast", end="reset"),
    Case("triple-fault", end=crashed("triple fault")),
    Case("jump-nowhere", "nowhere", "jump", end=crashed("jump to 0xd0000000, .*")),
    Case("stack-nowhere", "nowhere", "stack", end=crashed("write to 0xcffffff8, .*")),
    Case("tables-nowhere", "nowhere", "tables", end=crashed("page tables at 0xd000.*")),
    Case("idt-nowhere", "nowhere", "idt", end=crashed(".*")),
    # The host is as good as before, whatever the others did.
    Case("last", "hello", "from the command line"),
]
