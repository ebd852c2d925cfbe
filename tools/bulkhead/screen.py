# SPDX-License-Identifier: Apache-2.0
"""The terminal's output side: progress while the firmware runs, then the machine's bytes, and a soft
reset at the end.

What a guest printed last may have left a string open, letters hidden, a mouse reporting. RESET takes that
back as far as terminals agree on it (ECMA-48, DEC STD 070, xterm's "Control Sequences"); what it does not
is told in docs/console.md, "What a VM leaves at the terminal". The supervisor's console.c has the same.
"""

import sys

RESET = b"".join((
    b"\x18\x1b\\",  # cancels a sequence, and ends a string, that is open
    b"\x1b[!p",  # DECSTR: soft reset, where there is one
    b"\x1b[0m\x1b(B\x1b)B\x0f",  # plain letters of ASCII
    b"\x1b7\x1b[?1049l",  # the common screen; the cursor stays
    b"\x1b7\x1b[?69l\x1b[r\x1b8",  # margins at the borders; the cursor stays
    b"\x1b[4;20l\x1b[?1;5l\x1b[?7;25h\x1b>",  # replaces, wraps, shows the cursor; common keys
    b"\x1b[?9;1000;1001;1002;1003;1004l\x1b[?1005;1006;1015;1016;2004l",  # mouse, paste
    b"\x1b[>4m\x1b[=0u\x1bP0;1|\x1b\\",  # keys that were told to send something else
    b"\x1b]104\x1b\\\x1b]110\x1b\\\x1b]111\x1b\\\x1b]112\x1b\\",  # colours
))

# A terminal answers in order: behind the answer to this one, "\x1b[0n", comes no older one.
FENCE = b"\x1b[5n"
FENCE_ANSWER = b"\x1b[0n"


class Screen:
    """The terminal's output side: progress while the firmware runs, then the machine's bytes."""

    def __init__(self, newline):
        self.newline = newline
        self.is_terminal = sys.stdout.isatty()
        self.in_progress = False
        self.at_line_start = True
        self.told = None

    def write(self, data):
        if not data:
            return
        self.end_progress()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        self.at_line_start = data.endswith(b"\n")

    def progress(self, session):
        """One line that counts the seconds; without a terminal it is printed once."""
        second = int(session.seconds)
        if self.told is not None and (not self.is_terminal or second == self.told):
            return
        words = f"starting the machine ({session.machine.describe()}) ... "
        if self.is_terminal:
            words = f"\r{words}firmware {second} s "
        print(words, end="", flush=True)
        self.told = second
        self.in_progress = True

    def end_progress(self):
        if self.in_progress:
            print(self.newline, end="", flush=True)
            self.in_progress = False

    def application(self, text):
        """Of the firmware's time only the boot application's own lines are shown."""
        for line in text.splitlines():
            if line.startswith("bulkhead: "):
                self.write((line + self.newline).encode())

    def end(self):
        self.end_progress()
        sys.stdout.flush()
        if self.is_terminal:
            sys.stdout.buffer.write(RESET)
        if not self.at_line_start:
            sys.stdout.buffer.write(self.newline.encode())
        sys.stdout.buffer.flush()

    def ask(self):
        """Asks for the answer that comes behind all others. False: there is no terminal to ask."""
        if self.is_terminal:
            sys.stdout.buffer.write(FENCE)
            sys.stdout.buffer.flush()
        return self.is_terminal
