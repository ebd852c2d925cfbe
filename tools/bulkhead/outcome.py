# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor's lines say about a run: how each VM ended, and how the hypervisor did.

    outcome = Outcome(manifest.vms, verdict)
    outcome.feed(data)              bytes from the hypervisor's first line on
    outcome.finish()                the machine has ended
    outcome.lines()                 a line a VM, in the manifest's order
    outcome.status(timed_out)       0, 1, 2 or 3, as docs/run.md tells

Only what stands behind the run's key is believed (verdict.py), wherever on the wire it stands: a guest
does not know the key, so it can neither write such a line nor hide one. Nothing is guessed.
"""

import re
from dataclasses import dataclass

from .verdict import Verdict

PREFIX = "[bulkhead] "
ALL_ENDED = "all VMs ended"

OK, NOT_OK, TIMED_OUT, FAILED = 0, 1, 2, 3

# No name has a space: `vm NAME says: powered off` is what a VMM claims.
_END = re.compile(r"vm (\S+): (powered off|reset|debug-exit \d+|crashed: .*|refused: .*)")
_LINE_MOST = 1 << 20


@dataclass
class End:
    text: str
    seconds: float  # since the hypervisor's first line


def has_ended_well(vm, end):
    return end.text in ("powered off", "debug-exit 0") if end else not vm.autostart


class Outcome:
    def __init__(self, vms, verdict=None, clock=lambda: 0.0):
        self.vms = vms
        self.verdict = verdict or Verdict(None)
        self.all_ended = False
        self.panic = None  # the reason, once a panic was told
        self.halted = None  # the reason, once the kernel refused the machine
        self.resets = False  # the machine, by itself, behind a panic or a refusal
        self.has_lines = False
        self.clock = clock
        self.begun = None  # what the clock said at the hypervisor's first line
        self._ends = {}  # name -> how it ended and when, a list in the order of the log
        self._rest = b""

    def feed(self, data):
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[-_LINE_MOST:]
        for line in lines:
            self._line(line)

    def finish(self):
        self._line(self._rest)
        self._rest = b""

    def _line(self, raw):
        for words in self.verdict.lines(raw.rstrip(b"\r")):
            self._take(words.decode("utf-8", "replace").rstrip("\r"))

    def _take(self, words):
        if not self.has_lines:
            self.has_lines, self.begun = True, self.clock()
        if words.startswith("panic: "):
            self.panic = self.panic or words.removeprefix("panic: ")
        elif words.startswith("resets in "):
            self.resets = True
        elif words.startswith("halted: "):
            self.halted = self.halted or words.removeprefix("halted: ")
        elif words == ALL_ENDED:
            self.all_ended = True
        elif match := _END.fullmatch(words):
            self._ends.setdefault(match[1], []).append(End(match[2], self.clock() - self.begun))

    def ends(self):
        """How each VM ended, in the manifest's order: (vm, End or None)."""
        left = {}
        for name, ends in self._ends.items():
            twins = sum(vm.name == name for vm in self.vms)
            # Of VMs with one name (which only --no-name-checks lets through) the first is the one
            # that ran. A VM that ended several times counts as it ended last.
            ends = sorted(ends, key=lambda end: end.text.startswith("refused")) if twins > 1 else ends
            left[name] = ends if twins > 1 else ends[-1:]
        for vm in self.vms:
            ends = left.get(vm.name)
            yield vm, ends.pop(0) if ends else None

    def lines(self):
        for vm, end in self.ends():
            missing = "did not end" if vm.autostart else "not started"
            yield f"vm {vm.name}: {end.text if end else missing}"

    def status(self, timed_out=False):
        if self.panic or self.halted:
            return FAILED
        if self.all_ended:
            return OK if all(has_ended_well(vm, end) for vm, end in self.ends()) else NOT_OK
        return TIMED_OUT if timed_out else FAILED

    def failure(self):
        """Why the hypervisor failed, as far as its lines tell."""
        if self.panic:
            return f"the hypervisor panicked: {self.panic}"
        if self.halted:
            return f"the hypervisor refused the machine: {self.halted}"
        if not self.has_lines:
            return "the hypervisor never said a line"
        return f'the machine ended without "{PREFIX}{ALL_ENDED}"'
