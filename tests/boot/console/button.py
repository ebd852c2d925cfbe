# SPDX-License-Identifier: Apache-2.0
"""The machine's power button, pressed with no VM, and with VMs that obey it or not. docs/console.md tells the lines."""

import time

from machine import GUESTS, NO_GUESTS, RUN, TINY, end_of, machine, typist  # before monitor: it says where that is
from monitor import Monitor, text_of, wait_for

SAYS = "[bulkhead] power button: "
NO_VM = SAYS + "pressed, and no VM runs: the machine is switched off"
TOLD = SAYS + "pressed: all VMs are told, and have 30 s to power off"
AGAIN = SAYS + "pressed again: all VMs are ended"
LATE = SAYS + "1 VMs did not power off in time, and are ended"
OBEYED = "vm obeys: debug-exit 0"
STAYS_OFF = "vm obeys: is not started again"
ENDED = "vm deaf: powered off"
OFF = "[bulkhead] all VMs ended"
WAITS = "waits for its power button"
VM = """
[[vm]]
name = "{name}"
memory = "8M"
vcpus = 1
kernel = "{kernel}"
cmdline = "{words}"
restart = "always"
"""
STAY = '[host]\nwhen-all-ended = "stay"\n'
OBEYS = VM.format(name="obeys", kernel=TINY / "wake.elf", words="button")
# It halts between its beats, and knows no ACPI.
DEAF = VM.format(name="deaf", kernel=TINY / "witness.elf", words="beats=1000000000 bound=0")


def press(path, process):
    monitor = Monitor(path, process)
    monitor.execute("system_powerdown")
    return monitor


def judge(log, lines):
    """What is wrong, or None: each of these lines has come, in this order."""
    text, at = text_of(log), 0
    for line in lines:
        at = text.find(line, at)
        if at < 0:
            return f"no line {line!r} where it belongs: {text[-400:]!r}"
    return None


def alone(work):
    """Nothing runs, and the manifest has the machine stay: it switches itself off."""
    log, path, manifest = work / "alone", work / "alone-qmp", work / "alone.toml"
    manifest.write_text(STAY + OBEYS)  # refused
    with machine([*typist(log), *RUN, *NO_GUESTS, "--manifest", manifest], path) as process:
        if not wait_for(log, "bulkhead> ", process):
            return "the prompt did not come"
        return end_of(press(path, process), process, log) or judge(log, [NO_VM])


def with_vms(name, vms, lines, is_pressed_again=False):
    def run(work):
        log, path, manifest = work / name, work / f"{name}-qmp", work / f"{name}.toml"
        manifest.write_text(STAY + vms)
        with machine([*typist(log), *RUN, *GUESTS, "--manifest", manifest], path) as process:
            if not wait_for(log, WAITS, process):
                return f"the guest does not run: {text_of(log)[-200:]!r}"
            monitor = press(path, process)
            if is_pressed_again:
                if not wait_for(log, OBEYED, process):
                    return f"the guest does not obey: {text_of(log)[-200:]!r}"
                time.sleep(1)  # within half a second it would be the same press
                monitor.execute("system_powerdown")
            return end_of(monitor, process, log) or judge(log, lines)

    return run


CASES = {
    "button": alone,
    "button of a VM": with_vms("obeyed", OBEYS, [TOLD, OBEYED, STAYS_OFF, OFF]),
    "button twice": with_vms("twice", OBEYS + DEAF, [TOLD, OBEYED, STAYS_OFF, AGAIN, ENDED, OFF], is_pressed_again=True),
    "button of a deaf VM": with_vms("late", OBEYS + DEAF, [TOLD, OBEYED, STAYS_OFF, LATE, ENDED, OFF]),
}
