# SPDX-License-Identifier: Apache-2.0
"""The checks of routes and calls die of what they are there for: each fault is planted, and has to be found."""

import re
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from support import ROOT

sys.path.insert(0, str(ROOT / "tests" / "check"))

import budget  # noqa: E402
import calls  # noqa: E402
import returns  # noqa: E402
import ring0  # noqa: E402
import routes  # noqa: E402
import tree  # noqa: E402

CODE = """\
static const struct ops ops = {
    .write = leaf,
};
#define ROWS(X) \\
    X(1, leaf)
void prototype(int a,
               int b);
static void leaf(void) {
    // other() is not called
    say("other() is a text");
}
int caller(struct thing *thing,
           int number) {
    table[number].run(thing);
    thing->ops->write(thing);
    return leaf(), 0;
}
void other(void) {
    caller(0, 1);
    __asm__("jmp entry\\n");
}
"""
ASSEMBLY = """\
.macro save
    push    %rax
.endm
.globl entry
entry:
    save
    // call other
    call    leaf
local:
    jmp     after
.globl after
after:
    ret
"""
TOOL = """\
def first(a):
    second(a)


class Thing:
    def method(self):
        return first(self)

    def last(self):
        pass
"""


class Planted(unittest.TestCase):
    """A tree of three files."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in (("a.c", CODE), ("a.S", ASSEMBLY), ("a.py", TOOL)):
            (Path(folder.name) / name).write_text(text, encoding="utf-8")
        patch = mock.patch.object(tree, "ROOT", Path(folder.name))
        patch.start()
        self.addCleanup(patch.stop)

    def find(self, block, picture=""):
        return list(routes.findings(f"```text\n{picture}\n```\n```routes\n{block}\n```\n"))

    def assert_found(self, block, what):
        self.assertIn(what, "\n".join(self.find(block)))

    def test_what_the_code_does_is_accepted(self):
        steps = ["caller -> leaf a.c", "caller -> table[].run a.c", "caller -> thing->ops->write a.c",
                 "ops.write => leaf a.c", "ROWS => leaf a.c", "other -> caller a.c", "other ~> entry a.c",
                 "entry -> save a.S", "entry -> leaf a.S", "entry ~> after a.S  a remark"]
        self.assertEqual(self.find("\n".join(steps)), [])
        self.assertEqual(self.find("first -> second a.py\nmethod -> first a.py"), [])

    def test_a_call_that_is_not_made_dies(self):
        self.assert_found("caller -> other a.c", "caller has no -> other")
        self.assert_found("entry -> other a.S", "entry has no -> other")
        self.assert_found("last -> first a.py", "last has no -> first")

    def test_a_call_in_a_comment_or_a_text_is_none(self):
        self.assert_found("leaf -> other a.c", "leaf has no -> other")

    def test_a_call_the_wrong_way_round_dies(self):
        self.assert_found("leaf -> caller a.c", "leaf has no -> caller")

    def test_a_name_is_no_call(self):
        self.assert_found("ops -> leaf a.c", "ops has no -> leaf")

    def test_a_row_of_another_member_dies(self):
        self.assert_found("ops.read => leaf a.c", "ops.read has no => leaf")

    def test_a_body_ends_where_it_ends(self):
        self.assert_found("caller ~> entry a.c", "caller has no ~> entry")
        self.assert_found("save -> leaf a.S", "save has no -> leaf")

    def test_a_prototype_is_no_body(self):
        self.assert_found("prototype -> leaf a.c", "a.c does not define prototype")

    def test_a_file_that_is_gone_dies(self):
        self.assert_found("caller -> leaf b.c", "there is no b.c")

    def test_a_step_that_hangs_in_the_air_dies(self):
        self.assert_found("caller -> leaf a.c\nentry ~> after a.S", "nothing before it in its route leads there")
        self.assertEqual(self.find("caller -> leaf a.c\n... by an event\nentry ~> after a.S"), [])

    def test_a_name_that_the_route_denies_dies(self):
        self.assertEqual(self.find("caller -> leaf a.c\n-x other"), [])
        self.assert_found("caller -> leaf a.c\n-x table", "caller names table")

    def test_a_picture_draws_no_more_than_its_routes(self):
        self.assertEqual(self.find("caller -> leaf a.c", "caller -> leaf"), [])
        self.assertTrue(self.find("caller -> leaf a.c", "leaf -> caller"))
        self.assertTrue(self.find("caller -> leaf a.c", "caller -> some_thing"))

    def test_a_line_that_is_no_step_is_refused(self):
        with self.assertRaises(tree.Problem):
            self.find("caller calls leaf")


class Drawn(unittest.TestCase):
    """The documents themselves, with one step that the code does not take."""

    def test_cpuid_does_not_go_through_run_loop(self):
        text = tree.read("ARCHITECTURE.md")
        self.assertEqual(list(routes.findings(text)), [])
        wrong, count = re.subn(r"vmx_enter -> vcpu_has_work\b", "vmx_enter -> run_loop", text, count=1)
        self.assertEqual(count, 1)
        self.assertIn("vmx/enter.c: vmx_enter has no -> run_loop", list(routes.findings(wrong)))


class Calls(unittest.TestCase):
    def table(self, **needed):
        """Each layer defines a function of its own name, and needs what is given."""
        return {Path(f"{layer}/x.c"): ({layer}, set(needed.get(layer, ()))) for layer in calls.LAYERS}

    def test_calls_downwards_pass(self):
        table = self.table(vmx=["kernel", "arch", "lib"], kernel=["arch", "memcpy"], arch=["lib"])
        self.assertEqual(list(calls.upward_calls(table)), [])

    def test_a_call_upwards_dies(self):
        for low, high in (("lib", "arch"), ("arch", "kernel"), ("kernel", "vmx")):
            found = list(calls.findings(self.table(**{low: [high]})))
            self.assertIn(f"{low}/x.c calls {high} of {high}/x.c", found)

    def test_the_table_of_contents_may(self):
        table = self.table() | {Path("kernel/main.c"): (set(), {"vmx"})}
        self.assertEqual(list(calls.upward_calls(table)), [])

    def test_a_known_one_passes_and_has_to_go_with_its_call(self):
        with mock.patch.object(calls, "UPWARDS", {"arch": {"kernel"}}):
            self.assertEqual(list(calls.findings(self.table(arch=["kernel"]))), [])
            self.assertEqual(len(list(calls.findings(self.table()))), 1)


class Returns(unittest.TestCase):
    """A kernel whose instructions have 1 byte each: 0x10 the switch, 0x100 the loop, which goes on at 0x102."""

    SWITCH = ["vmresume", "jmp\t0x102 <switched>"]
    LOOP = ["pushq\t%rbp", "jmp\t0x10 <switch>", "callq\t*(,%rax,8)", "je\t0x101 <loop+1>", "cmpb\t$0, (%rip) # <mitigation+0x7>",
            "je\t0x126 <after>", *(f"callq\t{address:#x} <next>" for address in range(0x107, 0x127)), "addq\t$256, %rsp", "retq"]

    def find(self, switch=(), loop=()):
        """The findings, with some instructions replaced: {number: text}."""
        sections = []
        for start, texts, changes in ((0x10, self.SWITCH, dict(switch)), (0x100, self.LOOP, dict(loop))):
            lines = [f"{start + i:x}:      \t{changes.get(i, text)}" for i, text in enumerate(texts)]
            sections.append(list(returns.parse("\n".join(lines))))
        return "\n".join(returns.findings(*sections, 0x102))

    def test_a_loop_that_fills_before_it_returns_passes(self):
        self.assertEqual(self.find(), "")
        self.assertEqual(self.find(loop={0: "retq"}), "", "before the first entry")

    def test_a_return_behind_an_exit_dies(self):
        self.assertIn("behind an exit", self.find(switch={0: "retq"}))
        self.assertIn("before the fill", self.find(loop={2: "retq"}))
        self.assertIn("before the fill", self.find(loop={3: "je\t0x127 <loop+0x27>"}))

    def test_a_way_out_that_is_not_seen_through_dies(self):
        self.assertIn("leads elsewhere", self.find(switch={1: "jmp\t0x500 <other>"}))
        self.assertIn("leaves the function", self.find(loop={3: "jmp\t0x500 <other>"}))
        self.assertIn("leaves the function", self.find(loop={3: "jmpq\t*%rax"}))

    def test_a_fill_that_is_none_dies(self):
        self.assertIn("there is no fill", self.find(loop={20: "nop"}))
        self.assertIn("there is no fill", self.find(loop={20: "callq\t0x500 <other>"}))
        self.assertIn("no way leads to a fill", self.find(loop={3: "jmp\t0x101 <loop+1>"}))

    def test_both_ways_to_ask_for_the_flag_are_known(self):
        one = "cmpb\t$0x1, (%rip) # <mitigation+0x7>"
        self.assertEqual(self.find(loop={4: one, 5: "jne\t0x126 <after>"}), "")
        self.assertIn("before the fill", self.find(loop={4: one, 5: "je\t0x126 <after>"}))
        self.assertIn("before the fill", self.find(loop={5: "jne\t0x126 <after>"}))

    def test_a_jump_around_the_fill_for_another_reason_dies(self):
        self.assertIn("before the fill", self.find(loop={4: "cmpb\t$0, (%rip) # <other+0x9>", 5: "je\t0x127 <loop+0x27>"}))


class Budget(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.file("kernel/a.c", "// a comment\n\n#include \"lib/b.h\"\nint a;\n")
        self.file("lib/b.h", "int b;\n/* two\n   lines */\n")
        self.file("lib/unused.h", "int c;\n")
        self.file("build/ring0/kernel/a.c.o", "")
        self.file("build/ring0/kernel/a.c.d", "build/ring0/kernel/a.c.o: kernel/a.c lib/b.h\\\n /usr/include/x.h\nlib/b.h:\n")
        self.file("build/ring0/kernel/gone.c.d", "build/ring0/kernel/gone.c.o: kernel/gone.c lib/unused.h\n")

    def file(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def test_what_is_compiled_counts(self):
        self.assertEqual(ring0.count(self.root, self.root / "build"), {"kernel": 2, "lib": 1})

    def test_one_line_too_many(self):
        with mock.patch.object(tree, "make") as make, mock.patch.object(tree, "ROOT", self.root), \
                mock.patch.object(tree, "BUILD", "build"), mock.patch.object(budget, "MOST", 2):
            make.return_value.returncode = 0
            with self.assertRaises(tree.Problem):
                budget.check_budget()
            with mock.patch.object(budget, "MOST", 3):
                self.assertIn("3 lines", budget.check_budget()[0])
                with mock.patch.object(budget, "MOST_OF", {"kernel": 1}):
                    with self.assertRaisesRegex(tree.Problem, "^kernel/ has 2 lines in ring 0, the most is 1$"):
                        budget.check_budget()


if __name__ == "__main__":
    unittest.main()
