// SPDX-License-Identifier: Apache-2.0
// Started by PVH: the processor's state and hvm_start_info are as Xen's "x86/HVM direct boot ABI"
// says. The note names the entry; the ELF file's own would run into 32-bit code in 64-bit mode.
#include "runtime/acpi.h"
#include "runtime/cpu.h"
#include "runtime/entry32.h"
#include "runtime/tiny.h"

#define MAGIC 0x336ec578u

__asm__(".section .xen.note, \"a\", @note\n"
        ".long 4, 4, 18\n"
        ".asciz \"Xen\"\n"
        ".long entry_32\n"
        ".text\n");

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, map;
    uint32_t map_count, reserved;
};

struct module {
    uint64_t address, size, cmdline, reserved;
};

struct map_entry {
    uint64_t base, size;
    uint32_t type, reserved;
};

void test(void) {
    const struct start_info *info = (const struct start_info *)(uintptr_t)entry_state.ebx;
    entry_check_state(0);
    CHECK_EQ(info->magic, MAGIC);
    CHECK_EQ(info->version, 1);
    entry_set_cmdline(info->cmdline);
    CHECK(cmdline_has("entry"));
    CHECK_EQ(info->rsdp, (uintptr_t)acpi_rsdp_by_search());
    CHECK_EQ(info->module_count, 1);
    const struct module *module = (const struct module *)(uintptr_t)info->modules;
    entry_check_module(module->address, module->size);
    const struct map_entry *map = (const struct map_entry *)(uintptr_t)info->map;
    for (uint32_t i = 0; i < info->map_count; i++)
        entry_see_map(map[i].base, map[i].size, map[i].type);
    entry_check_map(cmdline_number("memory") << 20);
}
