// SPDX-License-Identifier: Apache-2.0
// The accounting tables. What was printed last is kept for each VM and CPU, in memory that is taken
// when the first table is asked for.
#include "supervisor/top.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/console.h"
#include "supervisor/exits.h"
#include "supervisor/machine.h"
#include "supervisor/node.h"

#define EXITS_TEXT_MAX 384u

// What one VM, one CPU had used at `time`.
struct vm_mark {
    uint32_t starts; // of the VM: another one counts from 0
    uint64_t time;
    struct abi_usage usage;
};

struct cpu_mark {
    uint64_t time;
    struct abi_cpu_info info;
};

static struct vm_mark *vm_marks;
static struct cpu_mark *cpu_marks;

static uint32_t cpu_count(void) {
    struct abi_system_info info;
    machine_info(&info);
    return info.cpu_count < ABI_CPUS_MAX ? info.cpu_count : ABI_CPUS_MAX;
}

static bool has_marks(void) {
    if (vm_marks == NULL && vm_count() > 0) {
        vm_marks = process_allocate(vm_count() * sizeof(*vm_marks));
    }
    if (cpu_marks == NULL) {
        cpu_marks = process_allocate(cpu_count() * sizeof(*cpu_marks));
    }
    bool has_all = (vm_marks != NULL || vm_count() == 0) && cpu_marks != NULL;
    if (!has_all) {
        console_print("there is no memory for such a table\n");
    }
    return has_all;
}

// ---- arithmetic ---------------------------------------------------------------------------------

// A part of `ticks` in tenths of a percent, and how often a second something happened in them.
static unsigned long long permil(uint64_t part, uint64_t ticks) {
    return ticks < 1000 ? 0 : part / (ticks / 1000);
}

static unsigned long long rate(uint64_t count, uint64_t ticks) {
    uint64_t milliseconds = machine.tsc_hz < 1000 ? 0 : ticks / (machine.tsc_hz / 1000);
    return milliseconds == 0 ? 0 : count * 1000 / milliseconds;
}

static uint32_t most(const struct abi_usage *usage) {
    uint32_t reason = 0;
    for (uint32_t i = 1; i < ABI_EXIT_REASONS; i++) {
        if (usage->exit[i] > usage->exit[reason]) {
            reason = i;
        }
    }
    return reason;
}

// ---- VMs ----------------------------------------------------------------------------------------

// What the VM used since `mark`, in `usage`, and in how many ticks. The mark is moved to now with
// `moves`.
static uint64_t take_usage(const struct vm *vm, struct abi_usage *usage, bool moves) {
    static struct abi_usage now;
    struct vm_mark *mark = &vm_marks[vm->index];
    uint64_t time = machine_tsc();
    memset(&now, 0, sizeof(now));
    (void)sys_process_usage(vm->partition.process.handle, &now);
    if (mark->starts != vm->starts) {
        *mark = (struct vm_mark){.starts = vm->starts, .time = vm->started};
    }
    *usage = now;
    usage->run -= mark->usage.run;
    usage->wait -= mark->usage.wait;
    usage->exits -= mark->usage.exits;
    for (uint32_t i = 0; i < ABI_EXIT_REASONS; i++) {
        usage->exit[i] -= mark->usage.exit[i];
    }
    uint64_t ticks = time - mark->time;
    if (moves) {
        mark->usage = now;
        mark->time = time;
    }
    return ticks;
}

static const char *name_of(uint32_t reason) {
    struct abi_system_info info;
    machine_info(&info);
    return exits_name((enum abi_virtualization)info.virtualization, reason);
}

static void print_vm(const struct vm *vm) {
    static struct abi_usage usage; // large
    if (vm->state != VM_RUNNING) {
        return;
    }
    uint64_t ticks = take_usage(vm, &usage, true);
    unsigned long long run = permil(usage.run, ticks);
    unsigned long long wait = permil(usage.wait, ticks);
    console_print("%-16s %4u", vm->config->name, vm->config->vcpus);
    if (node_count() > 1) {
        bool has_more = vm->placement.is_spread || vm->placement.is_short;
        console_print(" %4u%s", vm->placement.node, has_more ? "+" : " ");
    }
    console_print("  %4llu.%llu  %4llu.%llu %8llu  %s\n", run / 10, run % 10, wait / 10, wait % 10,
                  rate(usage.exits, ticks), usage.exits != 0 ? name_of(most(&usage)) : "");
}

static void print_cpu(uint32_t cpu) {
    struct abi_cpu_info now = {0};
    struct cpu_mark *mark = &cpu_marks[cpu];
    int64_t result = sys_system_cpu(machine.start->system, cpu, &now);
    if (result < 0) {
        console_print("%3u  %s\n", cpu, machine_error_text(result));
        return;
    }
    // No time before the first table: what ran and what was idle are all there was.
    uint64_t time = machine_tsc();
    uint64_t ticks = mark->time != 0 ? time - mark->time : now.run + now.idle;
    unsigned long long run = permil(now.run - mark->info.run, ticks);
    unsigned long long idle = permil(now.idle - mark->info.idle, ticks);
    uint32_t reserved = placement_reserved_permil(cpu);
    console_print("%3u  %-9s %4llu.%llu  %4llu.%llu %8llu %8llu %6u.%u\n", cpu,
                  reserved == 1000 ? "dedicated" : "shared", run / 10, run % 10, idle / 10,
                  idle % 10, rate(now.switches - mark->info.switches, ticks),
                  rate(now.timers - mark->info.timers, ticks), reserved / 10, reserved % 10);
    mark->info = now;
    mark->time = time;
}

void top_print(void) {
    if (!has_marks()) {
        return;
    }
    console_print("VM               vCPU%s   run %%  wait %%  exits/s  most of them\n",
                  node_count() > 1 ? " node " : "");
    for (uint32_t i = 0; i < vm_count(); i++) {
        print_vm(vm_at(i));
    }
    console_print("CPU  class      run %%  idle %% switch/s  timer/s     RT %%\n");
    for (uint32_t cpu = 0; cpu < cpu_count(); cpu++) {
        print_cpu(cpu);
    }
}

void top_print_exits(const struct vm *vm) {
    static struct abi_usage usage;
    if (!has_marks()) {
        return;
    }
    uint64_t ticks = take_usage(vm, &usage, false);
    uint32_t reason;
    while (usage.exit[reason = most(&usage)] != 0) {
        console_print("%12llu %8llu/s  %s\n", (unsigned long long)usage.exit[reason],
                      rate(usage.exit[reason], ticks), name_of(reason));
        usage.exit[reason] = 0;
    }
    console_print("%12llu %8llu/s  in all\n", (unsigned long long)usage.exits,
                  rate(usage.exits, ticks));
}

// ---- the whole life -----------------------------------------------------------------------------

static void say_usage(const struct vm *vm, const struct abi_usage *u) {
    console_say("usage %s run %llu wait %llu throttled %llu exits %llu own-timer-exits %llu "
                "misses %llu switches %llu migrations %llu charged %llu",
                vm->config->name, (unsigned long long)u->run, (unsigned long long)u->wait,
                (unsigned long long)u->throttled, (unsigned long long)u->exits,
                (unsigned long long)u->own_timer_exits, (unsigned long long)u->deadline_misses,
                (unsigned long long)u->switches, (unsigned long long)u->migrations,
                (unsigned long long)vm->charged);
}

static void say_exits(const struct vm *vm, const struct abi_usage *u) {
    char text[EXITS_TEXT_MAX] = "";
    size_t length = 0;
    for (uint32_t i = 0; i < ABI_EXIT_REASONS && length < sizeof(text); i++) {
        if (u->exit[i] != 0) {
            length += fmt_format(text + length, sizeof(text) - length, " %u:%llu", i,
                                 (unsigned long long)u->exit[i]);
        }
    }
    console_say("exits %s at %llu%s", vm->config->name, (unsigned long long)machine_tsc(), text);
}

void top_say_usage(const struct vm *vm) {
    static struct abi_usage u;
    bool tells_all = machine_has_option("usage=all");
    if (!tells_all && !machine_has_option("usage=on")) {
        return;
    }
    for (uint32_t i = 0; i < vm_count(); i++) {
        const struct vm *other = vm_at(i);
        bool is_told = other == vm || (tells_all && other->state == VM_RUNNING);
        if (is_told && sys_process_usage(other->partition.process.handle, &u) >= 0) {
            say_usage(other, &u);
            if (tells_all) {
                say_exits(other, &u);
            }
        }
    }
}
