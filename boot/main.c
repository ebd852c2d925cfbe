// SPDX-License-Identifier: Apache-2.0
// The boot application of Bulkhead: EFI/BOOT/BOOTX64.EFI. It reads the compiled manifest and the
// modules that it names from its own image or volume, and hands the machine over to the kernel as
// include/boot.h says.
//
// Reading order: this file, then its steps in call order: crash.c, machine.c, tables.c, clock.c,
// file.c, modules.c, kernel.c, supervisor.c, leave.c, quiesce.c, apic.c, levels.c. boot_*.c is
// logic without UEFI calls, which the tests run on the host.
#include "boot/loader.h"

EFI_SYSTEM_TABLE *loader_system;
EFI_BOOT_SERVICES *loader_services;

static struct loader loader;

// Every step up to the point of no return.
static EFI_STATUS run(void) {
    EFI_STATUS status = machine_check_cpu();
    if (!EFI_ERROR(status))
        status = tables_read(&loader);
    if (!EFI_ERROR(status)) {
        clock_begin(&loader);
        status = file_open(&loader);
    }
    if (!EFI_ERROR(status))
        status = modules_read_manifest(&loader);
    if (!EFI_ERROR(status))
        status = machine_collect(&loader);
    if (!EFI_ERROR(status))
        status = kernel_load(&loader);
    if (!EFI_ERROR(status))
        status = supervisor_load(&loader);
    if (!EFI_ERROR(status))
        status = modules_load(&loader);
    if (!EFI_ERROR(status))
        status = modules_add_nodes(&loader);
    if (!EFI_ERROR(status))
        status = clock_end(&loader);
    if (!EFI_ERROR(status)) {
        machine_read_features(&loader);
        status = leave_to_kernel(&loader);
    }
    return status;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    loader_system = system;
    loader_services = system->BootServices;
    loader = (struct loader){.image = image};
    loader.info.platform = &loader.platform;
    loader.info.magic = BOOT_MAGIC;
    loader.info.version = BOOT_VERSION;
    loader.info.size = sizeof(loader.info);
    loader.info.platform->entry_tsc = __builtin_ia32_rdtsc();
    // Reading large modules from slow disks may take longer than the firmware's five minutes.
    loader_services->SetWatchdogTimer(0, 0, 0, NULL);
    machine_read_options(&loader);
    crash_read(&loader);
    EFI_STATUS status = run();
    file_close_volume(&loader);
    memory_release();
    if (!loader.was_shell)
        console_wait_key();
    return status;
}
