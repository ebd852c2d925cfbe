// SPDX-License-Identifier: Apache-2.0
// Started by Multiboot 1: state of the processor, command line, module and memory map are as the
// specification says (Multiboot 0.6.96, 3.2 and 3.3).
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/entry32.h"
#include "runtime/tiny.h"

#define MAGIC 0x2badb002u

__asm__(".section .text.start, \"ax\"\n"
        ".balign 4\n"
        ".long 0x1badb002, 3, -(0x1badb002 + 3)\n"
        ".text\n");

struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader;
};

struct module {
    uint32_t start, end, string, reserved;
};

static void check_map(const struct info *info) {
    uint64_t at = info->mmap_addr, end = at + info->mmap_length;
    while (at < end) {
        const uint8_t *entry = (const uint8_t *)(uintptr_t)at;
        uint64_t base, size;
        uint32_t skip, type;
        memcpy(&skip, entry, 4);
        memcpy(&base, entry + 4, 8);
        memcpy(&size, entry + 12, 8);
        memcpy(&type, entry + 20, 4);
        entry_see_map(base, size, type);
        at += skip + 4;
    }
    CHECK_EQ(at, end);
    entry_check_map(cmdline_number("memory") << 20);
}

void test(void) {
    const struct info *info = (const struct info *)(uintptr_t)entry_state.ebx;
    entry_check_state(MAGIC);
    CHECK_EQ(info->flags & 0x24d, 0x24d);
    entry_set_cmdline(info->cmdline);
    CHECK(cmdline_has("entry"));
    CHECK_EQ(info->mem_lower, 639);
    CHECK_EQ(info->mem_upper, cmdline_number("memory") * 1024 - 1024);
    CHECK(strcmp((const char *)(uintptr_t)info->loader, "Bulkhead") == 0);
    CHECK_EQ(info->mods_count, 1);
    const struct module *module = (const struct module *)(uintptr_t)info->mods_addr;
    entry_check_module(module->start, module->end - module->start);
    CHECK(strcmp((const char *)(uintptr_t)module->string, "sequence.initrd") == 0);
    check_map(info);
}
