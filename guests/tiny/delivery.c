// SPDX-License-Identifier: Apache-2.0
// Events whose delivery finds a stack that is not mapped yet: an exit ends the delivery, and the
// same event, no other, comes once more. In x2APIC mode the processor delivers interrupts by itself
// where it can.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR 0x51
#define FIRST  0x600000u // behind all that the guest and who loaded it have touched
#define ROUNDS 1u

static uint64_t next_stack = FIRST;

// The top of memory that nobody has touched, far enough from the last for large pages, too.
static uint64_t fresh_stack(void) {
    next_stack += SIZE_2M;
    return next_stack - PAGE_SIZE;
}

static void on_interrupt(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

static void nothing(struct trap_frame *frame) {
    (void)frame;
}

static void skip_undefined(struct trap_frame *frame) {
    frame->rip += 2;
}

// Runs `code` on a fresh stack.
#define ON_FRESH_STACK(code)                                                                       \
    __asm__ volatile("mov %%rsp, %%rbx; mov %0, %%rsp\n\t" code "\n\tmov %%rbx, %%rsp"             \
                     :                                                                             \
                     : "r"(fresh_stack())                                                          \
                     : "rax", "rbx", "rcx", "rdx", "memory", "cc")

// The last event before it is the other exception, which must not come again.
static void before(void) {
    __asm__ volatile(TRY("ud2") : : : TRY_CLOBBERS);
    CHECK_FAULT(EXC_UD, 0);
}

static void check_interrupt(void) {
    trap_count[VECTOR] = 0;
    before();
    lapic_send(0, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | VECTOR);
    ON_FRESH_STACK("sti; nop; nop; cli");
    CHECK_EQ(trap_count[VECTOR], 1);
}

// The NMI comes behind the instruction that sends it.
static void check_nmi(void) {
    trap_count[EXC_NMI] = 0;
    before();
    if (lapic_is_x2apic())
        ON_FRESH_STACK("mov $0x830, %%ecx; mov $0x4400, %%eax; xor %%edx, %%edx; wrmsr; nop");
    else
        ON_FRESH_STACK("mov $0xfee00300, %%ecx; mov $0x4400, %%eax; mov %%eax, (%%rcx); nop");
    CHECK_EQ(trap_count[EXC_NMI], 1);
}

static void check_exception(void) {
    trap_count[EXC_UD] = 0;
    trap_set_handler(EXC_UD, skip_undefined);
    ON_FRESH_STACK("ud2");
    trap_set_handler(EXC_UD, NULL);
    CHECK_EQ(trap_count[EXC_UD], 1);
}

static void check_software(void) {
    trap_count[VECTOR + 1] = 0;
    before();
    ON_FRESH_STACK("int $0x52; nop");
    CHECK_EQ(trap_count[VECTOR + 1], 1);
}

void test(void) {
    lapic_init(cmdline_has("x2apic"));
    trap_set_handler(VECTOR, on_interrupt);
    trap_set_handler(VECTOR + 1, nothing);
    trap_set_handler(EXC_NMI, nothing);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        check_interrupt();
        check_nmi();
        check_exception();
        check_software();
    }
}
