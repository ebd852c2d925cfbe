// SPDX-License-Identifier: Apache-2.0
// INS and OUTS in all sizes and directions, repeated and not, and one that faults half-way: what
// was moved stays moved, and the registers tell where to go on.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define COM1      0x3f8
#define NO_DEVICE 0x300
#define PD_FIRST  0xb000ULL // the loader's page directory of the first GiB
#define UNMAPPED  (6ULL << 20)

#define DF_ON  "std\n\t"
#define DF_OFF "\n\tcld"

static uint8_t buffer[64];

static void check_output(void) {
    static const char text[] = "printed by one instruction\n";
    uint64_t from = (uintptr_t)text, count = sizeof(text) - 1;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(COM1) : "memory");
    CHECK_EQ(count, 0);
    CHECK_EQ(from, (uintptr_t)text + sizeof(text) - 1);
}

static void check_input(void) {
    uint64_t to = (uintptr_t)buffer, count = 8;
    memset(buffer, 0, sizeof(buffer));
    __asm__ volatile("rep insw" : "+D"(to), "+c"(count) : "d"(NO_DEVICE) : "memory");
    CHECK_EQ(count, 0);
    CHECK_EQ(to, (uintptr_t)buffer + 16);
    CHECK(buffer[15] == 0xff && buffer[16] == 0);
    __asm__ volatile("insl" : "+D"(to) : "d"(NO_DEVICE) : "memory");
    CHECK_EQ(to, (uintptr_t)buffer + 20);
    CHECK(buffer[19] == 0xff && buffer[20] == 0);
}

static void check_backwards(void) {
    uint64_t to = (uintptr_t)buffer + 40, count = 4;
    memset(buffer, 0, sizeof(buffer));
    __asm__ volatile(DF_ON "rep insb" DF_OFF : "+D"(to), "+c"(count) : "d"(NO_DEVICE) : "memory");
    CHECK_EQ(to, (uintptr_t)buffer + 36);
    CHECK(buffer[40] == 0xff && buffer[37] == 0xff && buffer[36] == 0 && buffer[41] == 0);
}

static void check_none(void) {
    uint64_t to = 1, count = 0; // an address that would fault, were it used
    __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(NO_DEVICE) : "memory");
    CHECK_EQ(to, 1);
    CHECK_EQ(count, 0);
}

// Runs into 2 MiB that are not mapped any more.
static void check_page_fault(void) {
    uint64_t to = UNMAPPED - 4, count = 8;
    ((volatile uint64_t *)PD_FIRST)[UNMAPPED / SIZE_2M] = 0;
    invlpg(UNMAPPED);
    __asm__ volatile(TRY("rep insb") : "+D"(to), "+c"(count) : "d"(NO_DEVICE) : TRY_CLOBBERS);
    CHECK_FAULT(EXC_PF, 2);
    CHECK_EQ(trap_last.cr2, UNMAPPED);
    CHECK_EQ(to, UNMAPPED);
    CHECK_EQ(count, 4);
    CHECK_EQ(mmio_read32(UNMAPPED - 4), UINT32_MAX);
}

void test(void) {
    check_output();
    check_input();
    check_backwards();
    check_none();
    check_page_fault();
}
