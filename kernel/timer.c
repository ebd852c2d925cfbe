// SPDX-License-Identifier: Apache-2.0
// See kernel/timer.h. The queue is a list sorted by deadline: few timers are armed on a CPU at a time
// (a slice, and one a waiting thread or vCPU).
#include "kernel/timer.h"

#include "arch/cpu.h"
#include "arch/lapic.h"
#include "kernel/lock.h"
#include "kernel/timer_queue.h"

struct timer_queue {
    struct spinlock lock;
    struct timer *head;    // [lock]
    struct timer *running; // whose function is being called (atomic)
};

static struct timer_queue queues[CPU_COUNT_MAX];

void timer_init_cpu(struct cpu *cpu) {
    lock_init(&queues[cpu->index].lock, LOCK_TIMER);
}

// What is in the hardware is always the head of the list, or nothing.
static void program(const struct timer_queue *queue) {
    if (queue->head != NULL)
        lapic_timer_set(queue->head->deadline);
    else
        lapic_timer_stop();
}

static bool remove(struct timer_queue *queue, struct timer *timer) {
    struct timer **link = &queue->head;
    while (*link != NULL && *link != timer)
        link = &(*link)->next;
    if (*link == NULL)
        return false;
    *link = timer->next;
    __atomic_store_n(&timer->cpu, NULL, __ATOMIC_RELEASE);
    return true;
}

void timer_arm(struct timer *timer, uint64_t deadline) {
    struct cpu *cpu = cpu_current();
    struct timer_queue *queue = &queues[cpu->index];
    // From the queue where it may still run, until that run did not arm it again.
    while (timer->home != cpu && timer->home != NULL) {
        timer_cancel(timer);
        if (__atomic_load_n(&timer->cpu, __ATOMIC_ACQUIRE) == NULL)
            break;
    }
    lock_take(&queue->lock);
    const struct timer *old_head = queue->head;
    if (timer->cpu == cpu)
        remove(queue, timer);
    timer->deadline = deadline;
    timer->home = cpu;
    struct timer **link = &queue->head;
    while (*link != NULL && (*link)->deadline <= deadline)
        link = &(*link)->next;
    timer->next = *link;
    *link = timer;
    __atomic_store_n(&timer->cpu, cpu, __ATOMIC_RELEASE);
    if (queue->head == timer || old_head != queue->head)
        program(queue);
    lock_drop(&queue->lock);
}

void timer_cancel(struct timer *timer) {
    struct cpu *cpu = __atomic_load_n(&timer->cpu, __ATOMIC_ACQUIRE);
    // From another CPU the hardware keeps its old deadline: one interrupt that finds nothing to do.
    if (cpu != NULL) {
        struct timer_queue *queue = &queues[cpu->index];
        lock_take(&queue->lock);
        bool was_head = queue->head == timer;
        if (timer->cpu == cpu && remove(queue, timer) && was_head && cpu == cpu_current())
            program(queue);
        lock_drop(&queue->lock);
    }
    const struct cpu *home = timer->home;
    while (home != NULL && home != cpu_current() &&
           __atomic_load_n(&queues[home->index].running, __ATOMIC_ACQUIRE) == timer)
        x86_pause();
}

static struct timer *take_expired(struct timer_queue *queue) {
    lock_take(&queue->lock);
    struct timer *timer = queue->head;
    bool is_expired = timer != NULL && timer->deadline <= x86_rdtsc();
    if (is_expired) {
        // In this order: who finds it in no queue must find it running.
        __atomic_store_n(&queue->running, timer, __ATOMIC_RELAXED);
        remove(queue, timer);
    } else {
        program(queue);
    }
    lock_drop(&queue->lock);
    return is_expired ? timer : NULL;
}

void timer_interrupt(void) {
    struct timer_queue *queue = &queues[cpu_current()->index];
    for (struct timer *timer = take_expired(queue); timer != NULL; timer = take_expired(queue)) {
        timer->run(timer);
        __atomic_store_n(&queue->running, NULL, __ATOMIC_RELEASE);
    }
}
