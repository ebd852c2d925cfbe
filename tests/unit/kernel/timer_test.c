// SPDX-License-Identifier: Apache-2.0
// kernel/timer.c: each timer fires once, in order, not before its time, on the CPU that armed it;
// and the hardware always holds the earliest deadline of its CPU.
#include "tests/unit/kernel/support.h"

#include "kernel/timer.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#define TIMERS 16u

static struct timer timers[TIMERS];
static unsigned fired[TIMERS];
static uint64_t last_deadline;

static void note(struct timer *timer) {
    cr_assert_leq(timer->node.key, host_now, "too early");
    cr_assert_geq(timer->node.key, last_deadline, "out of order");
    cr_assert_null(timer->cpu);
    last_deadline = timer->node.key;
    fired[timer - timers]++;
}

static void set_up(void) {
    for (uint32_t i = 0; i < HOST_CPUS; i++) {
        host_cpu(i)->index = i;
        timer_init_cpu(host_cpu(i));
    }
    for (unsigned i = 0; i < TIMERS; i++)
        timers[i].run = note;
}

TestSuite(kernel_timer, .init = set_up);

static void interrupt_at(uint64_t now) {
    host_now = now;
    last_deadline = 0;
    host_deadline[cpu_current()->index] = 0; // the hardware fired, and stands still
    timer_interrupt();
}

Test(kernel_timer, hardware_holds_the_earliest) {
    timer_arm(&timers[0], 5000000);
    cr_expect_eq(host_deadline[0], 5000000);
    timer_arm(&timers[1], 4000000);
    cr_expect_eq(host_deadline[0], 4000000);
    uint32_t writes = host_timer_writes;
    timer_arm(&timers[2], 6000000);
    cr_expect_eq(host_deadline[0], 4000000);
    cr_expect_eq(host_timer_writes, writes, "a later one costs no write");
    timer_cancel(&timers[1]);
    cr_expect_eq(host_deadline[0], 5000000);
    timer_cancel(&timers[0]);
    timer_cancel(&timers[2]);
    cr_expect_eq(host_deadline[0], 0);
}

Test(kernel_timer, expired_ones_fire_in_order_once) {
    const uint64_t deadline[] = {3000, 1000, 2000, 2000, 9000};
    host_now = 0;
    for (unsigned i = 0; i < 5; i++)
        timer_arm(&timers[i], deadline[i]);
    interrupt_at(500);
    cr_expect_eq(fired[1], 0);
    cr_expect_eq(host_deadline[0], 1000, "set again: the interrupt came early");
    interrupt_at(2000);
    cr_expect(fired[1] == 1 && fired[2] == 1 && fired[3] == 1 && fired[0] == 0);
    cr_expect_eq(host_deadline[0], 3000);
    interrupt_at(8999);
    cr_expect(fired[0] == 1 && fired[4] == 0);
    interrupt_at(9000);
    cr_expect_eq(fired[4], 1);
    cr_expect_eq(host_deadline[0], 0);
    interrupt_at(99999);
    for (unsigned i = 0; i < 5; i++)
        cr_expect_eq(fired[i], 1);
}

Test(kernel_timer, arming_again_moves_it) {
    host_now = 0;
    timer_arm(&timers[0], 1000);
    timer_arm(&timers[1], 1500);
    timer_arm(&timers[0], 2000);
    cr_expect_eq(host_deadline[0], 1500);
    interrupt_at(1600);
    cr_expect(fired[0] == 0 && fired[1] == 1);
    timer_arm(&timers[0], 1700);
    cr_expect_eq(host_deadline[0], 1700);
    interrupt_at(5000);
    cr_expect_eq(fired[0], 1);
}

Test(kernel_timer, cancelled_does_not_fire) {
    host_now = 0;
    timer_cancel(&timers[3]); // never armed
    timer_arm(&timers[0], 1000);
    timer_arm(&timers[1], 1000);
    timer_cancel(&timers[0]);
    timer_cancel(&timers[0]);
    interrupt_at(2000);
    cr_expect(fired[0] == 0 && fired[1] == 1);
    timer_arm(&timers[0], 3000);
    interrupt_at(3000);
    cr_expect_eq(fired[0], 1);
}

static unsigned beats;
static void beat(struct timer *timer) {
    if (++beats < 5)
        timer_arm(timer, timer->node.key + 100);
}

Test(kernel_timer, function_may_arm_its_own_timer) {
    host_now = 0;
    timers[0].run = beat;
    timer_arm(&timers[0], 100);
    interrupt_at(350);
    cr_expect_eq(beats, 3, "100, 200, 300");
    cr_expect_eq(host_deadline[0], 400);
    interrupt_at(1000);
    cr_expect_eq(beats, 5);
    cr_expect_eq(host_deadline[0], 0);
}

Test(kernel_timer, cpus_have_their_own) {
    host_now = 0;
    timer_arm(&timers[0], 1000);
    host_run_on(1);
    timer_arm(&timers[1], 2000);
    cr_expect(host_deadline[0] == 1000 && host_deadline[1] == 2000);
    interrupt_at(5000);
    cr_expect(fired[0] == 0 && fired[1] == 1);
    host_run_on(0);
    interrupt_at(5000);
    cr_expect_eq(fired[0], 1);
}

Test(kernel_timer, arming_on_another_cpu_takes_it_along) {
    host_now = 0;
    timer_arm(&timers[0], 1000);
    host_run_on(1);
    timer_arm(&timers[0], 2000);
    host_run_on(0);
    interrupt_at(3000); // the hardware still had the old deadline
    cr_expect_eq(fired[0], 0);
    cr_expect_eq(host_deadline[0], 0);
    host_run_on(1);
    interrupt_at(3000);
    cr_expect_eq(fired[0], 1);
}

Test(kernel_timer, cancelling_from_another_cpu) {
    host_now = 0;
    timer_arm(&timers[0], 1000);
    timer_arm(&timers[1], 1500);
    host_run_on(1);
    uint32_t writes = host_timer_writes;
    timer_cancel(&timers[0]);
    cr_expect_eq(host_timer_writes, writes, "the other's hardware is not ours to write");
    host_run_on(0);
    interrupt_at(1000);
    cr_expect_eq(fired[0], 0);
    cr_expect_eq(host_deadline[0], 1500);
}

// A periodic timer that fires on CPU 1 while its owner arms it on CPU 0: it must not end up in both
// queues (review C27).
static uint32_t is_firing, is_arming; // atomic
static void beat_once_more(struct timer *timer) {
    __atomic_store_n(&is_firing, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&is_arming, __ATOMIC_SEQ_CST) == 0) {
    }
    usleep(20000); // the other CPU waits for this function by now
    timer->run = note;
    timer_arm(timer, 5000);
}

static void *interrupt_on_cpu_1(void *unused) {
    (void)unused;
    host_run_on(1);
    timer_interrupt();
    return NULL;
}

Test(kernel_timer, arming_while_it_fires_elsewhere_moves_it_whole) {
    pthread_t other;
    timers[0].run = beat_once_more;
    host_run_on(1);
    timer_arm(&timers[0], 1000);
    timer_arm(&timers[1], 6000);
    host_run_on(0);
    timer_arm(&timers[2], 7000);
    host_now = 1000;
    cr_assert_eq(pthread_create(&other, NULL, interrupt_on_cpu_1, NULL), 0);
    while (__atomic_load_n(&is_firing, __ATOMIC_SEQ_CST) == 0) {
    }
    __atomic_store_n(&is_arming, 1, __ATOMIC_SEQ_CST);
    timer_arm(&timers[0], 8000);
    pthread_join(other, NULL);
    cr_expect_eq(timers[0].cpu, host_cpu(0));
    host_run_on(1);
    interrupt_at(9000);
    cr_expect(fired[0] == 0 && fired[1] == 1 && fired[2] == 0);
    host_run_on(0);
    interrupt_at(9000);
    cr_expect(fired[0] == 1 && fired[1] == 1 && fired[2] == 1);
}

// Whoever finds an expired timer in no queue waits until its function is over: afterwards its
// memory may go.
static uint32_t is_over; // atomic
static void linger(struct timer *timer) {
    (void)timer;
    __atomic_store_n(&is_firing, 1, __ATOMIC_SEQ_CST);
    usleep(20000);
    __atomic_store_n(&is_over, 1, __ATOMIC_SEQ_CST);
}

Test(kernel_timer, cancelling_waits_for_the_function) {
    pthread_t other;
    timers[0].run = linger;
    host_run_on(1);
    timer_arm(&timers[0], 1000);
    host_run_on(0);
    host_now = 1000;
    cr_assert_eq(pthread_create(&other, NULL, interrupt_on_cpu_1, NULL), 0);
    while (__atomic_load_n(&is_firing, __ATOMIC_SEQ_CST) == 0) {
    }
    timer_cancel(&timers[0]);
    cr_expect_eq(__atomic_load_n(&is_over, __ATOMIC_SEQ_CST), 1);
    pthread_join(other, NULL);
}

// A timer that fires on CPU 1 while its owner comes to CPU 0 fires once, there or here.
static void count_only(struct timer *timer) {
    __atomic_add_fetch(&fired[timer - timers], 1, __ATOMIC_SEQ_CST);
}

static uint32_t follow_round; // atomic
#define FOLLOW_ROUNDS 20000u

static void *interrupts_on_cpu_1(void *unused) {
    host_run_on(1);
    for (uint32_t round = 1; round <= FOLLOW_ROUNDS; round++) {
        timer_arm(&timers[0], 1000);
        __atomic_store_n(&follow_round, round, __ATOMIC_SEQ_CST);
        timer_interrupt();
        while (__atomic_load_n(&follow_round, __ATOMIC_SEQ_CST) == round) {
        }
    }
    return unused;
}

Test(kernel_timer, following_while_it_fires_elsewhere_fires_once) {
    pthread_t other;
    timers[0].run = count_only;
    host_now = 1000;
    cr_assert_eq(pthread_create(&other, NULL, interrupts_on_cpu_1, NULL), 0);
    for (uint32_t round = 1; round <= FOLLOW_ROUNDS; round++) {
        while (__atomic_load_n(&follow_round, __ATOMIC_SEQ_CST) != round) {
        }
        for (volatile uint32_t i = 0; i < round % 64; i++) {
        }
        timer_follow(&timers[0]);
        timer_interrupt();
        while (__atomic_load_n(&fired[0], __ATOMIC_SEQ_CST) < round) {
        }
        cr_assert_eq(__atomic_load_n(&fired[0], __ATOMIC_SEQ_CST), round);
        __atomic_add_fetch(&follow_round, 1, __ATOMIC_SEQ_CST);
    }
    pthread_join(other, NULL);
    cr_expect_eq(fired[0], FOLLOW_ROUNDS);
}

Test(kernel_timer, random_operations_match_a_model) {
    uint64_t deadline[TIMERS] = {0}, seed = 6364136223846793005ULL; // 0: not armed
    uint32_t home[TIMERS] = {0};
    host_now = 1;
    for (unsigned round = 0; round < 50000; round++) {
        uint32_t cpu = (uint32_t)(host_random(&seed) % HOST_CPUS);
        unsigned i = host_random(&seed) % TIMERS;
        host_run_on(cpu);
        switch (host_random(&seed) % 4) {
        case 0:
        case 1:
            deadline[i] = host_now + host_random(&seed) % 1000;
            home[i] = cpu;
            timer_arm(&timers[i], deadline[i]);
            break;
        case 2:
            timer_cancel(&timers[i]);
            deadline[i] = 0;
            break;
        default:
            interrupt_at(host_now + host_random(&seed) % 100);
        }
        uint64_t earliest = 0;
        for (unsigned k = 0; k < TIMERS; k++) {
            bool is_due = fired[k] != 0;
            if (is_due) {
                cr_assert(home[k] == cpu && deadline[k] != 0 && deadline[k] <= host_now);
                deadline[k] = 0;
                fired[k] = 0;
            }
            if (deadline[k] != 0 && home[k] == cpu && (earliest == 0 || deadline[k] < earliest))
                earliest = deadline[k];
        }
        // A timer that another CPU took out leaves its deadline: an interrupt for nothing.
        if (earliest != 0)
            cr_assert(host_deadline[cpu] != 0 && host_deadline[cpu] <= earliest);
    }
}
