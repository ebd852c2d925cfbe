// SPDX-License-Identifier: Apache-2.0
// Ends as `powered off`: ACPI S5, by what the tables say and nothing else.
#include "runtime/acpi.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define SLP_EN        BIT(13)
#define SLP_TYP_SHIFT 10

void test(void) {
    const uint8_t *fadt = acpi_find("FACP");
    uint16_t port, type = acpi_s5_type();
    CHECK(fadt != NULL && type <= 7);
    if (fadt == NULL)
        return;
    port = (uint16_t)acpi_field(fadt, FADT_PM1A_CONTROL, 4);
    print("S5: type %u at port 0x%x\n", type, port);
    out16(port, (uint16_t)(type << SLP_TYP_SHIFT)); // without SLP_EN: nothing happens
    out16(port, (uint16_t)((uint64_t)type << SLP_TYP_SHIFT | SLP_EN));
    CHECK(false);
}
