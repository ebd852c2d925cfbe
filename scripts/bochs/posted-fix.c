// SPDX-License-Identifier: Apache-2.0
//
// posted-fix.so: mends posted interrupts that bring nothing, and virtual interrupts that come
// though they are masked.
//
// A notification may find no request in its descriptor, since a hypervisor has taken them before it
// came. Then the processor leaves RVI, the vector that it delivers next, as it was (SDM 3C 30.6
// "Posted-Interrupt Processing"). Bochs 3.1 sets RVI to the highest vector of the virtual IRR,
// which is -1 when there is none, cut to a byte: the guest gets an interrupt 255 that nobody sent.
// Seen with several virtual CPUs that send each other interrupts.
//
// An interrupt of the host that comes while a guest runs with RFLAGS.IF clear ends the guest's run.
// Bochs 3.1 looks first whether a virtual interrupt is pending, but not whether it is masked, and
// delivers it instead: the guest gets an interrupt right behind its CLI, or at the first
// instruction of a handler.
//
// This library puts a test for -1 before that comparison, and has that look respect the mask. It
// does nothing where the functions do not look as it knows them. One line on stderr says which it
// was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>

#define POSTED_PROCESSING "_ZN8BX_CPU_C31VMX_Posted_Interrupt_ProcessingEh"
#define HOST_INTERRUPT    "_ZN8BX_CPU_C18HandleExtInterruptEv"
#define SEARCH_LENGTH     1024 // bytes of a function in which what we look for must stand

// call highest_priority_int, and the comparison: cmp rvi(%rbx),%al; jb +6; mov %al,rvi(%rbx)
struct __attribute__((packed)) call {
    uint8_t opcode;
    uint32_t distance;
};
struct __attribute__((packed)) comparison {
    uint8_t compare[2];
    uint32_t rvi;
    uint8_t skip[2];
    uint8_t store[2];
    uint32_t rvi_too;
};
static const struct comparison known = {
    .compare = {0x3a, 0x83}, .skip = {0x72, 0x06}, .store = {0x88, 0x83}};

_Static_assert(sizeof(struct jump) == sizeof(struct comparison), "one takes the other's place");

// What runs instead of the comparison.
struct __attribute__((packed)) detour {
    uint8_t test[4]; // test %eax,%eax; js behind the comparison
    struct comparison comparison;
    struct jump back;
};

static struct comparison *find_comparison(uint8_t *code) {
    for (size_t i = sizeof(struct call); i + sizeof(struct comparison) <= SEARCH_LENGTH; i++) {
        struct comparison *at = (void *)(code + i);
        if (code[i - sizeof(struct call)] == 0xe8 && memcmp(at->compare, known.compare, 2) == 0 &&
            memcmp(at->skip, known.skip, 2) == 0 && memcmp(at->store, known.store, 2) == 0 &&
            at->rvi == at->rvi_too)
            return at;
    }
    return NULL;
}

// testb $2,pending+1(%rbx); jne deliver; mov %rbx,%rdi: bit 9 of the pending events is the virtual
// interrupt. The word of masked events follows that of the pending ones.
struct __attribute__((packed)) look {
    uint8_t test[2];
    uint32_t pending_1;
    uint8_t bit;
    uint8_t branch[2];
    int32_t distance;
    uint8_t move[3];
};
static const struct look known_look = {
    .test = {0xf6, 0x83}, .bit = 2, .branch = {0x0f, 0x85}, .move = {0x48, 0x89, 0xdf}};

// What runs instead: mov masked(%rbx),%eax; not %eax; and pending(%rbx),%eax; test $2,%ah; jne +17;
// mov %rbx,%rdi.
struct __attribute__((packed)) masked_look {
    uint8_t load[2];
    uint32_t masked;
    uint8_t invert[2];
    uint8_t and[2];
    uint32_t pending;
    uint8_t test[3];
    uint8_t branch[2];
    uint8_t move[3];
    struct jump back, deliver;
};

static struct look *find_look(uint8_t *code) {
    for (size_t i = 0; i + sizeof(struct look) <= SEARCH_LENGTH; i++) {
        struct look *at = (void *)(code + i);
        if (memcmp(at->test, known_look.test, 2) == 0 && at->bit == known_look.bit &&
            memcmp(at->branch, known_look.branch, 2) == 0 &&
            memcmp(at->move, known_look.move, 3) == 0)
            return at;
    }
    return NULL;
}

static bool mend_comparison(struct comparison *at) {
    const struct detour detour = {.test = {0x85, 0xc0, 0x78, sizeof(struct comparison)},
                                  .comparison = *at,
                                  .back = make_jump(at + 1)};
    return install(at, &detour, sizeof(detour));
}

static bool mend_look(struct look *at) {
    const uint32_t pending = at->pending_1 - 1;
    const struct masked_look detour = {.load = {0x8b, 0x83},
                                       .masked = pending + 4,
                                       .invert = {0xf7, 0xd0},
                                       .and = {0x23, 0x83},
                                       .pending = pending,
                                       .test = {0xf6, 0xc4, 0x02},
                                       .branch = {0x75, 3 + sizeof(struct jump)},
                                       .move = {0x48, 0x89, 0xdf},
                                       .back = make_jump(at + 1),
                                       .deliver = make_jump(at->move + at->distance)};
    return install(at, &detour, sizeof(detour));
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *processing = dlsym(RTLD_DEFAULT, POSTED_PROCESSING);
    uint8_t *host_interrupt = dlsym(RTLD_DEFAULT, HOST_INTERRUPT);
    struct comparison *comparison = processing != NULL ? find_comparison(processing) : NULL;
    struct look *look = host_interrupt != NULL ? find_look(host_interrupt) : NULL;

    if (comparison == NULL || look == NULL)
        fprintf(stderr, "posted-fix: not the emulator that it knows, left alone\n");
    else if (mend_comparison(comparison) && mend_look(look))
        fprintf(stderr, "posted-fix: posted and masked interrupts are as they should be now\n");
    else
        fprintf(stderr, "posted-fix: the emulator could not be changed\n");
}
