// SPDX-License-Identifier: Apache-2.0
// Random bytes as code, in ring 3 or ring 0 (words `user` and `kernel`), in 64, 32 and 16 bits,
// with random registers; with `devices` ring 3 has pages of the local APIC, the IOAPIC and of
// nothing, and pointers to them. Each round ends by an exception or by the watchdog. In ring 3 the
// guest goes on to its end; ring 0 may take the VM with it.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/keeper.h"
#include "runtime/tiny.h"

#define ROUND_US   400u
#define CODE_BYTES (ATTACK_DATA * PAGE_SIZE)

static uint32_t ends[256];
static bool has_devices;

// ---- code ---------------------------------------------------------------------------------------

// What random bytes seldom make: prefixes before the instructions that a hypervisor sees.
static size_t put_seldom(uint8_t *to) {
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64,
                                       0x65, 0x48, 0x41, 0x4f, 0x40, 0x44, 0x26, 0x3e};
    static const uint8_t twos[] = {0x00, 0x01, 0x01, 0x01, 0x05, 0x06, 0x07, 0x08, 0x09,
                                   0x0b, 0x20, 0x21, 0x22, 0x23, 0x30, 0x31, 0x32, 0x33,
                                   0x34, 0x35, 0x37, 0x38, 0x3a, 0x78, 0x79, 0xa2, 0xaa,
                                   0xae, 0xae, 0xc7, 0xc7, 0xb8, 0x0d, 0x18, 0x1e, 0xff};
    static const uint8_t ones[] = {0x8e, 0x9d, 0xcf, 0xf4, 0xfa, 0xfb, 0xcd, 0xcc, 0xce, 0xf1,
                                   0xca, 0xcb, 0x6c, 0x6e, 0xe4, 0xec, 0xed, 0xa4, 0xa5, 0xab,
                                   0xac, 0xae, 0x87, 0xc6, 0x62, 0xc4, 0xc5, 0x9c, 0x17, 0x0f};
    size_t size = 0;
    for (uint32_t count = random_below(4); count > 0; count--)
        to[size++] = prefixes[random_below(ARRAY_COUNT(prefixes))];
    if (random_one_in(2)) {
        to[size++] = 0x0f;
        to[size++] = twos[random_below(ARRAY_COUNT(twos))];
    } else {
        to[size++] = ones[random_below(ARRAY_COUNT(ones))];
    }
    return size;
}

static bool is_prefix(uint8_t byte) {
    return (byte & 0xf0) == 0x40 || (byte & 0xe7) == 0x26 || (byte & 0xfc) == 0x64 ||
           byte == 0xf0 || byte == 0xf2 || byte == 0xf3;
}

// In ring 0, ports would end the VM too soon: they are what another guest is about.
static bool is_port_io(uint8_t byte) {
    return (byte >= 0x6c && byte <= 0x6f) || (byte & 0xf4) == 0xe4;
}

// A string instruction with the address-size prefix stops the emulator where it is repeated in
// 64-bit mode (docs/testing.md): it loses the prefix.
static void spare_emulator(uint8_t *code, const uint8_t *end) {
    for (; code < end; code++) {
        const uint8_t *next = code + 1;
        while (next < end && is_prefix(*next))
            next++;
        bool is_string = next < end && ((*next >= 0xa4 && *next <= 0xaf && (*next & ~1) != 0xa8) ||
                                        (*next >= 0x6c && *next <= 0x6f));
        if (*code == 0x67 && is_string)
            *code = 0x66;
    }
}

static void fill_code(bool is_kernel) {
    uint8_t *at = attack_memory, *const last = at + CODE_BYTES;
    random_fill(at, CODE_BYTES / 16);
    memset(at + CODE_BYTES / 16, 0x90, CODE_BYTES - CODE_BYTES / 16);
    while (at + 64 < attack_memory + CODE_BYTES / 16) {
        at += random_below(24);
        at += put_seldom(at);
    }
    // Some of it lies at the end, so that it runs over into the next page.
    random_fill(last - 32, 32);
    for (at = attack_memory; is_kernel && at < last; at++)
        if (is_port_io(*at) && !random_one_in(64))
            *at ^= 0x80;
    spare_emulator(attack_memory, last);
}

// ---- registers ----------------------------------------------------------------------------------

static uint64_t pointer(void) {
    uint64_t pages = has_devices ? ATTACK_NOWHERE + 2 : ATTACK_PAGES + 1;
    return ATTACK_BASE + random64() % (pages * PAGE_SIZE);
}

static uint64_t start_offset(void) {
    if (random_one_in(8))
        return CODE_BYTES - random_below(32);
    return random_below(CODE_BYTES / 16);
}

static void choose_segments(struct attack *attack, bool is_kernel) {
    static const struct {
        uint16_t user, kernel, user_stack, kernel_stack;
        uint64_t base;
    } modes[] = {
        {ATTACK_USER64, ATTACK_CODE64, ATTACK_USER_DATA, ATTACK_DATA0, ATTACK_BASE},
        {ATTACK_USER64, ATTACK_CODE64, ATTACK_USER_DATA, ATTACK_DATA0, ATTACK_BASE},
        {ATTACK_USER32, ATTACK_CODE32, ATTACK_USER_DATA, ATTACK_DATA0, ATTACK_BASE},
        {ATTACK_USER16, ATTACK_CODE16, ATTACK_USER_DATA16, ATTACK_DATA0, 0},
    };
    uint32_t i = random_below(ARRAY_COUNT(modes));
    attack->cs = is_kernel ? modes[i].kernel : modes[i].user;
    attack->ss = is_kernel ? modes[i].kernel_stack : modes[i].user_stack;
    attack->rip = modes[i].base + start_offset();
}

static void choose_registers(struct attack *attack) {
    for (size_t i = 0; i < ARRAY_COUNT(attack->gpr); i++)
        attack->gpr[i] = random_one_in(2) ? pointer() : random_value();
    attack->gpr[4] = ATTACK_PAGE(ATTACK_DATA) + random_below(4 * PAGE_SIZE);
    attack->rflags = RFLAGS_ONE | (random_one_in(2) ? RFLAGS_IF : 0) |
                     (random_one_in(8) ? RFLAGS_TF : 0) | (random_one_in(8) ? RFLAGS_AC : 0) |
                     (random_one_in(8) ? BIT(10) : 0) | (random_one_in(16) ? RFLAGS_RF : 0);
}

// For who looks for what a seed has found.
static void trace(uint64_t round, const struct attack *attack) {
    uint64_t offset = attack->rip % ATTACK_BASE;
    print("round %lu cs %lx rip %lx rflags %lx:", round, attack->cs, attack->rip, attack->rflags);
    for (uint64_t i = offset; i < offset + 24 && i < CODE_BYTES; i++)
        print(" %02x", attack_memory[i]);
    print("\n");
}

void test(void) {
    bool is_kernel = cmdline_has("kernel");
    const bool is_traced = cmdline_has("trace");
    uint64_t done = 0;
    hostile_init(300);
    has_devices = cmdline_has("devices");
    if (is_kernel)
        keeper_start(KEEPER_S);
    attack_init();
    if (has_devices)
        attack_map_devices();
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        struct attack attack;
        keeper_beat();
        if (round % 8 == 0)
            fill_code(is_kernel);
        choose_registers(&attack);
        choose_segments(&attack, is_kernel);
        if (is_traced)
            trace(round, &attack);
        if (is_kernel)
            lapic_init(false);
        ends[attack_run(&attack, ROUND_US).vector]++;
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(ends); i++) {
        done += ends[i];
        if (ends[i] != 0)
            print("vector %u: %u\n", i, ends[i]);
    }
    CHECK_EQ(done, hostile_rounds);
}
