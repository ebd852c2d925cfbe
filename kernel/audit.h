// SPDX-License-Identifier: Apache-2.0
// The isolation auditor: for every frame of the machine, that it has one owner and is mapped only
// where and with the rights that its owner was given. It believes what the kernel's objects say
// (which memory object has which chunks, which region shows which part of it) and holds against it
// what the tables really hold, of processes, of VMs and of the kernel itself.
//
// A whole audit makes all CPUs stand still: for a time that grows with the frames, the leaves and
// the objects, some milliseconds a GiB where large pages map it. So it is for whoever holds the
// machine, and not for every day of a machine with real-time VMs. Debug builds judge a space after
// each change of it, with its lock, and everything when a VM has ended.
#pragma once

#include "include/abi.h"

struct process;
struct vm;

// Stops all other CPUs. The caller holds no lock.
struct abi_audit audit_all(void);

#ifdef BULKHEAD_DEBUG
// Panic when something is wrong. Of one space: with its lock.
void audit_check_process(struct process *process);
void audit_check_vm(struct vm *vm);
void audit_check_all(void);
#define AUDIT_PROCESS(process) audit_check_process(process)
#define AUDIT_VM(vm)           audit_check_vm(vm)
#ifndef AUDIT_ALL // tests on the host end thousands of VMs on a machine of 12 GiB
#define AUDIT_ALL() audit_check_all()
#endif
#else
#define AUDIT_PROCESS(process) ((void)0)
#define AUDIT_VM(vm)           ((void)0)
#define AUDIT_ALL()            ((void)0)
#endif
