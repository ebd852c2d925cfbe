// SPDX-License-Identifier: Apache-2.0
// Code and data at the edges of things. Without a word: string instructions over the borders of
// memory, devices and nothing with huge counts; instructions that exit as the last before the end
// of the lower half of the address space, and before its wrap; all of which the guest survives.
// With a word it ends the VM: `end` runs off the end of RAM, `cross` executes an instruction that
// lies half behind it, `exit` one that exits and is the last before it, `top` and `devices` jump to
// the last bytes below 4 GiB and into the local APIC.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define ROUND_US 1500u
#define NOWHERE  0xd0000000ULL
#define LOW_END  0x800000000000ULL // of the lower half

static const struct {
    uint8_t size;
    uint8_t bytes[5];
} strings[] = {
    {2, {0xf3, 0xa4}},       // rep movsb
    {2, {0xf3, 0xa5}},       // rep movsd
    {3, {0xf3, 0x48, 0xa5}}, // rep movsq
    {2, {0xf3, 0xaa}},       // rep stosb
    {3, {0xf3, 0x66, 0xab}}, // rep stosw
    {2, {0xf3, 0xac}},       // rep lodsb
    {3, {0xf3, 0x48, 0xaf}}, // repe scasq
    {2, {0xf2, 0xae}},       // repne scasb
    {2, {0xf3, 0xa6}},       // repe cmpsb
    {2, {0xf3, 0x6c}},       // rep insb
    {2, {0xf3, 0x6e}},       // rep outsb
};

// Five pages in a row: memory, nothing, memory, a device, memory. Between them and the code lies
// nothing that is mapped, since what runs downwards would write over it.
static void map_borders(void) {
    static uint8_t frames[3][4096] __attribute__((aligned(4096)));
    const uint64_t pages[] = {(uintptr_t)frames[0], NOWHERE, (uintptr_t)frames[1], IOAPIC_BASE,
                              (uintptr_t)frames[2]};
    for (size_t i = 1; i < ATTACK_PAGES; i++)
        attack_entries[i] = 0;
    for (size_t i = 0; i < ARRAY_COUNT(pages); i++)
        attack_entries[ATTACK_PAGES + i] = pages[i] | PTE_DATA;
}

static uint64_t border(void) {
    return ATTACK_PAGE(ATTACK_PAGES + random_below(5)) + PAGE_SIZE - random_below(64);
}

static void attack_strings(void) {
    static const uint64_t counts[] = {1, 8, 4096, 70000, UINT32_MAX, BIT(63), UINT64_MAX};
    map_borders();
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        size_t i = random_below(ARRAY_COUNT(strings));
        struct attack attack = {.cs = ATTACK_CODE64, .ss = ATTACK_DATA0, .rip = ATTACK_BASE};
        attack.rflags = RFLAGS_ONE | (random_one_in(4) ? BIT(10) : 0);
        attack.gpr[0] = random64();
        attack.gpr[1] = counts[random_below(ARRAY_COUNT(counts))];
        attack.gpr[2] = 0x80; // port
        attack.gpr[6] = border();
        attack.gpr[7] = border();
        memcpy(attack_memory, strings[i].bytes, strings[i].size);
        memcpy(attack_memory + strings[i].size, "\x0f\x0b", 2);
        uint8_t vector = attack_run(&attack, ROUND_US).vector;
        CHECK(vector == EXC_UD || vector == EXC_PF || vector == EXC_NMI);
    }
}

// ---- the ends of the address space --------------------------------------------------------------

#define LEVELS 4u
static volatile uint64_t tables[2][LEVELS][512] __attribute__((aligned(4096)));

// Shows a page of the attack's memory as the last one below `end`.
static void map_last_page(uint32_t which, uint64_t end) {
    uint64_t last = end - PAGE_SIZE;
    volatile uint64_t *root = (volatile uint64_t *)(uintptr_t)(read_cr3() & ~0xfffULL);
    for (uint32_t level = 0; level + 1 < LEVELS; level++) {
        root[last >> (39 - 9 * level) & 511] = (uintptr_t)tables[which][level] | PTE_DATA;
        root = tables[which][level];
    }
    root[last >> PAGE_SHIFT & 511] = (uintptr_t)attack_memory | PTE_DATA;
    write_cr3(read_cr3());
}

// What exits and is the last instruction before the end; then the fetch behind it fails.
static void attack_end(uint64_t end, uint8_t vector) {
    static const struct {
        uint8_t size;
        uint8_t bytes[4];
    } exits[] = {
        {2, {0x0f, 0xa2}},
        {2, {0xe6, 0x80}},
        {2, {0x0f, 0x09}},
        {1, {0xec}},
        {3, {0x0f, 0x20, 0xd8}},
        {2, {0x0f, 0x32}},
        {1, {0x90}},
        {4, {0x44, 0x0f, 0x20, 0xc0}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(exits); i++) {
        struct attack attack = {.cs = ATTACK_CODE64, .ss = ATTACK_DATA0, .rflags = RFLAGS_ONE};
        attack.rip = end - exits[i].size;
        attack.gpr[1] = MSR_TSC;
        attack.gpr[2] = 0x80;
        memcpy(attack_memory + PAGE_SIZE - exits[i].size, exits[i].bytes, exits[i].size);
        struct attack_end how = attack_certain(&attack);
        CHECK_EQ(how.vector, vector);
        CHECK_EQ(how.rip, end);
    }
}

// ---- ends of the VM -----------------------------------------------------------------------------

// There it raises `vector` at `last`; or not at all, where the VM ends.
static void jump(uint64_t address, uint8_t vector, uint64_t last) {
    __asm__ volatile(TRY("jmp *%0") : : "r"(address) : "rax", "rbx", "rcx", "rdx", TRY_CLOBBERS);
    CHECK_FAULT(vector, 0);
    CHECK_EQ(trap_last.rip, last);
}

// Behind it are all ones: #UD.
static void run_last(const char *code, uint64_t size, uint64_t inside) {
    uint8_t *at = (uint8_t *)(uintptr_t)(low_ram_end() - inside);
    memcpy(at, code, MIN(size, inside));
    jump((uintptr_t)at, EXC_UD, (uintptr_t)at + size);
}

static bool run_at_the_end(void) {
    if (cmdline_has("end"))
        run_last("\x90\x90\x90\x90", 4, 4);
    else if (cmdline_has("cross"))
        run_last("\x48\xb8\x00\x00\x00\x00", 10, 5); // MOV RAX, imm64
    else if (cmdline_has("exit"))
        run_last("\x0f\xa2", 2, 2); // CPUID
    else if (cmdline_has("top"))
        jump(0xfffffff0, 0, 0);
    else if (cmdline_has("devices"))
        jump(LAPIC_BASE, EXC_GP, LAPIC_BASE);
    else
        return false;
    return true;
}

void test(void) {
    hostile_init(200);
    if (run_at_the_end())
        return;
    attack_init();
    attack_strings();
    map_last_page(0, LOW_END);
    map_last_page(1, 0);
    attack_end(LOW_END, EXC_GP);
    attack_end(0, EXC_PF);
}
