# SPDX-License-Identifier: Apache-2.0
"""When make soak fails a lap, and how late the witnesses beside the walls may be."""

import contextlib
import io
import sys
import unittest
from pathlib import Path
from unittest import mock

from support import ROOT, DirectoryCase

sys.path.insert(0, str(ROOT / "tests"))

from soak import soak  # noqa: E402
from wall.cases import WALLS  # noqa: E402
from wall.tier import look_on  # noqa: E402

BEAT_MS, TICKS_A_MS = 10, 50_000


class Soak(DirectoryCase):
    def soak(self, *problems_and_beats):
        """The status of a soak of as many laps as are told, and what it printed."""
        laps = iter([(list(problems), told, Path("no.log")) for problems, told in problems_and_beats])
        argv = ["tests/soak/run", "--laps", str(len(problems_and_beats)), "--only", "wall"]
        lap = mock.patch.dict(soak.LAPS, wall=lambda *_arguments: next(laps))
        with lap, mock.patch.object(sys, "argv", argv), mock.patch.object(soak, "SOAK", self.work), \
                contextlib.redirect_stdout(io.StringIO()) as out:
            return soak.main(), out.getvalue()

    def test_missed_beat_fails_a_lap(self):
        good, late = soak.Beats(300, 0, 7), soak.Beats(300, 2, 9)
        status, text = self.soak(((), good), ((), good))
        self.assertEqual((status, "problems\n        " in text), (0, False))
        status, text = self.soak(((), good), ((), late), ((), good))
        self.assertEqual(status, 1)
        self.assertIn("300 beats, 2 missed, worst 9 ticks; 1 problems\n        witnesses missed 2 beats\n", text)
        self.assertIn("900 beats, 2 missed, worst 9 ticks; laps failed: 1\n", text)

    def test_witnesses_are_read(self):
        lines = ["late by less than 8 ticks: 3", "witness: beats 300 missed 2 worst 9 ticks"]
        boot = mock.Mock(lines={"witness-a": lines, "h-flood": lines, "witness-b": ["witness: beats 5 missed 0 worst 10 ticks"]})
        self.assertEqual(soak.told_by_witnesses(boot), soak.Beats(305, 2, 10))


class Bound(unittest.TestCase):
    def bound(self, model, is_audited):
        (bound,) = {case.cmdline.split("bound=")[1] for case in look_on(model, WALLS, 300, is_audited)}
        return int(bound) / TICKS_A_MS

    def test_stop_of_100_ms_is_missed_where_nobody_audits(self):
        """However it lies to the beats."""
        self.assertTrue(0 < self.bound("corei7_skylake_x", False) < 100 - BEAT_MS)

    def test_stop_of_a_second_is_missed_beside_the_auditor(self):
        self.assertTrue(0 < self.bound("ryzen", True) < 1000 - BEAT_MS)

    def test_time_of_the_host_says_nothing(self):
        self.assertEqual(self.bound("EPYC", True), 0)


if __name__ == "__main__":
    unittest.main()
