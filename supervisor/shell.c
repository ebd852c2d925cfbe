// SPDX-License-Identifier: Apache-2.0
// The shell: a line editor (backspace, Ctrl-U, Enter) above one function a command.
#include "supervisor/shell.h"

#include "lib/string.h"
#include "supervisor/audit.h"
#include "supervisor/banks.h"
#include "supervisor/command.h"
#include "supervisor/console.h"
#include "supervisor/driver.h"
#include "supervisor/machine.h"
#include "supervisor/main.h"
#include "supervisor/mux.h"
#include "supervisor/node.h"
#include "supervisor/top.h"
#include "supervisor/vm.h"

#include <stdbool.h>

#define PROMPT        "bulkhead> "
#define TYPED_MAX     79u
#define KEY_BACKSPACE 0x08
#define KEY_KILL      0x15 // Ctrl-U
#define KEY_CANCEL    0x18 // CAN
#define KEY_ESCAPE    0x1b
#define KEY_DELETE    0x7f
#define MIB           (1ULL << 20)

static char typed[TYPED_MAX + 1];
static size_t typed_length;

// A terminal's answer to a VM that had it before, or a key without a letter, is no typing (ECMA-48,
// 5.3 and 5.6).
static enum { PLAIN = 0, ESCAPE, SEQUENCE, STRING, STRING_ESCAPE } answer;

// ---- commands -----------------------------------------------------------------------------------

static void run_help(const struct command_line *line) {
    (void)line;
    for (unsigned int i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = &command_table[i];
        console_print("  %-12s %-6s  %s\n", command->words, command->arguments, command->help);
    }
    mux_print_help();
}

static void print_state(const struct vm *vm) {
    char text[VM_END_TEXT_MAX];
    const char *state = vm->has_entered ? "running" : "starting";
    if (vm->state == VM_STOPPED) {
        state = "not started";
    } else if (vm->state == VM_SETTLING || vm->is_asked_to_end) {
        state = "ending";
    }
    if (vm->state == VM_ENDED || vm->state == VM_WAITING) {
        vm_end_text(vm, text, sizeof(text));
        state = text;
    }
    console_print("%s%s\n", state, vm->state == VM_WAITING ? "; waits for its restart" : "");
}

static void run_vm(const struct command_line *line) {
    (void)line;
    for (uint32_t i = 0; i < vm_count(); i++) {
        const struct vm *vm = vm_at(i);
        console_print("%3u  %-16s %2u vCPU %6llu MiB  ", i + 1, vm->config->name, vm->config->vcpus,
                      (unsigned long long)(vm->config->memory / MIB));
        print_state(vm);
    }
    console_print("%u of %u running, %llu MiB free\n", vm_running_count(), vm_count(),
                  (unsigned long long)(machine_memory_free() / MIB));
}

static struct vm *find(const char *name) {
    struct vm *vm = vm_find(name);
    if (vm == NULL) {
        console_print("there is no VM \"%s\"; \"vm\" lists them\n", name);
    }
    return vm;
}

static struct vm *find_busy(const char *name) {
    struct vm *vm = find(name);
    if (vm != NULL && !vm_is_busy(vm)) {
        console_print("%s is not running\n", name);
        return NULL;
    }
    return vm;
}

static void run_focus(const struct command_line *line) {
    struct vm *vm = find(line->argument[0]);
    if (vm != NULL) {
        mux_focus_vm(vm);
    }
}

static void run_start(const struct command_line *line) {
    struct vm *vm = find(line->argument[0]);
    if (vm != NULL && (vm->state == VM_RUNNING || vm->state == VM_SETTLING)) {
        console_print("%s is running\n", line->argument[0]);
    } else if (vm != NULL) {
        vm_start(vm);
    }
}

static void run_power_button(const struct command_line *line) {
    struct vm *vm = find_busy(line->argument[0]);
    if (vm != NULL && !vm_press_power_button(vm)) {
        console_print("%s is not running right now\n", line->argument[0]);
    }
}

static void run_end(const struct command_line *line) {
    struct vm *vm = find_busy(line->argument[0]);
    if (vm != NULL) {
        vm_end(vm);
    }
}

static void run_dump(const struct command_line *line) {
    const struct vm *vm = find(line->argument[0]);
    if (vm != NULL) {
        reports_print(&vm->reports, vm->config->name);
    }
}

static void run_vm_top(const struct command_line *line) {
    (void)line;
    top_print();
}

static void run_vm_exits(const struct command_line *line) {
    const struct vm *vm = find(line->argument[0]);
    if (vm != NULL && vm->state == VM_RUNNING) {
        top_print_exits(vm);
    } else if (vm != NULL) {
        console_print("%s is not running\n", line->argument[0]);
    }
}

static void set_share(struct vm *vm, uint32_t weight, uint32_t cap) {
    int64_t result = vm_set_share(vm, weight, cap);
    if (result < 0) {
        console_print("the kernel does not do that: %s\n", machine_error_text(result));
    }
}

static void run_weight(const struct command_line *line) {
    struct vm *vm = find(line->argument[0]);
    uint32_t weight;
    if (vm == NULL) {
        return;
    }
    if (!command_number(line->argument[1], MANIFEST_WEIGHT_MAX, &weight) || weight == 0) {
        console_print("a weight is a number from 1 to %u\n", MANIFEST_WEIGHT_MAX);
        return;
    }
    set_share(vm, weight, vm->cap);
}

static void run_cap(const struct command_line *line) {
    struct vm *vm = find(line->argument[0]);
    uint32_t cap;
    if (vm == NULL) {
        return;
    }
    if (vm->config->scheduling.schedule != VM_SHARED) {
        console_print("%s has CPU time of its own, which a cap does not bound\n",
                      line->argument[0]);
    } else if (!command_number(line->argument[1], MANIFEST_CAP_MAX, &cap)) {
        console_print("a cap is a number of percent from 1 to %u, or 0 for none\n",
                      MANIFEST_CAP_MAX);
    } else {
        set_share(vm, vm->weight, cap);
    }
}

static void run_restart_console(const struct command_line *line) {
    (void)line;
    driver_restart();
}

static void run_audit(const struct command_line *line) {
    (void)line;
    audit_print();
}

// Without the key of the verdicts: a terminal may be asked by a guest what it shows.
static void print_cmdline(void) {
    static char text[sizeof(machine.start->cmdline)];
    char key[MACHINE_VERDICT_MAX + 1];
    memcpy(text, machine.start->cmdline, sizeof(text));
    machine_verdict(key);
    size_t length = strlen(key);
    for (char *at = text; length != 0 && strlen(at) >= length; at++) {
        bool is_key = strncmp(at, key, length) == 0;
        for (size_t i = 0; is_key && i < length; i++) {
            at[i] = '*';
        }
    }
    console_print("command line     %s\n", text);
}

static void print_nodes(void) {
    for (uint32_t node = 0; node < node_count() && node_count() > 1; node++) {
        char cpus[CPUSET_TEXT_SIZE];
        struct cpuset set = node_cpus(node);
        cpuset_text(&set, cpus);
        console_print("node %-12u CPUs %s, memory %llu MiB, free %llu MiB\n", node, cpus,
                      (unsigned long long)(node_memory(node) / MIB),
                      (unsigned long long)(node_free(node) / MIB));
    }
}

static void run_info(const struct command_line *line) {
    struct abi_system_info info;
    const struct abi_start *start = machine.start;
    (void)line;
    machine_info(&info);
    console_print("CPUs             %u, TSC %llu MHz\n", info.cpu_count,
                  (unsigned long long)(start->tsc_hz / 1000000));
    console_print("memory           %llu MiB, free %llu MiB, kernel %llu KiB\n",
                  (unsigned long long)(info.memory_total / MIB),
                  (unsigned long long)(machine_memory_free() / MIB),
                  (unsigned long long)(info.memory_kernel / 1024));
    print_nodes();
    static const char *const names[] = {"no", "VT-x", "AMD-V"};
    console_print("virtualization   %s, unrestricted guest %s\n", names[info.virtualization],
                  start->has_unrestricted_guest != 0 ? "yes" : "no");
    console_print("guest-physical   %u bits\n", start->physical_bits);
    console_print("XCR0 mask        0x%llx\n", (unsigned long long)start->xcr0_mask);
    console_print("VM exits         %llu\n", (unsigned long long)info.vm_exits);
    banks_print();
    print_cmdline();
}

static void run_log(const struct command_line *line) {
    size_t skip = 0;
    size_t count;
    const char *text;
    (void)line;
    while ((text = backlog_peek(console_log(), skip, &count)) != NULL) {
        console_raw(text, count);
        skip += count;
    }
}

static void run_poweroff(const struct command_line *line) {
    (void)line;
    main_power(ABI_POWER_OFF);
}

static void run_reset(const struct command_line *line) {
    (void)line;
    main_power(ABI_POWER_RESET);
}

static void (*const run[COMMAND_COUNT])(const struct command_line *line) = {
    [COMMAND_HELP] = run_help,         [COMMAND_VM] = run_vm,
    [COMMAND_VM_LIST] = run_vm,        [COMMAND_VM_TOP] = run_vm_top,
    [COMMAND_VM_EXITS] = run_vm_exits, [COMMAND_FOCUS] = run_focus,
    [COMMAND_START] = run_start,       [COMMAND_POWER_BUTTON] = run_power_button,
    [COMMAND_END] = run_end,           [COMMAND_DUMP] = run_dump,
    [COMMAND_WEIGHT] = run_weight,     [COMMAND_CAP] = run_cap,
    [COMMAND_INFO] = run_info,         [COMMAND_LOG] = run_log,
    [COMMAND_AUDIT] = run_audit,       [COMMAND_RESTART_CONSOLE] = run_restart_console,
    [COMMAND_POWEROFF] = run_poweroff, [COMMAND_RESET] = run_reset,
};

// ---- the line editor ----------------------------------------------------------------------------

static void run_line(const char *line) {
    struct command_line parsed = command_parse(line);
    switch (parsed.id) {
    case COMMAND_EMPTY:
        break;
    case COMMAND_UNKNOWN:
        console_print("no such command; \"help\" lists them\n");
        break;
    case COMMAND_LACKS_ARGUMENT:
        console_print("it wants %s; \"vm\" lists the VMs\n",
                      command_table[parsed.wanted].arguments);
        break;
    case COMMAND_EXCESS_ARGUMENT:
        console_print("too many words; \"help\" tells what it takes\n");
        break;
    default:
        run[parsed.id](&parsed);
        break;
    }
}

void shell_redraw(void) {
    console_fresh_line();
    console_print(PROMPT "%s", typed);
    (void)console_has_said(); // whatever was said stands above this prompt
}

void shell_open(void) {
    typed_length = 0;
    typed[0] = '\0';
    answer = PLAIN;
    shell_redraw();
}

static void enter(void) {
    char line[TYPED_MAX + 1];
    memcpy(line, typed, sizeof(line));
    typed_length = 0;
    typed[0] = '\0';
    console_print("\n");
    run_line(line);
    if (mux_is_shell()) {
        shell_redraw();
    }
}

static void erase(size_t count) {
    while (count > 0 && typed_length > 0) {
        typed[--typed_length] = '\0';
        console_raw("\b \b", 3);
        count--;
    }
}

// True: the byte belongs to a control sequence or a string of a terminal's. Ctrl-U and CAN end one
// that never ends.
static bool is_answer(uint8_t byte) {
    static const char strings[] = {'P', ']', 'X', '^', '_'}; // DCS, OSC, SOS, PM, APC
    if (byte == KEY_ESCAPE) {
        answer = answer == STRING ? STRING_ESCAPE : ESCAPE;
    } else if (answer == PLAIN) {
        return false;
    } else if (byte == KEY_KILL || byte == KEY_CANCEL || answer == STRING_ESCAPE) {
        answer = PLAIN;
    } else if (answer == ESCAPE) {
        bool is_sequence = byte == '[' || byte == 'O';
        bool is_string = memchr(strings, byte, sizeof(strings)) != NULL;
        answer = is_sequence ? SEQUENCE : is_string ? STRING : PLAIN;
    } else if (answer == SEQUENCE ? byte >= '@' && byte <= '~' : byte == '\a') {
        answer = PLAIN;
    }
    return true;
}

void shell_input(uint8_t byte) {
    if (is_answer(byte)) {
        return;
    }
    if (byte == '\r' || byte == '\n') {
        enter();
    } else if (byte == KEY_BACKSPACE || byte == KEY_DELETE) {
        erase(1);
    } else if (byte == KEY_KILL) {
        erase(TYPED_MAX);
    } else if (byte >= ' ' && byte < KEY_DELETE && typed_length < TYPED_MAX) {
        typed[typed_length++] = (char)byte;
        typed[typed_length] = '\0';
        console_raw((const char *)&byte, 1);
    } else {
        console_raw("\a", 1);
    }
}
