// SPDX-License-Identifier: Apache-2.0
// PCI functions made quiet. See boot/boot_quiesce.h.
#include "boot/boot_quiesce.h"
#include "boot/boot_quiesce_usb.h"
#include "boot/boot_report.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/types.h"
#include "lib/words.h"

#define PCI_COMMAND       0x04u
#define PCI_CLASS         0x08u
#define PCI_HEADER        0x0cu
#define PCI_BUSES         0x18u // of a bridge
#define COMMAND_MASTER    BIT(2)
#define HEADER_BRIDGE     1u
#define HEADER_TYPE(x)    ((x) >> 16 & 0x7f)
#define HEADER_IS_MULTI   BIT(23)
#define SECONDARY(x)      ((x) >> 8 & 0xff)
#define SUBORDINATE(x)    ((x) >> 16 & 0xff)
#define CLASS_BASE_USB    0x0c03u
#define CLASS_BASE_IOMMU  0x0806u
#define CLASS_IOAPIC      0x080010u
#define CLASS_IOXAPIC     0x080020u
#define ECAM_BUS_SIZE     (1ull << 20)
#define BUS_COUNT         256u
#define FUNCTIONS_A_BUS   256u
#define KEPT_MAX          16u
#define SPARED_MAX        64u
#define KEEP_WORD         "keep-dma="
#define FUNCTION_TEXT_MAX 16u
#define NAME_TEXT_MAX     32u

struct walk {
    const struct boot_bus *bus;
    struct boot_info *info;
    bool is_bridge_pass;
    uint32_t function_count, master_count, fixed_count, taken_count;
    uint32_t kept[KEPT_MAX], kept_count;       // that are named
    uint32_t spared[SPARED_MAX], spared_count; // I/O APICs and IOMMUs
    bool is_behind[BUS_COUNT];                 // a bridge that was seen
};

static uint32_t bus_of(uint32_t function) {
    return function >> 8 & 0xff;
}

static void print_function(char *text, uint32_t function) {
    size_t size = 0;
    if (function >> 16 != 0)
        size = fmt_format(text, FUNCTION_TEXT_MAX, "%04x:", function >> 16);
    fmt_format(text + size, FUNCTION_TEXT_MAX - size, "%02x:%02x.%x", bus_of(function),
               function >> 3 & 0x1f, function & 7);
}

static bool is_name_of(const char *name, size_t length, uint32_t function) {
    char text[FUNCTION_TEXT_MAX];
    print_function(text, function);
    return length == strlen(text) && memcmp(name, text, length) == 0;
}

static bool is_named(const struct walk *w, uint32_t function) {
    size_t size = 0;
    const char *name = words_find(w->info->platform->start.cmdline, KEEP_WORD, &size);
    while (name != NULL && !is_name_of(name, size, function))
        name = words_find(name + size, KEEP_WORD, &size);
    return name != NULL;
}

static bool is_kept(struct walk *w, uint32_t function) {
    if (!is_named(w, function) || w->kept_count == KEPT_MAX)
        return false;
    w->kept[w->kept_count++] = function;
    return true;
}

static bool leads_to(uint32_t bridge, uint32_t buses, const uint32_t *functions, uint32_t count) {
    bool leads = false;
    for (uint32_t i = 0; i < count; i++)
        leads |= functions[i] >> 16 == bridge >> 16 && bus_of(functions[i]) >= SECONDARY(buses) &&
                 bus_of(functions[i]) <= SUBORDINATE(buses);
    return leads;
}

static void stop_mastering(struct walk *w, uint32_t function) {
    uint32_t command = w->bus->config_read(function, PCI_COMMAND) & 0xffff; // status: 0 keeps it
    if ((command & COMMAND_MASTER) == 0)
        return;
    w->bus->config_write(function, PCI_COMMAND, command & ~(uint32_t)COMMAND_MASTER);
    w->master_count++;
    w->fixed_count += (w->bus->config_read(function, PCI_COMMAND) & COMMAND_MASTER) != 0;
}

static void take_usb(struct walk *w, uint32_t function, uint32_t interface) {
    char text[FUNCTION_TEXT_MAX];
    print_function(text, function);
    enum boot_usb_result result = boot_usb_take(w->bus, function, interface);
    w->taken_count += result == BOOT_USB_TAKEN || result == BOOT_USB_FORCED;
    if (result == BOOT_USB_FORCED)
        boot_report(w->info, "USB: the firmware does not let go of %s: taken by force", text);
    else if (result == BOOT_USB_SILENT)
        boot_report(w->info, "USB: %s does not answer: not taken from the firmware", text);
    else if (result == BOOT_USB_HIDDEN)
        boot_report(w->info, "USB: %s is not mapped: not taken from the firmware", text);
}

// They write where an interrupt is to go, not into memory.
static bool is_interrupting(uint32_t class) {
    return class >> 8 == CLASS_BASE_IOMMU || class == CLASS_IOAPIC || class == CLASS_IOXAPIC;
}

static void visit_endpoint(struct walk *w, uint32_t function) {
    uint32_t class = w->bus->config_read(function, PCI_CLASS) >> 8;
    w->function_count++;
    if (is_kept(w, function))
        return;
    if (is_interrupting(class)) {
        if (w->spared_count < SPARED_MAX)
            w->spared[w->spared_count++] = function;
        return;
    }
    if (class >> 8 == CLASS_BASE_USB)
        take_usb(w, function, class & 0xff);
    stop_mastering(w, function);
}

static void visit(struct walk *w, uint32_t function, uint32_t header) {
    bool is_bridge = HEADER_TYPE(header) == HEADER_BRIDGE;
    if (is_bridge && !w->is_bridge_pass) {
        uint32_t buses = w->bus->config_read(function, PCI_BUSES);
        for (uint32_t i = SECONDARY(buses); i != 0 && i <= SUBORDINATE(buses); i++)
            w->is_behind[i] = true;
    }
    if (is_bridge == w->is_bridge_pass && is_bridge) {
        uint32_t buses = w->bus->config_read(function, PCI_BUSES);
        w->function_count++;
        if (!leads_to(function, buses, w->kept, w->kept_count) &&
            !leads_to(function, buses, w->spared, w->spared_count))
            stop_mastering(w, function);
    } else if (is_bridge == w->is_bridge_pass) {
        visit_endpoint(w, function);
    }
}

static void walk_bus(struct walk *w, uint32_t first) {
    for (uint32_t i = 0; i < FUNCTIONS_A_BUS; i++) {
        uint32_t id = w->bus->config_read(first | i, 0);
        uint32_t header = id == UINT32_MAX ? 0 : w->bus->config_read(first | i, PCI_HEADER);
        if (id != UINT32_MAX && id != 0)
            visit(w, first | i, header);
        if (i % 8 == 0 && (header & HEADER_IS_MULTI) == 0)
            i += 7;
    }
}

static void walk_window(struct walk *w, const struct boot_ecam *ecam) {
    uint32_t hidden_count = 0;
    for (uint32_t bus = ecam->first_bus; bus <= ecam->last_bus; bus++) {
        uint64_t base = ecam->base + ECAM_BUS_SIZE * bus;
        bool is_mapped = w->bus->is_mapped(base, ECAM_BUS_SIZE);
        hidden_count += !is_mapped;
        if (is_mapped || ecam->segment == 0)
            walk_bus(w, (uint32_t)ecam->segment << 16 | bus << 8);
    }
    if (hidden_count > 0 && !w->is_bridge_pass)
        boot_report(w->info, "PCI: %u buses of segment %u (0x%llx) are not mapped: %s",
                    hidden_count, ecam->segment, (unsigned long long)ecam->base,
                    ecam->segment == 0 ? "reached by ports" : "left as the firmware had them");
}

static void walk_all(struct walk *w) {
    const struct boot_info *info = w->info;
    for (uint32_t i = 0; i < info->platform->ecam_count; i++)
        walk_window(w, &info->platform->ecam[i]);
    w->is_behind[0] = true;
    for (uint32_t bus = 0; bus < BUS_COUNT && info->platform->ecam_count == 0; bus++)
        if (w->is_behind[bus])
            walk_bus(w, bus << 8);
}

// What was kept, and each name for which nothing was.
static void report_kept(const struct walk *w) {
    for (uint32_t i = 0; i < w->kept_count; i++) {
        char text[FUNCTION_TEXT_MAX];
        print_function(text, w->kept[i]);
        boot_report(w->info, "PCI: %s is left as the firmware had it (keep-dma)", text);
    }
    size_t size = 0;
    const char *name = words_find(w->info->platform->start.cmdline, KEEP_WORD, &size);
    for (; name != NULL; name = words_find(name + size, KEEP_WORD, &size)) {
        char text[NAME_TEXT_MAX] = "";
        bool is_found = false;
        for (uint32_t i = 0; i < w->kept_count; i++)
            is_found |= is_name_of(name, size, w->kept[i]);
        memcpy(text, name, MIN(size, sizeof(text) - 1));
        if (!is_found)
            boot_report(w->info, "PCI: keep-dma=%s: no such device, or more than %u", text,
                        KEPT_MAX);
    }
}

void boot_quiesce_pci(const struct boot_bus *bus, const struct boot_acpi *acpi,
                      struct boot_info *info) {
    struct walk w = {.bus = bus, .info = info};
    walk_all(&w);
    w.is_bridge_pass = true;
    walk_all(&w);
    boot_report(info, "PCI: %u of %u functions mastered the bus, now off at %u", w.master_count,
                w.function_count, w.master_count - w.fixed_count);
    if (w.fixed_count > 0)
        boot_report(info, "PCI: %u of them have no way to turn it off (as bridges of old chipsets)",
                    w.fixed_count);
    if (w.spared_count > 0)
        boot_report(info, "PCI: %u I/O APICs and IOMMUs are left: their interrupts are writes",
                    w.spared_count);
    if (acpi->ecams_left > 0)
        boot_report(info, "PCI: %u ranges of buses beyond %u are left as the firmware had them",
                    acpi->ecams_left, BOOT_ECAMS_MAX);
    if (w.taken_count > 0)
        boot_report(info, "USB: %u controllers taken from the firmware", w.taken_count);
    report_kept(&w);
}
