# SPDX-License-Identifier: Apache-2.0
"""The terminal of an interactive run: raw mode, and what is typed.

    with RawTerminal(descriptor): ...       raw while it lasts, restored whatever happens
    RawTerminal.drop_until(answer)          forgets what was typed, and answered, until then
    Keyboard.feed(data)                     keys of a person; raises Escape at Ctrl-] twice
    Script.feed(data), Script.due(now)      text from a pipe, typed when the machine waits for it

Text from a pipe can not all be sent at once: firmware and a booting guest throw away what comes too
early. So Script types one line at a time, when the machine seems to wait for one: the last line
printed ends like a prompt and nothing came for a moment, or nothing came for long.
"""

import contextlib
import os
import re
import select
import termios
import time
import tty

from .firmware import plain

ESCAPE = 0x1D  # Ctrl-]

PROMPT_SECONDS = 0.5
SILENCE_SECONDS = 60
_PROMPT = re.compile(r"[#$%>:?] ?$")
_TAIL_MOST = 512

ANSWER_SECONDS = 0.5  # a terminal behind a network
ANSWERS_SECONDS = 3  # all of them, if they never end
ANSWER_MOST = 4096 + 16


class Escape(Exception):
    """The person at the terminal wants the emulator ended."""


class RawTerminal:
    """Puts a terminal into raw mode; does nothing where the descriptor is none."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.saved = None

    def __enter__(self):
        if os.isatty(self.descriptor):
            self.saved = termios.tcgetattr(self.descriptor)
            tty.setraw(self.descriptor)
        return self

    @property
    def newline(self):
        return "\r\n" if self.saved else "\n"

    def drop_until(self, answer):
        """Throws away what the terminal still has to say: until this answer, or too long a silence."""
        seen, begun = b"", time.monotonic()
        with contextlib.suppress(OSError):  # the terminal may be gone
            while answer not in seen and time.monotonic() - begun < ANSWERS_SECONDS:
                if not select.select([self.descriptor], [], [], ANSWER_SECONDS)[0]:
                    return
                data = os.read(self.descriptor, 4096)
                if not data:
                    return
                seen = (seen + data)[-ANSWER_MOST:]

    def __exit__(self, *_exception):
        if self.saved:
            termios.tcsetattr(self.descriptor, termios.TCSAFLUSH, self.saved)


class Keyboard:
    """Every key goes to the machine, except Ctrl-] twice in a row."""

    def __init__(self):
        self.held = False  # one Ctrl-] was pressed and not yet sent

    def feed(self, data):
        out = bytearray()
        for key in data:
            if key == ESCAPE and self.held:
                raise Escape
            if self.held:
                out.append(ESCAPE)
            self.held = key == ESCAPE
            if not self.held:
                out.append(key)
        return bytes(out)


class Script:
    """Lines to type, and the judgement when to."""

    def __init__(self):
        self.text = b""
        self.at_end = False
        self.last_output = None  # time of the last output of the machine; None: not yet started
        self.tail = b""

    def feed(self, data):
        """Text from the pipe; empty at its end."""
        self.text += data
        self.at_end = self.at_end or not data

    def output(self, data, now):
        """The machine printed `data`."""
        self.last_output = now
        self.tail = (self.tail + data)[-_TAIL_MOST:]

    def due(self, now):
        """What to type now; often nothing."""
        if not self.text or self.last_output is None:
            return b""
        quiet = now - self.last_output
        last_line = plain(self.tail).rpartition("\n")[2]
        waits = _PROMPT.search(last_line) and quiet >= PROMPT_SECONDS
        if not waits and quiet < SILENCE_SECONDS:
            return b""
        line, newline, rest = self.text.partition(b"\n")
        if not newline and not self.at_end:
            return b""
        self.text = rest
        self.tail = b""  # the prompt is used up
        self.last_output = now
        return line + newline.replace(b"\n", b"\r")
