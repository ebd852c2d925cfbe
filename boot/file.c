// SPDX-License-Identifier: Apache-2.0
// Files: those that our own image brings in its sections, where it has such, else those of the
// volume that the application was started from. An image that brings its files uses no others.
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

static EFI_STATUS open_volume(struct loader *loader, const EFI_LOADED_IMAGE *image) {
    EFI_GUID volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
    EFI_FILE_IO_INTERFACE *volume = NULL;
    EFI_STATUS status =
        loader_services->HandleProtocol(image->DeviceHandle, &volume_guid, (void **)&volume);
    if (!EFI_ERROR(status))
        status = volume->OpenVolume(volume, &loader->volume);
    return status;
}

EFI_STATUS file_open(struct loader *loader) {
    EFI_GUID image_guid = LOADED_IMAGE_PROTOCOL;
    EFI_LOADED_IMAGE *image = NULL;
    struct loader_own *own = &loader->own;
    EFI_STATUS status =
        loader_services->HandleProtocol(loader->image, &image_guid, (void **)&image);
    if (!EFI_ERROR(status)) {
        own->is_there = boot_sections_find(image->ImageBase, image->ImageSize,
                                           BOOT_SECTIONS_MANIFEST, &own->manifest) &&
                        boot_sections_find(image->ImageBase, image->ImageSize, BOOT_SECTIONS_FILES,
                                           &own->files);
        status = own->is_there ? EFI_SUCCESS : open_volume(loader, image);
    }
    if (EFI_ERROR(status))
        return console_fail(status,
                            "was not started from a disk with files (error %llu): start it from "
                            "the disk that holds \\bulkhead, or take the image that brings its "
                            "files (tools/image --out NAME.efi)",
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

// New pages for the file; the rest of the last one is zero.
static EFI_STATUS make_room(const char *path, enum boot_memory_type type,
                            struct file_contents *contents) {
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
    memset((uint8_t *)contents->data + contents->size, 0, pages * BOOT_PAGE_SIZE - contents->size);
    return EFI_SUCCESS;
}

static EFI_STATUS check_crc(const char *path, const struct boot_manifest_module *module,
                            uint32_t crc) {
    if (module != NULL && crc != module->crc32)
        return console_fail(EFI_CRC_ERROR,
                            "%s is damaged (CRC 0x%08x, expected 0x%08x): " LOADER_COPY_AGAIN, path,
                            crc, module->crc32);
    return EFI_SUCCESS;
}

// ---- from the volume ----------------------------------------------------------------------------

static EFI_STATUS read_file(EFI_FILE_HANDLE file, const char *path,
                            const struct boot_manifest_module *module, enum boot_memory_type type,
                            struct file_contents *contents) {
    uint32_t crc = 0;
    EFI_STATUS status = make_room(path, type, contents);
    if (!EFI_ERROR(status))
        status = read_bytes(file, path, contents->data, contents->size, &crc);
    return EFI_ERROR(status) ? status : check_crc(path, module, crc);
}

static EFI_STATUS read_from_volume(const struct loader *loader, const char *path,
                                   const struct boot_manifest_module *module,
                                   enum boot_memory_type type, struct file_contents *contents) {
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

// ---- from our own image -------------------------------------------------------------------------

// The manifest when `module` is NULL, else that module of it. NULL: it is not all there.
static const uint8_t *find_own(const struct loader *loader,
                               const struct boot_manifest_module *module, uint64_t *size) {
    const struct loader_own *own = &loader->own;
    uint64_t offset = 0;
    *size = own->manifest.size;
    if (module == NULL)
        return own->manifest.data;
    *size = module->size;
    for (const struct boot_manifest_module *m = loader->manifest.module; m != module; m++)
        offset = boot_sections_next(offset, m->size);
    bool is_within = offset <= own->files.size && module->size <= own->files.size - offset;
    return is_within ? own->files.data + offset : NULL;
}

static EFI_STATUS read_own(const struct loader *loader, const char *path,
                           const struct boot_manifest_module *module, enum boot_memory_type type,
                           struct file_contents *contents) {
    const uint8_t *data = find_own(loader, module, &contents->size);
    if (data == NULL)
        return console_fail(EFI_VOLUME_CORRUPTED,
                            "%s is cut off in this image: make the image again", path);
    EFI_STATUS status = check_size(path, module, contents->size);
    if (!EFI_ERROR(status))
        status = make_room(path, type, contents);
    if (EFI_ERROR(status))
        return status;
    memcpy(contents->data, data, contents->size);
    return check_crc(path, module, crc32_update(0, contents->data, contents->size));
}

EFI_STATUS file_read(const struct loader *loader, const char *path,
                     const struct boot_manifest_module *module, enum boot_memory_type type,
                     struct file_contents *contents) {
    return loader->own.is_there ? read_own(loader, path, module, type, contents)
                                : read_from_volume(loader, path, module, type, contents);
}
