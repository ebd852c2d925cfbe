# SPDX-License-Identifier: Apache-2.0
"""The key that stands before each of the hypervisor's own lines, so that nobody else can write one.

    key = Verdict(text or None)     None: lines are told by where they begin alone
    key.words()                     for the hypervisor's command line
    key.mark                        what each line of the hypervisor's begins with, as bytes
    for words in key.lines(raw): ...    what the hypervisor says in one line of the wire
    hider = Hider(key)              takes the key out of what people see
    hider.feed(data), hider.pause(), hider.finish()

The hypervisor gets a key of each run's own on its command line, which no guest sees (docs/run.md, "Whose
line it is"). A line that it begins may stand anywhere on the wire, behind whatever a guest printed.
"""

import re
import secrets

from .firmware import MARK

KEY_WORD = "verdict="
KEY_MOST = 32  # characters: BOOT_MARK_MAX of the kernel
PAUSE_MOST = 3  # characters of a key that are seen when a pause splits it
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
    """Takes a key out of a stream that comes in any pieces, with pauses between any two bytes.

    Whoever types wants to see at once what the machine echoes, and that may look like the beginning of a key. So at a
    pause as much is seen as that may well be by chance, and the rest of the key stays hidden even so. More than that is
    held until something comes behind it.
    """

    def __init__(self, verdict):
        self.token = verdict.token
        self._seen = b""  # what may be the beginning of a key: seen at a pause,
        self._held = b""  # and not yet

    def feed(self, data):
        if not self.token:
            return data
        seen = len(self._seen)
        pieces = (self._seen + self._held + data).split(self.token)
        last = pieces[-1]
        keep = next((n for n in range(len(self.token) - 1, 0, -1) if last.endswith(self.token[:n])), 0)
        pieces[-1], kept = last[: len(last) - keep], last[len(last) - keep :]
        out = pieces[0][seen:] + b"".join(pieces[1:])
        # Of what is kept, what was seen before; behind a key nothing was.
        old = max(0, seen - len(pieces[0])) if len(pieces) == 1 else 0
        self._seen, self._held = kept[:old], kept[old:]
        return out

    def pause(self):
        """Nothing came for a moment: what of the held bytes is to be seen."""
        if len(self._seen) + len(self._held) > PAUSE_MOST:
            return b""
        out, self._held = self._held, b""
        self._seen += out
        return out

    def finish(self):
        """Nothing will come any more."""
        out, self._seen, self._held = self._held, b"", b""
        return out
