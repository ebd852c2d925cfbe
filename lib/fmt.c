// SPDX-License-Identifier: Apache-2.0
// The printf formatter: parse_directive reads one %..., print_directive prints it.
#include "lib/fmt.h"

#include <stdbool.h>
#include <stdint.h>

#define FMT_DIGITS_MAX 20u // of UINT64_MAX in base 10

struct directive {
    bool is_left;
    bool is_zero_padded;
    bool is_long; // 64 bits on every target of ours
    char conversion;
    size_t width;
};

struct output {
    char *out;
    size_t room; // for text, without the NUL
    size_t total;
    va_list arguments;
};

static void emit(struct output *output, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++, output->total++)
        if (output->total < output->room)
            output->out[output->total] = text[i];
}

// Zeroes stand behind the sign, blanks before it.
static void emit_field(struct output *output, const struct directive *d, const char *text,
                       size_t length) {
    size_t fill = d->width > length ? d->width - length : 0;
    bool has_zeroes = d->is_zero_padded && !d->is_left;
    if (has_zeroes && *text == '-') {
        emit(output, text++, 1);
        length--;
    }
    for (; !d->is_left && fill > 0; fill--)
        emit(output, has_zeroes ? "0" : " ", 1);
    emit(output, text, length);
    for (; fill > 0; fill--)
        emit(output, " ", 1);
}

// Reads what follows a '%'. Returns where the text goes on.
static const char *parse_directive(const char *at, struct directive *d) {
    *d = (struct directive){.is_left = false};
    for (; *at == '-' || *at == '0'; at++) {
        d->is_left |= *at == '-';
        d->is_zero_padded |= *at == '0';
    }
    for (; *at >= '0' && *at <= '9'; at++)
        d->width = d->width * 10 + (size_t)(*at - '0');
    for (; *at == 'l' || *at == 'z'; at++)
        d->is_long = true;
    d->conversion = *at;
    return *at == '\0' ? at : at + 1;
}

static void print_number(struct output *output, const struct directive *d, uint64_t value) {
    char text[FMT_DIGITS_MAX + 1];
    size_t at = sizeof(text);
    unsigned base = d->conversion == 'd' || d->conversion == 'u' ? 10 : 16;
    bool is_negative = d->conversion == 'd' && (int64_t)value < 0;
    value = is_negative ? 0 - value : value;
    do {
        text[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    if (is_negative)
        text[--at] = '-';
    emit_field(output, d, &text[at], sizeof(text) - at);
}

static void print_string(struct output *output, struct directive *d, const char *text) {
    size_t length = 0;
    if (text == NULL)
        text = "(null)";
    while (text[length] != '\0')
        length++;
    d->is_zero_padded = false;
    emit_field(output, d, text, length);
}

static bool print_directive(struct output *output, struct directive *d) {
    switch (d->conversion) {
    case 'd':
    case 'u':
    case 'x':
        if (d->is_long)
            print_number(output, d, va_arg(output->arguments, uint64_t));
        else if (d->conversion == 'd')
            print_number(output, d, (uint64_t)va_arg(output->arguments, int));
        else
            print_number(output, d, va_arg(output->arguments, unsigned int));
        return true;
    case 'c':
        emit_field(output, d, (char[]){(char)va_arg(output->arguments, int)}, 1);
        return true;
    case 's':
        print_string(output, d, va_arg(output->arguments, const char *));
        return true;
    case 'p':
        *d = (struct directive){.is_zero_padded = true, .conversion = 'x', .width = 16};
        emit(output, "0x", 2);
        print_number(output, d, (uintptr_t)va_arg(output->arguments, void *));
        return true;
    case '%':
        emit(output, "%", 1);
        return true;
    default:
        return false;
    }
}

size_t fmt_format_va(char *out, size_t size, const char *format, va_list arguments) {
    struct output output = {.out = out, .room = size > 0 ? size - 1 : 0};
    const char *start = format; // of what is not printed yet
    va_copy(output.arguments, arguments);
    while (*format != '\0') {
        if (*format != '%') {
            format++;
            continue;
        }
        struct directive d;
        emit(&output, start, (size_t)(format - start));
        start = format;
        format = parse_directive(format + 1, &d);
        if (print_directive(&output, &d))
            start = format;
    }
    emit(&output, start, (size_t)(format - start));
    va_end(output.arguments);
    if (size > 0)
        out[output.total < output.room ? output.total : output.room] = '\0';
    return output.total;
}

size_t fmt_format(char *out, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t total = fmt_format_va(out, size, format, arguments);
    va_end(arguments);
    return total;
}
