// SPDX-License-Identifier: Apache-2.0
// The crash dump of a vCPU: what a person needs to find out why its guest died.
#pragma once

#include "vmm/process.h"

// Reports what the processor told of a failure, registers, the code at RIP, the words on the stack
// and the last exits, about 20 lines.
// Called by the vCPU's own thread, outside vcpu_run.
void dump_vcpu(struct vcpu *vcpu);
