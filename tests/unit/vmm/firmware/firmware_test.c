// SPDX-License-Identifier: Apache-2.0
// vmm/firmware: the tables in the ROM are found, add up, and say the same as the ACPI tables and
// the map of pc.h.
#include "vmm/firmware/firmware.h"

#include <criterion/criterion.h>
#include <string.h>

#include "vmm/acpi/acpi.h"
#include "vmm/device/pc.h"

#define MIB (1ULL << 20)

static uint8_t ram[2 * MIB];
static struct memory memory;

static void build(uint32_t cpus, uint64_t size) {
    const struct firmware_params params = {
        .cpu_count = cpus, .cpu_signature = 0x50654, .cpu_features = 0xfbff, .memory_size = size};
    memset(ram, 0, sizeof(ram));
    memory_init(&memory, ram, sizeof(ram));
    cr_assert(firmware_write(&memory, &params));
}

static const uint8_t *find(const char *signature) {
    for (uint64_t at = MEMORY_ROM_BASE; at < MEMORY_BIOS_END; at += 16)
        if (memcmp(ram + at, signature, 4) == 0)
            return ram + at;
    cr_assert(false, "no %s", signature);
    return NULL;
}

static uint64_t get(const uint8_t *at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

static void sums_to_zero(const uint8_t *at, size_t size) {
    cr_assert_eq(firmware_checksum(at, size), 0);
}

Test(vmm_firmware, reset_vector_is_code_that_resets) {
    static const uint8_t code[] = {0xb0, 0xfe, 0xe6, 0x64}; // mov al, 0xfe; out 0x64, al
    build(1, 64 * MIB);
    cr_assert_arr_eq(memory_pointer(&memory, 0xfffffff0, 16), code, sizeof(code));
    cr_assert_eq(ram[0xffffe], 0xfc);
}

Test(vmm_firmware, data_area_is_there) {
    build(1, 64 * MIB);
    cr_assert_eq(get(ram + 0x400, 2), PC_PORT_COM1);
    cr_assert_eq(get(ram + 0x40e, 2) << 4, MEMORY_EBDA_BASE);
    cr_assert_eq(get(ram + 0x413, 2) << 10, MEMORY_EBDA_BASE);
    cr_assert_eq(ram[MEMORY_EBDA_BASE], 1);
}

// Each interrupt entry against the wiring of pc.h and the IDs of the MADT.
static void check_interrupt(const uint8_t *entry, uint32_t *isa, uint32_t *pci) {
    cr_assert_eq(entry[1], 0);
    cr_assert_eq(entry[6], 0);
    if (entry[4] == 1) {
        cr_assert_eq(entry[7], entry[5] == PC_IRQ_PIT ? PC_GSI_PIT : entry[5]);
        cr_assert_eq(get(entry + 2, 2), entry[5] == PC_IRQ_SCI ? 0x0d : 0);
        *isa |= 1u << entry[5];
        return;
    }
    cr_assert_eq(entry[4], 0);
    cr_assert_eq(entry[7], PC_GSI_PIRQ + ((entry[5] >> 2) + (entry[5] & 3)) % PC_PIRQS);
    ++*pci;
}

Test(vmm_firmware, mp_table_agrees_with_the_machine) {
    for (uint32_t cpus = 1; cpus <= ACPI_CPUS_MAX; cpus += 21) {
        uint32_t processors = 0, isa = 0, pci = 0, local = 0, buses = 0;
        build(cpus, 64 * MIB);
        const uint8_t *floating = find("_MP_");
        sums_to_zero(floating, 16);
        cr_assert_eq(floating[8], 1);
        cr_assert_eq(floating[11], 0, "a table, virtual wire");
        cr_assert_eq(floating[12], 0);
        const uint8_t *table = ram + get(floating + 4, 4), *at = table + 44;
        cr_assert_arr_eq(table, "PCMP", 4);
        sums_to_zero(table, get(table + 4, 2));
        cr_assert_eq(get(table + 36, 4), PC_LAPIC_BASE);
        for (uint64_t i = get(table + 34, 2); i > 0; i--) {
            if (at[0] == 0) {
                cr_assert_eq(at[1], processors);
                cr_assert_eq(at[3], processors == 0 ? 3 : 1);
                cr_assert_eq(get(at + 4, 4), 0x50654);
                processors++;
            } else if (at[0] == 1) {
                cr_assert_arr_eq(at + 2, at[1] == 0 ? "PCI   " : "ISA   ", 6);
                buses++;
            } else if (at[0] == 2) {
                cr_assert_eq(get(at + 4, 4), PC_IOAPIC_BASE);
            } else if (at[0] == 3) {
                check_interrupt(at, &isa, &pci);
            } else {
                cr_assert_eq(at[1], at[7] == 0 ? 3 : 1, "LINT0 the 8259, LINT1 an NMI");
                cr_assert_eq(at[6], at[7] == 0 ? 0 : 0xff);
                local++;
            }
            at += at[0] == 0 ? 20 : 8;
        }
        cr_assert_eq(at, table + get(table + 4, 2));
        cr_assert_eq(processors, cpus);
        cr_assert_eq(buses, 2);
        cr_assert_eq(isa, 0xfffb);
        cr_assert_eq(pci, 128);
        cr_assert_eq(local, 2);
    }
}

// Where a structure of this type is; the number-th.
static const uint8_t *smbios(uint8_t type, uint32_t number) {
    const uint8_t *entry = find("_SM_"), *at = ram + get(entry + 24, 4), *begin = at;
    uint32_t count = 0;
    const uint8_t *found = NULL;
    sums_to_zero(entry, entry[5]);
    sums_to_zero(entry + 16, 15);
    for (bool is_last = false; !is_last; count++) {
        is_last = at[0] == 127;
        if (at[0] == type && number-- == 0)
            found = at;
        for (at += at[1]; at[0] != 0 || at[1] != 0; at++)
            ;
        at += 2;
    }
    cr_assert_eq(count, get(entry + 28, 2));
    cr_assert_eq((uint64_t)(at - begin), get(entry + 22, 2));
    return found;
}

Test(vmm_firmware, smbios_tells_the_memory) {
    static const uint64_t sizes[] = {64 * MIB, 3072 * MIB, 4096 * MIB, 65536 * MIB, 1ULL << 44};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        build(4, sizes[i]);
        const uint8_t *device = smbios(17, 0), *array = smbios(16, 0), *low = smbios(19, 0);
        uint64_t size_m = get(device + 0x0c, 2);
        cr_assert_eq(size_m == 0x7fff ? get(device + 0x1c, 4) : size_m, sizes[i] / MIB);
        uint64_t capacity_k = get(array + 7, 4);
        cr_assert_eq(capacity_k == 0x80000000 ? get(array + 0xf, 8) : capacity_k << 10, sizes[i]);
        uint64_t total = (get(low + 8, 4) + 1) << 10;
        const uint8_t *high = smbios(19, 1);
        if (high != NULL && get(high + 4, 4) == UINT32_MAX)
            total += get(high + 0x17, 8) - get(high + 0xf, 8) + 1;
        else if (high != NULL)
            total += (get(high + 8, 4) + 1 - get(high + 4, 4)) << 10;
        cr_assert_eq(total, sizes[i]);
        cr_assert_eq(high != NULL, sizes[i] > PC_MMIO_HOLE_BASE);
    }
}

Test(vmm_firmware, smbios_names_the_machine) {
    build(64, 64 * MIB);
    cr_assert_str_eq((const char *)smbios(1, 0) + 0x1b, "Bulkhead");
    cr_assert_eq(smbios(0, 0)[0x13] & 0x10, 0x10, "a virtual machine");
    cr_assert_eq(smbios(4, 0)[0x23], 64);
    cr_assert_eq(get(smbios(4, 0) + 8, 4), 0x50654);
}

// Both builders stop where there is no room left (ASan watches the end).
Test(vmm_firmware, tables_stay_in_their_room) {
    const struct firmware_params params = {.cpu_count = 64, .memory_size = 8192 * MIB};
    size_t (*const builders[])(uint8_t *, size_t, uint64_t,
                               const struct firmware_params *) = {smbios_build, mptable_build};
    for (int which = 0; which < 2; which++) {
        size_t used = 0;
        for (size_t size = 0; used == 0; size++) {
            uint8_t *exact = malloc(size ? size : 1);
            used = builders[which](exact, size, MEMORY_ROM_BASE, &params);
            cr_assert_leq(used, size);
            free(exact);
        }
        cr_assert_leq(used, 0x3000);
    }
}

Test(vmm_firmware, apic_is_a_virtual_wire) {
    struct vcpu_apic apic;
    memset(&apic, 0, sizeof(apic));
    firmware_set_apic(&apic);
    cr_assert_eq(apic.reg[0xf0 / 16], 0x1ff);
    cr_assert_eq(apic.reg[0x350 / 16], 0x700);
    cr_assert_eq(apic.reg[0x360 / 16], 0x400);
}
