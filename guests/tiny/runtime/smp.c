// SPDX-License-Identifier: Apache-2.0
// The interface is told in smp.h; the trampoline stands in trampoline.S.
#include "runtime/smp.h"

#include "lib/string.h"
#include "runtime/acpi.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define MADT_ENTRIES 44u
#define MADT_LAPIC   0u
#define MADT_X2APIC  9u
#define MADT_ENABLED 1u

// SDM 3A 8.4.4.1 "Typical BSP Initialization Sequence" waits 10 ms and 200 us; a virtual processor
// needs neither.
#define INIT_WAIT_US 100u

#define SPINS_BEFORE_NAP 2000u
#define NAP_US           200u

extern uint8_t trampoline_begin[], trampoline_end[];
extern uint32_t trampoline_cr3;
_Noreturn void smp_entry(uint32_t id);

uint32_t smp_count = 1;
struct smp_cpu smp_cpus[SMP_CPUS_MAX];
uint8_t *smp_stacks; // for the trampoline
static bool is_wide;
static uint32_t madt_ids[SMP_CPUS_MAX];

// ---- who is there -------------------------------------------------------------------------------

void smp_find(void) {
    const uint8_t *madt = acpi_find("APIC");
    uint32_t count = 0;
    const uint8_t *end = madt + acpi_field(madt, 4, 4);
    for (const uint8_t *at = madt + MADT_ENTRIES; at < end && at[1] >= 2; at += at[1]) {
        bool is_old = at[0] == MADT_LAPIC, is_new = at[0] == MADT_X2APIC;
        if (!(is_old || is_new) || !(acpi_field(at, is_old ? 4 : 8, 4) & MADT_ENABLED))
            continue;
        if (count < SMP_CPUS_MAX)
            madt_ids[count] = is_old ? at[3] : (uint32_t)acpi_field(at, 4, 4);
        count++;
    }
    smp_count = count;
}

static void check_processors(void) {
    smp_find();
    if (smp_count == 1) {
        print("only one processor\n");
        debug_exit(SMP_TOO_FEW);
    }
    CHECK_EQ(smp_count, cmdline_number("cpus"));
    CHECK(smp_count <= SMP_CPUS_MAX);
    for (uint32_t i = 0; i < smp_count && i < SMP_CPUS_MAX; i++)
        CHECK_EQ(madt_ids[i], i);
}

// ---- starting -----------------------------------------------------------------------------------

static void on_wake(struct trap_frame *frame) {
    (void)frame;
    smp_cpus[smp_self()].is_called = 1;
    lapic_eoi();
}

static void on_nap(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

// Puts the number where smp_self finds it.
static void set_self(uint32_t index) {
    smp_cpus[index].index = index;
    wrmsr(MSR_GS_BASE, (uintptr_t)&smp_cpus[index]);
}

static void prepare_timer(void) {
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    lapic_write(LAPIC_LVT_TIMER, SMP_NAP_VECTOR);
}

_Noreturn static void idle(struct smp_cpu *cpu) {
    for (;;) {
        interrupts_off();
        if (!cpu->is_called) {
            interrupts_on_and_halt();
            continue;
        }
        cpu->is_called = 0;
        interrupts_on();
        if (cpu->function != NULL)
            cpu->function();
        cpu->function = NULL;
        __atomic_store_n(&cpu->is_busy, 0, __ATOMIC_SEQ_CST);
    }
}

// From the trampoline, on the processor's own stack.
_Noreturn void smp_entry(uint32_t id) {
    struct smp_cpu *cpu = &smp_cpus[id];
    cpu->first_apic_base = rdmsr(MSR_APIC_BASE);
    cpu->first_svr = lapic_read(LAPIC_SVR);
    cpu->first_tpr = lapic_read(LAPIC_TPR);
    trap_init_cpu(id);
    set_self(id);
    lapic_init(is_wide);
    prepare_timer();
    cpu->function = NULL;
    cpu->is_busy = cpu->is_called = 0;
    smp_add(&cpu->start_count);
    idle(cpu);
}

static void place_trampoline(void) {
    trampoline_cr3 = (uint32_t)read_cr3();
    memcpy((void *)(uintptr_t)SMP_TRAMPOLINE, trampoline_begin,
           (size_t)(trampoline_end - trampoline_begin));
    smp_stacks = (uint8_t *)(((uintptr_t)image_end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1));
}

void smp_start(bool is_x2apic) {
    is_wide = is_x2apic;
    check_processors();
    place_trampoline();
    set_self(0);
    trap_set_handler(SMP_WAKE_VECTOR, on_wake);
    trap_set_handler(SMP_NAP_VECTOR, on_nap);
    lapic_init(is_x2apic);
    prepare_timer();
    interrupts_on();
    for (uint32_t i = 1; i < smp_count; i++)
        lapic_send(i, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
    wait_us(INIT_WAIT_US);
    for (uint32_t i = 1; i < smp_count; i++)
        lapic_send(i, LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | SMP_TRAMPOLINE / PAGE_SIZE);
    for (uint32_t i = 1; i < smp_count; i++)
        if (!smp_wait_for(&smp_cpus[i].start_count, 1)) {
            print("FAIL processor %u does not start\n", i);
            debug_exit(1);
        }
}

// ---- work ---------------------------------------------------------------------------------------

void smp_run(uint32_t cpu, smp_function *function) {
    smp_cpus[cpu].is_busy = 1;
    smp_cpus[cpu].function = function;
    lapic_send(cpu, LAPIC_ICR_ASSERT | SMP_WAKE_VECTOR);
}

void smp_run_others(smp_function *function) {
    for (uint32_t i = 0; i < smp_count; i++)
        if (i != smp_self())
            smp_run(i, function);
}

void smp_join(uint32_t cpu) {
    uint64_t end = rdtsc() + tsc_hz() * PATIENCE_S;
    while (smp_cpus[cpu].is_busy) {
        if (rdtsc() > end) {
            print("FAIL processor %u does not end its work\n", cpu);
            debug_exit(1);
        }
        smp_nap_us(NAP_US);
    }
}

void smp_join_others(void) {
    for (uint32_t i = 0; i < smp_count; i++)
        if (i != smp_self())
            smp_join(i);
}

void smp_run_all(smp_function *function) {
    smp_run_others(function);
    function();
    smp_join_others();
}

// ---- waiting ------------------------------------------------------------------------------------

// An interrupt of any kind may cut it short.
void smp_nap_us(uint32_t us) {
    interrupts_off();
    lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)(tsc_hz() * us / 1000000));
    interrupts_on_and_halt();
}

bool smp_wait_for(const volatile uint32_t *counter, uint32_t count) {
    uint64_t end = rdtsc() + tsc_hz() * PATIENCE_S;
    for (uint32_t spins = 0; *counter < count; spins++) {
        if (spins < SPINS_BEFORE_NAP)
            smp_pause();
        else if (rdtsc() > end)
            return *counter >= count; // others may have run since the look before
        else
            smp_nap_us(NAP_US);
    }
    return true;
}

void smp_barrier(struct smp_barrier *barrier, uint32_t count) {
    uint32_t round = barrier->round;
    if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_SEQ_CST) == count) {
        barrier->arrived = 0;
        __atomic_store_n(&barrier->round, round + 1, __ATOMIC_SEQ_CST);
    } else {
        CHECK(smp_wait_for(&barrier->round, round + 1));
    }
}
