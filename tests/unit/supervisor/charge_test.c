// SPDX-License-Identifier: Apache-2.0
// supervisor/charge.c on a clock, a console and a driver of paper: what a VM is charged.
#define machine          cha_test_machine
#define machine_tsc      cha_test_tsc
#define machine_ticks    cha_test_ticks
#define console_position cha_test_position
#define console_printed  cha_test_printed
#define driver_run_time  cha_test_run_time
#define sys_group_charge cha_test_group_charge
#define charge_begin     cha_test_begin
#define charge_end       cha_test_end
#define SYSCALLS_ARE_SIMULATED
#include "supervisor/charge.c"

#include <criterion/criterion.h>

struct machine cha_test_machine = {.tsc_hz = 1000000000};

static struct {
    uint64_t tsc, run;
    uint32_t position, printed;
    uint64_t charged, calls;
} paper;
static struct vm vm = {.partition = {.group = 7}};

uint64_t machine_tsc(void) {
    return paper.tsc;
}
uint64_t machine_ticks(uint64_t nanoseconds) {
    return nanoseconds;
}
uint32_t console_position(void) {
    return paper.position;
}
uint32_t console_printed(void) {
    return paper.printed;
}
uint64_t driver_run_time(void) {
    return paper.run;
}
int64_t sys_group_charge(uint32_t group, uint64_t ticks) {
    cr_assert_eq(group, 7);
    cr_assert_leq(ticks, machine.tsc_hz);
    paper.charged += ticks;
    paper.calls++;
    return 0;
}

// One service that takes `ticks`, in which the VM prints `bytes`. Returns what it is charged.
static uint64_t serve(uint64_t ticks, uint32_t bytes) {
    uint64_t before = paper.charged;
    charge_begin();
    paper.tsc += ticks;
    paper.position += bytes;
    charge_end(&vm);
    return paper.charged - before;
}

TestSuite(supervisor_charge);

Test(supervisor_charge, time_of_the_supervisor) {
    cr_expect_eq(serve(1000, 0), 1000);
    paper.tsc += 5000; // of nobody's service
    cr_expect_eq(serve(10, 0), 10);
    cr_expect_eq(vm.charged, 1010);
    cr_expect_eq(serve(80000000, 0), SERVICE_MAX_NS, "others ran meanwhile");
}

// 100 ticks a byte, and half of it for the interrupts.
Test(supervisor_charge, time_of_the_driver_by_the_byte) {
    cr_expect_eq(serve(0, 4096), 0, "it has printed nothing yet");
    paper.printed = MEASURE_BYTES;
    paper.run = 100ULL * MEASURE_BYTES;
    cr_expect_eq(serve(0, 10), 1500);
    paper.printed += MEASURE_BYTES - 1;
    paper.run += 1000ULL * MEASURE_BYTES;
    cr_expect_eq(serve(3, 10), 1503, "too few bytes say nothing");
    paper.printed += 1;
    cr_expect_eq(serve(0, 10), (1500 + 15000) / 2);
}

Test(supervisor_charge, driver_that_began_again_is_measured_anew) {
    paper.printed = MEASURE_BYTES;
    paper.run = 100ULL * MEASURE_BYTES;
    cr_expect_eq(serve(0, 1), 150);
    paper.printed += MEASURE_BYTES;
    paper.run = 5;
    cr_expect_eq(serve(0, 1), 150);
    paper.printed += MEASURE_BYTES;
    paper.run = 5 + 300ULL * MEASURE_BYTES;
    cr_expect_eq(serve(0, 1), (150 + 450) / 2);
}

Test(supervisor_charge, no_more_than_a_second_and_nobody_where_no_group_is) {
    paper.printed = MEASURE_BYTES;
    paper.run = 1ULL << 40;
    cr_expect_eq(serve(0, 60000), machine.tsc_hz);
    vm.partition.group = 0;
    cr_expect_eq(serve(10, 0), 0);
    cr_expect_eq(paper.calls, 1);
}
