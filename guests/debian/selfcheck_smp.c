// SPDX-License-Identifier: Apache-2.0
// Several processors at once, each check with one thread pinned to each:
//
//   work      each runs where it was put, beside the others, and gets its sum right
//   lock      none of many additions under a mutex and none of many atomic ones is lost
//   futex     two processors wake each other in turn, and the clock never goes back from one to the
//             other
//   unmap     memory that one unmaps is gone on all others at once: a message to each is needed for
//             that
//   IPIs      /proc/interrupts shows on every processor that it got such messages
#define _GNU_SOURCE
#include "selfcheck.h"

#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPUS_MAX     64u
#define WORK_STEPS   2000000u
#define LOCK_STEPS   20000u
#define FUTEX_ROUNDS 500u
#define UNMAP_ROUNDS 20u
#define UNMAP_PAGES  16u
#define PAGE         4096u
#define INTERRUPTS   65536u
#define WEYL         UINT64_C(0x9e3779b97f4a7c15)

struct worker {
    unsigned cpu;
    pthread_t thread;
    uint64_t sum;
};

static struct worker workers[CPUS_MAX];
static unsigned cpu_count;

static void pin(unsigned cpu) {
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        fail("cpus: no thread may run on CPU %u", cpu);
}

static void expect_here(unsigned cpu, const char *when) {
    const int here = sched_getcpu();

    if (here != (int)cpu)
        fail("cpus: %s a thread for CPU %u is on CPU %d", when, cpu, here);
}

// One thread on each of CPUs first..cpu_count-1, and waits for all.
static void run_each(unsigned first, void *(*work)(void *)) {
    for (unsigned i = first; i < cpu_count; i++) {
        workers[i].cpu = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            fail("cpus: no thread for CPU %u", i);
    }
    for (unsigned i = first; i < cpu_count; i++)
        pthread_join(workers[i].thread, NULL);
}

// ---- work ---------------------------------------------------------------------------------------

static uint64_t mix(uint64_t seed) {
    uint64_t sum = seed;

    for (unsigned i = 0; i < WORK_STEPS; i++)
        sum = (sum ^ sum >> 29) * WEYL + i;
    return sum;
}

static void *do_work(void *opaque) {
    struct worker *worker = opaque;

    pin(worker->cpu);
    expect_here(worker->cpu, "before work");
    worker->sum = mix(1); // the same everywhere
    expect_here(worker->cpu, "after work");
    return NULL;
}

static void check_work(void) {
    run_each(0, do_work);
    for (unsigned i = 1; i < cpu_count; i++)
        if (workers[i].sum != workers[0].sum)
            fail("cpus: CPU %u computes %016" PRIx64 ", CPU 0 %016" PRIx64, i, workers[i].sum,
                 workers[0].sum);
}

// ---- lock ---------------------------------------------------------------------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile uint64_t under_lock;
static atomic_uint_fast64_t by_atomic;

static void *do_lock(void *opaque) {
    const struct worker *worker = opaque;

    pin(worker->cpu);
    for (unsigned i = 0; i < LOCK_STEPS; i++) {
        pthread_mutex_lock(&mutex);
        under_lock = under_lock + 1;
        pthread_mutex_unlock(&mutex);
        atomic_fetch_add(&by_atomic, 1);
    }
    return NULL;
}

static void check_lock(void) {
    const uint64_t expected = (uint64_t)cpu_count * LOCK_STEPS;

    run_each(0, do_lock);
    if (under_lock != expected || by_atomic != expected)
        fail("cpus: %" PRIu64 " additions under a mutex and %" PRIu64 " atomic ones, not %" PRIu64,
             under_lock, (uint64_t)by_atomic, expected);
}

// ---- futex --------------------------------------------------------------------------------------

static atomic_uint turn; // even: CPU 0's
static atomic_int_fast64_t last_ns;

static void futex_wait(unsigned value) {
    syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void play(unsigned parity) {
    for (unsigned i = 0; i < FUTEX_ROUNDS; i++) {
        unsigned seen;
        while ((seen = atomic_load(&turn)) % 2 != parity)
            futex_wait(seen);
        const int64_t now = now_ns(), before = atomic_load(&last_ns);
        if (now < before)
            fail("cpus: the clock went back %" PRId64 " ns from one CPU to the other",
                 before - now);
        atomic_store(&last_ns, now);
        atomic_fetch_add(&turn, 1);
        syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void *do_futex(void *opaque) {
    const struct worker *worker = opaque;

    pin(worker->cpu);
    play(1);
    return NULL;
}

static void check_futex(void) {
    pin(0);
    for (unsigned i = 1; i < cpu_count; i++) {
        workers[i].cpu = i;
        if (pthread_create(&workers[i].thread, NULL, do_futex, &workers[i]) != 0)
            fail("cpus: no thread for CPU %u", i);
        play(0);
        pthread_join(workers[i].thread, NULL);
    }
    if (turn != 2 * FUTEX_ROUNDS * (cpu_count - 1))
        fail("cpus: %u turns between CPUs, not %u", turn, 2 * FUTEX_ROUNDS * (cpu_count - 1));
}

// ---- unmap --------------------------------------------------------------------------------------

static volatile uint8_t *volatile window;
static atomic_uint round_begun, ready_count, done_count;
static _Thread_local sigjmp_buf fault_return;
static _Thread_local volatile bool is_fault_expected;

static void on_fault(int signal_number) {
    if (!is_fault_expected) {
        signal(signal_number, SIG_DFL);
        return;
    }
    siglongjmp(fault_return, 1);
}

static void wait_until(const atomic_uint *counter, unsigned value) {
    while (atomic_load(counter) < value)
        sched_yield();
}

// True: the page is still there.
static bool is_readable(const volatile uint8_t *page) {
    is_fault_expected = true;
    if (sigsetjmp(fault_return, 1) != 0) {
        is_fault_expected = false;
        return false;
    }
    (void)*page;
    is_fault_expected = false;
    return true;
}

// Reads all pages, so that this CPU remembers where they are, then waits for them to go.
static void *do_unmap(void *opaque) {
    const struct worker *worker = opaque;

    pin(worker->cpu);
    for (unsigned round = 1; round <= UNMAP_ROUNDS; round++) {
        wait_until(&round_begun, 2 * round - 1);
        for (unsigned i = 0; i < UNMAP_PAGES; i++)
            if (window[i * PAGE] != (uint8_t)round)
                fail("cpus: CPU %u reads what was not written", worker->cpu);
        atomic_fetch_add(&ready_count, 1);
        wait_until(&round_begun, 2 * round);
        for (unsigned i = 0; i < UNMAP_PAGES; i++)
            if (is_readable(&window[i * PAGE]))
                fail("cpus: CPU %u still reads what CPU 0 unmapped", worker->cpu);
        atomic_fetch_add(&done_count, 1);
    }
    return NULL;
}

static void unmap_round(unsigned round) {
    uint8_t *pages =
        mmap(NULL, UNMAP_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED)
        fail("cpus: no memory to unmap");
    memset(pages, (int)round, UNMAP_PAGES * PAGE);
    window = pages;
    atomic_store(&round_begun, 2 * round - 1);
    wait_until(&ready_count, round * (cpu_count - 1));
    mprotect(pages, UNMAP_PAGES * PAGE, PROT_NONE); // the address stays ours
    atomic_store(&round_begun, 2 * round);
    wait_until(&done_count, round * (cpu_count - 1));
    munmap(pages, UNMAP_PAGES * PAGE);
}

static void check_unmap(void) {
    signal(SIGSEGV, on_fault);
    pin(0);
    for (unsigned i = 1; i < cpu_count; i++) {
        workers[i].cpu = i;
        if (pthread_create(&workers[i].thread, NULL, do_unmap, &workers[i]) != 0)
            fail("cpus: no thread for CPU %u", i);
    }
    for (unsigned round = 1; round <= UNMAP_ROUNDS; round++)
        unmap_round(round);
    for (unsigned i = 1; i < cpu_count; i++)
        pthread_join(workers[i].thread, NULL);
    signal(SIGSEGV, SIG_DFL);
}

// ---- IPIs ---------------------------------------------------------------------------------------

// Adds the counts of one line of /proc/interrupts, a column a CPU.
static void add_counts(const char *line, uint64_t *sum) {
    for (unsigned i = 0; i < cpu_count; i++) {
        char *end;
        sum[i] += strtoull(line, &end, 10);
        if (end == line)
            fail("cpus: /proc/interrupts has %u columns", i);
        line = end;
    }
}

static uint64_t check_ipis(void) {
    static const char *const kinds[] = {"RES:", "CAL:", "TLB:"};
    static char text[INTERRUPTS];
    uint64_t timer[CPUS_MAX] = {0}, sum[CPUS_MAX] = {0}, all = 0;

    read_text("/proc/interrupts", text, sizeof(text));
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *line = strstr(text, kinds[i]);
        if (line == NULL)
            fail("cpus: /proc/interrupts has no line %s", kinds[i]);
        add_counts(line + strlen(kinds[i]), sum);
    }
    add_counts(strstr(text, "LOC:") + strlen("LOC:"), timer);
    for (unsigned i = 0; i < cpu_count; i++) {
        if (sum[i] == 0 || timer[i] == 0)
            fail("cpus: CPU %u had %" PRIu64 " IPIs and %" PRIu64 " timer interrupts", i, sum[i],
                 timer[i]);
        all += sum[i];
    }
    return all;
}

void check_processors_together(unsigned count) {
    if (count < 2 || count > CPUS_MAX)
        return;
    cpu_count = count;
    check_work();
    check_lock();
    check_futex();
    check_unmap();
    pass(" together (%" PRIu64 " IPIs)", check_ipis());
}
