// SPDX-License-Identifier: Apache-2.0
// The VT-x backend, whole, on a processor of paper: rules.mk includes this before everything else
// in each file of vmx/ that unit-vmx links. What the backend calls outside of itself is in
// support.c.
#pragma once

#include "arch/cpu.h"
#include "arch/features.h"
#include "arch/paging.h"

#undef KERNEL_DIRECT
#define KERNEL_DIRECT 0ULL // pages are the host's

struct cpu *paper_cpu_current(void);
uint64_t paper_rdmsr(uint32_t msr);
void paper_wrmsr(uint32_t msr, uint64_t value);
uint64_t paper_read(unsigned reg);
void paper_write(unsigned reg, uint64_t value);
void paper_xsetbv(uint32_t index, uint64_t value);
void paper_xsave(void *area, uint64_t mask);
void paper_xrstor(const void *area, uint64_t mask);
void paper_clts(void);
void paper_call_nmi(void);
uint64_t paper_rdtsc(void);

// Registers of the paper processor.
enum paper_register {
    PAPER_CR0,
    PAPER_CR2 = 2,
    PAPER_CR3,
    PAPER_CR4,
    PAPER_DR0 = 16,
    PAPER_DR1,
    PAPER_DR2,
    PAPER_DR3,
    PAPER_DR6 = 22,
    PAPER_DR7,
    PAPER_REGISTERS,
};
#define PAPER_FX (1ULL << 63) // the mask with which FXSAVE and FXRSTOR are seen

#define cpu_current()            paper_cpu_current()
#define x86_rdtsc()              paper_rdtsc()
#define x86_rdmsr(msr)           paper_rdmsr(msr)
#define x86_wrmsr(msr, value)    paper_wrmsr(msr, value)
#define x86_xsetbv(index, value) paper_xsetbv(index, value)
#define x86_xsave(area, mask)    paper_xsave(area, mask)
#define x86_xrstor(area, mask)   paper_xrstor(area, mask)
#define x86_fxsave(area)         paper_xsave(area, PAPER_FX)
#define x86_fxrstor(area)        paper_xrstor(area, PAPER_FX)
#define x86_clts()               paper_clts()
#define x86_call_nmi()           paper_call_nmi()
#define x86_read_cr0()           paper_read(PAPER_CR0)
#define x86_write_cr0(value)     paper_write(PAPER_CR0, value)
#define x86_read_cr2()           paper_read(PAPER_CR2)
#define x86_write_cr2(value)     paper_write(PAPER_CR2, value)
#define x86_read_cr3()           paper_read(PAPER_CR3)
#define x86_read_cr4()           paper_read(PAPER_CR4)
#define x86_write_cr4(value)     paper_write(PAPER_CR4, value)
#define x86_read_dr0()           paper_read(PAPER_DR0)
#define x86_write_dr0(value)     paper_write(PAPER_DR0, value)
#define x86_read_dr1()           paper_read(PAPER_DR1)
#define x86_write_dr1(value)     paper_write(PAPER_DR1, value)
#define x86_read_dr2()           paper_read(PAPER_DR2)
#define x86_write_dr2(value)     paper_write(PAPER_DR2, value)
#define x86_read_dr3()           paper_read(PAPER_DR3)
#define x86_write_dr3(value)     paper_write(PAPER_DR3, value)
#define x86_read_dr6()           paper_read(PAPER_DR6)
#define x86_write_dr6(value)     paper_write(PAPER_DR6, value)
