// SPDX-License-Identifier: Apache-2.0
// Hypercalls with garbage: VMCALL and VMMCALL, from rings 0 and 3 and from 64, 32 and 16 bits, with random numbers and
// arguments. Each is #UD, or answers with a small negative number and nothing else happens.
#include "lib/string.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"

#define ERROR_MAX 4095u

static const uint8_t calls[2][5] = {
    {0x0f, 0x01, 0xc1, 0x0f, 0x0b}, // VMCALL; UD2
    {0x0f, 0x01, 0xd9, 0x0f, 0x0b}, // VMMCALL; UD2
};
static const uint16_t segments[] = {ATTACK_USER64, ATTACK_CODE64, ATTACK_USER32,
                                    ATTACK_CODE32, ATTACK_USER16, ATTACK_CODE16};

static bool is_refusal(const struct attack_end *end, const struct attack *attack) {
    return end->vector == EXC_UD && end->rip == attack->rip;
}

void test(void) {
    uint32_t refused = 0;
    hostile_init(1000);
    attack_init();
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        uint16_t cs = segments[random_below(ARRAY_COUNT(segments))];
        bool is_16bit = cs == ATTACK_USER16 || cs == ATTACK_CODE16;
        struct attack attack = {.cs = cs, .rflags = RFLAGS_ONE};
        for (size_t k = 0; k < ARRAY_COUNT(attack.gpr); k++)
            attack.gpr[k] = random_value();
        if (random_one_in(2))
            attack.gpr[0] = random_below(32); // KVM's numbers are small
        memcpy(attack_memory, calls[round % 2], sizeof(calls[0]));
        attack.rip = is_16bit ? 0 : ATTACK_BASE;
        attack.ss = (cs & 3) != 0 ? ATTACK_USER_DATA : ATTACK_DATA0;
        struct attack_end end = attack_certain(&attack);
        if (is_refusal(&end, &attack)) {
            refused++;
            continue;
        }
        CHECK(end.vector == EXC_UD && end.rip == attack.rip + 3);
        CHECK((uint32_t)-end.rax <= ERROR_MAX);
    }
    print("%u undefined, %lu answered\n", refused, hostile_rounds - refused);
    CHECK(refused <= hostile_rounds);
}
