# SPDX-License-Identifier: Apache-2.0
"""typist.py LOG TIMEOUT_S COMMAND...: a person at a terminal, typing what a script on stdin says.

Each line of the script is `PATTERN -> TEXT`: once the regular expression shows in what the command prints (behind the
previous match), TEXT and the return key are typed. An empty TEXT only waits. Everything printed goes to LOG. Exits
with the command's status, or 1, naming the pattern, when one does not show within TIMEOUT_S in all.
"""

import os
import pty
import re
import select
import signal
import sys
import time

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def parse(script):
    for line in script.splitlines():
        if line.strip():
            pattern, arrow, text = line.partition(" -> ")
            if not arrow:
                sys.exit(f"typist: no ' -> ' in: {line}")
            yield pattern, text


def read_some(terminal, log, deadline):
    """What the command printed next; empty at its end, None at the deadline."""
    if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        return None
    try:
        data = os.read(terminal, 4096)
    except OSError:  # the terminal of a process that ended
        return b""
    log.write(data)
    return data


def give_up(pid, why):
    os.kill(pid, signal.SIGTERM)
    print(f"typist: {why}")
    sys.exit(1)


def wait_for(pattern, seen, terminal, log, deadline, pid):
    """Reads on until the pattern shows; returns what stands behind it."""
    while True:
        clean = ESCAPES.sub(b"", seen)
        match = re.search(pattern.encode(), clean)
        if match:
            return clean[match.end():]
        data = read_some(terminal, log, deadline)
        if not data:
            give_up(pid, f"{'timeout' if data is None else 'the command ended'} before '{pattern}'")
        seen += data


def main():
    log_path, timeout, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    steps = list(parse(sys.stdin.read()))
    deadline = time.monotonic() + timeout
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    with open(log_path, "wb", buffering=0) as log:
        seen = b""
        for pattern, text in steps:
            seen = wait_for(pattern, seen, terminal, log, deadline, pid)
            if text:
                os.write(terminal, text.encode() + b"\r")
        while data := read_some(terminal, log, deadline):
            pass
        if data is None:
            give_up(pid, "timeout: the command goes on after the last step")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
