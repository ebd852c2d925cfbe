# SPDX-License-Identifier: Apache-2.0
"""The check of calls dies of what it is there for: each fault is planted, and has to be found."""

import sys
import unittest
from pathlib import Path
from unittest import mock

from support import ROOT

sys.path.insert(0, str(ROOT / "tests" / "check"))

import calls  # noqa: E402


class Calls(unittest.TestCase):
    def table(self, **needed):
        """Each layer defines a function of its own name, and needs what is given."""
        return {Path(f"{layer}/x.c"): ({layer}, set(needed.get(layer, ()))) for layer in calls.LAYERS}

    def test_calls_downwards_pass(self):
        table = self.table(vmx=["kernel", "arch", "lib"], kernel=["arch", "memcpy"], arch=["lib"])
        self.assertEqual(list(calls.upward_calls(table)), [])

    def test_a_call_upwards_dies(self):
        for low, high in (("lib", "arch"), ("arch", "kernel"), ("kernel", "vmx"), ("kernel", "drivers"),
                          ("drivers", "vmx"), ("vmx", "drivers")):
            found = list(calls.findings(self.table(**{low: [high]})))
            self.assertIn(f"{low}/x.c calls {high} of {high}/x.c", found)

    def test_the_table_of_contents_may(self):
        table = self.table() | {Path("kernel/main.c"): (set(), {"vmx", "drivers"})}
        self.assertEqual(list(calls.upward_calls(table)), [])

    def test_a_known_one_passes_and_has_to_go_with_its_call(self):
        with mock.patch.object(calls, "UPWARDS", {"arch": {"kernel"}}):
            self.assertEqual(list(calls.findings(self.table(arch=["kernel"]))), [])
            self.assertEqual(len(list(calls.findings(self.table()))), 1)


if __name__ == "__main__":
    unittest.main()
