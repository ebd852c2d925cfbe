// SPDX-License-Identifier: Apache-2.0
//
// svm-vector-fix.so: with AMD-V, an exit that ends the delivery of INT n names that interrupt.
//
// Where a stack, a descriptor table or a page table is not mapped yet, a nested page fault ends the
// delivery of an event, and EXITINTINFO tells the hypervisor which one (APM 2 15.7.2 "Intercepts
// During IDT Interrupt Delivery"). Bochs 3.1 notes exceptions and what was injected, but not INT n:
// the field then names the event before, which the hypervisor injects a second time. Seen as a #UD
// that no instruction caused.
//
// This library has INT_Ib() note the vector where a guest runs. It takes the fields' places from
// that function's own code and from SvmInterceptException()'s, tries the change on memory of its
// own, and does nothing where either function does not look as it knows it. One line on stderr says
// which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define SOFTWARE      "_ZN8BX_CPU_C6INT_IbEP15bxInstruction_c"
#define INTERCEPT     "_ZN8BX_CPU_C21SvmInterceptExceptionEjjtbm"
#define SEARCH_LENGTH 512     // bytes of a function in which what we look for must stand
#define CPU_LENGTH    0x10000 // no field is farther in than that
#define VMCB_LENGTH   0x1000
#define TYPE_SOFTWARE 0x400u // of EXITINTINFO

// INT_Ib, whether it is intercepted: cmpb $0,in_guest(%rbx); je; mov vmcb(%rbx),%rax; testb
// $0x20,intercepts(%rax).
struct __attribute__((packed)) look {
    uint8_t compare[2];
    uint32_t in_guest;
    uint8_t zero;
    uint8_t branch, distance;
    uint8_t load[3];
    uint32_t vmcb;
    uint8_t test[2];
    uint32_t intercepts;
    uint8_t software;
};
static const struct look known_look = {.compare = {0x80, 0xbb},
                                       .branch = 0x74,
                                       .load = {0x48, 0x8b, 0x83},
                                       .test = {0xf6, 0x80},
                                       .software = 0x20};
static const struct look any_look = {
    .in_guest = UINT32_MAX, .distance = UINT8_MAX, .vmcb = UINT32_MAX, .intercepts = UINT32_MAX};

// Where it is not: orl $4,unwind(%rbx); movzbl %bpl,%esi; mov %rbx,%rdi; xor %ecx,%ecx; xor
// %r8d,%r8d; mov $4,%edx; call. The vector is in %ebp.
struct __attribute__((packed)) deliver {
    uint8_t or [2];
    uint32_t unwind;
    uint8_t bit;
    uint8_t vector[4];
    uint8_t cpu[3];
    uint8_t others[11];
};
enum { REPLACED = offsetof(struct deliver, others) };
static const struct deliver known_deliver = {
    .or = {0x83, 0x8b},
    .bit = 4,
    .vector = {0x40, 0x0f, 0xb6, 0xf5},
    .cpu = {0x48, 0x89, 0xdf},
    .others = {0x31, 0xc9, 0x45, 0x31, 0xc0, 0xba, 4, 0, 0, 0, 0xe8}};
static const struct deliver any_deliver = {.unwind = UINT32_MAX};

// SvmInterceptException: or $0x300,%r10d; mov %r9d,error(%r11); mov %r10d,event(%r11).
struct __attribute__((packed)) note {
    uint8_t or [7];
    uint8_t store_error[3];
    uint32_t error;
    uint8_t store[3];
    uint32_t event;
};
static const struct note known_note = {.or = {0x41, 0x81, 0xca, 0x00, 0x03, 0x00, 0x00},
                                       .store_error = {0x45, 0x89, 0x8b},
                                       .store = {0x45, 0x89, 0x93}};
static const struct note any_note = {.error = UINT32_MAX, .event = UINT32_MAX};

// What runs instead of the first three of `deliver`: these, with, before the last, cmpb
// $0,in_guest(%rbx); je over the rest; mov vmcb(%rbx),%rax; lea TYPE_SOFTWARE(%rsi),%ecx; mov
// %ecx,event(%rax). Nobody needs %rax and %rcx any more.
struct __attribute__((packed)) detour {
    uint8_t first_two[offsetof(struct deliver, cpu)];
    uint8_t compare[2];
    uint32_t in_guest;
    uint8_t zero;
    uint8_t branch, distance;
    uint8_t load[3];
    uint32_t vmcb;
    uint8_t combine[2];
    uint32_t type;
    uint8_t store[2];
    uint32_t event;
    uint8_t cpu[3];
    struct jump back;
};

_Static_assert(sizeof(struct jump) <= REPLACED, "the jump stands where whole instructions were");

// For memory that stands in for the CPU. Returns the vector that it hands on; -1: it did not run.
static int64_t run(const struct detour *detour, uint8_t *cpu, uint64_t vector) {
    void *code = begin_trial(detour, sizeof(*detour));
    if (code == NULL)
        return -1;
    int64_t rsi = -1;
    uint64_t rdi = 0, rax = (uintptr_t)code, rcx = vector;
    __asm__ volatile("sub $128, %%rsp; push %%rbp; mov %%rcx, %%rbp\n\t" // the red zone
                     "call *%%rax; pop %%rbp; add $128, %%rsp"
                     : "+D"(rdi), "+S"(rsi), "+a"(rax), "+c"(rcx)
                     : "b"(cpu)
                     : "cc", "memory");
    return end_trial(code) && rdi == (uintptr_t)cpu ? rsi : -1;
}

static bool works(const struct detour *detour) {
    uint32_t unwind = 0;
    memcpy(&unwind, detour->first_two + offsetof(struct deliver, unwind), sizeof(unwind));
    if (detour->in_guest > CPU_LENGTH || detour->vmcb > CPU_LENGTH || detour->event > VMCB_LENGTH ||
        unwind > CPU_LENGTH)
        return false;
    uint8_t *cpu = calloc(CPU_LENGTH + sizeof(uint64_t) + VMCB_LENGTH + sizeof(uint32_t), 1);
    if (cpu == NULL)
        return false;
    uint32_t event = 0;
    bool is_right = run(detour, cpu, 0x80) == 0x80; // and writes nothing where vmcb is NULL
    uint8_t *vmcb = cpu + CPU_LENGTH + sizeof(uint64_t);
    memcpy(cpu + detour->vmcb, &vmcb, sizeof(vmcb));
    cpu[detour->in_guest] = 1;
    is_right = is_right && run(detour, cpu, 0xfe) == 0xfe;
    memcpy(&event, vmcb + detour->event, sizeof(event));
    free(cpu);
    return is_right && event == (TYPE_SOFTWARE | 0xfe);
}

static bool mend(struct deliver *deliver, const struct look *look, const struct note *note) {
    struct detour detour = {.compare = {0x80, 0xbb},
                            .in_guest = look->in_guest,
                            .branch = 0x74,
                            .distance =
                                offsetof(struct detour, cpu) - offsetof(struct detour, load),
                            .load = {0x48, 0x8b, 0x83},
                            .vmcb = look->vmcb,
                            .combine = {0x8d, 0x8e},
                            .type = TYPE_SOFTWARE,
                            .store = {0x89, 0x88},
                            .event = note->event,
                            .cpu = {0x48, 0x89, 0xdf},
                            .back = make_jump(deliver->others)};
    memcpy(detour.first_two, deliver, sizeof(detour.first_two));
    return works(&detour) && install(deliver, &detour, sizeof(detour));
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *software = dlsym(RTLD_DEFAULT, SOFTWARE);
    const uint8_t *intercept = dlsym(RTLD_DEFAULT, INTERCEPT);
    const struct look *look = software != NULL ? find_code(software, SEARCH_LENGTH, &known_look,
                                                           &any_look, sizeof(known_look))
                                               : NULL;
    struct deliver *deliver = software != NULL ? find_code(software, SEARCH_LENGTH, &known_deliver,
                                                           &any_deliver, sizeof(known_deliver))
                                               : NULL;
    const struct note *note = intercept != NULL ? find_code(intercept, SEARCH_LENGTH, &known_note,
                                                            &any_note, sizeof(known_note))
                                                : NULL;

    if (look == NULL || deliver == NULL || note == NULL)
        fprintf(stderr, "svm-vector-fix: not the emulator that it knows, left alone\n");
    else if (mend(deliver, look, note))
        fprintf(stderr, "svm-vector-fix: INT n of AMD-V's guests is named when it exits now\n");
    else
        fprintf(stderr, "svm-vector-fix: the emulator could not be changed\n");
}
