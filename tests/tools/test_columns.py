# SPDX-License-Identifier: Apache-2.0
"""Comments of at most 100 columns: what tests/check/wrap makes of those that are longer."""

import sys
import unittest
from pathlib import Path

import support  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "check"))

import columns  # noqa: E402

LONG = " ".join(["word"] * 30)  # 149 columns


class Wrap(unittest.TestCase):
    def wrap(self, text, kind="c"):
        wrapped = columns.wrap_text(text, kind)
        self.assertLessEqual(max(map(len, wrapped.split("\n"))), columns.COLUMNS)
        self.assertEqual(columns.wrap_text(wrapped, kind), wrapped, "once is enough")
        marks = ("//", "#")
        words = [[word for word in lines.split() if word not in marks] for lines in (text, wrapped)]
        self.assertEqual(*words)
        return wrapped.split("\n")

    def test_paragraph_in_its_column(self):
        self.assertEqual(self.wrap(f"    // {LONG}\n    // end.\nint a;"),
                         ["    // " + " ".join(["word"] * 18), "    // " + " ".join(["word"] * 12) + " end.", "int a;"])
        self.assertEqual(len(self.wrap(f"# {LONG}", "hash")), 2)

    def test_what_is_short_stays(self):
        text = "// one\n// two\n//\n//   call   does\n#define A 1 // x\n// " + "y" * 90
        self.assertEqual(self.wrap(text), text.split("\n"))

    def test_items_and_tables_go_on_under_their_text(self):
        lines = self.wrap(f"//   call_it    {LONG}\n//   call_more  more\n// - {LONG}\n//   more")
        self.assertEqual([line[:16].rstrip() for line in lines],
                         ["//   call_it", "//", "//   call_more", "// - word word w", "//   word word w"])
        self.assertTrue(lines[1].startswith("//" + " " * 14 + "word"))

    def test_clauses_begin_lines(self):
        lines = self.wrap(f"// {LONG}\n// Needs: nothing.")
        self.assertEqual(lines[-1], "// Needs: nothing.")

    def test_rulers_end_at_the_edge(self):
        self.assertEqual(columns.wrap_text("// ---- here " + "-" * 95, "c"), "// ---- here " + "-" * 87)


class Find(unittest.TestCase):
    def test_comments_and_nothing_else(self):
        trailing = columns._TRAILING
        self.assertTrue(trailing.match("int a = '\"'; // b"))
        self.assertFalse(trailing.match('char a[] = "http://example.com";'))
        self.assertFalse(trailing.match("int a = b / c;"))


if __name__ == "__main__":
    unittest.main()
