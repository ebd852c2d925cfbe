// SPDX-License-Identifier: Apache-2.0
// kernel/device.c: interrupts that are told and never lost, ports that reach no further, device
// memory that is nobody's RAM. Only who has the machine makes them; who has one of them alone
// attacks with it here.
#include "tests/unit/kernel/support.h"

#include "arch/traps.h"
#include "kernel/audit.h"
#include "kernel/device.h"
#include "kernel/frame.h"
#include "kernel/ioapic.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/syscall.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <string.h>

#define DEVICE    0xe0000000ULL
#define IOAPIC    0xfec00000ULL
#define RESERVE   0x9000000ULL // RAM that the firmware keeps
#define SCREEN    0x9400000ULL
#define R         ((uint64_t)ABI_RIGHT_READ)
#define RW        ((uint64_t)(ABI_RIGHT_READ | ABI_RIGHT_WRITE))
#define CALL(...) call_with((const uint64_t[7]){__VA_ARGS__})

static const struct boot_memory map[] = {
    {.base = RESERVE, .length = PAGE_SIZE, .type = BOOT_MEMORY_FIRMWARE},
    {.base = SCREEN - PAGE_SIZE, .length = 8 * PAGE_SIZE, .type = BOOT_MEMORY_FIRMWARE},
    {.base = HOST_RAM_BASE, .length = HOST_RAM_SIZE, .type = BOOT_MEMORY_FREE},
    {.base = DEVICE, .length = SIZE_2M, .type = BOOT_MEMORY_DEVICE},
    {.base = HOST_HIGH_BASE, .length = HOST_HIGH_SIZE, .type = BOOT_MEMORY_FREE},
};

static struct process *process;
static struct quota *quota;
static struct event *event;
static uint64_t system_handle, quota_handle, event_handle;
static struct object whole;
static const struct object_kind machine_kind = {OBJECT_SYSTEM, NULL};

static int64_t call_with(const uint64_t *a) {
    return syscall_dispatch(a[1], a[2], a[3], a[4], a[5], a[6], a[0]);
}

static uint64_t give(struct object *object) {
    int64_t handle = handle_insert(process, object, ABI_RIGHTS_ALL);
    cr_assert_gt(handle, 0);
    return (uint64_t)handle;
}

static void set_up(void) {
    host_init_all();
    vcpu_backend = &host_backend;
    machine = (struct boot_info){.memory_count = ARRAY_COUNT(map), .ioapic_count = 1};
    machine.ioapic[0].address = IOAPIC;
    memcpy(machine_memory, map, sizeof(map));
    quota = quota_create(quota_root(), 16ULL << 20);
    process = process_create(quota, &group_root, NULL, 0);
    event = host_event_create(quota);
    thread_current()->process = process;
    object_init(&whole, &machine_kind);
    object_ref(&quota->object);
    system_handle = give(&whole);
    quota_handle = give(&quota->object);
    event_handle = give(&event->object);
}

TestSuite(kernel_device, .init = set_up);

// ---- interrupts ---------------------------------------------------------------------------------

static int64_t create(uint64_t input, uint64_t trigger) {
    return CALL(ABI_INTERRUPT_CREATE, system_handle, quota_handle, input, trigger, event_handle, 4);
}

// It fires, as far as it is open. True: the event was signalled.
static bool fire(uint32_t input) {
    event->bits = 0;
    if (host_is_open(input))
        device_interrupt((host_entry[input] & 0xff) - VECTOR_DEVICE);
    return event->bits == 4;
}

Test(kernel_device, level_is_masked_until_it_is_acknowledged) {
    uint64_t handle = (uint64_t)create(9, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
    cr_assert(host_is_open(9));
    cr_expect_eq(host_entry[9] & ~0xffu, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
    cr_expect(fire(9));
    cr_expect_not(host_is_open(9), "else it came again at once, for ever");
    event->bits = 0;
    cr_expect_eq(CALL(ABI_INTERRUPT_ACKNOWLEDGE, handle), 0);
    cr_expect_eq(event->bits, 0);
    cr_expect(host_is_open(9) && fire(9));
}

// An I/O APIC forgets the edges of a masked input.
Test(kernel_device, edge_before_the_acknowledgement_is_told_with_it) {
    uint64_t handle = (uint64_t)create(4, 0);
    cr_expect(fire(4));
    cr_expect(host_is_open(4), "the next edge would be lost");
    cr_expect(fire(4));
    cr_expect_not(host_is_open(4), "two without an answer are enough");
    event->bits = 0;
    cr_expect_eq(CALL(ABI_INTERRUPT_ACKNOWLEDGE, handle), 0);
    cr_expect_eq(event->bits, 4, "others may have come while it was masked");
    cr_expect(host_is_open(4));
    event->bits = 0;
    cr_expect_eq(CALL(ABI_INTERRUPT_ACKNOWLEDGE, handle), 0);
    cr_expect_eq(event->bits, 0, "nothing came");
    cr_expect(fire(4));
}

Test(kernel_device, input_has_one_holder_and_is_masked_without) {
    int64_t first = create(4, 0);
    uint64_t used = host_quota_read(quota).used;
    cr_assert_gt(first, 0);
    cr_expect_eq(create(4, 0), -ABI_ERROR_EXISTS);
    cr_expect_eq(create(HOST_INPUTS, 0), -ABI_ERROR_UNSUPPORTED);
    cr_expect_eq(create(UINT32_MAX, 0), -ABI_ERROR_UNSUPPORTED);
    cr_expect_eq(create(1ULL << 32, 0), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(create(5, IOAPIC_MASKED), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(create(5, 1), -ABI_ERROR_ARGUMENT, "a vector of the caller's");
    cr_expect_eq(host_quota_read(quota).used, used);
    uint32_t entry = host_entry[4];
    cr_expect_eq(CALL(ABI_HANDLE_CLOSE, (uint64_t)first), 0);
    cr_expect_not(host_is_open(4));
    device_interrupt((entry & 0xff) - VECTOR_DEVICE); // it was on its way
    cr_expect_eq(event->bits, 0);
    cr_expect_gt(create(4, 0), 0);
}

Test(kernel_device, vectors_are_one_each_and_come_back) {
    uint64_t seen = 0, used = host_quota_read(quota).used;
    int64_t handles[DEVICE_INTERRUPTS_MAX];
    for (uint32_t i = 0; i < DEVICE_INTERRUPTS_MAX; i++) {
        handles[i] = create(i, 0);
        cr_assert_gt(handles[i], 0);
        uint32_t vector = host_entry[i] & 0xff;
        cr_assert(vector >= VECTOR_DEVICE && vector < VECTOR_DEVICE + DEVICE_INTERRUPTS_MAX);
        cr_assert_eq(seen & BIT(vector - VECTOR_DEVICE), 0);
        seen |= BIT(vector - VECTOR_DEVICE);
    }
    cr_expect_eq(create(20, 0), -ABI_ERROR_AGAIN);
    for (uint32_t i = 0; i < DEVICE_INTERRUPTS_MAX; i++)
        CALL(ABI_HANDLE_CLOSE, (uint64_t)handles[i]);
    cr_expect_eq(host_quota_read(quota).used, used);
    cr_expect_eq(event->object.ref_count, 1, "the handle's");
    cr_expect_gt(create(20, 0), 0);
}

// ---- ports --------------------------------------------------------------------------------------

static int64_t ports(uint64_t first, uint64_t count) {
    return CALL(ABI_PORTS_CREATE, system_handle, quota_handle, first, count);
}

Test(kernel_device, what_the_quota_lacks_is_not_made) {
    struct quota *poor = quota_create(quota_root(), 0);
    uint64_t handle = give(&poor->object);
    cr_expect_eq(CALL(ABI_PORTS_CREATE, system_handle, handle, 0x3f8, 8), -ABI_ERROR_MEMORY);
    cr_expect_eq(CALL(ABI_INTERRUPT_CREATE, system_handle, handle, 9, 0, event_handle, 4),
                 -ABI_ERROR_MEMORY);
    cr_expect_eq(CALL(ABI_MEMORY_CREATE_DEVICE, system_handle, handle, DEVICE, PAGE_SIZE),
                 -ABI_ERROR_MEMORY);
}

Test(kernel_device, ports_are_read_and_written_in_their_width) {
    uint64_t handle = (uint64_t)ports(0x3f8, 8);
    host_port_value = 0x89abcdef;
    cr_expect_eq(CALL(ABI_PORTS_READ, handle, 5, 1), 0xef);
    cr_expect(host_port.port == 0x3fd && host_port.width == 1);
    cr_expect_eq(CALL(ABI_PORTS_READ, handle, 0, 2), 0xcdef);
    cr_expect_eq(CALL(ABI_PORTS_READ, handle, 4, 4), 0x89abcdef);
    cr_expect(host_port.port == 0x3fc && host_port.width == 4);
    const uint32_t values[] = {[1] = 0x44, [2] = 0x3344, [4] = 0x11223344};
    for (uint64_t width = 1; width <= 4; width *= 2) {
        cr_expect_eq(CALL(ABI_PORTS_WRITE, handle, 1, width, 0x11223344), 0);
        cr_expect(host_port.port == 0x3f9 && host_port.width == width &&
                  host_port.value == values[width]);
    }
}

Test(kernel_device, bytes_are_sent_to_one_port_and_no_other) {
    uint64_t handle = (uint64_t)ports(0x3f8, 8);
    uint64_t text = (uint64_t)host_user, before = host_port.count;
    memcpy((void *)text, "0123456789abcdef", ABI_PORTS_SEND_MAX);
    cr_expect_eq(CALL(ABI_PORTS_SEND, handle, 2, text, ABI_PORTS_SEND_MAX), 0);
    cr_expect(host_port.port == 0x3fa && host_port.width == 1 && host_port.value == 'f');
    cr_expect_eq(host_port.count, before + ABI_PORTS_SEND_MAX);
    cr_expect_eq(CALL(ABI_PORTS_SEND, handle, 8, text, 1), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_PORTS_SEND, handle, 0, text, ABI_PORTS_SEND_MAX + 1),
                 -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_PORTS_SEND, handle, 0, text, UINT64_MAX), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_PORTS_SEND, handle, 0, KERNEL_DIRECT, 1), -ABI_ERROR_ADDRESS);
    cr_expect_eq(host_port.count, before + ABI_PORTS_SEND_MAX, "refused, nothing is sent");
}

Test(kernel_device, ports_reach_no_further) {
    uint64_t handle = (uint64_t)ports(0x3f8, 8), top = (uint64_t)ports(0xffff, 1);
    const uint64_t bad[][2] = {{8, 1}, {7, 2}, {5, 4}, {0xffff, 1},
                               {0, 0}, {0, 3}, {0, 8}, {0, UINT32_MAX}};
    uint32_t before = host_port.count;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        cr_expect_eq(CALL(ABI_PORTS_READ, handle, bad[i][0], bad[i][1]), -ABI_ERROR_ARGUMENT);
        cr_expect_eq(CALL(ABI_PORTS_WRITE, handle, bad[i][0], bad[i][1], 0), -ABI_ERROR_ARGUMENT);
    }
    cr_expect_eq(CALL(ABI_PORTS_READ, top, 0, 2), -ABI_ERROR_ARGUMENT, "port 0x10000");
    cr_expect_eq(host_port.count, before);
    cr_expect_eq(CALL(ABI_PORTS_READ, top, 0, 1), host_port_value & 0xff);
}

Test(kernel_device, ports_of_the_kernel_are_nobody_elses) {
    const uint64_t bad[][2] = {{0x20, 1},    {0x21, 1},      {0x1f, 2}, {0xa1, 0x100},
                               {0, 0x10000}, {0x80, 0x21},   {0, 0},    {0xffff, 2},
                               {0, 0x10001}, {1, UINT32_MAX}};
    uint64_t used = host_quota_read(quota).used;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(ports(bad[i][0], bad[i][1]), -ABI_ERROR_ARGUMENT, "%#lx", bad[i][0]);
    cr_expect_eq(host_quota_read(quota).used, used);
    int64_t good[] = {ports(0, 0x20), ports(0x22, 0x7e), ports(0xa2, 0xff5e)};
    for (unsigned i = 0; i < ARRAY_COUNT(good); i++) {
        cr_assert_gt(good[i], 0);
        CALL(ABI_HANDLE_CLOSE, (uint64_t)good[i]);
    }
    cr_expect_eq(host_quota_read(quota).used, used);
}

// ---- device memory ------------------------------------------------------------------------------

static int64_t device(uint64_t base, uint64_t size) {
    return CALL(ABI_MEMORY_CREATE_DEVICE, system_handle, quota_handle, base, size);
}

Test(kernel_device, memory_is_no_ram_and_no_device_of_the_kernels) {
    const uint64_t bad[][2] = {
        {HOST_RAM_BASE, PAGE_SIZE},
        {HOST_RAM_BASE - PAGE_SIZE, 2 * PAGE_SIZE},
        {HOST_RAM_BASE + HOST_RAM_SIZE - PAGE_SIZE, PAGE_SIZE},
        {0, HOST_HIGH_BASE + PAGE_SIZE},
        {RESERVE, PAGE_SIZE},
        {IOAPIC, PAGE_SIZE},
        {0xfee00000, PAGE_SIZE},
        {0xfeeff000, PAGE_SIZE},
        {0xfed00000, SIZE_2M},
        {DEVICE, 0},
        {DEVICE + 1, PAGE_SIZE},
        {DEVICE, PAGE_SIZE + 1},
        {BIT(39), PAGE_SIZE},
        {BIT(39) - PAGE_SIZE, 2 * PAGE_SIZE},
        {UINT64_MAX - PAGE_SIZE + 1, PAGE_SIZE},
        {DEVICE, UINT64_MAX - PAGE_SIZE + 1},
    };
    uint64_t used = host_quota_read(quota).used;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(device(bad[i][0], bad[i][1]), -ABI_ERROR_ARGUMENT, "%#lx", bad[i][0]);
    cr_expect_eq(host_quota_read(quota).used, used);
    cr_expect_gt(device(DEVICE, 2 * SIZE_2M), 0, "what no map names is a device's, too");
    cr_expect_gt(device(BIT(39) - PAGE_SIZE, PAGE_SIZE), 0);
}

// Firmwares call what they print on their own; of their memory that is all there is to have.
Test(kernel_device, memory_of_the_console_may_be_the_firmwares) {
    const uint64_t bad[][2] = {{SCREEN, 5 * PAGE_SIZE},
                               {SCREEN, PAGE_SIZE},
                               {SCREEN + PAGE_SIZE, 3 * PAGE_SIZE},
                               {RESERVE, 2 * PAGE_SIZE},
                               {SCREEN - PAGE_SIZE, PAGE_SIZE}};
    cr_expect_eq(device(RESERVE, PAGE_SIZE), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(device(SCREEN, 4 * PAGE_SIZE), -ABI_ERROR_ARGUMENT);
    machine.uart = (struct boot_uart){.base = RESERVE + 0x100, .stride = 4, .width = 4};
    cr_expect_eq(device(RESERVE, PAGE_SIZE), -ABI_ERROR_ARGUMENT, "a port's number");
    machine.uart.is_memory = 1;
    machine.framebuffer = (struct boot_framebuffer){SCREEN + 8, 64, 60, 64, BOOT_PIXEL_RGBX};
    cr_expect_gt(device(RESERVE, PAGE_SIZE), 0);
    cr_expect_gt(device(SCREEN, 4 * PAGE_SIZE), 0);
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(device(bad[i][0], bad[i][1]), -ABI_ERROR_ARGUMENT, "%#lx", bad[i][0]);
    machine.uart.base = HOST_RAM_BASE;
    cr_expect_eq(device(HOST_RAM_BASE, PAGE_SIZE), -ABI_ERROR_ARGUMENT, "RAM is no device");
}

Test(kernel_device, memory_is_mapped_uncached_into_processes_alone) {
    uint64_t handle = (uint64_t)device(DEVICE, 2 * PAGE_SIZE);
    cr_expect_eq(
        CALL(ABI_PROCESS_MAP, 0, handle, ABI_USER_BASE, 0, PAGE_SIZE, R | ABI_RIGHT_EXECUTE),
        -ABI_ERROR_RIGHTS);
    cr_assert_eq(CALL(ABI_PROCESS_MAP, 0, handle, ABI_USER_BASE, PAGE_SIZE, PAGE_SIZE, RW), 0);
    cr_assert_eq(space_fault(&process->space, ABI_USER_BASE, R), SPACE_FAULT_RETRY);
    struct pt_mapping leaf = pt_lookup(&process->space.pt, ABI_USER_BASE);
    cr_expect_eq(leaf.frame.v, DEVICE + PAGE_SIZE);
    cr_expect_eq(leaf.rights, PT_READ | PT_WRITE | PT_USER | PT_UNCACHED);
    int64_t vm = CALL(ABI_VM_CREATE, quota_handle, 0);
    cr_assert_gt(vm, 0);
    cr_expect_eq(CALL(ABI_VM_MAP, (uint64_t)vm, handle, 0, 0, PAGE_SIZE, R), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(CALL(ABI_MEMORY_COMMIT, handle, 0, PAGE_SIZE), PAGE_SIZE, "nothing is cleared");
}

static void map_device(uint64_t base) {
    struct memory *memory = memory_create_at(quota, (hpa_t){base}, PAGE_SIZE, MEMORY_DEVICE);
    cr_assert_eq(space_map(&process->space, memory, ABI_USER_BASE, 0, PAGE_SIZE, R), ABI_OK);
    cr_assert_eq(space_fault(&process->space, ABI_USER_BASE, R), SPACE_FAULT_RETRY);
    object_unref(&memory->object);
}

Test(kernel_device, auditor_knows_device_memory_and_finds_ram_in_it) {
    uint64_t free = frame_totals().free;
    map_device(DEVICE);
    audit_all(); // the first one gives the kernel its root
    cr_expect_eq(audit_all().errors, 0);
    cr_expect_eq(space_unmap(&process->space, ABI_USER_BASE, PAGE_SIZE), ABI_OK);
    cr_expect_eq(audit_all().errors, 0);
    cr_expect_leq(frame_totals().free, free, "its frames are nobody's when it goes");
    struct memory *ram = memory_create(quota, PAGE_SIZE);
    map_device(memory_get(ram, 0, NULL).frame.v);
    cr_expect_eq(audit_all().error, ABI_AUDIT_KERNEL);
}

Test(kernel_device, free_ram_in_device_memory_is_found) {
    audit_all();
    map_device(HOST_HIGH_BASE + HOST_HIGH_SIZE - PAGE_SIZE);
    cr_expect_neq(audit_all().errors, 0);
}

// ---- who has no machine -------------------------------------------------------------------------

Test(kernel_device, without_the_machine_nothing_is_made) {
    uint64_t less =
        (uint64_t)handle_insert(process, &whole, ABI_RIGHTS_ALL & ~(uint64_t)ABI_RIGHT_MANAGE);
    const uint64_t poor[] = {0, quota_handle, event_handle, 99, UINT64_MAX};
    const uint64_t used = host_quota_read(quota).used;
    for (unsigned i = 0; i < ARRAY_COUNT(poor); i++) {
        system_handle = poor[i];
        cr_expect_eq(create(4, 0), -ABI_ERROR_HANDLE);
        cr_expect_eq(ports(0x3f8, 8), -ABI_ERROR_HANDLE);
        cr_expect_eq(device(DEVICE, PAGE_SIZE), -ABI_ERROR_HANDLE);
    }
    system_handle = less;
    cr_expect_eq(create(4, 0), -ABI_ERROR_RIGHTS);
    cr_expect_eq(ports(0x3f8, 8), -ABI_ERROR_RIGHTS);
    cr_expect_eq(device(DEVICE, PAGE_SIZE), -ABI_ERROR_RIGHTS);
    cr_expect_eq(host_quota_read(quota).used, used);
}
