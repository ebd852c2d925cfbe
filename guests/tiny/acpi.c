// SPDX-License-Identifier: Apache-2.0
// The ACPI tables are well-formed, are found both ways, and agree with the machine: one processor,
// one IOAPIC, the PM timer running, ACPI mode on from the start.
#include "runtime/acpi.h"
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define MADT_ENTRIES    44u
#define MADT_LAPIC      0u
#define MADT_IOAPIC     1u
#define MADT_OVERRIDE   2u
#define MADT_X2APIC     9u
#define MADT_ENABLED    1u
#define PM1_CONTROL_SCI 1u
#define PM_TIMER_HZ     3579545ULL
#define RSDP_SIZE_2     36u

static void check_table(const char *signature) {
    const uint8_t *table = acpi_find(signature);
    CHECK(table != NULL);
    if (table == NULL) {
        print("no %s\n", signature);
        return;
    }
    CHECK(memcmp(table, signature, 4) == 0);
    CHECK(acpi_sum_is_right(table, (uint32_t)acpi_field(table, 4, 4)));
}

static void check_madt(void) {
    const uint8_t *madt = acpi_find("APIC");
    uint32_t processors = 0, ioapics = 0, irq0 = UINT32_MAX;
    CHECK_EQ(acpi_field(madt, ACPI_HEADER, 4), LAPIC_BASE);
    for (const uint8_t *at = madt + MADT_ENTRIES; at < madt + acpi_field(madt, 4, 4); at += at[1]) {
        if (at[1] < 2)
            break;
        if (at[0] == MADT_LAPIC && (acpi_field(at, 4, 4) & MADT_ENABLED))
            processors++;
        if (at[0] == MADT_X2APIC && (acpi_field(at, 8, 4) & MADT_ENABLED))
            processors++;
        if (at[0] == MADT_IOAPIC && acpi_field(at, 4, 4) == IOAPIC_BASE)
            ioapics++;
        if (at[0] == MADT_OVERRIDE && at[3] == 0)
            irq0 = (uint32_t)acpi_field(at, 4, 4);
    }
    CHECK_EQ(processors, 1);
    CHECK_EQ(ioapics, 1);
    CHECK_EQ(irq0, 2);
}

static void check_fadt(void) {
    const uint8_t *fadt = acpi_find("FACP");
    CHECK_EQ(acpi_field(fadt, FADT_SMI_COMMAND, 4), 0);
    CHECK_EQ(in16((uint16_t)acpi_field(fadt, FADT_PM1A_CONTROL, 4)) & PM1_CONTROL_SCI, 1);
    CHECK(acpi_field(fadt, FADT_FLAGS, 4) & FADT_FLAGS_RESET);
    CHECK_EQ(acpi_field(fadt, FADT_RESET_ADDRESS, 8), 0xcf9);
}

// The PM timer runs as fast as the TSC says, within a hundredth; other VMs may have their turn in
// between, so the TSC is read on both sides.
static void check_pm_timer(void) {
    uint16_t port = (uint16_t)acpi_field(acpi_find("FACP"), FADT_PM_TIMER, 4);
    uint64_t before = rdtsc();
    uint32_t start = in32(port);
    uint64_t least, most, ticks, after = rdtsc();
    wait_us(20000);
    least = rdtsc() - after;
    ticks = in32(port) - start;
    most = rdtsc() - before;
    CHECK(ticks * tsc_hz() / PM_TIMER_HZ >= least - least / 100);
    CHECK(ticks * tsc_hz() / PM_TIMER_HZ <= most + most / 100);
}

void test(void) {
    CHECK(acpi_rsdp() != NULL && acpi_rsdp() == acpi_rsdp_by_search());
    if (acpi_rsdp() == NULL)
        return;
    CHECK(acpi_sum_is_right(acpi_rsdp(), RSDP_SIZE_2));
    check_table("XSDT");
    check_table("FACP");
    check_table("DSDT");
    check_table("APIC");
    check_madt();
    check_fadt();
    check_pm_timer();
}
