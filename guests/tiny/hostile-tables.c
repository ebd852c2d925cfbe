// SPDX-License-Identifier: Apache-2.0
// Page tables full of random entries: present or not, with reserved bits, pages of all sizes,
// entries that point at their own table, at devices, behind the memory, at nothing. Ring 3 and ring
// 0 reach through them by loads, stores, locked and string instructions, jumps and calls. With the
// word `devices`, tables themselves may lie where there is no memory, which ends the VM; without it
// the guest goes on.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/attack.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"

#define ROUND_US 400u
#define NOWHERE  0xd0000000ULL
#define RANDOM   16u // pages and directory entries that are random, from ATTACK_PAGES and from 1 on

// The last MEMORY_ONLY of them are not carried out on devices: they would end the VM.
#define MEMORY_ONLY 6u
static const struct {
    uint8_t size;
    uint8_t bytes[14];
} codes[] = {
    {4, {0x8a, 0x00, 0x0f, 0x0b}},                   // mov (rax), al
    {4, {0x89, 0x18, 0x0f, 0x0b}},                   // mov ebx, (rax)
    {5, {0x48, 0x8b, 0x18, 0x0f, 0x0b}},             // mov (rax), rbx
    {5, {0x48, 0x89, 0x18, 0x0f, 0x0b}},             // mov rbx, (rax)
    {5, {0x66, 0x89, 0x18, 0x0f, 0x0b}},             // mov bx, (rax)
    {5, {0xf0, 0x01, 0x18, 0x0f, 0x0b}},             // lock add ebx, (rax)
    {5, {0x48, 0x87, 0x18, 0x0f, 0x0b}},             // xchg rbx, (rax)
    {4, {0xff, 0x30, 0x0f, 0x0b}},                   // push (rax)
    {5, {0xf3, 0xa4, 0x90, 0x0f, 0x0b}},             // rep movsb
    {6, {0xf3, 0x48, 0xab, 0x90, 0x0f, 0x0b}},       // rep stosq
    {5, {0x0f, 0x0d, 0x08, 0x0f, 0x0b}},             // prefetchw (rax)
    {6, {0x0f, 0x18, 0x00, 0x90, 0x0f, 0x0b}},       // prefetchnta (rax)
    {5, {0x0f, 0x01, 0x38, 0x0f, 0x0b}},             // invlpg (rax)
    {5, {0xf7, 0x10, 0x90, 0x0f, 0x0b}},             // not (rax)
    {5, {0x0f, 0xae, 0x38, 0x0f, 0x0b}},             // clflush (rax)
    {6, {0xf0, 0x48, 0x0f, 0xc7, 0x08, 0x90}},       // lock cmpxchg16b (rax)
    {6, {0x0f, 0x10, 0x00, 0x90, 0x0f, 0x0b}},       // movups (rax), xmm0
    {4, {0xff, 0xe0, 0x0f, 0x0b}},                   // jmp *rax
    {4, {0xff, 0xd0, 0x0f, 0x0b}},                   // call *rax
    {7, {0x48, 0x89, 0xc4, 0x50, 0x58, 0x0f, 0x0b}}, // mov rsp, rax; push rax; pop rax
};

static uint32_t ends[32];
static bool has_devices, is_memory_only;

// Frames that may be read and written: nothing of the guest's own, but the tables of the window.
static uint64_t frame(bool is_table) {
    uint32_t kinds = has_devices ? 8 : is_table || is_memory_only ? 4 : 6;
    switch (random_below(kinds)) {
    case 0:
        return (uintptr_t)attack_entries; // the window itself, or a table that points at itself
    case 1:
        return (uintptr_t)attack_directory;
    case 2:
        return (uintptr_t)attack_memory + random_below(ATTACK_PAGES) * PAGE_SIZE;
    case 3:
        return low_ram_end() - PAGE_SIZE;
    case 4:
        return NOWHERE + random_below(1024) * PAGE_SIZE;
    case 5:
        return random_one_in(2) ? LAPIC_BASE : IOAPIC_BASE;
    default:
        return random64() & 0xfffffff000ULL;
    }
}

static uint64_t entry(bool is_table) {
    uint64_t value = frame(is_table);
    value |= random_one_in(8) ? 0 : PTE_P;
    value |= random_one_in(3) ? 0 : PTE_RW;
    value |= random_one_in(3) ? 0 : PTE_US;
    value |= random64() & 0xe78; // PWT, PCD, A, D, G, ignored
    if (random_one_in(4))
        value |= BIT(63);
    if (random_one_in(8))
        value |= BIT((has_devices ? 36 : 48) + random_below(15)); // reserved, ignored, or no memory
    return value;
}

// A large page shows 2 MiB at most, from where nothing of the guest's lies.
static uint64_t directory_entry(void) {
    if (random_one_in(4) && !is_memory_only)
        return (random_one_in(2) ? NOWHERE : low_ram_end()) | PTE_PS | (entry(true) & 0xe7fULL) |
               (random_one_in(8) ? BIT(13) : 0);
    return entry(true) & ~(uint64_t)PTE_PS;
}

static void fill_tables(void) {
    for (uint32_t i = 0; i < RANDOM; i++) {
        attack_entries[ATTACK_PAGES + i] = entry(false);
        attack_directory[1 + i] = directory_entry();
    }
}

static uint64_t address(void) {
    uint64_t offset = random_below(RANDOM * PAGE_SIZE);
    if (random_one_in(4))
        offset |= PAGE_SIZE - 1 - random_below(8);
    if (random_one_in(2))
        return ATTACK_PAGE(ATTACK_PAGES) + offset;
    return ATTACK_END + random_below(RANDOM) * SIZE_2M + offset;
}

static void repair(void) {
    for (uint64_t i = 0; i < 512; i++)
        attack_entries[i] =
            i < ATTACK_PAGES ? ((uintptr_t)attack_memory + i * PAGE_SIZE) | PTE_DATA : 0;
    for (uint64_t i = 1; i < 512; i++)
        attack_directory[i] = 0;
    attack_directory[0] = (uintptr_t)attack_entries | PTE_DATA;
}

void test(void) {
    uint64_t done = 0;
    hostile_init(1500);
    has_devices = cmdline_has("devices");
    attack_init();
    for (uint64_t round = 0; round < hostile_rounds; round++) {
        bool is_user = random_one_in(2);
        size_t code = random_below(ARRAY_COUNT(codes));
        struct attack attack = {.rip = ATTACK_BASE,
                                .cs = is_user ? ATTACK_USER64 : ATTACK_CODE64,
                                .ss = is_user ? ATTACK_USER_DATA : ATTACK_DATA0,
                                .rflags = RFLAGS_ONE};
        for (size_t i = 0; i < ARRAY_COUNT(attack.gpr); i++)
            attack.gpr[i] = address();
        attack.gpr[1] = random_below(3000); // RCX
        is_memory_only = code >= ARRAY_COUNT(codes) - MEMORY_ONLY && !has_devices;
        repair();
        fill_tables();
        memset(attack_memory, 0x90, 32);
        memcpy(attack_memory, codes[code].bytes, codes[code].size);
        ends[attack_run(&attack, ROUND_US).vector % ARRAY_COUNT(ends)]++;
    }
    repair();
    for (uint32_t i = 0; i < ARRAY_COUNT(ends); i++) {
        done += ends[i];
        if (ends[i] != 0)
            print("vector %u: %u\n", i, ends[i]);
    }
    CHECK_EQ(done, hostile_rounds);
}
