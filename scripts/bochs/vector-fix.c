// SPDX-License-Identifier: Apache-2.0
//
// vector-fix.so: a VM exit that ends the delivery of a virtual interrupt names that interrupt.
//
// Where a stack, a descriptor table or a page table is not mapped yet, an EPT violation ends the
// delivery of an interrupt, and the IDT-vectoring information tells the hypervisor which one, to be
// delivered again (SDM 3C 28.2.4 "Information for VM Exits During Event Delivery"). Bochs 3.1 notes
// the event in VMexit_Event(), through which virtual-interrupt delivery does not come: the field
// then names the event before, and the hypervisor injects that one a second time. Seen as a #DE or
// #PF that no instruction caused.
//
// This library has VMX_Deliver_Virtual_Interrupt() note the vector. It takes the field's place from
// VMexit_Event()'s own code, and it does nothing where either function does not look as it knows
// it. One line on stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>

#define EVENT         "_ZN8BX_CPU_C12VMexit_EventEjjtbm"
#define DELIVER       "_ZN8BX_CPU_C29VMX_Deliver_Virtual_InterruptEv"
#define SEARCH_LENGTH 512 // bytes of a function in which what we look for must stand

// VMexit_Event: or %r10d,%r11d; mov %r11d,event(%rbp). The event is vector, type and "has an error
// code".
struct __attribute__((packed)) note {
    uint8_t or [3];
    uint8_t store[3];
    uint32_t event;
};
static const struct note known_note = {.or = {0x45, 0x09, 0xd3}, .store = {0x44, 0x89, 0x9d}};

// VMX_Deliver_Virtual_Interrupt: lea 12(%rsp),%rcx; mov %rbp,%rdi; and $-16,%eax; mov $4,%edx; mov
// $0xa0,%esi; the vector is in %r12d. None of these cares where it stands.
enum { PLACE_LENGTH = 16 };
static const uint8_t known_place[] = {0x48, 0x8d, 0x4c, 0x24, 0x0c, 0x48, 0x89,
                                      0xef, 0x83, 0xe0, 0xf0, 0xba, 0x04, 0x00,
                                      0x00, 0x00, 0xbe, 0xa0, 0x00, 0x00, 0x00};
// Before it: mov %r12d,%eax.
static const uint8_t known_vector[] = {0x44, 0x89, 0xe0};

// What runs instead: mov %r12d,event(%rbp), which makes it an external interrupt, those
// instructions, and back.
struct __attribute__((packed)) detour {
    uint8_t store[3];
    uint32_t event;
    uint8_t place[PLACE_LENGTH];
    struct jump back;
};

static const struct note *find_note(const uint8_t *code) {
    for (size_t i = 0; i + sizeof(struct note) <= SEARCH_LENGTH; i++) {
        const struct note *n = (const void *)(code + i);
        if (memcmp(n->or, known_note.or, 3) == 0 && memcmp(n->store, known_note.store, 3) == 0)
            return n;
    }
    return NULL;
}

static uint8_t *find_place(uint8_t *code) {
    for (size_t i = sizeof(known_vector); i + sizeof(known_place) <= SEARCH_LENGTH; i++)
        if (memcmp(code + i, known_place, sizeof(known_place)) == 0 &&
            memcmp(code + i - sizeof(known_vector), known_vector, sizeof(known_vector)) == 0)
            return code + i;
    return NULL;
}

static bool mend(uint8_t *place, const struct note *note) {
    struct detour detour = {
        .store = {0x44, 0x89, 0xa5}, .event = note->event, .back = make_jump(place + PLACE_LENGTH)};
    memcpy(detour.place, place, PLACE_LENGTH);
    return install(place, &detour, sizeof(detour));
}

_Static_assert(sizeof(struct jump) <= PLACE_LENGTH, "the jump replaces whole instructions");

__attribute__((constructor)) static void fix(void) {
    const uint8_t *event = dlsym(RTLD_DEFAULT, EVENT);
    uint8_t *deliver = dlsym(RTLD_DEFAULT, DELIVER);
    const struct note *note = event != NULL ? find_note(event) : NULL;
    uint8_t *place = deliver != NULL ? find_place(deliver) : NULL;

    if (note == NULL || place == NULL)
        fprintf(stderr, "vector-fix: not the emulator that it knows, left alone\n");
    else if (mend(place, note))
        fprintf(stderr, "vector-fix: virtual interrupts whose delivery exits are named now\n");
    else
        fprintf(stderr, "vector-fix: the emulator could not be changed\n");
}
