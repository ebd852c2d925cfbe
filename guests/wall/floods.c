// SPDX-License-Identifier: Apache-2.0
// Too much of everything that is allowed: signals, messages, timers, wakes across CPUs, threads,
// objects. The mother ends each flood after a while, and all of it has to come back; the
// witnesses beside it miss nothing.
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define LIVES      12u  // a round,
#define LIVES_MORE 500u // and at most as many more, until each flood has run
#define LIFE_US    40000u
#define QUOTA      (6ULL << 20)
#define STACK_SIZE ABI_PAGE
#define SPARE      16u // stacks of threads that come and go
#define PLACE      0x4000000000ULL

enum role { SIGNALS, MESSAGES, TIMERS, PING, PONG, THREADS, OBJECTS, SPACE, ROLES };

// At CHILD_OWN.
struct own {
    uint64_t seed;
    uint32_t quota, event, ping, pong;
    uint32_t supervisor_event;
    uint64_t mask;
    uint32_t is_awake[SPARE]; // whose stack is in use (atomic)
    uint64_t done[ROLES];
};

#define STACKS_AT  (CHILD_OWN + ABI_PAGE)
#define REPORTS_AT 0x5000000000ULL

static struct own *self(void) {
    return (struct own *)CHILD_OWN;
}

// ---- the child's threads ------------------------------------------------------------------------

static void send_signals(struct dice *dice) {
    (void)sys_event_signal(self()->supervisor_event,
                           dice_one_in(dice, 2) ? self()->mask : dice_roll(dice));
    (void)sys_event_signal(self()->event, dice_roll(dice));
}

// Of types that the supervisor does not know, and of one that it does; mostly where it reads next.
static void send_messages(struct dice *dice) {
    struct vmm_reports *reports = (struct vmm_reports *)REPORTS_AT;
    uint32_t head = __atomic_load_n(&reports->head, __ATOMIC_RELAXED);
    uint32_t slot = head % VMM_REPORTS_RING / VMM_MESSAGE_SIZE;
    struct vmm_message *message =
        (struct vmm_message *)(void *)&reports->ring[slot * VMM_MESSAGE_SIZE];
    message->type = dice_one_in(dice, 2) ? VMM_MESSAGE_RUNNING : 99;
    for (uint32_t i = 0; i < sizeof(message->text); i++)
        message->text[i] = (char)(dice_roll(dice) | 4); // nowhere is VMM_MESSAGE_ENDED
    head = dice_one_in(dice, 8) ? (uint32_t)dice_value(dice) : head + VMM_MESSAGE_SIZE;
    __atomic_store_n(&reports->head, head, __ATOMIC_RELEASE);
    (void)sys_event_signal(self()->supervisor_event, self()->mask);
}

static void set_timers(struct dice *dice) {
    uint64_t bits;
    (void)sys_event_wait(self()->event, UINT64_MAX, wall_tsc() + dice_below(dice, 600), &bits);
}

static void wake(uint32_t other, uint32_t own) {
    uint64_t bits;
    (void)sys_event_signal(other, 1);
    (void)sys_event_wait(own, UINT64_MAX, wall_tsc() + 50000, &bits);
}

_Noreturn static void come_and_go(uint64_t number) {
    __atomic_store_n(&self()->is_awake[number], 0,
                     __ATOMIC_RELEASE); // its stack is not used any more
    sys_thread_end();
}

static void make_threads(struct dice *dice) {
    uint32_t number = dice_below(dice, SPARE);
    if (__atomic_exchange_n(&self()->is_awake[number], 1, __ATOMIC_ACQUIRE) != 0)
        return;
    int64_t result =
        sys_thread_create(0, (uintptr_t)come_and_go,
                          STACKS_AT + (ROLES + number + 1) * STACK_SIZE - 8, number, ABI_CPU_ANY);
    if (result < 0)
        __atomic_store_n(&self()->is_awake[number], 0, __ATOMIC_RELEASE);
}

static void make_objects(struct dice *dice) {
    uint32_t handles[32], count = 0;
    while (count < 30) {
        int64_t result = dice_one_in(dice, 2) ? sys_event_create(self()->quota)
                                              : sys_quota_create(self()->quota, ABI_PAGE, 0, 0);
        if (result <= 0)
            break;
        handles[count++] = (uint32_t)result;
        if (dice_one_in(dice, 16))
            break;
    }
    while (count > 0)
        (void)sys_handle_close(handles[--count]);
}

static void make_space(struct dice *dice) {
    static const uint64_t sizes[] = {ABI_PAGE, 8 * ABI_PAGE, 64 * ABI_PAGE, SIZE_2M};
    uint64_t size = sizes[dice_below(dice, ARRAY_COUNT(sizes))];
    int64_t memory = sys_memory_create(self()->quota, size);
    if (memory <= 0)
        return;
    if (sys_process_map(0, (uint32_t)memory, PLACE, 0, size, ABI_RIGHT_READ | ABI_RIGHT_WRITE) ==
        0) {
        *(volatile uint8_t *)(PLACE + dice_below(dice, (uint32_t)size)) = 1;
        (void)sys_process_unmap(0, PLACE, size);
    }
    (void)sys_handle_close((uint32_t)memory);
}

static void act(struct dice *dice, enum role role) {
    switch (role) {
    case SIGNALS:
        send_signals(dice);
        break;
    case MESSAGES:
        send_messages(dice);
        break;
    case TIMERS:
        set_timers(dice);
        break;
    case PING:
        wake(self()->pong, self()->ping);
        break;
    case PONG:
        wake(self()->ping, self()->pong);
        break;
    case THREADS:
        make_threads(dice);
        break;
    case OBJECTS:
        make_objects(dice);
        break;
    default:
        make_space(dice);
        break;
    }
}

_Noreturn static void take_role(uint64_t role) {
    struct dice dice = {self()->seed * ROLES + role};
    for (;;) {
        act(&dice, (enum role)role);
        self()->done[role]++;
    }
}

// ---- the mother ---------------------------------------------------------------------------------

static uint64_t done[ROLES]; // of all lives

static void live(struct dice *dice, const struct area *area, const uint32_t events[3]) {
    struct child child;
    struct abi_process_status status;
    struct own *own = (struct own *)(void *)area->at;
    memset(area->at, 0, area->size);
    child_open(&child, QUOTA);
    child_map(&child, area, CHILD_OWN, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    const struct area reports = {wall_start->reports, (uint8_t *)wall_reports(), ABI_PAGE};
    child_map(&child, &reports, REPORTS_AT, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    own->seed = dice_roll(dice);
    own->quota = child_give(&child, child.quota, ABI_RIGHT_READ | ABI_RIGHT_CREATE);
    own->event = child_give(&child, events[0], ABI_RIGHT_SIGNAL | ABI_RIGHT_WAIT);
    own->ping = child_give(&child, events[1], ABI_RIGHT_SIGNAL | ABI_RIGHT_WAIT);
    own->pong = child_give(&child, events[2], ABI_RIGHT_SIGNAL | ABI_RIGHT_WAIT);
    own->supervisor_event = child_give(&child, wall_start->supervisor_event, ABI_RIGHT_SIGNAL);
    own->mask = wall_start->supervisor_mask;
    for (uint64_t role = 0; role < ROLES; role++)
        child_start(&child, (uintptr_t)take_role, STACKS_AT + (role + 1) * STACK_SIZE, role);
    CHECK(!child_wait(&child, LIFE_US / 2 + dice_below(dice, LIFE_US), &status),
          "ended by itself: vector %u at 0x%lx", status.vector, status.rip);
    child_close(&child);
    for (uint32_t i = 0; i < ROLES; i++)
        done[i] += own->done[i];
}

static bool all_have_run(void) {
    for (uint32_t i = 0; i < ROLES; i++)
        if (done[i] == 0)
            return false;
    return true;
}

void wall_main(void) {
    struct dice dice = {wall_seed};
    struct area area = area_make(ABI_PAGE + (ROLES + SPARE) * STACK_SIZE);
    uint32_t events[3];
    for (uint32_t i = 0; i < 3; i++)
        events[i] = must(sys_event_create(wall_start->quota), "an event");
    CHECK(sys_event_signal(wall_start->supervisor_event, ~wall_start->supervisor_mask) ==
              -ABI_ERROR_RIGHTS,
          "the supervisor can be told of another VM");
    for (uint64_t life = 0; life < wall_rounds * LIVES; life++)
        live(&dice, &area, events);
    for (uint64_t life = 0; life < LIVES_MORE && !all_have_run(); life++)
        live(&dice, &area, events);
    wall_resume_reports();
    say("signals %lu messages %lu timers %lu wakes %lu threads %lu objects %lu maps %lu",
        done[SIGNALS], done[MESSAGES], done[TIMERS], done[PING] + done[PONG], done[THREADS],
        done[OBJECTS], done[SPACE]);
    for (uint32_t i = 0; i < ROLES; i++)
        CHECK(done[i] > 0, "flood %u never ran", i);
}
