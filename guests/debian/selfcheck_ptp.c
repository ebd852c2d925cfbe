// SPDX-License-Identifier: Apache-2.0
//
// The host's clock by KVM's hypercall CLOCK_PAIRING, as the kernel's module ptp_kvm shows it: the
// module loads, its clock agrees with the kernel's date, and goes as fast as the kernel's.

#define _GNU_SOURCE
#include "selfcheck.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MODULE             "/lib/ptp_kvm.ko"
#define CPUID_HYPERVISOR   0x40000000u
#define SPAN_NS            (NS_PER_S / 10)
#define DATE_TOLERANCE_NS  NS_PER_S // the kernel took its own from the CMOS clock, to half a second
#define DRIFT_TOLERANCE_NS INT64_C(20000)

// Linux, Documentation/driver-api/ptp.rst: the clock behind a file.
static clockid_t clock_of(int file) {
    return (clockid_t)((~(unsigned)file << 3) | 3);
}

static int is_kvm(void) {
    uint32_t leaf, name[3];

    __cpuid(CPUID_HYPERVISOR, leaf, name[0], name[1], name[2]);
    return memcmp(name, "KVMKVMKVM\0\0\0", sizeof(name)) == 0;
}

static int64_t read_ns(clockid_t clock) {
    struct timespec now;

    if (clock_gettime(clock, &now) != 0)
        fail("ptp: reading the clock: %s", strerror(errno));
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

// The host's clock and when that was by the kernel's, as the middle of a bracket that nothing
// interrupted for long.
struct reading {
    int64_t host, mine, width;
};

static struct reading read_both(clockid_t host, clockid_t mine) {
    struct reading best = {.width = INT64_MAX};

    for (int i = 0; i < 50; i++) {
        const int64_t before = read_ns(mine), at = read_ns(host), width = read_ns(mine) - before;
        if (width < best.width)
            best = (struct reading){at, before + width / 2, width};
    }
    return best;
}

void check_host_clock(void) {
    const struct timespec span = {.tv_nsec = SPAN_NS};
    char name[64];
    int module, device;

    if (!is_kvm())
        return;
    module = open(MODULE, O_RDONLY | O_CLOEXEC);
    if (module < 0 || (syscall(SYS_finit_module, module, "", 0) != 0 && errno != EEXIST))
        fail("ptp: loading %s: %s", MODULE, strerror(errno));
    close(module);
    read_text("/sys/class/ptp/ptp0/clock_name", name, sizeof(name));
    if (strncmp(name, "KVM virtual PTP", strlen("KVM virtual PTP")) != 0)
        fail("ptp: the clock is %s", name);
    device = open("/dev/ptp0", O_RDONLY | O_CLOEXEC);
    if (device < 0)
        fail("ptp: /dev/ptp0: %s", strerror(errno));

    const struct reading date = read_both(clock_of(device), CLOCK_REALTIME);
    if (llabs(date.host - date.mine) > DATE_TOLERANCE_NS)
        fail("ptp: the host's date is %" PRId64 " us off", (date.host - date.mine) / 1000);
    const struct reading first = read_both(clock_of(device), CLOCK_MONOTONIC_RAW);
    nanosleep(&span, NULL);
    const struct reading last = read_both(clock_of(device), CLOCK_MONOTONIC_RAW);
    const int64_t drift = (last.host - first.host) - (last.mine - first.mine);
    if (llabs(drift) > DRIFT_TOLERANCE_NS + (first.width + last.width) / 2)
        fail("ptp: %" PRId64 " ns apart in %d ms", drift, (int)(SPAN_NS / 1000000));
    close(device);
    pass(", host's clock %" PRId64 " us off", (date.host - date.mine) / 1000);
}
