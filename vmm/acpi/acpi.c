// SPDX-License-Identifier: Apache-2.0
// The ACPI tables: a cursor that places them one behind the other, one function a table, and
// acpi_build(), which is the list of them. A table is built in its place; what refers to others
// comes after them, so the RSDP, which must be first, is written last.
//
// The fixed hardware is that of an ordinary PC in ACPI mode: SCI on IRQ 9, no SMI command port (the
// machine cannot leave ACPI mode), S5 as the only sleep state.
#include "vmm/acpi/acpi.h"

#include <stdbool.h>

#include "lib/string.h"
#include "vmm/acpi/tables.h"
#include "vmm/device/pc.h"
#include "vmm/device/pm.h"
#include "vmm/device/rtc.h"

#include "vmm/acpi/cpus.h"
#include "vmm/acpi/dsdt.h"

enum {
    RSDP_REVISION = 2,
    RSDP_FIRST_PART = 20, // bytes under the checksum of revision 0
    SDT_REVISION = 1,
    FADT_REVISION = 6,
    FADT_MINOR = 3,
    FACS_VERSION = 2,
    MADT_REVISION = 5,
    WAET_REVISION = 1,

    PROFILE_ENTERPRISE_SERVER = 4,
    LATENCY_NO_C2 = 101,         // "> 100: no C2"
    LATENCY_NO_C3 = 1001,        // "> 1000: no C3"
    BOOT_ARCH = 1 << 0 | 1 << 2, // LEGACY_DEVICES, VGA Not Present; no 8042

    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_SLP_BUTTON = 1 << 5, // there is none in fixed hardware
    FADT_TMR_VAL_EXT = 1 << 8,
    FADT_RESET_REG_SUP = 1 << 10,
    // Fixed hardware has a power button and the RTC's alarm: their flags would say that it has not.
    FADT_FLAGS =
        FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP,

    RESET_PORT = 0xcf9,
    RESET_VALUE = 0x06,

    SPACE_SYSTEM_IO = 1,
    ACCESS_BYTE = 1,
    ACCESS_WORD = 2,
    ACCESS_DWORD = 3,

    MADT_PCAT_COMPAT = 1, // there are 8259s
    MADT_LOCAL_APIC = 0,
    MADT_IO_APIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LOCAL_APIC_NMI = 4,
    MADT_ENABLED = 1,
    MADT_ALL_PROCESSORS = 0xff,
    MADT_ACTIVE_HIGH = 1,
    MADT_LEVEL = 3 << 2,
    MADT_NMI_LINT = 1,

    WAET_PM_TIMER_GOOD = 1 << 1, // one read is enough

    AML_EXT_PREFIX = 0x5b,
    AML_DEVICE = 0x82,
};

#define OEM_ID           "BULKHD"
#define OEM_TABLE_ID     "BULKHEAD"
#define CREATOR_ID       "BLKH"
#define TABLE_ALIGN      64u
#define TABLES_MAX       8u
#define GPA_END          0x100000000ULL
#define CREATOR_REVISION 1u

// Where the next table goes, and the tables that RSDT and XSDT will list.
struct builder {
    uint8_t *buffer;
    size_t size;
    size_t used;
    uint64_t gpa;
    uint64_t listed[TABLES_MAX];
    uint32_t listed_count;
    bool is_full;
};

static uint8_t sum(const void *data, size_t size) {
    uint8_t total = 0;

    for (size_t i = 0; i < size; i++)
        total = (uint8_t)(total + ((const uint8_t *)data)[i]);
    return total;
}

// The next `size` bytes, zeroed, on a boundary of 64; NULL when they do not fit.
static void *place(struct builder *b, size_t size, uint64_t *gpa) {
    size_t at = (b->used + TABLE_ALIGN - 1) & ~(size_t)(TABLE_ALIGN - 1);

    if (b->is_full || at > b->size || size > b->size - at) {
        b->is_full = true;
        return NULL;
    }
    b->used = at + size;
    *gpa = b->gpa + at;
    return memset(b->buffer + at, 0, size);
}

static void seal(struct acpi_header *table) {
    table->checksum = 0;
    table->checksum = (uint8_t)-sum(table, table->length);
}

static void head(struct acpi_header *table, const char *signature, size_t length,
                 uint8_t revision) {
    memcpy(table->signature, signature, sizeof(table->signature));
    table->length = (uint32_t)length;
    table->revision = revision;
    memcpy(table->oem_id, OEM_ID, sizeof(table->oem_id));
    memcpy(table->oem_table_id, OEM_TABLE_ID, sizeof(table->oem_table_id));
    table->oem_revision = 1;
    memcpy(table->creator_id, CREATOR_ID, sizeof(table->creator_id));
    table->creator_revision = CREATOR_REVISION;
}

static void list(struct builder *b, uint64_t gpa) {
    b->listed[b->listed_count++] = gpa;
}

// --- AML -----------------------------------------------------------------------------------------

static uint64_t build_dsdt(struct builder *b) {
    uint64_t gpa = 0;
    void *table = place(b, sizeof(dsdt_aml_code), &gpa);

    if (table)
        memcpy(table, dsdt_aml_code, sizeof(dsdt_aml_code));
    return gpa;
}

// Length of the DeviceOp at `aml` (ACPI 6.5, 20.2.4 "Package Length Encoding"); 0: it is none.
static size_t device_length(const uint8_t *aml, size_t available) {
    size_t extra, length;

    if (available < 6 || aml[0] != AML_EXT_PREFIX || aml[1] != AML_DEVICE)
        return 0;
    extra = aml[2] >> 6;
    length = extra ? aml[2] & 0x0f : aml[2] & 0x3f;
    for (size_t i = 0; i < extra; i++)
        length |= (size_t)aml[3 + i] << (4 + 8 * i);
    return length + 2 <= available ? length + 2 : 0;
}

// The first `cpu_count` processors of cpus.asl.
static void build_cpus(struct builder *b, uint32_t cpu_count) {
    size_t length = sizeof(struct acpi_header);
    struct acpi_header *table;
    uint64_t gpa;

    for (uint32_t i = 0; i < cpu_count; i++) {
        size_t device = device_length(&cpus_aml_code[length], sizeof(cpus_aml_code) - length);

        if (device == 0) {
            b->is_full = true; // cpus.asl is not what its comment says
            return;
        }
        length += device;
    }
    table = place(b, length, &gpa);
    if (!table)
        return;
    memcpy(table, cpus_aml_code, length);
    table->length = (uint32_t)length;
    seal(table);
    list(b, gpa);
}

// --- fixed tables --------------------------------------------------------------------------------

static uint64_t build_facs(struct builder *b) {
    uint64_t gpa = 0;
    struct acpi_facs *table = place(b, sizeof(*table), &gpa);

    if (table) {
        memcpy(table->signature, "FACS", sizeof(table->signature));
        table->length = sizeof(*table);
        table->version = FACS_VERSION;
    }
    return gpa;
}

static struct acpi_gas io_register(uint32_t port, uint8_t bytes, uint8_t access) {
    return (struct acpi_gas){.address_space_id = SPACE_SYSTEM_IO,
                             .register_bit_width = (uint8_t)(8 * bytes),
                             .access_size = access,
                             .address = port};
}

static void fadt_registers(struct acpi_fadt *table) {
    table->pm1a_evt_blk = PC_PORT_PM + PM_PORT_EVENT;
    table->pm1a_cnt_blk = PC_PORT_PM + PM_PORT_CNT;
    table->pm_tmr_blk = PC_PORT_PM + PM_PORT_TIMER;
    table->pm1_evt_len = 4;
    table->pm1_cnt_len = 2;
    table->pm_tmr_len = 4;
    table->x_pm1a_evt_blk = io_register(table->pm1a_evt_blk, 4, ACCESS_WORD);
    table->x_pm1a_cnt_blk = io_register(table->pm1a_cnt_blk, 2, ACCESS_WORD);
    table->x_pm_tmr_blk = io_register(table->pm_tmr_blk, 4, ACCESS_DWORD);
    table->reset_reg = io_register(RESET_PORT, 1, ACCESS_BYTE);
    table->reset_value = RESET_VALUE;
}

static void build_fadt(struct builder *b, uint64_t facs, uint64_t dsdt) {
    uint64_t gpa;
    struct acpi_fadt *table = place(b, sizeof(*table), &gpa);

    if (!table)
        return;
    head(&table->header, "FACP", sizeof(*table), FADT_REVISION);
    table->minor_version = FADT_MINOR;
    table->firmware_ctrl = (uint32_t)facs;
    table->x_firmware_ctrl = facs;
    table->dsdt = (uint32_t)dsdt;
    table->x_dsdt = dsdt;
    table->preferred_pm_profile = PROFILE_ENTERPRISE_SERVER;
    table->sci_int = PC_IRQ_SCI;
    table->p_lvl2_lat = LATENCY_NO_C2;
    table->p_lvl3_lat = LATENCY_NO_C3;
    table->day_alrm = RTC_ALARM_DAY;
    table->mon_alrm = RTC_ALARM_MONTH;
    table->century = RTC_CENTURY;
    table->iapc_boot_arch = BOOT_ARCH;
    table->flags = FADT_FLAGS;
    memcpy(table->hypervisor_vendor, OEM_TABLE_ID, sizeof(table->hypervisor_vendor));
    fadt_registers(table);
    seal(&table->header);
    list(b, gpa);
}

static void build_waet(struct builder *b) {
    uint64_t gpa;
    struct acpi_waet *table = place(b, sizeof(*table), &gpa);

    if (!table)
        return;
    head(&table->header, "WAET", sizeof(*table), WAET_REVISION);
    table->flags = WAET_PM_TIMER_GOOD;
    seal(&table->header);
    list(b, gpa);
}

// --- MADT ----------------------------------------------------------------------------------------

// What follows the processors: the same in every VM.
struct madt_tail {
    struct acpi_madt_io_apic io_apic;
    struct acpi_madt_override pit, sci;
    struct acpi_madt_nmi nmi;
} __attribute__((packed));

static const struct madt_tail madt_tail = {
    .io_apic = {.type = MADT_IO_APIC,
                .length = sizeof(struct acpi_madt_io_apic),
                .address = (uint32_t)PC_IOAPIC_BASE},
    .pit = {.type = MADT_OVERRIDE,
            .length = sizeof(struct acpi_madt_override),
            .source = PC_IRQ_PIT,
            .gsi = PC_GSI_PIT},
    .sci = {.type = MADT_OVERRIDE,
            .length = sizeof(struct acpi_madt_override),
            .source = PC_IRQ_SCI,
            .gsi = PC_IRQ_SCI,
            .flags = MADT_ACTIVE_HIGH | MADT_LEVEL},
    .nmi = {.type = MADT_LOCAL_APIC_NMI,
            .length = sizeof(struct acpi_madt_nmi),
            .processor_uid = MADT_ALL_PROCESSORS,
            .lint = MADT_NMI_LINT},
};

static void build_madt(struct builder *b, uint32_t cpu_count) {
    size_t cpus = cpu_count * sizeof(struct acpi_madt_local_apic);
    size_t length = sizeof(struct acpi_madt) + cpus + sizeof(madt_tail);
    uint64_t gpa;
    struct acpi_madt *table = place(b, length, &gpa);
    struct acpi_madt_local_apic *cpu;

    if (!table)
        return;
    head(&table->header, "APIC", length, MADT_REVISION);
    table->local_apic_address = (uint32_t)PC_LAPIC_BASE;
    table->flags = MADT_PCAT_COMPAT;
    cpu = (struct acpi_madt_local_apic *)(table + 1);
    for (uint32_t i = 0; i < cpu_count; i++)
        cpu[i] = (struct acpi_madt_local_apic){.type = MADT_LOCAL_APIC,
                                               .length = sizeof(*cpu),
                                               .processor_uid = (uint8_t)i,
                                               .apic_id = (uint8_t)i,
                                               .flags = MADT_ENABLED};
    memcpy(cpu + cpu_count, &madt_tail, sizeof(madt_tail));
    seal(&table->header);
    list(b, gpa);
}

// --- the roots -----------------------------------------------------------------------------------

// RSDT or XSDT: entries of 4 or 8 bytes.
static uint64_t build_root(struct builder *b, const char *signature, size_t entry) {
    size_t length = sizeof(struct acpi_header) + b->listed_count * entry;
    uint64_t gpa = 0;
    struct acpi_header *table = place(b, length, &gpa);

    if (!table)
        return 0;
    head(table, signature, length, SDT_REVISION);
    for (uint32_t i = 0; i < b->listed_count; i++)
        memcpy((uint8_t *)(table + 1) + i * entry, &b->listed[i], entry);
    seal(table);
    return gpa;
}

static void build_rsdp(struct acpi_rsdp *rsdp, uint64_t rsdt, uint64_t xsdt) {
    memcpy(rsdp->signature, "RSD PTR ", sizeof(rsdp->signature));
    memcpy(rsdp->oem_id, OEM_ID, sizeof(rsdp->oem_id));
    rsdp->revision = RSDP_REVISION;
    rsdp->rsdt_address = (uint32_t)rsdt;
    rsdp->length = sizeof(*rsdp);
    rsdp->xsdt_address = xsdt;
    rsdp->checksum = (uint8_t)-sum(rsdp, RSDP_FIRST_PART);
    rsdp->extended_checksum = (uint8_t)-sum(rsdp, sizeof(*rsdp));
}

uint64_t acpi_build(void *buffer, size_t size, uint64_t gpa, const struct acpi_params *params) {
    struct builder b = {.buffer = buffer, .size = size, .gpa = gpa};
    uint64_t rsdp_gpa = 0, facs, dsdt, rsdt, xsdt;
    struct acpi_rsdp *rsdp;

    if (params->cpu_count == 0 || params->cpu_count > ACPI_CPUS_MAX)
        return 0;
    if (gpa % TABLE_ALIGN || gpa == 0 || gpa >= GPA_END || size > GPA_END - gpa)
        return 0;
    rsdp = place(&b, sizeof(*rsdp), &rsdp_gpa);
    facs = build_facs(&b);
    dsdt = build_dsdt(&b);
    build_fadt(&b, facs, dsdt);
    build_madt(&b, params->cpu_count);
    build_cpus(&b, params->cpu_count);
    build_waet(&b);
    rsdt = build_root(&b, "RSDT", sizeof(uint32_t));
    xsdt = build_root(&b, "XSDT", sizeof(uint64_t));
    if (b.is_full)
        return 0;
    build_rsdp(rsdp, rsdt, xsdt);
    return rsdp_gpa;
}
