// SPDX-License-Identifier: Apache-2.0
// The CMOS clock: a date that is one, seconds that pass, the periodic interrupt through the slave
// 8259, and memory that keeps its contents.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define INDEX           0x70
#define DATA            0x71
#define SECONDS         0x00
#define MINUTES         0x02
#define HOURS           0x04
#define DAY             0x07
#define MONTH           0x08
#define STATUS_A        0x0a
#define STATUS_B        0x0b
#define STATUS_C        0x0c
#define STATUS_D        0x0d
#define MEMORY          0x40
#define A_1024_HZ       0x26u
#define B_PERIODIC      0x40u
#define B_BINARY        0x04u
#define D_VALID         0x80u
#define C_PERIODIC      0xc0u
#define IRQ             8
#define VECTOR          (PIC_VECTOR + IRQ)
#define SECONDS_WATCHED 2u
#define COUNT           10u

static uint8_t cmos_read(uint8_t index) {
    out8(INDEX, index);
    return in8(DATA);
}

static void cmos_write(uint8_t index, uint8_t value) {
    out8(INDEX, index);
    out8(DATA, value);
}

static uint32_t number(uint8_t index) {
    uint8_t value = cmos_read(index);
    return cmos_read(STATUS_B) & B_BINARY ? value : (value >> 4) * 10u + (value & 0xf);
}

static volatile uint32_t causes;

static void on_periodic(struct trap_frame *frame) {
    (void)frame;
    causes |= cmos_read(STATUS_C);
    pic_eoi(IRQ);
}

static void check_date(void) {
    CHECK_EQ(cmos_read(STATUS_D) & D_VALID, D_VALID);
    CHECK(number(SECONDS) < 60 && number(MINUTES) < 60 && number(HOURS) < 24);
    CHECK(number(MONTH) >= 1 && number(MONTH) <= 12 && number(DAY) >= 1 && number(DAY) <= 31);
}

// In some seconds of the TSC as many pass here, give or take the one that has begun. Others may run
// for long at any of these lines.
static void check_seconds_pass(void) {
    uint64_t before_first = rdtsc();
    uint32_t first = number(SECONDS);
    uint64_t behind_first = rdtsc(), before_last;
    while ((before_last = rdtsc()) < behind_first + SECONDS_WATCHED * tsc_hz())
        (void)cmos_read(SECONDS);
    uint32_t passed = (number(SECONDS) + 60 - first) % 60;
    uint64_t behind_last = rdtsc();
    CHECK(passed + 1 >= (before_last - behind_first) / tsc_hz());
    CHECK(passed <= (behind_last - before_first) / tsc_hz() + 1);
}

static void check_periodic(void) {
    lapic_init(false);
    pic_init();
    trap_set_handler(VECTOR, on_periodic);
    cmos_write(STATUS_A, A_1024_HZ);
    cmos_write(STATUS_B, cmos_read(STATUS_B) | B_PERIODIC);
    (void)cmos_read(STATUS_C);
    pic_unmask(IRQ);
    interrupts_on();
    CHECK(wait_for(&trap_count[VECTOR], COUNT, PATIENCE_S));
    CHECK_EQ(causes & C_PERIODIC, C_PERIODIC);
    cmos_write(STATUS_B, cmos_read(STATUS_B) & (uint8_t)~B_PERIODIC);
    interrupts_off();
}

void test(void) {
    check_date();
    check_seconds_pass();
    check_periodic();
    cmos_write(MEMORY, 0xa5);
    CHECK_EQ(cmos_read(MEMORY), 0xa5);
    cmos_write(MEMORY, 0x5a);
    CHECK_EQ(cmos_read(MEMORY), 0x5a);
}
