// SPDX-License-Identifier: Apache-2.0
// arch/traps.S, where tables are not split: events at each instruction of the entries.
#include "tests/unit/arch/split_support.h"

extern const uint8_t trap_entries[], entry_sysenter[], entry_syscall[], sysexit_whole[];
extern uint8_t traps_empty_buffers;
void trap_dispatch(struct trap_frame *frame); // the real one, which is not run
void thread_first_run(void);

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
Test(traps_entry, whole_ways_to_ring_3_end_with_verw_where_buffers_leak) {
    for (unsigned leaks = 0; leaks < 2; leaks++) {
        set_up_whole(leaks != 0);
        stepped.r[REG_RSP] = (greg_t)&tables->stack;
        stepped.r[REG_RIP] = (greg_t)entry_sysenter;
        run_whole(is_sysexit);
        cr_expect(is_at(sysexit_whole) && sysexit_whole[-1] == 0xfb && stepped.r[REG_R11] == 0);
        cr_expect_eq(is_emptied, leaks, "SYSEXIT");

        for (unsigned is_kernel = 0; is_kernel < 2; is_kernel++) {
            set_up_whole(leaks != 0);
            struct machine before = stepped;
            stepped.r[REG_RSP] = (greg_t)thread_stack();
            push_user_frame(true);
            uint64_t *frame = (uint64_t *)stepped.r[REG_RSP];
            frame[2] = is_kernel ? KERNEL_CS : USER_CS;
            stepped.r[REG_RIP] = (greg_t)(trap_entries + 16 * EXC_PF);
            run_whole(is_iretq);
            cr_expect_eq((uint64_t)stepped.r[REG_RSP], (uint64_t)&frame[1]);
            check_kept(&before, REG_RIP, REG_RIP);
            cr_expect_eq(is_emptied, leaks, "IRETQ");
        }

        set_up_whole(leaks != 0);
        stepped.r[REG_RSP] = (greg_t)(thread_stack() - sizeof(struct trap_frame));
        stepped.r[REG_RIP] = (greg_t)thread_first_return;
        stepped.r[REG_EFL] = RFLAGS_ONE; // C of the kernel's goes there
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
        cr_expect_eq(stepped.r[arguments[i].seen], user->r[arguments[i].given], "argument %u", i);
    uint64_t rsp = (uint64_t)stepped.r[REG_RSP];
    cr_expect(rsp < thread_stack() && rsp > thread_stack() - 128);
    cr_expect_eq(((const greg_t *)rsp)[1], user->r[REG_RAX], "the number");
    cr_expect_eq(gs[0], 0x6565, "the user's base, as all of the kernel leaves it");
}

// At each boundary an NMI, a machine check and a #DB come, also where RSP is the user's.
static void syscall_from(uint64_t rsp, bool leaks) {
    set_up_whole(leaks);
    gs[0] = 0x6565;
    gs[1] = (uint64_t)&tables->stack;
    stepped.r[REG_RDX] = (greg_t)rsp;
    stepped.r[REG_RSP] = (greg_t)rsp;
    stepped.r[REG_R11] = 0x246;
    stepped.r[REG_RIP] = (greg_t)entry_syscall;
    struct machine user = stepped;
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
        stepped.r[REG_RDI] = stepped.r[REG_RSI] = stepped.r[REG_R8] = stepped.r[REG_R9] = 0x5a5a;
        stepped.r[REG_RCX] = stepped.r[REG_RDX] = stepped.r[REG_R10] = stepped.r[REG_R11] = 0x5a5a;
        stepped.r[REG_RAX] = -5;
        return_from_c();
        is_emptied = false;
    }
    interrupt_all(0);
    cr_expect(is_called);
    static const int kept[] = {REG_RBX, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9,
                               REG_R10, REG_R12, REG_R13, REG_R14, REG_R15};
    for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        cr_expect_eq(stepped.r[kept[i]], user.r[kept[i]], "register %d", kept[i]);
    cr_expect_eq((uint64_t)stepped.r[REG_RSP], rsp << 17 >> 17);
    cr_expect_eq(stepped.r[REG_RAX], -5);
    cr_expect_eq((uint64_t)stepped.r[REG_RCX], ABI_CALL_PAGE + 5, "behind its SYSCALL");
    cr_expect_eq(stepped.r[REG_R11], 0x202);
    cr_expect_eq(gs[0], 0x6565);
    cr_expect_eq(gs[1], (uint64_t)&tables->stack);
    cr_expect_eq(behind_verw == 3, leaks, "behind VERW registers alone are moved");
    cr_expect_gt(boundaries, 30);
}

Test(traps_entry, syscall_can_be_interrupted_everywhere) {
    syscall_from(0x7ffff008, false);
    syscall_from(0x7ffff008, true);
    syscall_from(0xffff800012345678, false); // only harms itself
    traps_empty_buffers = false;
}
