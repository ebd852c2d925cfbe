// SPDX-License-Identifier: Apache-2.0
// See kernel/smp.h. One call at a time is on its way to a CPU; who wants to place another waits,
// and while it waits it answers what others ask of it, so that two CPUs that call each other both
// go on.
#include "kernel/smp.h"

#include "arch/features.h"
#include "arch/lapic.h"
#include "arch/mitigation.h"
#include "arch/smp.h"
#include "arch/topology.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/log.h"
#include "kernel/machine_check.h"
#include "kernel/quota.h"
#include "kernel/scheduler.h"
#include "kernel/timer.h"
#include "kernel/vcpu.h"
#include "lib/string.h"

#define AP_WAIT_MS 200u // for a CPU to arrive, after each SIPI

// Whether a CPU that was told to start is still waited for (cpu->admission).
enum admission { ADMISSION_OPEN = 0, ADMISSION_ARRIVED, ADMISSION_CLOSED };

struct cpu *cpu_table[CPU_COUNT_MAX];
uint32_t cpu_count;

struct call {
    void (*function)(void *);
    void *opaque;
};

// Slots by target CPU: taken by the caller (`is_taken`), answered by the target (`call` NULL
// again).
static struct {
    uint32_t is_taken;       // atomic
    const struct call *call; // atomic
} slots[CPU_COUNT_MAX];

// One CPU at a time makes the others stand still. They do so wherever they answer, so without a
// lock. Each stop has a number of its own: who is on its way out of the one before does not count
// in the next.
static struct {
    uint32_t is_taken; // atomic
    uint32_t number;   // odd: the others shall stand still (atomic)
    uint32_t standing; // CPUs that do, in this one (atomic)
} stop;

static void stand(void) {
    uint32_t number = __atomic_load_n(&stop.number, __ATOMIC_ACQUIRE);
    if (number % 2 == 0)
        return;
    __atomic_add_fetch(&stop.standing, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&stop.number, __ATOMIC_ACQUIRE) == number)
        x86_pause();
}

void smp_interrupt(void) {
    stand();
    const struct call **slot = &slots[cpu_current()->index].call;
    const struct call *call = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (call == NULL)
        return;
    call->function(call->opaque);
    __atomic_store_n(slot, NULL, __ATOMIC_RELEASE);
}

void smp_call(struct cpu *cpu, void (*function)(void *), void *opaque) {
    const struct call call = {function, opaque};
    if (cpu == cpu_current()) {
        function(opaque);
        return;
    }
    while (__atomic_exchange_n(&slots[cpu->index].is_taken, 1, __ATOMIC_ACQUIRE) != 0) {
        smp_interrupt();
        x86_pause();
    }
    __atomic_store_n(&slots[cpu->index].call, &call, __ATOMIC_RELEASE);
    lapic_send(cpu->apic_id, VECTOR_WAKE);
    while (__atomic_load_n(&slots[cpu->index].call, __ATOMIC_ACQUIRE) != NULL) {
        smp_interrupt();
        x86_pause();
    }
    __atomic_store_n(&slots[cpu->index].is_taken, 0, __ATOMIC_RELEASE);
}

void smp_stop_and_call(void (*function)(void *), void *opaque) {
    while (__atomic_exchange_n(&stop.is_taken, 1, __ATOMIC_ACQUIRE) != 0)
        smp_interrupt();
    __atomic_store_n(&stop.standing, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&stop.number, 1, __ATOMIC_ACQ_REL);
    for (uint32_t i = 0; i < cpu_count; i++)
        if (cpu_table[i] != cpu_current())
            lapic_send(cpu_table[i]->apic_id, VECTOR_WAKE);
    while (__atomic_load_n(&stop.standing, __ATOMIC_ACQUIRE) != cpu_count - 1)
        x86_pause();
    function(opaque);
    __atomic_add_fetch(&stop.number, 1, __ATOMIC_RELEASE);
    __atomic_store_n(&stop.is_taken, 0, __ATOMIC_RELEASE);
}

// SDM 3A 4.10.4.1 "Operations that Invalidate TLBs and Paging-Structure Caches": a change of PGE,
// either way, takes global ones and those of all PCIDs, too.
static void flush_all(void *opaque) {
    (void)opaque;
    uint64_t cr4 = x86_read_cr4();
    x86_write_cr4(cr4 ^ CR4_PGE);
    x86_write_cr4(cr4);
}

void smp_flush_root(hpa_t root) {
    // A CPU that takes the root up after this look loads CR3 then, and remembers nothing older.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < cpu_count; i++)
        if (__atomic_load_n(&cpu_table[i]->root, __ATOMIC_SEQ_CST) == root.v)
            smp_call(cpu_table[i], flush_all, NULL);
}

void smp_flush_all(void) {
    for (uint32_t i = 0; i < cpu_count; i++)
        smp_call(cpu_table[i], flush_all, NULL);
}

// A CPU, its tables and idle thread. NULL: no memory.
static struct cpu *make_cpu(uint32_t apic_id) {
    static uint32_t slot; // the boot CPU has 0
    uint64_t stacks[4];
    struct cpu *cpu = kernel_page_alloc();
    _Static_assert(sizeof(struct cpu) <= PAGE_SIZE, "one page");
    if (cpu == NULL)
        return NULL;
    cpu->index = cpu_count;
    cpu->slot = slot++;
    cpu->apic_id = apic_id;
    if (!kspace_cpu_init(cpu))
        return NULL;
    for (unsigned i = 0; i < ARRAY_COUNT(stacks); i++) {
        uint64_t top = kspace_stack_alloc(quota_root());
        if (top == 0)
            return NULL;
        *(struct cpu **)(top - 8) = cpu;
        stacks[i] = top - 16;
    }
    descriptors_init(cpu, stacks);
    timer_init_cpu(cpu);
    scheduler_init_cpu(cpu);
    cpu->host_region = kernel_page_alloc();
    return cpu->host_region != NULL ? cpu : NULL;
}

void smp_init_boot_cpu(uint32_t apic_id) {
    struct cpu *cpu = make_cpu(apic_id);
    if (cpu == NULL)
        halt_machine("no memory for the boot CPU's tables");
    topology_add(cpu);
    cpu_table[cpu_count++] = cpu;
    descriptors_load(cpu);
}

static bool init_this_cpu(struct cpu *cpu) {
    features_enable();
    // Whatever the firmware added: the boot CPU's is 0, too.
    if (cpu_features.has_tsc_adjust)
        x86_wrmsr(MSR_TSC_ADJUST, 0);
    descriptors_load(cpu);
    machine_check_init_cpu();
    lapic_init_cpu();
    mitigation_init_cpu();
    paging_load_root(kspace_kernel_root());
    const char *refusal = vcpu_backend != NULL ? vcpu_backend->cpu_init(cpu) : NULL;
    if (refusal != NULL)
        log_line("CPU %u cannot run guests: %s", cpu->index, refusal);
    return refusal == NULL;
}

// On the kernel's root: an SMI alone has that walked again.
static _Noreturn void stay_behind(void) {
    for (;;)
        x86_hlt();
}

// What each CPU does for itself, the boot CPU too once its local APIC is known.
_Noreturn void smp_ap_main(void) {
    struct cpu *cpu = cpu_current();
    uint32_t expected = ADMISSION_OPEN;
    if (!__atomic_compare_exchange_n(&cpu->admission, &expected, ADMISSION_ARRIVED, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        stay_behind();
    bool is_good = features_compare(cpu->apic_id) && init_this_cpu(cpu);
    __atomic_store_n(&cpu->is_online, is_good, __ATOMIC_RELEASE);
    __atomic_store_n(&cpu->has_arrived, true, __ATOMIC_RELEASE);
    if (!is_good)
        stay_behind();
    tsc_answer();
    scheduler_run();
}

static bool wait_arrival(const struct cpu *cpu) {
    uint64_t end = x86_rdtsc() + tsc_hz / 1000 * AP_WAIT_MS;
    while (!__atomic_load_n(&cpu->has_arrived, __ATOMIC_ACQUIRE)) {
        if (x86_rdtsc() > end)
            return false;
        x86_pause();
    }
    return true;
}

static void trampoline_fill(hpa_t frame, uint64_t stack) {
    uint8_t *page = kspace_window(frame);
    memcpy(page, trampoline_begin, (size_t)(trampoline_end - trampoline_begin));
    *(uint64_t *)(page + ((const uint8_t *)&trampoline_root - trampoline_begin)) =
        kspace_kernel_root().v;
    *(uint64_t *)(page + ((const uint8_t *)&trampoline_stack - trampoline_begin)) = stack;
    kspace_window_close();
}

static void compare_tsc(const struct cpu *cpu) {
    int64_t ahead = tsc_compare();
    if (ahead != 0)
        log_line("CPU %u: its TSC is %ld ticks ahead, so times may jump (update the firmware)",
                 cpu->index, ahead);
}

static void start_one(hpa_t low_page, uint32_t apic_id) {
    struct cpu *cpu = make_cpu(apic_id);
    uint64_t stack = kspace_stack_alloc(quota_root());
    if (cpu == NULL || stack == 0) {
        log_line("no memory for the CPU with APIC ID %u", apic_id);
        return;
    }
    *(struct cpu **)(stack - 8) = cpu;
    trampoline_fill(low_page, stack - 16);
    lapic_send(apic_id, LAPIC_INIT);
    lapic_send(apic_id, LAPIC_STARTUP | low_page.v >> PAGE_SHIFT);
    if (!wait_arrival(cpu)) {
        lapic_send(apic_id, LAPIC_STARTUP | low_page.v >> PAGE_SHIFT);
        uint32_t expected = ADMISSION_OPEN;
        if (!wait_arrival(cpu) &&
            __atomic_compare_exchange_n(&cpu->admission, &expected, ADMISSION_CLOSED, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
            lapic_send(apic_id, LAPIC_INIT); // from now on it waits
            log_line("the CPU with APIC ID %u does not start: left out", apic_id);
            return;
        }
        while (!wait_arrival(cpu))
            x86_pause();
    }
    if (!cpu->is_online)
        return;
    compare_tsc(cpu);
    topology_add(cpu);
    cpu_table[cpu_count++] = cpu;
}

void smp_start(const struct boot_cpu *cpus, uint32_t count, hpa_t low_page) {
    if (count > 1 && low_page.v == 0)
        log_line("no memory below 1 MiB to start other CPUs: going on with one");
    for (uint32_t i = 0; i < count && low_page.v != 0; i++)
        if (cpus[i].apic_id != cpu_table[0]->apic_id && cpu_count < CPU_COUNT_MAX)
            start_one(low_page, cpus[i].apic_id);
    // Of the lower half the kernel's root had the trampoline's page alone.
    *(uint64_t *)frame_to_kernel(kspace_kernel_root()) = 0;
    smp_flush_all();
}

void smp_stop_others(void) {
    for (uint32_t i = 0; i < cpu_count; i++)
        if (cpu_table[i] != cpu_current())
            lapic_send(cpu_table[i]->apic_id, LAPIC_NMI);
}
