// SPDX-License-Identifier: Apache-2.0
// See kernel/timer.h.
#include "kernel/timer.h"

#include "arch/cpu.h"
#include "arch/lapic.h"
#include "kernel/lock.h"

struct timer_queue {
    struct spinlock lock;
    struct heap timers;    // by deadline [lock]
    struct timer *running; // whose function is being called (atomic)
    bool is_set;           // the hardware's, of this CPU alone: it will fire
};

static struct timer_queue queues[CPU_COUNT_MAX];

void timer_init_cpu(struct cpu *cpu) {
    lock_init(&queues[cpu->index].lock, LOCK_TIMER);
}

static struct timer *first(const struct timer_queue *queue) {
    struct heap_node *node = heap_first(&queue->timers);
    return node != NULL ? CONTAINER_OF(node, struct timer, node) : NULL;
}

// What is in the hardware is always the first of the queue, or nothing.
static void program(struct timer_queue *queue) {
    const struct timer *timer = first(queue);
    if (timer != NULL)
        lapic_timer_set(timer->node.key);
    else if (queue->is_set)
        lapic_timer_stop();
    queue->is_set = timer != NULL;
}

static void remove(struct timer_queue *queue, struct timer *timer) {
    heap_remove(&queue->timers, &timer->node);
    __atomic_store_n(&timer->cpu, NULL, __ATOMIC_RELEASE);
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
    const struct timer *old_first = first(queue);
    if (timer->cpu == cpu)
        remove(queue, timer);
    timer->home = cpu;
    heap_insert(&queue->timers, &timer->node, deadline);
    __atomic_store_n(&timer->cpu, cpu, __ATOMIC_RELEASE);
    if (first(queue) == timer || old_first != first(queue))
        program(queue);
    lock_drop(&queue->lock);
}

// False: it is not there any more, since it fired or somebody was faster.
static bool take_out(struct timer *timer, struct cpu *cpu) {
    struct timer_queue *queue = &queues[cpu->index];
    lock_take(&queue->lock);
    bool is_in = timer->cpu == cpu, was_first = first(queue) == timer;
    if (is_in)
        remove(queue, timer);
    // From another CPU the hardware keeps its old deadline: one interrupt that finds nothing to do.
    if (is_in && was_first && cpu == cpu_current())
        program(queue);
    lock_drop(&queue->lock);
    return is_in;
}

void timer_follow(struct timer *timer) {
    struct cpu *cpu = __atomic_load_n(&timer->cpu, __ATOMIC_ACQUIRE);
    if (cpu != NULL && cpu != cpu_current() && take_out(timer, cpu))
        timer_arm(timer, timer->node.key);
}

void timer_cancel(struct timer *timer) {
    struct cpu *cpu = __atomic_load_n(&timer->cpu, __ATOMIC_ACQUIRE);
    if (cpu != NULL)
        (void)take_out(timer, cpu);
    const struct cpu *home = timer->home;
    while (home != NULL && home != cpu_current() &&
           __atomic_load_n(&queues[home->index].running, __ATOMIC_ACQUIRE) == timer)
        x86_pause();
}

static struct timer *take_expired(struct timer_queue *queue) {
    lock_take(&queue->lock);
    struct timer *timer = first(queue);
    bool is_expired = timer != NULL && timer->node.key <= x86_rdtsc();
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
    struct cpu *cpu = cpu_current();
    struct timer_queue *queue = &queues[cpu->index];
    bool has_guests = false, has_ours = false;
    queue->is_set = false; // it has fired; a stale one costs an interrupt that finds nothing
    for (struct timer *timer = take_expired(queue); timer != NULL; timer = take_expired(queue)) {
        has_guests = has_guests || timer->is_guests;
        has_ours = has_ours || !timer->is_guests;
        timer->run(timer);
        __atomic_store_n(&queue->running, NULL, __ATOMIC_RELEASE);
    }
    cpu->timers++;
    cpu->own_timers += has_ours || !has_guests;
}
