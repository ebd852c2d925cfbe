// SPDX-License-Identifier: Apache-2.0
// A kernel that checks what the boot application promises in include/boot.h, says so on COM1, and
// ends the emulator. Every broken promise is one line "loader-bad: ..."; "loader-ok" comes when
// there is none.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "boot/boot_manifest.h"
#include "boot/boot_platform.h"
#include "include/abi.h"
#include "include/boot.h"
#include "include/nodes.h"
#include "lib/crc32.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define COM1            0x3f8
#define COM1_LSR        0x3fd
#define LSR_THRE        0x20
#define LSR_TEMT        0x40
#define QEMU_DEBUG_EXIT 0xf4
#define BOCHS_SHUTDOWN  0x8900

#define STACK_SIZE 16384u

// The announcement of the boot version, as docs/boot.md has it.
__attribute__((section(".note.bulkhead"), used, aligned(4))) static const struct {
    uint32_t owner_size;
    uint32_t version_size;
    uint32_t type;
    char owner[12]; // padded to 4 bytes
    uint32_t version;
} boot_note = {sizeof(BOOT_NOTE_OWNER), 4, BOOT_NOTE_VERSION, BOOT_NOTE_OWNER, BOOT_VERSION};

__asm__(".text\n"
        ".globl start\n"
        "start:\n"
#ifdef LOADER_FAULT
        "int $2\n"
        "ud2\n"
#endif
        "mov %rsp, %rsi\n"
        "pushfq\n"
        "pop %rdx\n"
        "call kernel_main\n");

_Noreturn void kernel_main(const struct boot_info *info, uint64_t stack, uint64_t flags);

static uint32_t bad_count;
static volatile uint64_t bss_probe[1024];      // must be zero
static volatile uint32_t data_probe = 0x12345; // must be as it was linked
static const char rodata_probe[] = "rodata";

static void out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void print_text(const char *text) {
    for (; *text != '\0'; text++) {
        while (!(in8(COM1_LSR) & LSR_THRE)) {
        }
        out8(COM1, (uint8_t)*text);
    }
}

__attribute__((format(printf, 1, 2))) static void print(const char *format, ...) {
    char line[700];
    va_list arguments;
    va_start(arguments, format);
    fmt_format_va(line, sizeof(line), format, arguments);
    va_end(arguments);
    print_text(line);
}

static void expect(bool is_true, const char *what, uint64_t value) {
    if (is_true)
        return;
    bad_count++;
    print("loader-bad: %s (0x%llx)\n", what, (unsigned long long)value);
}

static const struct boot_memory *find_memory(const struct boot_info *info, uint64_t address) {
    const struct boot_memory *memory = (const struct boot_memory *)info->memory;
    for (uint32_t i = 0; i < info->memory_count; i++) {
        if (address >= memory[i].base && address - memory[i].base < memory[i].length)
            return &memory[i];
    }
    return NULL;
}

// Is [base, base + size) inside ranges of this type?
static bool is_memory(const struct boot_info *info, uint64_t base, uint64_t size, uint32_t type) {
    const struct boot_memory *range = find_memory(info, base);
    return range != NULL && range->type == type && range->base + range->length - base >= size;
}

// The leaf entry for `address`, its level (0: 4 KiB) in *level and all write and NX bits on the way
// in effect; 0 when it is not mapped.
static uint64_t walk(uint64_t address, uint32_t *level) {
    uint64_t table;
    uint64_t writable = 2;
    uint64_t nx = 0;
    __asm__ volatile("mov %%cr3, %0" : "=r"(table));
    for (*level = 3;; (*level)--) {
        uint64_t entry =
            ((const uint64_t *)(table & 0x000ffffffffff000))[address >> (12 + 9 * *level) & 511];
        writable &= entry;
        nx |= entry & 1ull << 63;
        if (!(entry & 1))
            return 0;
        if (*level == 0 || (entry & 0x80))
            return (entry & ~(2ull | 1ull << 63)) | writable | nx;
        table = entry;
    }
}

static bool is_mapped_as(const struct boot_info *info, const volatile void *pointer, bool writable,
                         bool executable) {
    uint64_t address = (uint64_t)pointer;
    uint32_t level;
    uint64_t entry = walk(address, &level);
    return entry != 0 && level == 0 && ((entry & 2) != 0) == writable &&
           ((entry >> 63) == 0) == executable &&
           (entry & 0x000ffffffffff000) ==
               ((info->kernel_base + (address - BOOT_KERNEL_VMA)) & ~0xfffull);
}

// Is the page at `address` mapped to itself, and `offset` behind that, writable and executable?
static bool is_identity(uint64_t address, uint64_t offset) {
    uint32_t level;
    uint64_t entry = walk(offset + address, &level);
    uint64_t mask = 0x000ffffffffff000 & ~((1ull << (12 + 9 * level)) - 1);
    return (entry & 3) == 3 && entry >> 63 == 0 && (entry & mask) == (address & mask);
}

static void check_state(const struct boot_info *info, uint64_t stack, uint64_t flags) {
    uint32_t efer;
    uint64_t cr0;
    uint64_t cr4;
    __asm__ volatile("rdmsr" : "=a"(efer) : "c"(0xc0000080) : "rdx");
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    expect(info->magic == BOOT_MAGIC, "magic", info->magic);
    expect(info->version == BOOT_VERSION, "version", info->version);
    expect(info->size == sizeof(*info), "size of boot_info", info->size);
    expect(info->platform->entry_tsc > 0 && info->platform->entry_tsc < __builtin_ia32_rdtsc(),
           "entry_tsc", info->platform->entry_tsc);
    expect((flags & (1u << 9 | 1u << 10)) == 0, "IF or DF set", flags);
    expect(efer & 1u << 11, "EFER.NXE clear", efer);
    expect(cr0 & 1u << 16, "CR0.WP clear", cr0);
    expect(!(cr4 & (1u << 7 | 1u << 12)), "CR4.PGE or CR4.LA57 set", cr4);
    expect(stack % 16 == 0, "stack unaligned", stack);
    expect(is_memory(info, stack - STACK_SIZE, STACK_SIZE, BOOT_MEMORY_LOADER), "stack not LOADER",
           stack);
    expect(is_memory(info, (uint64_t)info, sizeof(*info), BOOT_MEMORY_LOADER),
           "boot_info not LOADER", (uint64_t)info);
    expect(is_memory(info, info->memory, info->memory_count * sizeof(struct boot_memory),
                     BOOT_MEMORY_LOADER),
           "memory map not LOADER", info->memory);
}

static void check_memory(const struct boot_info *info) {
    const struct boot_memory *memory = (const struct boot_memory *)info->memory;
    uint64_t free_all = 0;
    uint64_t end = 0;
    for (uint32_t i = 0; i < info->memory_count; i++) {
        const struct boot_memory *range = &memory[i];
        uint64_t last = range->base + range->length - 4096;
        expect(range->base >= end, "map unsorted or overlapping", range->base);
        expect(range->length > 0 && (range->base | range->length) % 4096 == 0, "range unaligned",
               range->base);
        expect(range->type >= BOOT_MEMORY_FREE && range->type <= BOOT_MEMORY_DEVICE, "type",
               range->type);
        expect(range->node < info->platform->node_count || range->node == BOOT_NODE_NONE, "node",
               range->node);
        if (i > 0 && memory[i - 1].type == range->type && memory[i - 1].node == range->node)
            expect(range->base > end, "neighbours not merged", range->base);
        end = range->base + range->length;
        if (range->type > BOOT_MEMORY_ACPI)
            continue;
        expect(is_identity(range->base, 0) && is_identity(last, 0), "range not mapped to itself",
               range->base);
        expect(range->base >= 512ull << 30 || is_identity(range->base, BOOT_DIRECT),
               "range not in the direct map", range->base);
        if (range->type != BOOT_MEMORY_FREE)
            continue;
        free_all += range->length;
        expect(range->base >= 1u << 20, "free below 1 MiB", range->base);
        *(volatile uint64_t *)last = *(volatile uint64_t *)last;
    }
    expect(info->low_page >= 4096 && info->low_page < 0xa0000 &&
               is_memory(info, info->low_page, 4096, BOOT_MEMORY_FIRMWARE),
           "low page", info->low_page);
    expect(is_identity(info->pool, BOOT_DIRECT), "pool not in the direct map", info->pool);
    expect(boot_info_is_ordered(info, memory), "order", 0);
    print("loader-memory: %u ranges, %llu KiB free\n", info->memory_count,
          (unsigned long long)free_all / 1024);
}

static void check_kernel(const struct boot_info *info) {
    expect(info->kernel_base % (2u << 20) == 0, "kernel_base unaligned", info->kernel_base);
    expect(info->kernel_size % 4096 == 0 && info->kernel_size > 0x103000, "kernel_size",
           info->kernel_size);
    expect(is_memory(info, info->kernel_base, info->kernel_size, BOOT_MEMORY_KERNEL),
           "kernel not KERNEL", info->kernel_base);
    expect(is_mapped_as(info, (const void *)(uint64_t)kernel_main, false, true),
           "text not read-execute", 0);
    expect(is_mapped_as(info, rodata_probe, false, false), "rodata not read-only", 0);
    expect(is_mapped_as(info, &data_probe, true, false), "data not read-write", 0);
    expect(is_mapped_as(info, &bss_probe[1023], true, false), "bss not read-write", 0);
    expect(data_probe == 0x12345, "data changed", data_probe);
    for (uint32_t i = 0; i < 1024; i++)
        expect(bss_probe[i] == 0, "bss not zero", i);
}

static void check_maps(const struct boot_info *info) {
    const bool is_svm = info->features.has_svm;
    uint64_t base = is_svm ? info->svm.maps : info->vmx.msr_bitmaps;
    const uint8_t *map = (const uint8_t *)base; // of ports on AMD-V; with VT-x of MSRs
    if (info->refusal[0] != '\0')
        return;
    expect(base != 0 && base % 4096 == 0, "maps unaligned", base);
    expect(is_memory(info, base, (is_svm ? SVM_MAP_PAGES : VMX_BITMAPS) * 4096, BOOT_MEMORY_KERNEL),
           "maps not KERNEL", base);
    if (is_svm)
        expect(map[SVM_IOPM_PAGES * 4096 + 0x174 / 4] == 0xc0, "MSRs not filled", 0);
    expect(map[0] == 0xff && map[0x174 / 8] == (is_svm ? 0xff : 0x8f), "maps not filled",
           map[0x174 / 8]);
}

// All that the map says of nodes is in the last module.
static void check_nodes(const struct boot_info *info, const struct boot_module *module) {
    const struct boot_memory *memory = (const struct boot_memory *)info->memory;
    const struct nodes *nodes = (const struct nodes *)module->base;
    uint64_t size[BOOT_NODES_MAX] = {0}, ram = 0;
    expect(module->size == sizeof(*nodes), "size of nodes", module->size);
    expect(nodes->count == info->platform->node_count, "count of nodes", nodes->count);
    expect(nodes->range_count <= NODES_RANGES_MAX, "ranges of nodes", nodes->range_count);
    for (uint32_t i = 0; i < nodes->range_count; i++)
        size[nodes->range[i].node] += nodes->range[i].memory;
    for (uint32_t i = 0; i < info->memory_count; i++)
        if (memory[i].type <= BOOT_MEMORY_ACPI && memory[i].node != BOOT_NODE_NONE)
            ram += memory[i].length;
    for (uint32_t i = 0; i < nodes->count; i++) {
        print("loader-nodes: %u has %llu MiB\n", i, (unsigned long long)size[i] >> 20);
        ram -= size[i];
    }
    expect(ram == 0, "memory of nodes", ram);
    expect(nodes->cpu_count == info->cpu_count, "CPUs of nodes", nodes->cpu_count);
}

static void check_modules(const struct boot_info *info) {
    static struct boot_manifest manifest;
    const struct boot_module *modules = info->module;
    const struct abi_start *start = (const struct abi_start *)info->segment[0].base;
    const char *culprit;
    expect(start->module_count > 0 && strcmp(start->module[0].name, "manifest.dtb") == 0,
           "module 0", 0);
    expect(start->module_count == info->module_count, "modules on the page", start->module_count);
    enum boot_manifest_error error =
        boot_manifest_read(&manifest, (const void *)modules[0].base, modules[0].size, &culprit);
    expect(error == BOOT_MANIFEST_OK, "manifest unreadable", error);
    bool has_nodes = info->platform->node_count > 1;
    expect(info->module_count == manifest.module_count - 1 + has_nodes, "module count",
           info->module_count);
    for (uint32_t i = 0; i < info->module_count; i++) {
        const struct boot_module *module = &modules[i];
        const struct boot_manifest_module *wanted = &manifest.module[i + 1];
        const uint8_t *bytes = (const uint8_t *)module->base;
        expect(module->base % 4096 == 0 && module->base >= 1u << 20, "module base", module->base);
        expect(
            is_memory(info, module->base, module->size + (module->size == 0), BOOT_MEMORY_MODULE),
            "module not MODULE", i);
        for (uint64_t k = module->size; k % 4096 != 0; k++)
            expect(bytes[k] == 0, "tail not zero", k);
        if (i == 0)
            continue;
        bool is_nodes = i == manifest.module_count - 1;
        const char *name = is_nodes ? "nodes" : wanted->name;
        expect(strcmp(start->module[i].name, name) == 0, "module name", i);
        expect(start->module[i].memory == ABI_START_MODULE + i, "module handle", i);
        expect(start->module[i].size == module->size, "module size on the page", i);
        if (is_nodes) {
            check_nodes(info, module);
            continue;
        }
        expect(module->size == wanted->size, "module size", module->size);
        expect(crc32_update(0, bytes, module->size) == wanted->crc32, "module CRC", i);
    }
    print("loader-modules: %u\n", info->module_count);
}

// The first segment, and the last.
static void check_start(const struct boot_info *info) {
    const struct boot_segment *page = &info->segment[0],
                              *stack = &info->segment[info->segment_count - 1];
    const struct abi_start *start = (const struct abi_start *)page->base;
    expect(page->address == ABI_START_ADDRESS && page->size == ABI_START_PAGES * 4096 &&
               page->rights == ABI_RIGHT_READ,
           "start page", page->address);
    expect(stack->address + stack->size == info->supervisor_stack && stack->size == 32768 &&
               stack->rights == (ABI_RIGHT_READ | ABI_RIGHT_WRITE),
           "stack", stack->address);
    expect(start->version == ABI_VERSION && start->quota == ABI_START_QUOTA, "version and handles",
           start->version);
    expect(start->tsc_hz == info->tsc_hz && start->uart.base == info->uart.base, "facts", 0);
    for (uint64_t i = sizeof(*start); i < page->size; i++)
        expect(((const uint8_t *)start)[i] == 0, "behind the start page", i);
}

// What cases.py's supervisor() made: code, and data in front of as many zeroes.
static void check_supervisor(const struct boot_info *info) {
    const struct boot_segment *text = &info->segment[1], *data = &info->segment[2];
    const uint8_t *code = (const uint8_t *)text->base, *bytes = (const uint8_t *)data->base;
    uint64_t entry = info->supervisor_entry - text->address, begin = 0x123, size = 0;
    expect(info->segment_count == 4, "segments", info->segment_count);
    for (uint32_t i = 0; i < info->segment_count; i++)
        expect(is_memory(info, info->segment[i].base, info->segment[i].size, BOOT_MEMORY_MODULE) &&
                   ((info->segment[i].base | info->segment[i].size | info->segment[i].address) &
                    4095) == 0,
               "segment", i);
    expect(text->address == 0x400000 && text->size == 4096, "text", text->address);
    expect(text->rights == (ABI_RIGHT_READ | ABI_RIGHT_EXECUTE), "rights of text", text->rights);
    expect(data->address == 0x410000, "data", data->address);
    expect(data->rights == (ABI_RIGHT_READ | ABI_RIGHT_WRITE), "rights of data", data->rights);
    expect(entry < text->size && code[entry] == 0xcc && code[1] == 'E', "entry", entry);
    for (uint64_t i = data->size; i > begin && size == 0; i--)
        size = bytes[i - 1] != 0 ? i - begin : 0;
    expect(size > 0 && (begin + 2 * size + 4095) / 4096 * 4096 == data->size, "data size", size);
    for (uint64_t i = 0; i < begin; i++)
        expect(bytes[i] == 0, "in front of the data", i);
    print("loader-supervisor: CRC 0x%08x\n", crc32_update(0, bytes + begin, size));
}

static void check_rsdp(const struct boot_info *info) {
    const uint8_t *rsdp = (const uint8_t *)info->platform->rsdp;
    static const char signature[] = "RSD PTR ";
    uint8_t sum = 0;
    expect(rsdp != NULL, "no RSDP", 0);
    if (rsdp == NULL)
        return;
    for (uint32_t i = 0; i < 20; i++)
        sum = (uint8_t)(sum + rsdp[i]);
    for (uint32_t i = 0; i < 8; i++)
        expect(rsdp[i] == (uint8_t)signature[i], "RSDP signature", i);
    expect(sum == 0, "RSDP checksum", sum);
    expect(rsdp[15] >= 2, "RSDP revision", rsdp[15]);
}

static uint64_t read_pm_timer(uint16_t port, uint32_t *ticks) {
    __asm__ volatile("inl %1, %0" : "=a"(*ticks) : "Nd"(port));
    return __builtin_ia32_rdtsc();
}

// Over 50 ms, by the PM timer, which both emulators have behind the PM1 control register.
static uint64_t measure_tsc(uint16_t port) {
    uint32_t first, now;
    uint64_t start = read_pm_timer(port, &first), end;
    do {
        end = read_pm_timer(port, &now);
    } while (((now - first) & 0xffffff) < 178977);
    return (end - start) * 3579545 / ((now - first) & 0xffffff);
}

// An emulator stands still when its machine is busy: one of some measurements must agree.
static void check_clock(const struct boot_info *info) {
    uint64_t now = __builtin_ia32_rdtsc(), apart = UINT64_MAX;
    for (uint32_t i = 0; i < 20 && apart > info->tsc_hz / 1000; i++) {
        uint64_t rate = measure_tsc(info->power.pm1_control[0] + 4);
        apart = rate > info->tsc_hz ? rate - info->tsc_hz : info->tsc_hz - rate;
    }
    expect(info->tsc_hz > 1000000 && apart <= info->tsc_hz / 1000, "tsc_hz", info->tsc_hz);
    expect(info->platform->tsc_error > 0 && info->platform->tsc_error < 1000, "tsc_error",
           info->platform->tsc_error);
    expect(info->features.has_tsc_deadline || info->apic_timer_hz > 1000000, "apic_timer_hz",
           info->apic_timer_hz);
    expect(info->thread_bits < 32, "thread_bits", info->thread_bits);
    const struct abi_start *start = (const struct abi_start *)info->segment[0].base;
    expect(start->utc_tsc > info->platform->entry_tsc && start->utc_tsc < now, "utc_tsc",
           start->utc_tsc);
    print("loader-clock: source %u, %u ppm, date %llu\n", info->platform->tsc_source,
          info->platform->tsc_error, (unsigned long long)start->utc_seconds);
}

// Flat, sorted and within bounds.
static void check_machine(const struct boot_info *info) {
    expect(boot_info_is_bounded(info), "counts", 0);
    for (uint32_t i = 0; i < info->cpu_count; i++) {
        expect(i == 0 || info->cpu[i].apic_id > info->cpu[i - 1].apic_id, "CPUs unsorted", i);
        print("loader-cpu: %u node %u\n", info->cpu[i].apic_id, info->cpu[i].node);
    }
    expect(info->boot_apic_id == info->cpu[0].apic_id, "boot_apic_id", info->boot_apic_id);
    for (uint32_t i = 0; i < info->ioapic_count; i++)
        print("loader-ioapic: 0x%llx gsi %u\n", (unsigned long long)info->ioapic[i].address,
              info->ioapic[i].gsi_base);
    for (uint32_t i = 0; i < info->platform->ecam_count; i++)
        print("loader-ecam: 0x%llx buses %u to %u\n",
              (unsigned long long)info->platform->ecam[i].base, info->platform->ecam[i].first_bus,
              info->platform->ecam[i].last_bus);
    const struct boot_memory *memory = (const struct boot_memory *)info->memory;
    for (uint32_t node = 0; node < info->platform->node_count; node++) {
        uint64_t size = 0;
        for (uint32_t i = 0; i < info->memory_count; i++)
            size += memory[i].node == node ? memory[i].length : 0;
        print("loader-node: %u has %llu MiB, distance %u\n", node, (unsigned long long)size >> 20,
              info->platform->distance[0][node]);
    }
    print("loader-power: pm1a 0x%x s5 %u reset 0x%x 0x%x isa 0 at %u hpet 0x%llx\n",
          info->power.pm1_control[0], info->power.s5_type[0] >> 10, info->power.reset_port,
          info->power.reset_value, info->platform->isa_irq[0].gsi,
          (unsigned long long)info->platform->hpet);
    if (info->platform->dmar.base != 0)
        expect(is_memory(info, info->platform->dmar.base, info->platform->dmar.size,
                         BOOT_MEMORY_ACPI) &&
                   *(const uint32_t *)info->platform->dmar.base == 0x52414d44,
               "DMAR", info->platform->dmar.base);
    print("loader-iommu: dmar %llu bytes, ivrs %llu\n",
          (unsigned long long)info->platform->dmar.size,
          (unsigned long long)info->platform->ivrs.size);
}

static void check_framebuffer(const struct boot_info *info) {
    const struct boot_framebuffer *framebuffer = &info->framebuffer;
    if (framebuffer->format != BOOT_PIXEL_NONE) {
        volatile uint32_t *pixels = (volatile uint32_t *)framebuffer->base;
        uint64_t last = (uint64_t)framebuffer->stride * framebuffer->height - 1;
        expect(framebuffer->stride >= framebuffer->width && framebuffer->height > 0, "framebuffer",
               0);
        pixels[0] = 0x00112233;
        pixels[last] = 0x00445566;
        expect(pixels[0] == 0x00112233 && pixels[last] == 0x00445566, "framebuffer not memory", 0);
    }
    print("loader-framebuffer: %ux%u stride %u format %u\n", framebuffer->width,
          framebuffer->height, framebuffer->stride, framebuffer->format);
}

static uint32_t config_read(uint32_t function, uint32_t offset) {
    uint32_t value;
    __asm__ volatile("outl %0, %1" ::"a"(0x80000000u | function << 8 | offset),
                     "Nd"((uint16_t)0xcf8));
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"((uint16_t)0xcfc));
    return value;
}

// Of bus 0, every function by itself.
static void check_quiet(const struct boot_info *info) {
    uint32_t count = 0, masters = 0;
    for (uint32_t function = 0; function < 256; function++) {
        if (config_read(function, 0) == UINT32_MAX)
            continue;
        count++;
        // Bits of host and ISA bridges are often fixed.
        bool is_fixed = config_read(function, 8) >> 17 == 0x0600u >> 1;
        masters += !is_fixed && (config_read(function, 4) & 4) != 0;
    }
    print("loader-pci: %u functions, %u master the bus\n", count, masters);
    expect(masters == 0 || strchr(info->platform->start.cmdline, 'K') != NULL,
           "a function masters the bus", masters);
    for (const char *line = info->report; *line != '\0'; line += strlen(line) + 1)
        print("loader-report: %s\n", line);
}

// Descriptors that noisy.c's device has written to.
static uint32_t count_written(const volatile uint8_t *ring) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < 4096; i++)
        count += ring[16 * i + 12] & 1;
    return count;
}

static void check_noise(const struct boot_info *info) {
    static const char name[] = "noise=";
    uint64_t ring = 0, end = __builtin_ia32_rdtsc() + info->tsc_hz;
    for (const char *at = info->platform->start.cmdline; at != NULL; at = strchr(at + 1, 'n'))
        for (uint32_t i = sizeof(name) - 1; memcmp(at, name, sizeof(name) - 1) == 0 && i < 22; i++)
            ring = ring << 4 | (uint64_t)(at[i] <= '9' ? at[i] - '0' : at[i] - 'a' + 10);
    if (ring == 0)
        return;
    uint32_t before = count_written((const volatile uint8_t *)ring);
    while (__builtin_ia32_rdtsc() < end)
        __asm__ volatile("pause");
    uint32_t more = count_written((const volatile uint8_t *)ring) - before;
    print("loader-noise: %s before, %s after\n", before > 0 ? "some" : "none",
          more > 0 ? "some" : "none");
}

_Noreturn void kernel_main(const struct boot_info *info, uint64_t stack, uint64_t flags) {
    uint64_t ticks = __builtin_ia32_rdtsc() - info->platform->entry_tsc;
    print("\nloader-kernel: %llu ticks after the loader began\n", (unsigned long long)ticks);
    check_state(info, stack, flags);
    check_memory(info);
    check_kernel(info);
    check_maps(info);
    check_modules(info);
    check_start(info);
    check_supervisor(info);
    check_rsdp(info);
    check_machine(info);
    check_clock(info);
    check_framebuffer(info);
    check_quiet(info);
    check_noise(info);
    print("loader-cmdline: [%s]\n", ((const struct abi_start *)info->segment[0].base)->cmdline);
    print(bad_count == 0 ? "loader-ok\n" : "loader-failed: %u\n", bad_count);
    while (!(in8(COM1_LSR) & LSR_TEMT)) {
    }
    for (const char *c = "Shutdown"; *c != '\0'; c++)
        out8(BOCHS_SHUTDOWN, (uint8_t)*c);
    out8(QEMU_DEBUG_EXIT, 0);
    for (;;)
        __asm__ volatile("cli; hlt");
}
