// SPDX-License-Identifier: Apache-2.0
// The driver's life; the interface is told in driver.h. It has a quota of its own, so that there is
// always memory to start it again, and gets of the machine what the console is made of.
#include "supervisor/driver.h"

#include "include/manifest.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"
#include "supervisor/process.h"

#define QUOTA_SIZE     (512ULL << 10)
#define UART_REGISTERS 8u
#define STARTS_MAX     100u           // one that ends each time is not started for ever
#define LIFE_NS        60000000000ULL // one that lived as long does not end each time

static struct {
    uint32_t quota;
    uint32_t event;
    uint32_t memory; // the rings
    struct console_rings *rings;
    struct process process;         // handle 0: does not run
    uint32_t start_count;           // without a long life between them
    uint64_t started;               // TSC
    struct abi_process_status last; // how it ended, if that is yet to be said
    bool is_gone;
} driver;

bool driver_open(void) {
    const uint32_t own = machine.start->quota;
    int64_t quota = sys_quota_create(own, QUOTA_SIZE, 0, 0);
    int64_t event = sys_event_create(own);
    int64_t memory = sys_memory_create(own, sizeof(struct console_rings));
    if (quota < 0 || event < 0 || memory < 0) {
        return false;
    }
    driver.quota = (uint32_t)quota;
    driver.event = (uint32_t)event;
    driver.memory = (uint32_t)memory;
    driver.rings = process_map_own(driver.memory, PROCESS_OWN_DRIVER, sizeof(struct console_rings),
                                   ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    return driver.rings != NULL;
}

struct console_rings *driver_rings(void) {
    return driver.rings;
}

// Gives the driver what a call has made, and keeps nothing of it. 0: there is none.
static uint32_t hand_over(int64_t made, uint64_t rights) {
    if (made < 0) {
        return 0;
    }
    int64_t number = sys_handle_copy(driver.process.handle, (uint32_t)made, rights, UINT64_MAX);
    (void)sys_handle_close((uint32_t)made);
    return number > 0 ? (uint32_t)number : 0;
}

static uint32_t give(uint32_t handle, uint64_t rights, uint64_t mask) {
    int64_t number = sys_handle_copy(driver.process.handle, handle, rights, mask);
    return number > 0 ? (uint32_t)number : 0;
}

// Device memory of the pages that hold [base, base+size).
static uint32_t give_device(uint64_t base, uint64_t size) {
    uint64_t first = base / ABI_PAGE * ABI_PAGE;
    return hand_over(sys_memory_create_device(machine.start->system, driver.quota, first,
                                              process_pages(base - first + size)),
                     ABI_RIGHT_READ | ABI_RIGHT_WRITE);
}

// False: there is one, and it is not to be had.
static bool give_uart(struct console_start *start) {
    const struct boot_uart *uart = &machine.start->uart;
    const struct boot_interrupt *interrupt = &machine.start->uart_interrupt;
    const uint32_t system = machine.start->system;
    uint32_t size = UART_REGISTERS * uart->stride;
    start->uart = *uart;
    if (uart->base == 0) {
        return true;
    }
    if (uart->is_memory != 0) {
        start->registers = give_device(uart->base, size);
    } else {
        start->ports = hand_over(sys_ports_create(system, driver.quota, (uint16_t)uart->base, size),
                                 ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    }
    if (interrupt->is_there != 0) {
        start->interrupt = hand_over(sys_interrupt_create(system, driver.quota, interrupt->input,
                                                          (enum abi_trigger)interrupt->trigger,
                                                          driver.event, CONSOLE_EVENT_DEVICE),
                                     ABI_RIGHT_WRITE);
    }
    return start->registers != 0 || start->ports != 0;
}

static void give_screen(struct console_start *start) {
    const struct boot_framebuffer *screen = &machine.start->framebuffer;
    start->framebuffer = *screen;
    if (screen->format != BOOT_PIXEL_NONE && screen->base != 0) {
        start->screen = give_device(screen->base, 4ULL * screen->stride * screen->height);
    }
}

// The UART before the log: a kernel that prints on it is better than a driver that cannot.
static bool give_all(struct console_start *start) {
    char mark[MACHINE_VERDICT_MAX + 1];
    machine_verdict(mark);
    if (!give_uart(start)) {
        return false;
    }
    start->log = hand_over(sys_log_take(machine.start->system, driver.quota, driver.memory,
                                        driver.event, CONSOLE_EVENT_LOG),
                           ABI_RIGHT_READ);
    start->rings = give(driver.memory, ABI_RIGHT_READ | ABI_RIGHT_WRITE, UINT64_MAX);
    start->event = give(driver.event, ABI_RIGHT_WAIT, UINT64_MAX);
    start->supervisor = give(machine.event, ABI_RIGHT_SIGNAL, MACHINE_EVENT_CONSOLE);
    start->supervisor_mask = MACHINE_EVENT_CONSOLE;
    start->is_batch = console_is_batch();
    start->mark_size = mark[0] != '\0' ? (uint32_t)strlen(mark) + 1 : 0;
    start->tsc_hz = machine.tsc_hz;
    give_screen(start);
    return start->log != 0 && start->rings != 0 && start->event != 0 && start->supervisor != 0;
}

static bool try_start(const struct abi_start_module *module) {
    static struct console_start start; // read-only, a page of its own
    start = (struct console_start){0};
    return process_create(&driver.process, driver.quota, MACHINE_EVENT_DRIVER, 0, module) == NULL &&
           give_all(&start) &&
           process_put(&driver.process, driver.quota, ABI_START_ADDRESS, &start, sizeof(start)) >=
               0 &&
           process_start(&driver.process, ABI_START_ADDRESS, ABI_CPU_ANY) >= 0;
}

static void close_process(void) {
    if (driver.process.handle != 0) {
        (void)sys_process_kill(driver.process.handle, 0);
        (void)sys_handle_close(driver.process.handle);
    }
    driver.process = (struct process){0};
}

void driver_start(void) {
    const struct abi_start_module *module = machine_module(MANIFEST_MODULE_CONSOLE);
    if (driver.process.handle != 0 || driver.is_gone) {
        return;
    }
    driver.started = machine_tsc();
    driver.is_gone = module == NULL || driver.start_count++ == STARTS_MAX || !try_start(module);
    if (driver.is_gone) {
        close_process();
    }
}

void driver_revive(void) {
    struct abi_process_status status = {0};
    if (driver.process.handle == 0) {
        return;
    }
    (void)sys_process_status(driver.process.handle, &status);
    if (status.state != ABI_PROCESS_RUNNING) {
        driver.last = status;
        if (machine_tsc() - driver.started >= machine_ticks(LIFE_NS)) {
            driver.start_count = 0;
        }
        close_process();
        driver_start();
        driver_signal();
    }
}

void driver_service(void) {
    driver_revive();
    struct abi_process_status status = driver.last;
    driver.last = (struct abi_process_status){.state = ABI_PROCESS_RUNNING};
    if (status.state == ABI_PROCESS_RUNNING) {
        return;
    }
    if (status.state == ABI_PROCESS_FAULTED) {
        console_say("the console's driver faulted (vector %u at rip 0x%llx, address 0x%llx): "
                    "started again",
                    status.vector, (unsigned long long)status.rip,
                    (unsigned long long)status.address);
    } else {
        console_say("the console's driver ended (status %u): started again", status.status);
    }
}

void driver_signal(void) {
    (void)sys_event_signal(driver.event, CONSOLE_EVENT_RINGS);
}

void driver_unstick(void) {
    if (driver.process.handle != 0) {
        (void)sys_process_kill(driver.process.handle, 0);
    }
}

void driver_restart(void) {
    if (driver.process.handle != 0) {
        driver.start_count--;
        driver_unstick();
    }
}

bool driver_is_gone(void) {
    return driver.is_gone;
}
