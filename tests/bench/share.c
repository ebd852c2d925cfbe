// SPDX-License-Identifier: Apache-2.0
// What share of a CPU this guest gets, as it sees it itself: whoever reads the TSC again and again
// sees a gap whenever somebody else runs, the hypervisor included. Words: settle=MS, window=MS,
// tail=MS, all of the TSC.
//
// It is busy from the first to the last instruction; only the window is measured, so that guests
// that start and end some time apart measure while all of them are busy.
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define GAP_TICKS 64u // far longer than a round of the loop, far shorter than an exit

struct gaps {
    uint64_t ticks, count, longest;
};

// Runs until the TSC is `end`.
static struct gaps be_busy(uint64_t end) {
    struct gaps gaps = {0};
    uint64_t before = rdtsc(), now;
    do {
        now = rdtsc();
        uint64_t passed = now - before;
        if (passed > GAP_TICKS) {
            gaps.ticks += passed;
            gaps.count++;
            gaps.longest = MAX(gaps.longest, passed);
        }
        before = now;
    } while (now < end);
    return gaps;
}

static uint64_t ticks_of(const char *word) {
    return tsc_hz() / 1000 * cmdline_number(word);
}

void test(void) {
    uint64_t begin = rdtsc() + ticks_of("settle"), end = begin + ticks_of("window");
    (void)be_busy(begin);
    begin = rdtsc();
    struct gaps gaps = be_busy(end);
    uint64_t window = rdtsc() - begin;
    (void)be_busy(end + ticks_of("tail"));
    print("share ran %lu of %lu gaps %lu longest %lu\n", window - gaps.ticks, window, gaps.count,
          gaps.longest);
    CHECK(window > gaps.ticks);
}
