# SPDX-License-Identifier: Apache-2.0
"""What all tools of the host treat alike: exit statuses, messages, sizes, command lines.

A tool's main() raises Failure for whatever ends it early; entry() turns that into one message on
standard error and the exit status. Statuses above 63 are those of sysexits.h, so that they never
meet the ones that scripts/run gives a meaning of its own (0 to 3).
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the checkout

EXIT_MANIFEST = 2  # of tools/manifest and tools/image: the manifest was refused
EXIT_USAGE = 64  # the command line is wrong
EXIT_DATA = 65  # of scripts/run: the manifest was refused
EXIT_UNAVAILABLE = 69  # a program or a part that is needed is not there
EXIT_BUILD = 70  # of scripts/run: make failed
EXIT_INTERRUPTED = 130

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
UNITS = {"K": KIB, "M": MIB, "G": GIB, "T": TIB}


class Failure(Exception):
    """Ends the tool with `status`; the message says what is wrong and what to do."""

    def __init__(self, message, status=EXIT_UNAVAILABLE):
        super().__init__(message)
        self.status = status


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaint is one line and whose status is EXIT_USAGE."""

    def __init__(self, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message):
        raise Failure(f"{message}; see {self.prog} --help", EXIT_USAGE)


def entry(main, name):
    """Runs main() as the program `name` and ends the process."""
    sys.stderr.reconfigure(errors="backslashreplace")  # a locale may lack what a file's name has
    try:
        # A terminated tool unwinds like an interrupted one, so that nothing is left behind.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _terminated)
        status = main()
    except Failure as failure:
        print_failure(name, failure)
        status = failure.status
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_UNAVAILABLE
    sys.exit(status)


def _terminated(number, _frame):
    sys.exit(128 + number)


def print_failure(name, failure):
    """Lines that name a file and a line of their own stand alone, as compilers print them."""
    text = "\n".join(printable(line) for line in str(failure).split("\n"))
    located = re.match(r"\S.*?:\d+: ", text) is not None
    print(text if located else f"{name}: {text}", file=sys.stderr)


def printable(text):
    """The text with every character that could mean something to a terminal written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def parse_size(text):
    """Bytes of "256M" (units K, M, G, T: powers of 1024), or None when it is no such size."""
    match = re.fullmatch(r"([0-9]{1,15})([KMGT])", text)
    return int(match[1]) * UNITS[match[2]] if match else None


def format_size(size):
    """The size in the largest unit that divides it, as parse_size() reads it; else in bytes."""
    for unit in "TGMK":
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return f"{size} bytes"


def size_argument(text):
    """The `type` of an option that takes a size."""
    size = parse_size(text)
    if not size:
        raise argparse.ArgumentTypeError(f'"{text}" is no size; write it like 512M or 4G')
    return size


def cmdline_argument(text):
    """The `type` of an option with words for the hypervisor's command line."""
    if not re.fullmatch(r"[ -~]*", text):
        what = "holds characters other than printable ASCII; remove them"
        raise argparse.ArgumentTypeError(what)
    return text


def shown(path):
    """The path as a person at the current directory would write it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def program(name, package):
    """Path of a program that the Debian package brings; sbin counts, even for common users."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if not found:
        raise Failure(f"the program {name} is missing; run scripts/setup, or install {package}")
    return found


def execute(argv, *, data=None, environment=None):
    """Runs a helper program to its end and returns its output; Failure with its own words."""
    done = subprocess.run(argv, input=data, env=environment, capture_output=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Failure(f"{Path(argv[0]).name} failed with status {done.returncode}: {words}")
    return done.stdout
