// SPDX-License-Identifier: Apache-2.0
// Messages to the supervisor; the interface is told in report.h.
#include "vmm/report.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"

bool report_open(struct vmm *vmm) {
    struct vmm_reports *shared = (struct vmm_reports *)PROCESS_REPORTS_BASE;
    if (sys_process_map(0, vmm->start->reports, PROCESS_REPORTS_BASE, 0, ABI_PAGE,
                        ABI_RIGHT_READ | ABI_RIGHT_WRITE) < 0)
        return false;
    ring_writer_open(&vmm->reports, shared->ring, VMM_REPORTS_RING, &shared->head, &shared->tail);
    return true;
}

// A message goes in whole, or not at all.
static bool put(struct vmm *vmm, const struct vmm_message *message) {
    lock_acquire(&vmm->machine.lock);
    bool has_room = ring_writer_room(&vmm->reports) >= sizeof(*message);
    if (has_room)
        (void)ring_write(&vmm->reports, (const uint8_t *)message, sizeof(*message));
    lock_release(&vmm->machine.lock);
    return has_room;
}

// While there is no room, others of this VM run: the supervisor takes as many as it wants to.
static void send(struct vmm *vmm, const struct vmm_message *message) {
    for (;;) {
        bool is_sent = put(vmm, message);
        (void)sys_event_signal(vmm->start->supervisor_event, vmm->start->supervisor_mask);
        if (is_sent)
            return;
        sys_thread_yield();
    }
}

static void send_line(struct vmm *vmm, enum vmm_message_type type, const char *format,
                      va_list arguments) __attribute__((format(printf, 3, 0)));

static void send_line(struct vmm *vmm, enum vmm_message_type type, const char *format,
                      va_list arguments) {
    struct vmm_message message = {.type = type};
    fmt_format_va(message.text, sizeof(message.text), format, arguments);
    send(vmm, &message);
}

void report_log(struct vmm *vmm, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    send_line(vmm, VMM_MESSAGE_LOG, format, arguments);
    va_end(arguments);
}

void report_dump(struct vmm *vmm, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    send_line(vmm, VMM_MESSAGE_DUMP, format, arguments);
    va_end(arguments);
}

void report_running(struct vmm *vmm) {
    struct vmm_message message = {.type = VMM_MESSAGE_RUNNING};
    send(vmm, &message);
}

static void drain_console(struct vmm *vmm) {
    for (;;) {
        machine_lock(&vmm->machine);
        bool is_empty = console_flush(&vmm->console);
        lock_release(&vmm->machine.lock);
        if (is_empty)
            return;
        sys_event_signal(vmm->start->supervisor_event, vmm->start->supervisor_mask);
        sys_thread_yield();
    }
}

_Noreturn void report_end(struct vmm *vmm, enum vmm_end end, uint32_t code, const char *format,
                          ...) {
    if (atomic_exchange(&vmm->has_ended, 1) != 0)
        sys_thread_end();
    struct vmm_message message = {
        .type = VMM_MESSAGE_ENDED,
        .end = (uint32_t)end,
        .code = code,
    };
    va_list arguments;
    va_start(arguments, format);
    fmt_format_va(message.text, sizeof(message.text), format, arguments);
    va_end(arguments);
    drain_console(vmm);
    send(vmm, &message);
    sys_process_exit(0);
}
