// SPDX-License-Identifier: Apache-2.0
// boot/boot_crash.c: what the boot before left is told when it is whole, and nothing else is.
#include "boot/boot_crash.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct crash_record record;
static struct boot_info info;

static void write(const char *text, size_t size) {
    record = (struct crash_record){.magic = CRASH_MAGIC, .size = (uint32_t)size};
    memcpy(record.text, text, size);
    for (size_t i = 0; i < size; i++)
        record.sum = crash_add(record.sum, text[i]);
}

TestSuite(boot_crash);

Test(boot_crash, lines_are_told) {
    static const char text[] = "[bulkhead] panic: here\r\n[bulkhead] \r\nx\r\n\r\nno end";
    write(text, sizeof(text) - 1);
    cr_assert(boot_crash_is_whole(&record));
    boot_crash_tell(&record, &info);
    static const char expected[] =
        "last boot: panic: here\0last boot: [bulkhead] \0last boot: x\0last boot: no end\0";
    cr_expect_eq(memcmp(info.report, expected, sizeof(expected)), 0, "%s", info.report);
}

Test(boot_crash, what_is_not_whole_is_not_believed) {
    write("panic", 5);
    struct crash_record good = record;
    record.magic++;
    cr_expect_not(boot_crash_is_whole(&record));
    record = good;
    record.text[4] ^= 1;
    cr_expect_not(boot_crash_is_whole(&record));
    record = good;
    record.size--;
    cr_expect_not(boot_crash_is_whole(&record));
    record = good;
    record.size = 0;
    record.sum = 0;
    cr_expect_not(boot_crash_is_whole(&record));
    record = good;
    record.size = UINT32_MAX; // nothing beyond it is read
    cr_expect_not(boot_crash_is_whole(&record));
    cr_expect(boot_crash_is_whole(&good));
}

// A machine may have left anything there, and a guest may have written it.
Test(boot_crash, any_text_is_told_within_bounds) {
    char text[sizeof(record.text)];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7 % 251);
    write(text, sizeof(text));
    cr_assert(boot_crash_is_whole(&record));
    boot_crash_tell(&record, &info);
    cr_expect_eq(info.report[BOOT_REPORT_MAX - 1], '\0');
    cr_expect_eq(info.report[BOOT_REPORT_MAX - 2], '\0');
    memset(text, 'x', sizeof(text));
    memset(&info, 0, sizeof(info));
    write(text, sizeof(text));
    boot_crash_tell(&record, &info);
    cr_expect_lt(strlen(info.report), 256u);
}
