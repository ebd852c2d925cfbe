// SPDX-License-Identifier: Apache-2.0
// The scheduler's and the interrupt handler's side of kernel/timer.h.
#pragma once

struct cpu;

void timer_init_cpu(struct cpu *cpu); // before the CPU arms its first timer
void timer_interrupt(void);           // VECTOR_TIMER: runs what has expired, programs the next
