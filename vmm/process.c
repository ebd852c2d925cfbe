// SPDX-License-Identifier: Apache-2.0
// What joins the virtual PC to the kernel and the supervisor; the interface is told in process.h.
// Interrupts go out at once, under the lock, so that levels arrive in order; whoever else is to be
// told, is told after the lock was released (process_do_after).
#include "vmm/process.h"

#include "lib/syscall.h"
#include "vmm/report.h"

#define NS_PER_MS 1000000ULL
// How long the first bytes of a line may wait for the rest.
#define TELL_DELAY_NS (2 * NS_PER_MS)

// ---- the backend of the machine -----------------------------------------------------------------

static uint64_t now_ns(void *opaque) {
    const struct vmm *vmm = opaque;
    return clock_ns(&vmm->clock, clock_read_tsc());
}

static void set_now_ns(void *opaque, uint64_t ns) {
    struct vmm *vmm = opaque;
    clock_init(&vmm->clock, vmm->start->tsc_hz, clock_read_tsc(), ns);
}

static bool send_message(void *opaque, uint64_t address, uint32_t data) {
    const struct vmm *vmm = opaque;
    return sys_vm_interrupt(vmm->vm, address, data) > 0;
}

static void set_extint(void *opaque, bool level) {
    const struct vmm *vmm = opaque;
    (void)sys_vcpu_signal(vmm->vcpu[0].handle, VCPU_SIGNAL_EXTINT, level);
}

// The I/O thread only needs to know of a deadline that is earlier than the one it waits for.
static void set_deadline(void *opaque, uint64_t deadline) {
    struct vmm *vmm = opaque;
    if (deadline >= vmm->io_deadline)
        return;
    vmm->io_deadline = deadline;
    vmm->machine.after |= MACHINE_AFTER_WAKE;
}

static void transmit(void *opaque, const uint8_t *data, size_t count) {
    struct vmm *vmm = opaque;
    switch (console_put(&vmm->console, data, count)) {
    case CONSOLE_TELL_NOW:
        vmm->machine.after |= MACHINE_AFTER_TELL;
        break;
    case CONSOLE_TELL_LATER:
        vmm->tell_deadline = now_ns(vmm) + TELL_DELAY_NS;
        set_deadline(vmm, vmm->tell_deadline);
        break;
    case CONSOLE_TELL_NOBODY:
        break;
    }
    if (console_is_stalled(&vmm->console))
        vmm->machine.after |= MACHINE_AFTER_STALL;
}

static bool vcpu_read(void *opaque, uint32_t index, enum vcpu_state_group group, void *state,
                      size_t size) {
    const struct vmm *vmm = opaque;
    return sys_vcpu_read(vmm->vcpu[index].handle, group, state, size) == 0;
}

static bool vcpu_write(void *opaque, uint32_t index, enum vcpu_state_group group, const void *state,
                       size_t size) {
    const struct vmm *vmm = opaque;
    return sys_vcpu_write(vmm->vcpu[index].handle, group, state, size) == 0;
}

void process_init_machine(struct vmm *vmm) {
    const struct vmm_start *start = vmm->start;
    uint64_t tsc = clock_read_tsc();
    uint64_t seconds_since_start = (tsc - start->utc_tsc) / start->tsc_hz;
    clock_init(&vmm->clock, start->tsc_hz, tsc, 0);
    vmm->tell_deadline = DEVICE_NO_DEADLINE;
    machine_init(&vmm->machine,
                 &(struct machine_config){
                     .backend =
                         {
                             .opaque = vmm,
                             .now_ns = now_ns,
                             .set_now_ns = set_now_ns,
                             .send_message = send_message,
                             .set_extint = set_extint,
                             .transmit = transmit,
                             .set_deadline = set_deadline,
                             .vcpu_read = vcpu_read,
                             .vcpu_write = vcpu_write,
                         },
                     .memory = (uint8_t *)PROCESS_MEMORY_BASE,
                     .memory_size = start->memory_size,
                     .arch_capabilities = start->arch_capabilities,
                     .rate = {.tsc_hz = vmm->tsc_hz, .is_stable = start->is_tsc_stable != 0},
                     .vcpu_count = vmm->vcpu_count,
                     .utc_seconds = (int64_t)(start->utc_seconds + seconds_since_start),
                 });
}

// ---- what is left to do after an access ---------------------------------------------------------

void process_feed_input(struct vmm *vmm) {
    struct uart *com1 = &vmm->machine.board.com1;
    uint8_t bytes[UART_FIFO];
    bool was_full;
    size_t count = console_get(&vmm->console, bytes, uart_receive_room(com1), &was_full);
    if (count > 0)
        (void)uart_receive(com1, bytes, count);
    if (console_has_input(&vmm->console))
        uart_expect(com1);
    if (count == 0)
        return;
    if (was_full)
        vmm->machine.after |= MACHINE_AFTER_TELL;
}

_Noreturn static void end_by_guest(struct vmm *vmm) {
    switch (vmm->machine.end_event) {
    case BOARD_POWER_OFF:
        report_end(vmm, VMM_END_POWERED_OFF, 0, "powered off");
    case BOARD_RESET:
        report_end(vmm, VMM_END_RESET, 0, "reset");
    default:
        report_end(vmm, VMM_END_DEBUG_EXIT, vmm->machine.end_code, "debug-exit %u",
                   vmm->machine.end_code);
    }
}

static void tell_supervisor(struct vmm *vmm) {
    machine_lock(&vmm->machine);
    console_told(&vmm->console);
    vmm->tell_deadline = DEVICE_NO_DEADLINE;
    lock_release(&vmm->machine.lock);
    (void)sys_event_signal(vmm->start->supervisor_event, vmm->start->supervisor_mask);
}

// The I/O thread clears the bit when the backlog is gone, then signals.
static void wait_for_room(struct vmm *vmm, const struct vcpu *vcpu) {
    uint64_t bit = 1ULL << vcpu->index;
    for (;;) {
        machine_lock(&vmm->machine);
        bool is_stalled = console_is_stalled(&vmm->console);
        if (is_stalled)
            vmm->room_waiters |= bit;
        lock_release(&vmm->machine.lock);
        if (!is_stalled)
            return;
        uint64_t bits;
        (void)sys_event_wait(vcpu->room_event, UINT64_MAX, ABI_FOREVER, &bits);
    }
}

void process_do_after(struct vmm *vmm, struct vcpu *vcpu, uint32_t after) {
    if (after & MACHINE_AFTER_END)
        end_by_guest(vmm);
    if (after & MACHINE_AFTER_INPUT) {
        machine_lock(&vmm->machine);
        process_feed_input(vmm);
        after |= machine_unlock(&vmm->machine);
    }
    if (after & MACHINE_AFTER_TELL)
        tell_supervisor(vmm);
    if (after & MACHINE_AFTER_WAKE)
        (void)sys_event_signal(vmm->start->wakeup, PROCESS_WAKEUP_DEADLINE);
    if ((after & MACHINE_AFTER_STALL) && vcpu != NULL)
        wait_for_room(vmm, vcpu);
}
