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

struct space;

// Stops all other CPUs. The caller holds no lock.
struct abi_audit audit_all(void);

#ifdef BULKHEAD_DEBUG
// Panic when something is wrong. Of one space: with its lock.
void audit_check_space(struct space *space);
void audit_check_all(void);
#define AUDIT_SPACE(space) audit_check_space(space)
#ifndef AUDIT_ALL // tests on the host end thousands of VMs on a machine of 12 GiB
#define AUDIT_ALL() audit_check_all()
#endif
#else
#define AUDIT_SPACE(space) ((void)0)
#define AUDIT_ALL()        ((void)0)
#endif
