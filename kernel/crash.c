// SPDX-License-Identifier: Apache-2.0
// How the kernel ends: the crash record of a bug of ours, and the refusal to start.
//
// The record is lines of `[bulkhead] panic: ...`, so that it can be cut out of any log: message,
// CPU, registers, the stack's words, and how often each VM exit happened on this CPU.
#include "arch/traps.h"
#include "arch/tsc.h"
#include "kernel/log.h"
#include "kernel/machine.h"
#include "kernel/machine_check.h"
#include "kernel/power.h"
#include "kernel/smp.h"
#include "kernel/thread.h"
#include "lib/fmt.h"
#include <stdarg.h>

extern const uint8_t image_text[], image_rodata[];

static uint32_t is_panicking; // atomic

static _Noreturn void stop(void) {
    x86_cli();
    for (;;)
        x86_hlt();
}

static _Noreturn void end_machine(void) {
    if (machine.words.reset_seconds != 0) {
        log_line("resets in %u s (panic=reset)", machine.words.reset_seconds);
        for (uint64_t since = x86_rdtsc();
             x86_rdtsc() - since < machine.words.reset_seconds * tsc_hz;)
            x86_pause();
        power_reset();
    }
    if (machine.words.is_batch)
        power_off();
    stop();
}

// Only one CPU speaks. The others, and a panic inside a panic, stop.
static void begin(void) {
    if (__atomic_exchange_n(&is_panicking, 1, __ATOMIC_ACQ_REL) != 0)
        stop();
    if (cpu_count > 1)
        smp_stop_others();
    log_panic();
}

_Noreturn void halt_machine(const char *reason) {
    begin();
    log_line("halted: %s", reason);
    end_machine();
}

// The kernel keeps no frame pointers: words that point into its code are as good as a backtrace.
static void print_stack(uint64_t rsp) {
    unsigned count = 0;
    if (rsp / CPU_STACK_SIZE % 2 == 0)
        rsp += CPU_STACK_SIZE - rsp % CPU_STACK_SIZE; // an overflow: in the guard below
    uint64_t top = rsp | (CPU_STACK_SIZE - 1);
    for (uint64_t a = align_up(rsp, 8); a + 8 <= top && count < 24; a += 8) {
        uint64_t word = *(const uint64_t *)a;
        if (word < (uint64_t)image_text || word >= (uint64_t)image_rodata)
            continue;
        log_line("panic: stack 0x%lx: 0x%lx", a, word);
        count++;
    }
}

// Oldest first. Before as many have happened, the first ones read as reason 0.
static void print_recent_exits(const struct cpu *cpu) {
    char text[CPU_RECENT_EXITS * 4 + 1];
    size_t size = 0;
    for (unsigned i = 0; i < CPU_RECENT_EXITS; i++)
        size += fmt_format(text + size, sizeof(text) - size, " %u",
                           cpu->recent[(cpu->recent_next + i) % CPU_RECENT_EXITS]);
    log_line("panic: reasons of the last VM exits, oldest first:%s", text);
}

static void print_cpu(void) {
    const struct cpu *cpu = cpu_current();
    const struct thread *thread = cpu->current;
    log_line("panic: on CPU %u (APIC ID %u), thread %p, process %p, vCPU %p", cpu->index,
             cpu->apic_id, (const void *)thread,
             thread != NULL ? (const void *)thread->process : NULL, (const void *)cpu->loaded_vcpu);
    machine_check_print("panic");
    print_recent_exits(cpu);
    for (unsigned i = 0; i < ARRAY_COUNT(cpu->exits); i++)
        if (cpu->exits[i] != 0)
            log_line("panic: VM exits for reason %u: %lu", i, cpu->exits[i]);
}

_Noreturn void panic(const char *format, ...) {
    char message[160];
    va_list arguments;
    x86_cli();
    begin();
    va_start(arguments, format);
    fmt_format_va(message, sizeof(message), format, arguments);
    va_end(arguments);
    log_line("panic: %s", message);
    print_cpu();
    print_stack((uint64_t)__builtin_frame_address(0));
    end_machine();
}

_Noreturn void trap_kernel_exception(const struct trap_frame *f) {
    begin();
    log_line("panic: exception %lu, error 0x%lx, at 0x%lx in the kernel", f->vector, f->error,
             f->rip);
    log_line("panic: rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
    log_line("panic: rsi %016lx rdi %016lx rbp %016lx rsp %016lx", f->rsi, f->rdi, f->rbp, f->rsp);
    log_line("panic: r8  %016lx r9  %016lx r10 %016lx r11 %016lx", f->r8, f->r9, f->r10, f->r11);
    log_line("panic: r12 %016lx r13 %016lx r14 %016lx r15 %016lx", f->r12, f->r13, f->r14, f->r15);
    log_line("panic: cs 0x%lx ss 0x%lx rflags 0x%lx cr2 0x%lx cr3 0x%lx", f->cs, f->ss, f->rflags,
             x86_read_cr2(), x86_read_cr3());
    print_cpu();
    print_stack(f->rsp);
    end_machine();
}

void nmi_handle(void) {
    // The only NMI that we send says: stop, another CPU panics. One of the hardware's says nothing.
    if (__atomic_load_n(&is_panicking, __ATOMIC_ACQUIRE) != 0)
        stop();
}
