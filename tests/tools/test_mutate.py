# SPDX-License-Identifier: Apache-2.0
"""What the mutants' runner keeps from run to run: only what would come out again."""

import subprocess
import sys
import unittest

from support import ROOT, DirectoryCase

sys.path.insert(0, str(ROOT / "tests" / "mutate"))
import results

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


if __name__ == "__main__":
    unittest.main()
