# SPDX-License-Identifier: Apache-2.0
"""tools/image: makes the disk image of a manifest, reproducibly.

The image boots from a disk or, copied to it with dd, from a USB stick.
"""

from pathlib import Path

from .command import MIB, Parser
from .image import build_image
from .manifesttool import STATUS, add_compile_options, compile_from


def main():
    parser = Parser(prog="tools/image", description=__doc__, epilog=STATUS)
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="the TOML file"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="IMAGE", help="what to write")
    parser.add_argument("--quiet", action="store_true", help="do not tell what was written")
    add_compile_options(parser)
    arguments = parser.parse_args()
    compiled = compile_from(arguments)
    written = build_image(compiled, arguments.build / "boot" / "BOOTX64.EFI", arguments.out)
    if not arguments.quiet:
        for place, size in written:
            print(f"{size:>12,}  {place}")
        print(f"{arguments.out}: {arguments.out.stat().st_size / MIB:.1f} MiB")
    return 0
