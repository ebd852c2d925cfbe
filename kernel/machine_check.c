// SPDX-License-Identifier: Apache-2.0
// See kernel/machine_check.h.
#include "kernel/machine_check.h"

#include "arch/log.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/machine.h"
#include "kernel/process.h"
#include "kernel/thread.h"

// SDM 3B 15.3.1.2 "IA32_MCG_STATUS MSR", 15.3.2.2 "IA32_MCi_STATUS MSRS".
#define MCG_STATUS_RIPV  BIT(0)
#define MCG_STATUS_LOCAL BIT(3)
#define MC_STATUS_VALID  BIT(63)
#define MC_STATUS_MISCV  BIT(59)
#define MC_STATUS_ADDRV  BIT(58)
#define MC_ADDR_FRAME    0x000ffffffffff000ULL
// APM 2 9.3.3 "MCA Configuration Registers": without it an error that was not corrected stops all.
#define CONFIG_MCAX BIT(32)

#define GIVEN (BIT(BOOT_MEMORY_FREE) | BIT(BOOT_MEMORY_LOADER) | BIT(BOOT_MEMORY_MODULE))

#define MEETING_SECONDS 1u // that one CPU waits for the others

enum bank_msr { BANK_CTL, BANK_STATUS, BANK_ADDR, BANK_MISC, BANK_CONFIG };

// Of each CPU, from its start on.
static uint32_t bank_count[CPU_COUNT_MAX];
// Of each CPU: how many meetings it came to, and the severity that it brought to the last (atomic).
static uint32_t met[CPU_COUNT_MAX]; // number * SEVERITY_COUNT + severity
// Of each CPU: the frame that ring 3 or a guest has used there, which is now to end.
static hpa_t used[CPU_COUNT_MAX];

static uint32_t msr_of(uint32_t bank, enum bank_msr msr) {
    return machine.machine_check.first_msr + machine.machine_check.msrs_a_bank * bank + msr;
}

// What is not valid is not read: it may fault.
static struct abi_machine_check read_bank(uint32_t bank) {
    uint64_t status = x86_rdmsr(msr_of(bank, BANK_STATUS));
    struct abi_machine_check b = {.status = (status & MC_STATUS_VALID) != 0 ? status : 0,
                                  .bank = bank};
    b.address = (b.status & MC_STATUS_ADDRV) != 0 ? x86_rdmsr(msr_of(bank, BANK_ADDR)) : 0;
    b.misc = (b.status & MC_STATUS_MISCV) != 0 ? x86_rdmsr(msr_of(bank, BANK_MISC)) : 0;
    return b;
}

void machine_check_print(const char *when) {
    for (uint32_t i = 0; i < bank_count[cpu_current()->index]; i++) {
        struct abi_machine_check b = read_bank(i);
        if (b.status != 0)
            log_line("%s: CPU %u, bank %u: status 0x%lx, address 0x%lx, misc 0x%lx", when,
                     cpu_current()->index, i, b.status, b.address, b.misc);
    }
}

// SDM 3B 15.8 "Machine-Check Initialization".
void machine_check_init_cpu(void) {
    const struct machine_check *m = &machine.machine_check;
    uint32_t own = cpu_current()->index;
    if (m->bank_count == 0)
        return;
    bank_count[own] = MIN(m->bank_count, (uint8_t)x86_rdmsr(MSR_MCG_CAP));
    machine_check_print("a machine check of before the start");
    x86_wrmsr(MSR_MCG_STATUS, 0); // INIT leaves it
    for (uint32_t i = 0; i < bank_count[own]; i++) {
        if (m->has_config)
            x86_wrmsr(msr_of(i, BANK_CONFIG), x86_rdmsr(msr_of(i, BANK_CONFIG)) | CONFIG_MCAX);
        x86_wrmsr(msr_of(i, BANK_STATUS), 0);
        if ((m->controls >> i & 1) != 0)
            x86_wrmsr(msr_of(i, BANK_CTL), UINT64_MAX);
    }
    if (m->has_control)
        x86_wrmsr(MSR_MCG_CTL, UINT64_MAX);
    if (m->has_local)
        x86_wrmsr(MSR_MCG_EXT_CTL, MCG_EXT_CTL_LOCAL);
    met[own] = met[0];
}

// Waits until all CPUs have come, and returns the worst that one of them brought. Nobody comes to
// the next before all have seen this one: a machine check before MCIP is clear resets the machine.
static uint32_t meet(uint32_t worst) {
    uint32_t *own = &met[cpu_current()->index], number = *own / SEVERITY_COUNT + 1;
    uint64_t since = x86_rdtsc();
    __atomic_store_n(own, number * SEVERITY_COUNT + worst, __ATOMIC_RELEASE);
    for (uint32_t i = 0, other; i < cpu_count; i++) {
        while ((other = __atomic_load_n(&met[i], __ATOMIC_ACQUIRE)) / SEVERITY_COUNT < number) {
            if (x86_rdtsc() - since > MEETING_SECONDS * tsc_hz)
                panic("a machine check of all CPUs, and CPU %u does not come", i);
            x86_pause();
        }
        worst = MAX(worst, other % SEVERITY_COUNT);
    }
    return worst;
}

// May a guest or ring 3 have it? What the kernel keeps for them is in the direct map.
static bool is_given(hpa_t frame) {
    bool is_theirs = false;
    for (const struct boot_memory *r = machine_memory; r < machine_memory + machine.memory_count;
         r++)
        is_theirs |= frame.v - r->base < r->length && (GIVEN >> r->type & 1) != 0;
    return is_theirs && !kspace_is_direct(frame);
}

bool machine_check_handle(bool is_kernel) {
    const struct machine_check *m = &machine.machine_check;
    uint64_t global = m->bank_count != 0 ? x86_rdmsr(MSR_MCG_STATUS) : 0, done = 0;
    uint32_t worst = SEVERITY_NONE, own = cpu_current()->index;
    for (uint32_t i = 0; i < bank_count[own]; i++) {
        struct abi_machine_check b = read_bank(i);
        uint32_t severity = machine_check_judge(m, global, &b);
        hpa_t frame = {b.address & MC_ADDR_FRAME};
        used[own] = worst == SEVERITY_CONSUMED ? used[own] : frame; // the first that was consumed
        if (severity == SEVERITY_CONSUMED &&
            (is_kernel || frame.v != used[own].v || !is_given(frame)))
            severity = SEVERITY_FATAL;
        done |= severity > SEVERITY_OPTIONAL ? BIT(i) : 0; // what is not, is polled
        worst = MAX(worst, severity);
    }
    if ((global & MCG_STATUS_RIPV) == 0 && worst != SEVERITY_CONSUMED)
        worst = SEVERITY_FATAL;
    bool is_awaited = cpu_table[own] == cpu_current(); // not one that was left off
    bool is_met = is_awaited && m->is_broadcast && (global & MCG_STATUS_LOCAL) == 0;
    uint32_t all = is_met ? meet(worst) : worst;
    bool is_nobodys = is_awaited && (all == SEVERITY_NONE || all == SEVERITY_OTHERS);
    if (worst == SEVERITY_FATAL || is_nobodys)
        panic("machine check in %s%s", is_kernel ? "the kernel" : "a guest or ring 3",
              is_nobodys ? ", and no bank says whose" : "");
    if (all == SEVERITY_FATAL)
        for (;;)
            x86_pause(); // who brought it panics, and stops this CPU
    for (uint32_t i = 0; is_awaited && i < bank_count[own]; i++) // who is not may be too early
        if ((done >> i & 1) != 0)
            x86_wrmsr(msr_of(i, BANK_STATUS), 0);
    if (worst != SEVERITY_CONSUMED)
        x86_wrmsr(MSR_MCG_STATUS, 0); // last: from here on there may be another
    return worst == SEVERITY_CONSUMED;
}

// The next machine check begins at the top of the stack that this one began on. There it finds
// nothing that is needed still, as we are on the thread's.
void machine_check_end(void) {
    hpa_t frame = used[cpu_current()->index];
    const struct abi_process_status status = {
        .state = ABI_PROCESS_FAULTED, .vector = EXC_MC, .address = frame.v};
    x86_wrmsr(MSR_MCG_STATUS, 0);
    frame_withdraw(frame);
    process_end(thread_current()->process, &status);
}

_Noreturn void machine_check_leave(void) {
    machine_check_end();
    thread_exit();
}

void machine_check_poll(void *report) {
    struct abi_machine_check *b = report;
    *b = (struct abi_machine_check){0};
    for (uint32_t i = 0; b->status == 0 && i < bank_count[cpu_current()->index]; i++) {
        *b = read_bank(i);
        if (machine_check_judge(&machine.machine_check, 0, b) > SEVERITY_OPTIONAL)
            b->status = 0; // the exception's
        else
            x86_wrmsr(msr_of(i, BANK_STATUS), 0);
    }
}
