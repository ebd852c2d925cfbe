// SPDX-License-Identifier: Apache-2.0
// Text from a printf format, without allocation and without floating point.
//
// Understood: flags `-` and `0`, a width in digits, lengths l ll z (all of 64 bits), and the
// conversions %d %u %x %c %s %p %%. %p prints 0x and 16 digits; a NULL for %s prints "(null)".
// Anything else, a width `*` too, is printed as it stands and takes no argument.
//
// Stateless: for any context, the kernel's panic path included.
#pragma once

#include <stdarg.h>
#include <stddef.h>

// Formats into out[0, size), always NUL-terminated when size > 0, cut off where it does not fit.
// Returns the length without the NUL that it would have had with enough room, as snprintf does.
size_t fmt_format(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
size_t fmt_format_va(char *out, size_t size, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));
