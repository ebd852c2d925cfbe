// SPDX-License-Identifier: Apache-2.0
// See kernel/runqueue.h.
#include "kernel/runqueue.h"

#include "kernel/group.h"

#define QUANTUM_SHARE_MIN 100u // of a slice, the least quantum: shorter ones would be switches only
#define LOOKS_MAX         8u   // at threads to move

static struct thread *thread_of(struct link *link) {
    return link != NULL ? CONTAINER_OF(link, struct thread, link) : NULL;
}

static struct thread *thread_of_deadline(struct heap_node *node) {
    return node != NULL ? CONTAINER_OF(node, struct thread, deadline) : NULL;
}

void runqueue_init(struct runqueue *queue, uint32_t cpu) {
    *queue = (struct runqueue){.round = 1, .cpu = cpu}; // nobody has had a quantum yet
    list_init(&queue->woken);
    list_init(&queue->active);
    list_init(&queue->expired);
    list_init(&queue->deferred);
}

void runqueue_count(struct thread *thread, bool is_joining) {
    if (thread->class == THREAD_SHARED)
        __atomic_fetch_add(&thread->group->runnable, is_joining ? 1 : UINT32_MAX, __ATOMIC_RELAXED);
}

// In thousandths of the default weight.
static uint64_t share_of(const struct thread *thread) {
    uint64_t count = __atomic_load_n(&thread->group->runnable, __ATOMIC_RELAXED);
    uint64_t weight = __atomic_load_n(&thread->group->weight, __ATOMIC_RELAXED);
    return MAX(weight * 1000 / ABI_WEIGHT_DEFAULT / MAX(count, 1), 1);
}

// Of a part in thousandths of the default weight.
static int64_t quantum_of(const struct runqueue *queue, uint64_t part) {
    return (int64_t)MAX(queue->slice * part / 1000, queue->slice / QUANTUM_SHARE_MIN);
}

static int64_t group_quantum(const struct runqueue *queue, const struct group *group) {
    uint64_t weight = __atomic_load_n(&group->weight, __ATOMIC_RELAXED);
    return quantum_of(queue, weight * 1000 / ABI_WEIGHT_DEFAULT);
}

// One quantum a round, for whoever was not here for several too: nobody saves up.
static void renew(const struct runqueue *queue, struct group_share *share, int64_t quantum) {
    share->credit = MIN(share->credit + quantum, quantum);
    share->round = queue->round;
}

static void refresh(const struct runqueue *queue, struct thread *thread) {
    struct group_share *share = group_share(thread->group, queue->cpu);
    if (share->round != queue->round)
        renew(queue, share, group_quantum(queue, thread->group));
    thread->share = share_of(thread);
    if (thread->own_share.round != queue->round)
        renew(queue, &thread->own_share, quantum_of(queue, thread->share));
}

// What it may use up now; 0 or less: its turn is over. Woken, it borrows from its group's next
// round, so that it need not wait for that where others of its group compute.
static int64_t get_left(const struct runqueue *queue, const struct thread *thread) {
    if (thread->class != THREAD_SHARED)
        return thread->own_share.credit;
    const struct group *group = thread->group;
    int64_t borrowed = thread->is_woken ? group_quantum(queue, group) : 0;
    return MIN(thread->own_share.credit, group_share(group, queue->cpu)->credit + borrowed);
}

static void defer(struct runqueue *queue, struct thread *thread) {
    thread->is_woken = true;
    list_push_last(&queue->deferred, &thread->link);
}

static void put_shared(struct runqueue *queue, struct thread *thread, enum runqueue_place place) {
    refresh(queue, thread);
    queue->load += thread->share;
    thread->is_woken = place == RUNQUEUE_WOKEN && thread->own_share.credit > 0;
    bool has_left = get_left(queue, thread) > 0;
    if (thread->class == THREAD_DEDICATED)
        list_push_last(&queue->active, &thread->link);
    else if (place == RUNQUEUE_FIRST)
        list_push_first(&queue->woken, &thread->link);
    else if (has_left)
        list_push_last(thread->is_woken ? &queue->woken : &queue->active, &thread->link);
    else if (thread->is_woken)
        defer(queue, thread);
    else
        list_push_last(&queue->expired, &thread->link);
}

void runqueue_put(struct runqueue *queue, struct thread *thread, enum runqueue_place place) {
    if (thread->class == THREAD_REALTIME)
        heap_insert(&queue->realtime, &thread->deadline, thread->budget->end);
    else
        put_shared(queue, thread, place);
    queue->count++;
    thread->is_queued = true;
}

void runqueue_remove(struct runqueue *queue, struct thread *thread) {
    if (thread->class == THREAD_REALTIME) {
        heap_remove(&queue->realtime, &thread->deadline);
    } else {
        link_remove(&thread->link);
        queue->load -= thread->share;
    }
    queue->count--;
    thread->is_queued = false;
}

static struct link *first_shared(struct runqueue *queue) {
    struct link *link = list_first(&queue->woken);
    return link != NULL ? link : list_first(&queue->active);
}

struct thread *runqueue_take(struct runqueue *queue) {
    struct thread *thread = thread_of_deadline(heap_first(&queue->realtime));
    while (thread == NULL) {
        thread = thread_of(first_shared(queue));
        if (thread == NULL) {
            if (list_is_empty(&queue->expired) && list_is_empty(&queue->deferred))
                return NULL;
            list_move_all(&queue->woken, &queue->deferred);
            list_move_all(&queue->active, &queue->expired);
            queue->round++;
            continue;
        }
        queue->load -= thread->share;
        refresh(queue, thread);
        queue->load += thread->share;
        if (thread->class == THREAD_SHARED && get_left(queue, thread) <= 0) {
            // Still in debt, or its group is: not in this round.
            link_remove(&thread->link);
            if (thread->own_share.credit > 0)
                defer(queue, thread);
            else
                list_push_last(&queue->expired, &thread->link);
            thread = NULL;
        }
    }
    runqueue_remove(queue, thread);
    return thread;
}

bool runqueue_preempts(const struct runqueue *queue, const struct thread *thread,
                       const struct thread *running) {
    if (running->class == THREAD_REALTIME)
        return thread->class == THREAD_REALTIME && thread->budget->end < running->budget->end;
    return thread->class == THREAD_REALTIME || (get_left(queue, thread) > 0 && !running->is_woken);
}

void runqueue_charge(const struct runqueue *queue, struct thread *thread, uint64_t ticks) {
    // In debt it runs only where the CPU would idle instead, as the others wait for the core.
    if (get_left(queue, thread) <= 0)
        return;
    group_share(thread->group, queue->cpu)->credit -=
        (int64_t)(ticks + group_pay(thread->group, ticks));
    thread->own_share.credit -= (int64_t)ticks;
}

uint64_t runqueue_slice(const struct runqueue *queue, const struct thread *thread) {
    // In debt it runs where the others wait for the core.
    int64_t left = get_left(queue, thread);
    return left > 0 ? MIN((uint64_t)left, queue->slice) : queue->slice;
}

struct thread *runqueue_find_movable(struct runqueue *queue,
                                     bool (*is_movable)(const struct thread *, const void *),
                                     const void *opaque) {
    struct list *lists[] = {&queue->expired, &queue->deferred, &queue->active};
    for (unsigned i = 0; i < ARRAY_COUNT(lists); i++) {
        struct link *link = lists[i]->head.previous;
        for (unsigned n = 0; n < LOOKS_MAX && link != &lists[i]->head; n++, link = link->previous)
            if (thread_of(link)->class == THREAD_SHARED && is_movable(thread_of(link), opaque))
                return thread_of(link);
    }
    return NULL;
}
