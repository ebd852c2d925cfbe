# SPDX-License-Identifier: Apache-2.0
"""The key that stands before each of the hypervisor's own lines, so that nobody else can write one.

    key = Verdict(text or None)     None: lines are told by where they begin alone
    key.words()                     for the hypervisor's command line
    key.mark                        what each line of the hypervisor's begins with, as bytes
    for words in key.lines(raw): ...    what the hypervisor says in one line of the wire
    hider = Hider(key)              takes the key out of what people see
    hider.feed(data), hider.flush()

The hypervisor gets a key of each run's own on its command line, which no guest sees (docs/run.md, "Whose
line it is"). A line that it begins may stand anywhere on the wire, behind whatever a guest printed.
"""

import re
import secrets

from .firmware import MARK

KEY_WORD = "verdict="
KEY_MOST = 32  # characters: LOG_MARK_MAX of the kernel
KEY_PATTERN = re.compile(r"[0-9A-Za-z]{8,32}")


class Verdict:
    def __init__(self, key):
        self.token = f"{key} ".encode("ascii") if key else b""
        self.mark = self.token + MARK

    def lines(self, raw):
        """The words behind each mark of one line; without a key only the first place counts."""
        if self.token:
            return raw.split(self.mark)[1:]
        return [raw[len(self.mark) :]] if raw.startswith(self.mark) else []


def make_key():
    return secrets.token_hex(8)


def key_in(cmdline):
    """The key that words for the hypervisor's command line already have: the first one, as it reads them."""
    for word in cmdline.split(" "):
        if word.startswith(KEY_WORD):
            return word.removeprefix(KEY_WORD)
    return None


class Hider:
    """Takes a key out of a stream that comes in any pieces."""

    def __init__(self, verdict):
        self.token = verdict.token
        self.held = b""

    def feed(self, data):
        data = (self.held + data).replace(self.token, b"") if self.token else data
        keep = next((n for n in range(len(self.token) - 1, 0, -1) if data.endswith(self.token[:n])), 0)
        self.held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def flush(self):
        """What may be the beginning of a key, but nothing came behind it."""
        held, self.held = self.held, b""
        return held
