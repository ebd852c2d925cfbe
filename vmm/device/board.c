// SPDX-License-Identifier: Apache-2.0
// The mainboard: creates the devices in the order of their wiring (interrupt controllers, wires,
// the rest), puts them on the bus, and treats them as one thing for time, reset, save and restore.
#include "vmm/device/board.h"

#include "lib/string.h"
#include "vmm/device/pc.h"

// --- what devices ask of the machine -------------------------------------------------------------

static void board_event(struct board *board, enum board_event event, uint32_t code) {
    board->config.event(board->config.opaque, event, code);
}

static void on_power_off(void *opaque) {
    board_event(opaque, BOARD_POWER_OFF, 0);
}

static void on_reset(void *opaque) {
    board_event(opaque, BOARD_RESET, 0);
}

static void on_debug_exit(void *opaque, uint32_t code) {
    board_event(opaque, BOARD_DEBUG_EXIT, code);
}

// --- setup ---------------------------------------------------------------------------------------

static void controllers_init(struct board *board) {
    const struct board_config *config = &board->config;
    struct pci_backend pci = {.opaque = board, .reset = on_reset};

    pic_init(&board->pic, config->host, config->pic_intr);
    ioapic_init(&board->ioapic, config->host, &config->ioapic);
    irq_router_init(&board->irq, config->host, &board->pic, &board->ioapic);
    for (uint32_t i = 0; i < PC_PIRQS; i++)
        pci.pirq[i] = irq_router_pirq(&board->irq, i);
    pci_init(&board->pci, config->host, &pci, &board->bus);
}

static void devices_init(struct board *board) {
    const struct board_config *config = &board->config;
    const struct device_host *host = config->host;
    struct keyboard_backend keyboard = {.opaque = board, .reset = on_reset};
    struct pm_backend pm = {.opaque = board, .power_off = on_power_off};
    struct debugexit_backend debugexit = {.opaque = board, .exit = on_debug_exit};
    struct irq_router *irq = &board->irq;

    pit_init(&board->pit, host, irq_router_isa(irq, PC_IRQ_PIT));
    rtc_init(&board->rtc, host, irq_router_isa(irq, PC_IRQ_RTC), config->utc_seconds);
    rtc_set_memory(&board->rtc, config->low_ram_bytes, config->high_ram_bytes);
    uart_init(&board->com1, host, &config->com1, irq_router_isa(irq, PC_IRQ_COM1));
    keyboard_init(&board->keyboard, host, &keyboard, irq_router_isa(irq, PC_IRQ_KEYBOARD));
    pm_init(&board->pm, host, &pm, irq_router_isa(irq, PC_IRQ_SCI));
    rtc_set_wake(&board->rtc, pm_rtc_line(&board->pm));
    debugexit_init(&board->debugexit, host, &debugexit);
}

// The map of pc.h has room for all, so this cannot fail; a unit test looks.
static void devices_attach(struct board *board) {
    struct bus *bus = &board->bus;

    (void)pic_attach(&board->pic, bus);
    (void)ioapic_attach(&board->ioapic, bus, PC_IOAPIC_BASE);
    (void)pit_attach(&board->pit, bus);
    (void)rtc_attach(&board->rtc, bus);
    (void)uart_attach(&board->com1, bus, PC_PORT_COM1);
    (void)keyboard_attach(&board->keyboard, bus);
    (void)pm_attach(&board->pm, bus, PC_PORT_PM);
    (void)pci_attach(&board->pci);
    (void)debugexit_attach(&board->debugexit, bus, PC_PORT_DEBUG_EXIT);
}

void board_init(struct board *board, const struct board_config *config) {
    struct device *all[BOARD_DEVICES] = {
        &board->pic.device, &board->ioapic.device,    &board->irq.device,      &board->pit.device,
        &board->rtc.device, &board->com1.device,      &board->keyboard.device, &board->pm.device,
        &board->pci.device, &board->debugexit.device,
    };

    board->config = *config;
    memcpy(board->device, all, sizeof(all));
    bus_init(&board->bus);
    controllers_init(board);
    devices_init(board);
    devices_attach(board);
}

// --- all devices as one --------------------------------------------------------------------------

void board_reset(struct board *board) {
    for (uint32_t i = BOARD_DEVICES; i-- > 0;) // those who drive lines before those who listen
        board->device[i]->ops->reset(board->device[i]);
}

uint64_t board_next_deadline(const struct board *board) {
    uint64_t next = DEVICE_NO_DEADLINE;

    for (uint32_t i = 0; i < BOARD_DEVICES; i++) {
        const struct device *device = board->device[i];
        uint64_t deadline =
            device->ops->deadline ? device->ops->deadline(device) : DEVICE_NO_DEADLINE;

        if (deadline < next)
            next = deadline;
    }
    return next;
}

void board_run(struct board *board, uint64_t now) {
    for (uint32_t i = 0; i < BOARD_DEVICES; i++) {
        struct device *device = board->device[i];

        if (device->ops->deadline && device->ops->deadline(device) <= now)
            device->ops->run(device, now);
    }
}

size_t board_saved_size(const struct board *board) {
    size_t size = 0;

    for (uint32_t i = 0; i < BOARD_DEVICES; i++)
        size += device_saved_size(board->device[i]);
    return size;
}

void board_save(const struct board *board, void *buffer) {
    uint8_t *at = buffer;

    for (uint32_t i = 0; i < BOARD_DEVICES; i++) {
        device_save(board->device[i], at);
        at += device_saved_size(board->device[i]);
    }
}

enum device_error board_restore(struct board *board, const void *buffer, size_t size) {
    const uint8_t *at = buffer;

    for (uint32_t i = 0; i < BOARD_DEVICES; i++) {
        size_t used = 0;
        enum device_error error = device_restore(board->device[i], at, size, &used);

        if (error)
            return error;
        at += used;
        size -= used;
    }
    return size == 0 ? DEVICE_OK : DEVICE_RECORD_SIZE;
}
