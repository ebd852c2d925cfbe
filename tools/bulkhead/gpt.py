# SPDX-License-Identifier: Apache-2.0
"""Writes a GUID partition table with one partition.

UEFI 2.10, 5 "GUID Partition Table (GPT) Disk Layout".

    write_gpt(disk, sectors, partition)     disk: a file opened for update

By hand, since sgdisk syncs all disks of the host and then sleeps a second, at every image. The
tests let it verify what is written here.
"""

import struct
import uuid
import zlib
from dataclasses import dataclass

SECTOR = 512
HEADER_SIZE = 92
ENTRY_COUNT = 128
ENTRY_SIZE = 128
TABLE_SECTORS = ENTRY_COUNT * ENTRY_SIZE // SECTOR
BACKUP_SECTORS = TABLE_SECTORS + 1  # at the disk's end
FIRST_USABLE = 2 + TABLE_SECTORS

EFI_SYSTEM_PARTITION = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
MBR_PROTECTIVE = 0xEE
MBR_SECTORS_MOST = 0xFFFFFFFF


@dataclass
class Partition:
    first: int  # sector
    last: int  # sector, inclusive
    name: str
    guid: str
    disk_guid: str
    kind: str = EFI_SYSTEM_PARTITION


def write_gpt(disk, sectors, partition):
    table = _table(partition)
    last = sectors - 1
    primary = _header(partition, sectors, table, own=1, other=last, table_at=2)
    backup = _header(partition, sectors, table, own=last, other=1, table_at=last - TABLE_SECTORS)
    for sector, data in (
        (0, _protective_mbr(sectors)),
        (1, primary),
        (2, table),
        (last - TABLE_SECTORS, table),
        (last, backup),
    ):
        disk.seek(sector * SECTOR)
        disk.write(data)


def _table(partition):
    kind, guid = _guid(partition.kind), _guid(partition.guid)
    name = partition.name.encode("utf-16-le")
    entry = struct.pack("<16s16sQQQ72s", kind, guid, partition.first, partition.last, 0, name)
    return entry.ljust(ENTRY_COUNT * ENTRY_SIZE, b"\0")


def _header(partition, sectors, table, own, other, table_at):
    revision, crc_of_header = 0x00010000, 0
    last_usable = sectors - 1 - BACKUP_SECTORS
    head = struct.pack("<8sIIII", b"EFI PART", revision, HEADER_SIZE, crc_of_header, 0)
    guid = _guid(partition.disk_guid)
    tail = struct.pack("<QQQQ16s", own, other, FIRST_USABLE, last_usable, guid)
    tail += struct.pack("<QIII", table_at, ENTRY_COUNT, ENTRY_SIZE, zlib.crc32(table))
    crc = struct.pack("<I", zlib.crc32(head + tail))
    return (head[:16] + crc + head[20:] + tail).ljust(SECTOR, b"\0")


def _protective_mbr(sectors):
    """One partition over the whole disk, for those who do not know GPT."""
    first_chs, last_chs = b"\x00\x02\x00", b"\xff\xff\xff"
    size = min(sectors - 1, MBR_SECTORS_MOST)
    entry = struct.pack("<B3sB3sII", 0, first_chs, MBR_PROTECTIVE, last_chs, 1, size)
    return b"\0" * 446 + entry + b"\0" * 48 + b"\x55\xaa"


def _guid(text):
    return uuid.UUID(text).bytes_le
