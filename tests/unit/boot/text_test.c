// SPDX-License-Identifier: Apache-2.0
// boot/boot_text: the command line and the firmware's load options.
#include "boot/boot_text.h"

#include <criterion/criterion.h>
#include <string.h>

static char text[32];

// Gives ASCII as UCS-2 with its NUL; returns what came out, or NULL when it was refused.
static const char *options(const char *ascii, bool *was_shell) {
    uint8_t wide[128];
    size_t length = strlen(ascii) + 1;
    for (size_t i = 0; i < length; i++) {
        wide[2 * i] = (uint8_t)ascii[i];
        wide[2 * i + 1] = 0;
    }
    return boot_text_options(text, sizeof(text), wide, 2 * length, was_shell) ? text : NULL;
}

Test(boot_text, append_puts_one_space_between) {
    char line[16] = "";
    cr_assert(boot_text_append(line, sizeof(line), "a=b"));
    cr_assert(boot_text_append(line, sizeof(line), ""));
    cr_assert(boot_text_append(line, sizeof(line), "c"));
    cr_assert_str_eq(line, "a=b c");
    cr_assert(boot_text_append(line, sizeof(line), "123456789"));
    cr_assert_str_eq(line, "a=b c 123456789");
}

Test(boot_text, append_refuses_what_does_not_fit) {
    char line[8] = "abc";
    cr_assert_not(boot_text_append(line, sizeof(line), "defg"));
    cr_assert_str_eq(line, "abc");
    cr_assert(boot_text_append(line, sizeof(line), "def"));
    cr_assert_str_eq(line, "abc def");
}

Test(boot_text, options_of_firmware_are_taken) {
    bool was_shell = true;
    cr_assert_str_eq(options("debug x=1", &was_shell), "debug x=1");
    cr_assert_not(was_shell);
    cr_assert_str_eq(options("  debug  ", &was_shell), "debug");
    cr_assert_str_eq(options("", &was_shell), "");
}

Test(boot_text, options_of_a_shell_lose_the_program) {
    bool was_shell = false;
    cr_assert_str_eq(options("fs0:\\a\\BOOTX64.EFI a b", &was_shell), "a b");
    cr_assert(was_shell);
    cr_assert_str_eq(options("x.efi", &was_shell), "");
    cr_assert(was_shell);
    cr_assert_str_eq(options("efi a", &was_shell), "efi a");
    cr_assert_not(was_shell);
}

Test(boot_text, options_without_nul_end_at_their_size) {
    bool was_shell;
    cr_assert(boot_text_options(text, sizeof(text), "a\0b", 4, &was_shell));
    cr_assert_str_eq(text, "ab");
}

Test(boot_text, options_that_are_binary_are_ignored) {
    static const uint8_t guid[16] = {0x21, 0, 0x7f, 3, 9};
    bool was_shell;
    cr_assert_not(boot_text_options(text, sizeof(text), guid, sizeof(guid), &was_shell));
    cr_assert_str_eq(text, "");
    cr_assert_not(boot_text_options(text, sizeof(text), "abc", 3, &was_shell));
    cr_assert_not(boot_text_options(text, sizeof(text), NULL, 0, &was_shell));
    cr_assert_null(options("this is far too long for the buffer", &was_shell));
    cr_assert_str_eq(text, "");
}
