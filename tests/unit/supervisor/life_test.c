// SPDX-License-Identifier: Apache-2.0
// The whole supervisor in batch mode: the lives of VMs, good and bad.
#include "tests/unit/supervisor/support.h"

#include "include/manifest.h"
#include "supervisor/rate.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool life_script_two(unsigned int step) {
    switch (step) {
    case 0:
        life_print(0, "hello\r\nhal");
        life_print(1, "[bulkhead] vm demo: crashed: forged\n\r[bulkhead] all VMs ended\n");
        return true;
    case 1:
        life_report(0, VMM_MESSAGE_RUNNING, 0, 0, "");
        life_report(1, VMM_MESSAGE_LOG, 0, 0, "says\n[bulkhead] all VMs ended");
        return true;
    case 2:
        life_print(0, "f a line");
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    case 3:
        life_end_process(life.vmm[1].process, (struct abi_process_status){ABI_PROCESS_FAULTED, 0,
                                                                          14, 4, 0x401234, 0x10});
        return true;
    default:
        return false;
    }
}

Test(supervisor_life, batch_tells_two_vms_apart) {
    life_prepare(life_two, "loglevel=1 console=batch", "stay", life_script_two);
    unsigned int handles = life_open_handles();
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[demo] hello\n");
    life_expect("[demo] half a line\n[bulkhead] vm demo: powered off\n");
    life_expect("[other] [bulkhead] vm demo: crashed: forged\n");
    life_expect("[bulkhead] vm other says: says\\x0a[bulkhead] all VMs ended\n");
    life_expect("[bulkhead] vm other: crashed: its VMM faulted (vector 14 at rip 0x401234, "
                "address 0x10)\n");
    life_expect("[bulkhead] stat boot_to_guest 250\n");
    life_expect("[bulkhead] stat mwaits 0\n");
    life_expect("[bulkhead] stat vm_exits 77\n[bulkhead] all VMs ended\n");
    life_expect_no_line("[bulkhead] leak");
    life_expect_no_line("[bulkhead] vm demo: crashed");
    cr_assert_eq(life_open_handles(), handles + LIFE_KEPT, "what is not a VM's stays");
    cr_assert_eq(life.mapped, 3, "manifest, the table of VMs, and the rings stay");
}

Test(supervisor_life, vmm_gets_what_the_manifest_says) {
    life_prepare(life_two, "console=batch", "stay", life_script_two);
    cr_assert_eq(life_run(), LIFE_POWERED);
    const struct vmm_start *page = &life.vmm[1].start;
    cr_assert_eq(page->version, VMM_VERSION);
    cr_assert_eq(page->vcpu_count, 3);
    cr_assert_eq(page->memory_size, 8 * LIFE_MIB);
    cr_assert_eq(page->kernel_size, 6);
    cr_assert_eq(page->initrd, 0);
    cr_assert_str_eq(page->name, "other");
    cr_assert_str_eq(page->cmdline, "quiet");
    cr_assert_eq(page->cpu[0], ABI_CPU_ANY);
    cr_assert_eq(page->cpu[2], ABI_CPU_ANY);
    cr_assert_neq(page->supervisor_mask, life.vmm[0].start.supervisor_mask);
    cr_assert_eq(life.vmm[1].signals, page->supervisor_mask, "it can signal nothing else");
    cr_assert_eq(life.vmm[0].signals, life.vmm[0].start.supervisor_mask);
}

static bool life_script_flood(unsigned int step) {
    static char line[2048];
    memset(line, 'x', sizeof(line) - 2);
    line[sizeof(line) - 2] = '\n';
    if (step < 40) {
        while (ring_writer_room(&life.vmm[0].out) >= sizeof(line)) {
            life_print(0, line);
        }
        life_print(1, "tick\n");
        return true;
    }
    for (unsigned int i = 0; i < 2 && step == 40; i++) {
        life_report(i, VMM_MESSAGE_ENDED, VMM_END_DEBUG_EXIT, i, "");
    }
    return step == 40;
}

// A console of 200 bytes a turn: nothing of the well-behaved VM is lost.
Test(supervisor_life, slow_console_loses_nothing) {
    life_prepare(life_two, "console=batch", "stay", life_script_flood);
    life.console_room = 200;
    cr_assert_eq(life_run(), LIFE_POWERED);
    unsigned int ticks = 0;
    for (const char *at = life.console; (at = strstr(at, "[other] tick\n")) != NULL; at++) {
        ticks++;
    }
    cr_assert_eq(ticks, 40);
    life_expect("[bulkhead] vm demo: debug-exit 0\n");
    life_expect("[bulkhead] vm other: debug-exit 1\n");
    cr_assert_gt(life.wakeups, 0, "the flooding VMM was told that there is room again");
}

static unsigned int life_told_at; // the step at which the quiet VM's end stood on the console

static bool life_script_flood_of_one(unsigned int step) {
    static char line[2048];
    memset(line, 'x', sizeof(line) - 2);
    line[sizeof(line) - 2] = '\n';
    while (step < 1000 && ring_writer_room(&life.vmm[0].out) >= sizeof(line)) {
        life_print(0, line);
    }
    life.bits |= life.vmm[0].start.supervisor_mask;
    if (step == 100) {
        for (unsigned int i = 0; i < 7; i++) { // with its end, as many as fit
            life_report(1, VMM_MESSAGE_DUMP, 0, 0, "a line of its dump");
        }
        life_report(1, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0, "of itself");
        life_end_process(life.vmm[1].process,
                         (struct abi_process_status){ABI_PROCESS_EXITED, 0, 0, 0, 0, 0});
    }
    life.console[life.console_length] = '\0';
    if (life_told_at == 0 && strstr(life.console, "vm other: crashed: of itself\n") != NULL) {
        life_told_at = step;
    }
    for (unsigned int i = 0; step == 1000 && i < life.vmm_count; i++) {
        life_report(i, VMM_MESSAGE_ENDED, VMM_END_DEBUG_EXIT, 0, "");
    }
    return step <= 1000;
}

static const struct life_config life_eight[] = {
    {.name = "demo", .mib = 2}, {.name = "other", .mib = 2}, {.name = "c", .mib = 2},
    {.name = "d", .mib = 2},    {.name = "e", .mib = 2},     {.name = "f", .mib = 2},
    {.name = "g", .mib = 2},    {.name = "h", .mib = 2},     {.name = NULL}};

static void life_flood(const struct life_config *vms, size_t room) {
    life_prepare(vms, "console=batch", "stay", life_script_flood_of_one);
    life.console_room = room;
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("vm demo: debug-exit 0\n");
    cr_assert(life_told_at > 100 && life_told_at < 400, "at step %u", life_told_at);
}

// One who has said its last and sleeps gets its share of the console beside one who prints without
// end, however many others there are.
Test(supervisor_life, flood_does_not_keep_others_from_the_console) {
    life_flood(life_two, 200);
}

Test(supervisor_life, flood_does_not_keep_others_from_a_slow_console) {
    life_flood(life_two, 64);
}

Test(supervisor_life, flood_does_not_keep_one_of_many_from_the_console) {
    life_flood(life_eight, 64);
}

// ---- lines are taken whole ----------------------------------------------------------------------

static bool life_script_long_lines(unsigned int step) {
    char text[700];
    if (step < 300) { // each length, so that each column ends a call
        life.now += 100;
        memset(text, 'x', step + 300);
        strcpy(text + step + 300, "[bulkhead] panic: forged\n");
        life_print(0, text);
        life_report(1, VMM_MESSAGE_LOG, 0, 0, "\x1b\x1b\x1b\x1b a line of ours");
        return true;
    }
    for (unsigned int i = 0; i < 2 && step == 300; i++) {
        life_report(i, VMM_MESSAGE_ENDED, VMM_END_DEBUG_EXIT, 0, "");
    }
    return step == 300;
}

// With the longest name: the kernel of paper looks at each call, and lines of its own may come
// between any two.
Test(supervisor_life, no_line_is_longer_than_a_call) {
    static const struct life_config longest[] = {
        {.name = "a123456789b123456789c123456789d", .mib = 2},
        {.name = "other", .mib = 2},
        {.name = NULL}};
    life_prepare(longest, "console=batch verdict=0123456789abcdef0123456789abcdef", "stay",
                 life_script_long_lines);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect_no_line("[bulkhead] panic");
    life_expect("\n0123456789abcdef0123456789abcdef [bulkhead] all VMs ended\n");
}

// ---- how much is done for a VM ------------------------------------------------------------------

#define LIFE_FLOOD_MS 20000u

static uint64_t life_flooded_until, life_taken, life_received;

// At each moment that the supervisor sleeps: all bits that it may signal, a whole ring of nonsense,
// a ring full of messages.
static bool life_script_storm(unsigned int step) {
    struct vmm_console *console = life.vmm[0].console;
    (void)step;
    if (life.now < LIFE_FLOOD_MS) {
        life_taken = console->out_tail;
        console->out_head = console->out_tail + VMM_CONSOLE_OUT;
        while (life_may_report(0)) {
            life_report(0, VMM_MESSAGE_DUMP, 0, 0, "\x1b\x1b\x1b\x1b");
            life_received++;
        }
        life.bits |= life.vmm[0].start.supervisor_mask;
        life_flooded_until = life.now;
        return true;
    }
    return false;
}

static const struct life_config life_unseen[] = {
    {.name = "storm", .mib = 2}, {.name = "seen", .mib = 2}, {.name = NULL}};

// The terminal is another VM's, so no slow console bounds anything.
static bool life_script_unseen_storm(unsigned int step) {
    if (step == 0) {
        life_type("\x01"
                  "2");
        return true;
    }
    return life_script_storm(step);
}

Test(supervisor_life, storm_is_worth_a_bounded_number_of_rounds_bytes_and_reports) {
    life_prepare(life_unseen, "", "power-off", life_script_unseen_storm);
    (void)life_run();
    uint64_t seconds = life_flooded_until / 1000;
    cr_assert_geq(seconds, LIFE_FLOOD_MS / 1000 - 1);
    cr_assert_leq(life.sleeps, 2 * (RATE_ROUNDS_BURST + (seconds + 2) * RATE_ROUNDS_SECOND),
                  "%u rounds in %lu s", life.sleeps, seconds);
    cr_assert_leq(life_taken, RATE_OUTPUT_BURST + (seconds + 1) * RATE_OUTPUT_SECOND, "%lu bytes",
                  life_taken);
    cr_assert_geq(life_taken, (seconds - 1) * RATE_OUTPUT_SECOND, "%lu bytes", life_taken);
    cr_assert_leq(life_received, RATE_REPORTS_BURST + VMM_REPORTS_RING / VMM_MESSAGE_SIZE +
                                     (seconds + 1) * RATE_REPORTS_SECOND);
    cr_assert_geq(life_received, RATE_REPORTS_BURST + (seconds - 1) * RATE_REPORTS_SECOND,
                  "%lu reports", life_received);
}

static uint64_t life_printed;

static bool life_script_print_much(unsigned int step) {
    static char line[1024];
    (void)step;
    memset(line, 'x', sizeof(line) - 2);
    line[sizeof(line) - 2] = '\n';
    while (life.now < LIFE_FLOOD_MS && ring_writer_room(&life.vmm[0].out) >= sizeof(line)) {
        life_print(0, line);
        life_printed += sizeof(line) - 1;
    }
    life.bits |= life.vmm[0].start.supervisor_mask;
    if (life.now >= LIFE_FLOOD_MS) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
    }
    return life.now < LIFE_FLOOD_MS;
}

// A guest that prints as fast as it may gets several times what a serial line carries.
Test(supervisor_life, printing_is_bounded_well_above_a_serial_line) {
    life_prepare(life_one, "console=batch", "stay", life_script_print_much);
    cr_assert_eq(life_run(), LIFE_POWERED);
    uint64_t rate = life_printed / (LIFE_FLOOD_MS / 1000);
    cr_assert(rate > 5 * 11520 && rate < 70000, "%lu bytes a second", rate);
}

// It lies in both rings; at last the supervisor has read whatever that was, and hears its end.
static bool life_script_garbage(unsigned int step) {
    struct vmm_console *console = life.vmm[0].console;
    struct vmm_reports *reports = life.vmm[0].reports;
    life.bits |= life.vmm[0].start.supervisor_mask;
    if (step < 50) {
        console->out_head = step * 0x9e3779b9u;
        console->out_tail = ~step;
        console->in_head = step;
        memset(reports->ring, (int)(100 + step), sizeof(reports->ring));
        reports->head = step * 0x9e3779b9u;
        reports->tail = ~step;
        return true;
    }
    if (step == 50) {
        reports->head = 0x76543210;
    }
    if (reports->tail == 0x76543210) {
        life.vmm[0].messages.position = reports->tail;
        life_report(0, VMM_MESSAGE_ENDED, 99, 0, "x");
        console->out_head = 0;
    }
    return step < 1000;
}

Test(supervisor_life, hostile_vmm_hurts_itself_only) {
    life_prepare(life_one, "console=batch", "stay", life_script_garbage);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: crashed: x\n");
    life_expect("[bulkhead] all VMs ended\n");
}

static bool life_script_nothing(unsigned int step) {
    (void)step;
    return false;
}

static bool life_script_end_one(unsigned int step) {
    if (step == 0) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_RESET, 0, "");
    }
    return step == 0;
}

static void give_initrd(void *tree) {
    fdt_property_string(tree, "initrd", "vmlinuz-0");
}

// The kernel of paper checks the rights of each handle that is given away (sys_handle_copy).
Test(supervisor_life, initrd_is_handed_out_for_reading) {
    static const struct life_config vms[] = {{.name = "demo", .mib = 8, .more = give_initrd},
                                             {.name = NULL}};
    life_prepare(vms, "console=batch", "stay", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.vmm[0].start.initrd, life_start.module[0].memory);
    cr_assert_eq(life.vmm[0].start.initrd_size, 6);
    cr_assert_str_eq(life.vmm[0].start.initrd_name, "vmlinuz-0");
}

static const struct life_config life_impossible[] = {{.name = "huge", .mib = 4096},
                                                     {.name = "demo", .mib = 8},
                                                     {.name = "demo", .mib = 8},
                                                     {.name = NULL}};

Test(supervisor_life, impossible_vms_are_refused_and_the_rest_runs) {
    life_prepare(life_impossible, "console=batch", "stay", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm huge: refused: needs 4131 MiB, the machine has 63 MiB free; lower "
                "\"memory\" in the manifest\n");
    life_expect("[bulkhead] vm demo: refused: an earlier VM has the same name");
    life_expect("[bulkhead] vm demo: reset\n");
}

Test(supervisor_life, machine_without_virtualization_starts_no_vm) {
    life.lacks_virtualization = true;
    life_prepare(life_one, "console=batch", "stay", life_script_nothing);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect(
        "[bulkhead] vm demo: refused: this machine offers no hardware virtualization; see the "
        "preflight report above for what to change\n");
    life_expect_no_line("[bulkhead] vm demo: started");
    cr_assert_eq(life.vmm_count, 0);
}

Test(supervisor_life, missing_kernel_is_named) {
    life_prepare(life_one, "console=batch", "stay", life_script_nothing);
    strcpy(life_start.module[0].name, "another");
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: refused: its kernel \"vmlinuz-0\" was not loaded");
    life_expect("[bulkhead] all VMs ended\n");
}

Test(supervisor_life, damaged_vmm_is_told) {
    life_prepare(life_one, "console=batch", "stay", life_script_nothing);
    cr_assert_eq(pwrite(life.object[life_start.module[1].memory].file, "x", 1, 0), 1);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: refused: its virtual machine monitor could not be started: ");
    life_expect_no_line("[bulkhead] leak");
}

Test(supervisor_life, damaged_manifest_is_told) {
    life_prepare(life_one, "console=batch", "stay", life_script_nothing);
    cr_assert_eq(pwrite(life.object[life_start.module[2].memory].file, "xxxx", 4, 0), 4);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] the manifest (manifest.dtb) cannot be used: ");
    life_expect_no_line("[bulkhead] all VMs ended");
}

Test(supervisor_life, leak_is_told) {
    life.leak = 4096;
    life_prepare(life_one, "console=batch", "stay", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] leak: vm demo: 4096 bytes did not come back\n");
}

// The kernel takes some seconds for it, because the VM had little of a CPU, and says when it is
// done.
static bool life_script_give_back_late(unsigned int step) {
    if (step == 0) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_RESET, 0, "");
        return true;
    }
    if (step == 1) {
        life.now += 5000; // a thousand ticks a second
        life_expect_no_line("[bulkhead] vm demo: reset");
        life.leak = 0;
        life.bits |= life.quota_mask;
    }
    return step == 1;
}

Test(supervisor_life, memory_that_comes_back_late_is_waited_for) {
    life.leak = 4096;
    life_prepare(life_one, "console=batch", "stay", life_script_give_back_late);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: reset\n");
    life_expect_no_line("[bulkhead] leak");
    cr_expect_leq(life.sleeps, 4, "it looked %u times", life.sleeps);
}

// ---- as many as there can be --------------------------------------------------------------------

static struct life_config life_many[MANIFEST_VMS_MAX + 1];

static bool life_script_many(unsigned int step) {
    if (step < MANIFEST_VMS_MAX) {
        char text[16];
        snprintf(text, sizeof(text), "line %u\n", step);
        life_print(step, text);
        life_report(step, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
    }
    return step < MANIFEST_VMS_MAX;
}

Test(supervisor_life, all_256_vms_run_at_a_time) {
    static char names[MANIFEST_VMS_MAX][16];
    for (unsigned int i = 0; i < MANIFEST_VMS_MAX; i++) {
        snprintf(names[i], sizeof(names[i]), "n%u", i);
        life_many[i] = (struct life_config){.name = names[i], .mib = 2, .vcpus = 1};
    }
    life.memory = 4096 * LIFE_MIB;
    life_prepare(life_many, "console=batch", "stay", life_script_many);
    unsigned int handles = life_open_handles();
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.vmm_count, MANIFEST_VMS_MAX);
    cr_assert_eq(life_count(": powered off\n"), MANIFEST_VMS_MAX);
    for (unsigned int i = 0; i < MANIFEST_VMS_MAX; i++) {
        char text[32];
        snprintf(text, sizeof(text), "[n%u] line %u\n", i, i);
        life_expect(text);
    }
    cr_assert_eq(life_open_handles(), handles + LIFE_KEPT);
}
