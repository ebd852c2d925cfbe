// SPDX-License-Identifier: Apache-2.0
// See supervisor/charge.h.
#include "supervisor/charge.h"

#include "lib/syscall.h"
#include "supervisor/console.h"
#include "supervisor/driver.h"
#include "supervisor/machine.h"

#define SERVICE_MAX_NS  5000000ULL // of one service; longer, and others had the CPU meanwhile
#define MEASURE_BYTES   2048u      // that are printed between two looks at the driver's time
#define BYTE_COST_SHIFT 8          // it is kept in 256ths of a tick

static struct {
    uint64_t since;     // TSC
    uint32_t position;  // of the console, then
    uint64_t byte_cost; // of the driver
    uint64_t run;       // the driver's time at the last look,
    uint32_t printed;   // and what it had printed
} charge;

void charge_begin(void) {
    charge.since = machine_tsc();
    charge.position = console_position();
}

// What the driver's interrupts and switches cost whoever ran is in no account: half of its own time
// (1,900 ticks beside 3,600 for a FIFO's worth, counted on Bochs). A driver that was started again
// begins at 0. The old figure and the new one count alike.
static void measure_driver(void) {
    uint32_t printed = console_printed(), count = printed - charge.printed;
    if (count < MEASURE_BYTES) {
        return;
    }
    uint64_t run = driver_run_time();
    if (run > charge.run) {
        uint64_t cost = ((run - charge.run) * 3 / 2 << BYTE_COST_SHIFT) / count;
        charge.byte_cost = charge.byte_cost == 0 ? cost : (charge.byte_cost + cost) / 2;
    }
    charge.run = run;
    charge.printed = printed;
}

void charge_end(struct vm *vm) {
    uint64_t ticks = machine_tsc() - charge.since, most = machine_ticks(SERVICE_MAX_NS);
    uint64_t bytes = console_position() - charge.position;
    measure_driver();
    ticks = ticks < most ? ticks : most;
    ticks += bytes * charge.byte_cost >> BYTE_COST_SHIFT;
    ticks = ticks < machine.tsc_hz ? ticks : machine.tsc_hz;
    vm->charged += ticks;
    if (vm->partition.group != 0) {
        (void)sys_group_charge(vm->partition.group, ticks);
    }
}
