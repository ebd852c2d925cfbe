# SPDX-License-Identifier: Apache-2.0
"""Appends sections to a PE image, such as the boot application. PE Format (Microsoft), "Section Table".

    append_sections(image, [(".name", data), ...])      bytes of the new image

By hand: objcopy would have to be told each address, which takes as many lines.
"""

import struct

from .command import Failure

PE_AT = 0x3C  # where the offset of the PE header stands
SECTION = struct.Struct("<8sIIIIIIHHI")
READ_ONLY_DATA = 0x40000040  # initialised, readable
LENGTH_MAX = (1 << 32) - 1


def append_sections(image, sections):
    """The image with these sections behind its own, each from a whole page on."""
    image = bytearray(image)
    at = struct.unpack_from("<I", image, PE_AT)[0]
    count, optional_size = struct.unpack_from("<H", image, at + 6)[0], struct.unpack_from("<H", image, at + 20)[0]
    optional = at + 24
    alignment = struct.unpack_from("<I", image, optional + 32)[0]
    size_of_image, size_of_headers = struct.unpack_from("<II", image, optional + 56)
    table = optional + optional_size + count * SECTION.size
    if table + len(sections) * SECTION.size > size_of_headers:
        raise Failure("the boot application has no room for more sections; build it again")
    for name, data in sections:
        image += bytes(-len(image) % alignment)
        if len(image) + len(data) > LENGTH_MAX or size_of_image + len(data) > LENGTH_MAX:
            raise Failure("the files are too large for one image: 4 GiB is the most; take a disk image")
        padded = len(data) + -len(data) % alignment
        SECTION.pack_into(image, table, name.encode("ascii"), len(data), size_of_image, padded, len(image),
                          0, 0, 0, 0, READ_ONLY_DATA)
        image += data + bytes(padded - len(data))
        size_of_image += padded
        table += SECTION.size
    struct.pack_into("<H", image, at + 6, count + len(sections))
    struct.pack_into("<I", image, optional + 56, size_of_image)
    return bytes(image)
