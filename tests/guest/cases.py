# SPDX-License-Identifier: Apache-2.0
"""The VMs of the guest tests: which tiny guest (guests/tiny/NAME.c), with what, and how it ends.

A guest that checks something ends with debug-exit 0 behind a line `PASS: N checks`; others are here
with their end, as a regular expression for the whole of it.
"""

from dataclasses import dataclass, replace

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
    elf32: bool = False  # packed so
    vcpus: int = 1
    tsc_frequency: str = ""  # without one: the host's

    @property
    def guest(self):
        return self.kernel or self.name


    @property
    def words(self):
        """Its command line. An SMP guest is told how many processors to expect."""
        return f"cpus={self.vcpus} {self.cmdline}".strip() if self.vcpus > 1 else self.cmdline

    def on_restricted(self):
        """The same where there is no unrestricted guest: without real mode no second processor starts."""
        end = self.restricted_end or (TOO_FEW if self.vcpus > 1 else self.end)
        return replace(self, end=end, prints=self.prints if end == self.end else ())


TOO_FEW = "debug-exit 2"  # SMP_TOO_FEW of guests/tiny/runtime/smp.h


def smp(guest, vcpus, **keys):
    """One guest in both modes of the local APIC."""
    for mode in ("xapic", "x2apic"):
        yield Case(f"{guest}-{mode}-{vcpus}", guest, mode, vcpus=vcpus, **keys)


def crashed(reason):
    return "crashed: " + reason


def entries(*protocols):
    """Guests that other entry protocols than Linux' start, packed in both sizes of ELF."""
    for protocol in protocols:
        for size in ("", "-elf32"):
            guest = f"entry-{protocol}"
            words = f"entry memory=8 initrd={INITRD_BYTES}"
            refused = f"refused: kernel '{guest}{size}.elf' starts by .* no unrestricted guest mode.*"
            yield Case(guest + size, guest, words, initrd=True, elf32=bool(size), restricted_end=refused)


NO_REAL_MODE = crashed("the guest entered a mode .*")

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
    Case("hypercall"),
    Case("exceptions"),
    Case("debug"),
    Case("paging"),
    Case("modes", restricted_end=NO_REAL_MODE),
    Case(
        "tasks", memory="12M", prints=("a double fault, in a task of its own",),
        restricted_end=NO_REAL_MODE,
    ),
    Case("fpu-a", "fpu", "seed=1"),
    Case("fpu-b", "fpu", "seed=77"),
    Case("memory-16m", "memory", "memory=16", memory="16M"),
    Case("memory-64m", "memory", "memory=64", memory="64M"),
    Case("beyond"),
    Case("initrd", cmdline=f"initrd={INITRD_BYTES}", initrd=True),
    *entries("multiboot", "multiboot2", "pvh"),
    Case("ports"),
    Case("strings"),
    Case("ports-string", prints=("printed by one instruction",)),
    Case("mmio"),
    Case("acpi"),
    Case("firmware"),
    Case("pic-only"),
    Case("wake"),
    Case("pci"),
    Case("rtc"),
    Case("uart"),
    Case("timer-pit"),
    Case("timer-lapic", cmdline="xapic"),
    Case("timer-x2apic", "timer-lapic", "x2apic"),
    Case("ipi-self", cmdline="xapic"),
    Case("ipi-self-x2apic", "ipi-self", "x2apic"),
    Case("x2apic"),
    Case("delivery", cmdline="xapic", memory="16M"),
    Case("delivery-x2apic", "delivery", "x2apic", memory="16M"),
    Case("tsc-rate"),
    Case("pvclock"),
    Case("pvclock-hostile"),
    Case("steal-a", "pvclock", "steal"),
    Case("steal-b", "pvclock", "steal"),
    Case("steal-c", "pvclock", "steal"),
    Case("steal-d", "pvclock", "steal"),
    Case("rdtscp-a", "rdtscp"),
    Case("rdtscp-b", "rdtscp"),
    Case("spec-a", "speculation", "set=4", memory="4M"),  # SSBD
    Case("spec-b", "speculation", "set=3", memory="4M"),  # STIBP with IBRS
    Case("halt"),
    Case("kept", vcpus=2, prints=("beats: 30", "kept: round 30 does not end"), end="debug-exit 4"),
    *smp("smp-start", 2),
    *smp("smp-start", 4),
    Case("smp-start-64", "smp-start", "x2apic", vcpus=64),
    *smp("smp-ipi", 2),
    *smp("smp-ipi", 4),
    *smp("smp-ipi", 8),
    *smp("smp-nmi", 4),
    *smp("smp-halt", 2),
    *smp("smp-halt", 4),
    *smp("smp-ioapic", 4),
    *smp("smp-timer", 4),
    Case("smp-tlb", cmdline="x2apic", vcpus=4, memory="16M"),
    Case("smp-memory", cmdline="x2apic", vcpus=4),
    Case("smp-memory-8", "smp-memory", "x2apic", vcpus=8),
    Case("smp-tsc", cmdline="x2apic", vcpus=4),
    Case("forge", end="debug-exit 0", prints=("[bulkhead] panic: forged, half a line",)),
    Case("forge-crash", "forge", "crash", end=crashed("triple fault"), prints=("[bulkhead] panic: forged, half a line",)),
    Case("power-off", end="powered off"),
    Case("reset-control", "reset", "control", end="reset"),
    Case("reset-keyboard", "reset", "keyboard", end="reset"),
    Case("reset-fast", "reset", "fast", end="reset"),
    Case("reset-vector-init", "reset-vector", "init", end="reset", restricted_end=NO_REAL_MODE),
    Case("reset-vector-real", "reset-vector", "real", end="reset", restricted_end=NO_REAL_MODE),
    Case("reset-vector-protected", "reset-vector", "protected", end="reset", restricted_end=NO_REAL_MODE),
    Case("reset-vector-long", "reset-vector", "long", end="reset"),
    *smp("reset-vector", 2, end="reset"),
    Case("triple-fault", end=crashed("triple fault")),
    Case("absent"),
    Case("absent-smp", "absent", "smp", vcpus=4),
    Case("jump-nowhere", "nowhere", "jump"),
    Case("stack-nowhere", "nowhere", "stack"),
    Case("tables-nowhere", "nowhere", "tables", end=crashed("triple fault")),
    Case("idt-nowhere", "nowhere", "idt", end=crashed("triple fault")),
    # The host is as good as before, whatever the others did.
    Case("last", "hello", "from the command line"),
]


def many(count, otherwise=()):
    """That many small VMs: each keeps registers of its own through timer interrupts, or halts and wakes, or walks page
    tables, or fills its memory. None of the kinds in `otherwise`."""
    kinds = [("fpu", "seed={}"), ("halt", ""), ("paging", ""), ("memory", "memory=4")]
    kinds = [kind for kind in kinds if kind[0] not in otherwise]
    for number in range(count):
        guest, words = kinds[number % len(kinds)]
        yield Case(f"{guest}-{number}", guest, words.format(number + 1), memory="4M")
