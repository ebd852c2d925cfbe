// SPDX-License-Identifier: Apache-2.0
// The printf formatter: parse_directive reads one %..., print_directive prints it to the sink, and
// fmt_format is a sink that fills a buffer. Widths are capped (FMT_WIDTH_MAX), so that a format
// with an argument gone wrong costs bounded time.
#include "lib/fmt.h"

#include <stdbool.h>
#include <stdint.h>

#define FMT_WIDTH_MAX  1024u
#define FMT_DIGITS_MAX 20u // of UINT64_MAX in base 10
#define POINTER_WIDTH  18u // 0x and 16 digits

struct directive {
    bool is_left;
    bool is_zero_padded;
    bool is_long; // 64 bits on every target of ours
    char conversion;
    uint32_t width;
};

struct output {
    fmt_sink *sink;
    void *context;
    size_t total;
    va_list arguments;
};

static void emit(struct output *output, const char *text, size_t length) {
    if (length > 0)
        output->sink(output->context, text, length);
    output->total += length;
}

static void emit_repeated(struct output *output, char c, size_t count) {
    for (size_t i = 0; i < count; i++)
        emit(output, &c, 1);
}

// `prefix` ("-", "0x" or "") stands before the zeroes that fill up, behind the blanks.
static void emit_field(struct output *output, const struct directive *d, const char *prefix,
                       const char *text, size_t length) {
    size_t prefix_length = prefix[0] == '\0' ? 0 : prefix[1] == '\0' ? 1 : 2;
    size_t all = prefix_length + length;
    size_t fill = d->width > all ? d->width - all : 0;
    bool has_zeroes = d->is_zero_padded && !d->is_left;
    emit_repeated(output, ' ', d->is_left || has_zeroes ? 0 : fill);
    emit(output, prefix, prefix_length);
    emit_repeated(output, '0', has_zeroes ? fill : 0);
    emit(output, text, length);
    emit_repeated(output, ' ', d->is_left ? fill : 0);
}

static uint32_t parse_width(const char **at, struct output *output) {
    int64_t value = 0;
    if (**at == '*') {
        (*at)++;
        value = va_arg(output->arguments, int);
    }
    for (; **at >= '0' && **at <= '9'; (*at)++)
        if (value < FMT_WIDTH_MAX)
            value = value * 10 + (**at - '0');
    if (value < 0)
        return 0;
    return value < FMT_WIDTH_MAX ? (uint32_t)value : FMT_WIDTH_MAX;
}

// Reads what follows a '%'. Returns where the text goes on.
static const char *parse_directive(const char *at, struct directive *d, struct output *output) {
    *d = (struct directive){.is_left = false};
    for (; *at == '-' || *at == '0'; at++) {
        d->is_left |= *at == '-';
        d->is_zero_padded |= *at == '0';
    }
    d->width = parse_width(&at, output);
    for (; *at == 'l' || *at == 'z'; at++)
        d->is_long = true;
    d->conversion = *at;
    return *at == '\0' ? at : at + 1;
}

static uint64_t take_unsigned(const struct directive *d, struct output *output) {
    return d->is_long ? va_arg(output->arguments, uint64_t)
                      : va_arg(output->arguments, unsigned int);
}

static int64_t take_signed(const struct directive *d, struct output *output) {
    return d->is_long ? va_arg(output->arguments, int64_t) : va_arg(output->arguments, int);
}

static void print_number(struct output *output, const struct directive *d, const char *prefix,
                         uint64_t value, unsigned int base) {
    char text[FMT_DIGITS_MAX];
    size_t length = 0;
    do {
        text[FMT_DIGITS_MAX - ++length] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    emit_field(output, d, prefix, &text[FMT_DIGITS_MAX - length], length);
}

static void print_signed(struct output *output, const struct directive *d, int64_t value) {
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    print_number(output, d, value < 0 ? "-" : "", magnitude, 10);
}

static void print_string(struct output *output, struct directive *d, const char *text) {
    size_t length = 0;
    if (text == NULL)
        text = "(null)";
    while (text[length] != '\0')
        length++;
    d->is_zero_padded = false;
    emit_field(output, d, "", text, length);
}

static bool print_directive(struct output *output, struct directive *d) {
    switch (d->conversion) {
    case 'd':
        print_signed(output, d, take_signed(d, output));
        return true;
    case 'u':
        print_number(output, d, "", take_unsigned(d, output), 10);
        return true;
    case 'x':
        print_number(output, d, "", take_unsigned(d, output), 16);
        return true;
    case 'c':
        emit_field(output, d, "", (char[]){(char)va_arg(output->arguments, int)}, 1);
        return true;
    case 's':
        print_string(output, d, va_arg(output->arguments, const char *));
        return true;
    case 'p':
        d->width = POINTER_WIDTH;
        d->is_zero_padded = true;
        d->is_left = false;
        print_number(output, d, "0x", (uintptr_t)va_arg(output->arguments, void *), 16);
        return true;
    case '%':
        emit(output, "%", 1);
        return true;
    default:
        return false;
    }
}

size_t fmt_write_va(fmt_sink *sink, void *context, const char *format, va_list arguments) {
    struct output output = {.sink = sink, .context = context};
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
        format = parse_directive(format + 1, &d, &output);
        if (print_directive(&output, &d))
            start = format;
    }
    emit(&output, start, (size_t)(format - start));
    va_end(output.arguments);
    return output.total;
}

struct buffer {
    char *out;
    size_t room; // for text, without the NUL
    size_t used;
};

static void buffer_sink(void *context, const char *text, size_t length) {
    struct buffer *buffer = context;
    for (size_t i = 0; i < length && buffer->used < buffer->room; i++)
        buffer->out[buffer->used++] = text[i];
}

size_t fmt_format_va(char *out, size_t size, const char *format, va_list arguments) {
    struct buffer buffer = {.out = out, .room = size > 0 ? size - 1 : 0};
    size_t total = fmt_write_va(buffer_sink, &buffer, format, arguments);
    if (size > 0)
        out[buffer.used] = '\0';
    return total;
}

size_t fmt_format(char *out, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t total = fmt_format_va(out, size, format, arguments);
    va_end(arguments);
    return total;
}
