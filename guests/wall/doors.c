// SPDX-License-Identifier: Apache-2.0
// The doors of the kernel, each by name and counted: its own call and the other vendor's with each
// flag that ring 3 can set, single steps onto the call page, and RIPs where no address is on each
// way out. The kernel has four of these: SYSEXIT, or SYSRET, whose RIP is its own and whose RSP is
// the caller's; IRETQ to where an exception or an interrupt came from; IRETQ to the start of a
// thread; and VM entry, which vcpus.c does.
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/rows.h"
#include "runtime/wall.h"

#define CHILD_QUOTA (512u << 10)
#define OWN_SIZE    (2 * ABI_PAGE)
#define STACK_TOP   (CHILD_OWN + OWN_SIZE)
#define HANGING_US  20000u // several slices

#define CALL_ENTER  WALL_ENTER_AT       // its call,
#define CALL_RETURN (ABI_CALL_PAGE + 5) // and where the kernel goes on
#define LAST_PAGE   (ABI_USER_END - ABI_PAGE)

#define SS         BIT(EXC_SS)
#define FLAG_COUNT 22u // CF to ID
#define FLAG_TF    0x100u
#define FLAGS_KEPT 0x244cd5u // of these but TF and IF, what POPF and IRET take from ring 3
#define FLAGS_NOT  (BIT(FLAG_COUNT) - 1 - FLAGS_KEPT - FLAG_TF - 0x202)

enum way { BY_POPF, BY_IRET, WAYS };

// At CHILD_OWN, and seen by the mother.
struct own {
    uint64_t flags, address;
    uint32_t way;
    uint64_t done, kept; // what it came through, and flags that were seen set
};

static struct area own_area, code_area;
static struct own *own; // as the mother sees it

// Where no address is: bits 47 to 63 differ.
static const uint64_t nowhere[] = {
    0x0000800000000000, 0x0000800000003000, 0x0001000000000000, 0x00ff800000000000,
    0x4000000000000000, 0x7fffffffffffffff, 0x8000000000000000, 0xdead4ead00000000,
    0xfffe800000000000, 0xffff000000000000, 0xffff7fffffffffff,
};

// ---- in the child -------------------------------------------------------------------------------

// Instructions that set the flags of %[flags] last, RDX is lost.
#define POPF "push %[flags]\n\tpopfq\n\t"
#define IRET_TO                                                                                    \
    "mov %%rsp, %%r11\n\t"                                                                         \
    "mov %%ss, %%edx\n\tpush %%rdx\n\t"                                                            \
    "push %%r11\n\t"                                                                               \
    "push %[flags]\n\t"                                                                            \
    "mov %%cs, %%edx\n\tpush %%rdx\n\t"
#define IRET                                                                                       \
    IRET_TO "lea 2f(%%rip), %%rdx\n\tpush %%rdx\n\t"                                               \
            "lea 1f(%%rip), %%rdx\n\t"                                                             \
            "mov %%rsp, %%rcx\n\t"                                                                 \
            "iretq\n2:\n\t"

static uint64_t flags_kept(uint64_t flags, uint32_t way) {
    uint64_t kept;
    if (way == BY_POPF)
        __asm__ volatile(POPF "pushfq\n\tpop %0\n\tpush $2\n\tpopfq"
                         : "=&r"(kept)
                         : [flags] "r"(flags)
                         : "memory", "cc");
    else
        __asm__ volatile(IRET "pushfq\n\tpop %0\n\tpush $2\n\tpopfq\n1:"
                         : "=&r"(kept)
                         : [flags] "r"(flags)
                         : "rcx", "rdx", "r11", "memory", "cc");
    return kept & flags;
}

// SYSCALL, or SYSENTER on AMD: no instruction of ring 3's here.
#define OTHER_BY_POPF(instruction)                                                                 \
    __asm__ volatile(POPF instruction : : [flags] "r"(self->flags) : "rcx", "r11", "memory")
#define OTHER_BY_IRET(instruction)                                                                 \
    __asm__ volatile(IRET instruction "\n1:"                                                       \
                     :                                                                             \
                     : [flags] "r"(self->flags)                                                    \
                     : "rcx", "rdx", "r11", "memory")

static void other_with(struct own *self) {
    bool is_sysenter = wall_enters_by_syscall();
    if (self->way == BY_POPF && is_sysenter)
        OTHER_BY_POPF("sysenter");
    else if (self->way == BY_POPF)
        OTHER_BY_POPF("syscall");
    else if (is_sysenter)
        OTHER_BY_IRET("sysenter");
    else
        OTHER_BY_IRET("syscall");
    sys_process_exit(0);
}

// The call page's RET finds its way back by the word that it is given in RCX, or RDX.
#define CALL_BY_POPF(instruction)                                                                  \
    __asm__ volatile("lea 1f(%%rip), %%rdx\n\t"                                                    \
                     "push %%rdx\n\t"                                                              \
                     "mov %%rsp, %%rcx\n\t"                                                        \
                     "mov %%rsp, %%rdx\n\t" POPF instruction "\n1:"                                \
                     : "+a"(call)                                                                  \
                     : [flags] "r"(flags)                                                          \
                     : "rcx", "rdx", "r11", "memory", "cc")
#define CALL_BY_IRET(instruction)                                                                  \
    __asm__ volatile("lea 1f(%%rip), %%rdx\n\t"                                                    \
                     "push %%rdx\n\t" IRET_TO "lea 2f(%%rip), %%rdx\n\t"                           \
                     "push %%rdx\n\t"                                                              \
                     "mov %%r11, %%rcx\n\t"                                                        \
                     "mov %%r11, %%rdx\n\t"                                                        \
                     "iretq\n2:\n\t" instruction "\n1:"                                            \
                     : "+a"(call)                                                                  \
                     : [flags] "r"(flags)                                                          \
                     : "rcx", "rdx", "r11", "memory", "cc")

static void call_by_popf(uint64_t flags) {
    uint64_t call = ABI_THREAD_YIELD;
    if (wall_enters_by_syscall())
        CALL_BY_POPF("syscall");
    else
        CALL_BY_POPF("sysenter");
}

static void call_by_iret(uint64_t flags) {
    uint64_t call = ABI_THREAD_YIELD;
    if (wall_enters_by_syscall())
        CALL_BY_IRET("syscall");
    else
        CALL_BY_IRET("sysenter");
}

static void call_with(struct own *self) {
    for (uint32_t i = 0; i <= FLAG_COUNT; i++) {
        uint64_t flags = i < FLAG_COUNT ? BIT(i) : BIT(FLAG_COUNT) - 1;
        call_by_popf(flags);
        self->done++;
        call_by_iret(flags);
        self->done++;
        if ((flags & FLAG_TF) == 0)
            self->kept |= flags_kept(flags, BY_POPF) | flags_kept(flags, BY_IRET);
    }
    sys_process_exit(0);
}

// To an address of the call page, by IRETQ with TF: the first instruction there is the first that
// is traced. RSP, RCX and RDX are as the page's own code would have them.
static void step_at(struct own *self) {
    uint64_t call = ABI_THREAD_YIELD;
    __asm__ volatile("lea 1f(%%rip), %%rdx\n\t"
                     "push %%rdx\n\t" IRET_TO "push %[to]\n\t"
                     "mov %%r11, %%rcx\n\t"
                     "mov %%r11, %%rdx\n\t"
                     "iretq\n1:"
                     : "+a"(call)
                     : [flags] "r"((uint64_t)FLAG_TF), [to] "r"(self->address)
                     : "rcx", "rdx", "r11", "memory", "cc");
    self->done++;
    sys_process_exit(0);
}

static void step_call(struct own *self) {
    __asm__ volatile(POPF "call *%[to]"
                     :
                     : "a"((uint64_t)ABI_THREAD_YIELD), [flags] "r"((uint64_t)FLAG_TF),
                       [to] "r"((uint64_t)ABI_CALL_PAGE)
                     : "rcx", "rdx", "r11", "memory", "cc");
    self->done++;
    sys_process_exit(0);
}

static void call_from(struct own *self) {
    uint64_t call = ABI_THREAD_YIELD;
    if (wall_enters_by_syscall())
        __asm__ volatile("syscall" : : "a"(call), "d"(self->address) : "rcx", "r11", "memory");
    else
        __asm__ volatile("sysenter" : : "a"(call), "c"(self->address) : "memory");
    sys_process_exit(0);
}

#define TRANSFERS 6u
static void transfer_to(struct own *self) {
    uint64_t far[2] = {self->address, 0};
    __asm__ volatile("mov %%cs, %0" : "=r"(far[1]));
    switch (self->way) {
    case 0:
        __asm__ volatile("jmp *%0" : : "r"(self->address));
        break;
    case 1:
        __asm__ volatile("call *%0" : : "r"(self->address) : "memory");
        break;
    case 2:
        __asm__ volatile("push %0\n\tret" : : "r"(self->address) : "memory");
        break;
    case 3:
        __asm__ volatile("push %1\n\tpush %0\n\tlretq" : : "r"(self->address), "r"(far[1]));
        break;
    case 4:
        __asm__ volatile(".byte 0x48, 0xff, 0x28" : : "a"(far) : "memory"); // JMP FAR [RAX]
        break;
    default:
        __asm__ volatile(IRET_TO "push %[to]\n\tiretq"
                         :
                         : [flags] "r"(2ULL), [to] "r"(self->address)
                         : "rcx", "rdx", "r11", "memory", "cc");
        break;
    }
    sys_process_exit(0);
}

// ---- the mother ---------------------------------------------------------------------------------

static uint64_t others, steps, exits, transfers, starts, borders;

// A life that ends in one of these ways; returns where it did.
static uint64_t attack(const char *name, uint64_t detail, uint64_t entry, uint64_t ends) {
    struct child child;
    struct abi_process_status status;
    child_open(&child, CHILD_QUOTA);
    child_map(&child, &own_area, CHILD_OWN, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    child_map(&child, &code_area, LAST_PAGE, ABI_RIGHT_READ | ABI_RIGHT_EXECUTE);
    child_start(&child, entry, STACK_TOP, CHILD_OWN);
    bool has_ended = child_wait(&child, ends == HANGS ? HANGING_US : WALL_PATIENCE_US, &status);
    uint64_t how = !has_ended                           ? HANGS
                   : status.state == ABI_PROCESS_EXITED ? LIVES
                                                        : BIT(status.vector);
    CHECK((how & ends) != 0, "%s 0x%lx: state %u, exception %u at 0x%lx", name, detail,
          status.state, status.vector, status.rip);
    child_close(&child);
    return how == HANGS || how == LIVES ? 0 : status.rip;
}

#define ATTACK(name, detail, function, ends) attack((name), (detail), (uintptr_t)(function), (ends))

static void attack_with_flags(void) {
    // Bochs has SYSENTER in AMD's long mode, too: #GP, since no code segment is set for it.
    const uint64_t refused = wall_enters_by_syscall() ? UD | GP : UD;
    for (uint32_t i = 0; i <= FLAG_COUNT; i++) {
        own->flags = i < FLAG_COUNT ? BIT(i) : BIT(FLAG_COUNT) - 1;
        for (own->way = 0; own->way < WAYS; own->way++) {
            uint64_t rip = ATTACK("the other call with flags", own->flags, other_with, refused);
            const uint8_t *code = (const uint8_t *)rip;
            others +=
                rip != 0 && code[0] == 0x0f && code[1] == (wall_enters_by_syscall() ? 0x34 : 0x05);
        }
    }
    own->done = own->kept = 0;
    (void)ATTACK("a call with flags", own->flags, call_with, LIVES);
    CHECK(others == (FLAG_COUNT + 1) * WAYS, "the other call with %lu sets of flags", others);
    CHECK(own->done == (FLAG_COUNT + 1) * WAYS, "calls with %lu sets of flags", own->done);
    CHECK((own->kept & FLAGS_KEPT) == FLAGS_KEPT && (own->kept & FLAGS_NOT) == 0,
          "flags 0x%lx were set", own->kept);
}

// #DB tells the address behind the instruction that was traced.
static void check_step(const char *name, uint64_t rip, uint64_t wanted) {
    CHECK(rip == wanted, "%s: the step ended at 0x%lx", name, rip);
    steps += rip == wanted;
}

static void attack_by_steps(void) {
    const uint8_t *code = (const uint8_t *)CALL_ENTER;
    CHECK(code[0] == 0x0f && code[1] == (wall_enters_by_syscall() ? 0x05 : 0x34),
          "the call page's instruction is elsewhere");
    own->done = 0;
    check_step("the call", ATTACK("a traced call", 0, step_call, DB), ABI_CALL_PAGE);
    own->address = ABI_CALL_PAGE;
    check_step("the page's first", ATTACK("a step", own->address, step_at, DB), CALL_ENTER);
    CHECK(own->done == 0, "a step was not traced");
    own->address = CALL_ENTER; // a trap comes in ring 0, which goes on
    check_step("the call itself", ATTACK("a step", own->address, step_at, LIVES), 0);
    CHECK(own->done == 1, "the call was not done");
    own->address = CALL_RETURN;
    uint64_t rip = ATTACK("a step", own->address, step_at, DB);
    CHECK(rip > ABI_CALL_PAGE + ABI_PAGE, "the step of RET ended at 0x%lx", rip);
    steps += rip > ABI_CALL_PAGE + ABI_PAGE;
}

// SYSEXIT, or SYSRET, comes through with what is left of the stack's address; the page's RET then
// faults.
static void attack_from_nowhere(void) {
    for (uint32_t i = 0; i < ARRAY_COUNT(nowhere); i++) {
        own->address = nowhere[i];
        uint64_t rip = ATTACK("a call from", own->address, call_from, PF | GP | SS);
        CHECK(rip == CALL_RETURN, "a call from 0x%lx: ended at 0x%lx", own->address, rip);
        exits += rip == CALL_RETURN;
        for (own->way = 0; own->way < TRANSFERS; own->way++)
            transfers += ATTACK("a jump to", own->address, transfer_to, GP) != 0;
    }
}

// A thread cannot start there.
static void start_nowhere(void) {
    struct child child;
    child_open(&child, CHILD_QUOTA);
    for (uint32_t i = 0; i < ARRAY_COUNT(nowhere); i++) {
        int64_t entry = sys_thread_create(child.process, nowhere[i], STACK_TOP, 0, ABI_CPU_ANY);
        int64_t stack = sys_thread_create(child.process, LAST_PAGE, nowhere[i], 0, ABI_CPU_ANY);
        CHECK(entry == -ABI_ERROR_ARGUMENT && stack == -ABI_ERROR_ARGUMENT,
              "a thread at 0x%lx: %ld, with its stack there: %ld", nowhere[i], (long)entry,
              (long)stack);
        starts += entry == -ABI_ERROR_ARGUMENT && stack == -ABI_ERROR_ARGUMENT;
    }
    for (uint64_t page = ABI_USER_END; page <= 0x800000000000; page += ABI_PAGE) {
        int64_t mapped = sys_process_map(child.process, code_area.memory, page, 0, ABI_PAGE,
                                         ABI_RIGHT_READ | ABI_RIGHT_EXECUTE);
        CHECK(mapped == -ABI_ERROR_ARGUMENT, "mapping 0x%lx: %ld", page, (long)mapped);
    }
    child_close(&child);
}

// The last address that a process can have is one at which RIP is canonical behind it: a thread
// starts there, is interrupted there, and goes over the end.
static void attack_at_border(void) {
    static const uint8_t loop[] = {0xeb, 0xfe};
    memset(code_area.at, 0x90, ABI_PAGE);
    uint64_t rip = attack("the last instruction", 0, ABI_USER_END - 1, PF);
    CHECK(rip == ABI_USER_END, "it ended at 0x%lx", rip);
    borders += rip == ABI_USER_END;
    memcpy(code_area.at + ABI_PAGE - sizeof(loop), loop, sizeof(loop));
    (void)attack("a loop at the border", 0, ABI_USER_END - sizeof(loop), HANGS);
    borders++;
}

void wall_main(void) {
    own_area = area_make(OWN_SIZE);
    code_area = area_make(ABI_PAGE);
    own = (struct own *)(void *)own_area.at;
    attack_with_flags();
    attack_by_steps();
    attack_from_nowhere();
    start_nowhere();
    attack_at_border();
    say("the other call with flags %lu, steps %lu; nowhere: calls %lu, jumps %lu, starts %lu; "
        "border %lu",
        others, steps, exits, transfers, starts, borders);
    CHECK(steps == 4 && exits == ARRAY_COUNT(nowhere) && transfers == exits * TRANSFERS &&
              starts == exits && borders == 2,
          "not all was done");
}
