// SPDX-License-Identifier: Apache-2.0
// Stands in for the boot application and the hypervisor in tests of the run tool on real emulators.
//
// A UEFI application that talks on COM1 as docs/run.md says the hypervisor does. With console=batch
// in the manifest it plays one VM "demo" that powers off; without, it echoes what is typed behind a
// prompt until a line "poweroff". Then it powers the machine off.
#include <efi.h>

#define COM1        0x3f8
#define LINE_STATUS (COM1 + 5)
#define RECEIVED    0x01
#define EMPTY       0x40 // transmitter, with its shift register

#define CPUID_1_ECX_VMX      0x20
#define IA32_FEATURE_CONTROL 0x3a
#define LOCK                 0x1
#define VMXON_OUTSIDE_SMX    0x4

static UINT8 in(UINT16 port) {
    UINT8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static VOID out(UINT16 port, UINT8 value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "d"(port));
}

static VOID put(const char *text) {
    for (; *text; text++) {
        while (!(in(LINE_STATUS)&EMPTY))
            ;
        out(COM1, (UINT8)*text);
    }
}

static char get(VOID) {
    while (!(in(LINE_STATUS)&RECEIVED))
        ;
    return (char)in(COM1);
}

static BOOLEAN equal(const char *a, const char *b, UINTN length) {
    for (UINTN i = 0; i < length; i++)
        if (a[i] != b[i])
            return FALSE;
    return TRUE;
}

// Whether the compiled manifest holds the text.
static BOOLEAN manifest_holds(EFI_HANDLE self, EFI_BOOT_SERVICES *bs, const char *text,
                              UINTN length) {
    static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
    static EFI_GUID file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
    static char data[65536];
    UINTN size = sizeof(data);
    EFI_LOADED_IMAGE *image;
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *system;
    EFI_FILE_PROTOCOL *root, *file;

    if (EFI_ERROR(bs->HandleProtocol(self, &loaded_image_guid, (VOID **)&image)) ||
        EFI_ERROR(bs->HandleProtocol(image->DeviceHandle, &file_system_guid, (VOID **)&system)) ||
        EFI_ERROR(system->OpenVolume(system, &root)) ||
        EFI_ERROR(root->Open(root, &file, L"\\bulkhead\\manifest.dtb", EFI_FILE_MODE_READ, 0)) ||
        EFI_ERROR(file->Read(file, &size, data)))
        return FALSE;
    for (UINTN i = 0; i + length <= size; i++)
        if (equal(data + i, text, length))
            return TRUE;
    return FALSE;
}

// Whether the CPU has VT-x and the firmware locked it off: SDM 3C 24.6 "Discovering Support for
// VMX".
static BOOLEAN is_locked_off(VOID) {
    UINT32 low, high, features, rest = 1;
    __asm__("cpuid" : "+a"(rest), "=c"(features) : : "ebx", "edx");
    if (!(features & CPUID_1_ECX_VMX))
        return FALSE;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(IA32_FEATURE_CONTROL));
    return (low & (LOCK | VMXON_OUTSIDE_SMX)) == LOCK;
}

static VOID play_batch(VOID) {
    put("[demo] hello\r\n[demo] [bulkhead] vm demo: reset\r\n");
    put("[bulkhead] vm demo: powered off\r\n[bulkhead] all VMs ended\r\n");
}

static VOID play_shell(VOID) {
    static const char end[] = "poweroff";
    char line[64];
    UINTN length;
    do {
        put("~ # ");
        length = 0;
        for (char c = get(); c != '\r'; c = get()) {
            char echo[] = {c, 0};
            put(echo);
            if (length < sizeof(line))
                line[length++] = c;
        }
        put("\r\n");
    } while (length != sizeof(end) - 1 || !equal(line, end, length));
}

EFI_STATUS EFIAPI efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *st) {
    st->ConOut->OutputString(st->ConOut, L"bulkhead: fake boot application\r\n");
    BOOLEAN is_batch = manifest_holds(self, st->BootServices, "console=batch", 13);
    put("[bulkhead] fake hypervisor\r\n");
    if (is_locked_off())
        put("[bulkhead] halted: VT-x is locked off\r\n");
    else if (is_batch)
        play_batch();
    else
        play_shell();
    while (!(in(LINE_STATUS)&EMPTY))
        ;
    st->RuntimeServices->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
    return EFI_LOAD_ERROR;
}
