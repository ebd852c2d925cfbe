// SPDX-License-Identifier: Apache-2.0
// Asks the kernel's auditor, which judges every frame of the machine, and tells what it found.
//
//   audit_print    the command "audit"
//   audit_after    a VM has ended: with the word "audit=on" on the host's command line, a line if
//                  there is an error
//   audit_stat     with that word: lines "stat audits N" and "stat audit_errors N"
#pragma once

void audit_print(void);
void audit_after(const char *name);
void audit_stat(void);
