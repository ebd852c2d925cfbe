// SPDX-License-Identifier: Apache-2.0
// Text; the interface is told in boot_text.h.
#include "boot/boot_text.h"

#include <stddef.h>

#include "lib/string.h"

bool boot_text_append(char *out, uint64_t size, const char *text) {
    uint64_t length = strlen(out);
    uint64_t added = strlen(text);
    uint64_t gap = length > 0 && added > 0 ? 1 : 0;
    if (length + gap + added >= size)
        return false;
    if (gap > 0)
        out[length] = ' ';
    for (uint64_t i = 0; i <= added; i++)
        out[length + gap + i] = text[i];
    return true;
}

// Does the word of `length` bytes end in ".efi", in any case?
static bool is_program_name(const char *word, uint64_t length) {
    static const char suffix[] = ".efi";
    const uint64_t suffix_length = sizeof(suffix) - 1;
    if (length < suffix_length)
        return false;
    for (uint64_t i = 0; i < suffix_length; i++) {
        char c = word[length - suffix_length + i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != suffix[i])
            return false;
    }
    return true;
}

// Removes the first word when it names a program, and the blanks around it.
static bool strip_program_name(char *text) {
    uint64_t word = 0;
    while (text[word] != '\0' && text[word] != ' ')
        word++;
    bool was_shell = is_program_name(text, word);
    uint64_t from = was_shell ? word : 0;
    while (text[from] == ' ')
        from++;
    uint64_t to = 0;
    while (text[from] != '\0')
        text[to++] = text[from++];
    while (to > 0 && text[to - 1] == ' ')
        to--;
    text[to] = '\0';
    return was_shell;
}

bool boot_text_options(char *out, uint64_t size, const void *options, uint64_t options_size,
                       bool *was_shell) {
    const uint8_t *bytes = options;
    *was_shell = false;
    out[0] = '\0';
    if (options == NULL || options_size % 2 != 0)
        return false;
    uint64_t length = 0;
    for (uint64_t i = 0; i < options_size; i += 2) {
        uint32_t c = bytes[i] | (uint32_t)bytes[i + 1] << 8;
        if (c == 0)
            break;
        if (c < ' ' || c > '~' || length + 1 >= size) {
            out[0] = '\0';
            return false;
        }
        out[length++] = (char)c;
    }
    out[length] = '\0';
    *was_shell = strip_program_name(out);
    return true;
}
