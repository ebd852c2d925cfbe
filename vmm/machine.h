// SPDX-License-Identifier: Apache-2.0
// The virtual PC as one value: RAM, board, and what the VMM holds of each vCPU. It can be built,
// driven, saved and restored anywhere, the unit tests included; everything outside is reached
// through struct machine_backend.
//
// In call order: machine_init; machine_lock, accesses to `board`, machine_unlock; machine_save,
// machine_restore.
//
// Ownership: [l] fields are protected by `lock`, [v] belong to the vCPU's thread, [c] are constant
// after machine_init.
#pragma once

#include "include/abi.h"
#include "vmm/cpu/msr.h"
#include "vmm/cpu/pvclock.h"
#include "vmm/device/board.h"
#include "vmm/lock.h"
#include "vmm/memory.h"

#define MACHINE_VCPUS_MAX 64u

// What an access to the devices left to be done once the lock is free.
enum machine_after {
    MACHINE_AFTER_END = 1u << 0,   // the VM has ended: machine.end_event, .end_code
    MACHINE_AFTER_INPUT = 1u << 1, // COM1 has room for received bytes again
    MACHINE_AFTER_TELL = 1u << 2,  // the supervisor ought to look at the console
    MACHINE_AFTER_STALL = 1u << 3, // console output waits for room: so must the vCPU
    MACHINE_AFTER_WAKE = 1u << 4,  // the I/O thread has an earlier deadline than it knows
};

// What the virtual PC needs of the outside. All are called with the lock held.
struct machine_backend {
    void *opaque;
    // Device time, and setting it by a restore.
    uint64_t (*now_ns)(void *opaque);
    void (*set_now_ns)(void *opaque, uint64_t ns);
    // An interrupt message for the local APICs (false: none took it), and the level of the 8259's
    // INTR.
    bool (*send_message)(void *opaque, uint64_t address, uint32_t data);
    void (*set_extint)(void *opaque, bool level);
    // COM1 sent bytes.
    void (*transmit)(void *opaque, const uint8_t *data, size_t count);
    // Some device has to be run at `deadline`, perhaps earlier than was known.
    void (*set_deadline)(void *opaque, uint64_t deadline);
    // State of a vCPU that the kernel holds; false: it refused. No vCPU runs then.
    bool (*vcpu_read)(void *opaque, uint32_t index, enum vcpu_state_group group, void *state,
                      size_t size);
    bool (*vcpu_write)(void *opaque, uint32_t index, enum vcpu_state_group group, const void *state,
                       size_t size);
};

struct machine_config {
    struct machine_backend backend;
    uint8_t *memory; // where the VMM sees the RAM
    uint64_t memory_size;
    struct pvclock_rate rate;   // of the guest's TSCs
    uint32_t vcpu_count;        // 1..MACHINE_VCPUS_MAX
    int64_t utc_seconds;        // date at device time 0
    uint64_t arch_capabilities; // of the host; 0: it has none
};

struct machine {
    struct lock lock;
    uint32_t after;                           // enum machine_after [l]
    struct board board;                       // [l]
    enum board_event end_event;               // [l]
    uint32_t end_code;                        // [l]
    struct msr_state msrs[MACHINE_VCPUS_MAX]; // [v]
    struct memory memory;                     // [c]; the bytes are the guest's
    struct device_host host;                  // [c]
    struct machine_backend backend;           // [c]
    uint32_t vcpu_count;                      // [c]
    struct pvclock_rate rate;                 // of the guest's TSCs [c]
    uint64_t arch_capabilities;               // what of the host's is true for a guest [c]
};

// Powers the machine on: RAM is used as it is, devices and MSRs are reset.
void machine_init(struct machine *machine, const struct machine_config *config);

// Around every use of the devices. machine_unlock returns what is to be done next (enum
// machine_after bits), which has become the caller's duty.
static inline void machine_lock(struct machine *machine) {
    lock_acquire(&machine->lock);
}
static inline uint32_t machine_unlock(struct machine *machine) {
    uint32_t after = machine->after;
    if (after != 0)
        machine->after = 0;
    lock_release(&machine->lock);
    return after;
}

// On the vCPU's thread: writes its paravirtual clock, if it has one, when its TSC_ADJUST has become
// `tsc_adjust`.
void machine_tell_clock(const struct machine *machine, uint32_t vcpu, uint64_t tsc_adjust);

// The whole machine but its RAM as one value: a head, the devices' records, then each vCPU's. No
// vCPU may run meanwhile; both take the lock.
enum machine_error {
    MACHINE_OK = 0,
    // Not the saved state of a machine, or cut off, or of a time from MACHINE_NS_MAX on.
    MACHINE_NOT_SAVED,
    MACHINE_VERSION, // written by a newer VMM
    MACHINE_SHAPE,   // another number of vCPUs or size of RAM
    MACHINE_DEVICE,  // a device refuses its record
    MACHINE_VCPU,    // the kernel refuses a vCPU's state
};

// Device time never gets there, in 146 years: so deadlines, of which none is further ahead, do not
// wrap around.
#define MACHINE_NS_MAX (1ULL << 62)

size_t machine_saved_size(const struct machine *machine);
// Writes machine_saved_size() bytes. MACHINE_VCPU: the buffer is useless.
enum machine_error machine_save(struct machine *machine, void *buffer);
// The machine has the shape of the saved one, and its RAM: the clocks in it are written anew.
// Device time goes on from the saved one. After an error it is lost, but for MACHINE_NOT_SAVED,
// MACHINE_VERSION and MACHINE_SHAPE, which change nothing.
enum machine_error machine_restore(struct machine *machine, const void *buffer, size_t size);
