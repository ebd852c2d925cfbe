// SPDX-License-Identifier: Apache-2.0
// ACPI fixed hardware: PM1a event and control blocks, PM timer, power button, system control
// interrupt.
//
// Setup: pm_init(), pm_attach() (12 ports: 0 PM1_STS, 2 PM1_EN, 4 PM1_CNT, 8 PM_TMR). The machine
// is in ACPI mode from the start (SCI_EN always reads 1, and the FADT names no SMI command port).
//
// Source: ACPI 6.5, section 4.8 "ACPI Register Model". Sleep type PM_SLP_TYP_S5 powers off; no
// other sleep state exists: who suspends to idle is woken by the SCI, of the power button or the
// RTC's alarm. The timer is 32 bits wide (TMR_VAL_EXT). No sleep button or global lock event ever
// arrives. The reset register of the FADT is port 0xcf9, which pci.h owns.
// Invariant: the SCI is asserted exactly while PM1_STS & PM1_EN is not 0.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

#define PM_TIMER_HZ   3579545u
#define PM_PORTS      12u
#define PM_PORT_EVENT 0u
#define PM_PORT_CNT   4u
#define PM_PORT_TIMER 8u
#define PM_SLP_TYP_S5 5u

struct pm_backend {
    void *opaque;
    void (*power_off)(void *opaque); // the guest entered S5
};

struct pm {
    struct device device;
    struct pm_backend backend;
    struct irq_line sci;
    uint16_t status;
    uint16_t enable;
    uint16_t control;
    uint64_t half_turns; // toggles of the timer's top bit up to the last look at it
    bool sci_level;
};

void pm_init(struct pm *pm, const struct device_host *host, const struct pm_backend *backend,
             struct irq_line sci);

enum bus_error pm_attach(struct pm *pm, struct bus *bus, uint16_t base);

// Somebody pressed the power button: a request to the guest to shut down.
void pm_power_button(struct pm *pm);

// For the RTC's alarm (rtc_set_wake): a rise is the event.
struct irq_line pm_rtc_line(struct pm *pm);
