// SPDX-License-Identifier: Apache-2.0
// What the rest of the supervisor may ask of its main loop.
#pragma once

#include "include/abi.h"

// Ends all VMs and then, from the main loop, the machine.
void main_power(enum abi_power power);

// The process's entry point, from lib/start.S.
int main(void *start);
