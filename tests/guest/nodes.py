# SPDX-License-Identifier: Apache-2.0
"""A machine with two nodes of two CPUs each, and a person who starts VMs there one after the other: how much of
each node is free, by `info`, tells which node a VM's memory came from."""

import os
import pty
import re
import select
import signal
import time

from runner.job import BUILD, ROOT, verdict
from runner.machine import write_manifest

TIMEOUT = 120
NODE_MIB = 512
PROMPT = "bulkhead> "
NODES = ["-object", f"memory-backend-ram,id=m0,size={NODE_MIB}M", "-object", f"memory-backend-ram,id=m1,size={NODE_MIB}M",
         "-numa", "node,nodeid=0,cpus=0-1,memdev=m0", "-numa", "node,nodeid=1,cpus=2-3,memdev=m1"]
SLACK_MIB = 8  # what its VMM and the kernel take beside it

# Name, MiB, more keys. In this order they are started.
VMS = {
    "first": (96, {}),
    "second": (96, {}),
    "pinned": (64, {"node": 1}),
    "large": (600, {}),
    "lost": (16, {"node": 7}),
}


class Terminal:
    """scripts/run at a terminal of its own."""

    def __init__(self, command, log):
        self.process_id, self.file = pty.fork()
        if self.process_id == 0:
            os.chdir(ROOT)
            os.execvp(command[0], command)
        self.log = open(log, "wb", buffering=0)
        self.seen = ""
        self.deadline = time.monotonic() + TIMEOUT

    def wait(self, text):
        """What stood before the text, which is taken, too. Raises TimeoutError."""
        while text not in self.seen:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self.file], [], [], left)[0]:
                raise TimeoutError(f"no {text!r} in time; the last is {self.seen[-200:]!r}")
            try:
                data = os.read(self.file, 4096)
            except OSError:
                data = b""
            if not data:
                raise TimeoutError(f"it ended before {text!r}; the last is {self.seen[-200:]!r}")
            self.log.write(data)
            self.seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen + data.decode(errors="replace"))
        before, _, self.seen = self.seen.partition(text)
        return before

    def ask(self, command, is_first=False):
        """What it answers. The first VM that is started gets the terminal, which is taken back."""
        os.write(self.file, command.encode() + b"\r")
        if is_first:
            self.wait("(Ctrl-A h: help)")
            os.write(self.file, b"\x01c")
        return self.wait("\n" + PROMPT)

    def end(self, name):
        """Its memory is back then."""
        os.write(self.file, f"end {name}".encode() + b"\r")
        self.wait(f"vm {name}: powered off")
        self.wait("\n" + PROMPT)

    def close(self):
        self.log.close()
        os.kill(self.process_id, signal.SIGTERM)
        os.waitpid(self.process_id, 0)
        os.close(self.file)


def read_free(terminal):
    """MiB of each node."""
    info = terminal.ask("info")
    found = re.findall(r"node (\d+) +CPUs (\S+), memory (\d+) MiB, free (\d+) MiB", info)
    if [row[:2] for row in found] != [("0", "0-1"), ("1", "2-3")] or any(int(row[2]) > NODE_MIB for row in found):
        raise ValueError(f"info tells no two nodes: {info!r}")
    return [int(row[3]) for row in found]


def start(terminal, name):
    """MiB that each node then lacks, and what was said."""
    before = read_free(terminal)
    said = terminal.ask(f"start {name}", is_first=name == "first")
    memory = VMS[name][0]
    for _ in range(100):
        taken = [was - now for was, now in zip(before, read_free(terminal))]
        if sum(taken) >= memory:
            return taken, said
        time.sleep(0.1)
    raise TimeoutError(f"{name} took {taken} MiB of {memory}")


def is_all_of(taken, node, name):
    memory = VMS[name][0]
    return memory <= taken[node] <= memory + SLACK_MIB and taken[1 - node] <= SLACK_MIB


def top(terminal):
    """The column of nodes, by VM."""
    return dict(re.findall(r"^(\w+) +1 +(\d\+?) ", terminal.ask("vm top"), re.MULTILINE))


def watch(terminal):
    """Results of one boot."""
    terminal.wait("\n" + PROMPT)
    taken, _ = start(terminal, "first")
    home = 0 if taken[0] > taken[1] else 1
    yield "first", None if is_all_of(taken, home, "first") else f"comes from both: {taken}"
    taken, _ = start(terminal, "second")
    yield "second", None if is_all_of(taken, 1 - home, "second") else f"not from the idle node: {taken}"
    taken, _ = start(terminal, "pinned")
    yield "pinned", None if is_all_of(taken, 1, "pinned") else f"not from node 1: {taken}"
    terminal.end("first")
    terminal.end("second")
    taken, said = start(terminal, "large")
    is_said = "do not fit in one node: it is spread" in said
    yield "large", None if is_said and min(taken) > SLACK_MIB else f"took {taken}, said {said!r}"
    terminal.end("large")
    taken, _ = start(terminal, "second")
    yield "again", None if is_all_of(taken, 0, "second") else f"not from the idle node: {taken}"
    taken, said = start(terminal, "lost")
    is_said = 'vm lost: this machine has no node 7, it has 2 from 0 on: "node" does nothing' in said
    yield "lost", None if is_said else f"said {said!r}"
    nodes = top(terminal)
    is_told = nodes.get("pinned") == "1" and nodes.get("second") == "0"
    yield "top", None if is_told else f"vm top tells {nodes}"
    audit = terminal.ask("audit")
    yield "audit", None if ": no error" in audit else audit


def run_nodes(context):
    context.log.parent.mkdir(parents=True, exist_ok=True)
    manifest = context.log.with_suffix(".toml")
    kernel = str(BUILD / "guests" / "tiny" / "witness.elf")
    write_manifest(manifest, [{"name": name, "vcpus": 1, "memory": f"{memory}M", "kernel": kernel, "autostart": False,
                               "cmdline": "beats=100000 beat_us=100000"} | keys for name, (memory, keys) in VMS.items()])
    manifest.write_text('[host]\nwhen-all-ended = "stay"\n' + manifest.read_text())
    command = ["scripts/run", "--no-build", "--target", "qemu", "--cpu", "EPYC", "--cpus", 4, "--memory",
               f"{2 * NODE_MIB}M", "--timeout", TIMEOUT, "--manifest", manifest]
    command += [f"--qemu-option={word}" for word in NODES]
    terminal = Terminal([str(word) for word in command], context.log)
    results = []
    try:
        for name, wrong in watch(terminal):
            results.append(verdict(name, wrong))
    except (TimeoutError, ValueError) as error:
        results.append(verdict("machine", str(error)))
    finally:
        terminal.close()
    return results
