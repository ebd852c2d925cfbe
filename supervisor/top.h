// SPDX-License-Identifier: Apache-2.0
// Who uses the CPUs: the tables of the commands "vm top" and "vm exits", and the line of a VM's
// whole life. The tables are about the time since they were last printed; the first time, since the
// VMs started.
#pragma once

#include "supervisor/vm.h"

// All VMs, and all CPUs.
void top_print(void);

// The exits of one VM by reason, the most frequent first.
void top_print_exits(const struct vm *vm);

// The VM is about to be taken apart: with the word "usage=on" on the host's command line, a line
// "usage NAME run R wait W throttled T exits E own-timer-exits O misses M switches S migrations G".
// With "usage=all" such a line for each VM that runs, and a line "exits NAME at TSC REASON:COUNT
// ..." behind it.
void top_say_usage(const struct vm *vm);
