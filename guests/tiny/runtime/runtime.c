// SPDX-License-Identifier: Apache-2.0
// The runtime's life of a guest: serial output, checks, zero page, waiting. The interface is told
// in tiny.h.
#include "lib/fmt.h"
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define COM1_DATA       0x3f8
#define COM1_LCR        0x3fb
#define COM1_LSR        0x3fd
#define LCR_8N1         0x03
#define LSR_THRE        0x20
#define PORT_DEBUG_EXIT 0xf4

#define CPUID_TSC 0x15u

#define FAILURES_SHOWN 20u
#define PRINT_MAX      4096u // with a whole command line in it

_Noreturn void runtime_main(const uint8_t *zero_page);

const uint8_t *boot_params;
static uint32_t check_count, failure_count;

// ---- output -------------------------------------------------------------------------------------

static void serial_write(const char *text) {
    for (size_t i = 0; text[i] != '\0'; i++) {
        while (!(in8(COM1_LSR) & LSR_THRE))
            __asm__ volatile("pause");
        out8(COM1_DATA, (uint8_t)text[i]);
    }
}

// One processor's line at a time. Who waits too long prints all the same: the other may have died
// in here.
static uint32_t is_printing;

void print(const char *format, ...) {
    static char text[PRINT_MAX]; // the last byte stays NUL, whoever writes it meanwhile
    va_list arguments;
    uint64_t rflags = read_rflags(), end = rdtsc() + tsc_hz() * PATIENCE_S;
    interrupts_off();
    while (__atomic_exchange_n(&is_printing, 1, __ATOMIC_ACQUIRE) != 0 && rdtsc() < end)
        __asm__ volatile("pause");
    va_start(arguments, format);
    fmt_format_va(text, sizeof(text), format, arguments);
    va_end(arguments);
    serial_write(text);
    __atomic_store_n(&is_printing, 0, __ATOMIC_RELEASE);
    if (rflags & RFLAGS_IF)
        interrupts_on();
}

// ---- checks -------------------------------------------------------------------------------------

static bool count_check(bool is_true) {
    __atomic_fetch_add(&check_count, 1, __ATOMIC_RELAXED);
    if (is_true)
        return false;
    return __atomic_add_fetch(&failure_count, 1, __ATOMIC_SEQ_CST) <= FAILURES_SHOWN;
}

void check(bool is_true, const char *file, int line, const char *what) {
    if (count_check(is_true))
        print("FAIL %s:%d: %s\n", file, line, what);
}

void check_equal(uint64_t got, uint64_t want, const char *file, int line, const char *what) {
    if (count_check(got == want))
        print("FAIL %s:%d: %s is 0x%lx, not 0x%lx\n", file, line, what, got, want);
}

void check_fault(uint8_t vector, uint32_t error, const char *file, int line) {
    bool is_right = trap_last.is_taken && trap_last.vector == vector && trap_last.error == error;
    if (!count_check(is_right))
        return;
    if (trap_last.is_taken)
        print("FAIL %s:%d: exception %u (0x%x), not %u (0x%x)\n", file, line, trap_last.vector,
              trap_last.error, vector, error);
    else
        print("FAIL %s:%d: no exception, not %u (0x%x)\n", file, line, vector, error);
}

void check_no_fault(const char *file, int line) {
    if (count_check(!trap_last.is_taken))
        print("FAIL %s:%d: exception %u (0x%x), not none\n", file, line, trap_last.vector,
              trap_last.error);
}

_Noreturn void debug_exit(uint8_t code) {
    out8(PORT_DEBUG_EXIT, code);
    for (;;)
        __asm__ volatile("cli; hlt");
}

_Noreturn void finish(void) {
    if (failure_count == 0 && check_count > 0)
        print("PASS: %u checks\n", check_count);
    else
        print("FAILED: %u of %u checks\n", failure_count, check_count);
    debug_exit(failure_count == 0 && check_count > 0 ? 0 : 1);
}

// ---- zero page ----------------------------------------------------------------------------------

uint64_t boot_field(uint32_t offset, uint32_t size) {
    uint64_t value = 0;
    memcpy(&value, boot_params + offset, size);
    return value;
}

size_t e820_count(void) {
    return boot_params[BOOT_E820_ENTRIES];
}

struct e820 e820_entry(size_t index) {
    struct e820 entry;
    memcpy(&entry, boot_params + BOOT_E820_TABLE + index * sizeof(entry), sizeof(entry));
    return entry;
}

uint64_t low_ram_end(void) {
    uint64_t end = 0;
    for (size_t i = 0; i < e820_count(); i++) {
        struct e820 entry = e820_entry(i);
        if (entry.type == E820_RAM && entry.base < BIT(32))
            end = MAX(end, entry.base + entry.size);
    }
    return end;
}

const char *boot_cmdline(void) {
    return (const char *)(uintptr_t)boot_field(BOOT_CMDLINE, 4);
}

// Where a word of the command line begins that is `name` followed by one of `ends`.
static const char *find_word(const char *name, const char *ends) {
    size_t length = strlen(name);
    const char *at = boot_cmdline();
    while (*at != '\0') {
        const char *end = strchr(at, ' ');
        if (strncmp(at, name, length) == 0 && strchr(ends, at[length]) != NULL)
            return at;
        if (end == NULL)
            break;
        at = end + 1;
    }
    return NULL;
}

bool cmdline_has(const char *word) {
    return find_word(word, " ") != NULL; // strchr finds the NUL, too
}

uint64_t cmdline_number(const char *name) {
    const char *at = find_word(name, "=");
    return at == NULL || at[strlen(name)] == '\0' ? 0 : strtoul(at + strlen(name) + 1, NULL, 0);
}

// ---- time ---------------------------------------------------------------------------------------

uint64_t tsc_hz(void) {
    struct cpuid leaf = cpuid(CPUID_TSC, 0);
    return leaf.eax == 0 ? 0 : (uint64_t)leaf.ecx * leaf.ebx / leaf.eax;
}

bool wait_for(const volatile uint32_t *counter, uint32_t count, uint32_t seconds) {
    uint64_t end = rdtsc() + tsc_hz() * seconds;
    while (*counter < count)
        if (rdtsc() > end)
            return *counter >= count; // others may have run since the look before
    return true;
}

void wait_us(uint64_t us) {
    uint64_t end = rdtsc() + tsc_hz() * us / 1000000;
    while (rdtsc() < end)
        __asm__ volatile("pause");
}

_Noreturn void runtime_main(const uint8_t *zero_page) {
    boot_params = zero_page;
    out8(COM1_LCR, LCR_8N1);
    trap_init();
    test();
    finish();
}
