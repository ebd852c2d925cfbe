// SPDX-License-Identifier: Apache-2.0
// All instructions of VT-x and AMD-V but the processor's own hypercall, and their neighbours in the
// opcode map, in rings 0 and 3 and in 64, 32 and 16 bits, with random operands and prefixes: #UD
// each, as on a processor that has neither. But AMD's processors look at the ring first: of their
// own instructions, ring 3 gets #GP(0) where the host's EFER.SVME stands (APM 3 "VMRUN").
#include "lib/string.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"

// Complete opcodes, and those that take a ModRM byte, of which `reg` is a part of the opcode.
static const struct {
    uint8_t size;
    uint8_t bytes[4];
    uint8_t has_memory; // a ModRM byte with a memory operand follows: `reg` is in it
    uint8_t reg;        // 8: any
} instructions[] = {
    {3, {0x0f, 0x01, 0xc2}, 0, 0},       // VMLAUNCH
    {3, {0x0f, 0x01, 0xc3}, 0, 0},       // VMRESUME
    {3, {0x0f, 0x01, 0xc4}, 0, 0},       // VMXOFF
    {3, {0x0f, 0x01, 0xd4}, 0, 0},       // VMFUNC
    {2, {0x0f, 0x78}, 1, 8},             // VMREAD
    {2, {0x0f, 0x79}, 1, 8},             // VMWRITE
    {2, {0x0f, 0xc7}, 1, 6},             // VMPTRLD
    {3, {0x66, 0x0f, 0xc7}, 1, 6},       // VMCLEAR
    {3, {0xf3, 0x0f, 0xc7}, 1, 6},       // VMXON
    {2, {0x0f, 0xc7}, 1, 7},             // VMPTRST
    {4, {0x66, 0x0f, 0x38, 0x80}, 1, 8}, // INVEPT
    {4, {0x66, 0x0f, 0x38, 0x81}, 1, 8}, // INVVPID
    {2, {0x0f, 0x37}, 0, 0},             // GETSEC
    {3, {0x0f, 0x01, 0xc1}, 0, 0},       // VMCALL
    {3, {0x0f, 0x01, 0xd9}, 0, 0},       // VMMCALL
    {3, {0x0f, 0x01, 0xd8}, 0, 0},       // VMRUN
    {3, {0x0f, 0x01, 0xda}, 0, 0},       // VMLOAD
    {3, {0x0f, 0x01, 0xdb}, 0, 0},       // VMSAVE
    {3, {0x0f, 0x01, 0xdc}, 0, 0},       // STGI
    {3, {0x0f, 0x01, 0xdd}, 0, 0},       // CLGI
    {3, {0x0f, 0x01, 0xde}, 0, 0},       // SKINIT
    {3, {0x0f, 0x01, 0xdf}, 0, 0},       // INVLPGA
    {3, {0x0f, 0x01, 0xc8}, 0, 0},       // MONITOR
    {3, {0x0f, 0x01, 0xc9}, 0, 0},       // MWAIT
    {3, {0x0f, 0x01, 0xcf}, 0, 0},       // ENCLS
    {3, {0x0f, 0x01, 0xd7}, 0, 0},       // ENCLU
    {3, {0x0f, 0x01, 0xc0}, 0, 0},       // ENCLV
    {3, {0x0f, 0x01, 0xc5}, 0, 0},       // PCONFIG
    {2, {0x0f, 0xaa}, 0, 0},             // RSM
};

static bool is_of_svm(size_t index) {
    const uint8_t *bytes = instructions[index].bytes;
    return bytes[0] == 0x0f && bytes[1] == 0x01 && bytes[2] >= 0xd8 && bytes[2] <= 0xdf;
}

static bool is_hypercall(size_t index, bool is_vmmcall) {
    const uint8_t *bytes = instructions[index].bytes;
    return bytes[0] == 0x0f && bytes[1] == 0x01 && bytes[2] == (is_vmmcall ? 0xd9 : 0xc1);
}

static const uint16_t segments[] = {ATTACK_USER64, ATTACK_CODE64, ATTACK_USER32,
                                    ATTACK_CODE32, ATTACK_USER16, ATTACK_CODE16};

// A memory operand of any form; the registers are random, and so is where it points.
static size_t put_operand(uint8_t *to, uint32_t reg) {
    uint32_t mod = random_below(3);
    reg = reg == 8 ? random_below(8) : reg;
    to[0] = (uint8_t)(mod << 6 | reg << 3 | random_below(8));
    random_fill(to + 1, 5);
    return 6;
}

static size_t assemble(uint8_t *code, size_t index, bool is_64bit) {
    size_t size = 0;
    if (random_one_in(4))
        code[size++] = random_one_in(2) ? 0x64 : 0x65;
    for (size_t i = 0; i < instructions[index].size; i++) {
        // REX stands last before the opcode.
        bool is_opcode = instructions[index].bytes[i] == 0x0f;
        if (is_opcode && i < 2 && is_64bit && random_one_in(4))
            code[size++] = (uint8_t)(0x40 + random_below(16));
        code[size++] = instructions[index].bytes[i];
    }
    if (instructions[index].has_memory)
        size += put_operand(code + size, instructions[index].reg);
    return size;
}

void test(void) {
    hostile_init(1500);
    attack_init();
    bool has_svm = is_amd();
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        size_t i = round % ARRAY_COUNT(instructions);
        if (is_hypercall(i, has_svm))
            continue;
        uint16_t cs = segments[random_below(ARRAY_COUNT(segments))];
        bool is_16bit = cs == ATTACK_USER16 || cs == ATTACK_CODE16;
        struct attack attack = {.cs = cs, .rflags = RFLAGS_ONE};
        for (size_t k = 0; k < ARRAY_COUNT(attack.gpr); k++)
            attack.gpr[k] = random_value();
        memset(attack_memory, 0x90, 64);
        (void)assemble(attack_memory, i, cs == ATTACK_USER64 || cs == ATTACK_CODE64);
        attack.rip = is_16bit ? 0 : ATTACK_BASE;
        attack.ss = (cs & 3) != 0 ? ATTACK_USER_DATA : ATTACK_DATA0;
        struct attack_end end = attack_certain(&attack);
        // EFER.SVME is the host's, so these see the privilege level and RAX before they exit.
        bool may_be_protected = has_svm && is_of_svm(i);
        bool is_right = end.rip == attack.rip &&
                        (end.vector == EXC_UD || (may_be_protected && end.vector == EXC_GP));
        CHECK(is_right);
        if (!is_right)
            print("instruction %lu, cs %x: vector %u at %lx: %02x %02x %02x %02x %02x %02x\n", i,
                  cs, end.vector, end.rip, attack_memory[0], attack_memory[1], attack_memory[2],
                  attack_memory[3], attack_memory[4], attack_memory[5]);
    }
}
