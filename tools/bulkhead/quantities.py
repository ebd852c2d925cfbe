# SPDX-License-Identifier: Apache-2.0
"""Numbers with a unit: sizes, times, rates.

    quantity(2, "ms")           2000000: nanoseconds, bytes or Hz
    parse("TIME", "2ms")        the same of a text; None where it is no such quantity
"""

import re

from .command import UNITS, parse_size

_NANOSECONDS = {"us": 1000, "ms": 1000_000, "s": 1000_000_000}
_HERTZ = {"Hz": 0, "kHz": 3, "MHz": 6, "GHz": 9}  # powers of ten


def quantity(number, unit=None):
    if unit in _HERTZ:
        return number * 10 ** _HERTZ[unit]
    return number * {None: 1, **UNITS, **_NANOSECONDS}[unit]


def parse(kind, text):
    return {"SIZE": parse_size, "TIME": _parse_time, "RATE": _parse_rate}[kind](text)


def _parse_time(text):
    """Nanoseconds of "500us", "2ms" or "1s"."""
    match = re.fullmatch(r"([0-9]{1,9})(us|ms|s)", text)
    return int(match[1]) * _NANOSECONDS[match[2]] if match else None


def _parse_rate(text):
    """Hertz of "2.4GHz", "2400MHz" or "2400000000Hz"."""
    match = re.fullmatch(r"([0-9]{1,10})(?:\.([0-9]{1,9}))?(Hz|kHz|MHz|GHz)", text)
    if match is None:
        return None
    decimals = match[2] or ""
    exponent = _HERTZ[match[3]] - len(decimals)
    return int(match[1] + decimals) * 10**exponent if exponent >= 0 else None
