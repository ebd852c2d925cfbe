// SPDX-License-Identifier: Apache-2.0
// The table of contents: how the kernel comes up. It is the one file that knows every layer.
#include "arch/features.h"
#include "arch/lapic.h"
#include "arch/mitigation.h"
#include "arch/paging.h"
#include "arch/smp.h"
#include "arch/topology.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "kernel/first.h"
#include "kernel/frame.h"
#include "kernel/group.h"
#include "kernel/ioapic.h"
#include "kernel/kspace.h"
#include "kernel/log.h"
#include "kernel/machine.h"
#include "kernel/machine_check.h"
#include "kernel/quota.h"
#include "kernel/scheduler.h"
#include "kernel/smp.h"
#include "kernel/system.h"
#include "kernel/vcpu.h"
#include "lib/string.h"

#define LAPIC_PAGE 0xfee00000ULL
#define COM1       0x3f8u

_Noreturn void kernel_main(const struct boot_info *info);

// The boot application refuses a kernel of another version by this (docs/boot.md).
__attribute__((section(".note.bulkhead"), used, aligned(4))) static const struct {
    uint32_t owner_size, version_size, type;
    char owner[12]; // padded to 4 bytes
    uint32_t version;
} boot_note = {sizeof(BOOT_NOTE_OWNER), sizeof(uint32_t), BOOT_NOTE_VERSION, BOOT_NOTE_OWNER,
               BOOT_VERSION};

struct boot_info machine;
struct boot_memory machine_memory[BOOT_MEMORY_MAX];
static struct cpu early_cpu; // until the boot CPU has its own

// Everything of the loader's that is still needed, before its memory is anyone's.
static void copy_boot_info(const struct boot_info *info) {
    memcpy(&machine, info, sizeof(machine));
    bool is_known = machine.magic == BOOT_MAGIC && machine.version == BOOT_VERSION &&
                    machine.size == sizeof(machine);
    if (!is_known) // it cannot tell where the console is either
        machine = (struct boot_info){.uart = {.base = COM1, .stride = 1, .width = 1}};
    machine.platform = NULL;
    machine.words.mark[BOOT_MARK_MAX + 1] = '\0';
    if (!is_known)
        halt_machine("the boot application is of another version: copy the whole image again");
    bool is_good = boot_info_is_bounded(&machine);
    if (is_good)
        memcpy(machine_memory, (const void *)machine.memory,
               machine.memory_count * sizeof(machine_memory[0]));
    if (!is_good || !boot_info_is_ordered(&machine, machine_memory))
        halt_machine("what the boot application found is damaged: copy the whole image again");
}

static void init_memory(void) {
    frame_init(&machine, machine_memory);
    kspace_init(&machine);
    for (uint32_t i = 0; i < machine.memory_count; i++)
        if (machine_memory[i].type == BOOT_MEMORY_LOADER)
            frame_add((hpa_t){machine_memory[i].base}, machine_memory[i].length);
    quota_init_root(frame_totals().free);
}

static void init_interrupts(void) {
    bool is_xapic = !cpu_features.has_x2apic;
    lapic_init(is_xapic ? kspace_map_device((hpa_t){LAPIC_PAGE}, PAGE_SIZE) : NULL, tsc_hz,
               machine.apic_timer_hz);
    lapic_init_cpu();
    ioapic_init();
    if (!cpu_features.has_tsc_deadline && machine.apic_timer_hz == 0)
        halt_machine("the local APIC's timer stands still, or could not be measured");
}

// The preflight report: what is there, what is missing, and what that costs.
static void report(void) {
    for (const char *line = machine.report; *line != '\0'; line += strlen(line) + 1)
        log_line("%s", line);
    struct frame_totals totals = frame_totals();
    log_line("memory: %lu MiB, %lu MiB free", totals.total >> 20, totals.free >> 20);
}

// Without it the machine runs all the same, and VMs are refused.
static void init_virtualization(void) {
    const char *refusal = machine.refusal;
    if (!cpu_features.is_intel && !cpu_features.has_syscall)
        halt_machine(
            "this CPU has no SYSCALL, by which ring 3 calls: an outer hypervisor hides it");
    const struct vcpu_backend *backend = cpu_features.has_svm ? &svm_backend : &vmx_backend;
    if (*refusal == '\0') {
        backend->init();
        refusal = backend->cpu_init(cpu_current());
    }
    if (refusal == NULL)
        vcpu_backend = backend;
    else
        log_line("no virtual machines: %s", refusal);
    cpu_current()->is_online = true;
}

_Noreturn void kernel_main(const struct boot_info *info) {
    uint64_t entry_tsc = x86_rdtsc();
    *(struct cpu **)(boot_stack_end - 8) = &early_cpu;
    copy_boot_info(info);
    tsc_hz = machine.tsc_hz;
    cpu_features = machine.features;
    mitigation = machine.mitigation;
    features_init(machine.word, machine.word_count);
    features_enable();
    mitigation_init_cpu();
    traps_init();
    paging_format.leaf_level_max = cpu_features.has_1g_pages ? 2 : 1;
    init_memory();
    group_init();
    topology_init(machine.thread_bits);
    smp_init_boot_cpu(machine.boot_apic_id);
    *(struct cpu **)(boot_stack_end - 8) = cpu_table[0];
    bool has_uart = log_open();
    log_line("Bulkhead %s", BULKHEAD_VERSION);
    if (!has_uart)
        log_line("no serial console answers (console=): the screen is all there is");
    machine_check_init_cpu();
    init_interrupts();
    report();
    init_virtualization();
    smp_start(machine.cpu, machine.cpu_count, (hpa_t){machine.low_page});
    log_line("%u of %u CPUs are up, on %u cores", cpu_count, MAX(machine.cpu_count, 1),
             topology_core_count());
    system_init(entry_tsc);
    first_start(&system_object);
    scheduler_run();
}
