# SPDX-License-Identifier: Apache-2.0
"""Files for the guest tests: an initrd of known contents, and images that no VM can start."""

import gzip
import struct

from runner.job import BUILD

MIB = 1 << 20

PT_LOAD = 1
ET_EXEC = 2
EM_386, EM_X86_64 = 3, 62


def sequence(path, size):
    """The bytes that guests/tiny/initrd.c expects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes((i * 31 + (i >> 8)) & 0xFF for i in range(size)))
    return path


def elf(address=0x100000, entry=None, machine=EM_X86_64, memory_size=16):
    """An ELF64 executable of one segment, 16 bytes of HLT."""
    entry = address if entry is None else entry
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    numbers = (ET_EXEC, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head = ident + struct.pack("<HHIQQQIHHHHHH", *numbers)
    sizes = (16, memory_size, 1)
    segment = struct.pack("<IIQQQQQQ", PT_LOAD, 7, 128, address, address, *sizes)
    return (head + segment).ljust(128, b"\0") + b"\xf4" * 16


def elf32_of(path, out):
    """The same program as an ELF32 file for i386: headers in the narrow form, the bytes where they were."""
    file = path.read_bytes()
    kind, _machine, version, entry, phoff, _shoff, _flags, _ehsize, phsize, phnum = struct.unpack_from("<HHIQQQIHHH", file, 16)
    heads = b""
    for number in range(phnum):
        head = struct.unpack_from("<IIQQQQQQ", file, phoff + number * phsize)
        ptype, flags, offset, vaddr, paddr, filesz, memsz, align = head
        heads += struct.pack("<8I", ptype, offset, vaddr, paddr, filesz, memsz, flags, align)
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    head = ident + struct.pack("<HHIIIIIHHHHHH", kind, EM_386, version, entry, 52, 0, 0, 52, 32, phnum, 0, 0, 0)
    first = 64 + phnum * phsize  # the wide headers end there, the narrow ones before
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes((head + heads).ljust(first, b"\0") + file[first:])
    return out


def bad_images(folder):
    """[(VM of the manifest, regular expression of why it is refused)]"""
    hello = BUILD / "guests" / "tiny" / "hello.elf"
    linux = BUILD / "guests" / "debian" / "vmlinuz"
    bad = []

    def add(name, reason, content=None, **keys):
        kernel = hello
        if content is not None:
            kernel = folder / f"{name}.img"
            kernel.write_bytes(content)
        vm = {"name": name, "vcpus": 1, "memory": "8M", "kernel": str(kernel), **keys}
        bad.append((vm, reason))

    zeros = folder / "zeros"
    zeros.write_bytes(bytes(16 * MIB))
    add("no-kernel", ".*neither a Linux bzImage nor an ELF file.*", b"I am no kernel.\n" * 100)
    add("tiny-file", ".*neither a Linux bzImage nor an ELF file.*", b"x")
    add("zeros", ".*neither a Linux bzImage nor an ELF file.*", bytes(MIB))
    add("gzipped", "kernel 'gzipped.img' is compressed by gzip: unpack it first.*", gzip.compress(hello.read_bytes()))
    add("cut-linux", ".*is truncated.*", linux.read_bytes()[: 100 * 1024], memory="64M")
    add("cut-elf", ".*(truncated|cut).*", hello.read_bytes()[: 5 * 1024])
    add("cut-elf-head", ".*(neither|truncated|cut).*", hello.read_bytes()[:30])
    add("wrong-machine", ".*x86-64.*", elf(machine=EM_386))
    add("low-elf", ".*below 1 MiB.*", elf(address=0x8000))
    add("high-elf", ".*beyond the guest's.*", elf(address=64 * MIB))
    add("huge-elf", ".*beyond the guest's.*", elf(memory_size=(1 << 64) - 1 - 0x100000))
    add("no-entry", ".*entry point.*", elf(entry=0x700000))
    add("linux-in-8m", ".*too small for kernel.*", linux.read_bytes())
    add("big-initrd", "initrd .* does not fit.*", initrd=str(zeros))
    add("too-much-memory", ".*(memory|M).*", memory="64G")
    add("way-too-much-memory", ".*(memory|M).*", memory="8T")
    add("twin", ".*same name.*", cmdline="from the command line")
    return bad
