// SPDX-License-Identifier: Apache-2.0
// What is left of a firmware: the interface is told in firmware.h.
#include "vmm/firmware/firmware.h"

#include "lib/string.h"
#include "vmm/device/pc.h"

// ---- ROM ----------------------------------------------------------------------------------------

// mov al, 0xfe; out 0x64, al; hlt: the same in 16, 32 and 64 bits. The keyboard controller pulses
// the reset line, so the processor never gets to the HLT.
static const uint8_t reset_code[] = {0xb0, 0xfe, 0xe6, 0x64, 0xf4};
static const char bios_date[] = "01/01/26"; // as SMBIOS has it
#define DATE_OFFSET  0xfff5u
#define MODEL_OFFSET 0xfffeu
#define MODEL_AT     0xfcu

_Static_assert(FIRMWARE_RESET_OFFSET + sizeof(reset_code) == DATE_OFFSET, "one behind the other");

uint8_t firmware_checksum(const void *data, size_t size) {
    const uint8_t *bytes = data;
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)-sum;
}

static bool write_rom(uint8_t *rom, const struct firmware_params *params) {
    size_t smbios =
        smbios_build(rom + FIRMWARE_SMBIOS_OFFSET, FIRMWARE_MP_OFFSET - FIRMWARE_SMBIOS_OFFSET,
                     MEMORY_ROM_BASE + FIRMWARE_SMBIOS_OFFSET, params);
    size_t mp = mptable_build(rom + FIRMWARE_MP_OFFSET, FIRMWARE_RESET_OFFSET - FIRMWARE_MP_OFFSET,
                              MEMORY_ROM_BASE + FIRMWARE_MP_OFFSET, params);
    memcpy(rom + FIRMWARE_RESET_OFFSET, reset_code, sizeof(reset_code));
    memcpy(rom + DATE_OFFSET, bios_date, sizeof(bios_date) - 1);
    rom[MODEL_OFFSET] = MODEL_AT;
    return smbios > 0 && mp > 0;
}

// ---- BIOS data area -----------------------------------------------------------------------------

// "PS/2 and PC BIOS Interface Technical Reference", "BIOS Data Area"; addresses are physical.
#define BDA_COM1      0x400u // port of the first serial line
#define BDA_EBDA      0x40eu // segment of the extended area, whose first byte is its size in KiB
#define BDA_EQUIPMENT 0x410u
#define BDA_BASE_K    0x413u  // KiB of memory below it
#define EQUIPMENT     0x0202u // one serial line, a coprocessor, no screen of an old kind
#define EBDA_K        ((MEMORY_VIDEO_BASE - MEMORY_EBDA_BASE) >> 10)

static void put_word(const struct memory *memory, uint64_t gpa, uint16_t value) {
    memcpy(memory_pointer(memory, gpa, sizeof(value)), &value, sizeof(value));
}

static void write_data_area(const struct memory *memory) {
    put_word(memory, BDA_COM1, PC_PORT_COM1);
    put_word(memory, BDA_EBDA, MEMORY_EBDA_BASE >> 4);
    put_word(memory, BDA_EQUIPMENT, EQUIPMENT);
    put_word(memory, BDA_BASE_K, MEMORY_EBDA_BASE >> 10);
    put_word(memory, MEMORY_EBDA_BASE, EBDA_K);
}

bool firmware_write(const struct memory *memory, const struct firmware_params *params) {
    write_data_area(memory);
    return write_rom(memory_pointer(memory, MEMORY_ROM_BASE, MEMORY_ROM_SIZE), params);
}

// ---- devices ------------------------------------------------------------------------------------

struct port_write {
    uint16_t port;
    uint8_t value;
};

static const struct port_write board_start[] = {
    // Both 8259s: vectors 0x08 and 0x70, the slave at input 2, and masked again, which ICW1 ended.
    {PC_PORT_PIC1, 0x11},
    {PC_PORT_PIC1 + 1, 0x08},
    {PC_PORT_PIC1 + 1, 0x04},
    {PC_PORT_PIC1 + 1, 0x01},
    {PC_PORT_PIC1 + 1, 0xff},
    {PC_PORT_PIC2, 0x11},
    {PC_PORT_PIC2 + 1, 0x70},
    {PC_PORT_PIC2 + 1, 0x02},
    {PC_PORT_PIC2 + 1, 0x01},
    {PC_PORT_PIC2 + 1, 0xff},
    {PC_PORT_ELCR + 1, (1u << PC_IRQ_SCI | 1u << PC_IRQ_PIRQ_AC | 1u << PC_IRQ_PIRQ_BD) >> 8},
    // 8254: counter 0, low and high byte, mode 3, of 65536.
    {PC_PORT_PIT + 3, 0x36},
    {PC_PORT_PIT, 0x00},
    {PC_PORT_PIT, 0x00},
};

void firmware_start_board(struct board *board) {
    for (size_t i = 0; i < sizeof(board_start) / sizeof(board_start[0]); i++)
        bus_port_write(&board->bus, board_start[i].port, 1, board_start[i].value);
}

// SDM 3A 11.9 "Spurious Interrupt", 11.5.1 "Local Vector Table".
#define APIC_SVR   0x0fu // offset / 16, as the others
#define APIC_LINT0 0x35u
#define APIC_LINT1 0x36u
#define SVR_START  0x1ffu // enabled, vector 0xff
#define LVT_EXTINT 0x700u
#define LVT_NMI    0x400u

void firmware_set_apic(struct vcpu_apic *apic) {
    apic->reg[APIC_SVR] = SVR_START;
    apic->reg[APIC_LINT0] = LVT_EXTINT;
    apic->reg[APIC_LINT1] = LVT_NMI;
}
