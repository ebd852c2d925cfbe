# SPDX-License-Identifier: Apache-2.0
"""Whether anybody believes guests/tiny/forge.c, which prints lines of the hypervisor's and of other VMs."""

import re

FORGERS = ("forge", "forge-crash")  # names of its VMs
_FORGED = re.compile(r"\[bulkhead\] panic: forged")
COUNT = 9 * 9 + (530 - 380) + 1 + 1  # times that guests/tiny/forge.c prints the word
LINE_MOST = 448  # characters of a guest's line


def forgery_problem(boot, name):
    """What is wrong with the log of a boot with the VM `name`, or None."""
    lines = boot.lines.get(name, [])
    said = "".join(lines).count("forged")  # a cut may go through it
    if said != COUNT:
        return f"{said} forged texts are {name}'s own, not {COUNT}"
    if not any(_FORGED.match(line) for line in lines) or "[bulkhead] panic: forged, half a line" not in lines:
        return "no line begins with what is forged, behind the VM's name"
    if max(map(len, lines)) > LINE_MOST:
        return f"a line has {max(map(len, lines))} characters"
    # Whoever else seems to speak of it: the log's lines that are not behind a forger's name.
    for line in boot.text.splitlines():
        if "forged" in line and not line.startswith(tuple(f"[{forger}] " for forger in FORGERS)):
            return f"not behind its name: '{line[:100]}'"
    return None
