// SPDX-License-Identifier: Apache-2.0
// See boot/boot_crash.h.
#include "boot/boot_crash.h"

#include "boot/boot_report.h"
#include "lib/string.h"
#include "lib/types.h"

#define PREFIX   "[bulkhead] "
#define LINE_MAX 200u

const uint64_t boot_crash_places[] = {0x4000000, 0x6000000, 0x8000000, 0x2000000, 0x1800000, 0};

bool boot_crash_is_whole(const struct crash_record *record) {
    uint32_t sum = 0, size = record->size;
    if (record->magic != CRASH_MAGIC || size == 0 || size > sizeof(record->text))
        return false;
    for (uint32_t i = 0; i < size; i++)
        sum = crash_add(sum, record->text[i]);
    return sum == record->sum;
}

void boot_crash_tell(const struct crash_record *record, struct boot_info *info) {
    char line[LINE_MAX];
    uint32_t length = 0;
    for (uint32_t i = 0; i < record->size; i++) {
        char byte = record->text[i];
        if (byte != '\r' && byte != '\n' && length < sizeof(line) - 1)
            line[length++] = byte != '\0' ? byte : '?';
        if (length == 0 || (byte != '\n' && i + 1 < record->size))
            continue;
        line[length] = '\0';
        const uint32_t skip = sizeof(PREFIX) - 1;
        bool has_prefix = length > skip && memcmp(line, PREFIX, skip) == 0;
        boot_report(info, "last boot: %s", has_prefix ? line + skip : line);
        length = 0;
    }
}
