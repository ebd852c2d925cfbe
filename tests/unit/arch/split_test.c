// SPDX-License-Identifier: Apache-2.0
// arch/split.S: events at each instruction of the entries where the user's tables are its own.
#include "tests/unit/arch/split_support.h"

#include "arch/mitigation.h"

extern const uint8_t entry_sysenter_split[], sysexit_split[];
extern const uint8_t trap_return_split[];
extern const uint8_t trap_common[], trap_common_pushed[], sysenter_split[], trap_return_whole[];
void trap_dispatch(struct trap_frame *frame); // the real one, which is not run
void split_flush_user(uint64_t user_cr3, uint64_t kernel_cr3);

static void system_call(bool is_pcid) {
    set_up(is_pcid);
    load_cr3(tables->user_cr3);
    struct machine before = stepped;
    stepped.r[REG_RSP] = (greg_t)&tables->stack;
    stepped.r[REG_RIP] = (greg_t)entry_sysenter_split;
    flushes = 0;
    run_to(sysenter_split);
    cr_expect_eq(cr3, KERNEL_ROOT_);
    cr_expect_eq((uint64_t)stepped.r[REG_RSP], thread_stack());
    check_kept(&before, REG_RDX, REG_RDX);
    run_to((const uint8_t *)syscall_dispatch);
    // And back.
    return_from_c();
    run_to(sysexit_split);
    cr_expect_eq(stepped.r[REG_RCX], 0x222222222222, "no address at which SYSEXIT faults");
    cr_expect_eq((uint64_t)stepped.r[REG_R11], tables->user_cr3);
    before = stepped;
    while (!is_sysexit()) {
        interrupt_all(0);
        step();
    }
    interrupt_all(0);
    cr_expect(is_user_root() && stepped.r[REG_R11] == 0);
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

static void trap(unsigned vector, bool is_pcid) {
    bool has_error = vector == EXC_PF || vector == EXC_GP;
    set_up(is_pcid);
    load_cr3(tables->user_cr3);
    struct machine before = stepped;
    stepped.r[REG_RSP] = (greg_t)tables->tss.rsp[0];
    push_user_frame(has_error);
    stepped.r[REG_RIP] = (greg_t)(trap_entries_split + 16 * vector);
    run_to(trap_common_pushed);
    cr_expect_eq(cr3, KERNEL_ROOT_);
    check_kept(&before, REG_RAX, REG_RAX);
    check_clean(ENTRY_NORMAL);
    const uint64_t *frame = (const uint64_t *)stepped.r[REG_RSP];
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
    cr_expect_arr_eq((const void *)stepped.r[REG_RSP], &expected[3], 5 * sizeof(expected[0]));
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
    stepped.r[REG_RIP] = (greg_t)entry_sysenter_split;
    stepped.r[REG_RSP] = (greg_t)&tables->stack;
    load_cr3(tables->user_cr3);
    interrupt_all(0);
    cr_expect_gt(boundaries, 100);
}

Test(split, events_come_in_ring_3_and_in_the_kernel) {
    set_up(true);
    stepped.r[REG_RIP] = 0x401000;
    load_cr3(tables->user_cr3);
    interrupt_all(0);
    load_cr3(KERNEL_ROOT_);
    stepped.r[REG_RIP] = (greg_t)trap_common;
    stepped.r[REG_RSP] = (greg_t)thread_stack();
    interrupt_all(0);
}

// What the handler changes of the frame is what the processor goes on with.
Test(split, handlers_can_clear_the_trap_flag) {
    set_up(false);
    load_cr3(tables->user_cr3);
    stepped.r[REG_RSP] = (greg_t)tables->tss.ist[ENTRY_DB - ENTRY_NMI];
    push(0);
    push((uint64_t)&tables->stack);
    push(0x302);
    push(KERNEL_CS);
    push((uint64_t)entry_sysenter_split);
    stepped.r[REG_RIP] = (greg_t)(trap_entries_split + 16 * EXC_DB);
    while (!is_at((const uint8_t *)trap_dispatch))
        step();
    struct trap_frame *frame = (struct trap_frame *)stepped.r[REG_RDI];
    cr_expect(frame->rflags == 0x302 && frame->rip == (uint64_t)entry_sysenter_split);
    frame->rflags &= ~RFLAGS_TF;
    return_from_c();
    while (!is_iretq())
        step();
    const uint64_t expected[] = {(uint64_t)entry_sysenter_split, KERNEL_CS, 0x202,
                                 (uint64_t)&tables->stack, 0};
    cr_expect_arr_eq((const void *)stepped.r[REG_RSP], expected, sizeof(expected));
    cr_expect(is_user_root());
}

// Exceptions of ring 0 without a stack of their own stay where they are, in and out.
Test(split, ring_0_keeps_its_stack) {
    set_up(false);
    stepped.r[REG_RSP] = (greg_t)thread_stack();
    push_user_frame(true);
    ((uint64_t *)stepped.r[REG_RSP])[2] = KERNEL_CS;
    uint64_t rsp = (uint64_t)stepped.r[REG_RSP];
    stepped.r[REG_RIP] = (greg_t)(trap_entries_split + 16 * EXC_PF);
    run_to(trap_common);
    cr_expect_eq((uint64_t)stepped.r[REG_RSP], rsp - 8);
    stepped.r[REG_RIP] = (greg_t)trap_return_split;
    run_to(trap_return_whole);
    cr_expect_eq((uint64_t)stepped.r[REG_RSP], rsp - 8);
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
        stepped.r[REG_RSP] = (greg_t)thread_stack();
        push((uint64_t)trap_common);
        stepped.r[REG_RDI] = (greg_t)tables->user_cr3_read;
        stepped.r[REG_RSI] = KERNEL_ROOT_;
        stepped.r[REG_RIP] = (greg_t)split_flush_user;
        flushes = 0;
        run_to(trap_common);
        cr_expect_geq(flushes, 2);
        cr_expect_eq(cr3, KERNEL_ROOT_);
    }
}
