// SPDX-License-Identifier: Apache-2.0
// A firmware that leaves a device writing: has the machine's e1000e receive into a ring of its own,
// then starts the boot application \EFI\bulkhead.efi of the same volume, with the ring's address as
// the option noise=ADDRESS (16 hexadecimal digits), and with the text of \EFI\options behind it.
#include <efi.h>
#include <stdbool.h>
#include <stdint.h>

#define NIC_ID     0x10d38086u
#define RING_COUNT 4096u
#define PAGES      17u // the ring, and one buffer that every descriptor names
#define RING_SIZE  (RING_COUNT * 16u)
#define FILE_MAX   (1u << 20)
#define TEXT_MAX   128u

enum nic_register {
    NIC_CTRL = 0x0,
    NIC_IMC = 0xd8,
    NIC_RCTL = 0x100,
    NIC_RDBAL = 0x2800,
    NIC_RDBAH = 0x2804,
    NIC_RDLEN = 0x2808,
    NIC_RDH = 0x2810,
    NIC_RDT = 0x2818,
};
#define CTRL_LINK    0x40u
#define RCTL_RECEIVE 0x801au // on, all addresses, broadcasts, buffers of 2 KiB

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

static uint32_t config(uint32_t device, uint32_t offset, uint32_t *write) {
    uint32_t value;
    __asm__ volatile("outl %0, %1" ::"a"(0x80000000u | device << 11 | offset),
                     "Nd"((uint16_t)0xcf8));
    if (write != NULL)
        __asm__ volatile("outl %0, %1" ::"a"(*write), "Nd"((uint16_t)0xcfc));
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"((uint16_t)0xcfc));
    return value;
}

static bool start_nic(uint64_t ring) {
    uint32_t device = 0;
    while (device < 32 && config(device, 0, NULL) != NIC_ID)
        device++;
    if (device == 32)
        return false;
    uint32_t command = (config(device, 4, NULL) & 0xffff) | 6;
    config(device, 4, &command);
    volatile uint8_t *base = (volatile uint8_t *)(uintptr_t)(config(device, 0x10, NULL) & ~15u);
    const struct {
        uint32_t offset, value;
    } writes[] = {
        {NIC_IMC, UINT32_MAX}, {NIC_RDBAL, (uint32_t)ring},
        {NIC_RDBAH, 0},        {NIC_RDLEN, RING_SIZE},
        {NIC_RDH, 0},          {NIC_RDT, RING_COUNT - 1},
        {NIC_CTRL, CTRL_LINK}, {NIC_RCTL, RCTL_RECEIVE},
    };
    for (uint32_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        *(volatile uint32_t *)(base + writes[i].offset) = writes[i].value;
    return true;
}

static UINTN read_file(EFI_FILE_HANDLE root, CHAR16 *name, void *to, UINTN size) {
    EFI_FILE_HANDLE file;
    if (EFI_ERROR(root->Open(root, &file, name, EFI_FILE_MODE_READ, 0)) ||
        EFI_ERROR(file->Read(file, &size, to)))
        return 0;
    return size;
}

static UINTN make_options(CHAR16 *options, uint64_t ring, const char *text, UINTN size) {
    static const char name[] = "noise=";
    UINTN length = 0;
    for (const char *c = name; *c != '\0'; c++)
        options[length++] = (CHAR16)*c;
    for (int shift = 60; shift >= 0; shift -= 4)
        options[length++] = (CHAR16) "0123456789abcdef"[ring >> shift & 15];
    options[length++] = ' ';
    for (UINTN i = 0; i < size; i++)
        options[length++] = (CHAR16)text[i];
    options[length++] = 0;
    return length * sizeof(*options);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    static CHAR16 options[TEXT_MAX + 32];
    static char text[TEXT_MAX];
    EFI_BOOT_SERVICES *services = system->BootServices;
    EFI_GUID loaded_guid = LOADED_IMAGE_PROTOCOL, path_guid = DEVICE_PATH_PROTOCOL;
    EFI_GUID volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
    EFI_LOADED_IMAGE *self, *next;
    EFI_FILE_IO_INTERFACE *volume;
    EFI_FILE_HANDLE root;
    EFI_DEVICE_PATH *path;
    EFI_HANDLE child = NULL;
    EFI_PHYSICAL_ADDRESS ring = UINT32_MAX;
    void *file;
    if (EFI_ERROR(services->HandleProtocol(image, &loaded_guid, (void **)&self)) ||
        EFI_ERROR(services->HandleProtocol(self->DeviceHandle, &path_guid, (void **)&path)) ||
        EFI_ERROR(services->HandleProtocol(self->DeviceHandle, &volume_guid, (void **)&volume)) ||
        EFI_ERROR(volume->OpenVolume(volume, &root)) ||
        EFI_ERROR(services->AllocatePages(AllocateMaxAddress, EfiLoaderData, PAGES, &ring)) ||
        EFI_ERROR(services->AllocatePool(EfiLoaderData, FILE_MAX, &file)))
        return EFI_DEVICE_ERROR;
    UINTN size = read_file(root, u"\\EFI\\bulkhead.efi", file, FILE_MAX);
    UINTN text_size = read_file(root, u"\\EFI\\options", text, TEXT_MAX);
    uint64_t *descriptors = (uint64_t *)(uintptr_t)ring;
    for (uint32_t i = 0; i < RING_COUNT; i++) {
        descriptors[2 * i] = ring + RING_SIZE;
        descriptors[2 * i + 1] = 0;
    }
    if (EFI_ERROR(services->LoadImage(FALSE, image, path, file, size, &child)) ||
        EFI_ERROR(services->HandleProtocol(child, &loaded_guid, (void **)&next)) ||
        !start_nic(ring))
        return EFI_LOAD_ERROR;
    next->LoadOptions = options;
    next->LoadOptionsSize = (UINT32)make_options(options, ring, text, text_size);
    return services->StartImage(child, NULL, NULL);
}
