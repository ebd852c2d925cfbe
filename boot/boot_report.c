// SPDX-License-Identifier: Apache-2.0
// See boot/boot_report.h.
#include "boot/boot_report.h"

#include <stdarg.h>

#include "lib/fmt.h"
#include "lib/string.h"

void boot_report(struct boot_info *info, const char *format, ...) {
    char *line = info->report, *end = info->report + sizeof(info->report) - 1;
    while (*line != '\0')
        line += strlen(line) + 1;
    va_list arguments;
    va_start(arguments, format);
    // The last byte of all stays 0, behind the last line's end.
    size_t length = fmt_format_va(line, (size_t)(end - line), format, arguments);
    va_end(arguments);
    if (length >= (size_t)(end - line))
        memset(line, 0, (size_t)(end - line));
}
