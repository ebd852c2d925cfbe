// SPDX-License-Identifier: Apache-2.0
//
// entry-fix.so: an interrupt of the host ends a guest's run though the guest came with its own off.
//
// With "external-interrupt exiting" an interrupt ends the guest's run whatever its RFLAGS.IF is
// (SDM 3C 26.2 "Other Causes of VM Exits"). Bochs 3.1 decides which events are masked when IF
// changes, and the answer differs inside a guest. VM entry loads IF before it notes that a guest
// runs. So a guest that comes with IF clear, as its host had it, has the host's interrupts masked
// until it changes IF: one that spins has the CPU for ever.
//
// This library has VM entry decide once more, with the emulator's own handleInterruptMaskChange(),
// right behind that note. A VM exit needs no mend: it withdraws the note before it loads the host's
// state. The library does nothing where either function does not look as it knows it. One line on
// stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>

#define ENTRY         "_ZN8BX_CPU_C8VMLAUNCHEP15bxInstruction_c"
#define DECIDE        "_ZN8BX_CPU_C25handleInterruptMaskChangeEv"
#define SEARCH_LENGTH 1024 // bytes of a function in which what we look for must stand

// VMLAUNCH: andl $~4,masked(%rbx); movb $1,in_guest(%rbx); testb $4,pending(%rbx). INIT has bit 2.
// The word of masked events follows that of the pending ones.
struct __attribute__((packed)) unmask {
    uint8_t and[2];
    uint32_t masked;
    uint8_t bits;
};
struct __attribute__((packed)) note {
    uint8_t store[2];
    uint32_t in_guest;
    uint8_t one;
};
struct __attribute__((packed)) place {
    struct unmask unmask;
    struct note note;
    uint8_t test[2];
    uint32_t pending;
    uint8_t init;
};
static const struct place known_place = {.unmask = {.and = {0x83, 0xa3}, .bits = 0xfb},
                                         .note = {.store = {0xc6, 0x83}, .one = 1},
                                         .test = {0xf6, 0x83},
                                         .init = 4};

// handleInterruptMaskChange: mov masked(%rdi),%eax; testb $2,flags+1(%rdi); jne; cmpb
// $0,in_guest(%rdi); je; testb $1,pin_controls(%rdi). Bit 0 of these is external-interrupt exiting.
struct __attribute__((packed)) decision {
    uint8_t load[2];
    uint32_t masked;
    uint8_t test_flags[2];
    uint32_t flags_1;
    uint8_t interrupt_flag;
    uint8_t is_set[2];
    uint8_t compare[2];
    uint32_t in_guest;
    uint8_t zero;
    uint8_t is_host[2];
    uint8_t test_controls[2];
    uint32_t pin_controls;
    uint8_t external_interrupt;
};
static const struct decision known_decision = {.load = {0x8b, 0x87},
                                               .test_flags = {0xf6, 0x87},
                                               .interrupt_flag = 2,
                                               .is_set = {0x75},
                                               .compare = {0x80, 0xbf},
                                               .is_host = {0x74},
                                               .test_controls = {0xf6, 0x87},
                                               .external_interrupt = 1};

// What runs instead of the first two: these; mov %rbx,%rdi; call *decide; jmp over that address;
// and back. Nobody needs a register but %rbx there, and the stack is aligned.
struct __attribute__((packed)) detour {
    struct unmask unmask;
    struct note note;
    uint8_t move[3];
    uint8_t call[6];
    uint8_t skip[2];
    uint64_t decide;
    struct jump back;
};

_Static_assert(sizeof(struct jump) == sizeof(struct unmask) + sizeof(struct note),
               "the jump replaces whole instructions");

static struct place *find_place(uint8_t *code) {
    for (size_t i = 0; i + sizeof(struct place) <= SEARCH_LENGTH; i++) {
        struct place *at = (void *)(code + i);
        if (memcmp(at->unmask.and, known_place.unmask.and, 2) == 0 &&
            at->unmask.bits == known_place.unmask.bits &&
            memcmp(at->note.store, known_place.note.store, 2) == 0 && at->note.one == 1 &&
            memcmp(at->test, known_place.test, 2) == 0 && at->init == known_place.init &&
            at->unmask.masked == at->pending + 4)
            return at;
    }
    return NULL;
}

static bool decides_as_known(const uint8_t *code, const struct place *place) {
    for (size_t i = 0; i + sizeof(struct decision) <= SEARCH_LENGTH; i++) {
        const struct decision *d = (const void *)(code + i);
        if (memcmp(d->load, known_decision.load, 2) == 0 && d->masked == place->unmask.masked &&
            memcmp(d->test_flags, known_decision.test_flags, 2) == 0 &&
            d->interrupt_flag == known_decision.interrupt_flag &&
            d->is_set[0] == known_decision.is_set[0] &&
            memcmp(d->compare, known_decision.compare, 2) == 0 &&
            d->in_guest == place->note.in_guest && d->zero == 0 &&
            d->is_host[0] == known_decision.is_host[0] &&
            memcmp(d->test_controls, known_decision.test_controls, 2) == 0 &&
            d->external_interrupt == known_decision.external_interrupt)
            return true;
    }
    return false;
}

static bool mend(struct place *at, const void *decide) {
    const struct detour detour = {.unmask = at->unmask,
                                  .note = at->note,
                                  .move = {0x48, 0x89, 0xdf},
                                  .call = {0xff, 0x15, 2, 0, 0, 0},
                                  .skip = {0xeb, 8},
                                  .decide = (uintptr_t)decide,
                                  .back = make_jump(at->test)};
    return install(at, &detour, sizeof(detour));
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *entry = dlsym(RTLD_DEFAULT, ENTRY), *decide = dlsym(RTLD_DEFAULT, DECIDE);
    struct place *place = entry != NULL ? find_place(entry) : NULL;

    if (place == NULL || decide == NULL || !decides_as_known(decide, place))
        fprintf(stderr, "entry-fix: not the emulator that it knows, left alone\n");
    else if (mend(place, decide))
        fprintf(stderr, "entry-fix: interrupts leave guests that come with theirs off now\n");
    else
        fprintf(stderr, "entry-fix: the emulator could not be changed\n");
}
