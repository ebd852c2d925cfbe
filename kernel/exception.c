// SPDX-License-Identifier: Apache-2.0
// See kernel/exception.h.
#include "kernel/exception.h"

#include "arch/x86.h"

// Exceptions that push an error code (SDM 3A 6.13 "Error Code") and those that report an
// instruction which was not done (SDM 3A 6.5 "Exception Classifications"), by vector.
#define EXC_DF_BIT      BIT(EXC_DF)
#define WITH_ERROR_CODE (EXC_DF_BIT | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17))
#define CONTRIBUTORY    (BIT(0) | BIT(10) | BIT(11) | BIT(12) | BIT(13))
#define FAULTS                                                                                     \
    (BIT(0) | BIT(5) | BIT(6) | BIT(7) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) |         \
     BIT(16) | BIT(17) | BIT(19))

bool exception_is_fault(uint8_t vector) {
    return vector < EXCEPTION_COUNT && (FAULTS & BIT(vector));
}

bool exception_has_error_code(uint8_t vector) {
    return vector < EXCEPTION_COUNT && (WITH_ERROR_CODE & BIT(vector));
}

// SDM 3A Table 6-5 "Conditions for Generating a Double Fault".
enum exception_merge exception_combine(uint8_t first, uint8_t second) {
    bool is_first_fault = first < EXCEPTION_COUNT && (CONTRIBUTORY & BIT(first));
    bool is_second_fault = second < EXCEPTION_COUNT && (CONTRIBUTORY & BIT(second));
    if (first == EXC_DF && (is_second_fault || second == EXC_PF))
        return MERGE_SHUTDOWN;
    if (first == EXC_PF && (is_second_fault || second == EXC_PF))
        return MERGE_DOUBLE_FAULT;
    if (is_first_fault && is_second_fault)
        return MERGE_DOUBLE_FAULT;
    return MERGE_SECOND;
}
