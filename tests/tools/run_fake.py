# SPDX-License-Identifier: Apache-2.0
"""scripts/run with fake_emulator.py in place of Bochs: run_fake.py SCENARIO [OPTION...]."""

import sys
from pathlib import Path

import support  # noqa: F401
from bulkhead import bochs, machine, run, session, target
from bulkhead.command import entry


class Fake(bochs.Bochs):
    name = "fake"

    def command(self, serial):
        is_file = isinstance(serial, machine.SerialFile)
        where = serial.path if is_file else serial.listen_tcp()
        fake = Path(__file__).with_name("fake_emulator.py")
        return [sys.executable, str(fake), SCENARIO, str(where)]


SCENARIO = sys.argv.pop(1)
target.MACHINES["bochs"] = Fake
session.ENDED_GRACE = session.FAILED_GRACE = session.FIRMWARE_GRACE = 0.3
machine.STOP_SECONDS = 0.3
entry(run.main, "run")
