// SPDX-License-Identifier: Apache-2.0
// Files of the volume that the application was started from.
//
// A file is read straight to where it will stay, in pieces, with the CRC over each piece while it
// is still in the cache.
#include "boot/boot_map.h"
#include "boot/loader.h"
#include "lib/crc32.h"
#include "lib/string.h"

#define PIECE_SIZE (1ull << 20)
#define LARGE_PAGE (1ull << 21)
#define SEEK_END   UINT64_MAX // UEFI 2.10 13.5 "File Protocol", SetPosition()

EFI_STATUS file_open_volume(struct loader *loader) {
    EFI_GUID image_guid = LOADED_IMAGE_PROTOCOL;
    EFI_GUID volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
    EFI_LOADED_IMAGE *image = NULL;
    EFI_FILE_IO_INTERFACE *volume = NULL;
    EFI_STATUS status =
        loader_services->HandleProtocol(loader->image, &image_guid, (void **)&image);
    if (!EFI_ERROR(status))
        status =
            loader_services->HandleProtocol(image->DeviceHandle, &volume_guid, (void **)&volume);
    if (!EFI_ERROR(status))
        status = volume->OpenVolume(volume, &loader->volume);
    if (EFI_ERROR(status))
        return console_fail(status,
                            "was not started from a disk with files (error %llu): start "
                            "it from the disk that holds \\bulkhead",
                            status & ~EFI_ERROR_MASK);
    return EFI_SUCCESS;
}

void file_close_volume(struct loader *loader) {
    if (loader->volume != NULL)
        loader->volume->Close(loader->volume);
    loader->volume = NULL;
}

// Opens a file and finds its size. `path` is ASCII of at most BOOT_MANIFEST_PATH_MAX.
static EFI_STATUS open_file(const struct loader *loader, const char *path, EFI_FILE_HANDLE *file,
                            uint64_t *size) {
    CHAR16 wide[BOOT_MANIFEST_PATH_MAX + 1];
    uint32_t length = 0;
    for (; path[length] != '\0' && length < BOOT_MANIFEST_PATH_MAX; length++)
        wide[length] = (CHAR16)(uint8_t)path[length];
    wide[length] = 0;
    EFI_STATUS status = loader->volume->Open(loader->volume, file, wide, EFI_FILE_MODE_READ, 0);
    if (status == EFI_NOT_FOUND)
        return console_fail(status, "%s is missing: " LOADER_COPY_AGAIN, path);
    if (EFI_ERROR(status))
        return console_fail(status, "%s can not be opened (error %llu): check the disk", path,
                            status & ~EFI_ERROR_MASK);
    status = (*file)->SetPosition(*file, SEEK_END); // a directory refuses this
    if (!EFI_ERROR(status))
        status = (*file)->GetPosition(*file, size);
    if (!EFI_ERROR(status))
        status = (*file)->SetPosition(*file, 0);
    if (EFI_ERROR(status)) {
        (*file)->Close(*file);
        return console_fail(status, "%s is no plain file: " LOADER_COPY_AGAIN, path);
    }
    return EFI_SUCCESS;
}

static EFI_STATUS check_size(const char *path, const struct boot_manifest_module *module,
                             uint64_t size) {
    if (module != NULL && size != module->size)
        return console_fail(EFI_VOLUME_CORRUPTED,
                            "%s is damaged (%llu bytes, expected %llu): " LOADER_COPY_AGAIN, path,
                            size, module->size);
    if (module == NULL && size > FILE_SIZE_MAX)
        return console_fail(EFI_VOLUME_CORRUPTED,
                            "%s is too large (%llu bytes): " LOADER_COPY_AGAIN, path, size);
    return EFI_SUCCESS;
}

// Reads `size` bytes and their CRC.
static EFI_STATUS read_bytes(EFI_FILE_HANDLE file, const char *path, uint8_t *data, uint64_t size,
                             uint32_t *crc) {
    for (uint64_t done = 0; done < size;) {
        UINTN piece = size - done < PIECE_SIZE ? size - done : PIECE_SIZE;
        EFI_STATUS status = file->Read(file, &piece, data + done);
        if (!EFI_ERROR(status) && piece == 0)
            status = EFI_END_OF_FILE;
        if (EFI_ERROR(status))
            return console_fail(status,
                                "%s can not be read at byte %llu (error %llu): check the disk",
                                path, done, status & ~EFI_ERROR_MASK);
        *crc = crc32_update(*crc, data + done, piece);
        done += piece;
    }
    return EFI_SUCCESS;
}

static EFI_STATUS read_file(EFI_FILE_HANDLE file, const char *path,
                            const struct boot_manifest_module *module, enum boot_memory_type type,
                            struct file_contents *contents) {
    uint32_t crc = 0;
    uint64_t pages = contents->size / BOOT_PAGE_SIZE + (contents->size % BOOT_PAGE_SIZE != 0);
    if (pages == 0)
        pages = 1; // an empty module has an address as well
    // A large one begins where large pages can map it.
    uint64_t align = contents->size >= LARGE_PAGE ? LARGE_PAGE : BOOT_PAGE_SIZE;
    uint64_t base = memory_alloc(pages, align, type);
    if (base == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory for %s (%llu KiB): give the machine more, or take "
                            "modules out of the manifest",
                            path, contents->size / 1024);
    contents->data = (void *)(uintptr_t)base;
    uint8_t *data = contents->data;
    EFI_STATUS status = read_bytes(file, path, data, contents->size, &crc);
    if (EFI_ERROR(status))
        return status;
    memset(data + contents->size, 0, pages * BOOT_PAGE_SIZE - contents->size);
    if (module != NULL && crc != module->crc32)
        return console_fail(EFI_CRC_ERROR,
                            "%s is damaged (CRC 0x%08x, expected 0x%08x): " LOADER_COPY_AGAIN, path,
                            crc, module->crc32);
    return EFI_SUCCESS;
}

EFI_STATUS file_read(const struct loader *loader, const char *path,
                     const struct boot_manifest_module *module, enum boot_memory_type type,
                     struct file_contents *contents) {
    EFI_FILE_HANDLE file = NULL;
    EFI_STATUS status = open_file(loader, path, &file, &contents->size);
    if (EFI_ERROR(status))
        return status;
    status = check_size(path, module, contents->size);
    if (!EFI_ERROR(status))
        status = read_file(file, path, module, type, contents);
    file->Close(file);
    return status;
}
