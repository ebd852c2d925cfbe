// SPDX-License-Identifier: Apache-2.0
//
// step-fix.so: an exception or a VM exit counts as a step of the CPU that had it.
//
// Bochs 3.1 runs several CPUs in turn. An exception and a VM exit leave a CPU's turn by longjmp,
// and behind setjmp its loop counts the instruction that was not finished. The compiler took the
// number of the CPU whose turn it is for the one it had when setjmp returned first, so that always
// the first CPU is credited with one instruction more. STI and MOV SS hold interrupts back by that
// count: where another CPU leaves its turn right behind the first CPU's STI, an interrupt comes
// before the next instruction. A guest that does STI and HLT is interrupted before it halts, and
// then halts for ever. Seen with several virtual CPUs that wait for a timer so.
//
// This library puts the number, which the loop keeps on its stack, into that place, and goes on
// with that CPU. It does nothing where the function does not look as it knows it. One line on
// stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>

#define SIMULATION    "_Z19bx_begin_simulationiPPc"
#define SEARCH_LENGTH 1024 // bytes of the function in which what we look for must stand

// Behind setjmp, %rsi is the table of CPUs: mov (%rsi),%rax; movb $0,is_whole(%rsp); addq
// $1,icount(%rax); mov (%rsi),%rdi; jmp to the loop.
struct __attribute__((packed)) count {
    uint8_t load[3];
    uint8_t mark[3], is_whole, no;
    uint8_t add[3];
    uint32_t icount;
    uint8_t one;
    uint8_t load_cpu[3];
    uint8_t go_on;
    int8_t distance;
};
static const struct count known_count = {.load = {0x48, 0x8b, 0x06},
                                         .mark = {0xc6, 0x44, 0x24},
                                         .add = {0x48, 0x83, 0x80},
                                         .one = 1,
                                         .load_cpu = {0x48, 0x8b, 0x3e},
                                         .go_on = 0xeb};

// The loop: cmpb $0,is_whole(%rsp); je; mov processor(%rsp),%ebx; call cpu_run_trace.
struct __attribute__((packed)) loop {
    uint8_t compare[3], is_whole, no;
    uint8_t branch[2];
    uint8_t load[3], processor;
    uint8_t call;
};
static const struct loop known_loop = {
    .compare = {0x80, 0x7c, 0x24}, .branch = {0x74}, .load = {0x8b, 0x5c, 0x24}, .call = 0xe8};

// What runs instead: mov processor(%rsp),%eax; mov (%rsi,%rax,8),%rdi; movb $0,is_whole(%rsp);
// addq $1,icount(%rdi).
struct __attribute__((packed)) detour {
    uint8_t load[3], processor;
    uint8_t load_cpu[4];
    uint8_t mark[3], is_whole, no;
    uint8_t add[3];
    uint32_t icount;
    uint8_t one;
    struct jump go_on;
};

static const struct loop *loop_behind(const struct count *at) {
    const struct loop *loop = (const void *)((const uint8_t *)(at + 1) + at->distance);
    bool is_known = memcmp(loop->compare, known_loop.compare, 3) == 0 &&
                    loop->is_whole == at->is_whole && loop->branch[0] == known_loop.branch[0] &&
                    memcmp(loop->load, known_loop.load, 3) == 0 && loop->call == known_loop.call;
    return is_known ? loop : NULL;
}

static struct count *find_count(uint8_t *code) {
    for (size_t i = 0; i + sizeof(struct count) <= SEARCH_LENGTH; i++) {
        struct count *at = (void *)(code + i);
        if (memcmp(at->load, known_count.load, 3) == 0 &&
            memcmp(at->mark, known_count.mark, 3) == 0 && at->no == 0 &&
            memcmp(at->add, known_count.add, 3) == 0 && at->one == 1 &&
            memcmp(at->load_cpu, known_count.load_cpu, 3) == 0 && at->go_on == known_count.go_on &&
            loop_behind(at) != NULL)
            return at;
    }
    return NULL;
}

static bool mend(struct count *at) {
    const struct loop *loop = loop_behind(at);
    const struct detour detour = {.load = {0x8b, 0x44, 0x24},
                                  .processor = loop->processor,
                                  .load_cpu = {0x48, 0x8b, 0x3c, 0xc6},
                                  .mark = {0xc6, 0x44, 0x24},
                                  .is_whole = at->is_whole,
                                  .add = {0x48, 0x83, 0x87},
                                  .icount = at->icount,
                                  .one = 1,
                                  .go_on = make_jump(loop)};
    return install(at, &detour, sizeof(detour));
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *simulation = dlsym(RTLD_DEFAULT, SIMULATION);
    struct count *count = simulation != NULL ? find_count(simulation) : NULL;

    if (count == NULL)
        fprintf(stderr, "step-fix: not the emulator that it knows, left alone\n");
    else if (mend(count))
        fprintf(stderr, "step-fix: each CPU's exceptions and exits are counted as its own now\n");
    else
        fprintf(stderr, "step-fix: the emulator could not be changed\n");
}
