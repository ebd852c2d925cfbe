# SPDX-License-Identifier: Apache-2.0
"""The proofs' own rule: what a mutant's death says, by a Frama-C of paper."""

import importlib.util
import io
import sys
import unittest
from contextlib import redirect_stdout
from importlib.machinery import SourceFileLoader

from support import ROOT

PROOF = ROOT / "tests" / "proof"


def load_runner():
    """tests/proof/run as a module; its list of subjects has a common name, so it is imported under it for this only."""
    others = sys.modules.pop("subjects", None)
    sys.path.insert(0, str(PROOF))
    try:
        loader = SourceFileLoader("proof_run", str(PROOF / "run"))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("proof_run", loader))
        loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(PROOF))
        del sys.modules["subjects"]
        if others is not None:
            sys.modules["subjects"] = others


class Mutants(unittest.TestCase):
    def setUp(self):
        self.run = load_runner()
        self.run.BUILD.mkdir(parents=True, exist_ok=True)
        self.name = "quota-beyond-its-limit"
        self.calls = []

    def check(self, whole, mutant):
        """What is said of the mutant where this comes out of the file itself, and that of the mutant."""

        def prove(_name, proof, file, timeout):
            is_whole = str(file) == self.run.PROOFS["quota"].file
            self.calls.append((is_whole, proof.functions, proof.lemmas, proof.may_wrap, timeout))
            return whole(timeout) if is_whole and callable(whole) else whole if is_whole else mutant

        self.run.prove = prove
        with redirect_stdout(io.StringIO()):
            return self.run.check_mutant(self.name)

    def test_dead_where_the_code_itself_is_proved(self):
        self.assertIsNone(self.check((9, 9), (8, 9)))

    def test_a_time_out_that_the_code_itself_has_kills_nothing(self):
        self.assertIn("1 goals are not proved in 60 s either", self.check((8, 9), (8, 9)))
        self.assertTrue(all(is_whole for is_whole, *_ in self.calls))

    def test_an_error_in_the_code_itself_kills_nothing(self):
        self.assertIn("without it: Frama-C", self.check("Frama-C: no such file", (8, 9)))

    def test_proved_is_not_dead(self):
        self.assertIn("was proved, too", self.check((9, 9), (9, 9)))

    def test_both_have_the_same_time(self):
        for needed in self.run.MUTANT_TIMEOUTS:
            self.calls, self.run.time_of = [], self.run.Once(self.run.find_time)
            self.assertIsNone(self.check(lambda timeout, needed=needed: (9 if timeout >= needed else 8, 9), (8, 9)))
            (whole, *its), (mutant, *the_others) = self.calls[-2:]
            self.assertEqual((whole, mutant), (True, False))
            self.assertEqual(its, the_others)
            self.assertEqual(its[-1], needed)

    def test_the_code_itself_is_asked_once(self):
        self.check((9, 9), (8, 9))
        self.check((9, 9), (8, 9))
        self.assertEqual([is_whole for is_whole, *_ in self.calls], [True, False, False])

    def test_an_alarm_that_the_code_itself_raises_kills_nothing(self):
        self.run.analyse = lambda *_: ("", 2)
        with redirect_stdout(io.StringIO()):
            problem = self.run.check_eva_mutant("eva-quota-wraps")
        self.assertIn("without it, there are 2 alarms", problem)


if __name__ == "__main__":
    unittest.main()
