// SPDX-License-Identifier: Apache-2.0
// See kernel/exception.h.
#include "kernel/exception.h"

#include "arch/x86.h"

// Exceptions that push an error code (SDM 3A 6.13 "Error Code") and those that report an
// instruction which was not done (SDM 3A 6.5 "Exception Classifications"), by vector.
#define WITH_ERROR_CODE (BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17))
#define CONTRIBUTORY    (BIT(0) | BIT(10) | BIT(11) | BIT(12) | BIT(13))
#define FAULTS                                                                                     \
    (BIT(0) | BIT(5) | BIT(6) | BIT(7) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) |         \
     BIT(16) | BIT(17) | BIT(19))

static bool is_in(uint64_t vectors, uint64_t vector) {
    return vector < EXCEPTION_COUNT && (vectors & BIT(vector)) != 0;
}

#define TRIPLE_FAULT 0xffu // no vector

// What becomes of `second` when it comes while `first` is being delivered: SDM 3A Table 6-5
// "Conditions for Generating a Double Fault".
static uint8_t combine(uint8_t first, uint8_t second) {
    bool is_contributory = is_in(CONTRIBUTORY, second);
    bool is_grave = is_contributory || second == EXC_PF;
    if (first == EXC_DF && is_grave)
        return TRIPLE_FAULT;
    if (first == EXC_PF && is_grave)
        return EXC_DF;
    return is_contributory && is_in(CONTRIBUTORY, first) ? EXC_DF : second;
}

uint64_t exception_compose(uint64_t queued, uint8_t vector, uint32_t error, bool is_protected) {
    vector %= EXCEPTION_COUNT;
    if ((queued & (EVENT_VALID | EVENT_TYPE)) == (EVENT_VALID | EVENT_EXCEPTION))
        vector = combine((uint8_t)(queued & EVENT_VECTOR), vector);
    if (vector == TRIPLE_FAULT)
        return 0;
    uint64_t event = EVENT_VALID | EVENT_EXCEPTION | vector;
    if (is_protected && is_in(WITH_ERROR_CODE, vector))
        event |= EVENT_HAS_ERROR | (uint64_t)(vector == EXC_DF ? 0 : error) << EVENT_ERROR_SHIFT;
    return event;
}

bool exception_is_fault(uint64_t event) {
    return is_in(FAULTS, event & EVENT_VECTOR);
}

struct vcpu_inject exception_to_vmm(uint64_t event) {
    bool has_error = (event & EVENT_HAS_ERROR) != 0;
    if (!(event & EVENT_VALID))
        return (struct vcpu_inject){0};
    return (struct vcpu_inject){
        .vector = (uint8_t)(event & EVENT_VECTOR),
        .type = (uint8_t)((event & EVENT_TYPE) >> EVENT_TYPE_SHIFT),
        .has_error = has_error,
        .error = has_error ? (uint32_t)(event >> EVENT_ERROR_SHIFT) : 0,
    };
}

uint64_t exception_from_vmm(const struct vcpu_inject *inject) {
    uint32_t type = (uint32_t)inject->type << EVENT_TYPE_SHIFT & EVENT_TYPE;
    uint64_t error = (uint64_t)inject->error << EVENT_ERROR_SHIFT | EVENT_HAS_ERROR;
    return EVENT_VALID | type | inject->vector | (inject->has_error ? error : 0);
}
