// SPDX-License-Identifier: Apache-2.0
// The escape key's table. Letters count in both cases.
#include "supervisor/keys.h"

#include <stddef.h>

static const struct {
    char letter;
    enum key_action action;
} table[] = {
    {'h', KEY_HELP},     {'?', KEY_HELP},  {'n', KEY_NEXT},
    {'p', KEY_PREVIOUS}, {'c', KEY_SHELL}, {'x', KEY_QUIT},
};

struct key keys_add(struct keys *keys, uint8_t byte) {
    if (!keys->is_escaped) {
        keys->is_escaped = byte == KEYS_ESCAPE;
        return (struct key){keys->is_escaped ? KEY_NONE : KEY_BYTE, byte};
    }
    keys->is_escaped = false;
    if (byte == KEYS_ESCAPE) {
        return (struct key){KEY_BYTE, byte};
    }
    if (byte >= '1' && byte <= '9') {
        return (struct key){KEY_NUMBER, (uint8_t)(byte - '0')};
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if ((byte | 0x20) == table[i].letter || byte == (uint8_t)table[i].letter) {
            return (struct key){table[i].action, byte};
        }
    }
    return (struct key){KEY_UNKNOWN, byte};
}
