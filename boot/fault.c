// SPDX-License-Identifier: Apache-2.0
// Exceptions between the boot services and the kernel's own handlers: a fault there is told on the
// console that was chosen and on the screen, where it would reset the machine without a word, and
// an NMI is survived and counted. Entries, table and texts lie in the application's memory, which
// the kernel's first page tables map to itself: so they serve until the kernel loads its own.
// SDM 3A 6.14 "Exception and Interrupt Handling in 64-bit Mode".
#include "boot/boot_fault.h"
#include "boot/boot_report.h"
#include "boot/loader.h"
#include "lib/types.h"

#define VECTOR_COUNT   32u
#define ENTRY_SIZE     16u
#define GATE_INTERRUPT 0x8eu // present, ring 0

#define UART_DATA    0u // with LCR_DIVISOR the divisor's low byte; the high one is next
#define UART_LCR     3u
#define UART_LSR     5u
#define LCR_8N1      3u
#define LCR_DIVISOR  BIT(7)
#define LSR_ROOM     BIT(5)
#define POLLS_MAX    (1u << 20)   // about a second on a port; a full FIFO takes 1.4 ms
#define MEMORY_LIMIT (1ull << 32) // below it all page tables map everything

struct gate {
    uint16_t offset_low, selector;
    uint8_t stack, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

extern const uint8_t fault_entries[];
extern uint32_t fault_nmi_count;
_Noreturn void fault_tell(const struct boot_fault *fault);

// The mask has the exceptions that push an error code: 8, 10 to 14, 17, 21, 29 and 30.
__asm__(".text\n"
        ".balign 16\n"
        ".globl fault_entries\n"
        "fault_entries:\n"
        ".set vector, 0\n"
        ".rept 32\n"
        ".balign 16\n"
        ".if ((0x60227d00 >> vector) & 1) == 0\n"
        "pushq $0\n"
        ".endif\n"
        "pushq $vector\n"
        "jmp fault_common\n"
        ".set vector, vector + 1\n"
        ".endr\n"
        "fault_common:\n"
        "cmpq $2, (%rsp)\n" // NMI
        "jne 1f\n"
        "lock incl fault_nmi_count(%rip)\n"
        "addq $16, %rsp\n"
        "iretq\n"
        "1: cld\n"
        "movq %rsp, %rcx\n"
        "andq $-16, %rsp\n"
        "subq $32, %rsp\n" // which the called function may use
        "call fault_tell\n");

uint32_t fault_nmi_count;
static struct gate gates[VECTOR_COUNT];
static const struct boot_info *machine;
static bool is_telling;

static uint8_t uart_read(uint32_t index) {
    const struct boot_uart *uart = &machine->uart;
    uint64_t at = uart->base + (uint64_t)index * uart->stride;
    uint8_t value;
    if (uart->is_memory && uart->width == sizeof(uint32_t))
        return (uint8_t) * (volatile uint32_t *)(uintptr_t)at;
    if (uart->is_memory)
        return *(volatile uint8_t *)(uintptr_t)at;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"((uint16_t)at));
    return value;
}

static void uart_write(uint32_t index, uint8_t value) {
    const struct boot_uart *uart = &machine->uart;
    uint64_t at = uart->base + (uint64_t)index * uart->stride;
    if (uart->is_memory && uart->width == sizeof(uint32_t))
        *(volatile uint32_t *)(uintptr_t)at = value;
    else if (uart->is_memory)
        *(volatile uint8_t *)(uintptr_t)at = value;
    else
        __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"((uint16_t)at));
}

static void uart_set_rate(uint32_t divisor) {
    uart_write(UART_LCR, LCR_DIVISOR | LCR_8N1);
    uart_write(UART_DATA, (uint8_t)divisor);
    uart_write(UART_DATA + 1, (uint8_t)(divisor >> 8));
    uart_write(UART_LCR, LCR_8N1);
}

static bool uart_has_room(void) {
    for (uint32_t i = 0; i < POLLS_MAX; i++)
        if ((uart_read(UART_LSR) & LSR_ROOM) != 0)
            return true;
    return false;
}

// A UART that takes nothing is given up.
static void uart_print(const char *text) {
    for (; *text != '\0' && uart_has_room(); text++)
        uart_write(UART_DATA, (uint8_t)*text);
}

// On the screen last: a fault there then finds the line told.
_Noreturn void fault_tell(const struct boot_fault *fault) {
    char text[BOOT_FAULT_TEXT_MAX];
    uint64_t address;
    const struct boot_uart *uart = &machine->uart;
    bool is_reachable = uart->base != 0 && (!uart->is_memory || uart->base < MEMORY_LIMIT);
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    if (!is_telling) {
        is_telling = true;
        boot_fault_print(text, fault, address, fault_nmi_count);
        if (is_reachable && uart->divisor != 0)
            uart_set_rate(uart->divisor);
        if (is_reachable) {
            uart_print("\r\n");
            uart_print(text);
            uart_print("\r\n");
        }
        boot_fault_draw(machine, text);
    }
    for (;;)
        __asm__ volatile("cli; hlt");
}

void fault_install(const struct boot_info *info) {
    // The limit, then the base: a packed structure, but efi.h defines __attribute__ away.
    const uint64_t base = (uint64_t)(uintptr_t)gates;
    const uint16_t idtr[] = {sizeof(gates) - 1, (uint16_t)base, (uint16_t)(base >> 16),
                             (uint16_t)(base >> 32), (uint16_t)(base >> 48)};
    uint16_t selector;
    __asm__ volatile("mov %%cs, %0" : "=r"(selector));
    machine = info;
    for (uint32_t i = 0; i < VECTOR_COUNT; i++) {
        uint64_t entry = (uint64_t)(uintptr_t)fault_entries + (uint64_t)i * ENTRY_SIZE;
        gates[i] = (struct gate){.offset_low = (uint16_t)entry,
                                 .selector = selector,
                                 .type = GATE_INTERRUPT,
                                 .offset_middle = (uint16_t)(entry >> 16),
                                 .offset_high = (uint32_t)(entry >> 32)};
    }
    __asm__ volatile("lidt %0" ::"m"(idtr) : "memory");
}

void fault_report(struct boot_info *info) {
    if (fault_nmi_count > 0)
        boot_report(info, "NMI: %u came while the boot services were left", fault_nmi_count);
}
