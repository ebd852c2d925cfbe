// SPDX-License-Identifier: Apache-2.0
// The virtual PC as one value; the interface is told in machine.h. First the callbacks that the
// board gets, then power-on, then save and restore.
#include "vmm/machine.h"

#include "lib/string.h"
#include "vmm/device/clock.h"
#include "vmm/firmware/firmware.h"

// ---- between the board and the backend ----------------------------------------------------------

static uint64_t host_now_ns(void *opaque) {
    struct machine *machine = opaque;
    return machine->backend.now_ns(machine->backend.opaque);
}

static void host_deadline_changed(void *opaque, struct device *device) {
    struct machine *machine = opaque;
    uint64_t deadline = device->ops->deadline != NULL ? device->ops->deadline(device)
                                                      : board_next_deadline(&machine->board);
    machine->backend.set_deadline(machine->backend.opaque, deadline);
}

static bool ioapic_send(void *opaque, uint64_t address, uint32_t data) {
    struct machine *machine = opaque;
    return machine->backend.send_message(machine->backend.opaque, address, data);
}

static void pic_set_intr(void *opaque, uint32_t number, bool level) {
    struct machine *machine = opaque;
    (void)number;
    machine->backend.set_extint(machine->backend.opaque, level);
}

static void com1_transmit(void *opaque, const uint8_t *data, size_t count) {
    struct machine *machine = opaque;
    machine->backend.transmit(machine->backend.opaque, data, count);
}

static void com1_has_room(void *opaque) {
    struct machine *machine = opaque;
    machine->after |= MACHINE_AFTER_INPUT;
}

// The first end counts: a guest that goes on meanwhile can not change it.
static void board_ended(void *opaque, enum board_event event, uint32_t code) {
    struct machine *machine = opaque;
    if (machine->after & MACHINE_AFTER_END)
        return;
    machine->end_event = event;
    machine->end_code = code;
    machine->after |= MACHINE_AFTER_END;
}

// ---- power-on -----------------------------------------------------------------------------------

void machine_init(struct machine *machine, const struct machine_config *config) {
    memset(machine, 0, sizeof(*machine));
    machine->backend = config->backend;
    machine->vcpu_count = config->vcpu_count;
    machine->rate = config->rate;
    machine->arch_capabilities = msr_guest_capabilities(config->arch_capabilities);
    machine->host = (struct device_host){
        .opaque = machine,
        .now_ns = host_now_ns,
        .deadline_changed = host_deadline_changed,
    };
    memory_init(&machine->memory, config->memory, config->memory_size);
    board_init(&machine->board, &(struct board_config){
                                    .host = &machine->host,
                                    .ioapic = {.opaque = machine, .send = ioapic_send},
                                    .com1 = {machine, com1_transmit, com1_has_room},
                                    .pic_intr = {.set = pic_set_intr, .opaque = machine},
                                    .opaque = machine,
                                    .event = board_ended,
                                    .utc_seconds = config->utc_seconds,
                                    .low_ram_bytes = machine->memory.low_size,
                                    .high_ram_bytes = machine->memory.high_size,
                                });
    firmware_start_board(&machine->board);
    for (uint32_t i = 0; i < config->vcpu_count; i++)
        msr_reset(&machine->msrs[i], machine->arch_capabilities);
}

void machine_tell_clock(const struct machine *machine, uint32_t vcpu, uint64_t tsc_adjust) {
    uint64_t value;
    if (msr_read(&machine->msrs[vcpu], MSR_KVM_SYSTEM_TIME_NEW, &value))
        (void)pvclock_write_clock(&machine->memory, &machine->rate, value, tsc_adjust);
}

// ---- save and restore ---------------------------------------------------------------------------

#define SAVED_MAGIC   0x656e696863614d42ULL // "BMachine", little endian
#define SAVED_VERSION 1u

// Little endian, as everything behind it.
struct saved_head {
    uint64_t magic;
    uint32_t version;
    uint32_t vcpu_count;
    uint64_t memory_size;
    uint64_t tsc_hz;
    uint64_t now_ns;
    uint64_t board_size; // bytes of the devices' records, which follow
};

struct saved_vcpu {
    struct msr_state msrs;
    struct vcpu_registers registers;
    struct vcpu_apic apic;
    uint8_t fpu[ABI_XSAVE_SIZE];
};

_Static_assert(sizeof(struct saved_head) == 48, "no padding");
_Static_assert(sizeof(struct saved_vcpu) == sizeof(struct msr_state) +
                                                sizeof(struct vcpu_registers) +
                                                sizeof(struct vcpu_apic) + ABI_XSAVE_SIZE,
               "no padding");

size_t machine_saved_size(const struct machine *machine) {
    return sizeof(struct saved_head) + board_saved_size(&machine->board) +
           machine->vcpu_count * sizeof(struct saved_vcpu);
}

static bool save_vcpu(const struct machine *machine, uint32_t index, uint8_t *to) {
    const struct machine_backend *backend = &machine->backend;
    memcpy(to + offsetof(struct saved_vcpu, msrs), &machine->msrs[index], sizeof(struct msr_state));
    return backend->vcpu_read(backend->opaque, index, VCPU_STATE_REGISTERS,
                              to + offsetof(struct saved_vcpu, registers),
                              sizeof(struct vcpu_registers)) &&
           backend->vcpu_read(backend->opaque, index, VCPU_STATE_APIC,
                              to + offsetof(struct saved_vcpu, apic), sizeof(struct vcpu_apic)) &&
           backend->vcpu_read(backend->opaque, index, VCPU_STATE_FPU,
                              to + offsetof(struct saved_vcpu, fpu), ABI_XSAVE_SIZE);
}

enum machine_error machine_save(struct machine *machine, void *buffer) {
    uint8_t *to = buffer;
    machine_lock(machine);
    struct saved_head head = {
        .magic = SAVED_MAGIC,
        .version = SAVED_VERSION,
        .vcpu_count = machine->vcpu_count,
        .memory_size = machine->memory.size,
        .tsc_hz = machine->rate.tsc_hz,
        .now_ns = machine->backend.now_ns(machine->backend.opaque),
        .board_size = board_saved_size(&machine->board),
    };
    memcpy(to, &head, sizeof(head));
    to += sizeof(head);
    board_save(&machine->board, to);
    to += head.board_size;
    bool is_saved = true;
    for (uint32_t i = 0; i < machine->vcpu_count && is_saved; i++)
        is_saved = save_vcpu(machine, i, to + i * sizeof(struct saved_vcpu));
    lock_release(&machine->lock);
    return is_saved ? MACHINE_OK : MACHINE_VCPU;
}

static enum machine_error check_head(const struct machine *machine, const struct saved_head *head,
                                     size_t size) {
    if (head->magic != SAVED_MAGIC)
        return MACHINE_NOT_SAVED;
    if (head->version > SAVED_VERSION)
        return MACHINE_VERSION;
    if (head->now_ns >= MACHINE_NS_MAX)
        return MACHINE_NOT_SAVED;
    uint64_t hz = machine->rate.tsc_hz;
    uint64_t off = head->tsc_hz > hz ? head->tsc_hz - hz : hz - head->tsc_hz;
    if (head->vcpu_count != machine->vcpu_count || head->memory_size != machine->memory.size ||
        off > hz / 1000000 * CLOCK_TOLERANCE_PPM)
        return MACHINE_SHAPE;
    size_t vcpus = head->vcpu_count * sizeof(struct saved_vcpu);
    if (size < sizeof(*head) + vcpus || size - sizeof(*head) - vcpus != head->board_size)
        return MACHINE_NOT_SAVED;
    return MACHINE_OK;
}

// `clock_ahead`: the VM's clock (struct vcpu_registers) now, less what it was when the machine was
// saved.
static bool restore_vcpu(struct machine *machine, uint32_t index, const uint8_t *from,
                         uint64_t clock_ahead) {
    const struct machine_backend *backend = &machine->backend;
    struct msr_state msrs;
    struct vcpu_registers registers;
    memcpy(&msrs, from + offsetof(struct saved_vcpu, msrs), sizeof(msrs));
    memcpy(&registers, from + offsetof(struct saved_vcpu, registers), sizeof(registers));
    registers.tsc_clock += clock_ahead;
    if (!msr_state_is_valid(&msrs, machine->arch_capabilities))
        return false;
    machine->msrs[index] = msrs;
    machine_tell_clock(machine, index, registers.tsc_adjust); // of this machine's rate
    return backend->vcpu_write(backend->opaque, index, VCPU_STATE_REGISTERS, &registers,
                               sizeof(registers)) &&
           backend->vcpu_write(backend->opaque, index, VCPU_STATE_APIC,
                               from + offsetof(struct saved_vcpu, apic),
                               sizeof(struct vcpu_apic)) &&
           backend->vcpu_write(backend->opaque, index, VCPU_STATE_FPU,
                               from + offsetof(struct saved_vcpu, fpu), ABI_XSAVE_SIZE);
}

// All vCPUs' TSCs go on from where vCPU 0's was read: with one distance, so that they stay
// together.
static bool restore_vcpus(struct machine *machine, const uint8_t *from) {
    const struct machine_backend *backend = &machine->backend;
    struct vcpu_registers now;
    uint64_t then;
    memcpy(&then, from + offsetof(struct saved_vcpu, registers.tsc_clock), sizeof(then));
    if (!backend->vcpu_read(backend->opaque, 0, VCPU_STATE_REGISTERS, &now, sizeof(now)))
        return false;
    uint64_t clock_ahead = now.tsc_clock - then;
    for (uint32_t i = 0; i < machine->vcpu_count; i++)
        if (!restore_vcpu(machine, i, from + i * sizeof(struct saved_vcpu), clock_ahead))
            return false;
    return true;
}

static enum machine_error restore_parts(struct machine *machine, const struct saved_head *head,
                                        const uint8_t *from) {
    machine->backend.set_now_ns(machine->backend.opaque, head->now_ns);
    if (board_restore(&machine->board, from, head->board_size) != DEVICE_OK)
        return MACHINE_DEVICE;
    from += head->board_size;
    if (!restore_vcpus(machine, from))
        return MACHINE_VCPU;
    uint64_t deadline = board_next_deadline(&machine->board);
    machine->backend.set_deadline(machine->backend.opaque, deadline);
    machine->backend.set_extint(machine->backend.opaque, pic_intr(&machine->board.pic));
    return MACHINE_OK;
}

enum machine_error machine_restore(struct machine *machine, const void *buffer, size_t size) {
    struct saved_head head;
    if (size < sizeof(head))
        return MACHINE_NOT_SAVED;
    memcpy(&head, buffer, sizeof(head));
    enum machine_error error = check_head(machine, &head, size);
    if (error != MACHINE_OK)
        return error;
    machine_lock(machine);
    error = restore_parts(machine, &head, (const uint8_t *)buffer + sizeof(head));
    lock_release(&machine->lock);
    return error;
}
