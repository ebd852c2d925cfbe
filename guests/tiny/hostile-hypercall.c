// SPDX-License-Identifier: Apache-2.0
// Hypercalls with garbage: VMCALL and VMMCALL, from rings 0 and 3 and from 64, 32 and 16 bits, with
// random numbers and arguments. The other vendor's is #UD; the processor's own answers as KVM does,
// with -EPERM in ring 3, and nothing else happens.
#include "lib/string.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"

#define VAPIC_POLL_IRQ 1u
#define CLOCK_PAIRING  9u
#define EPERM          1
#define EFAULT         14
#define EOPNOTSUPP     95
#define ENOSYS         1000
#define NOWHERE        0xd0000000ULL

static const uint8_t calls[2][5] = {
    {0x0f, 0x01, 0xc1, 0x0f, 0x0b}, // VMCALL; UD2
    {0x0f, 0x01, 0xd9, 0x0f, 0x0b}, // VMMCALL; UD2
};
static const uint16_t segments[] = {ATTACK_USER64, ATTACK_CODE64, ATTACK_USER32,
                                    ATTACK_CODE32, ATTACK_USER16, ATTACK_CODE16};

static bool is_refusal(const struct attack_end *end, const struct attack *attack) {
    return end->vector == EXC_UD && end->rip == attack->rip;
}

// What a pair of clocks is written over would be ours.
static void spare_memory(struct attack *attack) {
    static const uint64_t places[] = {0, 0x10000000, 0x2ec00000, 0x2ee00000};
    static uint8_t scratch[64];
    attack->gpr[3] =
        random_one_in(2) ? (uintptr_t)scratch : NOWHERE + places[random_below(ARRAY_COUNT(places))];
}

static bool is_answer(int64_t answer, uint64_t number, bool is_user) {
    if (is_user)
        return answer == -EPERM;
    if (number == CLOCK_PAIRING)
        return answer == 0 || answer == -EFAULT || answer == -EOPNOTSUPP;
    return answer == (number == VAPIC_POLL_IRQ ? 0 : -ENOSYS);
}

void test(void) {
    uint32_t refused = 0, own = is_amd();
    hostile_init(1000);
    attack_init();
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        uint16_t cs = segments[random_below(ARRAY_COUNT(segments))];
        bool is_16bit = cs == ATTACK_USER16 || cs == ATTACK_CODE16;
        bool is_wide = cs == ATTACK_USER64 || cs == ATTACK_CODE64;
        bool is_user = (cs & 3) != 0, is_own = round % 2 == own;
        struct attack attack = {.cs = cs, .rflags = RFLAGS_ONE};
        for (size_t k = 0; k < ARRAY_COUNT(attack.gpr); k++)
            attack.gpr[k] = random_value();
        if (random_one_in(2))
            attack.gpr[0] = random_below(32); // KVM's numbers are small
        uint64_t number = is_wide ? attack.gpr[0] : (uint32_t)attack.gpr[0];
        if (number == CLOCK_PAIRING)
            spare_memory(&attack);
        memcpy(attack_memory, calls[round % 2], sizeof(calls[0]));
        attack.rip = is_16bit ? 0 : ATTACK_BASE;
        attack.ss = is_user ? ATTACK_USER_DATA : ATTACK_DATA0;
        struct attack_end end = attack_certain(&attack);
        if (!is_own) {
            CHECK(is_refusal(&end, &attack));
            refused++;
            continue;
        }
        CHECK(end.vector == EXC_UD && end.rip == attack.rip + 3);
        CHECK(is_wide || end.rax <= UINT32_MAX);
        CHECK(is_answer(is_wide ? (int64_t)end.rax : (int32_t)end.rax, number, is_user));
    }
    print("%u undefined, %lu answered\n", refused, hostile_rounds - refused);
}
