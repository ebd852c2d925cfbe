# SPDX-License-Identifier: Apache-2.0
"""The description of the manifest's keys: what it may not say, and that a new key touches three files."""

import shutil
import subprocess
import unittest

from support import DEMO, ROOT, DirectoryCase
from bulkhead import schema

KEY = """
// How many chairs it has.
VMM_KEY(chairs, "chairs", NUMBER(1, 99), DEFAULT(50), ALWAYS)
"""

BESIDE = "// ---- sharing the CPUs"

TEST = """
static void tree_test_chairs(void) {
    fdt_property_u32(tree_test, "chairs", 7);
}

Test(supervisor_manifest, planted_key_is_read) {
    cr_assert_eq(manifest_test_vm(NULL)->chairs, 50);
    cr_assert_eq(manifest_test_vm(tree_test_chairs)->chairs, 7);
}
"""


class Description(DirectoryCase):
    def problems(self, rows):
        path = self.file("keys.h", rows)
        return [f"{line}: {text}" for line, text in schema.problems(schema.read(path))]

    def test_what_it_may_not_say(self):
        word = '// x\nVM_KEY(color, "color", WORD, ABSENT("x"), ALWAYS)\n'
        self.assertEqual(self.problems(word), [])
        self.assertEqual(self.problems(word + word), ["4: color: is described twice"])
        self.assertEqual(self.problems(word[5:]), ["1: color: nothing says what it is"])
        text = "2: color: its member is colour, and should be color"
        self.assertEqual(self.problems(word.replace("(color", "(colour")), [text])
        text = "2: color: a WORD cannot be handed to a VMM: make it a VM_KEY"
        self.assertEqual(self.problems(word.replace("VM_KEY", "VMM_KEY")), [text])
        flag = '// x\nVM_KEY(open, "open", FLAG, SET, ALWAYS)\n'
        self.assertEqual(self.problems(flag), ["2: open: its member is open, and should be is_open"])

    def test_a_key_goes_with_words_of_one_before_it(self):
        choice = 'CHOICES(x, WORD_IS(A, "a", "of a, (with all)"), WORD_IS(B, "b", "of b"))\n'
        choice += '// x\nVM_KEY(kind, "kind", CHOICE(x), FIRST, ALWAYS)\n'
        key = '// x\nVM_KEY(size, "size", NUMBER(1, 2), DEFAULT(1),\n       WITH(kind, "{}"))\n'
        self.assertEqual(self.problems(choice + key.format("b")), [])
        self.assertEqual(self.problems(choice + key.format("c")), ["5: size: no key kind with c stands before it"])
        self.assertEqual(self.problems(key.format("b")), ["2: size: no key kind with b stands before it"])
        self.assertEqual(schema.read(self.work / "keys.h")[0].companion_words, ("b",))

    def test_limits_may_have_names(self):
        limits = self.file("limits.h", "#define MOST 77 // of them\n")
        keys = self.file("keys.h", '// x\nVM_KEY(a, "a", NUMBER(1, MOST), DEFAULT(5), ALWAYS)\n')
        (key,) = schema.read(keys, limits)
        self.assertEqual(key.value, ("NUMBER", (1, 77)))


class PlantedKey(DirectoryCase):
    """A key is added to a copy of the tree in three files: the description, who uses it, its test."""

    def setUp(self):
        super().setUp()
        self.tree = self.work / "tree"
        shutil.copytree(ROOT, self.tree, symlinks=True, ignore=shutil.ignore_patterns("build", ".git"))
        self.edit("include/manifest_keys.h", BESIDE, KEY + "\n" + BESIDE)
        self.edit("supervisor/partition.c", "VM_OVERHEAD;\n}", "VM_OVERHEAD + config->chairs;\n}")
        tests = self.tree / "tests/unit/supervisor/manifest_test.c"
        tests.write_text(tests.read_text(encoding="utf-8") + TEST, encoding="utf-8")

    def edit(self, name, old, new):
        path = self.tree / name
        text = path.read_text(encoding="utf-8")
        self.assertEqual(text.count(old), 1, f"{old} in {name}")
        path.write_text(text.replace(old, new), encoding="utf-8")

    def run_in_tree(self, *argv):
        done = subprocess.run(argv, cwd=self.tree, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_the_tool_checks_and_compiles_it(self):
        self.file("vmlinuz")
        manifest = self.file("m.toml", DEMO + "chairs = 100\n")
        words = f"{manifest}:6: vm.chairs: 100 is out of range; write a number from 1 to 99\n"
        self.assertEqual(self.run_in_tree("tools/manifest", manifest), (2, words))
        self.file("m.toml", DEMO + "chairs = 7\n")
        self.assertEqual(self.run_in_tree("tools/manifest", manifest, "-o", self.work, "--build", self.parts()), (0, ""))
        status, source = self.run_in_tree("dtc", "-q", "-I", "dtb", "-O", "dts", self.work / "manifest.dtb")
        self.assertEqual(status, 0)
        self.assertIn("chairs = <0x07>;", source)

    def test_the_manual_has_it(self):
        status, text = self.run_in_tree("scripts/manual", "--check")
        self.assertEqual(status, 1)
        self.assertIn("docs/manifest.md: not what include/manifest_keys.h says: run scripts/manual", text)
        self.assertEqual(self.run_in_tree("scripts/manual"), (0, ""))
        page = (self.tree / "docs/manifest.md").read_text(encoding="utf-8")
        self.assertIn("| `chairs` | How many chairs it has. | 1 to 99 | 50 |\n", page)

    def test_the_supervisor_reads_it(self):
        names = ["supervisor/manifest.c", "supervisor/manifest_keys.c", "supervisor/partition.c",
                 "tests/unit/supervisor/manifest_test.c", "tests/unit/supervisor/manifest_keys_test.c"]
        objects = [f"build/host/{name}.o" for name in names]
        status, text = self.run_in_tree("make", "-j2", *objects)
        self.assertEqual(status, 0, text)
        linked = [name for name in objects if "partition" not in name]
        options = ["-fsanitize=address,undefined", "-o", "planted", *linked, "-lcriterion", "-lfdt"]
        status, text = self.run_in_tree("clang", *options)
        self.assertEqual(status, 0, text)
        for tests in ("supervisor_manifest/planted*", "supervisor_manifest_keys/*"):
            status, text = self.run_in_tree("./planted", "--filter", tests)
            self.assertEqual(status, 0, text)
            self.assertNotIn("Tested: 0 ", text)


if __name__ == "__main__":
    unittest.main()
