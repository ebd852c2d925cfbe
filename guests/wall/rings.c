// SPDX-License-Identifier: Apache-2.0
// A VMM that lies where its supervisor reads, while it reads: one thread writes messages anew, in
// which each string lacks its end now and then; another moves the indices of the rings, its own
// and the supervisor's, to where no message begins, backwards, and as far as numbers go; a third
// tells the supervisor all the time. After that it reports as any VMM, and nothing was believed.
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define RINGS      0x4000000000ULL // a second mapping of the console's
#define STACK_SIZE 4096u

enum role { WRITE, MOVE, TELL, ROLES };

static const char forged[] = "[bulkhead] panic: forged\r\n[bulkhead] vm witness-a: crashed: forged";

static uint8_t stacks[ROLES][STACK_SIZE] __attribute__((aligned(16)));
static uint64_t done[ROLES];
static bool is_over;
static uint32_t ended; // roles

static void write_message(struct dice *dice) {
    static const uint32_t types[] = {VMM_MESSAGE_LOG, VMM_MESSAGE_DUMP, VMM_MESSAGE_RUNNING, 99};
    uint32_t at = dice_below(dice, VMM_REPORTS_RING / VMM_MESSAGE_SIZE) * VMM_MESSAGE_SIZE;
    struct vmm_message *message = (struct vmm_message *)(void *)&wall_reports()->ring[at];
    message->type = types[dice_below(dice, ARRAY_COUNT(types))];
    memset(message->text, 'x', sizeof(message->text));
    memcpy(message->text + dice_below(dice, 160), forged, sizeof(forged) - 1);
    if (dice_one_in(dice, 2))
        message->text[dice_below(dice, sizeof(message->text))] = '\0';
}

// Mostly near, so that the reader goes on and comes around.
static void move_indices(struct dice *dice) {
    struct vmm_console *console = (struct vmm_console *)RINGS;
    struct vmm_reports *reports = wall_reports();
    uint32_t near = reports->tail + dice_below(dice, 2 * VMM_REPORTS_RING);
    reports->head = dice_one_in(dice, 4) ? (uint32_t)dice_value(dice) : near;
    if (dice_one_in(dice, 4))
        reports->tail = (uint32_t)dice_value(dice);
    console->in_head = (uint32_t)dice_value(dice);
    console->in_tail = (uint32_t)dice_value(dice);
}

static void act(struct dice *dice, uint64_t role) {
    if (role == WRITE)
        write_message(dice);
    else if (role == MOVE)
        move_indices(dice);
    else
        (void)sys_event_signal(wall_start->supervisor_event, wall_start->supervisor_mask);
}

_Noreturn static void take_role(uint64_t role) {
    struct dice dice = {wall_seed * ROLES + role};
    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        act(&dice, role);
        done[role]++;
    }
    __atomic_fetch_add(&ended, 1, __ATOMIC_RELEASE);
    sys_thread_end();
}

static bool all_have_run(void) {
    for (uint32_t role = 0; role < ROLES; role++)
        if (__atomic_load_n(&done[role], __ATOMIC_RELAXED) == 0)
            return false;
    return true;
}

void wall_main(void) {
    must(sys_process_map(0, wall_start->console, RINGS, 0,
                         align_up(sizeof(struct vmm_console), ABI_PAGE),
                         ABI_RIGHT_READ | ABI_RIGHT_WRITE),
         "the rings");
    for (uint64_t role = 0; role < ROLES; role++)
        must(sys_thread_create(0, (uintptr_t)take_role,
                               (uintptr_t)stacks[role] + STACK_SIZE - sizeof(uint64_t), role,
                               ABI_CPU_ANY),
             "a thread");
    uint64_t end = wall_tsc() + wall_ticks(WALL_PATIENCE_US);
    do
        wall_nap(wall_number("ms", 300) * 1000);
    while (!all_have_run() && wall_tsc() < end);
    __atomic_store_n(&is_over, true, __ATOMIC_RELEASE);
    while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < ROLES)
        wall_nap(1000);
    for (uint32_t role = 0; role < ROLES; role++)
        CHECK(done[role] > 0, "role %u never ran", role);
    wall_resume_reports();
}
