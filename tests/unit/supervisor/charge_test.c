// SPDX-License-Identifier: Apache-2.0
// supervisor/charge.c on a clock, a console and a driver of paper: what a VM is charged.
#define machine           cha_test_machine
#define machine_tsc       cha_test_tsc
#define machine_ticks     cha_test_ticks
#define console_position  cha_test_position
#define console_printed   cha_test_printed
#define console_spent     cha_test_spent
#define driver_is_gone    cha_test_is_gone
#define sys_group_charge  cha_test_group_charge
#define sys_process_usage cha_test_process_usage
#define charge_begin      cha_test_begin
#define charge_end        cha_test_end
#define charge_is_paid    cha_test_is_paid
#define SYSCALLS_ARE_SIMULATED
#include "supervisor/charge.c"

#include <criterion/criterion.h>

struct machine cha_test_machine = {.tsc_hz = 1000000000};

static struct {
    uint64_t tsc, spent, wait;
    bool is_gone;
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
uint64_t console_spent(void) {
    return paper.spent;
}
bool driver_is_gone(void) {
    return paper.is_gone;
}
int64_t sys_process_usage(uint32_t process, struct abi_usage *usage) {
    cr_assert_eq(process, 0, "our own");
    usage->wait = paper.wait;
    return 0;
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

// The driver has printed all that there is, for so much a byte.
static void print(uint32_t bytes, uint64_t ticks) {
    paper.position += bytes;
    paper.printed += bytes;
    paper.spent += bytes * ticks;
}

TestSuite(supervisor_charge);

Test(supervisor_charge, time_of_the_supervisor) {
    cr_expect_eq(serve(1000, 0), 1000);
    paper.tsc += 5000; // of nobody's service
    cr_expect_eq(serve(10, 0), 10);
    cr_expect_eq(vm.charged, 1010);
}

Test(supervisor_charge, time_that_others_ran_is_not_the_vms) {
    cr_expect_eq(serve(3000000, 0), 3000000, "nobody did");
    paper.wait = 2000000;
    cr_expect_eq(serve(3000000, 0), 1000000);
    cr_expect_eq(serve(3000000, 0), 3000000, "that was counted");
    paper.wait += 9000000;
    cr_expect_eq(serve(3000000, 0), 0);
}

// 100 ticks a byte, and 150 for the interrupts and switches.
Test(supervisor_charge, time_of_the_driver_by_the_byte) {
    cr_expect_eq(serve(0, 4096), 0, "it has printed nothing yet");
    paper.printed = paper.position;
    paper.spent = 100 * paper.position;
    cr_expect_eq(serve(0, 10), 2500);
    print(MEASURE_BYTES - 11, 1000); // with these ten
    cr_expect_eq(serve(3, 10), 2503, "too few bytes say nothing");
    paper.is_gone = true;
    cr_expect_eq(serve(3, 10), 3, "nobody prints them");
}

// Whatever it does between, as to poll a UART for a day, is in none of these.
Test(supervisor_charge, counters_that_wrap_measure_right) {
    paper.position = paper.printed = charge.printed = UINT32_MAX - 1000;
    paper.spent = charge.spent = 1ULL << 60;
    print(MEASURE_BYTES, 100);
    cr_expect_eq(serve(0, 1), 250);
}

Test(supervisor_charge, driver_that_lies_is_bounded) {
    print(MEASURE_BYTES, 100);
    cr_expect_eq(serve(0, 1), 250);
    paper.printed -= 1; // goes back
    cr_expect_eq(serve(0, 1), 250);
    paper.printed += 100000; // ahead of what there is
    cr_expect_eq(serve(0, 1), 250);
    paper.printed = paper.position;
    paper.spent = 0;
    cr_expect_eq(serve(0, 1), 250);
    print(MEASURE_BYTES, 1ULL << 40);
    cr_expect_leq(serve(0, 1), 5 * BYTE_MAX_NS / 2);
    cr_expect_eq(serve(0, 60000), CHARGE_MAX_NS);
}

Test(supervisor_charge, an_end_does_not_wipe_the_bill) {
    vm.partition.group = 0;
    cr_expect_eq(serve(1000, 0), 0);
    cr_expect_eq(serve(500, 0), 0);
    vm.partition.group = 7; // of the next life
    cr_expect_eq(serve(10, 0), 1510);
    vm.partition.group = 0;
    for (unsigned i = 0; i < 5000; i++)
        (void)serve(400000, 0);
    vm.partition.group = 7;
    cr_expect_eq(serve(0, 0), machine.tsc_hz, "a second at most");
}

// 10 % pay for 1 ms in 10 ms; a quarter of a second's time ahead is taken at once.
Test(supervisor_charge, cap_pays_as_time_goes_by) {
    const uint64_t ms = 1000000, ahead = machine.tsc_hz / AHEAD_PART;
    (void)serve(CHARGE_MAX_NS, 0);
    cr_expect(charge_is_paid(&vm), "without a cap");
    vm.cap = 10;
    cr_expect(charge_is_paid(&vm));
    (void)serve(ahead / 10, 0);
    cr_expect(charge_is_paid(&vm), "up to here");
    (void)serve(ms / 2, 0);
    cr_expect_not(charge_is_paid(&vm));
    paper.tsc += 5 * ms - ms / 2 - 1;
    cr_expect_not(charge_is_paid(&vm), "by a tick");
    paper.tsc += 1;
    cr_expect(charge_is_paid(&vm));
    paper.tsc += 3600 * machine.tsc_hz; // are not saved up
    (void)serve(ahead / 10 + ms / 2, 0);
    cr_expect_not(charge_is_paid(&vm));
}

// What is put in before anything was printed costs nothing: soon it is known what it costs.
Test(supervisor_charge, first_bytes_tell_already) {
    print(FIRST_BYTES - 1, 100);
    cr_expect_eq(serve(0, 10), 0, "too few");
    paper.printed = paper.position;
    paper.spent += 1000;
    cr_expect_eq(serve(0, 10), 2500);
}
