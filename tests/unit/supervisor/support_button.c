// SPDX-License-Identifier: Apache-2.0
// The interface is told in support_button.h.
#include "tests/unit/supervisor/support_button.h"
#include "tests/unit/supervisor/kernel.h"
#include "tests/unit/supervisor/support.h"

#include <criterion/criterion.h>

#define HANDLE_PORTS     (LIFE_OBJECTS + 1) // and the next one, of PM1b
#define HANDLE_INTERRUPT (LIFE_OBJECTS + 3)
#define BLOCK_SIZE       4u
#define STATUS           0u
#define ENABLE           2u

struct button_paper paper;

void button_put(bool has_pm1b) {
    life_start.button = (struct boot_button){
        .pm1a_event = BUTTON_PM1A,
        .pm1b_event = has_pm1b ? BUTTON_PM1B : 0,
        .size = BLOCK_SIZE,
        .input = BUTTON_INPUT,
        .trigger = ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW,
    };
}

void button_pull(void) {
    bool is_pulled = paper.is_shared || (paper.status[0] & paper.enable[0]) != 0 ||
                     (paper.status[1] & paper.enable[1]) != 0;
    if (is_pulled && !paper.is_masked && paper.interrupt != 0) {
        paper.is_masked = true;
        paper.fired++;
        life.bits |= BUTTON_BIT;
    }
}

void button_press(unsigned int block) {
    paper.status[block] |= BUTTON_PRESS;
    button_pull();
}

int64_t button_ports_create(uint16_t first, uint32_t count) {
    uint32_t block = first == BUTTON_PM1A ? 0 : 1;
    cr_assert(first == BUTTON_PM1A || first == BUTTON_PM1B);
    cr_assert_eq(count, BLOCK_SIZE);
    int64_t result = block == 1 ? paper.ports_b_result : paper.ports_result;
    if (result != 0) {
        return result;
    }
    paper.blocks++;
    return HANDLE_PORTS + block;
}

int64_t button_interrupt_create(uint32_t input, uint32_t trigger, uint32_t event, uint64_t mask) {
    cr_assert_eq(input, BUTTON_INPUT);
    cr_assert_eq(trigger, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
    cr_assert_neq(event, life.driver_event);
    cr_assert_eq(mask, BUTTON_BIT);
    if (paper.interrupt_result != 0) {
        return paper.interrupt_result;
    }
    paper.interrupt = HANDLE_INTERRUPT;
    button_pull();
    return paper.interrupt;
}

void button_close(uint64_t handle) {
    cr_assert_eq(handle, HANDLE_INTERRUPT);
    cr_assert_neq(paper.interrupt, 0, "closed twice");
    paper.interrupt = 0;
}

static uint32_t block_of(uint32_t ports) {
    cr_assert(ports == HANDLE_PORTS || ports == HANDLE_PORTS + 1);
    return ports - HANDLE_PORTS;
}

// What still pulls fires again.
static void pull_by_level(void) {
    if (!paper.is_edge) {
        button_pull();
    }
}

int64_t sys_ports_read(uint32_t ports, uint16_t offset, uint32_t width) {
    cr_assert_eq(width, 2);
    cr_assert(offset == STATUS || offset == ENABLE);
    uint32_t block = block_of(ports);
    return offset == STATUS ? paper.status[block] : paper.enable[block];
}

int64_t sys_ports_write(uint32_t ports, uint16_t offset, uint32_t width, uint32_t value) {
    uint32_t block = block_of(ports);
    cr_assert_eq(width, 2);
    cr_assert_eq(value & ~0x721u, 0, "reserved bits stay zero");
    if (offset == STATUS) {
        paper.status[block] &= (uint16_t)(~value | paper.stuck[block]);
    } else {
        cr_assert_eq(offset, ENABLE);
        paper.enable[block] = (uint16_t)(value | paper.forced[block]);
    }
    pull_by_level();
    return 0;
}

int64_t sys_interrupt_acknowledge(uint32_t interrupt) {
    cr_assert(interrupt != 0 && interrupt == paper.interrupt);
    if (++paper.acknowledged == paper.unstick_at) {
        paper.stuck[0] = 0;
    }
    paper.is_masked = false;
    life.now += paper.pause;
    pull_by_level();
    return 0;
}
