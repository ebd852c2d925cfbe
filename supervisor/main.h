// SPDX-License-Identifier: Apache-2.0
// What the rest of the supervisor may ask of its main loop.
#pragma once

#include "include/abi.h"

// When all VMs have ended, the main loop ends the machine, whatever the manifest says.
void main_power_when_ended(enum abi_power power);

// Ends all VMs and then, from the main loop, the machine.
void main_power(enum abi_power power);

// The process's entry point, from lib/start.S.
int main(void *start);
