// SPDX-License-Identifier: Apache-2.0
// Debugging inside the guest: INT3 and INT1, single-stepping (also over instructions that the
// hypervisor carries out), breakpoints on code and data, DR6 and DR7, and that a debug register's
// access can be trapped.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define DR6_RESET   0xffff0ff0ULL
#define DR7_RESET   0x400ULL
#define DR7_L0      BIT(0)
#define DR7_WRITE_4 (1ULL << 16 | 3ULL << 18)
#define DR7_EXECUTE 0ULL
#define STEPS_MOST  64u

static volatile uint64_t steps[STEPS_MOST];
static volatile uint32_t step_count;
static volatile uint64_t last_dr6, last_rip;

static void on_step(struct trap_frame *frame) {
    last_dr6 = read_dr6();
    write_dr6(DR6_RESET);
    if (step_count < STEPS_MOST)
        steps[step_count] = frame->rip;
    step_count++;
}

static void on_breakpoint(struct trap_frame *frame) {
    last_rip = frame->rip;
    last_dr6 = read_dr6();
    write_dr6(DR6_RESET);
    frame->rflags |= RFLAGS_RF; // once
}

// Single-steps `code` between the flags' two changes; the labels are where each step must stop.
#define STEP(code, ...)                                                                            \
    do {                                                                                           \
        step_count = 0;                                                                            \
        __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq\n\t" code                             \
                         "\n\tpushfq; andq $~0x100, (%%rsp); popfq"                                \
                         :                                                                         \
                         : __VA_ARGS__                                                             \
                         : "rax", "rbx", "rcx", "rdx", "memory", "cc");                            \
    } while (0)
#define STEPS_AFTER 3u // PUSHFQ, ANDQ and POPFQ, which still traps

static void check_single_step(void) {
    trap_set_handler(EXC_DB, on_step);
    STEP("nop; nop", "i"(0));
    CHECK_EQ(step_count, 2 + STEPS_AFTER);
    CHECK(steps[1] == steps[0] + 1);
    CHECK(last_dr6 & DR6_BS);
    STEP("xor %%eax, %%eax; cpuid; nop", "i"(0));
    CHECK_EQ(step_count, 3 + STEPS_AFTER);
    CHECK(steps[1] == steps[0] + 2 && steps[2] == steps[1] + 1);
    STEP("xor %%eax, %%eax; outb %%al, $0x80; nop", "i"(0));
    CHECK_EQ(step_count, 3 + STEPS_AFTER);
    CHECK(steps[1] == steps[0] + 2 && steps[2] == steps[1] + 1);
    STEP("mov $0xfec00000, %%ebx; mov (%%rbx), %%ecx; nop", "i"(0)); // a device's register
    CHECK_EQ(step_count, 3 + STEPS_AFTER);
    CHECK(steps[1] == steps[0] + 2 && steps[2] == steps[1] + 1);
    STEP("mov $0x17a, %%ecx; rdmsr; nop", "i"(0)); // MCG_STATUS, which the VMM answers
    CHECK_EQ(step_count, 3 + STEPS_AFTER);
    STEP("mov %%ss, %%eax; mov %%eax, %%ss; nop; nop", "i"(0)); // a load of SS holds the trap back
    CHECK_EQ(step_count, 3 + STEPS_AFTER);
}

// The instruction behind which an event comes is carried out by the hypervisor: the event goes in
// at the entry at which the #DB is due, and the #DB comes first; an NMI then at its handler's first
// instruction.
static volatile uint32_t event_count, steps_before;

static void on_event(struct trap_frame *frame) {
    steps_before = step_count;
    event_count++;
    if (frame->vector != EXC_NMI)
        lapic_eoi();
}

#define EVENT_VECTOR 0x51u

static void check_step_with_event(void) {
    lapic_init(true);
    trap_set_handler(EXC_NMI, on_event);
    trap_set_handler(EVENT_VECTOR, on_event);
    event_count = 0;
    STEP("mov $0x830, %%ecx; xor %%edx, %%edx; mov $0x4400, %%eax; wrmsr; nop", "i"(0)); // an NMI
    CHECK_EQ(event_count, 1);
    CHECK_EQ(step_count, 5 + STEPS_AFTER);
    CHECK(steps_before >= 3 && steps[3] == steps[2] + 2 && steps[4] == steps[3] + 1);
    event_count = 0;
    interrupts_on();
    STEP("mov $0x830, %%ecx; xor %%edx, %%edx; mov $0x44051, %%eax; wrmsr; nop",
         "i"(0)); // to itself
    interrupts_off();
    CHECK_EQ(event_count, 1);
    CHECK_EQ(step_count, 5 + STEPS_AFTER);
    CHECK(steps_before >= 4 && steps[3] == steps[2] + 2 && steps[4] == steps[3] + 1);
    // A HLT that is stepped over is no HLT: nothing else would end this one.
    STEP("hlt; nop", "i"(0));
    CHECK_EQ(step_count, 2 + STEPS_AFTER);
}

static void check_software(void) {
    uint64_t after;
    __asm__ volatile(TRY("int3") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_BP, 0);
    trap_set_handler(EXC_DB, on_breakpoint);
    write_dr6(DR6_RESET);
    __asm__ volatile("lea 1f(%%rip), %0; .byte 0xf1; 1:" : "=r"(after) : : "memory"); // INT1
    CHECK_EQ(last_rip, after);
}

static void check_data_breakpoint(void) {
    static volatile uint32_t watched;
    trap_set_handler(EXC_DB, on_breakpoint);
    trap_count[EXC_DB] = 0;
    write_dr0((uintptr_t)&watched);
    write_dr7(DR7_RESET | DR7_L0 | DR7_WRITE_4);
    watched = 1;
    CHECK_EQ(trap_count[EXC_DB], 1);
    CHECK_EQ(last_dr6 & 0xf, 1);
    (void)watched;
    CHECK_EQ(trap_count[EXC_DB], 1);
    write_dr7(DR7_RESET);
    watched = 2;
    CHECK_EQ(trap_count[EXC_DB], 1);
}

static void check_code_breakpoint(void) {
    uint64_t at;
    trap_count[EXC_DB] = 0;
    __asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %%dr0; mov %%rax, %0; mov %1, %%dr7\n"
                     "1:\tcpuid"
                     : "=&S"(at)
                     : "D"(DR7_RESET | DR7_L0 | DR7_EXECUTE)
                     : "rax", "rbx", "rcx", "rdx", "memory");
    write_dr7(DR7_RESET);
    CHECK_EQ(trap_count[EXC_DB], 1);
    CHECK_EQ(last_rip, at);
}

static void check_registers(void) {
    CHECK_EQ(read_dr7(), DR7_RESET);
    write_dr0(0x1111);
    write_dr1(0x2222);
    write_dr2(0x3333);
    write_dr3(0xffff800000004444ULL);
    (void)cpuid(0, 0);
    out8(0x80, 0);
    CHECK_EQ(read_dr0(), 0x1111);
    CHECK_EQ(read_dr1(), 0x2222);
    CHECK_EQ(read_dr2(), 0x3333);
    CHECK_EQ(read_dr3(), 0xffff800000004444ULL);
    write_dr6(0);
    CHECK_EQ(read_dr6(), DR6_RESET);
    __asm__ volatile(TRY("mov %0, %%dr7") : : "r"(BIT(32)) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, 0);
    __asm__ volatile(TRY("mov %0, %%dr6") : : "r"(BIT(32)) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, 0);
    write_cr4(read_cr4() | CR4_DE);
    __asm__ volatile(TRY("mov %%dr4, %%rax") : : : "rax", TRY_CLOBBERS);
    CHECK_FAULT(EXC_UD, 0);
    write_cr4(read_cr4() & ~CR4_DE);
    write_dr7(DR7_RESET | DR7_GD);
    __asm__ volatile(TRY("mov %%dr0, %%rax") : : : "rax", TRY_CLOBBERS);
    CHECK_FAULT(EXC_DB, 0);
    CHECK(read_dr6() & DR6_BD);
    CHECK_EQ(read_dr7(), DR7_RESET); // the exception cleared GD
    write_dr6(DR6_RESET);
}

void test(void) {
    check_registers();
    check_software();
    check_single_step();
    check_step_with_event();
    check_data_breakpoint();
    check_code_breakpoint();
}
