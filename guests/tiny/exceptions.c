// SPDX-License-Identifier: Apache-2.0
// Exceptions of all kinds reach the guest's own handlers with the right error code, and return to
// the right place.
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define NON_CANONICAL         0x800000000000ULL
#define MXCSR_DIVIDE_UNMASKED 0x1d80u
#define IDT_ERROR(vector)     ((vector)*8u + 2u)

static void check_arithmetic(void) {
    __asm__ volatile(TRY("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx")
                     :
                     :
                     : "rax", "rcx", "rdx", TRY_CLOBBERS);
    CHECK_FAULT(EXC_DE, 0);
    __asm__ volatile(TRY("mov $0x8000000000000000, %%rax; cqo; mov $-1, %%rcx; idiv %%rcx")
                     :
                     :
                     : "rax", "rcx", "rdx", TRY_CLOBBERS);
    CHECK_FAULT(EXC_DE, 0);
}

static void check_undefined(void) {
    __asm__ volatile(TRY("ud2") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_UD, 0);
    __asm__ volatile(TRY(".byte 0x06") : : : TRY_CLOBBERS); // PUSH ES, not in 64-bit mode
    CHECK_FAULT(EXC_UD, 0);
    __asm__ volatile(TRY(".byte 0xf0, 0x90") : : : TRY_CLOBBERS); // LOCK NOP
    CHECK_FAULT(EXC_UD, 0);
}

static void check_segments(void) {
    __asm__ volatile(TRY("mov %w0, %%es") : : "r"(SELECTOR_NOT_PRESENT) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_NP, SELECTOR_NOT_PRESENT);
    __asm__ volatile(TRY("mov %w0, %%ss") : : "r"(SELECTOR_NOT_PRESENT) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_SS, SELECTOR_NOT_PRESENT);
    __asm__ volatile(TRY("mov %w0, %%es") : : "r"(SELECTOR_BEYOND) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, SELECTOR_BEYOND);
    __asm__ volatile(TRY("mov %w0, %%ss") : : "r"(SELECTOR_CODE) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, SELECTOR_CODE);
    __asm__ volatile(TRY("ltr %w0") : : "r"(SELECTOR_TSS) : TRY_CLOBBERS); // busy
    CHECK_FAULT(EXC_GP, SELECTOR_TSS);
}

static void check_addresses(void) {
    __asm__ volatile(TRY("mov (%0), %%al") : : "S"(NON_CANONICAL) : "rax", TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, 0);
    __asm__ volatile("push %%rbp; mov %0, %%rbp\n\t" TRY("mov (%%rbp), %%al") "pop %%rbp"
                     :
                     : "S"(NON_CANONICAL)
                     : "rax", TRY_CLOBBERS);
    CHECK_FAULT(EXC_SS, 0);
    // Nothing can be pushed there, either: a double fault, which has a stack of its own.
    __asm__ volatile("mov %%rsp, %%rbx\n\t" TRY("mov %0, %%rsp; pop %%rax") "mov %%rbx, %%rsp"
                     :
                     : "S"(NON_CANONICAL)
                     : "rax", "rbx", TRY_CLOBBERS);
    CHECK_FAULT(EXC_DF, 0);
    __asm__ volatile(TRY("jmp *%0") : : "r"(NON_CANONICAL) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, 0);
}

// INT n to a gate that is not there, and an exception whose own gate is not: a double fault.
static void check_gates(void) {
    trap_set_present(0x70, false);
    __asm__ volatile(TRY("int $0x70") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_NP, IDT_ERROR(0x70));
    trap_set_present(EXC_GP, false);
    trap_set_present(EXC_NP, false);
    __asm__ volatile(TRY("mov (%0), %%al") : : "S"(NON_CANONICAL) : "rax", TRY_CLOBBERS);
    CHECK_FAULT(EXC_DF, 0);
    trap_set_present(EXC_NP, true);
    trap_set_present(EXC_GP, true);
}

static uint64_t after_int;

static void on_int(struct trap_frame *frame) {
    CHECK_EQ(frame->rip, after_int);
    CHECK_EQ(frame->rax, 0x1234);
    frame->rax = 0x5678;
}

static void check_int(void) {
    uint64_t rax = 0x1234;
    trap_set_handler(0x71, on_int);
    __asm__ volatile("lea 1f(%%rip), %%rcx; mov %%rcx, %1; int $0x71; 1:"
                     : "+a"(rax), "=m"(after_int)
                     :
                     : "rcx", "memory");
    CHECK_EQ(rax, 0x5678);
    CHECK_EQ(trap_count[0x71], 1);
}

static void check_fpu(void) {
    uint16_t control = 0x037b; // division by zero unmasked
    uint32_t mxcsr = MXCSR_DIVIDE_UNMASKED;
    write_cr0((read_cr0() & ~CR0_EM) | CR0_NE | CR0_TS | CR0_MP);
    __asm__ volatile(TRY("fnop") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_NM, 0);
    __asm__ volatile("clts");
    __asm__ volatile("fninit; fldcw %0; fldz; fld1; fdivp" : : "m"(control));
    __asm__ volatile(TRY("fwait") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_MF, 0);
    __asm__ volatile("fninit");
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    __asm__ volatile("ldmxcsr %0; xorps %%xmm0, %%xmm0; mov $1, %%eax; cvtsi2ss %%eax, %%xmm1"
                     :
                     : "m"(mxcsr)
                     : "rax");
    __asm__ volatile(TRY("divss %%xmm0, %%xmm1") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_XM, 0);
    write_cr0(read_cr0() | CR0_EM);
    __asm__ volatile(TRY("xorps %%xmm0, %%xmm0") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_UD, 0);
    write_cr0(read_cr0() & ~CR0_EM);
}

// SDM 3A 8.7: a return with NT set is a task switch, which long mode does not have.
static void check_nested_task(void) {
    __asm__ volatile("mov %%rsp, %%rbx; pushfq; orq $0x4000, (%%rsp); popfq\n\t" TRY(
                         "iretq") "mov %%rbx, %%rsp; pushfq; andq $~0x4000, (%%rsp); popfq"
                     :
                     :
                     : "rbx", TRY_CLOBBERS);
    CHECK_FAULT(EXC_GP, 0);
}

void test(void) {
    check_arithmetic();
    check_undefined();
    check_segments();
    check_addresses();
    check_gates();
    check_int();
    check_fpu();
    check_nested_task();
}
