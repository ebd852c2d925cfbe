// SPDX-License-Identifier: Apache-2.0
// Reads a machine through the boot application's own parsers, for test_machines.py. The file named
// first has lines:
//   SIGNATURE HEX          an ACPI table, whole
//   MEMORY TYPE START END  a range of the firmware's map, hex, end exclusive
//   C LEAF SUBLEAF EAX EBX ECX EDX   CPUID
//   OPTIONS HEX            a boot option's data
// What was found comes out as lines of a word and numbers.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/boot_acpi.h"
#include "boot/boot_clock.h"
#include "boot/boot_map.h"
#include "boot/boot_text.h"
#include "boot/boot_topology.h"

#define MAX      1024u
#define RSDP     0x1000u
#define XSDT     0x2000u
#define TABLE(i) (((i) + 1ull) << 32)

static struct {
    uint8_t *data;
    uint32_t size;
} tables[MAX];
static uint32_t table_count;
static uint8_t root[36], list[36 + 8 * MAX];
static struct boot_memory ranges[MAX];
static uint32_t range_count;
static struct {
    uint32_t leaf, subleaf;
    struct boot_cpuid r;
} leaves[MAX];
static uint32_t leaf_count;
static struct platform platform;
static struct boot_info info = {.platform = &platform};
static struct boot_acpi found;

static const void *map(uint64_t base, uint64_t size) {
    if (base == RSDP)
        return size <= sizeof(root) ? root : NULL;
    if (base == XSDT)
        return size <= 36 + 8 * table_count ? list : NULL;
    uint64_t index = (base >> 32) - 1;
    return base << 32 == 0 && index < table_count && size <= tables[index].size ? tables[index].data
                                                                                : NULL;
}

static uint32_t read_hex(const char *hex, uint8_t **bytes) {
    uint32_t size = (uint32_t)strspn(hex, "0123456789abcdef") / 2;
    *bytes = malloc(size + 1u);
    for (uint32_t i = 0; i < size; i++)
        sscanf(hex + 2 * (size_t)i, "%2hhx", &(*bytes)[i]);
    return size;
}

static void fix_sum(uint8_t *data, uint32_t size, uint32_t at) {
    uint8_t sum = 0;
    data[at] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + data[i]);
    data[at] = (uint8_t)-sum;
}

static void make_root(void) {
    uint64_t address = XSDT;
    uint32_t size = 36 + 8 * table_count;
    memcpy(list, "XSDT", 4);
    memcpy(list + 4, &size, sizeof(size));
    for (uint32_t i = 0; i < table_count; i++) {
        uint64_t table = TABLE(i);
        memcpy(list + 36 + 8 * (size_t)i, &table, sizeof(table));
    }
    fix_sum(list, size, 9);
    memcpy(root, "RSD PTR ", 8);
    root[15] = 2;
    root[20] = sizeof(root);
    memcpy(root + 24, &address, sizeof(address));
    fix_sum(root, 20, 8);
    fix_sum(root, sizeof(root), 32);
}

// The dump's addresses are the machine's: the FADT's DSDT is the one in the file.
static void join_dsdt(void) {
    for (uint32_t i = 0; i < table_count; i++)
        for (uint32_t k = 0; k < table_count; k++) {
            uint8_t *fadt = tables[i].data;
            uint64_t address = TABLE(k);
            if (memcmp(fadt, "FACP", 4) != 0 || memcmp(tables[k].data, "DSDT", 4) != 0)
                continue;
            // An address above 4 GiB does not fit into the old field, so a short table gets more
            // room.
            fadt = tables[i].data = realloc(fadt, 512);
            if (tables[i].size < 148)
                memset(fadt + tables[i].size, 0, 148 - tables[i].size);
            tables[i].size = tables[i].size < 148 ? 148 : tables[i].size;
            memcpy(fadt + 4, &tables[i].size, 4);
            memcpy(fadt + 140, &address, sizeof(address));
            fix_sum(fadt, tables[i].size, 9);
        }
}

static void read_options(const char *hex) {
    uint8_t *bytes;
    char text[START_CMDLINE_MAX];
    bool was_shell;
    uint32_t size = read_hex(hex, &bytes);
    boot_text_options(text, sizeof(text), bytes, size, &was_shell);
    printf("options %d [%s]\n", was_shell, text);
    free(bytes);
}

static void read_line(const char *line) {
    uint64_t start, end;
    uint32_t type, n[6];
    if (line[0] == '#')
        return;
    if (sscanf(line, "MEMORY %" SCNu32 " %" SCNx64 " %" SCNx64, &type, &start, &end) == 3) {
        if (boot_map_range(&ranges[range_count], start, (end - start) / BOOT_PAGE_SIZE,
                           boot_map_type(type)))
            range_count++;
    } else if (sscanf(line, "C %x %x %x %x %x %x", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5]) == 6) {
        leaves[leaf_count].leaf = n[0];
        leaves[leaf_count].subleaf = n[1];
        leaves[leaf_count++].r = (struct boot_cpuid){n[2], n[3], n[4], n[5]};
    } else if (strncmp(line, "OPTIONS ", 8) == 0) {
        read_options(line + 8);
    } else if (strlen(line) > 5 && line[4] == ' ') {
        tables[table_count].size = read_hex(line + 5, &tables[table_count].data);
        if (tables[table_count].size >= 36)
            table_count++;
        else
            free(tables[table_count].data);
    }
}

static struct boot_cpuid read_cpuid(uint32_t leaf, uint32_t subleaf) {
    for (uint32_t i = 0; i < leaf_count; i++)
        if (leaves[i].leaf == leaf && leaves[i].subleaf == subleaf)
            return leaves[i].r;
    return (struct boot_cpuid){0, 0, 0, 0};
}

static void print_machine(void) {
    const struct boot_power *power = &info.power;
    for (uint32_t i = 0; i < info.cpu_count; i++)
        printf("cpu %u %d\n", info.cpu[i].apic_id, (int32_t)info.cpu[i].node);
    for (uint32_t i = 0; i < info.ioapic_count; i++)
        printf("ioapic %" PRIx64 " %u %u\n", info.ioapic[i].address, info.ioapic[i].id,
               info.ioapic[i].gsi_base);
    for (uint32_t i = 0; i < BOOT_ISA_IRQS; i++)
        printf("irq %u %u %u %u\n", i, info.platform->isa_irq[i].gsi,
               info.platform->isa_irq[i].is_active_low, info.platform->isa_irq[i].is_level);
    for (uint32_t i = 0; i < info.platform->console_count; i++)
        printf("console %u %" PRIx64 " %u %u\n", info.platform->console[i].base.space,
               info.platform->console[i].base.address, info.platform->console[i].base.bits,
               info.platform->console[i].type);
    printf("power %x %x %x %x\n", power->pm1_control[0], power->pm1_control[1], found.smi_command,
           found.acpi_enable);
    printf("button %x %x %u %u %x [%s]\n", platform.start.button.pm1a_event,
           platform.start.button.pm1b_event, platform.start.button.size,
           platform.start.button.input, platform.start.button.trigger,
           found.no_button == NULL ? "" : found.no_button);
    printf("sleep %" PRIx64 "\n", info.platform->sleep_control.address);
    printf("timer %x %d\n", found.pm_timer_port, found.pm_timer_is_32bit);
    printf("s5 %u %u %u\n", power->has_s5, power->s5_type[0] >> 10, power->s5_type[1] >> 10);
    printf("reset %x %x\n", power->reset_port, power->reset_value);
    printf("hpet %" PRIx64 "\n", info.platform->hpet);
    printf("damaged %u\n", found.damaged_count);
}

static void print_memory(void) {
    static uint64_t points[2 * MAX];
    static struct boot_memory out[4 * MAX];
    uint32_t count = boot_map_build(ranges, range_count, points, out);
    count = boot_map_nodes(out, count, 4 * MAX, &found);
    for (uint32_t i = 0; i < count; i++)
        printf("memory %u %" PRIx64 " %" PRIx64 " %d\n", out[i].type, out[i].base,
               out[i].base + out[i].length, (int32_t)out[i].node);
}

int main(int argc, char **argv) {
    static char line[1 << 20];
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (file == NULL)
        return 2;
    while (fgets(line, sizeof(line), file) != NULL)
        read_line(line);
    fclose(file);
    join_dsdt();
    make_root();
    if (!boot_acpi_parse(RSDP, map, &info, &found))
        return 1;
    print_machine();
    print_memory();
    if (leaf_count > 0) {
        struct boot_cpuid tsc = read_cpuid(0x15, 0);
        printf("threads %u\n", boot_topology_thread_bits(read_cpuid));
        printf("told %" PRIu64 "\n", boot_clock_told((const uint32_t[]){tsc.eax, tsc.ebx, tsc.ecx},
                                                     read_cpuid(0x16, 0).eax & UINT16_MAX));
    }
    for (uint32_t i = 0; i < table_count; i++)
        free(tables[i].data);
    return 0;
}
