# SPDX-License-Identifier: Apache-2.0
"""Compiles a small UEFI application of the tests, in one source file."""

from .command import execute, program


def compile_application(source, directory):
    """Compiles `source` (C, with GNU-EFI's headers) and returns the path of the .efi file."""
    compiled = directory / (source.stem + ".o")
    linked = directory / (source.stem + ".efi")
    target = ["-target", "x86_64-unknown-windows", "-ffreestanding", "-fshort-wchar"]
    kind = ["-mno-red-zone", "-mno-stack-arg-probe", "-std=c17", "-O1", "-Wall", "-Wextra"]
    headers = ["-I/usr/include/efi", "-I/usr/include/efi/x86_64"]
    clang = [program("clang", "clang"), *target, *kind, *headers]
    execute([*clang, "-c", str(source), "-o", str(compiled)])
    link = [program("lld-link", "lld"), "-subsystem:efi_application", "-entry:efi_main"]
    execute([*link, "-nodefaultlib", f"-out:{linked}", str(compiled)])
    return linked
