# SPDX-License-Identifier: Apache-2.0
"""scripts/run: builds the image of a manifest, runs it on a machine, says how each VM ended.

This file takes the command line and prepares; session.py and terminal.py are the two ways to run.
docs/run.md is the manual, with the exit statuses.
"""

import argparse
import contextlib
import fcntl
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .command import (
    EXIT_BUILD,
    EXIT_DATA,
    EXIT_USAGE,
    GIB,
    ROOT,
    Failure,
    Parser,
    cmdline_argument,
    shown,
    size_argument,
)
from .compiler import compile_manifest
from .image import build_image
from .junit import prepare_report, report_unable
from .machine import Settings
from .manifest import Checks, Refused, load
from .manifesttool import add_check_options
from .probe import GOAL, doubt_third_level, is_doubtful
from .qemu import IOMMUS, NICS
from .session import run_batch
from .target import AUTO, MACHINES, check_settings, choose_target
from .terminal import run_terminal
from .verdict import KEY_PATTERN, KEY_WORD, Verdict, key_in, make_key

DEFAULT_TIMEOUT = 300
DEBIAN = ROOT / "build" / "guests" / "debian"  # what make debian makes
BATCH_CMDLINE = "console=batch"
STATUS = """\
exit status with --batch:
  0   every VM powered off or left with debug-exit 0
  1   a VM ended otherwise, or did not end
  2   the time was over
  3   the hypervisor itself failed
exit status without: 0 the machine ended, 2 and 3 as above, 130 ended by Ctrl-] Ctrl-]
both: 64 wrong command line, 65 the manifest was refused, 69 it could not run here: something needed is
not there, or the emulator ended at its start; 70 the build failed"""


def main():
    arguments = parse_arguments()
    if not arguments.junit:
        return run(arguments)
    prepare_report(arguments.junit)
    try:
        return run(arguments)
    except Failure as failure:
        report_unable(arguments, failure)
        raise


def run(arguments):
    settings = settings_of(arguments, Path("image"))
    target, line = choose_target(arguments.target, settings)
    check_settings(target, settings)
    if not arguments.no_build:
        build(arguments, [GOAL] if line and is_doubtful(target) else [])
    if line:
        target, line = doubt_third_level(arguments, settings, target, line)
        print(f"run: {line}", file=sys.stderr)
    try:
        manifest = load(arguments.manifest, checks_of(arguments))
    except Refused as refused:
        raise Failure(str(refused), EXIT_DATA) from None
    arguments.verdict = Verdict(choose_key(arguments, manifest))
    with work_directory(arguments.keep) as work:
        image = arguments.image or make_image(arguments, manifest, work)
        machine = MACHINES[target](settings_of(arguments, image), work)
        run_it = run_batch if arguments.batch else run_terminal
        return run_it(arguments, manifest, machine)


# Preparing


def parse_arguments():
    parser = Parser(
        prog="scripts/run",
        description="Builds the image of a manifest and runs it on an emulated machine.",
        epilog=STATUS,
    )
    add = parser.add_argument
    what = "default: auto, the best that can play the machine asked for; it says which and why"
    add("--target", choices=[AUTO, *MACHINES], help=what)
    add("--cpu", metavar="MODEL", help="CPU model, in the target's own words")
    add("--cpus", type=int, default=2, metavar="N", help="physical CPUs (default: 2)")
    what = "hardware threads in each core, of the CPUs (default: 1)"
    add("--threads", type=int, default=1, metavar="N", help=what)
    add("--memory", type=size_argument, default=GIB, metavar="SIZE", help="default: 1G")
    default = Path(shown(DEBIAN / "manifest.toml"))
    what = "default: the Debian guest"
    add("--manifest", type=Path, default=default, metavar="FILE", help=what)
    what = f"end it after S seconds (default: {DEFAULT_TIMEOUT}; at a terminal: never)"
    add("--timeout", type=float, metavar="S", help=what)
    what = "all serial output goes there (default with --batch: build/run.log)"
    add("--log", type=Path, metavar="FILE", help=what)
    add("--batch", action="store_true", help="no terminal; end when every VM has ended")
    add("--junit", type=Path, metavar="FILE", help="--batch, and a report there for CI (JUnit's XML)")
    add("--stat", action="store_true", help="tell at the end how long it took")
    what = "QEMU, KVM: a disk at NVMe, whose image this is; may be repeated"
    add("--nvme", action="append", default=[], type=Path, metavar="FILE", help=what)
    add("--nic", choices=NICS, help="QEMU, KVM: a network card, behind which QEMU's own network lies")
    add("--iommu", choices=IOMMUS, help="QEMU, KVM: an IOMMU with interrupt remapping")

    more = parser.add_argument_group("for tests and for developers")
    add = more.add_argument
    what = "a feature the CPU shall not have (vmx: no VT-x); may be repeated"
    add("--cpu-without", action="append", default=[], metavar="FEATURE", help=what)
    what = "a feature the CPU shall have (mwait: left out by default)"
    add("--cpu-with", action="append", default=[], metavar="FEATURE", help=what)
    what = "Bochs: a firmware that has locked VT-x off"
    add("--firmware-lock", action="store_true", help=what)
    what = "Bochs: instructions a second of emulated time (default: 50000000)"
    add("--ips", type=int, metavar="N", help=what)
    what = "QEMU: time counts instructions, each of 2^SHIFT ns (default: 0), so that costs repeat"
    shifts = [str(shift) for shift in range(11)]
    add("--icount", nargs="?", const="0", choices=shifts, metavar="SHIFT", help=what)
    what = "a further line of Bochs' configuration"
    add("--bochs-option", action="append", default=[], metavar="TEXT", help=what)
    what = "a further argument of QEMU, such as --qemu-option=-d"
    add("--qemu-option", action="append", default=[], metavar="TEXT", help=what)
    what = "append to the hypervisor's command line"
    add("--append-cmdline", type=cmdline_argument, default="", metavar="TEXT", help=what)
    add("--image", type=Path, metavar="FILE", help="run this image, made for --manifest before")
    what = "the key of the hypervisor's own lines (default: a random one; an --image has its own)"
    add("--verdict", type=key_argument, metavar="KEY", help=what)
    add("--no-build", action="store_true", help="do not call make")
    what = "where the hypervisor's parts are (default: build)"
    add("--build", type=Path, default=ROOT / "build", metavar="DIR", help=what)
    what = "keep the run's directory (image, emulator's log) and tell where"
    add("--keep", action="store_true", help=what)
    add_check_options(more)

    arguments = parser.parse_args()
    arguments.batch = arguments.batch or arguments.junit is not None
    if arguments.timeout is not None and not 0 < arguments.timeout < math.inf:  # nan is neither
        raise Failure("--timeout: give a number of seconds above 0", EXIT_USAGE)
    if arguments.timeout is None and (arguments.batch or not sys.stdin.isatty()):
        arguments.timeout = DEFAULT_TIMEOUT
    if arguments.log is None and arguments.batch:
        arguments.log = ROOT / "build" / "run.log"
    return arguments


def settings_of(arguments, image):
    return Settings(
        image=image.resolve(),
        cpu=arguments.cpu,
        cpus=arguments.cpus,
        threads=arguments.threads,
        memory=arguments.memory,
        without=arguments.cpu_without,
        with_=arguments.cpu_with,
        ips=arguments.ips,
        firmware_lock=arguments.firmware_lock,
        bochs_options=arguments.bochs_option,
        qemu_options=arguments.qemu_option,
        icount=arguments.icount,
        nvme=[disk.resolve() for disk in arguments.nvme],
        nic=arguments.nic,
        iommu=arguments.iommu,
    )


def checks_of(arguments):
    return Checks(
        machine_memory=arguments.memory,
        sizes=not arguments.no_size_checks,
        names=not arguments.no_name_checks,
        test_keys=arguments.test_keys,
    )


def build(arguments, more):
    """Lets make bring the parts up to date; one run at a time, since they share them."""
    goals = ["image-parts", *more]
    if arguments.manifest.resolve().is_relative_to(DEBIAN):
        goals.append("debian")
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    lock = ROOT / "build" / ".run.lock"
    lock.parent.mkdir(exist_ok=True)
    with open(lock, "wb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        argv = ["make", "-s", f"-j{os.cpu_count()}", *goals]
        done = subprocess.run(argv, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise Failure(f"the build failed: make {' '.join(goals)} tells why; correct it first", EXIT_BUILD)


@contextlib.contextmanager
def work_directory(keep):
    """A fresh directory, removed at the end."""
    work = Path(tempfile.mkdtemp(prefix="bulkhead-run-"))
    try:
        yield work
    finally:
        if keep:
            print(f"run: kept {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


def key_argument(text):
    if not KEY_PATTERN.fullmatch(text):
        what = f'"{text}" is no key; write 8 to 32 letters and digits'
        raise argparse.ArgumentTypeError(what)
    return text


def choose_key(arguments, manifest):
    """The key that stands before the hypervisor's lines; the first one on its command line counts."""
    if arguments.image:
        return arguments.verdict
    given = key_in(f"{manifest.host.cmdline} {arguments.append_cmdline}")
    if given is None:
        given = arguments.verdict or make_key()
        arguments.append_cmdline = f"{KEY_WORD}{given} {arguments.append_cmdline}".strip()
    elif not KEY_PATTERN.fullmatch(given):
        what = f"{KEY_WORD}{given} on the hypervisor's command line is no key"
        raise Failure(f"{what}; write 8 to 32 letters and digits, or leave it out", EXIT_USAGE)
    return given


def make_image(arguments, manifest, work):
    words = [BATCH_CMDLINE] if arguments.batch else []
    words += [arguments.append_cmdline] if arguments.append_cmdline else []
    compiled = compile_manifest(manifest, arguments.build, " ".join(words))
    image = work / "bulkhead.img"
    build_image(compiled, arguments.build / "boot" / "BOOTX64.EFI", image)
    return image
