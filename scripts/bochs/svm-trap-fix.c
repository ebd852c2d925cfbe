// SPDX-License-Identifier: Apache-2.0
//
// svm-trap-fix.so: with AMD-V, a guest's single steps come to the guest, and say what they are.
//
// Where RFLAGS.TF is set, the emulator notes before each instruction that a trap shall follow it.
// An instruction that leaves the guest is not carried out, and the guest's flags have no effect on
// the host (APM 2 15.5.1 "Basic Operation"). Bochs 3.1 forgets that note at its VM exits of VT-x,
// and at AMD-V's for intercepted exceptions, but at no other of AMD-V's: the host gets a #DB right
// behind VMRUN, with its own TF clear. TR is still the guest's there, so the host dies. Seen with a
// guest that single-steps through an access to a device.
//
// Where the hypervisor intercepts #DB, it finds DR6 and DR7 as the guest's handler would (APM 2
// 15.12.2 "#DB (Debug)"). Bochs 3.1 looks for the intercept first and drops what it would have
// written: a step is not known as one.
//
// This library has Svm_Vmexit() forget the note, and SvmInterceptException() do first what
// exception() does to DR6 and DR7. It takes that, and the note's place, from exception()'s own
// code, tries both changes on memory of its own, and does nothing where one of these functions does
// not look as it knows it. One line on stderr says which it was.

#define _GNU_SOURCE
#include "patch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define EXIT          "_ZN8BX_CPU_C10Svm_VmexitEimm"
#define INTERCEPT     "_ZN8BX_CPU_C21SvmInterceptExceptionEjjtbm"
#define EXCEPTION     "_ZN8BX_CPU_C9exceptionEjt"
#define SEARCH_LENGTH 2048    // bytes of a function in which what we look for must stand
#define CPU_LENGTH    0x10000 // no field is farther in than that

// Two bytes of an instruction, and the field of the CPU that it goes to.
struct __attribute__((packed)) access {
    uint8_t opcode[2];
    uint32_t field;
};

// Svm_Vmexit, when it has the host's state: movl $0,activity(%rbx); movb $0,external(%rbx); movl
// $-1,last_exception(%rbx).
struct __attribute__((packed)) host {
    struct access activity;
    uint32_t is_active;
    struct access external;
    uint8_t is_internal;
    struct access last_exception;
    uint32_t none;
};
static const struct host known_host = {.activity = {{0xc7, 0x83}, 0},
                                       .external = {{0xc6, 0x83}, 0},
                                       .last_exception = {{0xc7, 0x83}, 0},
                                       .none = UINT32_MAX};
static const struct host any_host = {.activity = {.field = UINT32_MAX},
                                     .external = {.field = UINT32_MAX},
                                     .last_exception = {.field = UINT32_MAX}};

// exception: mov dr6(%rbx),%edx; mov trap(%rbx),%ecx; andl $~0x2000,dr7(%rbx); and
// $0xffff6ff0,%edx; and $0xe00f,%ecx; or %ecx,%edx; mov %edx,dr6(%rbx). The note is bit 14, as in
// DR6.
struct __attribute__((packed)) commit {
    struct access load_dr6, load_trap, dr7;
    uint32_t no_general_detect;
    uint8_t merge[14];
    struct access store_dr6;
};
static const struct commit known_commit = {
    .load_dr6 = {{0x8b, 0x93}, 0},
    .load_trap = {{0x8b, 0x8b}, 0},
    .dr7 = {{0x81, 0xa3}, 0},
    .no_general_detect = ~UINT32_C(0x2000),
    .merge = {0x81, 0xe2, 0xf0, 0x6f, 0xff, 0xff, 0x81, 0xe1, 0x0f, 0xe0, 0x00, 0x00, 0x09, 0xca},
    .store_dr6 = {{0x89, 0x93}, 0}};

// SvmInterceptException, before it calls Svm_Vmexit: xor %eax,%eax; movzwl %r9w,%edx; lea
// 0x40(%r10),%esi; mov %r14,%rcx; mov %eax,trap(%rdi). The vector is in %r10d; nobody looks at %ebx
// any more.
struct __attribute__((packed)) intercept {
    uint8_t arguments[13];
    struct access trap;
};
static const struct intercept known_intercept = {
    .arguments = {0x31, 0xc0, 0x41, 0x0f, 0xb7, 0xd1, 0x41, 0x8d, 0x72, 0x40, 0x4c, 0x89, 0xf1},
    .trap = {{0x89, 0x87}, 0}};

// What runs instead of the first two of `host`: these; movl $0,trap(%rbx). None changes flags,
// which are looked at behind.
struct __attribute__((packed)) forget {
    uint8_t first_two[offsetof(struct host, last_exception)];
    struct access trap;
    uint32_t none;
    struct jump back;
};

// What runs instead of `intercept`: cmp $1,%r10d; jne to the last; mov %rdi,%rbx; the commit; and
// what was there.
struct __attribute__((packed)) tell {
    uint8_t compare[4];
    uint8_t branch[2];
    uint8_t move[3];
    struct commit commit;
    struct intercept intercept;
    struct jump back;
};

_Static_assert(sizeof(struct jump) <= offsetof(struct host, last_exception) &&
                   sizeof(struct jump) <= sizeof(struct intercept),
               "the jump stands where whole instructions were");

static const struct commit *find_commit(const uint8_t *code) {
    for (size_t i = 0; i + sizeof(struct commit) <= SEARCH_LENGTH; i++) {
        const struct commit *at = (const void *)(code + i);
        struct commit known = known_commit;
        known.load_dr6.field = known.store_dr6.field = at->load_dr6.field;
        known.load_trap.field = at->load_trap.field;
        known.dr7.field = at->dr7.field;
        if (memcmp(at, &known, sizeof(known)) == 0)
            return at;
    }
    return NULL;
}

static struct intercept *find_intercept(uint8_t *code, const struct commit *commit) {
    struct intercept known = known_intercept;
    known.trap.field = commit->load_trap.field;
    for (size_t i = 0; i + sizeof(struct intercept) <= SEARCH_LENGTH; i++)
        if (memcmp(code + i, &known, sizeof(known)) == 0)
            return (void *)(code + i);
    return NULL;
}

// For memory that stands in for the CPU.
static bool run(const void *detour, size_t size, uint8_t *cpu, uint64_t vector) {
    void *code = begin_trial(detour, size);
    if (code == NULL)
        return false;
    register uint64_t r10 __asm__("r10") = vector;
    uint8_t *rbx = cpu;
    __asm__ volatile("sub $128, %%rsp; call *%2; add $128, %%rsp" // the red zone
                     : "+b"(rbx), "+r"(r10)
                     : "r"(code), "D"(cpu)
                     : "rax", "rcx", "rdx", "rsi", "r9", "r14", "cc", "memory");
    return end_trial(code);
}

static uint32_t get(const uint8_t *cpu, uint32_t field) {
    uint32_t value;
    memcpy(&value, cpu + field, sizeof(value));
    return value;
}

static void set(uint8_t *cpu, const struct commit *c, uint32_t dr6, uint32_t dr7, uint32_t trap) {
    memcpy(cpu + c->load_dr6.field, &dr6, sizeof(dr6));
    memcpy(cpu + c->dr7.field, &dr7, sizeof(dr7));
    memcpy(cpu + c->load_trap.field, &trap, sizeof(trap));
}

// A step with breakpoint 1, and no #DB; and an exit.
static bool work(const struct forget *forget, const struct tell *tell) {
    const struct commit *c = &tell->commit;
    const uint32_t dr6 = c->load_dr6.field, dr7 = c->dr7.field, trap = c->load_trap.field;
    uint8_t *cpu = calloc(CPU_LENGTH + sizeof(uint32_t), 1);
    if (cpu == NULL || dr6 > CPU_LENGTH || dr7 > CPU_LENGTH || trap > CPU_LENGTH ||
        get(forget->first_two, offsetof(struct host, activity.field)) > CPU_LENGTH ||
        get(forget->first_two, offsetof(struct host, external.field)) > CPU_LENGTH)
        return false;
    set(cpu, c, 0xffff0ff0, 0x2400, 0x4002);
    bool is_right = run(tell, sizeof(*tell), cpu, 1) && get(cpu, dr6) == 0xffff4ff2 &&
                    get(cpu, dr7) == 0x400 && get(cpu, trap) == 0;
    set(cpu, c, 0xffff0ff1, 0x2400, 0x4002);
    is_right = is_right && run(tell, sizeof(*tell), cpu, 14) && get(cpu, dr6) == 0xffff0ff1 &&
               get(cpu, dr7) == 0x2400 && get(cpu, trap) == 0;
    set(cpu, c, 0xffff0ff1, 0x2400, 0x4002);
    is_right = is_right && run(forget, sizeof(*forget), cpu, 0) && get(cpu, dr6) == 0xffff0ff1 &&
               get(cpu, dr7) == 0x2400 && get(cpu, trap) == 0;
    free(cpu);
    return is_right;
}

static bool mend(struct host *host, struct intercept *intercept, const struct commit *commit) {
    struct forget forget = {.trap = {{0xc7, 0x83}, commit->load_trap.field},
                            .back = make_jump(&host->last_exception)};
    memcpy(forget.first_two, host, sizeof(forget.first_two));
    const struct tell tell = {.compare = {0x41, 0x83, 0xfa, 1},
                              .branch = {0x75, sizeof(tell.move) + sizeof(struct commit)},
                              .move = {0x48, 0x89, 0xfb},
                              .commit = *commit,
                              .intercept = *intercept,
                              .back = make_jump(intercept + 1)};
    return work(&forget, &tell) && install(host, &forget, sizeof(forget)) &&
           install(intercept, &tell, sizeof(tell));
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *exit_code = dlsym(RTLD_DEFAULT, EXIT), *exception = dlsym(RTLD_DEFAULT, EXCEPTION);
    uint8_t *intercepts = dlsym(RTLD_DEFAULT, INTERCEPT);
    struct host *host = exit_code != NULL ? find_code(exit_code, SEARCH_LENGTH, &known_host,
                                                      &any_host, sizeof(known_host))
                                          : NULL;
    const struct commit *commit = exception != NULL ? find_commit(exception) : NULL;
    struct intercept *intercept =
        intercepts != NULL && commit != NULL ? find_intercept(intercepts, commit) : NULL;

    if (host == NULL || intercept == NULL)
        fprintf(stderr, "svm-trap-fix: not the emulator that it knows, left alone\n");
    else if (mend(host, intercept, commit))
        fprintf(stderr, "svm-trap-fix: single steps of AMD-V's guests come to them alone now\n");
    else
        fprintf(stderr, "svm-trap-fix: the emulator could not be changed\n");
}
