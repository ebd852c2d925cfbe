// SPDX-License-Identifier: Apache-2.0
// The console's driver (drivers/console/): the process that prints. Started once there is something
// else to do, and again whenever it ends; what it had not printed stands in the rings, which
// outlive it. Meanwhile the kernel prints its own lines by itself.
//
//   driver_open       first: the rings
//   driver_start      the process
//   driver_service    when MACHINE_EVENT_DRIVER came: starts it again, if it ended, and says so
//   driver_revive     the same, for whoever waits for it and must not say anything
//   driver_signal     there is text, or room for what is typed
//   driver_restart    ends it, for whoever wants it anew: that is no fault of its own
//   driver_unstick    ends it, as it does not print
#pragma once

#include "include/driver.h"

#include <stdbool.h>

// False: no memory.
bool driver_open(void);
struct console_rings *driver_rings(void);

void driver_start(void);
void driver_service(void);
void driver_revive(void);
void driver_signal(void);
void driver_restart(void);
void driver_unstick(void);

// It cannot be started, or did not live after many starts: nobody prints but the kernel. Where that
// is so from the first, the supervisor ends, and the kernel says it.
bool driver_is_gone(void);
