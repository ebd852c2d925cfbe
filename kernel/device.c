// SPDX-License-Identifier: Apache-2.0
// See kernel/device.h.
#include "kernel/device.h"

#include "arch/cpu.h"
#include "arch/traps.h"
#include "arch/x86.h"
#include "kernel/ioapic.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"

#define PORTS_ALL   0x10000u
#define PIC_PORTS   2u // of each of the 8259s
#define LAPICS      0xfee00000ULL
#define LAPICS_SIZE 0x100000ULL // the messages of interrupts, too

static struct spinlock lock = {.rank = LOCK_DEVICE};
static struct interrupt *interrupts[DEVICE_INTERRUPTS_MAX]; // by vector [lock]

// ---- interrupts ---------------------------------------------------------------------------------

static void set_masked(struct interrupt *interrupt, bool is_masked) {
    interrupt->entry =
        (interrupt->entry & ~(uint32_t)IOAPIC_MASKED) | (is_masked ? (uint32_t)IOAPIC_MASKED : 0);
    (void)ioapic_write(interrupt->input, interrupt->entry);
}

void device_interrupt(uint32_t number) {
    lock_take(&lock);
    struct interrupt *interrupt = interrupts[number];
    if (interrupt != NULL) {
        if ((interrupt->entry & ABI_TRIGGER_LEVEL) != 0 || interrupt->is_asked)
            set_masked(interrupt, true);
        interrupt->is_asked = true;
        event_notify(&interrupt->binding);
    }
    lock_drop(&lock);
}

int64_t call_interrupt_acknowledge(struct call *c) {
    struct interrupt *interrupt = CALL_OBJECT(c, 0, interrupt);
    lock_take(&lock);
    bool was_masked = (interrupt->entry & IOAPIC_MASKED) != 0;
    interrupt->is_asked = false;
    if (was_masked)
        set_masked(interrupt, false);
    if (was_masked && (interrupt->entry & ABI_TRIGGER_LEVEL) == 0)
        event_notify(&interrupt->binding);
    lock_drop(&lock);
    return 0;
}

// A vector for it, and its input; 0 or an enum abi_error.
static int connect(struct interrupt *interrupt) {
    uint32_t number = DEVICE_INTERRUPTS_MAX;
    for (uint32_t i = 0; i < DEVICE_INTERRUPTS_MAX; i++) {
        if (interrupts[i] == NULL)
            number = i;
        else if (interrupts[i]->input == interrupt->input)
            return ABI_ERROR_EXISTS;
    }
    if (number == DEVICE_INTERRUPTS_MAX)
        return ABI_ERROR_AGAIN;
    interrupt->entry |= VECTOR_DEVICE + number;
    interrupts[number] = interrupt; // first: an edge may come at once
    if (ioapic_write(interrupt->input, interrupt->entry))
        return ABI_OK;
    interrupts[number] = NULL;
    return ABI_ERROR_UNSUPPORTED;
}

static bool interrupt_destroy(struct object *object) {
    struct interrupt *interrupt = CONTAINER_OF(object, struct interrupt, object);
    lock_take(&lock);
    for (uint32_t i = 0; i < DEVICE_INTERRUPTS_MAX; i++) {
        if (interrupts[i] != interrupt)
            continue;
        set_masked(interrupt, true);
        interrupts[i] = NULL;
    }
    lock_drop(&lock);
    event_unbind(&interrupt->binding);
    return true;
}

const struct object_kind interrupt_kind = {OBJECT_INTERRUPT, interrupt_destroy};

int64_t call_interrupt_create(struct call *c) {
    const uint64_t trigger = c->a[3];
    if ((trigger & ~(uint64_t)(ABI_TRIGGER_LOW | ABI_TRIGGER_LEVEL)) != 0)
        return -ABI_ERROR_ARGUMENT;
    struct interrupt *interrupt = quota_alloc_object(CALL_OBJECT(c, 1, quota), &interrupt_kind);
    if (interrupt == NULL)
        return -ABI_ERROR_MEMORY;
    event_bind(&interrupt->binding, call_event(c, 4), c->a[5]);
    interrupt->input = (uint32_t)c->a[2];
    interrupt->entry = (uint32_t)trigger;
    lock_take(&lock);
    int error = connect(interrupt);
    lock_drop(&lock);
    if (error == ABI_OK)
        return call_give(&interrupt->object);
    object_unref(&interrupt->object);
    return -error;
}

// ---- ports --------------------------------------------------------------------------------------

const struct object_kind ports_kind = {OBJECT_PORTS, NULL};

static bool has_any(uint64_t first, uint64_t count, uint64_t port, uint64_t ports) {
    return first < port + ports && port < first + count;
}

int64_t call_ports_create(struct call *c) {
    uint64_t first = c->a[2], count = c->a[3];
    if (count == 0 || range_exceeds(first, count, PORTS_ALL) ||
        has_any(first, count, IOAPIC_PIC1, PIC_PORTS) ||
        has_any(first, count, IOAPIC_PIC2, PIC_PORTS))
        return -ABI_ERROR_ARGUMENT;
    struct ports *ports = quota_alloc_object(CALL_OBJECT(c, 1, quota), &ports_kind);
    if (ports == NULL)
        return -ABI_ERROR_MEMORY;
    ports->first = (uint32_t)first;
    ports->count = (uint32_t)count;
    return call_give(&ports->object);
}

// False: that is no access to them.
static bool find_port(const struct call *c, uint16_t *port) {
    const struct ports *ports = CALL_OBJECT(c, 0, ports);
    uint64_t offset = c->a[1], width = c->a[2];
    *port = (uint16_t)(ports->first + offset);
    return (width == 1 || width == 2 || width == 4) && !range_exceeds(offset, width, ports->count);
}

int64_t call_ports_read(struct call *c) {
    uint16_t port;
    if (!find_port(c, &port))
        return -ABI_ERROR_ARGUMENT;
    if (c->a[2] == 4)
        return x86_inl(port);
    return c->a[2] == 2 ? x86_inw(port) : x86_inb(port);
}

int64_t call_ports_write(struct call *c) {
    uint16_t port;
    if (!find_port(c, &port))
        return -ABI_ERROR_ARGUMENT;
    if (c->a[2] == 4)
        x86_outl(port, (uint32_t)c->a[3]);
    else if (c->a[2] == 2)
        x86_outw(port, (uint16_t)c->a[3]);
    else
        x86_outb(port, (uint8_t)c->a[3]);
    return 0;
}

int64_t call_ports_send(struct call *c) {
    const struct ports *ports = CALL_OBJECT(c, 0, ports);
    uint8_t bytes[ABI_PORTS_SEND_MAX];
    if (c->a[1] >= ports->count || c->a[3] > sizeof(bytes))
        return -ABI_ERROR_ARGUMENT;
    if (!user_read(bytes, c->a[2], c->a[3]))
        return -ABI_ERROR_ADDRESS;
    x86_outsb((uint16_t)(ports->first + c->a[1]), bytes, c->a[3]);
    return 0;
}

// ---- device memory ------------------------------------------------------------------------------

// The pages of the console's UART, or of the screen: firmwares may keep those for themselves.
static bool is_console(uint64_t base, uint64_t size) {
    const struct boot_framebuffer *screen = &machine.framebuffer;
    uint64_t end = align_up(screen->base + 4ULL * screen->stride * screen->height, PAGE_SIZE);
    bool is_uart = machine.uart.is_memory != 0 && size == PAGE_SIZE &&
                   base == align_down(machine.uart.base, PAGE_SIZE);
    return is_uart || (base == align_down(screen->base, PAGE_SIZE) && base + size == end);
}

// Nobody's memory, and no device of the kernel's own.
static bool is_device(uint64_t base, uint64_t size) {
    if (size == 0 || range_exceeds(base, size, BIT(cpu_features.physical_bits)) ||
        has_any(base, size, LAPICS, LAPICS_SIZE))
        return false;
    uint32_t least = is_console(base, size) ? BOOT_MEMORY_FIRMWARE : BOOT_MEMORY_DEVICE;
    for (uint32_t i = 0; i < machine.memory_count; i++)
        if (machine_memory[i].type < least &&
            has_any(base, size, machine_memory[i].base, machine_memory[i].length))
            return false;
    for (uint32_t i = 0; i < machine.ioapic_count; i++)
        if (has_any(base, size, machine.ioapic[i].address, BOOT_IOAPIC_SIZE))
            return false;
    return true;
}

int64_t call_memory_create_device(struct call *c) {
    if (!is_device(c->a[2], c->a[3]))
        return -ABI_ERROR_ARGUMENT;
    struct memory *memory =
        memory_create_at(CALL_OBJECT(c, 1, quota), (hpa_t){c->a[2]}, c->a[3], MEMORY_DEVICE);
    if (memory == NULL)
        return -ABI_ERROR_MEMORY;
    return handle_insert(thread_current()->process, &memory->object,
                         ABI_RIGHTS_ALL & ~(uint64_t)ABI_RIGHT_EXECUTE);
}
