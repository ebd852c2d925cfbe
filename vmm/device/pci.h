// SPDX-License-Identifier: Apache-2.0
// PCI bus 0: configuration mechanism #1, the host bridge, and the place for further functions.
//
// Setup: pci_init(), pci_attach() (8 ports at 0xcf8), then pci_add_function() for each function,
// filled by pci_function_init(), pci_function_set_bar(). The bus maps and unmaps BARs as the guest
// programs them; a BAR that would overlap something stays unmapped until it is moved. A device that
// has a PCI function embeds struct pci_function, saves it in its own record (pci_function_save())
// and drives its interrupt pin with pci_function_set_intx().
//
// A byte access to port 0xcf9 is the reset control register: bit 2 going from 0 to 1 resets the VM.
//
// Source: "PCI Local Bus Specification 3.0", section 3.2.2.3.2 "Software Generation of
// Configuration Transactions" and chapter 6 "Configuration Space"; "82441FX PCI and Memory
// Controller (PMC)" (Intel, May 1996); reset control: "82371AB (PIIX4)", section 4.2.6.1 "RC -
// Reset Control Register". Invariants: a configuration bit outside `writable` keeps the value it
// was set up with.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"
#include "vmm/device/pc.h"

#define PCI_FUNCTIONS    256u // 32 devices of 8 functions
#define PCI_CONFIG_BYTES 256u
#define PCI_BARS         6u
#define PCI_PORTS        8u

#define PCI_HOST_BRIDGE_VENDOR 0x8086u // 82441FX, "440FX": what OVMF and every guest knows
#define PCI_HOST_BRIDGE_DEVICE 0x1237u

// Offsets of the standard header.
#define PCI_CFG_VENDOR        0x00u
#define PCI_CFG_DEVICE        0x02u
#define PCI_CFG_COMMAND       0x04u
#define PCI_CFG_STATUS        0x06u
#define PCI_CFG_REVISION      0x08u
#define PCI_CFG_CLASS         0x09u
#define PCI_CFG_CACHE_LINE    0x0cu
#define PCI_CFG_LATENCY       0x0du
#define PCI_CFG_HEADER_TYPE   0x0eu
#define PCI_CFG_BAR0          0x10u
#define PCI_CFG_SUBSYSTEM_VID 0x2cu
#define PCI_CFG_SUBSYSTEM_ID  0x2eu
#define PCI_CFG_CAPABILITIES  0x34u
#define PCI_CFG_INT_LINE      0x3cu
#define PCI_CFG_INT_PIN       0x3du

#define PCI_COMMAND_IO           0x0001u
#define PCI_COMMAND_MEMORY       0x0002u
#define PCI_COMMAND_MASTER       0x0004u
#define PCI_COMMAND_INTX_DISABLE 0x0400u
#define PCI_STATUS_INTX          0x0008u
#define PCI_STATUS_CAPABILITIES  0x0010u

enum pci_bar_kind {
    PCI_BAR_NONE = 0,
    PCI_BAR_PORTS,
    PCI_BAR_MMIO32,
    PCI_BAR_MMIO64, // takes this BAR and the next
};

struct pci_bar {
    enum pci_bar_kind kind;
    uint64_t size;         // a power of two: ports 4..256, memory 16..
    struct device *device; // whom the bus calls
    uint64_t first_offset; // what that device sees as offset at the BAR's base
    uint8_t width;         // widest access it takes
    bool mapped;
    uint64_t base; // while mapped
};

struct pci;
struct pci_function;

struct pci_function_ops {
    // The guest wrote `size` bytes at `offset`; config[] holds the new value. May be NULL.
    void (*config_written)(struct pci_function *function, uint8_t offset, uint8_t size);
};

struct pci_function {
    struct pci *pci; // NULL until added
    const struct pci_function_ops *ops;
    void *opaque;
    uint8_t devfn;
    bool intx;        // the function wants its interrupt pin asserted
    bool intx_driven; // and it is, as INTX_DISABLE does not forbid it
    uint8_t config[PCI_CONFIG_BYTES];
    uint8_t reset_config[PCI_CONFIG_BYTES]; // as set up: the state after reset
    uint8_t writable[PCI_CONFIG_BYTES];     // bits that the guest may write
    uint8_t clear_on_one[PCI_CONFIG_BYTES]; // bits that the guest clears by writing 1
    struct pci_bar bar[PCI_BARS];
};

struct pci_ids {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_code; // class << 16 | subclass << 8 | programming interface
    uint8_t revision;
    uint8_t interrupt_pin; // 0 none, 1 A .. 4 D
};

struct pci_backend {
    void *opaque;
    void (*reset)(void *opaque); // port 0xcf9
    struct irq_line pirq[PC_PIRQS];
};

struct pci {
    struct device device;
    struct pci_backend backend;
    struct bus *bus;
    uint32_t config_address;
    uint8_t reset_control;
    uint16_t pirq_drivers[PC_PIRQS]; // functions that assert each line
    struct pci_function *function[PCI_FUNCTIONS];
    struct pci_function host_bridge;
};

void pci_init(struct pci *pci, const struct device_host *host, const struct pci_backend *backend,
              struct bus *bus);

enum bus_error pci_attach(struct pci *pci);

// Fills the standard header and its write masks. Further registers (capabilities) are set with
// pci_function_set_config() before pci_add_function().
void pci_function_init(struct pci_function *function, const struct pci_ids *ids,
                       const struct pci_function_ops *ops, void *opaque);

// Sets up a register of `size` bytes: value after reset, bits the guest may write, bits it clears
// by 1.
void pci_function_set_config(struct pci_function *function, uint8_t offset, uint8_t size,
                             uint32_t value, uint32_t writable, uint32_t clear_on_one);

// Sets up BAR `index`; kind, size, device, first_offset and width of `bar` are used. False:
// impossible.
bool pci_function_set_bar(struct pci_function *function, uint32_t index, const struct pci_bar *bar);

// Puts the function at device `devfn` >> 3, function `devfn` & 7. False: taken.
bool pci_add_function(struct pci *pci, struct pci_function *function, uint8_t devfn);

// Drives the function's interrupt pin (command and status register are respected).
void pci_function_set_intx(struct pci_function *function, bool level);

// Power-on values; BARs are unmapped, the interrupt pin is released.
void pci_function_reset(struct pci_function *function);

// What a device with a PCI function puts into its own record, 264 bytes. The check says whether the
// record fits this function; the restore that follows cannot fail and maps the BARs. It calls no
// callback.
#define PCI_FUNCTION_RECORD_BYTES 264u
void pci_function_save(const struct pci_function *function, void *record);
bool pci_function_check(const struct pci_function *function, const void *record);
void pci_function_restore(struct pci_function *function, const void *record);

// Access to configuration space as the guest does it; `offset` + `size` <= 256.
uint32_t pci_function_read(const struct pci_function *function, uint8_t offset, uint8_t size);
void pci_function_write(struct pci_function *function, uint8_t offset, uint8_t size,
                        uint32_t value);
