# SPDX-License-Identifier: Apache-2.0
"""tools/image: makes the image of a manifest, reproducibly.

It boots from a disk or from a USB stick: name the stick's device, or copy the file to it with dd. Called NAME.iso it
is one for a compact disc (and a USB stick), called NAME.efi a single file for PXE and HTTP boot.
"""

import sys
from pathlib import Path

from .command import EXIT_USAGE, MIB, Failure, Parser
from .image import build_image, device_size, form_of, is_device
from .manifesttool import STATUS, add_compile_options, compile_from


def main():
    parser = Parser(prog="tools/image", description=__doc__, epilog=STATUS)
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="the TOML file"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="IMAGE", help="what to write")
    what = "do not ask before a block device is written over"
    parser.add_argument("--yes", action="store_true", help=what)
    parser.add_argument("--quiet", action="store_true", help="do not tell what was written")
    add_compile_options(parser)
    arguments = parser.parse_args()
    if is_device(arguments.out) and not arguments.yes:
        ask(arguments.out)
    compiled = compile_from(arguments)
    application = arguments.build / "boot" / "BOOTX64.EFI"
    form = "disk" if is_device(arguments.out) else form_of(arguments.out)
    written = build_image(compiled, application, arguments.out, form)
    if not arguments.quiet:
        for place, size in written:
            print(f"{size:>12,}  {place}")
        if is_device(arguments.out):
            print(f"{arguments.out}: written")
        else:
            print(f"{arguments.out}: {arguments.out.stat().st_size / MIB:.1f} MiB")
    return 0


def ask(device):
    """Failure unless a person at the terminal wants all that is on it written over."""
    what = f"{device} is a disk of {device_size(device) / MIB:.1f} MiB"
    if not sys.stdin.isatty():
        raise Failure(f"{what}; to write over what is on it, say --yes", EXIT_USAGE)
    try:
        answer = input(f"{what}. Write over all that is on it? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Failure("nothing was written", EXIT_USAGE)
