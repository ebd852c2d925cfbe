// SPDX-License-Identifier: Apache-2.0
// What is done for a VM is charged to its group: the supervisor's time, and the console driver's
// for what the VM prints. So a VM pays for what it makes others do, out of its own cap and share.
//
//   charge_begin     from now on the supervisor works for one VM
//   charge_end       until now; the VM's group is charged
//   charge_is_paid   whether more may be done for it: a VM with a cap is served as its cap pays
//                    for it, and a quarter of a second ahead. Else what it has printed, and
//                    stands behind its name by then, would keep others busy for long, at once.
//
// What a byte costs the driver is measured: its time, by the bytes that it has printed.
#pragma once

#include "supervisor/vm.h"

void charge_begin(void);
void charge_end(struct vm *vm);
bool charge_is_paid(const struct vm *vm);
