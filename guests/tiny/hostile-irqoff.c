// SPDX-License-Identifier: Apache-2.0
// A guest that gives nobody a chance of its own will: loops with interrupts off, #DB upon #DB and
// #AC upon #AC, HLT that only the watchdog's NMI ends, PAUSE loops, and exits by the million with
// interrupts off. Each for a while; from the host they look as if they had no end.
#include "lib/string.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"

#define WHILE_US 20000u // of the 8254, which holds 54 ms

struct loop {
    const char *name;
    uint16_t cs;
    uint8_t end; // vector
    uint8_t size;
    uint8_t bytes[16];
};

static const struct loop loops[] = {
    {"jmp", ATTACK_CODE64, EXC_NMI, 2, {0xeb, 0xfe}},
    {"hlt", ATTACK_CODE64, EXC_NMI, 3, {0xf4, 0xeb, 0xfd}},
    {"pause", ATTACK_CODE64, EXC_NMI, 4, {0xf3, 0x90, 0xeb, 0xfc}},
    {"cpuid", ATTACK_CODE64, EXC_NMI, 4, {0x0f, 0xa2, 0xeb, 0xfc}},
    {"out", ATTACK_CODE64, EXC_NMI, 4, {0xe6, 0x80, 0xeb, 0xfc}},
    {"sti cli", ATTACK_CODE64, EXC_NMI, 4, {0xfb, 0xfa, 0xeb, 0xfc}},
    {"mov ss", ATTACK_CODE64, EXC_NMI, 4, {0x8e, 0xd0, 0xeb, 0xfc}},
    {"wbinvd", ATTACK_CODE64, EXC_NMI, 4, {0x0f, 0x09, 0xeb, 0xfc}},
    {"user jmp", ATTACK_USER64, EXC_NMI, 2, {0xeb, 0xfe}},
    {"user pause", ATTACK_USER64, EXC_NMI, 4, {0xf3, 0x90, 0xeb, 0xfc}},
    {"user cpuid", ATTACK_USER32, EXC_NMI, 4, {0x0f, 0xa2, 0xeb, 0xfc}},
    {"user jmp 16", ATTACK_USER16, EXC_NMI, 2, {0xeb, 0xfe}},
    {"user hlt", ATTACK_USER64, EXC_GP, 1, {0xf4}},
    {"user cli", ATTACK_USER64, EXC_GP, 1, {0xfa}},
};

static void attack_loops(void) {
    for (size_t i = 0; i < ARRAY_COUNT(loops); i++) {
        struct attack attack = {.cs = loops[i].cs, .rip = ATTACK_BASE, .rflags = RFLAGS_ONE};
        bool is_user = (loops[i].cs & 3) != 0;
        attack.gpr[0] = ATTACK_DATA0;
        attack.gpr[4] = ATTACK_PAGE(ATTACK_PAGES);
        attack.ss = is_user ? ATTACK_USER_DATA : ATTACK_DATA0;
        if (loops[i].cs == ATTACK_USER16)
            attack.rip = 0;
        memcpy(attack_memory, loops[i].bytes, loops[i].size);
        uint8_t vector = loops[i].end == EXC_NMI ? attack_run(&attack, WHILE_US).vector
                                                 : attack_certain(&attack).vector;
        if (vector != loops[i].end)
            print("%s: vector %u\n", loops[i].name, vector);
        CHECK_EQ(vector, loops[i].end);
    }
}

// Each instruction traps: by TF, by breakpoints on code and data, by #AC on every access.
static void attack_traps_storm(uint64_t rounds) {
    static const uint8_t code[] = {
        0x48, 0x89, 0x03, 0xcd, 0x03, 0xf1, 0x0f,
        0x31, 0x8b, 0x43, 0x01, 0xeb, 0xf3}; // stores, INT 3, INT1, RDTSC, loads
    memcpy(attack_memory, code, sizeof(code));
    for (uint64_t i = 0; i < rounds; i++) {
        struct attack attack = {.cs = ATTACK_USER64, .ss = ATTACK_USER_DATA, .rflags = RFLAGS_ONE};
        attack.rip = ATTACK_BASE + (random_one_in(2) ? 6 : 0);
        attack.gpr[3] = ATTACK_PAGE(ATTACK_DATA) + random_below(16);
        attack.gpr[4] = ATTACK_PAGE(ATTACK_PAGES) - random_below(16);
        attack.rflags |= random_one_in(2) ? RFLAGS_TF : 0;
        attack.rflags |= random_one_in(2) ? RFLAGS_AC : 0;
        write_cr0(read_cr0() | CR0_AM);
        write_dr0(ATTACK_BASE + random_below(sizeof(code)));
        write_dr1(ATTACK_PAGE(ATTACK_DATA));
        write_dr7(0x400 | (random64() & 0xff000f));
        uint8_t vector = attack_run(&attack, WHILE_US).vector;
        bool is_right =
            vector == EXC_DB || vector == EXC_AC || vector == EXC_GP || vector == EXC_NMI;
        CHECK(is_right);
        if (!is_right)
            print("vector %u\n", vector);
    }
}

void test(void) {
    hostile_init(400);
    attack_init();
    attack_loops();
    attack_traps_storm(hostile_rounds);
}
