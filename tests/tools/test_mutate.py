# SPDX-License-Identifier: Apache-2.0
"""The mutants' runner: what it keeps from run to run, only what would come out again; and when all is well."""

import contextlib
import importlib.machinery
import importlib.util
import io
import subprocess
import sys
import unittest
import unittest.mock
from types import SimpleNamespace

from support import ROOT, DirectoryCase

sys.path.insert(0, str(ROOT / "tests" / "mutate"))
import results
import rules

MAKEFILE = "build/plain/tests/unit-x: $(patsubst %.c,build/plain/host/%.c.o,$(wildcard x*.c))\n"


class Kept(DirectoryCase):
    def setUp(self):
        super().setUp()
        subprocess.run(["git", "init", "--quiet", "."], cwd=self.work, check=True)
        self.file("Makefile", MAKEFILE)
        self.file(".gitignore", "build/\n")
        for name in ("x.c", "x.h", "other.c", "gen.asl"):
            self.file(name, name)
        self.file("build/plain/host/x.c.o")
        self.file("build/plain/host/x.c.d", "build/plain/host/x.c.o: x.c \\\n  sub/../x.h build/plain/include/gen.h\nx.h:\n")
        (self.work / "sub").mkdir()
        kept = self.kept()
        kept.learn(self.work, ["x"])
        kept.keep(b"mutant", ["x"], False, "unit-x")
        kept.keep(b"survivor", ["x"], False, None)

    def kept(self):
        kept = results.Results(self.work / "results.json", self.work)
        kept.read_keys(self.work, ["x"])
        return kept

    def known(self, mutated=b"mutant", units=("x",), may_boot=False):
        return self.kept().known(mutated, list(units), may_boot)

    def test_inputs_are_what_the_compiler_wrote_down(self):
        self.assertEqual(self.kept().inputs, {"x": ["x.c", "x.h"]})

    def test_the_same_is_known(self):
        self.assertEqual(self.known(), (True, "unit-x"))
        self.assertEqual(self.known(b"survivor"), (True, None))

    def test_another_mutant_is_not(self):
        self.assertEqual(self.known(b"other"), (False, None))

    def test_booted_is_another_question(self):
        self.assertFalse(self.known(may_boot=True)[0])

    def test_a_unit_that_was_never_built_is_not(self):
        self.file("Makefile", MAKEFILE + "build/plain/tests/unit-y: other.c\n")
        kept = self.kept()
        kept.read_keys(self.work, ["x", "y"])
        self.assertFalse(kept.known(b"mutant", ["x", "y"], False)[0])

    def test_files_of_others_do_not_matter(self):
        self.file("other.c", "changed")
        self.assertTrue(self.known()[0])

    def test_what_goes_in_matters(self):
        for name in ("x.c", "x.h", "gen.asl", "Makefile"):
            with self.subTest(name):
                before = (self.work / name).read_bytes()
                self.file(name, before + b"\n# changed")
                self.assertFalse(self.known()[0])
                self.file(name, before)
                self.assertTrue(self.known()[0])

    def test_a_new_test_matters(self):
        self.file("x_test.c")
        self.assertFalse(self.known()[0])

    def test_a_new_header_matters(self):
        self.file("sub/x.h")
        self.assertFalse(self.known()[0])

    def test_a_file_that_is_gone_matters(self):
        (self.work / "x.h").unlink()
        self.assertFalse(self.known()[0])

    def test_the_compiler_matters(self):
        kept = self.kept()
        kept.tools = "another"
        kept.common = kept.shared_parts(self.work)
        kept.read_keys(self.work, ["x"])
        self.assertFalse(kept.known(b"mutant", ["x"], False)[0])


def load_runner():
    loader = importlib.machinery.SourceFileLoader("mutate_run", str(ROOT / "tests" / "mutate" / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Verdict(unittest.TestCase):
    def setUp(self):
        self.run = load_runner()
        self.judged = {}

    def judge(self, dead, alive=0, unbuilt=0, only=None):
        """(status of a run in which so many came out so, what it printed)"""
        killers = ["unit-x"] * dead + [None] * alive + ["does not build"] * unbuilt
        mutants = [SimpleNamespace(name=f"lib/x.c:f:{i}", file="lib/x.c", line=i, shown="x", killer=killer)
                   for i, killer in enumerate(killers)]
        options = SimpleNamespace(list=False, only=only, jobs=1)
        self.run.parse = lambda: options
        self.run.collect = lambda _options: mutants
        self.run.Runner = lambda _options, _mutants: SimpleNamespace(judge=lambda mutant: (mutant, mutant.killer))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            status = self.run.main()
        return status, out.getvalue()

    def test_the_whole_list_has_to_make_enough(self):
        self.assertEqual(self.judge(self.run.FEWEST)[0], 0)
        status, out = self.judge(self.run.FEWEST - 1, unbuilt=10)
        self.assertEqual(status, 1)
        self.assertIn(f"too few mutants were built: {self.run.FEWEST - 1}, not {self.run.FEWEST}", out)

    def test_a_part_of_it_may_be_one(self):
        self.assertEqual(self.judge(1, only=["x"])[0], 0)
        self.assertEqual(self.judge(0, unbuilt=1, only=["x"])[0], 1)

    def test_a_survivor_is_to_be_judged(self):
        self.assertEqual(self.judge(self.run.FEWEST, alive=1)[0], 1)

    def test_nineteen_of_twenty_have_to_die(self):
        self.run.tomllib = SimpleNamespace(loads=lambda _text: {"harmless": {f"lib/x.c:f:{i}": "why" for i in range(1000)}})
        self.assertEqual(self.judge(190, alive=10)[0], 0)
        self.assertEqual(self.judge(189, alive=11)[0], 1)


class Copies(DirectoryCase):
    def test_what_is_gone_is_gone_from_the_copy(self):
        subprocess.run(["git", "init", "--quiet", "."], cwd=self.work, check=True)
        self.file(".gitignore", "build/\n")
        for name in ("stays.c", "sub/goes.c"):
            self.file(name, name)
        run = load_runner()
        run.ROOT, run.WORK = self.work, self.work / "build" / "mutate"
        copy = run.Tree(0).path
        self.assertEqual((copy / "sub/goes.c").read_text(), "sub/goes.c")
        (copy / "build").mkdir()
        (copy / "build/made.o").touch()
        (self.work / "sub/goes.c").unlink()
        (self.work / "stays.c").write_text("other")
        self.assertEqual(run.Tree(0).path, copy)
        self.assertFalse((copy / "sub/goes.c").exists())
        self.assertEqual((copy / "stays.c").read_text(), "other")
        self.assertTrue((copy / "build/made.o").exists())


class Syntax(DirectoryCase):
    def test_a_function_is_found_in_its_own_file_alone(self):
        self.file("x.h", "#pragma once\nstatic inline int low(int a) {\n    return a < 1;\n}\n")
        self.file("x.c", '#include "x.h"\nint high(int a) {\n    return a > low(a);\n}\n')
        with unittest.mock.patch.object(rules, "ROOT", self.work):
            for file, function in (("x.h", "low"), ("x.c", "high")):
                shown = [mutant.shown for mutant in rules.mutants_of(file, function)]
                self.assertTrue(shown and all(text.startswith("return a ") for text in shown), shown)
            with self.assertRaisesRegex(LookupError, "x.c has no function low"):
                list(rules.mutants_of("x.c", "low"))


class Places(unittest.TestCase):
    def test_every_function_and_planted_place_is_in_the_tree(self):
        listed = subprocess.run([ROOT / "tests/mutate/run", "--list"], capture_output=True, text=True, check=False)
        self.assertEqual(listed.returncode, 0, listed.stdout[-300:] + listed.stderr[-300:])
        self.assertRegex(listed.stdout, r"mutate: \d+ mutants\n$")


if __name__ == "__main__":
    unittest.main()
