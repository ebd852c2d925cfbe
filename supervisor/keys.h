// SPDX-License-Identifier: Apache-2.0
// What typed bytes mean on the interactive console: Ctrl-A, then one key, is a command to the
// hypervisor; everything else belongs to whoever has the focus. docs/console.md is its manual.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define KEYS_ESCAPE 0x01u // Ctrl-A

enum key_action {
    KEY_NONE = 0, // wait for the next byte
    KEY_BYTE,     // `value`: a byte for the focus
    KEY_HELP,
    KEY_NEXT,
    KEY_PREVIOUS,
    KEY_NUMBER, // `value`: 1..9
    KEY_SHELL,
    KEY_QUIT,
    KEY_UNKNOWN, // an escape that means nothing
};

struct key {
    enum key_action action;
    uint8_t value;
};

struct keys {
    bool is_escaped; // Ctrl-A was the last byte
};

struct key keys_add(struct keys *keys, uint8_t byte);
