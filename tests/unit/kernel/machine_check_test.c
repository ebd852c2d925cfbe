// SPDX-License-Identifier: Apache-2.0
// kernel/machine_check.c and the frames that it withdraws: banks of paper on several CPUs, by the
// rules that boot/ has made of a processor of paper.
#include "tests/unit/kernel/support.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch/log.h"
#include "boot/boot_machine_check.c"
#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/machine.h"
#include "kernel/memory.h"

#define BANKS 8u

static struct {
    uint64_t msr[5]; // CTL, STATUS, ADDR, MISC, CONFIG
} banks[HOST_CPUS][BANKS];
static struct { uint64_t cap, status, control, local; } global[HOST_CPUS];
static char writes[4096]; // "MSR=value " each
static bool is_scalable;

static uint64_t *paper_msr(uint32_t msr) {
    uint32_t cpu = host_cpu_current()->index;
    switch (msr) {
    case 0x179:
        return &global[cpu].cap;
    case 0x17a:
        return &global[cpu].status;
    case 0x17b:
        return &global[cpu].control;
    case 0x4d0:
        return &global[cpu].local;
    default:
        break;
    }
    uint32_t at = msr - (is_scalable ? 0xc0002000 : 0x400), a_bank = is_scalable ? 16 : 4;
    cr_assert(at / a_bank < (global[cpu].cap & 0xff) && at % a_bank < 5, "MSR %#x", msr);
    return &banks[cpu][at / a_bank].msr[at % a_bank];
}

// What the status calls not valid faults.
static uint64_t paper_rdmsr(uint32_t msr) {
    uint32_t at = msr - (is_scalable ? 0xc0002000 : 0x400), a_bank = is_scalable ? 16 : 4;
    if (msr != 0x179 && msr != 0x17a && (at % a_bank == 2 || at % a_bank == 3)) {
        uint64_t status = *paper_msr(msr - at % a_bank + 1);
        cr_assert((status >> (at % a_bank == 2 ? 58 : 59) & 1) != 0, "MSR %#x", msr);
    }
    return *paper_msr(msr);
}

static void paper_wrmsr(uint32_t msr, uint64_t value) {
    size_t length = strlen(writes);
    snprintf(writes + length, sizeof(writes) - length, "%x=%lx ", msr, value);
    *paper_msr(msr) = value;
}

static char said[4096]; // lines
static __attribute__((format(printf, 1, 2))) void say_line(const char *format, ...) {
    size_t length = strlen(said);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said + length, sizeof(said) - length, format, arguments);
    va_end(arguments);
}
#define log_line say_line

static void paper_pause(void);
#undef x86_pause
#define x86_pause() paper_pause()
static _Noreturn void paper_exit(void);
#define thread_exit           paper_exit
#define x86_rdmsr(msr)        paper_rdmsr(msr)
#define x86_wrmsr(msr, value) paper_wrmsr(msr, value)
#include "kernel/machine_check.c"

// ---- the processor ------------------------------------------------------------------------------

#define VALID  BIT(63)
#define UC     BIT(61)
#define EN     BIT(60)
#define MISCV  BIT(59)
#define ADDRV  BIT(58)
#define PCC    BIT(57)
#define S      BIT(56)
#define AR     BIT(55)
#define POISON BIT(43)
#define RIPV   BIT(0)
#define EIPV   BIT(1)
#define MCIP   BIT(2)
#define LMCE_S BIT(3)

#define SRAR      (VALID | UC | EN | S | AR | MISCV | ADDRV | 0x134)
#define CORRECTED (VALID | EN | 0x135)
#define PHYSICAL  (2ULL << 6 | 6)

static uint32_t amd_ebx;

static struct boot_cpuid paper_cpuid(uint32_t leaf, uint32_t subleaf) {
    (void)subleaf;
    if (leaf == 0 || leaf == 0x80000000)
        return (struct boot_cpuid){leaf | 0x20, 0, 0, 0};
    return leaf == 1            ? (struct boot_cpuid){0x50654, 0, 0, BIT(7) | BIT(14)}
           : leaf == 0x80000007 ? (struct boot_cpuid){0, amd_ebx, 0, 0}
                                : (struct boot_cpuid){0, 0, 0, 0};
}

static uint64_t boot_rdmsr(uint32_t msr) {
    return msr == 0x179 ? global[0].cap : BIT(20) | BIT(0);
}

static void begin(bool is_intel, uint64_t cap) {
    const struct boot_processor cpu = {paper_cpuid, boot_rdmsr, 0};
    memset(banks, 0, sizeof(banks));
    for (uint32_t i = 0; i < HOST_CPUS; i++) {
        memset(&global[i], 0, sizeof(global[i]));
        global[i].cap = cap;
    }
    machine.features.is_intel = is_intel;
    machine.word_count = 0;
    boot_machine_check_read(&cpu, &machine);
    is_scalable = machine.machine_check.has_config;
    for (uint32_t i = 0; i < cpu_count; i++) {
        host_run_on(i);
        machine_check_init_cpu();
    }
    host_run_on(0);
    writes[0] = '\0';
}

#define INTEL (BANKS | BIT(8) | BIT(24))

static hpa_t used_frame; // of a memory object
static struct process *process;

static void set_up(void) {
    host_init_all();
    memset(&machine, 0, sizeof(machine));
    machine.memory_count = ARRAY_COUNT(host_map);
    memcpy(machine_memory, host_map, sizeof(host_map));
    tsc_hz = 1000;
    cpu_count = 1;
    begin(true, INTEL);
    cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_2M, &used_frame));
    process = process_create(quota_root(), &group_root, NULL, 0);
    process->thread_count = 1; // so its end is not yet its teardown
    thread_current()->process = process;
}

TestSuite(kernel_machine_check, .init = set_up);

static void set_bank(uint32_t cpu, uint32_t bank, uint64_t status, uint64_t address,
                     uint64_t misc) {
    banks[cpu][bank].msr[1] = status;
    banks[cpu][bank].msr[2] = address;
    banks[cpu][bank].msr[3] = misc;
}

// In bank 3 of this CPU, with the instruction pointer that the exception has pushed.
static void use_broken(uint64_t flags, uint64_t address) {
    uint32_t cpu = host_cpu_current()->index;
    set_bank(cpu, 3, SRAR, address, PHYSICAL);
    global[cpu].status = flags | MCIP;
}

static void take_all_and_expect_none(uint64_t frame) {
    hpa_t page;
    while (frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &page))
        cr_assert_neq(page.v, frame);
}

// ---- one CPU ------------------------------------------------------------------------------------

Test(kernel_machine_check, banks_are_turned_on_and_what_they_had_is_said) {
    begin(true, INTEL);
    set_bank(0, 2, CORRECTED | ADDRV, 0x1234, 0);
    global[0].status = MCIP;
    machine.machine_check.controls = ~BIT(0);
    machine_check_init_cpu();
    cr_expect_eq(banks[0][0].msr[0], UINT64_MAX, "of the time before");
    cr_expect_null(strstr(writes, "400="), "not of bank 0: %s", writes);
    for (uint32_t i = 1; i < BANKS; i++)
        cr_expect_eq(banks[0][i].msr[0], UINT64_MAX);
    cr_expect_eq(banks[0][2].msr[1], 0);
    cr_expect_eq(global[0].status, 0, "the next one would reset the machine");
    cr_expect_eq(global[0].control, UINT64_MAX);
    cr_expect_eq(global[0].local, 0);
    cr_expect_not_null(strstr(said, "a machine check of before the start: CPU 0, bank 2: "
                                    "status 0x9400000000000135, address 0x1234, misc 0x0"));
}

Test(kernel_machine_check, local_ones_and_scalable_banks_are_turned_on) {
    begin(true, INTEL | BIT(27));
    cr_expect_eq(global[0].local, 1);
    amd_ebx = BIT(0) | BIT(1) | BIT(3);
    begin(false, BANKS);
    for (uint32_t i = 0; i < BANKS; i++)
        cr_expect(banks[0][i].msr[0] == UINT64_MAX && banks[0][i].msr[4] == BIT(32));
    cr_expect_eq(global[0].control, 0, "which this one lacks");
}

// A CPU with fewer banks, and a machine without any.
Test(kernel_machine_check, no_bank_is_read_that_is_not_there) {
    global[0].cap = (INTEL & ~0xffULL) | 2;
    machine_check_init_cpu();
    machine.machine_check.bank_count = bank_count[0] = 0;
    global[0].cap = 0;
    writes[0] = '\0';
    machine_check_init_cpu();
    cr_expect_str_eq(writes, "");
    struct abi_machine_check report = {.status = 1};
    machine_check_poll(&report);
    cr_expect_eq(report.status, 0);
    machine_check_print("panic");
    cr_expect(HOST_PANICS(machine_check_handle(false)), "and who raises one is unknown");
}

Test(kernel_machine_check, who_consumed_ends_and_the_machine_goes_on) {
    set_bank(0, 1, CORRECTED, 0, 0);
    use_broken(RIPV | EIPV, used_frame.v + 0x5040);
    cr_expect(machine_check_handle(false));
    cr_expect_eq(banks[0][3].msr[1], 0, "emptied");
    cr_expect_eq(banks[0][1].msr[1], CORRECTED, "which is polled");
    cr_expect_str_eq(writes, "40d=0 ", "MCIP stays, as this stack is the next one's");
    cr_expect(process->is_ending == 0 && said[0] == '\0');
    machine_check_end();
    cr_expect_str_eq(writes, "40d=0 17a=0 ");
    cr_expect(process->is_ending == 1 && process->status.vector == EXC_MC);
    cr_expect_eq(process->status.state, ABI_PROCESS_FAULTED);
    cr_expect_eq(process->status.address, used_frame.v + 0x5000);
    use_broken(EIPV, used_frame.v + 0x5000); // again, by who has it still, and in two banks
    set_bank(0, 4, SRAR, used_frame.v + 0x5fc0, PHYSICAL);
    cr_expect(machine_check_handle(false));
    machine_check_end();
    frame_free(used_frame, SIZE_2M);
    take_all_and_expect_none(used_frame.v + 0x5000);
}

static jmp_buf exited;
static _Noreturn void paper_exit(void) {
    longjmp(exited, 1);
}

Test(kernel_machine_check, a_thread_of_ring_3_leaves_at_once) {
    use_broken(RIPV | EIPV, used_frame.v);
    cr_assert(machine_check_handle(false));
    if (setjmp(exited) == 0)
        machine_check_leave();
    cr_expect(process->is_ending == 1 && global[0].status == 0);
}

Test(kernel_machine_check, what_the_kernel_consumed_is_fatal) {
    use_broken(RIPV | EIPV, used_frame.v);
    cr_expect(HOST_PANICS(machine_check_handle(true)));
    cr_expect_str_eq(host_panic_text, "machine check in the kernel");
    cr_expect_eq(banks[0][3].msr[1], SRAR, "the record has it");
}

// A table of a VM's is the kernel's, and the firmware's memory nobody's to give.
Test(kernel_machine_check, a_frame_that_is_not_a_guests_is_fatal) {
    void *page = kernel_page_alloc();
    const uint64_t frames[] = {frame_of_kernel(page).v, 0, 0xfee00000, HOST_RAM_BASE - PAGE_SIZE,
                               HOST_HIGH_BASE + HOST_HIGH_SIZE};
    for (unsigned i = 0; i < ARRAY_COUNT(frames); i++) {
        use_broken(RIPV | EIPV, frames[i]);
        cr_expect(HOST_PANICS(machine_check_handle(false)), "frame %#lx", frames[i]);
    }
    machine_memory[0].type = BOOT_MEMORY_KERNEL;
    use_broken(RIPV | EIPV, HOST_RAM_BASE + (32ULL << 20));
    cr_expect(HOST_PANICS(machine_check_handle(false)));
    machine_memory[0].type = BOOT_MEMORY_MODULE;
    cr_expect(machine_check_handle(false));
}

Test(kernel_machine_check, fatal_ones_and_those_without_a_reason_panic) {
    set_bank(0, 5, VALID | UC | PCC | EN, 0, 0);
    global[0].status = RIPV | MCIP;
    cr_expect(HOST_PANICS(machine_check_handle(false)));
    cr_expect_str_eq(host_panic_text, "machine check in a guest or ring 3");
    set_bank(0, 5, CORRECTED, 0, 0);
    cr_expect(HOST_PANICS(machine_check_handle(true)));
    cr_expect_str_eq(host_panic_text, "machine check in the kernel, and no bank says whose");
    set_bank(0, 5, VALID | UC | EN | S, 0, 0); // SRAO
    cr_expect_not(machine_check_handle(true), "nobody needs to do anything");
    cr_expect_neq(banks[0][5].msr[1], 0, "which is polled");
    global[0].status = MCIP;
    cr_expect(HOST_PANICS(machine_check_handle(false)), "what ran cannot go on");
    use_broken(EIPV, used_frame.v);
    set_bank(0, 6, VALID | UC | PCC | EN, 0, 0);
    cr_expect(HOST_PANICS(machine_check_handle(false)), "the worst of all banks counts");
    use_broken(EIPV, used_frame.v);
    set_bank(0, 6, SRAR, used_frame.v + PAGE_SIZE, PHYSICAL);
    cr_expect(HOST_PANICS(machine_check_handle(false)), "one alone would be withdrawn");
}

Test(kernel_machine_check, amds_is_of_one_cpu_alone) {
    amd_ebx = BIT(0) | BIT(1) | BIT(3);
    cpu_count = 3;
    begin(false, BANKS);
    set_bank(0, 3, VALID | UC | EN | ADDRV | POISON, used_frame.v | 6ULL << 56, 0);
    global[0].status = RIPV | EIPV | MCIP;
    cr_expect(machine_check_handle(false));
    machine_check_end();
    cr_expect_eq(process->status.address, used_frame.v);
    cr_expect_str_eq(writes, "c0002031=0 17a=0 ");
}

Test(kernel_machine_check, panics_tell_the_banks) {
    set_bank(0, 7, VALID | UC | PCC | MISCV | ADDRV, 0xabc, 0x86);
    machine_check_print("panic");
    cr_expect_not_null(strstr(said, "panic: CPU 0, bank 7: status 0xae00000000000000, "
                                    "address 0xabc, misc 0x86"));
    cr_expect_eq(writes[0], '\0');
}

// ---- polling ------------------------------------------------------------------------------------

Test(kernel_machine_check, polling_takes_each_error_once_that_waits_for_no_exception) {
    const uint64_t ucna = VALID | UC | EN | ADDRV | 0x136, srao = VALID | UC | EN | S | 0xc0;
    const uint64_t masked = VALID | UC | PCC; // for which no exception will ever come
    set_bank(0, 1, CORRECTED | ADDRV, 0x1000, 0);
    set_bank(0, 2, SRAR, 0x2000, PHYSICAL);
    set_bank(0, 3, VALID | UC | PCC | EN, 0, 0);
    set_bank(0, 4, ucna, 0x4000, 0);
    set_bank(0, 5, masked, 0, 0);
    set_bank(0, 6, srao, 0, 0);
    const struct abi_machine_check expected[] = {{CORRECTED | ADDRV, 0x1000, 0, 1},
                                                 {ucna, 0x4000, 0, 4},
                                                 {masked, 0, 0, 5},
                                                 {srao, 0, 0, 6},
                                                 {0}};
    struct abi_machine_check report;
    for (unsigned i = 0; i < ARRAY_COUNT(expected); i++) {
        machine_check_poll(&report);
        cr_expect(report.status == expected[i].status && report.address == expected[i].address,
                  "error %u", i);
        cr_expect(report.status == 0 || report.bank == expected[i].bank, "error %u", i);
    }
    cr_expect(banks[0][2].msr[1] == SRAR && banks[0][3].msr[1] != 0, "the exception's");
}

// ---- meeting ------------------------------------------------------------------------------------

static struct {
    uint32_t count;  // CPUs that come, from the first on
    uint64_t pauses; // until the next comes, and between
    bool consumed[HOST_CPUS], is_done[HOST_CPUS], has_gone;
    uint32_t depth;
    jmp_buf *out; // where it goes on when the last one waits
} others;

// A CPU that waits lets the next one come; the last finds all there.
static void paper_pause(void) {
    uint32_t self = host_cpu_current()->index, next = others.depth + 1;
    host_now += 100;
    if (others.out != NULL && self == others.count - 1)
        longjmp(*others.out, 1);
    if (others.has_gone)
        cr_assert_fail("waits for ever");
    if (next >= others.count)
        return;
    others.depth = next;
    host_run_on(next);
    others.consumed[next] = machine_check_handle(next % 2 == 0);
    others.is_done[next] = true;
    host_run_on(self);
}

static void meet_set_up(void) {
    cpu_count = HOST_CPUS;
    begin(true, INTEL);
    memset(&others, 0, sizeof(others));
    others.count = HOST_CPUS;
    for (uint32_t i = 0; i < HOST_CPUS; i++)
        global[i].status = RIPV | MCIP;
}

// Twice, as nothing of the first meeting may count in the second.
Test(kernel_machine_check, all_meet_and_one_ends_who_consumed) {
    for (unsigned round = 0; round < 2; round++) {
        meet_set_up();
        host_run_on(0);
        set_bank(1, 3, SRAR, used_frame.v, PHYSICAL); // in a bank that they share
        use_broken(RIPV | EIPV, used_frame.v);
        cr_expect(machine_check_handle(false));
        for (uint32_t i = 1; i < HOST_CPUS; i++) {
            cr_expect(others.is_done[i] && !others.consumed[i], "CPU %u", i);
            cr_expect_eq(global[i].status, 0);
        }
        cr_expect_eq(banks[1][3].msr[1], 0);
    }
}

Test(kernel_machine_check, who_does_not_come_is_named_behind_the_time_limit) {
    meet_set_up();
    others.count = 3;
    use_broken(RIPV | EIPV, used_frame.v);
    uint64_t since = host_now;
    cr_expect(HOST_PANICS(machine_check_handle(false)));
    cr_expect_str_eq(host_panic_text, "a machine check of all CPUs, and CPU 3 does not come");
    cr_expect(host_now - since > 1000 && host_now - since < 2000, "a second of the TSC");
}

Test(kernel_machine_check, a_local_one_is_nobody_elses) {
    meet_set_up();
    others.count = 0;
    use_broken(RIPV | EIPV | LMCE_S, used_frame.v);
    cr_expect(machine_check_handle(false));
}

// The first has it, and the others neither go on nor panic until it stops them.
Test(kernel_machine_check, nobody_goes_on_beside_a_fatal_one) {
    jmp_buf out;
    meet_set_up();
    others.out = &out;
    set_bank(0, 0, VALID | UC | PCC | EN, 0, 0);
    if (setjmp(out) == 0) {
        (void)machine_check_handle(false);
        cr_assert_fail("somebody goes on");
    }
    cr_expect_eq(host_cpu_current()->index, HOST_CPUS - 1);
    cr_expect(global[HOST_CPUS - 1].status & MCIP);
}

// One that starts when others have met before.
Test(kernel_machine_check, a_cpu_that_comes_later_meets_the_others) {
    meet_set_up();
    cpu_count = others.count = HOST_CPUS - 1;
    use_broken(RIPV | EIPV, used_frame.v);
    cr_expect(machine_check_handle(false));
    host_run_on(HOST_CPUS - 1);
    machine_check_init_cpu();
    host_run_on(0);
    cpu_count = others.count = HOST_CPUS;
    others.depth = 0;
    for (uint32_t i = 0; i < HOST_CPUS; i++)
        global[i].status = RIPV | MCIP;
    use_broken(RIPV | EIPV, used_frame.v);
    cr_expect(machine_check_handle(false));
    cr_expect(others.is_done[HOST_CPUS - 1]);
}

// It has the number of the one that came in its place.
Test(kernel_machine_check, a_cpu_that_was_left_off_counts_for_nobody) {
    meet_set_up();
    struct cpu *last = cpu_table[HOST_CPUS - 1];
    cpu_table[HOST_CPUS - 1] = NULL;
    host_run_on(HOST_CPUS - 1);
    set_bank(HOST_CPUS - 1, 3, SRAR, used_frame.v, PHYSICAL);
    cr_expect_not(machine_check_handle(true));
    cr_expect_eq(global[HOST_CPUS - 1].status, 0);
    cr_expect_eq(banks[HOST_CPUS - 1][3].msr[1], SRAR, "whose it is may not have read it");
    cpu_table[HOST_CPUS - 1] = last;
    global[HOST_CPUS - 1].status = RIPV | MCIP;
    host_run_on(0);
    use_broken(RIPV | EIPV, used_frame.v);
    cr_expect(machine_check_handle(false));
    cr_expect(others.is_done[HOST_CPUS - 1], "waited for");
    cpu_table[HOST_CPUS - 1] = NULL;
    host_run_on(HOST_CPUS - 1);
    set_bank(HOST_CPUS - 1, 0, VALID | UC | PCC | EN, 0, 0);
    global[HOST_CPUS - 1].status = RIPV | MCIP;
    cr_expect(HOST_PANICS(machine_check_handle(true)), "but what is fatal is");
}

// The last that comes has it: the others must not go on meanwhile, nor say that it is theirs.
Test(kernel_machine_check, what_is_fatal_anywhere_lets_nobody_go) {
    meet_set_up();
    set_bank(HOST_CPUS - 1, 0, VALID | UC | PCC | EN, 0, 0);
    cr_expect(HOST_PANICS(machine_check_handle(false)));
    cr_expect_eq(host_cpu_current()->index, HOST_CPUS - 1, "who has it panics");
    for (uint32_t i = 0; i < HOST_CPUS; i++)
        cr_expect(global[i].status & MCIP);
}

Test(kernel_machine_check, a_reason_that_no_cpu_has_is_fatal) {
    meet_set_up();
    cr_expect(HOST_PANICS(machine_check_handle(false)));
    cr_expect_not_null(strstr(host_panic_text, "no bank says whose"));
    meet_set_up();
    set_bank(2, 0, VALID | UC | EN | S, 0, 0); // of one: it is enough
    cr_expect_not(machine_check_handle(false));
}

// What it was for is somewhere, and whoever it was would go on with it.
Test(kernel_machine_check, what_all_take_for_anothers_is_fatal) {
    for (unsigned is_local = 0; is_local < 2; is_local++) {
        meet_set_up();
        host_run_on(0);
        for (uint32_t i = 0; i < HOST_CPUS; i++)
            set_bank(i, 3, SRAR, used_frame.v, PHYSICAL);
        global[0].status |= is_local ? LMCE_S : 0;
        cr_expect(HOST_PANICS(machine_check_handle(false)));
        cr_expect_not_null(strstr(host_panic_text, "no bank says whose"));
        for (uint32_t i = 0; i < HOST_CPUS; i++)
            cr_expect_eq(banks[i][3].msr[1], SRAR, "for the record");
    }
}

// ---- frames that never come back ----------------------------------------------------------------

Test(kernel_machine_check, a_withdrawn_frame_is_never_given_again) {
    const uint64_t at[] = {0, 0x5000, 0x6000, SIZE_2M - PAGE_SIZE};
    struct frame_totals before = frame_totals();
    for (unsigned i = 0; i < ARRAY_COUNT(at); i++)
        frame_withdraw((hpa_t){used_frame.v + at[i]});
    cr_expect_eq(frame_totals().total, before.total, "who has it keeps it");
    frame_free(used_frame, SIZE_2M);
    struct frame_totals after = frame_totals();
    cr_expect_eq(after.free, before.free + SIZE_2M - ARRAY_COUNT(at) * PAGE_SIZE);
    cr_expect_eq(after.total, before.total - ARRAY_COUNT(at) * PAGE_SIZE);
    hpa_t page;
    while (frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &page))
        for (unsigned i = 0; i < ARRAY_COUNT(at); i++)
            cr_assert_neq(page.v, used_frame.v + at[i]);
}

Test(kernel_machine_check, nor_one_of_a_module_that_is_given_back) {
    hpa_t module;
    cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_2M, &module));
    struct frame_totals before = frame_totals();
    frame_withdraw((hpa_t){module.v + PAGE_SIZE});
    frame_add(module, SIZE_2M);
    cr_expect_eq(frame_totals().free, before.free + SIZE_2M - PAGE_SIZE);
    cr_expect_eq(frame_totals().total, before.total + SIZE_2M - PAGE_SIZE);
    take_all_and_expect_none(module.v + PAGE_SIZE);
}

// The whole audit, with a withdrawn frame in use, and behind its end.
Test(kernel_machine_check, the_auditor_misses_none) {
    struct quota *quota = quota_create(quota_root(), 16u << 20);
    struct memory *memory = memory_create(quota, SIZE_2M);
    frame_free(used_frame, SIZE_2M);
    cr_assert_not_null(memory);
    hpa_t frame = {memory_get(memory, 0, NULL).frame.v + 3 * PAGE_SIZE};
    frame_withdraw(frame);
    cr_expect_eq(audit_all().errors, 0);
    object_unref(&memory->object);
    object_unref(&quota->object);
    cr_expect_eq(audit_all().errors, 0);
    take_all_and_expect_none(frame.v);
}
