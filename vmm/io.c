// SPDX-License-Identifier: Apache-2.0
// The I/O thread. It sleeps on start->wakeup until the earliest deadline: of a device, of console
// output that the supervisor does not know of yet, or of the next look at a console without room.
//
// While it is awake io_deadline is 0, so that nobody wakes it in vain; before it sleeps, it
// computes the deadline anew under the lock.
#include "vmm/io.h"

#include "lib/syscall.h"
#include "vmm/report.h"

#define NS_PER_MS 1000000ULL
// The supervisor signals room in the console; this is for one that forgot to.
#define STALL_POLL_NS (20 * NS_PER_MS)

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// With the lock held.
static void resume_waiters(struct vmm *vmm) {
    for (uint32_t i = 0; i < vmm->vcpu_count; i++)
        if (vmm->room_waiters & 1ULL << i)
            (void)sys_event_signal(vmm->vcpu[i].room_event, 1);
    vmm->room_waiters = 0;
}

// With the lock held. Returns when to look again.
static uint64_t serve_console(struct vmm *vmm, uint64_t now) {
    process_feed_input(vmm);
    if (console_is_stalled(&vmm->console)) {
        vmm->machine.after |= MACHINE_AFTER_TELL;
        if (console_flush(&vmm->console))
            resume_waiters(vmm);
    }
    if (vmm->tell_deadline <= now)
        vmm->machine.after |= MACHINE_AFTER_TELL;
    if (console_is_stalled(&vmm->console))
        return now + STALL_POLL_NS;
    return vmm->machine.after & MACHINE_AFTER_TELL ? DEVICE_NO_DEADLINE : vmm->tell_deadline;
}

// One round of work. Returns when the next is due.
static uint64_t serve(struct vmm *vmm) {
    struct machine *machine = &vmm->machine;
    machine_lock(machine);
    vmm->io_deadline = 0;
    uint64_t now = clock_ns(&vmm->clock, clock_read_tsc());
    board_run(&machine->board, now);
    uint64_t deadline = serve_console(vmm, now);
    deadline = earlier(deadline, board_next_deadline(&machine->board));
    vmm->io_deadline = deadline;
    uint32_t after = machine_unlock(machine);
    process_do_after(vmm, NULL, after & ~(uint32_t)MACHINE_AFTER_WAKE);
    return deadline;
}

static void press_power_button(struct vmm *vmm) {
    machine_lock(&vmm->machine);
    pm_power_button(&vmm->machine.board.pm);
    process_do_after(vmm, NULL, machine_unlock(&vmm->machine));
}

_Noreturn void io_loop(struct vmm *vmm) {
    for (;;) {
        uint64_t deadline = serve(vmm);
        uint64_t deadline_tsc = clock_tsc(&vmm->clock, clock_read_tsc(), deadline);
        uint64_t bits = 0;
        (void)sys_event_wait(vmm->start->wakeup, UINT64_MAX, deadline_tsc, &bits);
        if (bits & VMM_WAKEUP_POWER_BUTTON)
            press_power_button(vmm);
        if (bits & VMM_WAKEUP_END)
            report_end(vmm, VMM_END_POWERED_OFF, 0, "ended by the supervisor");
    }
}
