// SPDX-License-Identifier: Apache-2.0
// The interface is told in measure.h.
#include "measure.h"

#include "runtime/cpu.h"
#include "runtime/trap.h"

#define GATE_INTERRUPT 0x8e00ULL // present, ring 0, 64-bit interrupt gate

void handler_0(void);
void handler_1(void);

// The runtime's own entries save every register before anybody could look at the time.
static void set_gate(uint32_t vector, void (*handler)(void)) {
    struct table_pointer idt;
    uint64_t entry = (uintptr_t)handler;
    __asm__ volatile("sidt %0" : "=m"(idt));
    uint64_t *gate = (uint64_t *)(uintptr_t)(idt.base + 16ull * vector);
    gate[0] = (entry & 0xffff) | SELECTOR_CODE << 16 | GATE_INTERRUPT << 32 |
              (entry >> 16 & 0xffff) << 48;
    gate[1] = entry >> 32;
}

void measure_init(void) {
    set_gate(VECTOR_0, handler_0);
    set_gate(VECTOR_1, handler_1);
}

// Without PAUSE: a loop of it may exit, which is another figure.
uint64_t wait_spinning(uint32_t me) {
    while (stamp[me] == 0)
        ;
    return stamp[me];
}

uint64_t wait_halted(uint32_t me) {
    interrupts_off();
    while (stamp[me] == 0) {
        interrupts_on_and_halt();
        interrupts_off();
    }
    interrupts_on();
    return stamp[me];
}

uint64_t median(uint64_t *samples, uint32_t count) {
    for (size_t gap = count / 2; gap > 0; gap /= 2) {
        for (size_t i = gap; i < count; i++) {
            uint64_t value = samples[i];
            size_t at = i;
            for (; at >= gap && samples[at - gap] > value; at -= gap)
                samples[at] = samples[at - gap];
            samples[at] = value;
        }
    }
    return samples[count / 2];
}
