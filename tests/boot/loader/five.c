// SPDX-License-Identifier: Apache-2.0
// A firmware in 5-level paging: puts a level above the firmware's page tables, then starts the boot
// application \EFI\bulkhead.efi of the same volume. CR4.LA57 changes only outside long mode, so the
// way leads through 32-bit code without paging, below 4 GiB.
#include <efi.h>
#include <stdint.h>

#define FILE_MAX (1u << 20)
#define LEVEL    3u // present, writable

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

#define LOW_PAGES 2u // the code with what it needs, the new root

// One page at most, copied to the first of the low pages. Halves of registers that 32-bit mode may
// lose are on the stack. RCX: the page's address.
extern const uint8_t five_code[], five_end[], five_gdt[], five_own_gdtr[], five_to_32[], five_32[],
    five_64[], five_back[], five_last[], five_jump[];
__asm__(".text\n"
        "five_code:\n"
        "push %rbx; push %rbp; push %rsi; push %rdi\n"
        "push %r12; push %r13; push %r14; push %r15; pushfq\n"
        "cli\n"
        "mov %rsp, five_stack(%rip)\n"
        "sgdt five_gdtr(%rip)\n"
        "lgdt five_own_gdtr(%rip)\n"
        "mov %cr0, %rax\n"
        "mov %cr4, %rdx\n"
        "or $0x1000, %edx\n"
        "add $0x1000, %ecx\n"
        "ljmpl *five_to_32(%rip)\n"
        ".code32\n"
        "five_32:\n"
        "btr $31, %eax\n"
        "mov %eax, %cr0\n"
        "mov %edx, %cr4\n"
        "mov %ecx, %cr3\n"
        "bts $31, %eax\n"
        "mov %eax, %cr0\n"
        ".byte 0xea\n" // a far jump
        "five_jump: .long 0; .word 16\n"
        ".code64\n"
        "five_64:\n"
        "lgdt five_gdtr(%rip)\n"
        "ljmpl *five_back(%rip)\n"
        "five_last:\n"
        "mov five_stack(%rip), %rsp\n"
        "popfq; pop %r15; pop %r14; pop %r13; pop %r12\n"
        "pop %rdi; pop %rsi; pop %rbp; pop %rbx\n"
        "ret\n"
        ".balign 8\n"
        "five_gdt: .quad 0, 0x00cf9b000000ffff, 0x00af9b000000ffff\n" // 32-bit, 64-bit code
        "five_stack: .quad 0\n"
        "five_gdtr: .skip 16\n" // the firmware's
        "five_own_gdtr: .word 23; .quad 0\n"
        "five_to_32: .long 0; .word 8\n"
        "five_back: .long 0; .word 0\n"
        "five_end:\n");

// Writes `value` at a label of the copy.
static void fill(uint64_t page, const uint8_t *label, uint32_t value) {
    *(volatile uint32_t *)(uintptr_t)(page + (uint64_t)(label - five_code)) = value;
}

static uint32_t copied(uint64_t page, const uint8_t *label) {
    return (uint32_t)(page + (uint64_t)(label - five_code));
}

static void go_up(uint64_t page) {
    uint64_t *root = (uint64_t *)(uintptr_t)(page + 4096);
    uint64_t cr3;
    uint16_t selector;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    __asm__ volatile("mov %%cs, %0" : "=r"(selector));
    for (uint32_t i = 0; i < 512; i++)
        root[i] = 0;
    root[0] = (cr3 & ~0xfffull) | LEVEL;
    for (uint32_t i = 0; i < (uint32_t)(five_end - five_code); i++)
        ((volatile uint8_t *)(uintptr_t)page)[i] = five_code[i];
    fill(page, five_own_gdtr + 2, copied(page, five_gdt));
    fill(page, five_to_32, copied(page, five_32));
    fill(page, five_jump, copied(page, five_64));
    fill(page, five_back, copied(page, five_last));
    fill(page, five_back + 4, selector);
    ((void (*)(uint64_t))(uintptr_t)page)(page);
}

static UINTN read_file(EFI_FILE_HANDLE root, CHAR16 *name, void *to, UINTN size) {
    EFI_FILE_HANDLE file;
    if (EFI_ERROR(root->Open(root, &file, name, EFI_FILE_MODE_READ, 0)) ||
        EFI_ERROR(file->Read(file, &size, to)))
        return 0;
    return size;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    EFI_BOOT_SERVICES *services = system->BootServices;
    EFI_GUID loaded_guid = LOADED_IMAGE_PROTOCOL, path_guid = DEVICE_PATH_PROTOCOL;
    EFI_GUID volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
    EFI_LOADED_IMAGE *self;
    EFI_FILE_IO_INTERFACE *volume;
    EFI_FILE_HANDLE folder;
    EFI_DEVICE_PATH *path;
    EFI_HANDLE child = NULL;
    EFI_PHYSICAL_ADDRESS low = UINT32_MAX;
    void *file;
    if (EFI_ERROR(services->HandleProtocol(image, &loaded_guid, (void **)&self)) ||
        EFI_ERROR(services->HandleProtocol(self->DeviceHandle, &path_guid, (void **)&path)) ||
        EFI_ERROR(services->HandleProtocol(self->DeviceHandle, &volume_guid, (void **)&volume)) ||
        EFI_ERROR(volume->OpenVolume(volume, &folder)) ||
        EFI_ERROR(services->AllocatePages(AllocateMaxAddress, EfiLoaderCode, LOW_PAGES, &low)) ||
        EFI_ERROR(services->AllocatePool(EfiLoaderData, FILE_MAX, &file)))
        return EFI_DEVICE_ERROR;
    UINTN size = read_file(folder, u"\\EFI\\bulkhead.efi", file, FILE_MAX);
    if (EFI_ERROR(services->LoadImage(FALSE, image, path, file, size, &child)))
        return EFI_LOAD_ERROR;
    go_up(low);
    system->ConOut->OutputString(system->ConOut, u"five: 5 levels\r\n");
    return services->StartImage(child, NULL, NULL);
}
