// SPDX-License-Identifier: Apache-2.0
// The machine's power button of paper: two PM1 event blocks, and the SCI behind them, an input that
// is level-triggered and masked until it is acknowledged, as kernel/device.h has it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BUTTON_PM1A  0x600u
#define BUTTON_PM1B  0x610u
#define BUTTON_INPUT 9u
#define BUTTON_BIT   (1ULL << 62) // of the supervisor's event
#define BUTTON_PRESS 0x100u       // in both registers

struct button_paper {
    uint16_t status[2], enable[2];
    uint16_t stuck[2];     // status bits that do not clear
    uint32_t unstick_at;   // the acknowledgement from which they do; 0: never
    uint16_t forced[2];    // enable bits that somebody sets again after each write
    uint64_t pause;        // ticks that go by at each acknowledgement
    bool is_shared;        // another device pulls the input
    bool is_edge;          // else by level
    bool is_masked;        // until the acknowledgement
    uint32_t interrupt;    // handle; 0: nobody has it
    uint32_t acknowledged; // how often
    uint32_t fired;        // how often
    uint32_t blocks;       // handles, of both, that were made
    int64_t ports_result;  // what is answered instead, unless 0
    int64_t ports_b_result;
    int64_t interrupt_result;
};

extern struct button_paper paper;

// Puts it into the start page.
void button_put(bool has_pm1b);
// As a finger does: the bit is set where it is enabled, or not.
void button_press(unsigned int block);
// The input fires, if something pulls it and it is not masked.
void button_pull(void);

int64_t button_ports_create(uint16_t first, uint32_t count);
int64_t button_interrupt_create(uint32_t input, uint32_t trigger, uint32_t event, uint64_t mask);
// The handle was closed, if it is one of these.
void button_close(uint64_t handle);
