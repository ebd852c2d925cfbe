// SPDX-License-Identifier: Apache-2.0
// The ACPI tables: found as an operating system finds them, with right sums and lengths, and in
// agreement with the map of pc.h.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/acpi/acpi.h"
#include "vmm/acpi/tables.h"
#include "vmm/device/pc.h"
#include "vmm/device/pm.h"

static uint8_t space[ACPI_SPACE_BYTES];
static const uint64_t gpa = ACPI_DEFAULT_GPA;

static const void *at(uint64_t address) {
    cr_assert_geq(address, gpa);
    cr_assert_lt(address, gpa + sizeof(space));
    return space + (address - gpa);
}

static uint8_t sum(const void *data, size_t size) {
    uint8_t total = 0;

    for (size_t i = 0; i < size; i++)
        total = (uint8_t)(total + ((const uint8_t *)data)[i]);
    return total;
}

static void build(uint32_t cpus) {
    const struct acpi_params params = {.cpu_count = cpus};

    memset(space, 0xee, sizeof(space));
    cr_assert_eq(acpi_build(space, sizeof(space), gpa, &params), gpa);
}

static const struct acpi_header *xsdt(void) {
    const struct acpi_rsdp *rsdp = at(gpa);

    return at(rsdp->xsdt_address);
}

static uint64_t entry(uint32_t i) {
    uint64_t address;

    memcpy(&address, (const uint8_t *)(xsdt() + 1) + 8 * i, 8);
    return address;
}

static uint32_t entry_count(void) {
    return (uint32_t)((xsdt()->length - sizeof(struct acpi_header)) / 8);
}

static const void *find(const char *signature) {
    for (uint32_t i = 0; i < entry_count(); i++)
        if (memcmp(at(entry(i)), signature, 4) == 0)
            return at(entry(i));
    return NULL;
}

// Does the table contain these bytes?
static bool contains(const struct acpi_header *table, const void *bytes, size_t n) {
    const uint8_t *from = (const uint8_t *)table;

    for (size_t i = 0; i + n <= table->length; i++)
        if (memcmp(from + i, bytes, n) == 0)
            return true;
    return false;
}

static bool has_io(const struct acpi_header *table, uint16_t base, uint8_t count) {
    const uint8_t io[] = {
        0x47, 0x01, (uint8_t)base, (uint8_t)(base >> 8), (uint8_t)base, (uint8_t)(base >> 8),
        0x01, count};

    return contains(table, io, sizeof(io));
}

Test(dev_acpi, every_table_is_found_and_sums_to_zero) {
    for (uint32_t cpus = 1; cpus <= 64; cpus++) {
        const struct acpi_rsdp *rsdp;
        const struct acpi_header *rsdt;

        build(cpus);
        rsdp = at(gpa);
        cr_assert_arr_eq(rsdp->signature, "RSD PTR ", 8);
        cr_assert_eq(rsdp->revision, 2);
        cr_assert_eq(sum(rsdp, 20), 0);
        cr_assert_eq(sum(rsdp, 36), 0);
        rsdt = at(rsdp->rsdt_address);
        cr_assert_arr_eq(rsdt->signature, "RSDT", 4);
        cr_assert_arr_eq(xsdt()->signature, "XSDT", 4);
        cr_assert_eq(sum(rsdt, rsdt->length), 0);
        cr_assert_eq(sum(xsdt(), xsdt()->length), 0);
        cr_assert_eq(entry_count(), 4);
        for (uint32_t i = 0; i < entry_count(); i++) {
            const struct acpi_header *table = at(entry(i));
            uint32_t low;

            memcpy(&low, (const uint8_t *)(rsdt + 1) + 4 * i, 4);
            cr_assert_eq(low, entry(i));
            cr_assert_eq(sum(table, table->length), 0, "%.4s", table->signature);
            cr_assert_eq(entry(i) % 8, 0);
        }
    }
}

Test(dev_acpi, fadt_is_consistent) {
    const struct acpi_fadt *fadt;
    const struct acpi_facs *facs;
    const struct acpi_header *dsdt;

    build(1);
    fadt = find("FACP");
    cr_assert_eq(fadt->header.length, 276);
    cr_assert_eq(fadt->firmware_ctrl, fadt->x_firmware_ctrl);
    cr_assert_eq(fadt->dsdt, fadt->x_dsdt);
    cr_assert_eq(fadt->pm1a_evt_blk, fadt->x_pm1a_evt_blk.address);
    cr_assert_eq(fadt->pm1_evt_len * 8, fadt->x_pm1a_evt_blk.register_bit_width);
    cr_assert_eq(fadt->pm1a_cnt_blk, fadt->x_pm1a_cnt_blk.address);
    cr_assert_eq(fadt->pm1_cnt_len * 8, fadt->x_pm1a_cnt_blk.register_bit_width);
    cr_assert_eq(fadt->pm_tmr_blk, fadt->x_pm_tmr_blk.address);
    cr_assert_eq(fadt->pm_tmr_len * 8, fadt->x_pm_tmr_blk.register_bit_width);
    cr_assert_eq(fadt->reset_reg.address, PC_PORT_PCI + 1);
    cr_assert_eq(fadt->reset_reg.register_bit_width, 8);
    cr_assert_eq(fadt->smi_cmd, 0);
    facs = at(fadt->x_firmware_ctrl);
    cr_assert_eq(fadt->x_firmware_ctrl % 64, 0);
    cr_assert_arr_eq(facs->signature, "FACS", 4);
    cr_assert_eq(facs->length, 64);
    dsdt = at(fadt->x_dsdt);
    cr_assert_arr_eq(dsdt->signature, "DSDT", 4);
    cr_assert_eq(sum(dsdt, dsdt->length), 0);
}

Test(dev_acpi, dsdt_agrees_with_the_map) {
    static const uint8_t hole[] = {0, 0, 0, 0xc0, 0xff, 0xff, 0xbf, 0xfe,
                                   0, 0, 0, 0,    0,    0,    0xc0, 0x3e};
    static const uint8_t s5[] = {'_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, PM_SLP_TYP_S5};
    const struct acpi_fadt *fadt;
    const struct acpi_header *dsdt;

    build(1);
    fadt = find("FACP");
    dsdt = at(fadt->x_dsdt);
    cr_assert(has_io(dsdt, PC_PORT_COM1, 8));
    cr_assert(has_io(dsdt, PC_PORT_PIT, 4));
    cr_assert(has_io(dsdt, PC_PORT_SPEAKER, 1));
    cr_assert(has_io(dsdt, PC_PORT_RTC, 2));
    cr_assert(has_io(dsdt, PC_PORT_PIC1, 2));
    cr_assert(has_io(dsdt, PC_PORT_PIC2, 2));
    cr_assert(has_io(dsdt, PC_PORT_ELCR, 2));
    cr_assert(has_io(dsdt, PC_PORT_PM, PM_PORTS));
    cr_assert(has_io(dsdt, PC_PORT_PCI, 8));
    cr_assert(has_io(dsdt, PC_PORT_CONTROL_A, 1));
    cr_assert(has_io(dsdt, PC_PORT_DEBUG_EXIT, 4));
    cr_assert(contains(dsdt, hole, sizeof(hole)));
    cr_assert_eq(PC_MMIO_HOLE_BASE, 0xc0000000);
    cr_assert_eq(PC_MMIO_HOLE_SIZE, 0x3ec00000);
    cr_assert(contains(dsdt, s5, sizeof(s5)));
}

Test(dev_acpi, madt_lists_the_processors) {
    for (uint32_t cpus = 1; cpus <= 64; cpus += 7) {
        const struct acpi_madt *madt;
        const struct acpi_madt_local_apic *cpu;
        const uint8_t *rest;

        build(cpus);
        madt = find("APIC");
        cr_assert_eq(madt->local_apic_address, PC_LAPIC_BASE);
        cr_assert_eq(madt->header.length, 44 + 8 * cpus + 12 + 10 + 10 + 6);
        cpu = (const struct acpi_madt_local_apic *)(madt + 1);
        for (uint32_t i = 0; i < cpus; i++) {
            cr_assert_eq(cpu[i].type, 0);
            cr_assert_eq(cpu[i].length, 8);
            cr_assert_eq(cpu[i].apic_id, i);
            cr_assert_eq(cpu[i].processor_uid, i);
            cr_assert_eq(cpu[i].flags, 1);
        }
        rest = (const uint8_t *)(cpu + cpus);
        cr_assert_arr_eq(rest, "\x01\x0c\0\0\0\0\xc0\xfe\0\0\0\0", 12);
        cr_assert_arr_eq(rest + 12, "\x02\x0a\0\0\x02\0\0\0\0\0", 10);
        cr_assert_arr_eq(rest + 22, "\x02\x0a\0\x09\x09\0\0\0\x0d\0", 10);
        cr_assert_arr_eq(rest + 32, "\x04\x06\xff\0\0\x01", 6);
    }
}

Test(dev_acpi, ssdt_is_cut_behind_the_last_processor) {
    build(64);
    cr_assert(contains(find("SSDT"), "C03F", 4));
    build(17);
    cr_assert(contains(find("SSDT"), "C010", 4));
    cr_assert_not(contains(find("SSDT"), "C011", 4));
    build(1);
    cr_assert(contains(find("SSDT"), "C000", 4));
    cr_assert_not(contains(find("SSDT"), "C001", 4));
}

Test(dev_acpi, impossible_requests_are_refused) {
    struct acpi_params params = {.cpu_count = 64};
    size_t size;

    cr_assert_eq(acpi_build(space, sizeof(space), 0, &params), 0);
    cr_assert_eq(acpi_build(space, sizeof(space), gpa + 8, &params), 0);
    cr_assert_eq(acpi_build(space, sizeof(space), 1ULL << 32, &params), 0);
    cr_assert_eq(acpi_build(space, sizeof(space), (1ULL << 32) - 64, &params), 0);
    params.cpu_count = 0;
    cr_assert_eq(acpi_build(space, sizeof(space), gpa, &params), 0);
    params.cpu_count = 65;
    cr_assert_eq(acpi_build(space, sizeof(space), gpa, &params), 0);
    params.cpu_count = 64;
    for (size = 0; size < sizeof(space); size++) { // ASan watches the end
        uint8_t *exact = malloc(size ? size : 1);
        uint64_t rsdp = acpi_build(exact, size, gpa, &params);

        free(exact);
        if (rsdp)
            break;
    }
    cr_assert_leq(size, ACPI_SPACE_BYTES / 2, "room to grow");
}
