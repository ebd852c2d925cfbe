// SPDX-License-Identifier: Apache-2.0
//
// svm-entry-fix.so: with AMD-V, which interrupts a guest is left for is decided for the guest.
//
// With V_INTR_MASKING an interrupt of the host ends a guest's run when the host had IF set,
// whatever the guest's IF is (APM 2 15.21.1 "Physical (INTR) Interrupt Masking in EFLAGS"), and a
// virtual interrupt comes as soon as the guest's IF is set (15.21.4). Bochs 3.1 decides which
// events are masked when IF changes. VMRUN loads IF before it notes that a guest runs: so a guest
// that comes with IF clear keeps the host's interrupts out, and one that comes with IF set gets no
// virtual interrupt, until it changes IF. And what masks a guest's interrupts later unmasks
// nothing.
//
// This library has VMRUN unmask the host's interrupts right behind that note, and decide once more
// with the emulator's own handleInterruptMaskChange(), which masks them again where the host had IF
// clear. It tries that on memory of its own first, and does nothing where either function does not
// look as it knows it. One line on stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define VMRUN         "_ZN8BX_CPU_C5VMRUNEP15bxInstruction_c"
#define DECIDE        "_ZN8BX_CPU_C25handleInterruptMaskChangeEv"
#define SEARCH_LENGTH 512     // bytes of a function in which what we look for must stand
#define CPU_LENGTH    0x10000 // no field is farther in than that
#define VMCB_LENGTH   0x1000

#define EVENTS_OF_HOST 0xc00u // the interrupt line, the local APIC's
#define FLAGS_IF       0x200u

// VMRUN: mov $0x101,%eax; mov %rbx,%rdi; movl $1,async(%rbx); mov %ax,in_guest(%rbx); call. GIF
// follows the note; the word of masked events stands before `async`.
struct __attribute__((packed)) note {
    uint8_t async_store[2];
    uint32_t async, one;
    uint8_t guest_store[3];
    uint32_t in_guest;
};
struct __attribute__((packed)) place {
    uint8_t load[8];
    struct note note;
    uint8_t call;
};
static const struct place known_place = {
    .load = {0xb8, 1, 1, 0, 0, 0x48, 0x89, 0xdf},
    .note = {.async_store = {0xc7, 0x83}, .one = 1, .guest_store = {0x66, 0x89, 0x83}},
    .call = 0xe8};
static const struct place any_place = {.note = {.async = UINT32_MAX, .in_guest = UINT32_MAX}};

// handleInterruptMaskChange: mov masked(%rdi),%eax; testb $2,flags+1(%rdi).
struct __attribute__((packed)) start {
    uint8_t load[2];
    uint32_t masked;
    uint8_t test[2];
    uint32_t flags_1;
    uint8_t interrupt_flag;
};
static const struct start known_start = {
    .load = {0x8b, 0x87}, .test = {0xf6, 0x87}, .interrupt_flag = 2};
static const struct start any_start = {.masked = UINT32_MAX, .flags_1 = UINT32_MAX};

// Behind it: mov vmcb(%rdi),%rdx; cmpb $0,masking(%rdx); je; mov %eax,%ecx; or $0x1c,%ch; testb
// $2,host_flags+1(%rdx); cmove %ecx,%eax; or $1,%ah.
struct __attribute__((packed)) arm {
    uint8_t load[3];
    uint32_t vmcb;
    uint8_t compare[2];
    uint32_t masking;
    uint8_t zero;
    uint8_t branch, distance;
    uint8_t mask_copy[5];
    uint8_t test[2];
    uint32_t host_flags_1;
    uint8_t interrupt_flag;
    uint8_t merge[6];
};
static const struct arm known_arm = {.load = {0x48, 0x8b, 0x97},
                                     .compare = {0x80, 0xba},
                                     .branch = 0x74,
                                     .mask_copy = {0x89, 0xc1, 0x80, 0xcd, 0x1c},
                                     .test = {0xf6, 0x82},
                                     .interrupt_flag = 2,
                                     .merge = {0x0f, 0x44, 0xc1, 0x80, 0xcc, 0x01}};
static const struct arm any_arm = {
    .vmcb = UINT32_MAX, .masking = UINT32_MAX, .distance = UINT8_MAX, .host_flags_1 = UINT32_MAX};

// What runs instead of the note: it; andl $~EVENTS_OF_HOST,masked(%rbx); call *decide; mov
// %rbx,%rdi; jmp over that address; and back. %rdi is %rbx already, nobody needs %rax any more, and
// the stack is aligned.
struct __attribute__((packed)) detour {
    struct note note;
    uint8_t and[2];
    uint32_t masked, others;
    uint8_t call[6];
    uint8_t move[3];
    uint8_t skip[2];
    uint64_t decide;
    struct jump back;
};

_Static_assert(sizeof(struct jump) <= sizeof(struct note),
               "the jump stands where whole instructions were");

// For memory that stands in for the CPU.
static bool run(const struct detour *detour, uint8_t *cpu) {
    void *code = begin_trial(detour, sizeof(*detour));
    if (code == NULL)
        return false;
    uint64_t rdi = (uintptr_t)cpu, rax = 0x101;
    __asm__ volatile("mov %%rsp, %%r12\n\t"
                     "sub $128, %%rsp\n\t" // the red zone
                     "and $-16, %%rsp\n\t"
                     "sub $8, %%rsp\n\t" // the call that VMRUN is not takes 8 more
                     "call *%3\n\t"
                     "mov %%r12, %%rsp"
                     : "+D"(rdi), "+a"(rax)
                     : "b"(cpu), "r"(code)
                     : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "cc", "memory");
    return end_trial(code);
}

// What is masked when a guest with IF clear has come, with all masked before.
static uint32_t mask_of(const struct detour *detour, const struct arm *arm, uint8_t *cpu,
                        uint32_t host_flags) {
    uint8_t *vmcb = cpu + CPU_LENGTH + sizeof(uint64_t);
    const uint8_t host_flags_1 = (uint8_t)(host_flags >> 8);
    uint32_t masked = UINT32_MAX;
    memcpy(cpu + arm->vmcb, &vmcb, sizeof(vmcb));
    memcpy(cpu + detour->masked, &masked, sizeof(masked));
    vmcb[arm->masking] = 1;
    memcpy(vmcb + arm->host_flags_1, &host_flags_1, sizeof(host_flags_1));
    if (!run(detour, cpu))
        return 0;
    memcpy(&masked, cpu + detour->masked, sizeof(masked));
    return masked;
}

static bool works(const struct detour *detour, const struct arm *arm) {
    if (detour->note.async > CPU_LENGTH || detour->note.in_guest > CPU_LENGTH ||
        detour->masked > CPU_LENGTH || arm->vmcb > CPU_LENGTH || arm->masking >= VMCB_LENGTH ||
        arm->host_flags_1 >= VMCB_LENGTH)
        return false;
    uint8_t *cpu = calloc(CPU_LENGTH + sizeof(uint64_t) + VMCB_LENGTH, 1);
    bool is_right = cpu != NULL &&
                    mask_of(detour, arm, cpu, FLAGS_IF) == (UINT32_MAX & ~EVENTS_OF_HOST) &&
                    mask_of(detour, arm, cpu, 0) == UINT32_MAX;
    is_right = is_right && cpu[detour->note.async] == 1 && cpu[detour->note.in_guest] == 1;
    free(cpu);
    return is_right;
}

static bool mend(struct place *place, const struct start *start, const struct arm *arm,
                 const void *decide) {
    const struct detour detour = {.note = place->note,
                                  .and = {0x81, 0xa3},
                                  .masked = start->masked,
                                  .others = ~EVENTS_OF_HOST,
                                  .call = {0xff, 0x15, 5, 0, 0, 0},
                                  .move = {0x48, 0x89, 0xdf},
                                  .skip = {0xeb, 8},
                                  .decide = (uintptr_t)decide,
                                  .back = make_jump(&place->call)};
    return works(&detour, arm) && install(&place->note, &detour, sizeof(detour));
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *vmrun = dlsym(RTLD_DEFAULT, VMRUN), *decide = dlsym(RTLD_DEFAULT, DECIDE);
    struct place *place = vmrun != NULL ? find_code(vmrun, SEARCH_LENGTH, &known_place, &any_place,
                                                    sizeof(known_place))
                                        : NULL;
    const struct start *start = decide != NULL ? find_code(decide, SEARCH_LENGTH, &known_start,
                                                           &any_start, sizeof(known_start))
                                               : NULL;
    const struct arm *arm =
        decide != NULL ? find_code(decide, SEARCH_LENGTH, &known_arm, &any_arm, sizeof(known_arm))
                       : NULL;

    if (place == NULL || start == NULL || arm == NULL ||
        start->masked + sizeof(uint32_t) != place->note.async)
        fprintf(stderr, "svm-entry-fix: not the emulator that it knows, left alone\n");
    else if (mend(place, start, arm, decide))
        fprintf(stderr, "svm-entry-fix: interrupts leave AMD-V's guests with theirs off now\n");
    else
        fprintf(stderr, "svm-entry-fix: the emulator could not be changed\n");
}
