// SPDX-License-Identifier: Apache-2.0
// Who has the terminal. In batch mode every VM prints behind its name and nobody reads; in
// interactive mode one VM, or the hypervisor's own console (the shell), has the focus: it alone
// prints and is typed to.
#pragma once

#include "supervisor/vm.h"

// Whether the VM's output goes to the host's console now, and so needs room there; else it is kept.
bool mux_is_on_console(const struct vm *vm);

// The life of a VM, as vm.c tells it.
void mux_vm_started(struct vm *vm);
void mux_vm_output(struct vm *vm, const uint8_t *bytes, uint32_t count);
// It has printed its last: what is said about its end is seen, whatever it did to the terminal.
void mux_vm_ends(const struct vm *vm);
void mux_vm_ended(struct vm *vm);

// Gives the terminal to a VM, or to the shell, and says so.
void mux_focus_vm(struct vm *vm);
void mux_focus_shell(void);

// Takes everything that was typed.
void mux_input(void);

// Once a turn of the main loop: brings back the shell's prompt when lines were printed over it.
void mux_refresh(void);

// Has the shell the focus?
bool mux_is_shell(void);

void mux_print_help(void);
