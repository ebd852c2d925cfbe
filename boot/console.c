// SPDX-License-Identifier: Apache-2.0
// Printing to the firmware's console. OVMF and most servers mirror it to the serial line
// themselves.
#include "boot/loader.h"
#include "lib/fmt.h"

#define LINE_MAX     320
#define WAIT_SECONDS 10
#define UNITS_SECOND 10000000ull // timers of UEFI count 100 ns

static void print_text(const char *text) {
    SIMPLE_TEXT_OUTPUT_INTERFACE *console = loader_system->ConOut;
    CHAR16 wide[LINE_MAX + 1];
    uint32_t length = 0;
    if (console == NULL)
        return;
    for (; text[length] != '\0' && length < LINE_MAX; length++)
        wide[length] = (CHAR16)(uint8_t)text[length];
    wide[length] = 0;
    console->OutputString(console, wide);
}

static void print_arguments(const char *format, va_list arguments) {
    char line[LINE_MAX];
    fmt_format_va(line, sizeof(line), format, arguments);
    print_text(line);
}

void console_print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_arguments(format, arguments);
    va_end(arguments);
}

EFI_STATUS console_fail(EFI_STATUS status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_text("bulkhead: ");
    print_arguments(format, arguments);
    print_text("\r\n");
    va_end(arguments);
    return status;
}

void console_wait_key(void) {
    SIMPLE_INPUT_INTERFACE *keyboard = loader_system->ConIn;
    EFI_EVENT events[2];
    UINTN index;
    if (EFI_ERROR(loader_services->CreateEvent(EVT_TIMER, 0, NULL, NULL, &events[0])))
        return;
    loader_services->SetTimer(events[0], TimerRelative, WAIT_SECONDS * UNITS_SECOND);
    console_print("bulkhead: back to the firmware in %u s, or at a key\r\n", WAIT_SECONDS);
    UINTN count = 1;
    if (keyboard != NULL) {
        keyboard->Reset(keyboard, FALSE);
        events[count++] = keyboard->WaitForKey;
    }
    loader_services->WaitForEvent(count, events, &index);
    loader_services->CloseEvent(events[0]);
}
