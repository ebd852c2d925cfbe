// SPDX-License-Identifier: Apache-2.0
// The shell: a line editor (backspace, Ctrl-U, Enter) above one function a command.
#include "supervisor/shell.h"

#include "lib/string.h"
#include "supervisor/command.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"
#include "supervisor/main.h"
#include "supervisor/mux.h"
#include "supervisor/vm.h"

#include <stdbool.h>

#define PROMPT        "bulkhead> "
#define TYPED_MAX     79u
#define KEY_BACKSPACE 0x08
#define KEY_KILL      0x15 // Ctrl-U
#define KEY_DELETE    0x7f
#define MIB           (1ULL << 20)

static char typed[TYPED_MAX + 1];
static size_t typed_length;

// ---- commands -----------------------------------------------------------------------------------

static void run_help(const char *argument) {
    (void)argument;
    for (unsigned int i = 0; i < COMMAND_COUNT; i++) {
        const struct command *command = &command_table[i];
        console_print("  %-12s %-4s  %s\n", command->word, command->argument, command->help);
    }
    mux_print_help();
}

static void print_state(const struct vm *vm) {
    char text[PARTITION_WHY_MAX + 16];
    const char *state = vm->has_entered ? "running" : "starting";
    if (vm->state == VM_STOPPED) {
        state = "not started";
    } else if (vm->state == VM_SETTLING || vm->is_asked_to_end) {
        state = "ending";
    }
    if (vm->state == VM_ENDED) {
        vm_end_text(vm, text, sizeof(text));
        state = text;
    }
    console_print("%s\n", state);
}

static void run_vm(const char *argument) {
    (void)argument;
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

static struct vm *find_running(const char *name) {
    struct vm *vm = find(name);
    if (vm != NULL && vm->state != VM_RUNNING) {
        console_print("%s is not running\n", name);
        return NULL;
    }
    return vm;
}

static void run_focus(const char *argument) {
    struct vm *vm = find(argument);
    if (vm != NULL) {
        mux_focus_vm(vm);
    }
}

static void run_start(const char *argument) {
    struct vm *vm = find(argument);
    if (vm != NULL && (vm->state == VM_RUNNING || vm->state == VM_SETTLING)) {
        console_print("%s is running\n", argument);
    } else if (vm != NULL) {
        vm_start(vm);
    }
}

static void run_power_button(const char *argument) {
    struct vm *vm = find_running(argument);
    if (vm != NULL && !vm_press_power_button(vm)) {
        console_print("its VMM takes no messages right now; try again, or \"end %s\"\n", argument);
    }
}

static void run_end(const char *argument) {
    struct vm *vm = find_running(argument);
    if (vm != NULL) {
        vm_end(vm);
    }
}

static void run_info(const char *argument) {
    struct abi_system_info info;
    (void)argument;
    machine_info(&info);
    console_print("CPUs             %u, TSC %llu MHz\n", info.cpu_count,
                  (unsigned long long)(info.tsc_hz / 1000000));
    console_print("memory           %llu MiB, free %llu MiB, kernel %llu KiB\n",
                  (unsigned long long)(info.memory_total / MIB),
                  (unsigned long long)(machine_memory_free() / MIB),
                  (unsigned long long)(info.memory_kernel / 1024));
    console_print("virtualization   %s, unrestricted guest %s\n",
                  info.has_virtualization != 0 ? "yes" : "no",
                  info.has_unrestricted_guest != 0 ? "yes" : "no");
    console_print("guest-physical   %u bits\n", info.physical_bits);
    console_print("XCR0 mask        0x%llx\n", (unsigned long long)info.xcr0_mask);
    console_print("VM exits         %llu\n", (unsigned long long)info.vm_exits);
    console_print("command line     %s\n", machine.start->cmdline);
}

static void run_log(const char *argument) {
    size_t skip = 0;
    size_t count;
    const char *text;
    (void)argument;
    while ((text = backlog_peek(console_log(), skip, &count)) != NULL) {
        console_raw(text, count);
        skip += count;
    }
}

static void run_poweroff(const char *argument) {
    (void)argument;
    main_power(ABI_POWER_OFF);
}

static void run_reset(const char *argument) {
    (void)argument;
    main_power(ABI_POWER_RESET);
}

static void (*const run[COMMAND_COUNT])(const char *argument) = {
    [COMMAND_HELP] = run_help,
    [COMMAND_VM] = run_vm,
    [COMMAND_FOCUS] = run_focus,
    [COMMAND_START] = run_start,
    [COMMAND_POWER_BUTTON] = run_power_button,
    [COMMAND_END] = run_end,
    [COMMAND_INFO] = run_info,
    [COMMAND_LOG] = run_log,
    [COMMAND_POWEROFF] = run_poweroff,
    [COMMAND_RESET] = run_reset,
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
        console_print("it wants the name of a VM; \"vm\" lists them\n");
        break;
    case COMMAND_EXCESS_ARGUMENT:
        console_print("too many words; \"help\" tells what it takes\n");
        break;
    default:
        run[parsed.id](parsed.argument);
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

void shell_input(uint8_t byte) {
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
