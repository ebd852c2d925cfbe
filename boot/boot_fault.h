// SPDX-License-Identifier: Apache-2.0
// What is told of an exception between the boot services and the kernel's own handlers. No UEFI
// calls, so that the host's tests can link it.
#pragma once

#include <stddef.h>

#include "include/boot.h"

// As the processor and the entries of boot/fault.c push it, the last one first.
struct boot_fault {
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

#define BOOT_FAULT_TEXT_MAX 200u

// One line, without an end of line. `address` is CR2; `nmi_count` came before.
void boot_fault_print(char text[BOOT_FAULT_TEXT_MAX], const struct boot_fault *fault,
                      uint64_t address, uint32_t nmi_count);

// The text at the top of the screen, on as many rows as it takes; what does not fit is left out.
void boot_fault_draw(const struct boot_info *info, const char *text);
