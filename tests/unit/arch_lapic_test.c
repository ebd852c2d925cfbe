// SPDX-License-Identifier: Apache-2.0
// arch/lapic: which CPUs can be reached. In xAPIC mode an ID of 256 would be cut to 0, the boot
// CPU's, and 255 is everybody. Other tests of this binary have stand-ins of these names.
#define lapic_eoi         tested_lapic_eoi
#define lapic_send_vector tested_lapic_send_vector
#define lapic_timer_set   tested_lapic_timer_set
#define lapic_timer_stop  tested_lapic_timer_stop
#include "arch/lapic.c"

#include <criterion/criterion.h>

Test(arch_lapic, only_ids_that_fit_are_reached) {
    static uint32_t registers[1024];
    mmio = registers;
    cr_assert(lapic_can_reach(0));
    cr_assert(lapic_can_reach(254));
    cr_assert_not(lapic_can_reach(255));
    cr_assert_not(lapic_can_reach(256));
    cr_assert_not(lapic_can_reach(UINT32_MAX));
    mmio = NULL; // x2APIC
    cr_assert(lapic_can_reach(255));
    cr_assert(lapic_can_reach(4096));
}
