// SPDX-License-Identifier: Apache-2.0
// See boot/boot_words.h. What each word means: docs/manifest.md.
#include "boot/boot_words.h"

#include "boot/boot_platform.h"
#include "lib/string.h"
#include "lib/types.h"
#include "lib/words.h"

#define RESET_SECONDS     10u
#define RESET_SECONDS_MAX 3600u

// Without a number that makes sense: ten.
static uint32_t reset_seconds(const char *cmdline) {
    size_t size = 0;
    const char *digit = words_find(cmdline, "panic=reset", &size);
    uint32_t seconds = 0;
    for (size_t i = 1; digit != NULL && i < size && digit[i] >= '0' && digit[i] <= '9'; i++)
        seconds = MIN(seconds * 10 + (uint32_t)(digit[i] - '0'), RESET_SECONDS_MAX);
    return digit == NULL ? 0 : seconds != 0 ? seconds : RESET_SECONDS;
}

static enum apic_level apic_limit(const char *cmdline) {
    static const char *const words[] = {
        [APIC_SOFTWARE] = "apic=software",
        [APIC_TPR] = "apic=tpr",
        [APIC_REGISTERS] = "apic=registers",
    };
    for (enum apic_level level = APIC_SOFTWARE; level < APIC_POSTED; level++)
        if (words_have(cmdline, words[level]))
            return level;
    return APIC_POSTED;
}

void boot_words_read(struct boot_info *info) {
    size_t size = 0;
    const char *key = words_find(info->platform->start.cmdline, "verdict=", &size);
    info->words = (struct boot_words){
        .is_batch = words_have(info->platform->start.cmdline, "console=batch"),
        .reset_seconds = reset_seconds(info->platform->start.cmdline),
        .apic = apic_limit(info->platform->start.cmdline),
    };
    if (key == NULL || size == 0 || size > BOOT_MARK_MAX)
        return;
    memcpy(info->words.mark, key, size);
    info->words.mark[size] = ' ';
}
