// SPDX-License-Identifier: Apache-2.0
// This CPU's local APIC, behind the boot services, in the mode in which the firmware left it; the
// kernel changes that later. SDM 3A 11.4.3 "Enabling or Disabling the Local APIC", 11.12.1.2
// "x2APIC Register Address Space".
#include "boot/boot_apic.h"
#include "boot/boot_report.h"
#include "boot/loader.h"

#define MSR_APIC_BASE    0x1bu
#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)
#define APIC_BASE_PAGE   0x000ffffffffff000ull
#define MSR_X2APIC_FIRST 0x800u

static volatile uint32_t *registers; // NULL: x2APIC mode

static uint64_t read_msr(uint32_t msr) {
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t msr, uint64_t value) {
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static uint32_t read_register(uint32_t reg) {
    return registers != NULL ? registers[reg / 4] : (uint32_t)read_msr(MSR_X2APIC_FIRST + reg / 16);
}

static void write_register(uint32_t reg, uint32_t value) {
    if (registers != NULL)
        registers[reg / 4] = value;
    else
        write_msr(MSR_X2APIC_FIRST + reg / 16, value);
}

static uint64_t read_tsc(void) {
    return __builtin_ia32_rdtsc();
}

void apic_measure_timer(struct boot_info *info) {
    static const struct boot_apic apic = {read_register, write_register, read_tsc};
    uint64_t base = read_msr(MSR_APIC_BASE);
    if (info->features.has_tsc_deadline)
        return; // measuring would take it out of that mode
    if ((base & APIC_BASE_ENABLE) == 0)
        write_msr(MSR_APIC_BASE, base | APIC_BASE_ENABLE); // to xAPIC mode
    if ((base & APIC_BASE_X2APIC) == 0) {
        registers = (volatile uint32_t *)(uintptr_t)(base & APIC_BASE_PAGE);
        if (!quiesce_is_mapped(base & APIC_BASE_PAGE, BOOT_PAGE)) {
            boot_report(info, "the firmware's tables do not reach the local APIC: its timer cannot "
                              "be measured (update the firmware)");
            return;
        }
    }
    info->apic_timer_hz = boot_apic_timer_hz(&apic, info->tsc_hz);
}
