# SPDX-License-Identifier: Apache-2.0
"""One boot of the hypervisor by scripts/run --batch, and what it printed.

    boot = run_machine(context, "name", vms, options, timeout)
    boot.status, boot.ends["vm"], boot.lines["vm"], boot.host

The machine is Bochs' where the options name no other; machine_options(model) are those for a CPU model.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field

from .job import ROOT

# BULKHEAD_AMD=1: also one more of AMD's models.
HAS_ALL_AMD = os.environ.get("BULKHEAD_AMD") == "1"

QEMU_MODELS = ("EPYC",)  # the others are Bochs'

KEY = "0123456789abcdef"

_LINE = re.compile(r"\[([a-z0-9-]+)\] (.*)")
_END = re.compile(r"vm (\S+): (.*)")


@dataclass
class Boot:
    status: int | None = None  # None: scripts/run itself did not end
    ends: dict = field(default_factory=dict)  # name: [how each VM of that name ended]
    lines: dict = field(default_factory=dict)  # name: [what that VM printed]
    host: list = field(default_factory=list)  # the hypervisor's own lines
    complaint: str = ""  # what scripts/run said on standard error
    text: str = ""  # the whole log

    def read_ends(self, text):
        """Takes what scripts/run says: a line a VM."""
        for line in text.splitlines():
            if match := _END.fullmatch(line):
                self.ends.setdefault(match[1], []).append(match[2])

    def read_log(self, text):
        """Takes all that the machine printed."""
        self.text = text
        for line in text.splitlines():
            if match := _LINE.fullmatch(line):
                owner = self.host if match[1] == "bulkhead" else self.lines.setdefault(match[1], [])
                owner.append(match[2])

    def end(self, name):
        return self.ends.get(name, ["(no line about it)"])[0]

    def stat(self, name):
        for line in self.host:
            if line.startswith(f"stat {name} "):
                return int(line.split()[2])
        return None

    def usage(self, name):
        """What the VM used, as {"run": ticks, "exits": count, ...}; needs usage=on. None: no line."""
        for line in self.host:
            if line.startswith(f"usage {name} "):
                words = line.split()[2:]
                return dict(zip(words[::2], map(int, words[1::2])))
        return None

    def host_problem(self, statuses):
        """What is wrong with the hypervisor itself, or None."""
        if self.status not in statuses:
            wanted = " or ".join(str(status) for status in statuses)
            return f"exit status {self.status}, not {wanted}: {self.complaint}"
        for line in self.host:
            if line.startswith(("panic: ", "leak: ", "audit: ")):
                return line
        return None


def toml_value(value):
    return json.dumps(value)  # strings, numbers and truth values are written alike


def write_manifest(path, vms):
    """vms: dicts of a manifest's keys."""
    lines = []
    for vm in vms:
        lines.append("[[vm]]")
        for key, value in vm.items():
            lines.append(f"{key} = {toml_value(value)}")
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def machine_options(model):
    target = "qemu" if model in QEMU_MODELS else "bochs"
    return ["--target", target, "--cpu", model]


def slots(model):
    """How many processors a boot with two CPUs keeps busy: QEMU has a thread for each of them."""
    return 2 if model in QEMU_MODELS else 1


def run_machine(context, name, vms, options=(), timeout=600):
    """Boots `vms`. Manifest and log are files beside the context's log."""
    context.log.parent.mkdir(parents=True, exist_ok=True)
    manifest = context.log.with_name(f"{name}.toml")
    log = context.log.with_name(f"{name}.log")
    write_manifest(manifest, vms)
    # A key of each run's own would be another image, and boots are compared.
    command = ["scripts/run", "--batch", "--no-build", "--target", "bochs", "--verdict", KEY]
    command += ["--manifest", manifest, "--log", log, "--timeout", timeout, *options]
    return run_command(command, log, timeout + 60)


def run_command(command, log, timeout):
    boot = Boot()
    log.unlink(missing_ok=True)
    command = [str(word) for word in command]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        out, boot.complaint = process.communicate(timeout=timeout)
        boot.status = process.returncode
    except subprocess.TimeoutExpired:
        process.terminate()  # it then ends the emulator
        out, boot.complaint = process.communicate()
    boot.complaint = boot.complaint.strip().replace("\n", " / ")
    boot.read_ends(out)
    if log.exists():
        boot.read_log(log.read_text(encoding="utf-8", errors="replace"))
    return boot
