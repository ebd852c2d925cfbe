// SPDX-License-Identifier: Apache-2.0
// A VMM as its supervisor has it, without a mother: it lies in its rings and messages, and dies
// of a fault; its manifest has it started again. What it attacks with is drawn from the time of
// its start.
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define LIES  20u
#define RINGS 0x4000000000ULL // a second mapping of them

static void lie(struct dice *dice, struct vmm_console *console) {
    struct vmm_reports *reports = wall_reports();
    for (uint32_t i = 0; i < sizeof(reports->ring); i++)
        reports->ring[i] = (uint8_t)(dice_roll(dice) | 4); // never VMM_MESSAGE_ENDED
    reports->head = (uint32_t)dice_value(dice);
    reports->tail = (uint32_t)dice_value(dice);
    console->out_head = (uint32_t)dice_value(dice);
    console->in_tail = (uint32_t)dice_value(dice);
    (void)sys_event_signal(wall_start->supervisor_event,
                           dice_one_in(dice, 2) ? wall_start->supervisor_mask : UINT64_MAX);
}

static void die(struct dice *dice) {
    switch (dice_below(dice, 5)) {
    case 0:
        __asm__ volatile("ud2");
        break;
    case 1:
        __asm__ volatile("int3");
        break;
    case 2:
        __asm__ volatile("cli");
        break;
    case 3:
        *(volatile uint64_t *)dice_address(dice) = 0;
        break;
    default:
        __asm__ volatile("jmp *%0" : : "r"(0xffffffff80000000ULL + dice_below(dice, 1u << 20)));
        break;
    }
    __asm__ volatile("hlt"); // the address was one of ours
}

void wall_main(void) {
    struct dice dice = {wall_seed + wall_tsc()};
    struct vmm_console *console = (struct vmm_console *)RINGS;
    must(sys_process_map(0, wall_start->console, RINGS, 0, align_up(sizeof(*console), ABI_PAGE),
                         ABI_RIGHT_READ | ABI_RIGHT_WRITE),
         "the rings");
    for (uint32_t i = 0; i < LIES; i++)
        lie(&dice, console);
    die(&dice);
}
