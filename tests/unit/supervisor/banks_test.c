// SPDX-License-Identifier: Apache-2.0
// supervisor/banks: errors that calls for nothing are counted by CPU and bank, said, and not too
// often.
#include "supervisor/banks.h"
#include "tests/unit/supervisor/support.h"

#include <criterion/criterion.h>

#define CORRECTED   (1ULL << 63 | 1ULL << 60)
#define UNCORRECTED (1ULL << 63 | 1ULL << 61)

static uint32_t errors_a_look[] = {1, 3, 60};

// Nobody types, and the supervisor sleeps until it looks again; then who is at the console asks.
static bool script(unsigned int step) {
    const unsigned int looks = sizeof(errors_a_look) / sizeof(errors_a_look[0]);
    if (step < looks) {
        life.bank_errors = errors_a_look[step];
        return false;
    }
    if (step == looks) {
        life.bank_next = (struct abi_machine_check){UNCORRECTED, 0, 0, 3};
        life.bank_errors = 1;
        return false;
    }
    if (step == looks + 6) {
        life_type("info\rpoweroff\r");
        return true;
    }
    return false;
}

static const struct life_config none[] = {{.name = "a", .mib = 8, .is_manual = true},
                                          {.name = NULL}};

static bool script_asks(unsigned int step) {
    if (step == 0)
        life_type("info\rpoweroff\r");
    return step == 0;
}

static void run(bool has_banks) {
    life.has_banks = has_banks;
    life.cpu_count = 2;
    life.bank_cpu = 1;
    life.bank_next = (struct abi_machine_check){CORRECTED, 0x1234, 0x86, 7};
    life_prepare(none, "", "stay", has_banks ? script : script_asks);
    cr_assert_eq(life_run(), LIFE_POWERED);
}

Test(supervisor_banks, errors_are_counted_by_cpu_and_bank_and_said_at_each_power_of_two) {
    run(true);
    life_expect("[bulkhead] machine check: CPU 1, bank 7: corrected error, 1 so far: status "
                "0x9000000000000000, address 0x1234, misc 0x86\r\n");
    cr_expect_eq(life_count("bank 7: corrected error, 2 so far"), 1);
    cr_expect_eq(life_count("bank 7: corrected error, 3 so far"), 0);
    cr_expect_eq(life_count("bank 7: corrected error, 64 so far"), 1);
    cr_expect_eq(life_count("bank 7: corrected error"), 7);
    life_expect("[bulkhead] machine check: CPU 1, bank 3: uncorrected error, 1 so far");
    life_expect("machine checks   65 that ended nothing\r\n");
    life_expect("64 of CPU 1, bank 7\r\n");
    life_expect("1 of CPU 1, bank 3\r\n");
}

// Of a CPU that has ever more, so many at a time are taken.
Test(supervisor_banks, a_look_is_bounded_and_comes_with_each_period) {
    errors_a_look[0] = errors_a_look[1] = errors_a_look[2] = UINT32_MAX;
    run(true);
    uint64_t looks = life.now / (BANKS_PERIOD_NS / 1000000) + 1;
    cr_expect_leq(life.bank_looks, looks * (BANKS_ROUND_MAX + 1));
    cr_expect_geq(looks, 3);
    cr_expect_leq(life_count("bank 7: corrected error"), 10);
}

Test(supervisor_banks, a_machine_without_banks_is_asked_once) {
    run(false);
    cr_expect_eq(life.bank_looks, 1);
    life_expect("machine checks   this machine has no banks\r\n");
    life_expect_no_line("[bulkhead] machine check");
}

static bool break_memory(unsigned int step) {
    if (step == 0)
        life_end_process(life.vmm[0].process,
                         (struct abi_process_status){ABI_PROCESS_FAULTED, 0, 18, 0, 0, 0x12345000});
    return step == 0;
}

Test(supervisor_banks, who_used_broken_memory_is_told) {
    life_prepare(life_one, "console=batch", "stay", break_memory);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("it used memory that is broken, at 0x12345000 (machine check)");
}
