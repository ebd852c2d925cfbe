# SPDX-License-Identifier: Apache-2.0
"""tools/manifest: checks a manifest, and compiles it into a directory.

Also the options that tools/image and scripts/run share with it.
"""

from pathlib import Path

from .command import ROOT, Failure, Parser, cmdline_argument, size_argument
from .compiler import compile_manifest
from .manifest import Checks, load

STATUS = "exit status: 0 done, 2 the manifest was refused, 64 wrong command line, 69 all else"


def add_check_options(parser):
    """The options that Checks is made of, except the machine's memory."""
    parser.add_argument(
        "--no-size-checks",
        action="store_true",
        help="let sizes through that can not fit (to test the hypervisor's own refusal)",
    )
    parser.add_argument(
        "--no-name-checks",
        action="store_true",
        help="let bad and equal VM names through (to test the hypervisor's own refusal)",
    )
    parser.add_argument(
        "--test-keys",
        action="store_true",
        help="let keys through that are for tests of the hypervisor; the image says that it is one for tests",
    )


def add_compile_options(parser):
    parser.add_argument(
        "--machine-memory",
        type=size_argument,
        metavar="SIZE",
        help="memory of the machine it is for: refuse VMs that need more together",
    )
    add_check_options(parser)
    parser.add_argument(
        "--append-cmdline",
        type=cmdline_argument,
        default="",
        metavar="TEXT",
        help="append to the hypervisor's command line of the manifest",
    )
    parser.add_argument(
        "--build",
        type=Path,
        default=ROOT / "build",
        metavar="DIR",
        help="where kernel.elf, supervisor.elf, vmm.elf and boot/BOOTX64.EFI are (default: build)",
    )


def load_from(arguments):
    """The checked manifest that a command line with the options above asks for."""
    checks = Checks(
        machine_memory=arguments.machine_memory,
        sizes=not arguments.no_size_checks,
        names=not arguments.no_name_checks,
        test_keys=arguments.test_keys,
    )
    return load(arguments.manifest, checks)


def compile_from(arguments):
    """The compiled manifest that a command line with the options above asks for."""
    manifest = load_from(arguments)
    return compile_manifest(manifest, arguments.build, arguments.append_cmdline)


def main():
    parser = Parser(prog="tools/manifest", description=__doc__.split("\n")[0], epilog=STATUS)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="the TOML file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="write manifest.dtb there, and manifest.files: a line a file of the boot volume, its "
        "place, a tab, its source; without this option the manifest is only checked",
    )
    add_compile_options(parser)
    arguments = parser.parse_args()
    if arguments.output is None:
        load_from(arguments)  # the hypervisor's parts need not be built for this
        return 0
    compiled = compile_from(arguments)
    files = "".join(f"{module.target}\t{module.source}\n" for module in compiled.modules)
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "manifest.dtb").write_bytes(compiled.dtb)
        (arguments.output / "manifest.files").write_text(files, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{arguments.output} can not be written ({error.strerror})") from None
    return 0
