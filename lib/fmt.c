// SPDX-License-Identifier: Apache-2.0
// The printf formatter: parse_directive reads one %..., print_* prints it to the sink, and
// fmt_format is a sink that fills a buffer. Widths and precisions are capped (FMT_WIDTH_MAX), so
// that a format with an argument gone wrong costs bounded time.
#include "lib/fmt.h"

#include <stdbool.h>
#include <stdint.h>

#define FMT_WIDTH_MAX  1024
#define FMT_DIGITS_MAX 20 // of UINT64_MAX in base 10

enum length { LENGTH_CHAR, LENGTH_SHORT, LENGTH_INT, LENGTH_LONG, LENGTH_LONG_LONG };

struct directive {
    bool is_left;
    bool is_zero_padded;
    bool has_precision;
    size_t width;
    size_t precision;
    enum length length;
    char conversion;
};

struct output {
    fmt_sink *sink;
    void *context;
    size_t total;
};

struct arguments {
    va_list list;
};

static void emit(struct output *output, const char *text, size_t length) {
    if (length == 0) {
        return;
    }
    output->sink(output->context, text, length);
    output->total += length;
}

static void emit_repeated(struct output *output, char c, size_t count) {
    for (size_t i = 0; i < count; i++) {
        emit(output, &c, 1);
    }
}

static void emit_padded(struct output *output, const struct directive *d, const char *text,
                        size_t length) {
    size_t padding = d->width > length ? d->width - length : 0;
    if (!d->is_left) {
        emit_repeated(output, ' ', padding);
    }
    emit(output, text, length);
    if (d->is_left) {
        emit_repeated(output, ' ', padding);
    }
}

static size_t capped(int value) {
    return value < FMT_WIDTH_MAX ? (size_t)value : FMT_WIDTH_MAX;
}

static int parse_number(const char **at, struct arguments *arguments) {
    if (**at == '*') {
        (*at)++;
        return va_arg(arguments->list, int);
    }
    int value = 0;
    while (**at >= '0' && **at <= '9') {
        if (value < FMT_WIDTH_MAX) {
            value = value * 10 + (**at - '0');
        }
        (*at)++;
    }
    return value;
}

static enum length parse_length(const char **at) {
    switch (**at) {
    case 'h':
        (*at)++;
        if (**at != 'h') {
            return LENGTH_SHORT;
        }
        (*at)++;
        return LENGTH_CHAR;
    case 'l':
        (*at)++;
        if (**at != 'l') {
            return LENGTH_LONG;
        }
        (*at)++;
        return LENGTH_LONG_LONG;
    case 'z':
    case 'j':
    case 't':
        (*at)++;
        return LENGTH_LONG; // 64 bits on every target of ours
    default:
        return LENGTH_INT;
    }
}

// Reads what follows a '%'. Returns where the text goes on.
static const char *parse_directive(const char *at, struct directive *d,
                                   struct arguments *arguments) {
    *d = (struct directive){.length = LENGTH_INT};
    for (; *at == '-' || *at == '0'; at++) {
        d->is_left |= *at == '-';
        d->is_zero_padded |= *at == '0';
    }
    int width = parse_number(&at, arguments);
    if (width < 0) {
        d->is_left = true;
        width = width == INT32_MIN ? INT32_MAX : -width;
    }
    d->width = capped(width);
    if (*at == '.') {
        at++;
        int precision = parse_number(&at, arguments);
        d->has_precision = precision >= 0;
        d->precision = precision >= 0 ? capped(precision) : 0;
    }
    d->length = parse_length(&at);
    d->conversion = *at;
    return *at == '\0' ? at : at + 1;
}

static uint64_t take_unsigned(enum length length, struct arguments *arguments) {
    switch (length) {
    case LENGTH_CHAR:
        return (unsigned char)va_arg(arguments->list, unsigned int);
    case LENGTH_SHORT:
        return (unsigned short)va_arg(arguments->list, unsigned int);
    case LENGTH_INT:
        return va_arg(arguments->list, unsigned int);
    case LENGTH_LONG:
    case LENGTH_LONG_LONG:
        break;
    }
    return va_arg(arguments->list, uint64_t);
}

static int64_t take_signed(enum length length, struct arguments *arguments) {
    switch (length) {
    case LENGTH_CHAR:
        return (signed char)va_arg(arguments->list, int);
    case LENGTH_SHORT:
        return (short)va_arg(arguments->list, int);
    case LENGTH_INT:
        return va_arg(arguments->list, int);
    case LENGTH_LONG:
    case LENGTH_LONG_LONG:
        break;
    }
    return va_arg(arguments->list, int64_t);
}

// `prefix` ("-", "0x" or "") stands before the zeroes that fill up, behind the spaces.
static void print_number(struct output *output, const struct directive *d, uint64_t value,
                         unsigned int base, const char *prefix) {
    const char *digits = d->conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[FMT_DIGITS_MAX];
    size_t length = 0;
    size_t prefix_length = 0;
    while (prefix[prefix_length] != '\0') {
        prefix_length++;
    }
    while (value != 0) {
        text[FMT_DIGITS_MAX - ++length] = digits[value % base];
        value /= base;
    }
    size_t wanted = d->has_precision ? d->precision : 1;
    if (!d->has_precision && d->is_zero_padded && !d->is_left && d->width > prefix_length) {
        wanted = d->width - prefix_length;
    }
    size_t zeroes = wanted > length ? wanted - length : 0;
    size_t all = prefix_length + zeroes + length;
    size_t padding = d->width > all ? d->width - all : 0;
    emit_repeated(output, ' ', d->is_left ? 0 : padding);
    emit(output, prefix, prefix_length);
    emit_repeated(output, '0', zeroes);
    emit(output, &text[FMT_DIGITS_MAX - length], length);
    emit_repeated(output, ' ', d->is_left ? padding : 0);
}

static void print_signed(struct output *output, const struct directive *d, int64_t value) {
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    print_number(output, d, magnitude, 10, value < 0 ? "-" : "");
}

static void print_string(struct output *output, const struct directive *d, const char *text) {
    if (text == NULL) {
        text = "(null)";
    }
    size_t length = 0;
    while ((!d->has_precision || length < d->precision) && text[length] != '\0') {
        length++;
    }
    emit_padded(output, d, text, length);
}

static void print_pointer(struct output *output, const struct directive *d, const void *pointer) {
    struct directive number = *d;
    number.has_precision = true;
    number.precision = 2 * sizeof(pointer);
    print_number(output, &number, (uintptr_t)pointer, 16, "0x");
}

static bool print_directive(struct output *output, const struct directive *d,
                            struct arguments *arguments) {
    char c;
    switch (d->conversion) {
    case 'd':
    case 'i':
        print_signed(output, d, take_signed(d->length, arguments));
        return true;
    case 'u':
        print_number(output, d, take_unsigned(d->length, arguments), 10, "");
        return true;
    case 'x':
    case 'X':
        print_number(output, d, take_unsigned(d->length, arguments), 16, "");
        return true;
    case 'c':
        c = (char)va_arg(arguments->list, int);
        emit_padded(output, d, &c, 1);
        return true;
    case 's':
        print_string(output, d, va_arg(arguments->list, const char *));
        return true;
    case 'p':
        print_pointer(output, d, va_arg(arguments->list, const void *));
        return true;
    case '%':
        emit(output, "%", 1);
        return true;
    default:
        return false;
    }
}

size_t fmt_write_va(fmt_sink *sink, void *context, const char *format, va_list list) {
    struct output output = {.sink = sink, .context = context};
    struct arguments arguments;
    va_copy(arguments.list, list);
    const char *start = format;
    while (*format != '\0') {
        if (*format != '%') {
            format++;
            continue;
        }
        emit(&output, start, (size_t)(format - start));
        struct directive d;
        start = format;
        format = parse_directive(format + 1, &d, &arguments);
        if (print_directive(&output, &d, &arguments)) {
            start = format;
        }
    }
    emit(&output, start, (size_t)(format - start));
    va_end(arguments.list);
    return output.total;
}

size_t fmt_write(fmt_sink *sink, void *context, const char *format, ...) {
    va_list list;
    va_start(list, format);
    size_t total = fmt_write_va(sink, context, format, list);
    va_end(list);
    return total;
}

struct buffer {
    char *out;
    size_t room; // for text, without the NUL
    size_t used;
};

static void buffer_sink(void *context, const char *text, size_t length) {
    struct buffer *buffer = context;
    for (size_t i = 0; i < length && buffer->used < buffer->room; i++) {
        buffer->out[buffer->used++] = text[i];
    }
}

size_t fmt_format_va(char *out, size_t size, const char *format, va_list list) {
    struct buffer buffer = {.out = out, .room = size > 0 ? size - 1 : 0};
    size_t total = fmt_write_va(buffer_sink, &buffer, format, list);
    if (size > 0) {
        out[buffer.used] = '\0';
    }
    return total;
}

size_t fmt_format(char *out, size_t size, const char *format, ...) {
    va_list list;
    va_start(list, format);
    size_t total = fmt_format_va(out, size, format, list);
    va_end(list);
    return total;
}
