// SPDX-License-Identifier: Apache-2.0
// See supervisor/charge.h. A driver that lies costs a VM CHARGE_MAX_NS a service at most.
#include "supervisor/charge.h"

#include "lib/syscall.h"
#include "lib/types.h"
#include "supervisor/console.h"
#include "supervisor/driver.h"
#include "supervisor/machine.h"

#define LONG_NS         500000ULL    // a service that takes longer was interrupted, perhaps
#define CHARGE_MAX_NS   100000000ULL // of one service
#define BYTE_MAX_NS     100000ULL    // a byte's cost; 87 us are its time on a line of 115200 baud
#define MEASURE_BYTES   2048u        // that are printed between two looks at the driver's time
#define FIRST_BYTES     64u          // before the first of them
#define AHEAD_PART      4u           // of a second
#define BYTE_COST_SHIFT 8            // it is kept in 256ths of a tick

static struct {
    uint64_t since;     // TSC
    uint32_t position;  // of the console, then
    uint64_t byte_cost; // of the driver
    uint64_t spent;     // the driver's time at the last look,
    uint32_t printed;   // and what it had printed
    uint64_t waited;    // our own, at the last look
} charge;

void charge_begin(void) {
    charge.since = machine_tsc();
    charge.position = console_position();
}

// The driver counts its turns. The interrupt before one, two switches and the wait behind it are
// one and a half times as much (counted on Bochs for a FIFO's worth: 2,200 and 3,300 ticks). The
// old figure and the new one count alike.
static void measure_driver(void) {
    uint32_t printed = console_printed(), count = printed - charge.printed;
    uint64_t spent = console_spent();
    bool is_back = count > console_position() - charge.printed || spent < charge.spent;
    if (!is_back && count < (charge.byte_cost == 0 ? FIRST_BYTES : MEASURE_BYTES)) {
        return;
    }
    if (!is_back) {
        uint64_t most = machine_ticks(BYTE_MAX_NS) * count;
        uint64_t cost = (MIN(spent - charge.spent, most) * 5 / 2 << BYTE_COST_SHIFT) / count;
        charge.byte_cost = charge.byte_cost == 0 ? cost : (charge.byte_cost + cost) / 2;
    }
    charge.spent = spent;
    charge.printed = printed;
}

// Of a long service what others ran meanwhile is not the VM's.
static uint64_t own_time(void) {
    static struct abi_usage usage; // large
    uint64_t ticks = machine_tsc() - charge.since;
    if (ticks <= machine_ticks(LONG_NS) || sys_process_usage(0, &usage) < 0) {
        return ticks;
    }
    ticks -= MIN(ticks, usage.wait - charge.waited);
    charge.waited = usage.wait;
    return ticks;
}

void charge_end(struct vm *vm) {
    uint64_t ticks = own_time(), most = machine_ticks(CHARGE_MAX_NS);
    uint64_t bytes = driver_is_gone() ? 0 : console_position() - charge.position;
    measure_driver();
    ticks += bytes * charge.byte_cost >> BYTE_COST_SHIFT;
    ticks = MIN(ticks, most);
    vm->charged += ticks;
    if (vm->cap != 0) {
        vm->paid_until = MAX(vm->paid_until, machine_tsc()) + ticks * 100 / vm->cap;
    }
    vm->debt = MIN(vm->debt + ticks, machine.tsc_hz);
    if (vm->partition.group != 0) {
        (void)sys_group_charge(vm->partition.group, vm->debt);
        vm->debt = 0;
    }
}

bool charge_is_paid(const struct vm *vm) {
    return vm->cap == 0 || vm->paid_until <= machine_tsc() + machine.tsc_hz / AHEAD_PART;
}
