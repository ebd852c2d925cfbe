# SPDX-License-Identifier: Apache-2.0
"""tomllines: every key of a document is found at its line."""

import tomllib
import unittest

import support  # noqa: F401
from bulkhead.tomllines import key_lines

TRICKY = '''\
# [[vm]] in a comment
title = "a # b" # [c]
[host] # trailing
cmdline = """
x = 1
[[vm]]
""""
"quoted \\" key" = 'C:\\'
a.b . "c" = 3

[[vm]]
name = "one"
list = [ 1, # ]
  "two]", [
  { x = "}", y = 2 } ] ,
]
[vm.sub]
deep = true
[[vm]] # second
name = 'two'
point = { x = 1, "y z" = { w = "," } }
[[vm.disk]]
path = "a"
[[vm.disk]]
path = "b"
[other]
time = 2026-01-02T03:04:05Z
text = \'\'\'it's
'quoted' \'\'\'
last = 1.5e3
'''

EXPECTED = {
    ("title",): 2,
    ("host",): 3,
    ("host", "cmdline"): 4,
    ("host", 'quoted " key'): 8,
    ("host", "a"): 9,
    ("host", "a", "b"): 9,
    ("host", "a", "b", "c"): 9,
    ("vm",): 11,
    ("vm", 0): 11,
    ("vm", 0, "name"): 12,
    ("vm", 0, "list"): 13,
    ("vm", 0, "list", 0): 13,
    ("vm", 0, "list", 1): 14,
    ("vm", 0, "list", 2, 0): 15,
    ("vm", 0, "list", 2, 0, "y"): 15,
    ("vm", 0, "sub"): 17,
    ("vm", 0, "sub", "deep"): 18,
    ("vm", 1): 19,
    ("vm", 1, "name"): 20,
    ("vm", 1, "point", "y z", "w"): 21,
    ("vm", 1, "disk", 0, "path"): 23,
    ("vm", 1, "disk", 1): 24,
    ("vm", 1, "disk", 1, "path"): 25,
    ("other", "text"): 28,
    ("other", "last"): 30,
}


def paths(value, path=()):
    """The path of everything in a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list)):
            yield from paths(item, path + (key,))
        else:
            yield path + (key,)


class KeyLines(unittest.TestCase):
    def test_tricky_document(self):
        lines = key_lines(TRICKY)
        for path, line in EXPECTED.items():
            with self.subTest(path=path):
                self.assertEqual(lines.get(path), line)

    def test_finds_exactly_what_tomllib_finds(self):
        self.assertEqual(set(key_lines(TRICKY)), set(paths(tomllib.loads(TRICKY))))

    def test_carriage_returns(self):
        self.assertEqual(key_lines(TRICKY.replace("\n", "\r\n")), key_lines(TRICKY))

    def test_no_newline_at_the_end(self):
        self.assertEqual(key_lines("a = 1\nb = 2"), {("a",): 1, ("b",): 2})
        self.assertEqual(key_lines("# nothing"), {})


if __name__ == "__main__":
    unittest.main()
