# SPDX-License-Identifier: Apache-2.0
"""The images: a disk, a compact disc, or one boot application that brings everything.

    build_image(compiled, boot_application, out, form)  returns the list of (place, size) written

"disk": GPT with one EFI system partition, filled by mtools. The size is the least that holds the files, in whole cylinders
of 16 heads and 63 sectors, since Bochs cuts off what goes beyond (and with it the second GPT).
"iso": the same partition as what El Torito boots, with a GPT around it, so that it also boots from a disk or USB stick.
"efi": the boot application with the manifest and all files in sections, for PXE and HTTP boot (boot/boot_sections.h).

The same files give the same bytes: all identifiers are fixed, every time stamp is EPOCH, files go in one order.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from .command import EXIT_USAGE, MIB, Failure, execute, program
from .compiler import FOLDER
from .gpt import BACKUP_SECTORS, EFI_SYSTEM_PARTITION, SECTOR, Partition, write_gpt
from .pe import append_sections

BOOT_APPLICATION = "EFI/BOOT/BOOTX64.EFI"
FORMS = {".iso": "iso", ".efi": "efi"}  # by the end of the name; any other: a disk
MANIFEST_SECTION, FILES_SECTION, FILE_ALIGN = ".bhdtb", ".bhfiles", 4096  # boot/boot_sections.h

CYLINDER = 16 * 63 * SECTOR
PARTITION_START = 1 * MIB
GPT_BACKUP = BACKUP_SECTORS * SECTOR

DISK_GUID = "B0171EAD-0001-4000-8000-000000000001"
PARTITION_GUID = "B0171EAD-0001-4000-8000-000000000002"
VOLUME_SERIAL = "B0171EAD"
VOLUME_LABEL = "BULKHEAD"
EPOCH = "1700000000"  # for all time stamps, unless SOURCE_DATE_EPOCH is set
ISO_DATE = "2023111422132000"  # the same, as xorriso wants it

# FAT16 up to FAT16_CLUSTERS, FAT32 beyond; fewer than FAT16_LEAST would make it FAT12.
FAT16_LEAST = 4200
FAT16_CLUSTERS = 65000
CLUSTER_LEAST = 4096
CLUSTER_MOST = 32768
FAT_OVERHEAD = 512 * 1024  # two FAT16 tables, boot sector and root directory, generously


def form_of(out):
    """The form of the image that the name asks for."""
    return FORMS.get(Path(out).suffix.lower(), "disk")


def build_image(compiled, boot_application, out, form="disk"):
    """Writes the image to `out`: a file, which appears whole or not at all, or a block device."""
    out = Path(out).resolve()  # a link goes on to name what it named
    boot_application = Path(boot_application)
    if not boot_application.is_file():
        raise Failure(f"{boot_application} is missing; build it first: make image-parts")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = None if is_device(out) else out.parent
        with tempfile.TemporaryDirectory(prefix=".image-", dir=folder) as work:
            write = {"disk": _write_disk, "iso": _write_iso, "efi": _write_efi}[form]
            written = write(compiled, boot_application, Path(work))
            if is_device(out):
                _copy_to_device(Path(work) / "image", out)
            else:
                os.replace(Path(work) / "image", out)
    except OSError as error:
        raise Failure(f"{out} can not be written ({error.strerror})") from None
    return written


def is_device(path):
    """Whether it is a block device; Failure where it is something else that no image can be."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Failure(f"{path} can not be written ({error.strerror})") from None
    if stat.S_ISBLK(mode) or stat.S_ISREG(mode):
        return stat.S_ISBLK(mode)
    kind = "a folder" if stat.S_ISDIR(mode) else "neither a file nor a block device"
    raise Failure(f"{path} is {kind}; name a file, or the device of a whole disk", EXIT_USAGE)


def device_size(path):
    """Bytes of a block device."""
    try:
        with open(path, "rb") as device:
            return device.seek(0, os.SEEK_END)
    except OSError as error:
        raise Failure(f"{path} can not be read ({error.strerror})") from None


def _copy_to_device(image, out):
    """O_EXCL: Linux refuses a device that is mounted or otherwise in use."""
    size, room = image.stat().st_size, device_size(out)
    if size > room:
        raise Failure(f"{out} has {room / MIB:.1f} MiB, and the image {size / MIB:.1f} MiB; take a larger one")
    with open(image, "rb") as source, open(os.open(out, os.O_WRONLY | os.O_EXCL), "wb") as device:
        shutil.copyfileobj(source, device, MIB)
        device.flush()
        os.fsync(device.fileno())


def _write_disk(compiled, boot_application, work):
    """Makes work/image."""
    loader, files = _stage(compiled, boot_application, work)
    image = work / "image"
    volume = Volume(_sizes([loader, *files]))
    with open(image, "wb") as disk:
        disk.truncate(volume.disk_size)
        partition = Partition(volume.first, volume.last, VOLUME_LABEL, PARTITION_GUID, DISK_GUID)
        write_gpt(disk, volume.disk_size // SECTOR, partition)
    _fill(image, PARTITION_START, volume, loader, files)
    return _written(loader, files)


def _write_iso(compiled, boot_application, work):
    loader, files = _stage(compiled, boot_application, work)
    partition, root = work / "partition", work / "root"
    volume = Volume(_sizes([loader, *files]))
    with open(partition, "wb") as disk:
        disk.truncate(volume.sectors * SECTOR)
    _fill(partition, 0, volume, loader, files)
    root.mkdir()
    options = ["-as", "mkisofs", "-quiet", "-V", VOLUME_LABEL, "--modification-date=" + ISO_DATE, "-r"]
    options += ["--set_all_file_dates", ISO_DATE, "--gpt_disk_guid", DISK_GUID]
    options += ["-append_partition", "2", EFI_SYSTEM_PARTITION, str(partition), "-appended_part_as_gpt"]
    options += ["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"]
    execute([program("xorriso", "xorriso"), *options, "-o", str(work / "image"), str(root)], environment=_environment())
    return _written(loader, files)


def _write_efi(compiled, boot_application, work):
    """Every file begins at a multiple of FILE_ALIGN in the section of files."""
    files = []
    for module in compiled.modules:
        data = module.source.read_bytes()
        files += [data, bytes(-len(data) % FILE_ALIGN)]
    sections = [(MANIFEST_SECTION, compiled.dtb), (FILES_SECTION, b"".join(files))]
    (work / "image").write_bytes(append_sections(boot_application.read_bytes(), sections))
    return [(BOOT_APPLICATION, boot_application.stat().st_size), ("manifest.dtb", len(compiled.dtb))] + [
        (module.name, module.size) for module in compiled.modules
    ]


def _stage(compiled, boot_application, work):
    """The boot application and the other files, as links that bear their names on the volume."""
    stage = work / "stage"
    (stage / FOLDER).mkdir(parents=True)
    manifest = stage / FOLDER / "manifest.dtb"
    manifest.write_bytes(compiled.dtb)
    loader = stage / "BOOTX64.EFI"
    loader.symlink_to(boot_application.resolve())
    files = [manifest]
    for module in compiled.modules:
        files.append(stage / module.target)
        files[-1].symlink_to(module.source.resolve())
    return loader, files


def _sizes(paths):
    return [path.stat().st_size for path in paths]


def _written(loader, files):
    places = [BOOT_APPLICATION] + [f"{FOLDER}/{path.name}" for path in files]
    return list(zip(places, _sizes([loader, *files])))


class Volume:
    """Sizes in bytes of a file system that just holds files of `sizes`, and of its disk."""

    def __init__(self, sizes):
        self.cluster = CLUSTER_LEAST
        while self.cluster < CLUSTER_MOST and self._count(sizes) > FAT16_CLUSTERS:
            self.cluster *= 2
        count = self._count(sizes)
        self.is_fat32 = count > FAT16_CLUSTERS
        overhead = FAT_OVERHEAD + (8 * count if self.is_fat32 else 0)
        need = max(count, FAT16_LEAST) * self.cluster + overhead
        cylinders = -(-(PARTITION_START + need + GPT_BACKUP) // CYLINDER)
        self.disk_size = cylinders * CYLINDER
        self.first = PARTITION_START // SECTOR
        self.last = (self.disk_size - GPT_BACKUP) // SECTOR - 1
        self.sectors = self.last - self.first + 1

    def _count(self, sizes):
        directories = 3 + len(sizes) * 4 * 32 // self.cluster  # long names take several entries
        return directories + sum(-(-size // self.cluster) for size in sizes)


def _environment():
    environment = dict(os.environ, TZ="UTC", LC_ALL="C", MTOOLSRC=os.devnull, MTOOLS_SKIP_CHECK="1")
    environment.setdefault("SOURCE_DATE_EPOCH", EPOCH)
    return environment


def _fill(image, start, volume, loader, files):
    """The file system of the volume, from byte `start` of the image on."""
    environment = _environment()
    drive = ["-i", f"{image}@@{start}"]

    def mtools(name, *arguments):
        execute([program(name, "mtools"), *drive, *arguments], environment=environment)

    kind = ["-F"] if volume.is_fat32 else []
    geometry = ["-h", "16", "-s", "63", "-H", str(volume.first), "-T", str(volume.sectors)]
    clusters = ["-c", str(volume.cluster // SECTOR)]
    mtools("mformat", *kind, *geometry, *clusters, "-N", VOLUME_SERIAL, "-v", VOLUME_LABEL, "::")
    mtools("mmd", "::/EFI", "::/EFI/BOOT", f"::/{FOLDER}")
    mtools("mcopy", str(loader), f"::/{BOOT_APPLICATION}")
    mtools("mcopy", *[str(path) for path in files], f"::/{FOLDER}")
