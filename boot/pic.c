// SPDX-License-Identifier: Apache-2.0
// The pair of 8259s, which the kernel never uses: moved off the exceptions' vectors, so that even a
// spurious one is no exception, and masked. 8259A data sheet, "Initialization Command Words".
#include "boot/loader.h"

#define PIC1_COMMAND 0x20u
#define PIC1_DATA    0x21u
#define PIC2_COMMAND 0xa0u
#define PIC2_DATA    0xa1u
#define ICW1_INIT    0x11u // with ICW4
#define ICW4_8086    0x01u
#define PIC1_VECTOR  0x20u
#define PIC2_VECTOR  0x28u
#define PIC2_INPUT   2u // of the first 8259
#define OCW1_ALL     0xffu

static void write_port(uint16_t port, uint32_t value) {
    __asm__ volatile("outb %0, %1" ::"a"((uint8_t)value), "Nd"(port));
}

void pic_silence(void) {
    write_port(PIC1_COMMAND, ICW1_INIT);
    write_port(PIC2_COMMAND, ICW1_INIT);
    write_port(PIC1_DATA, PIC1_VECTOR);
    write_port(PIC2_DATA, PIC2_VECTOR);
    write_port(PIC1_DATA, 1u << PIC2_INPUT);
    write_port(PIC2_DATA, PIC2_INPUT);
    write_port(PIC1_DATA, ICW4_8086);
    write_port(PIC2_DATA, ICW4_8086);
    write_port(PIC1_DATA, OCW1_ALL);
    write_port(PIC2_DATA, OCW1_ALL);
}
