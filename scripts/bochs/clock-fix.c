// SPDX-License-Identifier: Apache-2.0
//
// clock-fix.so: the host's clock stands still for the emulator, so that runs repeat to the tick.
//
// With "clock: sync=none" the emulated clocks go by instructions executed. But Bochs 3.1 keeps a
// second set of timers that goes by the host's clock whatever the configuration says, and schedules
// its looks at them among the emulated ones. A look ends the turn of the CPU in which it falls and
// cuts REP instructions short: with several CPUs their order changes, and the same image runs
// another way each time, by how busy the host is.
//
// These stand in for libc's, which the emulator finds later. Nothing in it waits for either to
// move.

#include <stdio.h>
#include <sys/time.h>
#include <time.h>

#define STANDS_AT 1700000000

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    *now = (struct timeval){.tv_sec = STANDS_AT};
    return 0;
}

time_t time(time_t *now) {
    if (now != NULL)
        *now = STANDS_AT;
    return STANDS_AT;
}

__attribute__((constructor)) static void tell(void) {
    fprintf(stderr, "clock-fix: the host's clock stands still now\n");
}
