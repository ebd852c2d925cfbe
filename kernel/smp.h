// SPDX-License-Identifier: Apache-2.0
// All CPUs: bringing them up, and calls from one to another.
#pragma once

#include "arch/cpu.h"
#include "include/boot.h"

// The boot CPU's struct cpu, tables and idle thread. After topology_init.
void smp_init_boot_cpu(uint32_t apic_id);
// Starts these CPUs, one after the other, up to CPU_COUNT_MAX, in a page below 1 MiB; 0: there is
// none, and they are left off. Our own is skipped. One that does not come is named and left off.
// No longer maps that page.
void smp_start(const struct boot_cpu *cpus, uint32_t count, hpa_t low_page);

// Runs `function` on `cpu` (which may be this one) and waits for it. It runs with interrupts off
// and may take no lock that the caller holds.
void smp_call(struct cpu *cpu, void (*function)(void *), void *opaque);
// Runs `function` here while all other CPUs stand still, outside of any lock, with interrupts off.
// The caller holds no lock.
void smp_stop_and_call(void (*function)(void *), void *opaque);
// Makes every CPU that has this root loaded drop all translations, of the kernel's addresses too.
void smp_flush_root(hpa_t root);
// Makes every CPU do so. The caller holds no lock.
void smp_flush_all(void);
// VECTOR_WAKE: what others asked of this CPU.
void smp_interrupt(void);
// Stops all other CPUs for good, wherever they are.
void smp_stop_others(void);
