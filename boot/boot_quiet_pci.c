// SPDX-License-Identifier: Apache-2.0
// PCI functions made quiet. See boot/boot_quiet.h.
#include "boot/boot_quiet.h"
#include "boot/boot_quiet_usb.h"
#include "boot/boot_report.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/types.h"

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
#define BUS_COUNT         256u
#define FUNCTIONS_A_BUS   256u
#define KEPT_MAX          16u
#define KEEP_WORD         "keep-dma="
#define FUNCTION_TEXT_MAX 16u

struct walk {
    const struct boot_bus *bus;
    struct boot_info *info;
    bool is_bridge_pass;
    uint32_t function_count, master_count, fixed_count, taken_count;
    uint32_t kept[KEPT_MAX], kept_count;
    bool is_behind[BUS_COUNT]; // a bridge that was seen
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

static bool is_named(const char *cmdline, uint32_t function) {
    char text[FUNCTION_TEXT_MAX];
    const size_t skip = sizeof(KEEP_WORD) - 1;
    print_function(text, function);
    size_t length = strlen(text);
    for (const char *at = cmdline; at != NULL; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (memcmp(at, KEEP_WORD, MIN(skip, strlen(at) + 1)) == 0 &&
            memcmp(at + skip, text, MIN(length, strlen(at + skip) + 1)) == 0 &&
            (at[skip + length] == ' ' || at[skip + length] == '\0'))
            return true;
    }
    return false;
}

static bool is_kept(struct walk *w, uint32_t function) {
    if (!is_named(w->info->cmdline, function) || w->kept_count == KEPT_MAX)
        return false;
    w->kept[w->kept_count++] = function;
    return true;
}

static bool leads_to_kept(const struct walk *w, uint32_t function, uint32_t buses) {
    bool leads = false;
    for (uint32_t i = 0; i < w->kept_count; i++)
        leads |= w->kept[i] >> 16 == function >> 16 && bus_of(w->kept[i]) >= SECONDARY(buses) &&
                 bus_of(w->kept[i]) <= SUBORDINATE(buses);
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

static void visit_endpoint(struct walk *w, uint32_t function) {
    uint32_t class = w->bus->config_read(function, PCI_CLASS) >> 8;
    w->function_count++;
    if (is_kept(w, function))
        return;
    if (class >> 8 == CLASS_BASE_USB) {
        char text[FUNCTION_TEXT_MAX];
        print_function(text, function);
        enum boot_usb_result result = boot_usb_take(w->bus, function, class & 0xff);
        w->taken_count += result != BOOT_USB_FREE;
        if (result == BOOT_USB_FORCED)
            boot_report(w->info, "USB: the firmware does not let go of %s: taken by force", text);
    }
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
        w->function_count++;
        if (!leads_to_kept(w, function, w->bus->config_read(function, PCI_BUSES)))
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

static void walk_all(struct walk *w) {
    const struct boot_info *info = w->info;
    for (uint32_t i = 0; i < info->ecam_count; i++)
        for (uint32_t bus = info->ecam[i].first_bus; bus <= info->ecam[i].last_bus; bus++)
            walk_bus(w, (uint32_t)info->ecam[i].segment << 16 | bus << 8);
    w->is_behind[0] = true;
    for (uint32_t bus = 0; bus < BUS_COUNT && info->ecam_count == 0; bus++)
        if (w->is_behind[bus])
            walk_bus(w, bus << 8);
}

void boot_quiet_pci(const struct boot_bus *bus, struct boot_info *info) {
    struct walk w = {.bus = bus, .info = info};
    walk_all(&w);
    w.is_bridge_pass = true;
    walk_all(&w);
    boot_report(info, "PCI: %u of %u functions mastered the bus, now none does%s", w.master_count,
                w.function_count, w.kept_count > 0 ? " but those named by keep-dma" : "");
    if (w.fixed_count > 0)
        boot_report(info, "PCI: %u of them have no way to turn it off (as bridges of old chipsets)",
                    w.fixed_count);
    if (w.taken_count > 0)
        boot_report(info, "USB: %u controllers taken from the firmware", w.taken_count);
    for (uint32_t i = 0; i < w.kept_count; i++) {
        char text[FUNCTION_TEXT_MAX];
        print_function(text, w.kept[i]);
        boot_report(info, "PCI: %s is left as the firmware had it (keep-dma)", text);
    }
}
