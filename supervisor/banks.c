// SPDX-License-Identifier: Apache-2.0
// See banks.h. What the bits mean: SDM 3B 15.3.2.2 "IA32_MCi_STATUS MSRS".
#include "supervisor/banks.h"

#include "include/abi.h"
#include "lib/syscall.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"

#include <stdbool.h>

#define STATUS_UC (1ULL << 61)

struct row {
    uint32_t cpu, bank;
    uint64_t count;
};

static struct {
    bool has_none;    // the machine has no banks
    uint64_t due;     // TSC: the next
    uint64_t total;   // errors
    struct row other; // those that found no row
    struct row row[BANKS_ROWS];
    uint32_t row_count;
} banks;

static struct row *find_row(uint32_t cpu, uint32_t bank) {
    for (uint32_t i = 0; i < banks.row_count; i++) {
        if (banks.row[i].cpu == cpu && banks.row[i].bank == bank) {
            return &banks.row[i];
        }
    }
    if (banks.row_count == BANKS_ROWS) {
        return &banks.other;
    }
    banks.row[banks.row_count] = (struct row){.cpu = cpu, .bank = bank};
    return &banks.row[banks.row_count++];
}

static void count(uint32_t cpu, const struct abi_machine_check *error) {
    struct row *row = find_row(cpu, (uint32_t)error->bank);
    banks.total++;
    row->count++;
    if ((row->count & (row->count - 1)) != 0) {
        return;
    }
    console_say("machine check: CPU %u, bank %llu: %s error, %llu so far: status 0x%llx, address "
                "0x%llx, misc 0x%llx",
                cpu, (unsigned long long)error->bank,
                (error->status & STATUS_UC) == 0 ? "corrected" : "uncorrected",
                (unsigned long long)row->count, (unsigned long long)error->status,
                (unsigned long long)error->address, (unsigned long long)error->misc);
}

// False: there are no banks.
static bool look_at(uint32_t cpu) {
    struct abi_machine_check error;
    for (uint32_t i = 0; i < BANKS_ROUND_MAX; i++) {
        if (sys_system_machine_check(machine.start->system, cpu, &error) < 0) {
            return false;
        }
        if (error.status == 0) {
            return true;
        }
        count(cpu, &error);
    }
    return true;
}

void banks_service(void) {
    struct abi_system_info info;
    if (banks.has_none || machine_tsc() < banks.due) {
        return;
    }
    machine_info(&info);
    for (uint32_t i = 0; i < info.cpu_count && !banks.has_none; i++) {
        banks.has_none = !look_at(i);
    }
    banks.due = machine_tsc() + machine_ticks(BANKS_PERIOD_NS);
}

uint64_t banks_next_deadline(void) {
    return banks.has_none ? ABI_FOREVER : banks.due;
}

void banks_print(void) {
    if (banks.has_none) {
        console_print("machine checks   this machine has no banks\n");
        return;
    }
    console_print("machine checks   %llu that ended nothing\n", (unsigned long long)banks.total);
    for (uint32_t i = 0; i < banks.row_count; i++) {
        console_print("                 %llu of CPU %u, bank %u\n",
                      (unsigned long long)banks.row[i].count, banks.row[i].cpu, banks.row[i].bank);
    }
    if (banks.other.count != 0) {
        console_print("                 %llu of others\n", (unsigned long long)banks.other.count);
    }
}
