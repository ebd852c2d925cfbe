// SPDX-License-Identifier: Apache-2.0
// What the machine is: the CPU features that the hand-over itself needs, its threads, the
// framebuffer and the command line.
#include <cpuid.h>

#include "boot/boot_features.h"
#include "boot/boot_machine_check.h"
#include "boot/boot_maps.h"
#include "boot/boot_svm.h"
#include "boot/boot_text.h"
#include "boot/boot_topology.h"
#include "boot/boot_vmx.h"
#include "boot/boot_words.h"
#include "boot/loader.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define CPUID_EXTENDED_FEATURES 0x80000001u
#define CPUID_EDX_NX            (1u << 20)
#define CPUID_EDX_1G_PAGES      (1u << 26)
#define CPUID_EDX_LONG_MODE     (1u << 29)
#define MSR_MICROCODE           0x8bu
#define DMAR_FLAGS              37u
#define DMAR_X2APIC_OPT_OUT     2u

static uint32_t extended_features(void) {
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx = 0;
    return __get_cpuid(CPUID_EXTENDED_FEATURES, &eax, &ebx, &ecx, &edx) ? edx : 0;
}

bool machine_has_1g_pages(void) {
    return (extended_features() & CPUID_EDX_1G_PAGES) != 0;
}

EFI_STATUS machine_check_cpu(void) {
    uint32_t features = extended_features();
    if (!(features & CPUID_EDX_LONG_MODE))
        return console_fail(EFI_UNSUPPORTED, "the CPU has no 64-bit mode: use another machine");
    if (!(features & CPUID_EDX_NX))
        return console_fail(
            EFI_UNSUPPORTED,
            "the CPU offers no NX (execute disable, XD): turn it on in the firmware");
    return EFI_SUCCESS;
}

static uint32_t pixel_format(const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode) {
    const EFI_PIXEL_BITMASK *mask = &mode->PixelInformation;
    switch (mode->PixelFormat) {
    case PixelRedGreenBlueReserved8BitPerColor:
        return BOOT_PIXEL_RGBX;
    case PixelBlueGreenRedReserved8BitPerColor:
        return BOOT_PIXEL_BGRX;
    case PixelBitMask:
        if (mask->RedMask == 0xff && mask->GreenMask == 0xff00 && mask->BlueMask == 0xff0000)
            return BOOT_PIXEL_RGBX;
        if (mask->RedMask == 0xff0000 && mask->GreenMask == 0xff00 && mask->BlueMask == 0xff)
            return BOOT_PIXEL_BGRX;
        return BOOT_PIXEL_NONE;
    default:
        return BOOT_PIXEL_NONE; // PixelBltOnly
    }
}

// Takes the current mode of one graphics output when it is memory that can be drawn into.
static bool take_framebuffer(EFI_HANDLE handle, struct boot_framebuffer *framebuffer) {
    EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *output = NULL;
    if (handle == NULL ||
        EFI_ERROR(loader_services->HandleProtocol(handle, &guid, (void **)&output)) ||
        output->Mode == NULL || output->Mode->Info == NULL)
        return false;
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = output->Mode->Info;
    uint64_t bytes = (uint64_t)mode->PixelsPerScanLine * mode->VerticalResolution * 4;
    uint32_t format = pixel_format(mode);
    if (format == BOOT_PIXEL_NONE || output->Mode->FrameBufferBase == 0 || bytes == 0 ||
        mode->PixelsPerScanLine < mode->HorizontalResolution ||
        output->Mode->FrameBufferSize < bytes)
        return false;
    *framebuffer = (struct boot_framebuffer){
        .base = output->Mode->FrameBufferBase,
        .width = mode->HorizontalResolution,
        .height = mode->VerticalResolution,
        .stride = mode->PixelsPerScanLine,
        .format = format,
    };
    return true;
}

// The output behind the console first; with several screens that one may be virtual, then any
// other.
static void find_framebuffer(struct boot_framebuffer *framebuffer) {
    EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_HANDLE *handles = NULL;
    UINTN count = 0;
    if (take_framebuffer(loader_system->ConsoleOutHandle, framebuffer))
        return;
    if (EFI_ERROR(loader_services->LocateHandleBuffer(ByProtocol, &guid, NULL, &count, &handles)))
        return;
    for (UINTN i = 0; i < count && !take_framebuffer(handles[i], framebuffer); i++) {
    }
    loader_services->FreePool(handles);
}

void machine_read_options(struct loader *loader) {
    EFI_GUID guid = LOADED_IMAGE_PROTOCOL;
    EFI_LOADED_IMAGE *image = NULL;
    if (!EFI_ERROR(loader_services->HandleProtocol(loader->image, &guid, (void **)&image)))
        boot_text_options(loader->options, sizeof(loader->options), image->LoadOptions,
                          image->LoadOptionsSize, &loader->was_shell);
}

// The manifest's command line, then what the firmware or a shell passed.
static EFI_STATUS collect_cmdline(struct loader *loader) {
    if (!boot_text_append(loader->platform.start.cmdline, START_CMDLINE_MAX,
                          loader->manifest.cmdline) ||
        !boot_text_append(loader->platform.start.cmdline, START_CMDLINE_MAX, loader->options))
        return console_fail(EFI_BAD_BUFFER_SIZE,
                            "the command line of %s and the load options together are longer than "
                            "%u bytes: shorten one",
                            LOADER_MANIFEST_PATH, START_CMDLINE_MAX - 1);
    return EFI_SUCCESS;
}

static struct boot_cpuid read_cpuid(uint32_t leaf, uint32_t subleaf) {
    struct boot_cpuid r;
    __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
    return r;
}

EFI_STATUS machine_collect(struct loader *loader) {
    loader->info.thread_bits = boot_topology_thread_bits(read_cpuid);
    loader->info.boot_apic_id = boot_topology_apic_id(read_cpuid);
    find_framebuffer(&loader->info.framebuffer);
    EFI_STATUS status = collect_cmdline(loader);
    boot_words_read(&loader->info);
    return status;
}

static uint64_t read_msr(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

// SDM 3A 10.11.7.1 "Determining the Signature": CPUID writes it behind a 0. Other vendors have
// another way, and none of the errata.
static uint32_t read_microcode(void) {
    static const char intel[] = "GenuntelineI"; // EBX, ECX, EDX
    struct boot_cpuid r = read_cpuid(0, 0);
    if (memcmp(&r.ebx, intel, sizeof(intel) - 1) != 0)
        return 0;
    __asm__ volatile("wrmsr" ::"a"(0), "d"(0), "c"(MSR_MICROCODE));
    (void)read_cpuid(1, 0);
    return (uint32_t)(read_msr(MSR_MICROCODE) >> 32);
}

// What the processor reads at each of a guest's MSR and port accesses.
static void lay_out_maps(struct boot_info *info) {
    const bool is_svm = info->features.has_svm;
    if (info->refusal[0] != '\0')
        return;
    uint64_t pages =
        memory_alloc(is_svm ? SVM_MAP_PAGES : VMX_BITMAPS, BOOT_PAGE, BOOT_MEMORY_KERNEL);
    if (pages == 0) {
        fmt_format(info->refusal, sizeof(info->refusal),
                   "too little memory for the maps of MSRs and ports: give the machine more");
    } else if (is_svm) {
        info->svm.maps = pages;
        boot_maps_fill_svm((void *)(uintptr_t)pages, &info->svm);
    } else {
        info->vmx.msr_bitmaps = pages;
        boot_maps_fill_vmx((void *)(uintptr_t)pages, &info->vmx, info->features.has_la57);
    }
}

void machine_read_features(struct loader *loader) {
    struct boot_info *info = &loader->info;
    const uint8_t *dmar = (const uint8_t *)(uintptr_t)info->platform->dmar.base;
    const struct boot_processor cpu = {
        .cpuid = read_cpuid, .rdmsr = read_msr, .microcode = read_microcode()};
    bool is_refused =
        info->platform->dmar.size > DMAR_FLAGS && (dmar[DMAR_FLAGS] & DMAR_X2APIC_OPT_OUT) != 0;
    boot_features_read(&cpu, is_refused, info);
    boot_machine_check_read(&cpu, info);
    boot_features_limit_cpus(info, loader->acpi.cpus_left);
    boot_mitigation_read(&cpu, info);
    boot_vmx_read(&cpu, info);
    boot_svm_read(&cpu, info);
    lay_out_maps(info);
    boot_features_report(&cpu, info);
    boot_vmx_report(info);
    boot_svm_report(info);
}
