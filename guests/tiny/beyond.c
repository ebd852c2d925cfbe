// SPDX-License-Identifier: Apache-2.0
// Where there is neither RAM nor a device, reads give all ones and writes do nothing, as on a PC's
// bus; accesses that begin in RAM and end beyond it are both.
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define PDPT       0xa000ULL // the loader's, whose entry 4 is free
#define PTE_P_RW   3ULL
#define PTE_LARGE  BIT(7)
#define FOUR_GIB   BIT(32)
#define VIDEO      0xa0000ULL
#define PCI_WINDOW 0xc0000000ULL
#define HPET       0xfed00000ULL
#define BELOW_ROM  0xfffefff8ULL
#define PATTERN    0x1122334455667788ULL

static uint64_t directory[512] __attribute__((aligned(4096)));

static void check_all_ones(uint64_t address) {
    volatile uint8_t *bytes = (volatile uint8_t *)(uintptr_t)address;
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(*bytes, 0xff);
        CHECK_EQ(*(volatile uint16_t *)(uintptr_t)address, 0xffff);
        CHECK_EQ(mmio_read32(address), UINT32_MAX);
        CHECK_EQ(*(volatile uint64_t *)(uintptr_t)address, UINT64_MAX);
        *bytes = 0;
        *(volatile uint64_t *)(uintptr_t)address = PATTERN;
    }
}

static void check_straddling(uint64_t end) {
    volatile uint64_t *across = (volatile uint64_t *)(uintptr_t)(end - 4);
    mmio_write32(end - 4, 0xdeadbeef);
    CHECK_EQ(*across, 0xffffffffdeadbeefULL);
    *across = PATTERN;
    CHECK_EQ(*across, 0xffffffff00000000ULL | (PATTERN & UINT32_MAX));
    CHECK_EQ(mmio_read32(end - 4), PATTERN & UINT32_MAX);
}

static void check_strings(uint64_t end) {
    static uint8_t buffer[64];
    uint64_t from = end - 32, to = (uintptr_t)buffer, count = sizeof(buffer);
    for (unsigned i = 0; i < 32; i++)
        ((volatile uint8_t *)(uintptr_t)from)[i] = (uint8_t)i;
    __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    CHECK_EQ(count, 0);
    CHECK_EQ(from, end + 32);
    for (unsigned i = 0; i < 32; i++)
        CHECK_EQ(buffer[i], i);
    for (unsigned i = 32; i < sizeof(buffer); i++)
        CHECK_EQ(buffer[i], 0xff);
    to = end - 32;
    count = 64;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(0xa5) : "memory");
    CHECK_EQ(count, 0);
    CHECK_EQ(mmio_read32(end - 4), 0xa5a5a5a5);
}

static void map_above_4g(uint64_t physical) {
    directory[0] = (physical & ~(SIZE_2M - 1)) | PTE_P_RW | PTE_LARGE;
    ((volatile uint64_t *)PDPT)[4] = (uintptr_t)directory | PTE_P_RW;
    write_cr3(read_cr3());
}

void test(void) {
    uint64_t end = low_ram_end();
    uint64_t top = BIT(cpuid(0x80000008, 0).eax & 0xff);
    check_all_ones(end);
    check_all_ones(end + 0x123457);
    check_all_ones(VIDEO);
    check_all_ones(PCI_WINDOW);
    check_all_ones(HPET);
    check_all_ones(BELOW_ROM);
    check_straddling(end);
    check_strings(end);
    map_above_4g(FOUR_GIB);
    check_all_ones(FOUR_GIB);
    map_above_4g(top - SIZE_2M);
    check_all_ones(FOUR_GIB + SIZE_2M - 8);
}
