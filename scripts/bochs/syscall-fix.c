// SPDX-License-Identifier: Apache-2.0
//
// syscall-fix.so: SYSCALL under single steps does not trap in the kernel.
//
// Where RFLAGS.TF is set, the emulator notes before each instruction that a trap shall follow it.
// With SYSCALL processors look at TF when the instruction is done, so that a kernel which masks TF
// by SFMASK is not stopped at its first instruction, on a stack that is the user's. Bochs 3.1
// leaves the note: ring 3 ends the kernel by SYSCALL with TF set.
//
// This library has SYSCALL drop the note where SFMASK masks TF. It takes the note's place from
// exception()'s own code, tries the change on memory of its own, and does nothing where either
// function does not look as it knows it. One line on stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define SYSCALL       "_ZN8BX_CPU_C7SYSCALLEP15bxInstruction_c"
#define EXCEPTION     "_ZN8BX_CPU_C9exceptionEjt"
#define SEARCH_LENGTH 2048    // bytes of a function in which what we look for must stand
#define CPU_LENGTH    0x10000 // no field is farther in than that
#define NOTE          0x4000u
#define FLAG_TF       0x100u

// SYSCALL, in long mode: mov sfmask(%rbx),%esi; mov $changeable,%edx; mov %rbx,%rdi; not %esi; and
// %eax,%esi; and $~RF,%esi; call.
struct __attribute__((packed)) place {
    uint8_t load[2];
    uint32_t sfmask;
    uint8_t others[8];
    uint8_t merge[11];
};
enum { REPLACED = offsetof(struct place, merge) };
static const struct place known_place = {
    .load = {0x8b, 0xb3},
    .others = {0xba, 0xd5, 0x7f, 0x3f, 0x00, 0x48, 0x89, 0xdf},
    .merge = {0xf7, 0xd6, 0x21, 0xc6, 0x81, 0xe6, 0xff, 0xff, 0xfe, 0xff, 0xe8}};
static const struct place any_place = {.sfmask = UINT32_MAX};

// exception: mov trap(%rbx),%ecx; andl $~0x2000,dr7(%rbx). The note is bit 14, as in DR6.
struct __attribute__((packed)) commit {
    uint8_t load[2];
    uint32_t trap;
    uint8_t and[2];
    uint32_t dr7, no_general_detect;
};
static const struct commit known_commit = {
    .load = {0x8b, 0x8b}, .and = {0x81, 0xa3}, .no_general_detect = ~UINT32_C(0x2000)};
static const struct commit any_commit = {.trap = UINT32_MAX, .dr7 = UINT32_MAX};

// What runs instead of the first three: these; test $TF,%esi; je to the last; andl $~NOTE,
// trap(%rbx); and back. %eax is needed.
struct __attribute__((packed)) detour {
    uint8_t place[REPLACED];
    uint8_t test[2];
    uint32_t flag;
    uint8_t branch, distance;
    uint8_t and[2];
    uint32_t trap, others;
    struct jump back;
};

_Static_assert(sizeof(struct jump) <= REPLACED, "the jump stands where whole instructions were");

// For memory that stands in for the CPU.
static bool run(const struct detour *detour, uint8_t *cpu) {
    void *code = begin_trial(detour, sizeof(*detour));
    if (code == NULL)
        return false;
    uint64_t rdi = 0, rax = 0x102, rsi = 0;
    __asm__ volatile("sub $128, %%rsp; call *%4; add $128, %%rsp" // the red zone
                     : "+D"(rdi), "+a"(rax), "+S"(rsi)
                     : "b"(cpu), "r"(code)
                     : "rdx", "cc", "memory");
    return end_trial(code) && rdi == (uintptr_t)cpu && rax == 0x102;
}

static uint32_t trap_behind(const struct detour *detour, uint32_t sfmask_at, uint32_t sfmask) {
    uint8_t *cpu = calloc(CPU_LENGTH + sizeof(uint32_t), 1);
    uint32_t trap = NOTE | 3;
    if (cpu == NULL || sfmask_at > CPU_LENGTH || detour->trap > CPU_LENGTH)
        return 0;
    memcpy(cpu + sfmask_at, &sfmask, sizeof(sfmask));
    memcpy(cpu + detour->trap, &trap, sizeof(trap));
    bool is_right = run(detour, cpu);
    memcpy(&trap, cpu + detour->trap, sizeof(trap));
    free(cpu);
    return is_right ? trap : 0;
}

static bool mend(struct place *place, const struct commit *commit) {
    struct detour detour = {.test = {0xf7, 0xc6},
                            .flag = FLAG_TF,
                            .branch = 0x74,
                            .distance =
                                offsetof(struct detour, back) - offsetof(struct detour, and),
                            .and = {0x81, 0xa3},
                            .trap = commit->trap,
                            .others = ~NOTE,
                            .back = make_jump(place->merge)};
    memcpy(detour.place, place, REPLACED);
    return trap_behind(&detour, place->sfmask, FLAG_TF | 0x200) == 3 &&
           trap_behind(&detour, place->sfmask, 0x200) == (NOTE | 3) &&
           install(place, &detour, sizeof(detour));
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *syscall_code = dlsym(RTLD_DEFAULT, SYSCALL);
    const uint8_t *exception = dlsym(RTLD_DEFAULT, EXCEPTION);
    struct place *place =
        syscall_code != NULL
            ? find_code(syscall_code, SEARCH_LENGTH, &known_place, &any_place, sizeof(known_place))
            : NULL;
    const struct commit *commit =
        exception != NULL
            ? find_code(exception, SEARCH_LENGTH, &known_commit, &any_commit, sizeof(known_commit))
            : NULL;

    if (place == NULL || commit == NULL)
        fprintf(stderr, "syscall-fix: not the emulator that it knows, left alone\n");
    else if (mend(place, commit))
        fprintf(stderr, "syscall-fix: SYSCALL under single steps does not trap now\n");
    else
        fprintf(stderr, "syscall-fix: the emulator could not be changed\n");
}
