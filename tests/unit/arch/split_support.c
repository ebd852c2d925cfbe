// SPDX-License-Identifier: Apache-2.0
// The stepper of split_support.h.
#include "tests/unit/arch/split_support.h"

#include "arch/mitigation.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

void trap_dispatch(struct trap_frame *frame); // the real one, which is not run
void thread_first_run(void) {}

#define STACKS    5u // the thread's, and one for each of NMI, #DF, #MC, #DB
#define USER_ROOT 0x222000ULL
#define NO_FLUSH  BIT(63)

// What only the kernel's root maps.
struct kernel_memory {
    uint8_t stacks[STACKS][CPU_STACK_SIZE];
    struct cpu cpu;
};
static struct kernel_memory *kernel;
struct cpu_tables *tables;
const uint8_t *entries;
uint64_t cr3, flushes;
static bool has_pcid;
uint64_t gs[2];

bool is_user_root(void) {
    return (cr3 & PTE_ADDRESS) == USER_ROOT;
}

void load_cr3(uint64_t value) {
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

struct machine stepped;
static ucontext_t caller;
static volatile bool has_faulted;

static void enter_machine(int number, siginfo_t *info, void *opaque) {
    ucontext_t *context = opaque;
    (void)number, (void)info;
    memcpy(&caller.uc_mcontext.gregs, &context->uc_mcontext.gregs, sizeof(gregset_t));
    memcpy(context->uc_mcontext.gregs, stepped.r, sizeof(stepped.r));
    context->uc_mcontext.gregs[REG_EFL] &= FLAGS_OF_ARITHMETIC;
    context->uc_mcontext.gregs[REG_EFL] |= RFLAGS_ONE | RFLAGS_TF;
}

static void leave_machine(int number, siginfo_t *info, void *opaque) {
    ucontext_t *context = opaque;
    (void)info;
    greg_t kept = stepped.r[REG_EFL] & ~FLAGS_OF_ARITHMETIC;
    memcpy(stepped.r, context->uc_mcontext.gregs, sizeof(stepped.r));
    stepped.r[REG_EFL] = (stepped.r[REG_EFL] & FLAGS_OF_ARITHMETIC) | kept;
    memcpy(&context->uc_mcontext.gregs, &caller.uc_mcontext.gregs, sizeof(gregset_t));
    has_faulted = number != SIGTRAP;
}

static const uint8_t *code(void) {
    return (const uint8_t *)stepped.r[REG_RIP];
}

static greg_t *reg_of(unsigned number) {
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};
    return &stepped.r[order[number]];
}

bool is_at(const uint8_t *address) {
    return code() == address;
}
bool is_iretq(void) {
    return code()[0] == 0x48 && code()[1] == 0xcf;
}
bool is_sysexit(void) {
    return code()[0] == 0x48 && code()[1] == 0x0f && code()[2] == 0x35;
}
bool is_sysret(void) {
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
        stepped.r[REG_RIP] += 3 + rex;
        return true;
    }
    if (memcmp(code(), "\x0f\x01\xf8", 3) == 0) { // SWAPGS
        uint64_t other = gs[0];
        gs[0] = gs[1];
        gs[1] = other;
        stepped.r[REG_RIP] += 3;
        return true;
    }
    if (memcmp(code(), "\x65\x48\x8b\x24\x25\0\0\0", 9) == 0) { // mov %gs:0, %rsp
        stepped.r[REG_RSP] = *(const greg_t *)gs[0];
        stepped.r[REG_RIP] += 9;
        return true;
    }
    if (code()[0] == 0x9d) { // POPFQ would end the steps
        stepped.r[REG_EFL] = *(const greg_t *)stepped.r[REG_RSP];
        stepped.r[REG_RSP] += 8;
    } else if (code()[0] != 0xfb) { // STI
        return false;
    }
    stepped.r[REG_RIP]++;
    return true;
}

bool is_emptied, wants_emptied;

void step(void) {
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

unsigned boundaries, nested_limit;

void push(uint64_t value) {
    stepped.r[REG_RSP] -= 8;
    *(uint64_t *)stepped.r[REG_RSP] = value;
}

static uint64_t frame_cs(const uint8_t *rip) {
    return rip == (const uint8_t *)0x401000 ? USER_CS : KERNEL_CS;
}

void check_clean(unsigned stack) {
    const uint64_t *words = tables->stacks[stack].words;
    for (unsigned i = 0; i < sizeof(tables->stacks[stack].words) / 8; i++)
        cr_expect_neq(words[i], 0x1111111111111111, "RAX is left on entry stack %u", stack);
    for (unsigned i = 0; i < sizeof(tables->stacks[stack].words) / 8; i++)
        cr_expect_neq(words[i], 0x2222222222222222, "RCX is left on entry stack %u", stack);
}

// At the first instruction of C, whoever was interrupted or called.
void return_from_c(void) {
    cr_assert_eq(stepped.r[REG_EFL], RFLAGS_ONE, "C runs with flags %#llx", stepped.r[REG_EFL]);
    stepped.r[REG_RIP] = *(const greg_t *)stepped.r[REG_RSP];
    stepped.r[REG_RSP] += 8;
}

// A handler of C: it sees the frame, loses what the ABI lets it lose, and returns.
static void handle(unsigned vector, const struct machine *before) {
    struct trap_frame *frame = (struct trap_frame *)stepped.r[REG_RDI];
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
    stepped.r[REG_RAX] = stepped.r[REG_RCX] = stepped.r[REG_RDX] = stepped.r[REG_R11] = 0x5a5a;
    stepped.r[REG_RDI] = stepped.r[REG_RSI] = stepped.r[REG_R8] = stepped.r[REG_R9] = 0x5a5a;
    return_from_c();
}

static const struct {
    unsigned vector, stack;
} events[] = {{EXC_NMI, ENTRY_NMI}, {EXC_MC, ENTRY_MC}, {EXC_DB, ENTRY_DB}};
#define EVENTS (sizeof(events) / sizeof(events[0]))

static void interrupt(unsigned event, unsigned mask);

// Each event that is not already being handled comes here, too.
void interrupt_all(unsigned mask) {
    for (unsigned i = 0; i < EVENTS; i++)
        if ((mask & 1u << i) == 0)
            interrupt(i, mask);
    boundaries++;
}

// An event as the processor delivers it, up to behind its IRETQ: nothing has changed.
static void interrupt(unsigned event, unsigned mask) {
    struct machine before = stepped;
    uint64_t cr3_before = cr3;
    bool was_emptied = is_emptied;
    unsigned vector = events[event].vector;
    stepped.r[REG_RSP] = (greg_t)tables->tss.ist[events[event].stack - ENTRY_NMI];
    push(0x33);
    push((uint64_t)before.r[REG_RSP]);
    push((uint64_t)before.r[REG_EFL]);
    push(frame_cs((const uint8_t *)before.r[REG_RIP]));
    push((uint64_t)before.r[REG_RIP]);
    stepped.r[REG_RIP] = (greg_t)(entries + 16 * vector);
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
    const greg_t *frame = (const greg_t *)stepped.r[REG_RSP];
    stepped.r[REG_RIP] = frame[0];
    stepped.r[REG_EFL] = frame[2];
    stepped.r[REG_RSP] = frame[3];
    cr_assert_eq(cr3, cr3_before, "CR3 after vector %u", vector);
    for (unsigned i = 0; i <= REG_EFL; i++)
        cr_assert_eq(stepped.r[i], before.r[i], "register %u after vector %u", i, vector);
    check_clean(events[event].stack);
}

void run_to(const uint8_t *end) {
    do {
        interrupt_all(0);
        step();
    } while (!is_at(end));
    interrupt_all(0);
}

// ---- the scenes ---------------------------------------------------------------------------------

uint64_t thread_stack(void) {
    return (uint64_t)kernel->stacks[1] - 512; // as below a struct thread
}

void set_up(bool is_pcid) {
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
    stepped.r[REG_RAX] = 0x1111111111111111;
    stepped.r[REG_RCX] = 0x2222222222222222;
    stepped.r[REG_EFL] = FLAGS_OF_RING_3;
    boundaries = 0;
    nested_limit = 0;
    entries = trap_entries_split;
    wants_emptied = true;
    traps_are_split = true;
}

void check_kept(const struct machine *before, unsigned but, unsigned or_but) {
    static const int kept[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RBP,
                               REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10,
                               REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        if ((unsigned)kept[i] != but && (unsigned)kept[i] != or_but)
            cr_expect_eq(stepped.r[kept[i]], before->r[kept[i]], "register %d", kept[i]);
}

void push_user_frame(bool has_error) {
    push(0x33);
    push(0x7ffff000);
    push(0x202);
    push(USER_CS);
    push(0x401000);
    if (has_error)
        push(0x15);
}
