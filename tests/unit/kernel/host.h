// SPDX-License-Identifier: Apache-2.0
// The kernel's modules on the host. rules.mk includes this before everything else in each file of
// kernel/ that the tests link, so that those see the processor below instead of a real one. What
// they call outside of themselves is in support.c.
//
// Memory: "physical" RAM that the kernel may touch is mapped at KERNEL_DIRECT + address. All other
// RAM is numbers only: a touch faults.
#pragma once

#include "arch/cpu.h"
#include "arch/paging.h"

#include <setjmp.h>

#undef KERNEL_DIRECT
#define KERNEL_DIRECT 0x200000000000ULL

#define HOST_CPUS 4u

// The whole audit, at the end of each VM: only where a test wants it.
extern bool host_audits;
#ifdef BULKHEAD_DEBUG
#define AUDIT_ALL() (host_audits ? audit_check_all() : (void)0)
#endif

struct cpu *host_cpu_current(void);
uint64_t host_rdtsc(void);
void host_pause(void);
void host_lfence(void);
#define cpu_current() host_cpu_current()
#define x86_rdtsc()   host_rdtsc()
#define x86_pause()   host_pause()
#define x86_lfence()  host_lfence()
extern uint64_t host_cr2;
#define x86_write_cr2(value) (host_cr2 = (value))
uint32_t host_in(uint16_t port, uint32_t width);
void host_out(uint16_t port, uint32_t width, uint32_t value);
#define x86_inb(port)         ((uint8_t)host_in(port, 1))
#define x86_inw(port)         ((uint16_t)host_in(port, 2))
#define x86_inl(port)         host_in(port, 4)
#define x86_outb(port, value) host_out(port, 1, value)
#define x86_outw(port, value) host_out(port, 2, value)
#define x86_outsb(port, bytes, count)                                                              \
    for (size_t i_ = 0; i_ < (count); i_++)                                                        \
    host_out(port, 1, (bytes)[i_])
#define x86_outl(port, value) host_out(port, 4, value)
// The host's stacks are not the kernel's.
#define x86_leave_stack(top, run) run()
