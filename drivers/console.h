// SPDX-License-Identifier: Apache-2.0
// The host's console: COM1 both ways, and the framebuffer for the kernel's own lines. A machine may
// lack either; what is written is dropped then. Guests' bytes come from the supervisor
// (supervisor/console.c).
//
// Locks: one of rank LOCK_CONSOLE; it is held only here, and never while an event is signalled.
#pragma once

#include "include/boot.h"
#include "lib/types.h"

struct event;

// Finds COM1, maps the framebuffer (copied out of *fb), becomes the sink of the kernel's log, and
// shows the lines that were kept so far. Once, on the boot CPU, after space_init. Output is polled
// into the UART's FIFO and otherwise waits in a ring of 4 KiB until its interrupt: route
// UART_ISA_IRQ to VECTOR_CONSOLE before ring 3 runs.
void console_init(const struct boot_framebuffer *fb);
bool console_has_uart(void);

// The sink for log lines (kernel/log.h): one whole line a call, '\n' at its end. Any context that
// holds no lock of rank LOCK_CONSOLE. Never loses a line: when the ring is full it waits for the
// UART. In panic mode it waits for nothing but the UART.
void console_log(const char *text, size_t size);

// For ABI_CONSOLE_WRITE and ABI_CONSOLE_READ: take what fits, or what is there; return bytes. Bytes
// pass unchanged. No lock of rank LOCK_EVENT or higher may be held.
uint32_t console_write(const char *text, uint32_t size);
uint32_t console_read(char *text, uint32_t size);
// For ABI_CONSOLE_BIND: `mask` is signalled when input arrives, and when there is room after a
// write was cut short, whatever was written since. `event` NULL unbinds. Takes its own reference.
void console_bind(struct event *event, uint64_t mask);

// VECTOR_CONSOLE arrived. The caller sends the EOI. No lock may be held.
void console_interrupt(void);

// Waits until all output has left the wire; for power_off and halt. No lock of rank LOCK_CONSOLE.
void console_drain(void);
// From a panic: from now on nothing waits for a lock; sends what the ring holds, then every
// console_log goes out polled. May be called more than once, and before console_init: then the
// lines that the log kept come out on COM1.
void console_panic_mode(void);
