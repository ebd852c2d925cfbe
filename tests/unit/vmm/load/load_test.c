// SPDX-License-Identifier: Apache-2.0
// vmm/load: good kernels of Linux' protocol, then everything that can be wrong with one, each
// refused with a line that names it. The other protocols have entry_test.c.
#include "vmm/load/load.h"

#include <criterion/criterion.h>
#include <string.h>

#define MIB (1ULL << 20)

static struct memory memory;
static struct load_images images;
static struct load_entry entry;
static struct load_refusal refusal;
static uint8_t ram[64 * MIB];
static uint8_t kernel[1024 + 0x10000];
static uint8_t initrd[8 * MIB];

static void guest_of(uint64_t mib) {
    cr_assert_leq(mib * MIB, sizeof(ram));
    memset(ram, 0, mib * MIB);
    memory_init(&memory, ram, mib * MIB);
}

static void field(uint32_t offset, unsigned size, uint64_t value) {
    load_put(kernel + offset, size, value);
}

// A bzImage of 1 setup sector and 64 KiB of payload, each byte telling its place.
#define PAYLOAD 0x10000u
static void make_linux(void) {
    memset(kernel, 0, sizeof(kernel));
    images = (struct load_images){.kernel = kernel,
                                  .kernel_size = 1024 + PAYLOAD,
                                  .kernel_name = "vmlinuz",
                                  .initrd_name = "initrd.img",
                                  .cmdline = "console=ttyS0",
                                  .rsdp = 0xe0000};
    field(0x1f1, 1, 1);
    field(0x1f4, 4, PAYLOAD / 16);
    field(0x1fe, 2, 0xaa55);
    field(0x200, 2, 0x6aeb); // header ends at 0x202 + 0x6a
    field(0x202, 4, 0x53726448);
    field(0x206, 2, 0x20f);
    field(0x211, 1, 1);
    field(0x22c, 4, 0x7fffffff);
    field(0x236, 2, 0x7f);
    field(0x238, 4, 2047);
    field(0x258, 8, 16 * MIB);
    field(0x260, 4, 4 * MIB);
    for (uint32_t i = 0; i < PAYLOAD; i++)
        kernel[1024 + i] = (uint8_t)(i * 7 + i / 256);
}

// An ELF64 with one PT_LOAD of 0x200 bytes (0x1000 in memory) at `paddr`, entry at vaddr + 0x10.
static void make_elf(uint64_t paddr, uint64_t vaddr) {
    memset(kernel, 0, sizeof(kernel));
    images = (struct load_images){.kernel = kernel,
                                  .kernel_size = 0x400,
                                  .kernel_name = "guest.elf",
                                  .initrd_name = "initrd.img",
                                  .cmdline = "a b"};
    memcpy(kernel, "\177ELF\2\1\1", 7);
    field(16, 2, 2);
    field(18, 2, 62);
    field(20, 4, 1);
    field(24, 8, vaddr + 0x10);
    field(32, 8, 64);
    field(52, 2, 64);
    field(54, 2, 56);
    field(56, 2, 1);
    field(64, 4, 1); // PT_LOAD
    field(68, 4, 7);
    field(72, 8, 0x200);
    field(80, 8, vaddr);
    field(88, 8, paddr);
    field(96, 8, 0x200);
    field(104, 8, 0x1000);
    field(112, 8, 0x1000);
    memset(kernel + 0x200, 0x90, 0x200);
}

static void give_initrd(uint64_t size) {
    cr_assert_leq(size, sizeof(initrd));
    memset(initrd, 0x5a, size);
    images.initrd = initrd;
    images.initrd_size = size;
}

static bool load(void) {
    refusal.text[0] = '\0';
    return load_guest(&memory, &images, &entry, &refusal);
}

// Refused, in one line that contains both texts.
static void refused(const char *first, const char *second) {
    cr_assert_not(load());
    cr_assert(strstr(refusal.text, first), "'%s' lacks '%s'", refusal.text, first);
    cr_assert(strstr(refusal.text, second), "'%s' lacks '%s'", refusal.text, second);
    cr_assert_null(strchr(refusal.text, '\n'));
    cr_assert_lt(strlen(refusal.text) + 1, sizeof(refusal.text));
}

static uint64_t zero_page(uint32_t offset, unsigned size) {
    return load_get(memory.base + LOAD_INFO + offset, size);
}

Test(vmm_load, linux_is_placed_as_the_protocol_says) {
    guest_of(64);
    make_linux();
    give_initrd(5000);
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.rip, 16 * MIB + 0x200);
    cr_assert_arr_eq(memory.base + 16 * MIB, kernel + 1024, PAYLOAD);
    cr_assert_eq(zero_page(0x202, 4), 0x53726448);
    cr_assert_eq(zero_page(0x258, 8), 16 * MIB);
    cr_assert_eq(zero_page(0x210, 1), 0xff);
    cr_assert_eq(zero_page(0x070, 8), 0xe0000);
    cr_assert_eq(zero_page(0x26c, 4), 0); // behind the header: not copied
    cr_assert_eq(zero_page(0x1e8, 1), 5);
    cr_assert_eq(zero_page(0x2d0 + 3 * 20, 8), MIB);
    uint64_t at = zero_page(0x218, 4);
    cr_assert_eq(at % 4096, 0);
    cr_assert_eq(zero_page(0x21c, 4), 5000);
    cr_assert_eq(at, 64 * MIB - 8192);
    cr_assert_arr_eq(memory.base + at, images.initrd, 5000);
    cr_assert_str_eq((char *)memory.base + zero_page(0x228, 4), "console=ttyS0");
}

Test(vmm_load, page_tables_map_4_gib_identically) {
    guest_of(64);
    make_linux();
    cr_assert(load());
    uint64_t top = load_get(memory.base + LOAD_PAGE_TABLES, 8) & ~0xfffULL;
    for (uint64_t gib = 0; gib < 4; gib++) {
        uint64_t directory = load_get(memory.base + top + gib * 8, 8) & ~0xfffULL;
        for (uint64_t i = 0; i < 512; i++)
            cr_assert_eq(load_get(memory.base + directory + i * 8, 8),
                         (gib * 512 + i) * 2 * MIB | 0x83);
    }
}

Test(vmm_load, registers_are_those_of_the_64_bit_protocol) {
    struct vcpu_registers registers;
    memset(&registers, 0xff, sizeof(registers));
    load_set_registers(&(struct load_entry){.rip = 0x1000200}, &registers);
    cr_assert_eq(registers.rip, 0x1000200);
    cr_assert_eq(registers.gpr[6], LOAD_INFO);
    cr_assert_eq(registers.rflags, 2);
    cr_assert_eq(registers.cs.selector, 0x10);
    cr_assert_eq(registers.ds.selector, 0x18);
    cr_assert_eq(registers.cr3, LOAD_PAGE_TABLES);
    cr_assert_eq(registers.efer, 0x500);
    cr_assert_eq(registers.cr0 & 0x80000001, 0x80000001);
}

Test(vmm_load, initrd_stays_below_its_limit) {
    guest_of(64);
    make_linux();
    field(0x22c, 4, 32 * MIB - 1);
    give_initrd(MIB);
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(zero_page(0x218, 4), 31 * MIB);
}

Test(vmm_load, elf_is_placed_at_its_physical_address) {
    guest_of(8);
    make_elf(2 * MIB, 2 * MIB);
    give_initrd(100);
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.rip, 2 * MIB + 0x10);
    cr_assert_eq(memory.base[2 * MIB + 0x1ff], 0x90);
    cr_assert_eq(memory.base[2 * MIB + 0x200], 0);
    cr_assert_eq(zero_page(0x202, 4), 0x53726448);
    cr_assert_str_eq((char *)memory.base + zero_page(0x228, 4), "a b");
    cr_assert_eq(zero_page(0x218, 4), 8 * MIB - 4096);
}

Test(vmm_load, elf_with_virtual_entry_starts_at_the_physical_one) {
    guest_of(8);
    make_elf(2 * MIB, 0xffffffff80000000ULL);
    cr_assert(load(), "%s", refusal.text);
    cr_assert_eq(entry.rip, 2 * MIB + 0x10);
}

Test(vmm_load, no_kernel_is_refused) {
    guest_of(8);
    make_elf(2 * MIB, 2 * MIB);
    images.kernel_size = 0;
    refused("guest.elf", "empty");
    images.kernel_size = 0x400;
    memset(kernel, 'x', 0x400);
    refused("guest.elf", "neither");
}

Test(vmm_load, truncated_kernels_are_refused) {
    guest_of(64);
    make_linux();
    for (uint64_t size = 0x264; size <= 1024 + PAYLOAD - 16; size += 997) {
        images.kernel_size = size;
        refused("vmlinuz", "truncated");
    }
    images.kernel_size = 0x250; // not even the header
    refused("vmlinuz", "neither");
    make_elf(2 * MIB, 2 * MIB);
    for (uint64_t size = 4; size < 0x400; size++) {
        images.kernel_size = size;
        refused("guest.elf", "");
    }
}

Test(vmm_load, last_paragraph_may_be_cut) {
    guest_of(64);
    make_linux();
    images.kernel_size -= 15;
    cr_assert(load(), "%s", refusal.text);
}

Test(vmm_load, kernels_without_64_bit_entry_are_refused) {
    guest_of(64);
    make_linux();
    field(0x206, 2, 0x20b);
    refused("2.11", "2.12");
    make_linux();
    field(0x236, 2, 0);
    refused("vmlinuz", "64-bit");
    make_linux();
    field(0x211, 1, 0);
    refused("vmlinuz", "64-bit");
}

Test(vmm_load, damaged_header_is_refused) {
    static const uint64_t addresses[] = {0, 0x1000, 16 * MIB + 1, UINT32_MAX & ~0xfffULL,
                                         UINT64_MAX & ~0xfffULL};
    guest_of(64);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        make_linux();
        field(0x258, 8, addresses[i]);
        refused("vmlinuz", "damaged");
    }
}

Test(vmm_load, small_guest_is_refused_with_the_size_it_needs) {
    guest_of(18);
    make_linux();
    refused("18 MiB", "20M");
    guest_of(20);
    cr_assert(load(), "%s", refusal.text);
    guest_of(4);
    make_elf(4 * MIB - 0x800, 4 * MIB - 0x800);
    refused("guest.elf", "4 MiB");
}

Test(vmm_load, large_initrd_is_refused_with_the_size_it_needs) {
    guest_of(24);
    make_linux();
    give_initrd(5 * MIB);
    refused("initrd.img", "26M");
    give_initrd(4 * MIB);
    cr_assert(load(), "%s", refusal.text);
    images.initrd_size = UINT64_MAX; // never read
    refused("initrd.img", "");
}

Test(vmm_load, elf_outside_memory_is_refused) {
    static const uint64_t addresses[] = {0, 0x9000, 0xff000, 8 * MIB, UINT64_MAX - 0xfff};
    guest_of(8);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        make_elf(addresses[i], 2 * MIB);
        refused("guest.elf", "");
    }
}

Test(vmm_load, elf_with_entry_outside_is_refused) {
    guest_of(8);
    make_elf(2 * MIB, 2 * MIB);
    field(24, 8, 4 * MIB);
    refused("guest.elf", "entry");
}

Test(vmm_load, long_command_line_is_refused) {
    static char cmdline[300];
    guest_of(64);
    make_linux();
    memset(cmdline, 'x', sizeof(cmdline) - 1);
    images.cmdline = cmdline;
    field(0x238, 4, 255);
    refused("299", "255");
}

// Any bytes for a kernel: refused or loaded, never a crash (the sanitizers watch).
Test(vmm_load, garbled_headers_do_no_harm) {
    uint64_t random = 88172645463325252ULL;
    guest_of(64);
    for (int round = 0; round < 2000; round++) {
        if (round % 2 == 0)
            make_linux();
        else
            make_elf(2 * MIB, 2 * MIB);
        for (int i = 0; i < 4; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            kernel[round % 2 == 0 ? 0x1f1 + random % 0x77 : random % 120] = (uint8_t)(random >> 32);
        }
        (void)load();
    }
}
