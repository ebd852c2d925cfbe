// SPDX-License-Identifier: Apache-2.0
//
// rip-fix.so: mends a lost RIP in emulated machines with more than one CPU.
//
// Bochs 3.1 steps each of several CPUs with cpu_run_trace(). It looks at interrupts first, without
// noting where the CPU stands; after an exception was delivered that note (prev_rip) still names
// the instruction that faulted. A VM exit for an interrupt at that moment saves it as the guest's
// RIP: the guest goes on at the faulting instruction with the handler's CS, RSP and RFLAGS.
// cpu_loop(), for a machine with one CPU, takes the note (`prev_rip = RIP`) before it looks. Seen
// as a page fault of a user program in Linux under VT-x that came back with kernel segments.
//
// This library puts the same two moves before cpu_run_trace(). It takes the fields' places from
// cpu_loop()'s own code, and it does nothing where either function does not look as it knows it.
// One line on stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>

#define CPU_LOOP      "_ZN8BX_CPU_C8cpu_loopEv"
#define CPU_RUN_TRACE "_ZN8BX_CPU_C13cpu_run_traceEv"
#define SEARCH_LENGTH 512 // bytes of cpu_loop in which the note must be taken

// cpu_loop: mov rip(%rdx),%rax; movb $0,speculative_rsp(%rdx); mov %rax,prev_rip(%rdx)
struct __attribute__((packed)) note {
    uint8_t load[3];
    uint32_t rip;
    uint8_t clear[2];
    uint32_t speculative_rsp;
    uint8_t zero;
    uint8_t store[3];
    uint32_t prev_rip;
};
static const struct note known_note = {
    .load = {0x48, 0x8b, 0x82}, .clear = {0xc6, 0x82}, .store = {0x48, 0x89, 0x82}};

// cpu_run_trace: endbr64; sub $0x18,%rsp; mov async_event(%rdi),%eax. None cares where it stands.
enum { START_LENGTH = 14 };
static const uint8_t known_start[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x18, 0x8b, 0x87};

// What runs instead of the first instructions: the note, those instructions, and back.
struct __attribute__((packed)) detour {
    uint8_t load[3]; // mov rip(%rdi),%rax
    uint32_t rip;
    uint8_t store[3]; // mov %rax,prev_rip(%rdi)
    uint32_t prev_rip;
    uint8_t start[START_LENGTH];
    struct jump back;
};

static const struct note *find_note(const uint8_t *code) {
    for (size_t i = 0; i + sizeof(struct note) <= SEARCH_LENGTH; i++) {
        const struct note *n = (const void *)(code + i);
        if (memcmp(n->load, known_note.load, 3) == 0 &&
            memcmp(n->clear, known_note.clear, 2) == 0 && n->zero == 0 &&
            memcmp(n->store, known_note.store, 3) == 0)
            return n;
    }
    return NULL;
}

static bool mend(uint8_t *run_trace, const struct note *note) {
    struct detour detour = {.load = {0x48, 0x8b, 0x87},
                            .rip = note->rip,
                            .store = {0x48, 0x89, 0x87},
                            .prev_rip = note->prev_rip,
                            .back = make_jump(run_trace + START_LENGTH)};
    memcpy(detour.start, run_trace, START_LENGTH);
    return install(run_trace, &detour, sizeof(detour));
}

_Static_assert(sizeof(struct jump) == START_LENGTH, "the jump replaces whole instructions");

__attribute__((constructor)) static void fix(void) {
    const uint8_t *loop = dlsym(RTLD_DEFAULT, CPU_LOOP);
    uint8_t *run_trace = dlsym(RTLD_DEFAULT, CPU_RUN_TRACE);
    const struct note *note = loop != NULL ? find_note(loop) : NULL;

    if (note == NULL || run_trace == NULL ||
        memcmp(run_trace, known_start, sizeof(known_start)) != 0)
        fprintf(stderr, "rip-fix: not the emulator that it knows, left alone\n");
    else if (mend(run_trace, note))
        fprintf(stderr, "rip-fix: cpu_run_trace notes RIP now\n");
    else
        fprintf(stderr, "rip-fix: cpu_run_trace could not be changed\n");
}
