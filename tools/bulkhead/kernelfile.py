# SPDX-License-Identifier: Apache-2.0
"""What a kernel's file gives away before it is run: compressed ones start nowhere.

    compression(path)       (name, program that unpacks it), or None
"""

# The same list as in vmm/load/load.c, which refuses such a kernel when it comes another way.
COMPRESSIONS = (
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4"),
    (b"\x02\x21\x4c\x18", "lz4", "unlz4"),
    (b"\x89LZO", "lzop", "lzop -d"),
    (b"\x5d\0\0", "lzma", "unlzma"),
)


def compression(path):
    try:
        with open(path, "rb") as file:
            head = file.read(max(len(magic) for magic, _name, _program in COMPRESSIONS))
    except OSError:
        return None  # whoever needs the file says so
    return next(
        ((name, program) for magic, name, program in COMPRESSIONS if head.startswith(magic)), None
    )
