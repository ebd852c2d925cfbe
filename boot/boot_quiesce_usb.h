// SPDX-License-Identifier: Apache-2.0
// USB controllers, with which the firmware plays a PS/2 keyboard by system management interrupts:
// each is taken from it as its specification says, and stopped. See boot/boot_quiesce.h.
#pragma once

#include "boot/boot_quiesce.h"

enum boot_usb_result {
    BOOT_USB_FREE,   // it was not the firmware's
    BOOT_USB_TAKEN,  // the firmware let go of it
    BOOT_USB_FORCED, // the firmware did not, within a second
    BOOT_USB_SILENT, // its registers give ones: asleep, or behind a closed bridge; left alone
    BOOT_USB_HIDDEN, // its registers are not mapped; left alone
};

// `interface` is the last byte of the class code.
enum boot_usb_result boot_usb_take(const struct boot_bus *bus, uint32_t function,
                                   uint32_t interface);
