// SPDX-License-Identifier: Apache-2.0
// SMBIOS: what the machine is, for people and inventory programs: firmware, system, enclosure,
// processor, memory. Source: DMTF DSP0134 2.8.0 "System Management BIOS (SMBIOS) Reference
// Specification", 5.2.1 "SMBIOS 2.1 (32-bit) Entry Point" and chapter 7 "Structure definitions";
// names as there. What is unknown is 0 or what the specification has for "unknown".
#include <assert.h>

#include "lib/string.h"
#include "vmm/device/pc.h"
#include "vmm/firmware/firmware.h"

struct smbios_entry {
    char anchor[4]; // "_SM_"
    uint8_t checksum;
    uint8_t length;
    uint8_t major, minor;
    uint16_t structure_size_max;
    uint8_t revision;
    uint8_t formatted[5];
    char dmi_anchor[5]; // "_DMI_"
    uint8_t dmi_checksum;
    uint16_t table_length;
    uint32_t table;
    uint16_t structure_count;
    uint8_t bcd_revision;
} __attribute__((packed));
static_assert(sizeof(struct smbios_entry) == 31, "5.2.1 SMBIOS 2.1 (32-bit) Entry Point");
#define DMI_PART offsetof(struct smbios_entry, dmi_anchor)

struct smbios_header {
    uint8_t type, length;
    uint16_t handle;
} __attribute__((packed));

struct smbios_bios { // type 0
    struct smbios_header header;
    uint8_t vendor, version;
    uint16_t segment;
    uint8_t date;
    uint8_t rom_64k; // less one
    uint64_t characteristics;
    uint8_t extension1, extension2;
    uint8_t major, minor, ec_major, ec_minor;
} __attribute__((packed));

struct smbios_system { // type 1
    struct smbios_header header;
    uint8_t manufacturer, product, version, serial;
    uint8_t uuid[16];
    uint8_t wake_up, sku, family;
} __attribute__((packed));

struct smbios_chassis { // type 3
    struct smbios_header header;
    uint8_t manufacturer, type, version, serial, asset_tag;
    uint8_t boot_state, power_state, thermal_state, security;
    uint32_t oem;
    uint8_t height, cords, elements, element_length, sku;
} __attribute__((packed));

struct smbios_processor { // type 4
    struct smbios_header header;
    uint8_t socket, type, family, manufacturer;
    uint32_t signature, features;
    uint8_t version, voltage;
    uint16_t external_clock, max_speed, speed;
    uint8_t status, upgrade;
    uint16_t l1, l2, l3;
    uint8_t serial, asset_tag, part;
    uint8_t cores, cores_enabled, threads;
    uint16_t characteristics;
    uint16_t family2;
} __attribute__((packed));

struct smbios_array { // type 16
    struct smbios_header header;
    uint8_t location, use, correction;
    uint32_t capacity_k;
    uint16_t error_handle, devices;
    uint64_t capacity;
} __attribute__((packed));

struct smbios_memory { // type 17
    struct smbios_header header;
    uint16_t array, error_handle, total_width, data_width, size_m;
    uint8_t form, set, locator, bank, type;
    uint16_t detail, speed;
    uint8_t manufacturer, serial, asset_tag, part, attributes;
    uint32_t size_extended_m;
    uint16_t clock, voltage_min, voltage_max, voltage;
} __attribute__((packed));

struct smbios_mapped { // type 19
    struct smbios_header header;
    uint32_t first_k, last_k;
    uint16_t array;
    uint8_t partition_width;
    uint64_t first, last;
} __attribute__((packed));

struct smbios_boot { // type 32
    struct smbios_header header;
    uint8_t reserved[6];
    uint8_t status;
} __attribute__((packed));

static_assert(sizeof(struct smbios_bios) == 0x18, "7.1 BIOS Information");
static_assert(sizeof(struct smbios_system) == 0x1b, "7.2 System Information");
static_assert(sizeof(struct smbios_chassis) == 0x16, "7.4 System Enclosure");
static_assert(sizeof(struct smbios_processor) == 0x2a, "7.5 Processor Information");
static_assert(sizeof(struct smbios_array) == 0x17, "7.17 Physical Memory Array");
static_assert(sizeof(struct smbios_memory) == 0x28, "7.18 Memory Device");
static_assert(sizeof(struct smbios_mapped) == 0x1f, "7.20 Memory Array Mapped Address");

enum {
    MAJOR = 2,
    MINOR = 8,
    STRING_1 = 1, // the first string behind a structure, and so on
    STRING_2 = 2,
    STRING_3 = 3,
    ROM_SEGMENT = 0xf000,
    NOT_SUPPORTED = 1 << 3, // "BIOS characteristics are not supported"
    EXTENSION1_ACPI = 1,
    EXTENSION2_VIRTUAL = 1 << 4, // "the table describes a virtual machine"
    NO_EC = 0xff,
    WAKE_POWER_SWITCH = 6,
    CHASSIS_OTHER = 1,
    STATE_SAFE = 3,
    STATE_UNKNOWN = 2,
    PROCESSOR_CENTRAL = 3,
    FAMILY_OTHER = 1,
    STATUS_ENABLED = 0x41, // the socket is populated
    UPGRADE_OTHER = 1,
    CHARACTERISTICS_64_BIT = 1 << 2,
    NO_HANDLE = 0xffff, // caches
    LOCATION_OTHER = 1,
    USE_SYSTEM = 3,
    CORRECTION_UNKNOWN = 2,
    CAPACITY_EXTENDED = 0x80000000,
    NO_ERROR_HANDLE = 0xfffe,
    FORM_OTHER = 1,
    MEMORY_RAM = 7,
    DETAIL_OTHER = 1 << 1,
    SIZE_EXTENDED = 0x7fff,
    TYPE_END = 127,

    HANDLE_ARRAY = 0x1000,
    HANDLE_MEMORY = 0x1100,
    HANDLE_MAPPED = 0x1300,
};

#define CAPACITY_K_END 0x80000000ULL // first that goes into the extended field
#define SIZE_M_END     0x7fffULL
#define ADDRESS_K_END  0xffffffffULL

struct builder {
    uint8_t *start, *next, *end;
    uint32_t count, largest;
    bool is_full;
};

// A structure and the strings behind it, each with its NUL, as one literal: `strings` ends with
// two.
static void put(struct builder *b, uint8_t type, uint16_t handle, const void *structure,
                size_t size, const char *strings, size_t strings_size) {
    struct smbios_header header = {type, (uint8_t)size, handle};
    if ((size_t)(b->end - b->next) < size + strings_size) {
        b->is_full = true;
        return;
    }
    memcpy(b->next, structure, size);
    memcpy(b->next, &header, sizeof(header));
    memcpy(b->next + size, strings, strings_size);
    b->next += size + strings_size;
    b->count++;
    b->largest = size + strings_size > b->largest ? (uint32_t)(size + strings_size) : b->largest;
}

#define PUT(b, type, handle, structure, strings)                                                   \
    put(b, type, handle, &(structure), sizeof(structure), strings "\0", sizeof(strings "\0"))
#define NO_STRINGS ""

static void put_machine(struct builder *b) {
    struct smbios_bios bios = {.vendor = STRING_1,
                               .version = STRING_2,
                               .segment = ROM_SEGMENT,
                               .date = STRING_3,
                               .characteristics = NOT_SUPPORTED,
                               .extension1 = EXTENSION1_ACPI,
                               .extension2 = EXTENSION2_VIRTUAL,
                               .major = 1,
                               .ec_major = NO_EC,
                               .ec_minor = NO_EC};
    struct smbios_system system = {.manufacturer = STRING_1,
                                   .product = STRING_2,
                                   .version = STRING_3,
                                   .wake_up = WAKE_POWER_SWITCH};
    struct smbios_chassis chassis = {.manufacturer = STRING_1,
                                     .type = CHASSIS_OTHER,
                                     .boot_state = STATE_SAFE,
                                     .power_state = STATE_SAFE,
                                     .thermal_state = STATE_SAFE,
                                     .security = STATE_UNKNOWN};
    PUT(b, 0, 0x0000, bios,
        "Bulkhead\0"
        "1.0\0"
        "01/01/2026");
    PUT(b, 1, 0x0100, system,
        "Bulkhead\0"
        "Virtual PC\0"
        "1.0");
    PUT(b, 3, 0x0300, chassis, "Bulkhead");
}

static void put_processor(struct builder *b, const struct firmware_params *params) {
    struct smbios_processor processor = {.socket = STRING_1,
                                         .type = PROCESSOR_CENTRAL,
                                         .family = FAMILY_OTHER,
                                         .manufacturer = STRING_2,
                                         .signature = params->cpu_signature,
                                         .features = params->cpu_features,
                                         .status = STATUS_ENABLED,
                                         .upgrade = UPGRADE_OTHER,
                                         .l1 = NO_HANDLE,
                                         .l2 = NO_HANDLE,
                                         .l3 = NO_HANDLE,
                                         .cores = (uint8_t)params->cpu_count,
                                         .cores_enabled = (uint8_t)params->cpu_count,
                                         .threads = (uint8_t)params->cpu_count,
                                         .characteristics = CHARACTERISTICS_64_BIT,
                                         .family2 = FAMILY_OTHER};
    PUT(b, 4, 0x0400, processor,
        "CPU 0\0"
        "Bulkhead");
}

// Where the RAM is seen: `first` to `last`, inclusive.
static void put_mapped(struct builder *b, uint16_t handle, uint64_t first, uint64_t last) {
    struct smbios_mapped mapped = {.first_k = (uint32_t)(first >> 10),
                                   .last_k = (uint32_t)(last >> 10),
                                   .array = HANDLE_ARRAY,
                                   .partition_width = 1};
    if (last >> 10 >= ADDRESS_K_END) {
        mapped.first_k = mapped.last_k = UINT32_MAX;
        mapped.first = first;
        mapped.last = last;
    }
    PUT(b, 19, handle, mapped, NO_STRINGS);
}

static void put_memory(struct builder *b, uint64_t size) {
    struct smbios_array array = {.location = LOCATION_OTHER,
                                 .use = USE_SYSTEM,
                                 .correction = CORRECTION_UNKNOWN,
                                 .capacity_k = (uint32_t)(size >> 10),
                                 .error_handle = NO_ERROR_HANDLE,
                                 .devices = 1};
    struct smbios_memory memory = {.array = HANDLE_ARRAY,
                                   .error_handle = NO_ERROR_HANDLE,
                                   .total_width = UINT16_MAX,
                                   .data_width = UINT16_MAX,
                                   .size_m = (uint16_t)(size >> 20),
                                   .form = FORM_OTHER,
                                   .locator = STRING_1,
                                   .type = MEMORY_RAM,
                                   .detail = DETAIL_OTHER};
    if (size >> 10 >= CAPACITY_K_END) {
        array.capacity_k = CAPACITY_EXTENDED;
        array.capacity = size;
    }
    if (size >> 20 >= SIZE_M_END) {
        memory.size_m = SIZE_EXTENDED;
        memory.size_extended_m = (uint32_t)(size >> 20);
    }
    PUT(b, 16, HANDLE_ARRAY, array, NO_STRINGS);
    PUT(b, 17, HANDLE_MEMORY, memory, "RAM");
    uint64_t low = size < PC_MMIO_HOLE_BASE ? size : PC_MMIO_HOLE_BASE;
    put_mapped(b, HANDLE_MAPPED, 0, low - 1);
    if (size > low)
        put_mapped(b, HANDLE_MAPPED + 1, PC_HIGH_RAM_BASE, PC_HIGH_RAM_BASE + (size - low) - 1);
}

size_t smbios_build(uint8_t *at, size_t size, uint64_t gpa, const struct firmware_params *params) {
    const size_t head = (sizeof(struct smbios_entry) + 15) & ~15ULL;
    if (size < head)
        return 0;
    struct builder b = {.start = at + head, .next = at + head, .end = at + size};
    struct smbios_boot boot = {.status = 0};
    struct smbios_header end = {0};
    put_machine(&b);
    put_processor(&b, params);
    put_memory(&b, params->memory_size);
    PUT(&b, 32, 0x2000, boot, NO_STRINGS);
    PUT(&b, TYPE_END, 0x7f00, end, NO_STRINGS);
    if (b.is_full)
        return 0;
    struct smbios_entry entry = {.length = sizeof(entry),
                                 .major = MAJOR,
                                 .minor = MINOR,
                                 .structure_size_max = (uint16_t)b.largest,
                                 .table_length = (uint16_t)(b.next - b.start),
                                 .table = (uint32_t)(gpa + head),
                                 .structure_count = (uint16_t)b.count,
                                 .bcd_revision = MAJOR << 4 | MINOR};
    memcpy(entry.anchor, "_SM_", sizeof(entry.anchor));
    memcpy(entry.dmi_anchor, "_DMI_", sizeof(entry.dmi_anchor));
    entry.dmi_checksum =
        firmware_checksum((const uint8_t *)&entry + DMI_PART, sizeof(entry) - DMI_PART);
    entry.checksum = firmware_checksum(&entry, sizeof(entry));
    memcpy(at, &entry, sizeof(entry));
    return (size_t)(b.next - at);
}
