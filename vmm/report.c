// SPDX-License-Identifier: Apache-2.0
// Messages to the supervisor; the interface is told in report.h.
#include "vmm/report.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"

// The supervisor takes messages as fast as it runs; its being gone ends the process.
static void send(struct vmm *vmm, const struct vmm_message *message) {
    for (;;) {
        int64_t result = sys_channel_send(vmm->start->report, message, sizeof(*message));
        sys_event_signal(vmm->start->supervisor_event, vmm->start->supervisor_mask);
        if (result != -ABI_ERROR_AGAIN) {
            if (result < 0)
                sys_process_exit(1);
            return;
        }
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
