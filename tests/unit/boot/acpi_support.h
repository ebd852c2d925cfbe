// SPDX-License-Identifier: Apache-2.0
// A machine of paper for boot/boot_acpi: its memory, from which the parser gets exact copies, so
// that the sanitizer sees a read of one byte too many; and tables put together field by field.
#pragma once

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "boot/boot_acpi.h"
#include "lib/types.h"

#define MEMORY_SIZE 65536u
#define COPIES_MAX  4096u
#define RSDP_AT     0x100u
#define RSDT_AT     0x200u
#define XSDT_AT     0x400u

static uint8_t memory[MEMORY_SIZE];
static void *copies[COPIES_MAX];
static uint32_t copy_count;
static struct platform platform;
static struct boot_info info = {.platform = &platform};
static struct boot_acpi found;

static const void *test_map(uint64_t base, uint64_t size) {
    if (range_exceeds(base, size, MEMORY_SIZE) || copy_count == COPIES_MAX)
        return NULL;
    void *copy = malloc(size);
    memcpy(copy, memory + base, size);
    copies[copy_count++] = copy;
    return copy;
}

static bool run_parser(uint64_t rsdp) {
    memset(&platform, 0, sizeof(platform));
    info = (struct boot_info){.platform = &platform};
    memset(&found, 0xee, sizeof(found));
    bool is_present = boot_acpi_parse(rsdp, test_map, &info, &found);
    while (copy_count > 0)
        free(copies[--copy_count]);
    return is_present;
}

static void put(uint32_t at, uint64_t value, uint32_t width) {
    memcpy(memory + at, &value, width);
}

static void fix_sum(uint32_t at, uint32_t size, uint32_t sum_at) {
    uint8_t sum = 0;
    memory[at + sum_at] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[at + sum_at] = (uint8_t)-sum;
}

static void put_table(uint32_t at, const char *signature, uint32_t size) {
    memcpy(memory + at, signature, 4);
    put(at + 4, size, 4);
    fix_sum(at, size, 9);
}

static uint32_t table_size(uint32_t at) {
    uint32_t size;
    memcpy(&size, memory + at + 4, sizeof(size));
    return size;
}

static void refresh(uint32_t at) {
    fix_sum(at, table_size(at), 9);
}

// Adds bytes at the table's end.
static void append(uint32_t at, const void *bytes, uint32_t size) {
    uint32_t used = table_size(at);
    memcpy(memory + at + used, bytes, size);
    put(at + 4, used + size, 4);
    refresh(at);
}
#define APPEND(at, ...)                                                                            \
    append(at, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put_rsdp(uint32_t revision) {
    memcpy(memory + RSDP_AT, "RSD PTR ", 8);
    put(RSDP_AT + 15, revision, 1);
    put(RSDP_AT + 16, RSDT_AT, 4);
    put(RSDP_AT + 20, 36, 4);
    put(RSDP_AT + 24, XSDT_AT, 8);
    fix_sum(RSDP_AT, 20, 8);
    fix_sum(RSDP_AT, 36, 32);
}

// The root, and the lists of these tables.
static void put_root(const uint32_t *tables, uint32_t count) {
    put_rsdp(2);
    for (uint32_t i = 0; i < count; i++) {
        put(RSDT_AT + 36 + 4 * i, tables[i], 4);
        put(XSDT_AT + 36 + 8 * i, tables[i], 8);
    }
    put_table(RSDT_AT, "RSDT", 36 + 4 * count);
    put_table(XSDT_AT, "XSDT", 36 + 8 * count);
}
