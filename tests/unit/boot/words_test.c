// SPDX-License-Identifier: Apache-2.0
// boot/boot_words.c: what the kernel is told by the command line.
#include "boot/boot_words.h"

#include "boot/boot_platform.h"
#include "lib/types.h"

#include <criterion/criterion.h>
#include <string.h>

static struct platform platform;
static struct boot_info info = {.platform = &platform};

static const struct boot_words *read(const char *cmdline) {
    strcpy(platform.start.cmdline, cmdline);
    boot_words_read(&info);
    return &info.words;
}

TestSuite(boot_words);

Test(boot_words, key_of_the_verdicts_is_the_first) {
    cr_expect_str_eq(read("verdict=")->mark, "");
    cr_expect_str_eq(read("verdict=012345678901234567890123456789012 verdict=1")->mark, "", "long");
    cr_expect_str_eq(read("xverdict=no verdict=abc123 verdict=later")->mark, "abc123 ");
    cr_expect_str_eq(read("verdict=01234567890123456789012345678901")->mark,
                     "01234567890123456789012345678901 ");
    cr_expect_str_eq(read("a b")->mark, "", "not the one of before");
}

Test(boot_words, batch) {
    cr_expect(read("a console=batch")->is_batch);
    cr_expect_not(read("console=com2")->is_batch);
}

Test(boot_words, seconds_before_the_reset) {
    static const struct {
        const char *cmdline;
        uint32_t seconds;
    } cases[] = {
        {"", 0},
        {"a panic=reset", 10},
        {"panic=reset: b", 10},
        {"panic=reset:x", 10},
        {"panic=reset:1 2", 1},
        {"panic=reset:45", 45},
        {"panic=reset:99999999999999", 3600},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(read(cases[i].cmdline)->reset_seconds, cases[i].seconds, "'%s'",
                     cases[i].cmdline);
}

Test(boot_words, limit_of_apic_virtualization) {
    cr_expect_eq(read("")->apic, APIC_POSTED);
    cr_expect_eq(read("apic=x")->apic, APIC_POSTED);
    cr_expect_eq(read("apic=registers")->apic, APIC_REGISTERS);
    cr_expect_eq(read("a apic=tpr b")->apic, APIC_TPR);
    cr_expect_eq(read("apic=tpr apic=software")->apic, APIC_SOFTWARE);
}
