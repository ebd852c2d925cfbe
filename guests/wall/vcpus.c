// SPDX-License-Identifier: Apache-2.0
// A VM whose VMM is at war with itself: two threads run one vCPU, others rewrite the vCPUs' pages
// while the kernel reads them, unmap and map the guest's memory under it, write whole state,
// signal, interrupt, bind doorbells, and close handles in use. The mother kills all of it at any
// time. The guest does what exits, and needs no luck to live on: it is set up anew.
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define LIVES       30u  // a round,
#define LIVES_MORE  900u // and at most as many more, until the guest got somewhere
#define LIFE_US_MIN 10000u
#define LIFE_US_MAX 80000u
#define QUOTA       (3ULL << 20)
#define STACK_SIZE  (4 * ABI_PAGE) // a vCPU's registers stand on it
#define VCPUS       2u
#define RAM_SIZE    (16 * ABI_PAGE)
#define RAM_AT      0x5000000000ULL
#define PAGES_AT    0x5100000000ULL
#define STACKS_AT   (CHILD_OWN + ABI_PAGE)
#define STATE_AT    (STACKS_AT + ROLES * STACK_SIZE)
#define DOORBELL    0x80u

// Guest-physical.
#define GUEST_PML4    0x1000u
#define GUEST_PDPT    0x2000u
#define GUEST_PD      0x3000u
#define GUEST_CODE    0x8000u
#define GUEST_STACK   0xf000u
#define GUEST_NOWHERE 0x200000u // 2 MiB of addresses where nothing is
#define GUEST_WORDS   48u       // instructions of its loop

#define CR0_START       0x80000031ULL // PE, ET, NE, PG
#define CR4_PAE         0x20ULL
#define EFER_LONG       0x500ULL // LME, LMA
#define ATTRIBUTES_CODE 0xa09bu // SDM 3C 25.4.1 "Guest Register State": 64-bit code, data, busy TSS
#define ATTRIBUTES_DATA 0xc093u
#define ATTRIBUTES_TSS  0x8bu

enum role { RUN_0, RUN_0_TOO, RUN_1, REWRITE, REMAP, STATE, SIGNAL, HANDLES, ROLES };

// At CHILD_OWN, in a page.
struct own {
    uint64_t seed;
    uint32_t quota, event;
    uint32_t vm, ram;
    uint32_t vcpu[VCPUS];
    struct vcpu_registers reset[VCPUS]; // as they are born
    uint32_t is_ready;                  // all of it is there (atomic)
    uint64_t runs, refused_runs;        // atomic
    uint32_t runner[VCPUS];             // the role that ran it first, from 1 (atomic)
    uint64_t thefts;                    // runs by another (atomic)
    uint64_t exits[20];                 // by enum vcpu_exit (atomic)
    uint64_t failures[8];               // by enum vcpu_failure (atomic)
    uint64_t maps, states, apics;       // that worked (atomic)
    uint64_t nowhere, refused;          // entries that came to nothing; of them, by an error
};

_Static_assert(sizeof(struct own) <= ABI_PAGE, "STACKS_AT");

static void count(uint64_t *counter) {
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

// ---- the guest ----------------------------------------------------------------------------------

// What exits, or changes what the kernel watches.
static uint32_t write_instruction(struct dice *dice, uint8_t *to) {
    static const uint8_t code[][8] = {
        {2, 0x0f, 0xa2},
        {2, 0xe6, 0x80},
        {2, 0xe4, 0x71},
        {1, 0xee},
        {1, 0xed},
        {1, 0x6e},
        {2, 0x0f, 0x31},
        {1, 0xf4},
        {2, 0xf3, 0x90},
        {2, 0x0f, 0x32},
        {2, 0x0f, 0x30},
        {3, 0x0f, 0x20, 0xc0},
        {3, 0x0f, 0x22, 0xc0},
        {3, 0x0f, 0x22, 0xe0},
        {4, 0x44, 0x0f, 0x22, 0xc0},
        {3, 0x0f, 0x01, 0xd1},
        {2, 0x0f, 0x09},
        {2, 0x0f, 0x06},
        {3, 0x48, 0x89, 0x03},
        {3, 0x48, 0x8b, 0x03},
        {4, 0xf0, 0x48, 0x01, 0x03},
        {3, 0xf3, 0x48, 0xab},
        {3, 0x0f, 0x01, 0xc1},
        {1, 0xfb},
        {1, 0xfa},
        {3, 0x0f, 0x01, 0xf9},
        {1, 0x9d},
        {3, 0x0f, 0x23, 0xf8},
        {6, 0x0f, 0x20, 0xe0, 0x0f, 0x22,
         0xe0}, // CR4 as it is: with AMD-V an exception comes first
    };
    const uint8_t *row = code[dice_below(dice, dice_one_in(dice, 3) ? ARRAY_COUNT(code) : 9)];
    memcpy(to, row + 1, row[0]);
    return row[0];
}

static void write_guest(struct dice *dice) {
    uint8_t *ram = (uint8_t *)RAM_AT;
    const uint64_t table = 0x27, large = 0xe7; // present, writable, user, accessed, dirty; of 2 MiB
    *(uint64_t *)(void *)(ram + GUEST_PML4) = GUEST_PDPT | table;
    *(uint64_t *)(void *)(ram + GUEST_PDPT) = GUEST_PD | table;
    *(uint64_t *)(void *)(ram + GUEST_PD) = large;
    *(uint64_t *)(void *)(ram + GUEST_PD + 8) = GUEST_NOWHERE | large;
    uint32_t at = GUEST_CODE;
    for (uint32_t i = 0; i < GUEST_WORDS; i++)
        at += write_instruction(dice, ram + at);
    const int32_t back = (int32_t)(GUEST_CODE - (at + 5));
    ram[at] = 0xe9;
    memcpy(ram + at + 1, &back, sizeof(back));
}

static void set_registers(struct dice *dice, struct vcpu_registers *r) {
    const struct vcpu_segment data = {0x18, ATTRIBUTES_DATA, UINT32_MAX, 0};
    for (uint32_t i = 0; i < 16; i++)
        r->gpr[i] = dice_value(dice);
    r->gpr[4] = GUEST_STACK;
    r->gpr[3] = dice_one_in(dice, 2) ? GUEST_NOWHERE : GUEST_STACK;
    r->rip = GUEST_CODE;
    r->rflags = 2;
    r->cr0 = CR0_START;
    r->cr3 = GUEST_PML4;
    r->cr4 = CR4_PAE;
    r->efer = EFER_LONG;
    r->cs = (struct vcpu_segment){0x10, ATTRIBUTES_CODE, UINT32_MAX, 0};
    r->ds = r->es = r->ss = r->fs = r->gs = data;
    r->tr = (struct vcpu_segment){0x20, ATTRIBUTES_TSS, 0x67, 0};
    r->ldtr = (struct vcpu_segment){.attributes = VCPU_SEGMENT_UNUSABLE};
    r->activity = VCPU_ACTIVE;
    r->interruptibility = 0;
    r->has_pending = 0;
    // In the last page of RAM, while others unmap it, or beyond.
    r->pvtime_steal = dice_one_in(dice, 2) ? (GUEST_STACK + 64 * dice_below(dice, 128)) | 1 : 0;
    // What a VMM keeps from its guest is its own affair.
    r->cr0_own = dice_one_in(dice, 2) ? UINT64_MAX : dice_value(dice);
    r->cr4_own = dice_one_in(dice, 2) ? UINT64_MAX : dice_value(dice);
    r->spec_ctrl_own = dice_value(dice);
}

static void restart(struct own *self, struct dice *dice, uint32_t vcpu) {
    struct vcpu_registers registers = self->reset[vcpu];
    set_registers(dice, &registers);
    (void)sys_vcpu_write(self->vcpu[vcpu], VCPU_STATE_REGISTERS, &registers, sizeof(registers));
}

// ---- the child's threads ------------------------------------------------------------------------

static int64_t map_ram(const struct own *self) {
    return sys_vm_map(self->vm, self->ram, 0, 0, RAM_SIZE,
                      ABI_RIGHT_READ | ABI_RIGHT_WRITE | ABI_RIGHT_EXECUTE);
}

// What the host has, so that long mode is allowed.
static void set_cpuid(const struct own *self) {
    static const uint32_t leaves[] = {0, 1, 7, 0xd, 0x80000000, 0x80000001, 0x80000008};
    struct abi_cpuid table[ARRAY_COUNT(leaves)];
    for (uint32_t i = 0; i < ARRAY_COUNT(leaves); i++) {
        struct abi_cpuid *row = &table[i];
        *row = (struct abi_cpuid){.leaf = leaves[i], .subleaf = ABI_CPUID_ANY_SUBLEAF};
        __asm__ volatile("cpuid"
                         : "=a"(row->eax), "=b"(row->ebx), "=c"(row->ecx), "=d"(row->edx)
                         : "0"(leaves[i]), "2"(0));
    }
    (void)sys_vm_cpuid(self->vm, table, ARRAY_COUNT(leaves));
}

static bool make_vm(struct own *self, struct dice *dice) {
    int64_t vm = sys_vm_create(self->quota, 0), ram = sys_memory_create(self->quota, RAM_SIZE);
    self->vm = (uint32_t)vm;
    self->ram = (uint32_t)ram;
    bool is_good =
        vm > 0 && ram > 0 && map_ram(self) == 0 &&
        sys_process_map(0, self->ram, RAM_AT, 0, RAM_SIZE, ABI_RIGHT_READ | ABI_RIGHT_WRITE) == 0;
    set_cpuid(self);
    for (uint32_t i = 0; i < VCPUS && is_good; i++) {
        int64_t vcpu = sys_vcpu_create(self->vm, i),
                page = vcpu > 0 ? sys_vcpu_page((uint32_t)vcpu) : vcpu;
        self->vcpu[i] = (uint32_t)vcpu;
        is_good = page > 0 && sys_process_map(0, (uint32_t)page, PAGES_AT + i * ABI_PAGE, 0,
                                              ABI_PAGE, ABI_RIGHT_READ | ABI_RIGHT_WRITE) == 0;
    }
    if (!is_good)
        return false;
    write_guest(dice);
    for (uint32_t i = 0; i < VCPUS; i++) {
        (void)sys_vcpu_read(self->vcpu[i], VCPU_STATE_REGISTERS, &self->reset[i],
                            sizeof(self->reset[i]));
        restart(self, dice, i);
    }
    return true;
}

// As a VMM would, but for what it makes of an exit.
static void run_once(struct own *self, struct dice *dice, uint32_t vcpu, enum role role) {
    volatile struct vcpu_page *page = (volatile struct vcpu_page *)(PAGES_AT + vcpu * ABI_PAGE);
    if (sys_vcpu_run(self->vcpu[vcpu]) < 0) {
        count(&self->refused_runs);
        (void)sys_thread_yield();
        return;
    }
    count(&self->runs);
    uint32_t runner = 0;
    bool is_first = __atomic_compare_exchange_n(&self->runner[vcpu], &runner, role + 1, false,
                                                __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    if (!is_first && runner != role + 1)
        count(&self->thefts);
    uint32_t exit = page->exit;
    count(&self->exits[exit % ARRAY_COUNT(self->exits)]);
    if (exit == VCPU_EXIT_FAILED)
        count(&self->failures[page->failure % ARRAY_COUNT(self->failures)]);
    bool is_lost = exit == VCPU_EXIT_SHUTDOWN || exit == VCPU_EXIT_FAILED;
    if (is_lost || (exit == VCPU_EXIT_MEMORY && dice_one_in(dice, 2))) {
        restart(self, dice, vcpu);
        return;
    }
    if (sys_vcpu_apic_read(self->vcpu[vcpu], 16 * dice_below(dice, 64)) >= 0 &&
        sys_vcpu_apic_write(self->vcpu[vcpu], 16 * dice_below(dice, 64),
                            (uint32_t)dice_value(dice)) >= 0)
        count(&self->apics);
    if (exit == VCPU_EXIT_CONTROL && dice_one_in(dice, 2)) {
        page->dirty = VCPU_DIRTY_CONTROL;
        return;
    }
    // AMD-V may tell no length; MOV to a control register and most stores have three bytes.
    uint8_t length = (uint8_t)page->instruction_length;
    page->rip += length != 0 ? length : 3u;
    page->dirty = VCPU_DIRTY_RIP;
}

// RIPs where no address is, before the others join in. VM entry wants bits 48 to 63 to be equal,
// not bit 47 (SDM 3C 27.3.1.4 "Checks on Guest RIP, RFLAGS, and SSP"); the emulator refuses none.
// A guest that is let in begins with a #GP, which it has no handler for.
static void enter_nowhere(struct own *self, struct dice *dice) {
    static const uint64_t nowhere[] = {0x0000800000000000, 0x0001000000000000, 0xffff7fffffffffff};
    volatile struct vcpu_page *page = (volatile struct vcpu_page *)PAGES_AT;
    for (uint32_t i = 0; i < ARRAY_COUNT(nowhere); i++) {
        do {
            page->rip = nowhere[i];
            page->dirty = VCPU_DIRTY_RIP;
        } while (sys_vcpu_run(self->vcpu[0]) == 0 && page->exit == VCPU_EXIT_KICKED);
        bool is_refused = page->exit == VCPU_EXIT_FAILED && page->failure == VCPU_FAILURE_ENTRY;
        self->refused += is_refused;
        self->failures[VCPU_FAILURE_ENTRY] += is_refused;
        bool is_dead = page->exit == VCPU_EXIT_SHUTDOWN && page->rip == nowhere[i];
        self->nowhere += is_refused || is_dead;
        restart(self, dice, 0);
    }
}

// States that no processor enters with, before the others join in, too: CR3 has bits that no
// address has. AMD-V looks at them in long mode alone.
static void enter_refused(struct own *self, struct dice *dice) {
    volatile struct vcpu_page *page = (volatile struct vcpu_page *)PAGES_AT;
    for (uint32_t i = 0; i < 8; i++) {
        struct vcpu_registers registers = self->reset[0];
        set_registers(dice, &registers);
        registers.cr3 = BIT(51);
        (void)sys_vcpu_write(self->vcpu[0], VCPU_STATE_REGISTERS, &registers, sizeof(registers));
        while (sys_vcpu_run(self->vcpu[0]) == 0 && page->exit == VCPU_EXIT_KICKED) {
        }
        self->failures[VCPU_FAILURE_ENTRY] +=
            page->exit == VCPU_EXIT_FAILED && page->failure == VCPU_FAILURE_ENTRY;
        restart(self, dice, 0);
    }
}

static void rewrite(struct dice *dice) {
    volatile uint64_t *words = (volatile uint64_t *)(PAGES_AT + dice_below(dice, VCPUS) * ABI_PAGE);
    // Mostly the general registers alone: with a random RIP the guest does not get far.
    uint32_t limit = dice_one_in(dice, 16) ? sizeof(struct vcpu_page) / sizeof(*words) : 16;
    for (uint32_t i = 0; i < 16; i++)
        words[dice_below(dice, limit)] = dice_value(dice);
    if (dice_one_in(dice, 4))
        (void)sys_thread_yield();
}

static void remap(struct own *self, struct dice *dice) {
    if (sys_vm_unmap(self->vm, 0, RAM_SIZE) == 0)
        count(&self->maps);
    if (dice_one_in(dice, 4))
        (void)sys_thread_yield();
    (void)map_ram(self);
    for (uint32_t i = dice_below(dice, 16); i > 0; i--)
        (void)sys_thread_yield();
}

static void change_state(struct own *self, struct dice *dice) {
    static const uint64_t sizes[] = {sizeof(struct vcpu_registers), sizeof(struct vcpu_apic),
                                     ABI_XSAVE_SIZE, sizeof(struct vcpu_registers)};
    uint64_t *state = (uint64_t *)STATE_AT;
    uint32_t vcpu = self->vcpu[dice_below(dice, VCPUS)],
             group = dice_below(dice, ARRAY_COUNT(sizes));
    if (sys_vcpu_read(vcpu, (enum vcpu_state_group)group, state, sizes[group]) < 0)
        return;
    for (uint32_t i = dice_one_in(dice, 4) ? dice_below(dice, 4) : 0; i > 0; i--)
        state[dice_below(dice, (uint32_t)(sizes[group] / sizeof(uint64_t)))] = dice_value(dice);
    if (sys_vcpu_write(vcpu, (enum vcpu_state_group)group, state, sizes[group]) == 0)
        count(&self->states);
    for (uint32_t i = dice_below(dice, 16); i > 0; i--)
        (void)sys_thread_yield();
}

static void signal(struct own *self, struct dice *dice) {
    uint32_t vcpu = self->vcpu[dice_below(dice, VCPUS)];
    // INIT and SIPI seldom: the guest would not get far.
    uint32_t modes = dice_one_in(dice, 64) ? 0xc7ff : 0xc0ff;
    (void)sys_vcpu_signal(vcpu, (enum vcpu_signal)dice_below(dice, 4), dice_below(dice, 2));
    (void)sys_vm_interrupt(self->vm, 0xfee00000 | (dice_below(dice, 1u << 20) & ~3u),
                           (uint32_t)dice_roll(dice) & modes);
    (void)sys_vm_doorbell(self->vm, DOORBELL, dice_one_in(dice, 2) ? self->event : 0,
                          dice_roll(dice));
}

static void copy_handles(struct own *self, struct dice *dice) {
    uint32_t *vcpu = &self->vcpu[dice_below(dice, VCPUS)],
             old = __atomic_load_n(vcpu, __ATOMIC_RELAXED);
    int64_t copy = sys_handle_copy(0, old, ABI_RIGHTS_ALL, UINT64_MAX);
    if (copy <= 0)
        return;
    __atomic_store_n(vcpu, (uint32_t)copy, __ATOMIC_RELAXED);
    (void)sys_handle_close(old); // which others just read
    int64_t page = sys_vcpu_page((uint32_t)copy);
    if (page > 0)
        (void)sys_handle_close((uint32_t)page);
}

static void act(struct own *self, struct dice *dice, enum role role) {
    switch (role) {
    case RUN_0:
    case RUN_0_TOO:
        run_once(self, dice, 0, role);
        break;
    case RUN_1:
        run_once(self, dice, 1, role);
        break;
    case REWRITE:
        rewrite(dice);
        break;
    case REMAP:
        remap(self, dice);
        break;
    case STATE:
        change_state(self, dice);
        break;
    case SIGNAL:
        signal(self, dice);
        break;
    default:
        copy_handles(self, dice);
        break;
    }
}

_Noreturn static void take_role(uint64_t role) {
    struct own *self = (struct own *)CHILD_OWN;
    struct dice dice = {self->seed * ROLES + role};
    if (role == RUN_0) {
        if (!make_vm(self, &dice))
            sys_process_exit(1);
        enter_nowhere(self, &dice);
        enter_refused(self, &dice);
        __atomic_store_n(&self->is_ready, 1, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&self->is_ready, __ATOMIC_ACQUIRE) == 0)
        (void)sys_thread_yield();
    for (;;)
        act(self, &dice, (enum role)role);
}

// ---- the mother ---------------------------------------------------------------------------------

static struct own sum; // of all lives

static void live(struct dice *dice, const struct area *area) {
    struct child child;
    struct abi_process_status status;
    struct own *own = (struct own *)(void *)area->at;
    memset(area->at, 0, area->size);
    child_open(&child, QUOTA);
    child_map(&child, area, CHILD_OWN, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    own->seed = dice_roll(dice);
    own->quota = child_give(&child, child.quota, ABI_RIGHT_READ | ABI_RIGHT_CREATE);
    own->event = child_give(&child, child.event, ABI_RIGHT_SIGNAL);
    for (uint64_t role = 0; role < ROLES; role++)
        child_start(&child, (uintptr_t)take_role, STACKS_AT + (role + 1) * STACK_SIZE, role);
    bool has_ended =
        child_wait(&child, LIFE_US_MIN + dice_below(dice, LIFE_US_MAX - LIFE_US_MIN), &status);
    CHECK(!has_ended, "ended by itself: state %u status %u vector %u at 0x%lx, address 0x%lx",
          status.state, status.status, status.vector, status.rip, status.address);
    CHECK(own->thefts == 0, "a vCPU was run by two threads");
    child_close(&child);
    sum.runs += own->runs;
    sum.refused_runs += own->refused_runs;
    sum.maps += own->maps;
    sum.states += own->states;
    sum.apics += own->apics;
    sum.nowhere += own->nowhere;
    sum.refused += own->refused;
    for (uint32_t i = 0; i < ARRAY_COUNT(sum.exits); i++)
        sum.exits[i] += own->exits[i];
    for (uint32_t i = 0; i < ARRAY_COUNT(sum.failures); i++)
        sum.failures[i] += own->failures[i];
}

static bool has_got_somewhere(void) {
    return sum.runs > 0 && sum.refused_runs > 0 && sum.maps > 0 && sum.states > 0 &&
           sum.apics > 0 && sum.exits[VCPU_EXIT_IO] > 0 && sum.exits[VCPU_EXIT_MEMORY] > 0 &&
           sum.exits[VCPU_EXIT_CONTROL] > 0;
}

// A life may be over before it got so far.
static bool has_been_refused(void) {
    return sum.nowhere > 0 && sum.failures[VCPU_FAILURE_ENTRY] > 0;
}

void wall_main(void) {
    struct dice dice = {wall_seed};
    struct area area = area_make(2 * ABI_PAGE + ROLES * STACK_SIZE);
    for (uint64_t life = 0; life < wall_rounds * LIVES; life++)
        live(&dice, &area);
    for (uint64_t life = 0; life < LIVES_MORE && !(has_got_somewhere() && has_been_refused());
         life++)
        live(&dice, &area);
    say("runs %lu, refused %lu; unmapped %lu, states %lu, registers of the APIC %lu", sum.runs,
        sum.refused_runs, sum.maps, sum.states, sum.apics);
    say("exits: I/O %lu memory %lu shutdown %lu kicked %lu failed %lu", sum.exits[VCPU_EXIT_IO],
        sum.exits[VCPU_EXIT_MEMORY], sum.exits[VCPU_EXIT_SHUTDOWN], sum.exits[VCPU_EXIT_KICKED],
        sum.exits[VCPU_EXIT_FAILED]);
    say("exits: control %lu XSETBV %lu INIT %lu SIPI %lu", sum.exits[VCPU_EXIT_CONTROL],
        sum.exits[VCPU_EXIT_XSETBV], sum.exits[VCPU_EXIT_INIT], sum.exits[VCPU_EXIT_SIPI]);
    say("failures: exit %lu entry %lu memory %lu; entries nowhere %lu, refused %lu",
        sum.failures[VCPU_FAILURE_UNHANDLED_EXIT], sum.failures[VCPU_FAILURE_ENTRY],
        sum.failures[VCPU_FAILURE_MEMORY], sum.nowhere, sum.refused);
    CHECK(has_got_somewhere(), "something never worked");
    CHECK(sum.nowhere > 0, "no entry where no address is");
    CHECK(sum.failures[VCPU_FAILURE_ENTRY] > 0, "no state that was written is one to refuse");
}
