// SPDX-License-Identifier: Apache-2.0
// The figures that the benchmarks read: lines "stat NAME VALUE" at the end of a batch run.
//
//   memory_kernel    bytes the kernel itself holds
//   memory_overhead  bytes the hypervisor holds while VMs run, at most: kernel, supervisor and
//                    VMMs, without the guests' RAM and without the boot modules
//   boot_to_guest    TSC ticks from the kernel's entry to the first guest instruction
//   mwaits           how often a CPU waited by MWAIT, which the word "idle=mwait" asks for
//   vm_exits         of all VMs since boot
//   audits, audit_errors   with the word "audit=on" on the host's command line: audit.h
#pragma once

// While VMs run: takes the memory figures, and keeps the highest.
void stat_sample(void);

void stat_say(void);
