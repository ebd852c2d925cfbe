# SPDX-License-Identifier: Apache-2.0
"""QEMU's monitor, and what a machine prints meanwhile."""

import json
import socket
import time

TIMEOUT = 300


class Monitor:
    """QEMU's, by QMP, at a socket."""

    def __init__(self, path, process):
        while not path.exists() and process.poll() is None:
            time.sleep(0.1)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rw")
        self.stream.readline()  # its greeting
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        """What it answers."""
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        answer = {}
        while "return" not in answer:  # events
            answer = json.loads(self.stream.readline())
        return answer["return"]

    def inject(self, line):
        """A line of the human's monitor, which answers where something is wrong with it."""
        answer = self.execute("human-monitor-command", **{"command-line": line})
        if answer:
            raise ValueError(f"{line}: {answer}")

    def reasons(self):
        """Why the machine ended, when it has."""
        for line in self.stream:
            message = json.loads(line)
            if message.get("event") == "SHUTDOWN":
                yield message["data"]["reason"]


def text_of(log):
    return log.read_text(errors="replace") if log.is_file() else ""


def wait_for(log, text, process=None, seconds=TIMEOUT, count=1):
    """Whether the text came into the log so often before the process ended, or the time was over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        has_ended = process is not None and process.poll() is not None
        if text_of(log).count(text) >= count:
            return True
        if has_ended:
            return False
        time.sleep(0.2)
    return False
