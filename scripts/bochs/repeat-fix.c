// SPDX-License-Identifier: Apache-2.0
//
// repeat-fix.so: a CPU's turn ends within a long string instruction.
//
// Bochs 3.1 runs several CPUs in turn, and time goes on when each had its turn. A string
// instruction with a REP prefix is left when the CPU has an event, and else when it is done: while
// it runs, no other CPU does, and no timer ends. A guest that stores 2^60 times into memory that is
// there keeps the machine for ever. A processor takes interrupts between the iterations (SDM 2B
// "REP/REPE/REPZ/REPNE/REPNZ").
//
// Behind each iteration the emulator calls a function that is empty in this build. This library has
// it jump to one that sets, now and then, the flag that leaves the instruction as an event does,
// with nothing to deliver. It does nothing where the functions do not look as it knows them. One
// line on stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>

#define REPEAT        "_ZN8BX_CPU_C6repeatEP15bxInstruction_cMS_FvS1_E"
#define ITERATION     "_Z25bx_instr_repeat_iterationjP15bxInstruction_c"
#define CPUS          "bx_cpu_array"
#define SEARCH_LENGTH 1024       // bytes of REPEAT in which what we look for must stand
#define TURN          256        // iterations
#define STOP_TRACE    0x80000000 // in a CPU's async_event: ends the turn, and nothing more

// The empty function: endbr64; ret; nopw and nopl up to the next.
static const uint8_t empty[] = {0xf3, 0x0f, 0x1e, 0xfa, 0xc3, 0x66, 0x66, 0x2e,
                                0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00};
_Static_assert(sizeof(empty) >= sizeof(struct jump), "the jump would reach the next function");

// In REPEAT, behind its call: subq $1,rcx(%rbx); je; mov async_event(%rbx),%eax; test %eax,%eax;
// jne to what leaves the instruction.
struct __attribute__((packed)) look {
    uint8_t count[3], rcx, one;
    uint8_t done[2];
    int32_t end;
    uint8_t load[2];
    uint32_t async_event;
    uint8_t test[2];
    uint8_t leave[2];
};
static const struct look known = {.count = {0x48, 0x83, 0x6b},
                                  .one = 1,
                                  .done = {0x0f, 0x84},
                                  .load = {0x8b, 0x83},
                                  .test = {0x85, 0xc0},
                                  .leave = {0x0f, 0x85}};
static const struct look any = {.rcx = 0xff, .end = -1, .async_event = 0xffffffff};

static uint8_t **const *cpus; // where the emulator says where it has them
static uint32_t async_event;  // where that is in a CPU
static uint64_t iterations;   // of all CPUs

static void iterate(unsigned cpu, const void *instruction) {
    (void)instruction;
    if (++iterations % TURN == 0)
        *(uint32_t *)((*cpus)[cpu] + async_event) |= STOP_TRACE;
}

__attribute__((constructor)) static void fix(void) {
    const uint8_t *repeat = dlsym(RTLD_DEFAULT, REPEAT);
    uint8_t *iteration = dlsym(RTLD_DEFAULT, ITERATION);
    const struct look *look =
        repeat != NULL ? find_code(repeat, SEARCH_LENGTH, &known, &any, sizeof(known)) : NULL;
    cpus = dlsym(RTLD_DEFAULT, CPUS);

    if (look == NULL || iteration == NULL || cpus == NULL ||
        memcmp(iteration, empty, sizeof(empty)) != 0) {
        fprintf(stderr, "repeat-fix: not the emulator that it knows, left alone\n");
        return;
    }
    async_event = look->async_event;
    const struct jump there = make_jump((const void *)iterate);
    if (install_code(iteration, &there, sizeof(there)))
        fprintf(stderr, "repeat-fix: a CPU's turn ends within a string instruction now\n");
    else
        fprintf(stderr, "repeat-fix: the emulator could not be changed\n");
}
