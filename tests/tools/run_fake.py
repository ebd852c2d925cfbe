# SPDX-License-Identifier: Apache-2.0
"""scripts/run with fake_emulator.py in place of Bochs: run_fake.py SCENARIO [OPTION...]."""

import sys
from pathlib import Path

import support  # noqa: F401
from bulkhead import bochs, machine, run, session, target
from bulkhead.command import entry


def fake(kind, scenario):
    """A kind of machine that fake_emulator.py plays."""

    class Fake(kind):
        name = "fake"

        def command(self, serial):
            is_file = isinstance(serial, machine.SerialFile)
            where = serial.path if is_file else serial.listen_tcp()
            program = Path(__file__).with_name("fake_emulator.py")
            return [sys.executable, str(program), scenario, str(where)]

    return Fake


if __name__ == "__main__":
    target.MACHINES["bochs"] = fake(bochs.Bochs, sys.argv.pop(1))
    session.ENDED_GRACE = session.FAILED_GRACE = session.FIRMWARE_GRACE = 0.3
    machine.STOP_SECONDS = 0.3
    entry(run.main, "run")
