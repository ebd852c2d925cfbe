# SPDX-License-Identifier: Apache-2.0
"""Takes the firmware's noise out of the serial output.

Until the hypervisor's first line the firmware owns the serial port, and OVMF paints it with escape
sequences. Startup passes what comes before that line on as plain lines, without them, and all from
there on untouched:

    startup = Startup(mark)             mark: what the hypervisor's lines begin with
    text, rest = startup.feed(data)     plain lines of the firmware, bytes of the hypervisor
    startup.is_over                     the hypervisor's first line has begun
    startup.gave_up                     the firmware went on without us: why, or None
"""

import re

MARK = b"[bulkhead] "  # the hypervisor's lines begin with it
APPLICATION = "bulkhead: "  # the boot application's lines

_RETURNS = APPLICATION + "back to the firmware"  # the last one says why

PENDING_MOST = 65536

# ECMA-48 control sequences. A move of the cursor starts a new line of text.
_MOVE = re.compile(rb"\x1b\[[0-9;]*[HfJ]")
_SEQUENCE = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|[@-Z\\-_]|[ -/]+[0-~])")
_UNFINISHED = re.compile(rb"\x1b(\[[0-?]*[ -/]*)?$")
_OTHER = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")

# OVMF's own exception handler, which stays in charge until the hypervisor has its own.
FIRMWARE_FAULT = re.compile(r"!!!! X64 Exception Type - (.*?) *CPU")

# What OVMF says when it has nothing of ours left to start.
_NOTHING_LEFT = re.compile(
    r"No bootable option or device was found|UEFI Interactive Shell|enter the Boot Manager Menu"
)
_FAILED = re.compile(r"BdsDxe: failed to (load|start) .*")


def plain(data):
    """The text of `data` without control sequences; lines end in "\\n"."""
    data = _MOVE.sub(b"\n", data)
    data = _SEQUENCE.sub(b"", data)
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _OTHER.sub(b"", data).decode("utf-8", "replace")


class Startup:
    def __init__(self, mark=MARK):
        self.mark = mark
        self.is_over = False
        self.gave_up = None
        self.application_lines = []  # what the boot application said
        self._pending = b""

    def feed(self, data):
        if self.is_over:
            return "", data
        self._pending += data
        mark = self._pending.find(self.mark)
        if mark >= 0:
            self.is_over = True
            head, rest = self._pending[:mark], self._pending[mark:]
            self._pending = b""
            return self._lines(head), rest
        # Keep what may be the beginning of a line, of the mark or of a control sequence.
        end = self._pending.rfind(b"\n") + 1
        if len(self._pending) - end > PENDING_MOST:
            end = len(self._pending) - len(self.mark)
        head, self._pending = self._pending[:end], self._pending[end:]
        return self._lines(head), b""

    def finish(self):
        """What was left of an unfinished line when the machine ended."""
        head, self._pending = self._pending, b""
        return self._lines(_UNFINISHED.sub(b"", head))

    def _lines(self, head):
        lines = [line.rstrip() for line in plain(head).split("\n") if line.strip()]
        for line in lines:
            self._note(line)
        return "".join(line + "\n" for line in lines)

    def _note(self, line):
        if line.startswith(_RETURNS):
            self.gave_up = self.gave_up or (self.application_lines or [line])[-1]
        elif line.startswith(APPLICATION):
            self.application_lines.append(line)
        elif _NOTHING_LEFT.search(line):
            self.gave_up = self.gave_up or "the firmware found nothing to boot"
        elif fault := FIRMWARE_FAULT.match(line):
            self.gave_up = self.gave_up or f"an exception before the hypervisor began: {fault[1]}"
        elif _FAILED.search(line) and self.application_lines:
            self.gave_up = self.application_lines[-1]
