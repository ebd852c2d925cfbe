// SPDX-License-Identifier: Apache-2.0
// Which UART is the machine's console: what the command line says, else the firmware's tables, else
// COM1.
#pragma once

#include "boot/boot_platform.h"

// Fills info->uart from the command line (`console=`), SPCR, DBG2 and the ISA interrupts in *info.
// Whether something answers there is the kernel's to find out. Returns a word of the command line
// that it does not understand, of *length characters; NULL: none.
const char *boot_console_choose(struct boot_info *info, uint32_t *length);
