// SPDX-License-Identifier: Apache-2.0
// The VMs' lives. vm_service is the whole protocol with a VMM: is the process still there, what has
// it reported, what has its guest printed. The process is looked at first, so that a VMM found gone
// can have sent nothing after what is then read.
//
// Nothing that a VMM writes is trusted: its texts go through line_sanitize where they enter
// (set_end, and supervisor/reports.c), its ring indices through lib/ring, its message types through
// one switch.
#include "supervisor/vm.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/audit.h"
#include "supervisor/charge.h"
#include "supervisor/console.h"
#include "supervisor/launch.h"
#include "supervisor/machine.h"
#include "supervisor/mux.h"
#include "supervisor/restart.h"
#include "supervisor/stat.h"
#include "supervisor/top.h"

#define VECTOR_MACHINE_CHECK    18u
#define PIECES_A_TURN           32u // then the other VMs have their turn
#define REPORTS_A_TURN          16u // likewise
#define END_PATIENCE_SECONDS    5u
#define SETTLE_PATIENCE_SECONDS 10u // for the kernel to take apart what a VM was

static struct vm *vms;
static uint32_t vms_count;

bool vm_open(const struct manifest *from) {
    uint32_t count = from->vm_count;
    if (count == 0) {
        return true;
    }
    vms = process_allocate(count * sizeof(*vms));
    if (vms == NULL) {
        return false;
    }
    // Without memory for them, what unfocused VMs print is lost, and that is all.
    struct backlog *backlogs =
        console_is_batch() ? NULL : process_allocate(count * sizeof(*backlogs));
    vms_count = count;
    for (uint32_t i = 0; i < count; i++) {
        vms[i].config = &from->vm[i];
        vms[i].index = i;
        vms[i].deadline = ABI_FOREVER;
        vms[i].weight = from->vm[i].scheduling.weight;
        vms[i].cap = from->vm[i].scheduling.cap;
        vms[i].backlog = backlogs != NULL ? &backlogs[i] : NULL;
    }
    launch_open(from);
    return true;
}

uint32_t vm_count(void) {
    return vms_count;
}

struct vm *vm_at(uint32_t index) {
    return &vms[index];
}

struct vm *vm_find(const char *name) {
    for (uint32_t i = 0; i < vms_count; i++) {
        if (strcmp(vms[i].config->name, name) == 0) {
            return &vms[i];
        }
    }
    return NULL;
}

uint32_t vm_running_count(void) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < vms_count; i++) {
        count += vm_is_busy(&vms[i]);
    }
    return count;
}

bool vm_is_busy(const struct vm *vm) {
    return vm->state == VM_RUNNING || vm->state == VM_SETTLING || vm->state == VM_WAITING;
}

// ---- ends ---------------------------------------------------------------------------------------

// The first end counts: what a dying VMM says later does not.
static void set_end(struct vm *vm, enum vmm_end kind, uint32_t code, const char *text) {
    if (vm->has_end) {
        return;
    }
    vm->has_end = true;
    vm->end.kind = kind;
    vm->end.code = code;
    line_sanitize(vm->end.text, sizeof(vm->end.text), text, VMM_MESSAGE_SIZE);
}

void vm_end_text(const struct vm *vm, char *out, size_t size) {
    const char *text = vm->end.text[0] != '\0' ? vm->end.text : "no reason given";
    switch (vm->end.kind) {
    case VMM_END_POWERED_OFF:
        fmt_format(out, size, "powered off");
        return;
    case VMM_END_RESET:
        fmt_format(out, size, "reset");
        return;
    case VMM_END_DEBUG_EXIT:
        fmt_format(out, size, "debug-exit %u", vm->end.code);
        return;
    case VMM_END_REFUSED:
        fmt_format(out, size, "refused: %s", text);
        return;
    case VMM_END_CRASHED:
        break;
    }
    fmt_format(out, size, "crashed: %s", text);
}

// "4s", or "250ms".
static void delay_text(uint64_t nanoseconds, char *out, size_t size) {
    uint64_t milliseconds = nanoseconds / 1000000;
    if (milliseconds % 1000 == 0) {
        fmt_format(out, size, "%llus", (unsigned long long)(milliseconds / 1000));
    } else {
        fmt_format(out, size, "%llums", (unsigned long long)milliseconds);
    }
}

// How it ended and what comes then, in one line.
static void say_end(struct vm *vm, const struct restart *restart) {
    char text[VM_END_TEXT_MAX + 48];
    char delay[24];
    vm_end_text(vm, text, VM_END_TEXT_MAX);
    size_t length = strlen(text);
    switch (restart->action) {
    case RESTART_NOT:
        break;
    case RESTART_NOW:
        fmt_format(text + length, sizeof(text) - length, "; starts again");
        break;
    case RESTART_LATER:
        delay_text(restart->delay, delay, sizeof(delay));
        fmt_format(text + length, sizeof(text) - length, "; restart %u in %s", restart->number,
                   delay);
        break;
    case RESTART_EXHAUSTED:
        break; // a line of its own: this is how it ended for good
    }
    console_say("vm %s: %s", vm->config->name, text);
    reports_note(&vm->reports, text);
    if (restart->action == RESTART_EXHAUSTED) {
        console_say("vm %s: no restart: the limit of %u in a row is reached", vm->config->name,
                    vm->config->restart_limit);
    }
}

// It stays ended until somebody starts it.
static void rest(struct vm *vm) {
    vm->state = VM_ENDED;
    vm->deadline = ABI_FOREVER;
    launch_release(vm);
    mux_vm_ended(vm);
}

// What the restart policy says. The CPUs stay reserved until it starts again.
static void end_life(struct vm *vm) {
    uint64_t ran = vm->stopped - vm->started;
    bool is_wanted =
        vm->is_asked_to_end || (vm->is_power_button_pressed && vm->end.kind == VMM_END_POWERED_OFF);
    struct restart restart = restart_decide(vm->config, &vm->restarts, vm->end.kind,
                                            machine_nanoseconds(ran), is_wanted);
    say_end(vm, &restart);
    if (restart.action == RESTART_NOW || restart.action == RESTART_LATER) {
        vm->state = VM_WAITING;
        vm->deadline = machine_tsc() + machine_ticks(restart.delay);
    }
}

// Ends the VM's life in the table once the kernel has taken everything of it apart, which its
// quota's event tells, or did not in time.
static void settle(struct vm *vm) {
    uint64_t left = partition_left(&vm->partition);
    if (left != 0 && machine_tsc() < vm->deadline) {
        return;
    }
    partition_forget(&vm->partition);
    vm->state = VM_ENDED;
    end_life(vm);
    if (left != 0) {
        console_say("leak: vm %s: %llu bytes did not come back", vm->config->name,
                    (unsigned long long)left);
    }
    audit_after(vm->config->name);
    if (vm->state == VM_ENDED) {
        rest(vm);
    }
}

static void finish(struct vm *vm) {
    if (line_is_partial(&vm->line)) {
        console_guest_line(vm->line.text, vm->line.length);
        line_clear(&vm->line);
    }
    mux_vm_ends(vm);
    top_say_usage(vm);
    partition_close(&vm->partition);
    vm->state = VM_SETTLING;
    vm->stopped = machine_tsc();
    vm->deadline = vm->stopped + SETTLE_PATIENCE_SECONDS * machine.tsc_hz;
    settle(vm);
}

static void set_end_from_process(struct vm *vm, const struct abi_process_status *status) {
    char text[PARTITION_WHY_MAX];
    if (status->state == ABI_PROCESS_FAULTED && status->vector == VECTOR_MACHINE_CHECK) {
        fmt_format(text, sizeof(text), "it used memory that is broken, at 0x%llx (machine check)",
                   (unsigned long long)status->address);
    } else if (status->state == ABI_PROCESS_FAULTED) {
        fmt_format(text, sizeof(text), "its VMM faulted (vector %u at rip 0x%llx, address 0x%llx)",
                   status->vector, (unsigned long long)status->rip,
                   (unsigned long long)status->address);
    } else {
        fmt_format(text, sizeof(text), "its VMM exited with status %u", status->status);
    }
    set_end(vm, VMM_END_CRASHED, 0, text);
}

static void kill_process(struct vm *vm) {
    (void)sys_process_kill(vm->partition.process.handle, 0);
}

// ---- starting -----------------------------------------------------------------------------------

static void begin(struct vm *vm) {
    vm->has_end = false;
    vm->has_entered = false;
    vm->is_asked_to_end = false;
    vm->is_power_button_pressed = false;
    vm->deadline = ABI_FOREVER;
    vm->started = machine_tsc();
    vm->stopped = vm->started;
    vm->starts++;
    vm->charged = 0;
    line_open(&vm->line, vm->config->name);
    reports_begin(&vm->reports);
    char why[PARTITION_WHY_MAX] = "";
    if (!launch_carve(vm, why)) {
        set_end(vm, VMM_END_REFUSED, 0, why);
        vm->state = VM_ENDED;
        end_life(vm);
        rest(vm);
        return;
    }
    struct vmm_console *shared = vm->partition.console.at;
    ring_reader_open(&vm->out, shared->out, VMM_CONSOLE_OUT, &shared->out_head, &shared->out_tail);
    ring_writer_open(&vm->in, shared->in, VMM_CONSOLE_IN, &shared->in_head, &shared->in_tail);
    reports_open(&vm->reports, vm->partition.reports.at);
    vm->state = VM_RUNNING;
    mux_vm_started(vm);
}

void vm_start(struct vm *vm) {
    if (vm->state != VM_RUNNING && vm->state != VM_SETTLING) {
        vm->restarts = 0;
        begin(vm);
    }
}

void vm_autostart(void) {
    for (uint32_t i = 0; i < vms_count; i++) {
        if (vms[i].config->is_autostart) {
            vm_start(&vms[i]);
        }
    }
}

int64_t vm_set_share(struct vm *vm, uint32_t weight, uint32_t cap) {
    int64_t result = vm->state == VM_RUNNING ? partition_set_share(&vm->partition, weight, cap) : 0;
    if (result >= 0) {
        vm->weight = weight;
        vm->cap = cap;
    }
    return result;
}

// ---- serving ------------------------------------------------------------------------------------

static void hear_report(struct vm *vm, const struct vmm_message *message) {
    switch (message->type) {
    case VMM_MESSAGE_LOG:
        reports_log(&vm->reports, vm->config->name, message->text);
        break;
    case VMM_MESSAGE_DUMP:
        reports_dump(&vm->reports, vm->config->name, message->text);
        break;
    case VMM_MESSAGE_RUNNING:
        vm->has_entered = true;
        break;
    case VMM_MESSAGE_ENDED:
        stat_sample();
        set_end(vm, message->end <= VMM_END_REFUSED ? message->end : VMM_END_CRASHED, message->code,
                message->text);
        break;
    default:
        break; // of a VMM that knows more than we do
    }
}

// Those that the console had no room for: each round serves them again. Who wakes us often would
// otherwise take all the room that comes, and the kernel would never be so empty that it signals.
static uint64_t waiting;

// Those that have had what their rates allow, or their share of a round.
static uint64_t unfinished;

// Who is served first in a round: the one behind who last got some of the console's room.
static uint32_t turn;

static void got_room(const struct vm *vm) {
    turn = (vm->index + 1) % vms_count;
}

static bool has_room(const struct vm *vm) {
    if (console_has_room()) {
        return true;
    }
    waiting |= machine_vm_mask(vm->index);
    return false;
}

static bool is_within_rate(const struct vm *vm, enum rate_kind kind) {
    if (rate_room(&vm->rate[kind], kind) > 0 && charge_is_paid(vm)) {
        return true;
    }
    unfinished |= machine_vm_mask(vm->index);
    return false;
}

// True: there is no further report.
static bool drain_reports(struct vm *vm) {
    struct vmm_message message;
    for (uint32_t i = 0; i < REPORTS_A_TURN; i++) {
        if (!is_within_rate(vm, RATE_REPORTS) || !has_room(vm)) {
            return false;
        }
        if (!reports_take(&vm->reports, &message)) {
            return true;
        }
        rate_take(&vm->rate[RATE_REPORTS], RATE_REPORTS, 1);
        got_room(vm);
        if (!vm->has_end) {
            hear_report(vm, &message);
        }
    }
    unfinished |= machine_vm_mask(vm->index);
    return false;
}

static void take_piece(struct vm *vm) {
    uint8_t piece[CONSOLE_PIECE];
    uint32_t room = rate_room(&vm->rate[RATE_OUTPUT], RATE_OUTPUT);
    uint32_t count = ring_read(&vm->out, piece, room < CONSOLE_PIECE ? room : CONSOLE_PIECE);
    rate_take(&vm->rate[RATE_OUTPUT], RATE_OUTPUT, count);
    mux_vm_output(vm, piece, count);
    if (mux_is_on_console(vm)) {
        got_room(vm);
    }
}

// True: the guest has printed nothing more. Otherwise vm_service will be called again.
static bool drain_output(struct vm *vm) {
    bool was_half_full = ring_reader_count(&vm->out) >= VMM_CONSOLE_OUT / 2;
    uint32_t pieces = 0;
    while (ring_reader_count(&vm->out) > 0 && pieces < PIECES_A_TURN &&
           is_within_rate(vm, RATE_OUTPUT) && (!mux_is_on_console(vm) || has_room(vm))) {
        take_piece(vm);
        charge_end(vm); // so that it is known whether the next one is paid for
        charge_begin();
        pieces++;
    }
    if (was_half_full) { // it may be waiting for room
        (void)sys_event_signal(vm->partition.wakeup, VMM_WAKEUP_INPUT);
    }
    if (pieces == PIECES_A_TURN) {
        unfinished |= machine_vm_mask(vm->index);
    }
    return ring_reader_count(&vm->out) == 0;
}

void vm_service(struct vm *vm) {
    struct abi_process_status status = {0};
    if (vm->state == VM_SETTLING) {
        settle(vm);
    }
    if (vm->state != VM_RUNNING) {
        return;
    }
    (void)sys_process_status(vm->partition.process.handle, &status);
    bool has_reported = drain_reports(vm);
    bool has_printed = drain_output(vm);
    if (status.state == ABI_PROCESS_RUNNING) {
        if (vm->has_end) {
            kill_process(vm); // signals our event once it is gone
        }
        return;
    }
    if (has_reported && has_printed) {
        set_end_from_process(vm, &status);
        finish(vm);
    }
}

void vm_service_mask(uint64_t bits) {
    uint32_t first = turn;
    bool is_round = bits != MACHINE_EVENT_CONSOLE; // else there is room, or somebody types
    bits |= waiting | (is_round ? unfinished : 0);
    waiting = 0;
    if (is_round) {
        unfinished = 0;
    }
    for (uint32_t k = 0; k < vms_count; k++) {
        uint32_t i = (first + k) % vms_count;
        if ((bits & machine_vm_mask(i)) != 0) {
            charge_begin();
            vm_service(&vms[i]);
            charge_end(&vms[i]);
        }
    }
}

bool vm_has_work(void) {
    return unfinished != 0;
}

// ---- towards the VM -----------------------------------------------------------------------------

uint32_t vm_input(struct vm *vm, const uint8_t *bytes, uint32_t count) {
    if (vm->state != VM_RUNNING) {
        return 0;
    }
    uint32_t taken = ring_write(&vm->in, bytes, count);
    (void)sys_event_signal(vm->partition.wakeup, VMM_WAKEUP_INPUT);
    return taken;
}

bool vm_press_power_button(struct vm *vm) {
    if (vm->state != VM_RUNNING) {
        return false;
    }
    vm->is_power_button_pressed = true;
    (void)sys_event_signal(vm->partition.wakeup, VMM_WAKEUP_POWER_BUTTON);
    return true;
}

static void give_up(struct vm *vm) {
    set_end(vm, VMM_END_CRASHED, 0, "its VMM did not end it when asked to, and was ended");
    vm->deadline = ABI_FOREVER;
    kill_process(vm);
}

void vm_end(struct vm *vm) {
    if (vm->state == VM_WAITING) {
        console_say("vm %s: is not started again", vm->config->name);
        rest(vm);
    }
    if (vm->state == VM_SETTLING) {
        vm->is_asked_to_end = true; // no restart
    }
    if (vm->state != VM_RUNNING) {
        return;
    }
    if (vm->is_asked_to_end) {
        give_up(vm);
        return;
    }
    vm->is_asked_to_end = true;
    vm->deadline = machine_tsc() + END_PATIENCE_SECONDS * machine.tsc_hz;
    (void)sys_event_signal(vm->partition.wakeup, VMM_WAKEUP_END);
}

uint64_t vm_next_deadline(void) {
    uint64_t next = ABI_FOREVER;
    for (uint32_t i = 0; i < vms_count; i++) {
        next = vms[i].deadline < next ? vms[i].deadline : next;
    }
    return next;
}

void vm_check_deadlines(void) {
    uint64_t now = machine_tsc();
    for (uint32_t i = 0; i < vms_count; i++) {
        struct vm *vm = &vms[i];
        if (vm->deadline <= now && vm->state == VM_RUNNING) {
            give_up(vm);
        } else if (vm->deadline <= now && vm->state == VM_SETTLING) {
            settle(vm);
        } else if (vm->deadline <= now && vm->state == VM_WAITING) {
            charge_begin();
            begin(vm);
            charge_end(vm);
        }
    }
}
