// SPDX-License-Identifier: Apache-2.0
// A firmware that locks VT-x off, played by a UEFI application: `scripts/run --firmware-lock` starts
// it in place of the boot application, which it then starts itself.
//
// It sets the lock bit of IA32_FEATURE_CONTROL on every processor and leaves the bits that permit
// VMXON clear: SDM 3C 24.7 "Enabling and Entering VMX Operation".
#include <efi.h>

#define IA32_FEATURE_CONTROL      0x3a
#define IA32_FEATURE_CONTROL_LOCK 0x1

#define BOOT_APPLICATION L"\\bulkhead\\BOOTX64.EFI"

// UEFI Platform Initialization, volume 2, 13.4 "MP Services Protocol"; GNU-EFI has no header for it.
static EFI_GUID mp_services_guid = {
    0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};

typedef VOID(EFIAPI *mp_procedure)(VOID *argument);

struct mp_services {
    VOID *get_number_of_processors;
    VOID *get_processor_info;
    EFI_STATUS(EFIAPI *startup_all_aps)
    (struct mp_services *self, mp_procedure procedure, BOOLEAN one_by_one, EFI_EVENT wait,
     UINTN timeout_us, VOID *argument, UINTN **failed);
};

static VOID EFIAPI lock(VOID *argument)
{
    (void)argument;
    UINT32 low = IA32_FEATURE_CONTROL_LOCK;
    __asm__ volatile("wrmsr" : : "c"(IA32_FEATURE_CONTROL), "a"(low), "d"(0));
}

static VOID lock_others(EFI_BOOT_SERVICES *bs)
{
    struct mp_services *mp;
    if (!EFI_ERROR(bs->LocateProtocol(&mp_services_guid, NULL, (VOID **)&mp)))
        mp->startup_all_aps(mp, lock, FALSE, NULL, 0, NULL, NULL);
}

static UINTN path_length(EFI_DEVICE_PATH *path)
{
    UINTN length = 0;
    while (!IsDevicePathEnd(path)) {
        length += DevicePathNodeLength(path);
        path = NextDevicePathNode(path);
    }
    return length;
}

// The path of the volume we came from, followed by that of the boot application.
static VOID make_path(EFI_DEVICE_PATH *volume, UINT8 *path)
{
    static const CHAR16 name[] = BOOT_APPLICATION;
    UINTN length = path_length(volume), i;
    for (i = 0; i < length; i++)
        path[i] = ((UINT8 *)volume)[i];
    FILEPATH_DEVICE_PATH *file = (FILEPATH_DEVICE_PATH *)(path + length);
    file->Header.Type = MEDIA_DEVICE_PATH;
    file->Header.SubType = MEDIA_FILEPATH_DP;
    SetDevicePathNodeLength(&file->Header, SIZE_OF_FILEPATH_DEVICE_PATH + sizeof(name));
    for (i = 0; i < sizeof(name) / sizeof(name[0]); i++)
        file->PathName[i] = name[i];
    EFI_DEVICE_PATH *end = NextDevicePathNode(&file->Header);
    SetDevicePathEndNode(end);
}

EFI_STATUS EFIAPI efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *st)
{
    static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
    static EFI_GUID device_path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
    static UINT8 path[1024];
    EFI_BOOT_SERVICES *bs = st->BootServices;
    EFI_LOADED_IMAGE *image;
    EFI_DEVICE_PATH *volume;
    EFI_HANDLE next;

    lock(NULL);
    lock_others(bs);
    st->ConOut->OutputString(st->ConOut, L"firmware-lock: VT-x is locked off\r\n");

    EFI_STATUS status = bs->HandleProtocol(self, &loaded_image_guid, (VOID **)&image);
    if (!EFI_ERROR(status))
        status = bs->HandleProtocol(image->DeviceHandle, &device_path_guid, (VOID **)&volume);
    if (EFI_ERROR(status) || path_length(volume) > sizeof(path) / 2)
        return EFI_LOAD_ERROR;
    make_path(volume, path);
    status = bs->LoadImage(FALSE, self, (EFI_DEVICE_PATH *)path, NULL, 0, &next);
    return EFI_ERROR(status) ? status : bs->StartImage(next, NULL, NULL);
}
