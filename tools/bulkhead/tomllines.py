# SPDX-License-Identifier: Apache-2.0
"""Where each key of a TOML file stands, since tomllib tells only what it means.

    lines = key_lines(text)
    lines[("vm", 0)]            line of the first [[vm]]
    lines[("vm", 0, "name")]    line of its key `name`

The text must be one that tomllib accepted: this scanner knows where keys, values and tables begin
and end, and judges nothing. A path is a tuple of key names and, below an array, of indices.
"""

import tomllib


def key_lines(text):
    """Map from the path of each table, key and array element to its line, counted from 1."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text):
        self.text = text
        self.position = 0
        self.lines = {}
        self.elements = {}  # path of an array of tables -> how many [[...]] were seen

    def scan(self):
        table = ()
        while self._skip(" \t\n"):
            if self._at("[["):
                table = self._array_header()
            elif self._at("["):
                table = self._table_header()
            else:
                self._key_value(table)
        return self.lines

    # Tables

    def _table_header(self):
        self.position += 1
        line = self._line()
        path = self._resolve(self._dotted_key())
        self.position += 1  # the closing bracket
        self.lines[path] = line
        return path

    def _array_header(self):
        self.position += 2
        line = self._line()
        keys = self._dotted_key()
        self.position += 2
        array = self._resolve(keys[:-1]) + (keys[-1],)
        index = self.elements.get(array, 0)
        self.elements[array] = index + 1
        self.lines.setdefault(array, line)
        self.lines[array + (index,)] = line
        return array + (index,)

    def _resolve(self, keys):
        """A header names the last element of each array of tables on its way."""
        path = ()
        for key in keys:
            path += (key,)
            if path in self.elements:
                path += (self.elements[path] - 1,)
        return path

    # Keys and values

    def _key_value(self, table):
        line = self._line()
        path = table
        for key in self._dotted_key():
            path += (key,)
            self.lines.setdefault(path, line)
        self._skip(" \t")
        self.position += 1  # the equals sign
        self._skip(" \t")
        self._value(path)

    def _dotted_key(self):
        keys = []
        while True:
            self._skip(" \t")
            keys.append(self._key())
            self._skip(" \t")
            if not self._at("."):
                return tuple(keys)
            self.position += 1

    def _key(self):
        start = self.position
        if self._at('"') or self._at("'"):
            self._string()
            return tomllib.loads("key = " + self.text[start : self.position])["key"]
        self._advance_to(" \t.=]")
        return self.text[start : self.position]

    def _value(self, path):
        if self._at('"') or self._at("'"):
            self._string()
        elif self._at("["):
            self._list("]", lambda index: self._element(path + (index,)))
        elif self._at("{"):
            self._list("}", lambda _index: self._key_value(path))
        else:
            self._advance_to(",]}#\n")

    def _element(self, path):
        self.lines[path] = self._line()
        self._value(path)

    def _list(self, end, item):
        """An array or an inline table: item(index) consumes one of its members."""
        self.position += 1
        index = 0
        while self._skip(" \t\n,") and not self._at(end):
            item(index)
            index += 1
        self.position += 1

    def _string(self):
        quote = self.text[self.position]
        mark = quote * 3 if self._at(quote * 3) else quote
        self.position += len(mark)
        while not self._at(mark):
            self.position += 2 if quote == '"' and self._at("\\") else 1
        self.position += len(mark)
        while len(mark) == 3 and self._at(quote):  # up to two quotes may stand before the mark
            self.position += 1

    # Characters

    def _at(self, what):
        return self.text.startswith(what, self.position)

    def _line(self):
        return self.text.count("\n", 0, self.position) + 1

    def _skip(self, blanks):
        """Passes blanks and comments; False at the end of the text."""
        while self.position < len(self.text):
            if self._at("#"):
                self._advance_to("\n")
            elif self.text[self.position] in blanks:
                self.position += 1
            else:
                return True
        return False

    def _advance_to(self, stops):
        while self.position < len(self.text) and self.text[self.position] not in stops:
            self.position += 1
