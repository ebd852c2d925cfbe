// SPDX-License-Identifier: Apache-2.0
// The AMD-V backend, whole, on a processor of paper: rules.mk includes this before everything else
// in each file of svm/ that unit-svm links. The registers are those of unit-vmx's; what the backend
// calls outside of itself is in support.c.
#pragma once

#include "tests/unit/vmx/host.h"

uint64_t paper_xgetbv(uint32_t index);
void paper_open_interrupts(void);

#define x86_xgetbv(index)    paper_xgetbv(index)
#define x86_sti_nop_cli()    paper_open_interrupts()
#define x86_read_dr7()       paper_read(PAPER_DR7)
#define x86_write_dr7(value) paper_write(PAPER_DR7, value)
