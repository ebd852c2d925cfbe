// SPDX-License-Identifier: Apache-2.0
// Started by Multiboot 2: the processor's state, and each tag that the specification has for a
// machine like this (Multiboot2 2.0, 3.3 and 3.6).
#include "lib/string.h"
#include "runtime/acpi.h"
#include "runtime/cpu.h"
#include "runtime/entry32.h"
#include "runtime/tiny.h"

#define MAGIC 0x36d76289u

// With a request for information, and a wish for a screen that may stay unfulfilled.
__asm__(".section .text.start, \"ax\"\n"
        ".balign 8\n"
        "header: .long 0xe85250d6, 0, header_end - header, -(0xe85250d6 + (header_end - header))\n"
        "    .short 1, 0; .long 24, 1, 3, 6, 15\n"
        "    .short 5, 1; .long 20, 0, 0, 0\n"
        "    .balign 8\n"
        "    .short 10, 1; .long 24, 0x100000, 0xffffffff, 4096, 0\n"
        "    .short 0, 0; .long 8\n"
        "header_end:\n"
        ".text\n");

enum {
    END,
    CMDLINE,
    LOADER,
    MODULE,
    MEMORY,
    MAP = 6,
    RSDP_OLD = 14,
    RSDP_NEW = 15,
    LOAD_BASE = 21
};

static uint32_t seen; // tags, as bits

static uint64_t field(const uint8_t *tag, uint32_t offset, uint32_t size) {
    uint64_t value = 0;
    memcpy(&value, tag + offset, size);
    return value;
}

static void check_map(const uint8_t *tag, uint32_t size) {
    uint32_t step = (uint32_t)field(tag, 8, 4);
    for (uint32_t at = 16; at < size; at += step)
        entry_see_map(field(tag, at, 8), field(tag, at + 8, 8), (uint32_t)field(tag, at + 16, 4));
}

static void check_tag(const uint8_t *tag, uint32_t type, uint32_t size) {
    switch (type) {
    case CMDLINE:
        entry_set_cmdline((uintptr_t)tag + 8);
        CHECK_EQ(strlen(boot_cmdline()) + 9, size);
        break;
    case LOADER:
        CHECK(strcmp((const char *)tag + 8, "Bulkhead") == 0);
        break;
    case MODULE:
        entry_check_module(field(tag, 8, 4), field(tag, 12, 4) - field(tag, 8, 4));
        CHECK(strcmp((const char *)tag + 16, "sequence.initrd") == 0);
        break;
    case MEMORY:
        CHECK_EQ(field(tag, 8, 4), 639);
        CHECK_EQ(field(tag, 12, 4), cmdline_number("memory") * 1024 - 1024);
        break;
    case MAP:
        check_map(tag, size);
        break;
    case RSDP_OLD:
        CHECK(memcmp(tag + 8, acpi_rsdp_by_search(), 20) == 0);
        break;
    case RSDP_NEW:
        CHECK(memcmp(tag + 8, acpi_rsdp_by_search(), 36) == 0);
        break;
    case LOAD_BASE:
        CHECK_EQ(field(tag, 8, 4), 0x100000);
        break;
    default:
        break;
    }
}

void test(void) {
    const uint8_t *info = (const uint8_t *)(uintptr_t)entry_state.ebx;
    uint32_t total = (uint32_t)field(info, 0, 4), at = 8, type, size;
    entry_check_state(MAGIC);
    do {
        type = (uint32_t)field(info, at, 4);
        size = (uint32_t)field(info, at + 4, 4);
        seen |= 1u << type;
        check_tag(info + at, type, size);
        at = (uint32_t)align_up(at + size, 8);
    } while (type != END && at < total);
    CHECK_EQ(at, total);
    CHECK_EQ(seen, BIT(END) | BIT(CMDLINE) | BIT(LOADER) | BIT(MODULE) | BIT(MEMORY) | BIT(MAP) |
                       BIT(RSDP_OLD) | BIT(RSDP_NEW) | BIT(LOAD_BASE));
    CHECK(cmdline_has("entry"));
    entry_check_map(cmdline_number("memory") << 20);
}
