// SPDX-License-Identifier: Apache-2.0
// A page for the crash record, and what the boot before left there.
#include "boot/boot_crash.h"
#include "boot/boot_report.h"
#include "boot/loader.h"
#include "lib/string.h"

void crash_read(struct loader *loader) {
    struct boot_info *info = &loader->info;
    for (const uint64_t *place = boot_crash_places; *place != 0 && info->crash == 0; place++)
        if (memory_take(*place, 1, BOOT_MEMORY_FIRMWARE))
            info->crash = *place;
    if (info->crash == 0) {
        boot_report(info,
                    "no memory that keeps a crash record: a panic is told on the console alone");
        return;
    }
    const struct crash_record *record = (const struct crash_record *)(uintptr_t)info->crash;
    if (boot_crash_is_whole(record))
        boot_crash_tell(record, info);
}

void crash_clear(const struct loader *loader) {
    if (loader->info.crash != 0)
        memset((void *)(uintptr_t)loader->info.crash, 0, sizeof(struct crash_record));
}
