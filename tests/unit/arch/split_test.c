// SPDX-License-Identifier: Apache-2.0
// arch/split.S and arch/traps.S, instruction by instruction: the entries' own code runs here, one
// step at a time, and what ring 3 must not do (CR3, IRETQ, interrupts) is done for it. At each
// boundary between two instructions an NMI, a machine check and a #DB come, at each boundary of
// theirs another one, and everything must go on as if nothing had been.
//
// While the user's root is loaded the kernel's memory cannot be touched, and no instruction outside
// of the entries' pages can run.
#include <criterion/criterion.h>

#include "arch/mitigation.h"
#include "arch/split.h"
#include "arch/traps.h"
#include "include/abi.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

extern const uint8_t trap_entries_split[], entry_sysenter_split[], sysexit_split[];
extern const uint8_t trap_return_split[];
void trap_dispatch(struct trap_frame *frame); // the real one, which is not run
void split_flush_user(uint64_t user_cr3, uint64_t kernel_cr3);

// Of arch/traps.S, which runs where a scene below says so.
extern const uint8_t trap_entries[], entry_sysenter[], entry_syscall[], sysexit_whole[];
extern uint8_t traps_are_split, traps_empty_buffers;
void thread_first_run(void) {}
extern const uint8_t trap_common[], trap_common_pushed[], sysenter_split[], trap_return_whole[];

#define STACKS       5u // the thread's, and one for each of NMI, #DF, #MC, #DB
#define KERNEL_ROOT_ 0x111000ULL
#define USER_ROOT    0x222000ULL
#define NO_FLUSH     BIT(63)
#define KERNEL_CS    8
#define USER_CS      0x2b

// What only the kernel's root maps.
struct kernel_memory {
    uint8_t stacks[STACKS][CPU_STACK_SIZE];
    struct cpu cpu;
};
static struct kernel_memory *kernel;
static struct cpu_tables *tables;
static const uint8_t *entries; // where events come in
static uint64_t cr3, flushes;
static bool has_pcid;
static uint64_t gs[2]; // the base in force, and SWAPGS's

static bool is_user_root(void) {
    return (cr3 & PTE_ADDRESS) == USER_ROOT;
}

static void load_cr3(uint64_t value) {
    flushes += (value & NO_FLUSH) == 0;
    cr3 = value & ~NO_FLUSH;
    cr_assert(cr3 == KERNEL_ROOT_ || cr3 == (USER_ROOT | (has_pcid ? 1 : 0)), "CR3 %#lx", cr3);
    int rights = is_user_root() ? PROT_NONE : PROT_READ | PROT_WRITE;
    mprotect(kernel, sizeof(*kernel), rights);
}

// ---- one instruction ----------------------------------------------------------------------------

// What the host sees of the machine's flags: a signal's return would drop some of the others.
#define FLAGS_OF_ARITHMETIC 0x8d5
// What ring 3 can set: those, TF, IF, DF, NT, AC and ID.
#define FLAGS_OF_RING_3 (0x244702 | FLAGS_OF_ARITHMETIC)

// As in ucontext: R8 to R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, flags.
struct machine {
    greg_t r[REG_EFL + 1];
};
static struct machine machine;
static ucontext_t caller;
static volatile bool has_faulted;

static void enter_machine(int number, siginfo_t *info, void *opaque) {
    ucontext_t *context = opaque;
    (void)number, (void)info;
    memcpy(&caller.uc_mcontext.gregs, &context->uc_mcontext.gregs, sizeof(gregset_t));
    memcpy(context->uc_mcontext.gregs, machine.r, sizeof(machine.r));
    context->uc_mcontext.gregs[REG_EFL] &= FLAGS_OF_ARITHMETIC;
    context->uc_mcontext.gregs[REG_EFL] |= RFLAGS_ONE | RFLAGS_TF;
}

static void leave_machine(int number, siginfo_t *info, void *opaque) {
    ucontext_t *context = opaque;
    (void)info;
    greg_t kept = machine.r[REG_EFL] & ~FLAGS_OF_ARITHMETIC;
    memcpy(machine.r, context->uc_mcontext.gregs, sizeof(machine.r));
    machine.r[REG_EFL] = (machine.r[REG_EFL] & FLAGS_OF_ARITHMETIC) | kept;
    memcpy(&context->uc_mcontext.gregs, &caller.uc_mcontext.gregs, sizeof(gregset_t));
    has_faulted = number != SIGTRAP;
}

static const uint8_t *code(void) {
    return (const uint8_t *)machine.r[REG_RIP];
}

static greg_t *reg_of(unsigned number) {
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};
    return &machine.r[order[number]];
}

static bool is_at(const uint8_t *address) {
    return code() == address;
}
static bool is_iretq(void) {
    return code()[0] == 0x48 && code()[1] == 0xcf;
}
static bool is_sysexit(void) {
    return code()[0] == 0x48 && code()[1] == 0x0f && code()[2] == 0x35;
}
static bool is_sysret(void) {
    return code()[0] == 0x48 && code()[1] == 0x0f && code()[2] == 0x07;
}
static bool is_verw(void) { // of memory: the other form empties nothing
    return code()[0] == 0x0f && code()[1] == 0x00 && (code()[2] & 0x38) == 0x28 && code()[2] < 0xc0;
}

// What ring 3 cannot run, or must not see. False: it is none of that.
static bool emulate(void) {
    unsigned rex = code()[0] == 0x41;
    const uint8_t *at = code() + rex;
    if (at[0] == 0x0f && (at[1] == 0x20 || at[1] == 0x22) && (at[2] & 0xf8) == 0xd8) {
        greg_t *reg = reg_of((at[2] & 7u) + 8 * rex);
        if (at[1] == 0x20)
            *reg = (greg_t)cr3;
        else
            load_cr3((uint64_t)*reg);
        machine.r[REG_RIP] += 3 + rex;
        return true;
    }
    if (memcmp(code(), "\x0f\x01\xf8", 3) == 0) { // SWAPGS
        uint64_t other = gs[0];
        gs[0] = gs[1];
        gs[1] = other;
        machine.r[REG_RIP] += 3;
        return true;
    }
    if (memcmp(code(), "\x65\x48\x8b\x24\x25\0\0\0", 9) == 0) { // mov %gs:0, %rsp
        machine.r[REG_RSP] = *(const greg_t *)gs[0];
        machine.r[REG_RIP] += 9;
        return true;
    }
    if (code()[0] == 0x9d) { // POPFQ would end the steps
        machine.r[REG_EFL] = *(const greg_t *)machine.r[REG_RSP];
        machine.r[REG_RSP] += 8;
    } else if (code()[0] != 0xfb) { // STI
        return false;
    }
    machine.r[REG_RIP]++;
    return true;
}

// The last instruction, but for STI, was VERW: nothing of the kernel's came into a buffer behind
// it.
static bool is_emptied, wants_emptied;

static void step(void) {
    bool is_entry = code() >= entry_begin && code() < entry_end;
    cr_assert(is_entry || !is_user_root(), "code of the kernel runs on the user's root: %p",
              code());
    if (emulate())
        return;
    const void *at = code();
    is_emptied = is_verw();
    raise(SIGUSR1);
    cr_assert_not(has_faulted, "fault at %p: user's root %d", at, is_user_root());
}

// ---- events -------------------------------------------------------------------------------------

static unsigned boundaries, nested_limit;

static void push(uint64_t value) {
    machine.r[REG_RSP] -= 8;
    *(uint64_t *)machine.r[REG_RSP] = value;
}

static uint64_t frame_cs(const uint8_t *rip) {
    return rip == (const uint8_t *)0x401000 ? USER_CS : KERNEL_CS;
}

static void check_clean(unsigned stack) {
    const uint64_t *words = tables->stacks[stack].words;
    for (unsigned i = 0; i < sizeof(tables->stacks[stack].words) / 8; i++)
        cr_expect_neq(words[i], 0x1111111111111111, "RAX is left on entry stack %u", stack);
    for (unsigned i = 0; i < sizeof(tables->stacks[stack].words) / 8; i++)
        cr_expect_neq(words[i], 0x2222222222222222, "RCX is left on entry stack %u", stack);
}

// At the first instruction of C, whoever was interrupted or called.
static void return_from_c(void) {
    cr_assert_eq(machine.r[REG_EFL], RFLAGS_ONE, "C runs with flags %#llx", machine.r[REG_EFL]);
    machine.r[REG_RIP] = *(const greg_t *)machine.r[REG_RSP];
    machine.r[REG_RSP] += 8;
}

// A handler of C: it sees the frame, loses what the ABI lets it lose, and returns.
static void handle(unsigned vector, const struct machine *before) {
    struct trap_frame *frame = (struct trap_frame *)machine.r[REG_RDI];
    uint64_t top = (uint64_t)frame | CPU_STACK_MASK;
    cr_assert_eq(cr3, KERNEL_ROOT_);
    cr_assert_eq(*(struct cpu **)(top - 7), &kernel->cpu, "the stack names the CPU");
    cr_assert_eq((uint64_t)frame % 16, 0);
    cr_assert_eq(frame->vector, vector);
    check_clean(vector == EXC_NMI ? ENTRY_NMI : vector == EXC_MC ? ENTRY_MC : ENTRY_DB);
    cr_assert_eq(frame->rip, (uint64_t)before->r[REG_RIP]);
    cr_assert_eq(frame->rsp, (uint64_t)before->r[REG_RSP]);
    cr_assert_eq(frame->rax, (uint64_t)before->r[REG_RAX]);
    cr_assert_eq(frame->rcx, (uint64_t)before->r[REG_RCX]);
    cr_assert_eq(frame->rdx, (uint64_t)before->r[REG_RDX]);
    cr_assert_eq(frame->r15, (uint64_t)before->r[REG_R15]);
    machine.r[REG_RAX] = machine.r[REG_RCX] = machine.r[REG_RDX] = machine.r[REG_R11] = 0x5a5a;
    machine.r[REG_RDI] = machine.r[REG_RSI] = machine.r[REG_R8] = machine.r[REG_R9] = 0x5a5a;
    return_from_c();
}

static const struct {
    unsigned vector, stack;
} events[] = {{EXC_NMI, ENTRY_NMI}, {EXC_MC, ENTRY_MC}, {EXC_DB, ENTRY_DB}};
#define EVENTS (sizeof(events) / sizeof(events[0]))

static void interrupt(unsigned event, unsigned mask);

// Each event that is not already being handled comes here, too.
static void interrupt_all(unsigned mask) {
    for (unsigned i = 0; i < EVENTS; i++)
        if ((mask & 1u << i) == 0)
            interrupt(i, mask);
    boundaries++;
}

// An event as the processor delivers it, up to behind its IRETQ: nothing has changed.
static void interrupt(unsigned event, unsigned mask) {
    struct machine before = machine;
    uint64_t cr3_before = cr3;
    bool was_emptied = is_emptied;
    unsigned vector = events[event].vector;
    machine.r[REG_RSP] = (greg_t)tables->tss.ist[events[event].stack - ENTRY_NMI];
    push(0x33);
    push((uint64_t)before.r[REG_RSP]);
    push((uint64_t)before.r[REG_EFL]);
    push(frame_cs((const uint8_t *)before.r[REG_RIP]));
    push((uint64_t)before.r[REG_RIP]);
    machine.r[REG_RIP] = (greg_t)(entries + 16 * vector);
    mask |= 1u << event;
    bool is_nested = __builtin_popcount(mask) <= (int)nested_limit;
    while (!is_iretq()) {
        if (is_nested)
            interrupt_all(mask);
        if (is_at((const uint8_t *)trap_dispatch))
            handle(vector, &before);
        else
            step();
    }
    // In the kernel, too: it may be between its own VERW and SYSEXIT.
    cr_assert_eq(is_emptied, wants_emptied, "VERW before the IRETQ of vector %u", vector);
    is_emptied = was_emptied; // no thanks to the event
    const greg_t *frame = (const greg_t *)machine.r[REG_RSP];
    machine.r[REG_RIP] = frame[0];
    machine.r[REG_EFL] = frame[2];
    machine.r[REG_RSP] = frame[3];
    cr_assert_eq(cr3, cr3_before, "CR3 after vector %u", vector);
    for (unsigned i = 0; i <= REG_EFL; i++)
        cr_assert_eq(machine.r[i], before.r[i], "register %u after vector %u", i, vector);
    check_clean(events[event].stack);
}

static void run_to(const uint8_t *end) {
    do {
        interrupt_all(0);
        step();
    } while (!is_at(end));
    interrupt_all(0);
}

// ---- the scenes ---------------------------------------------------------------------------------

static uint64_t thread_stack(void) {
    return (uint64_t)kernel->stacks[1] - 512; // as below a struct thread
}

static void set_up(bool is_pcid) {
    uint8_t *room = mmap(NULL, 64 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(room, MAP_FAILED);
    tables = (struct cpu_tables *)(void *)(room + PAGE_SIZE);
    kernel = (struct kernel_memory *)align_up((uint64_t)room + 4 * PAGE_SIZE, CPU_STACK_SIZE);
    mprotect(tables, PAGE_SIZE, PROT_READ | PROT_WRITE);
    has_pcid = is_pcid;
    load_cr3(KERNEL_ROOT_);
    for (unsigned i = 0; i < STACKS; i++)
        *(struct cpu **)(void *)(kernel->stacks[i] + CPU_STACK_SIZE - 8) = &kernel->cpu;
    kernel->cpu.tables = tables;
    for (unsigned i = 0; i < 4; i++) {
        struct cpu_entry_stack *entry = &tables->stacks[ENTRY_NMI + i];
        entry->kernel_stack = (uint64_t)kernel->stacks[i + 2] - 16;
        tables->tss.ist[i] = (uint64_t)&entry->kernel_stack;
    }
    tables->tss.rsp[0] = (uint64_t)&tables->stacks[ENTRY_NORMAL].kernel_stack;
    tables->stack = thread_stack();
    mitigation = (struct mitigation){.splits_tables = true, .has_pcid = is_pcid};
    tables->kernel_cr3 = KERNEL_ROOT_ | (is_pcid ? NO_FLUSH : 0);
    tables->user_cr3_read = USER_ROOT | (is_pcid ? 1 : 0);
    tables->user_cr3 = tables->user_cr3_read | (is_pcid ? NO_FLUSH : 0);
    static uint8_t signal_stack[1 << 16];
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)};
    sigaltstack(&stack, NULL);
    struct sigaction enter = {.sa_sigaction = enter_machine, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction leave = {.sa_sigaction = leave_machine, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGUSR1, &enter, NULL);
    sigaction(SIGTRAP, &leave, NULL);
    sigaction(SIGSEGV, &leave, NULL);
    sigaction(SIGILL, &leave, NULL);
    for (unsigned i = 0; i < 16; i++)
        *reg_of(i) = (greg_t)(0x0101010101010101 * (i + 0x30));
    machine.r[REG_RAX] = 0x1111111111111111;
    machine.r[REG_RCX] = 0x2222222222222222;
    machine.r[REG_EFL] = FLAGS_OF_RING_3;
    boundaries = 0;
    nested_limit = 0;
    entries = trap_entries_split;
    wants_emptied = true;
    traps_are_split = true;
}

static void check_kept(const struct machine *before, unsigned but, unsigned or_but) {
    static const int kept[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RBP,
                               REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10,
                               REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if ((unsigned)kept[i] != but && (unsigned)kept[i] != or_but)
            cr_expect_eq(machine.r[kept[i]], before->r[kept[i]], "register %d", kept[i]);
}

static void system_call(bool is_pcid) {
    set_up(is_pcid);
    load_cr3(tables->user_cr3);
    struct machine before = machine;
    machine.r[REG_RSP] = (greg_t)&tables->stack;
    machine.r[REG_RIP] = (greg_t)entry_sysenter_split;
    flushes = 0;
    run_to(sysenter_split);
    cr_expect_eq(cr3, KERNEL_ROOT_);
    cr_expect_eq((uint64_t)machine.r[REG_RSP], thread_stack());
    check_kept(&before, REG_RDX, REG_RDX);
    run_to((const uint8_t *)syscall_dispatch);
    // And back.
    return_from_c();
    run_to(sysexit_split);
    cr_expect_eq(machine.r[REG_RCX], 0x222222222222, "no address at which SYSEXIT faults");
    cr_expect_eq((uint64_t)machine.r[REG_R11], tables->user_cr3);
    before = machine;
    while (!is_sysexit()) {
        interrupt_all(0);
        step();
    }
    interrupt_all(0);
    cr_expect(is_user_root() && machine.r[REG_R11] == 0);
    cr_expect(is_emptied, "VERW before SYSEXIT");
    check_kept(&before, REG_R11, REG_R11);
    cr_expect_gt(boundaries, 5);
}

Test(split, system_call_can_be_interrupted_everywhere) {
    system_call(false);
}
Test(split, system_call_can_be_interrupted_everywhere_with_pcid) {
    system_call(true);
}

static void push_user_frame(bool has_error) {
    push(0x33);
    push(0x7ffff000);
    push(0x202);
    push(USER_CS);
    push(0x401000);
    if (has_error)
        push(0x15);
}

static void trap(unsigned vector, bool is_pcid) {
    bool has_error = vector == EXC_PF || vector == EXC_GP;
    set_up(is_pcid);
    load_cr3(tables->user_cr3);
    struct machine before = machine;
    machine.r[REG_RSP] = (greg_t)tables->tss.rsp[0];
    push_user_frame(has_error);
    machine.r[REG_RIP] = (greg_t)(trap_entries_split + 16 * vector);
    run_to(trap_common_pushed);
    cr_expect_eq(cr3, KERNEL_ROOT_);
    check_kept(&before, REG_RAX, REG_RAX);
    check_clean(ENTRY_NORMAL);
    const uint64_t *frame = (const uint64_t *)machine.r[REG_RSP];
    const uint64_t expected[] = {0x1111111111111111, vector,  has_error ? 0x15 : 0,
                                 0x401000,           USER_CS, 0x202,
                                 0x7ffff000,         0x33};
    cr_expect_arr_eq(frame, expected, sizeof(expected));
    cr_expect_eq((uint64_t)frame + sizeof(expected), thread_stack());
    run_to((const uint8_t *)trap_dispatch);
    // And back.
    return_from_c();
    while (!is_iretq()) {
        interrupt_all(0);
        step();
    }
    interrupt_all(0);
    cr_expect(is_user_root());
    cr_expect(is_emptied, "VERW before IRETQ");
    check_kept(&before, REG_RIP, REG_RIP);
    check_clean(ENTRY_NORMAL);
    cr_expect_arr_eq((const void *)machine.r[REG_RSP], &expected[3], 5 * sizeof(expected[0]));
    cr_expect_gt(boundaries, 30);
}

Test(split, traps_of_ring_3_can_be_interrupted_everywhere) {
    trap(EXC_PF, false);
    trap(0x30, false);
}
Test(split, traps_of_ring_3_can_be_interrupted_everywhere_with_pcid) {
    trap(EXC_GP, true);
    trap(0xff, true);
}

// NMI in #MC, #DB in NMI and each other pair, where the processor is at the first instruction of a
// system call.
Test(split, events_nest) {
    set_up(true);
    nested_limit = 1;
    machine.r[REG_RIP] = (greg_t)entry_sysenter_split;
    machine.r[REG_RSP] = (greg_t)&tables->stack;
    load_cr3(tables->user_cr3);
    interrupt_all(0);
    cr_expect_gt(boundaries, 100);
}

Test(split, events_come_in_ring_3_and_in_the_kernel) {
    set_up(true);
    machine.r[REG_RIP] = 0x401000;
    load_cr3(tables->user_cr3);
    interrupt_all(0);
    load_cr3(KERNEL_ROOT_);
    machine.r[REG_RIP] = (greg_t)trap_common;
    machine.r[REG_RSP] = (greg_t)thread_stack();
    interrupt_all(0);
}

// What the handler changes of the frame is what the processor goes on with.
Test(split, handlers_can_clear_the_trap_flag) {
    set_up(false);
    load_cr3(tables->user_cr3);
    machine.r[REG_RSP] = (greg_t)tables->tss.ist[ENTRY_DB - ENTRY_NMI];
    push(0);
    push((uint64_t)&tables->stack);
    push(0x302);
    push(KERNEL_CS);
    push((uint64_t)entry_sysenter_split);
    machine.r[REG_RIP] = (greg_t)(trap_entries_split + 16 * EXC_DB);
    while (!is_at((const uint8_t *)trap_dispatch))
        step();
    struct trap_frame *frame = (struct trap_frame *)machine.r[REG_RDI];
    cr_expect(frame->rflags == 0x302 && frame->rip == (uint64_t)entry_sysenter_split);
    frame->rflags &= ~RFLAGS_TF;
    return_from_c();
    while (!is_iretq())
        step();
    const uint64_t expected[] = {(uint64_t)entry_sysenter_split, KERNEL_CS, 0x202,
                                 (uint64_t)&tables->stack, 0};
    cr_expect_arr_eq((const void *)machine.r[REG_RSP], expected, sizeof(expected));
    cr_expect(is_user_root());
}

// Exceptions of ring 0 without a stack of their own stay where they are, in and out.
Test(split, ring_0_keeps_its_stack) {
    set_up(false);
    machine.r[REG_RSP] = (greg_t)thread_stack();
    push_user_frame(true);
    ((uint64_t *)machine.r[REG_RSP])[2] = KERNEL_CS;
    uint64_t rsp = (uint64_t)machine.r[REG_RSP];
    machine.r[REG_RIP] = (greg_t)(trap_entries_split + 16 * EXC_PF);
    run_to(trap_common);
    cr_expect_eq((uint64_t)machine.r[REG_RSP], rsp - 8);
    machine.r[REG_RIP] = (greg_t)trap_return_split;
    run_to(trap_return_whole);
    cr_expect_eq((uint64_t)machine.r[REG_RSP], rsp - 8);
    cr_expect_eq(cr3, KERNEL_ROOT_);
}

// With PCIDs an entry flushes nothing, and a change of the space both.
Test(split, flushes_are_where_the_space_changes) {
    for (unsigned is_pcid = 0; is_pcid < 2; is_pcid++) {
        system_call(is_pcid != 0);
        set_up(is_pcid != 0);
        nested_limit = 0;
        flushes = 0;
        load_cr3(tables->user_cr3);
        load_cr3(tables->kernel_cr3);
        cr_expect_eq(flushes, is_pcid ? 0 : 2);
        machine.r[REG_RSP] = (greg_t)thread_stack();
        push((uint64_t)trap_common);
        machine.r[REG_RDI] = (greg_t)tables->user_cr3_read;
        machine.r[REG_RSI] = KERNEL_ROOT_;
        machine.r[REG_RIP] = (greg_t)split_flush_user;
        flushes = 0;
        run_to(trap_common);
        cr_expect_geq(flushes, 2);
        cr_expect_eq(cr3, KERNEL_ROOT_);
    }
}

// ---- arch/traps.S, where tables are not split ---------------------------------------------------

static void set_up_whole(bool leaks) {
    set_up(false);
    entries = trap_entries;
    traps_are_split = false;
    wants_emptied = leaks;
    traps_empty_buffers = leaks;
    for (unsigned i = 0; i < 4; i++)
        tables->tss.ist[i] = tables->stacks[ENTRY_NMI + i].kernel_stack;
}

// C that returns at once, and events at each boundary, up to the last instruction in ring 0.
static void run_whole(bool (*is_end)(void)) {
    while (!is_end()) {
        interrupt_all(0);
        if (is_at((const uint8_t *)syscall_dispatch) || is_at((const uint8_t *)trap_dispatch) ||
            is_at((const uint8_t *)thread_first_run)) {
            return_from_c();
            is_emptied = false;
        } else {
            step();
        }
    }
    interrupt_all(0);
}

// VERW is behind all that the way out loads, and only where buffers leak.
Test(split, whole_ways_to_ring_3_end_with_verw_where_buffers_leak) {
    for (unsigned leaks = 0; leaks < 2; leaks++) {
        set_up_whole(leaks != 0);
        machine.r[REG_RSP] = (greg_t)&tables->stack;
        machine.r[REG_RIP] = (greg_t)entry_sysenter;
        run_whole(is_sysexit);
        cr_expect(is_at(sysexit_whole) && sysexit_whole[-1] == 0xfb && machine.r[REG_R11] == 0);
        cr_expect_eq(is_emptied, leaks, "SYSEXIT");

        for (unsigned is_kernel = 0; is_kernel < 2; is_kernel++) {
            set_up_whole(leaks != 0);
            struct machine before = machine;
            machine.r[REG_RSP] = (greg_t)thread_stack();
            push_user_frame(true);
            uint64_t *frame = (uint64_t *)machine.r[REG_RSP];
            frame[2] = is_kernel ? KERNEL_CS : USER_CS;
            machine.r[REG_RIP] = (greg_t)(trap_entries + 16 * EXC_PF);
            run_whole(is_iretq);
            cr_expect_eq((uint64_t)machine.r[REG_RSP], (uint64_t)&frame[1]);
            check_kept(&before, REG_RIP, REG_RIP);
            cr_expect_eq(is_emptied, leaks, "IRETQ");
        }

        set_up_whole(leaks != 0);
        machine.r[REG_RSP] = (greg_t)(thread_stack() - sizeof(struct trap_frame));
        machine.r[REG_RIP] = (greg_t)thread_first_return;
        machine.r[REG_EFL] = RFLAGS_ONE; // C of the kernel's goes there
        run_whole(is_iretq);
        cr_expect_eq(is_emptied, leaks, "a new thread");
    }
    traps_empty_buffers = false;
}

// ---- SYSCALL ------------------------------------------------------------------------------------

// What C sees of a system call: its arguments, on the thread's own stack.
static void check_arguments(const struct machine *user) {
    const struct {
        int seen, given;
    } arguments[] = {{REG_RDI, REG_RDI}, {REG_RSI, REG_RSI}, {REG_RDX, REG_R8},
                     {REG_RCX, REG_R9},  {REG_R8, REG_R10},  {REG_R9, REG_R12}};
    for (unsigned i = 0; i < sizeof(arguments) / sizeof(arguments[0]); i++)
        cr_expect_eq(machine.r[arguments[i].seen], user->r[arguments[i].given], "argument %u", i);
    uint64_t rsp = (uint64_t)machine.r[REG_RSP];
    cr_expect(rsp < thread_stack() && rsp > thread_stack() - 128);
    cr_expect_eq(((const greg_t *)rsp)[1], user->r[REG_RAX], "the number");
    cr_expect_eq(gs[0], 0x6565, "the user's base, as all of the kernel leaves it");
}

// At each boundary an NMI, a machine check and a #DB come, also where RSP is the user's.
static void syscall_from(uint64_t rsp, bool leaks) {
    set_up_whole(leaks);
    gs[0] = 0x6565;
    gs[1] = (uint64_t)&tables->stack;
    machine.r[REG_RDX] = (greg_t)rsp;
    machine.r[REG_RSP] = (greg_t)rsp;
    machine.r[REG_R11] = 0x246;
    machine.r[REG_RIP] = (greg_t)entry_syscall;
    struct machine user = machine;
    bool is_called = false;
    unsigned behind_verw = 0;
    while (!is_sysret()) {
        interrupt_all(0);
        if (!is_at((const uint8_t *)syscall_dispatch)) {
            step();
            behind_verw = is_emptied ? 0 : behind_verw + 1;
            continue;
        }
        check_arguments(&user);
        is_called = true;
        machine.r[REG_RDI] = machine.r[REG_RSI] = machine.r[REG_R8] = machine.r[REG_R9] = 0x5a5a;
        machine.r[REG_RCX] = machine.r[REG_RDX] = machine.r[REG_R10] = machine.r[REG_R11] = 0x5a5a;
        machine.r[REG_RAX] = -5;
        return_from_c();
        is_emptied = false;
    }
    interrupt_all(0);
    cr_expect(is_called);
    static const int kept[] = {REG_RBX, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9,
                               REG_R10, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        cr_expect_eq(machine.r[kept[i]], user.r[kept[i]], "register %d", kept[i]);
    cr_expect_eq((uint64_t)machine.r[REG_RSP], rsp << 17 >> 17);
    cr_expect_eq(machine.r[REG_RAX], -5);
    cr_expect_eq((uint64_t)machine.r[REG_RCX], ABI_CALL_PAGE + 5, "behind its SYSCALL");
    cr_expect_eq(machine.r[REG_R11], 0x202);
    cr_expect_eq(gs[0], 0x6565);
    cr_expect_eq(gs[1], (uint64_t)&tables->stack);
    cr_expect_eq(behind_verw == 3, leaks, "behind VERW registers alone are moved");
    cr_expect_gt(boundaries, 30);
}

Test(split, syscall_can_be_interrupted_everywhere) {
    syscall_from(0x7ffff008, false);
    syscall_from(0x7ffff008, true);
    syscall_from(0xffff800012345678, false); // only harms itself
    traps_empty_buffers = false;
}
