// SPDX-License-Identifier: Apache-2.0
// The system calls as C functions, for every ring-3 program. What each one does, needs and returns
// stands in include/calls.h; here is only the way into the kernel: one `call` of the page of code
// at ABI_CALL_PAGE.
//
// All return what the kernel returned: a value >= 0 (most often 0 or a new handle), or the negated
// enum abi_error.
//
// The `call` pushes below the stack pointer behind the compiler's back: programs that include this
// header are compiled with -mno-red-zone.
#pragma once

#include "include/abi.h"
#include "lib/each.h"

// RCX, RDX and R11 are lost in the kernel, everything else is kept (include/abi.h, "How to call").
#define SYSCALL_ENTER     "call %P[page]"
#define SYSCALL_PAGE      [page] "i"(ABI_CALL_PAGE)
#define SYSCALL_CLOBBERED "rcx", "rdx", "r11", "memory", "cc"

static inline int64_t syscall_1(enum abi_call call, uint64_t a) {
    int64_t result;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), SYSCALL_PAGE
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_2(enum abi_call call, uint64_t a, uint64_t b) {
    int64_t result;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), SYSCALL_PAGE
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_3(enum abi_call call, uint64_t a, uint64_t b, uint64_t c) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), SYSCALL_PAGE
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_4(enum abi_call call, uint64_t a, uint64_t b, uint64_t c,
                                uint64_t d) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    register uint64_t r9 __asm__("r9") = d;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), "r"(r9), SYSCALL_PAGE
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_5(enum abi_call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                uint64_t e) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    register uint64_t r9 __asm__("r9") = d;
    register uint64_t r10 __asm__("r10") = e;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), "r"(r9), "r"(r10), SYSCALL_PAGE
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_6(enum abi_call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                uint64_t e, uint64_t f) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    register uint64_t r9 __asm__("r9") = d;
    register uint64_t r10 __asm__("r10") = e;
    register uint64_t r12 __asm__("r12") = f;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), "r"(r9), "r"(r10), "r"(r12),
                       SYSCALL_PAGE
                     : SYSCALL_CLOBBERED);
    return result;
}

// sys_NAME(arguments...) for each call of include/calls.h.
#define SYSCALL_TYPE_HANDLE(name, TYPE, rights) uint32_t name
#define SYSCALL_TYPE_OWN(name, TYPE, rights)    uint32_t name
#define SYSCALL_TYPE_ANY(name, rights)          uint32_t name
#define SYSCALL_TYPE_MAPPED(name)               uint32_t name
#define SYSCALL_TYPE_NOTIFY(name)               uint32_t name
#define SYSCALL_TYPE_SIGNAL(name)               uint32_t name
#define SYSCALL_TYPE_PAGES(name)                uint64_t name
#define SYSCALL_TYPE_U16(name)                  uint16_t name
#define SYSCALL_TYPE_U32(name)                  uint32_t name
#define SYSCALL_TYPE_U64(name)                  uint64_t name
#define SYSCALL_TYPE_ENUM(name, type)           type name
#define SYSCALL_TYPE_IN(name, type)             const type *name
#define SYSCALL_TYPE_OUT(name, type)            type *name
#define SYSCALL_TYPE_BYTES_IN(name, type)       const type *name
#define SYSCALL_TYPE_BYTES_OUT(name, type)      type *name
#define SYSCALL_TYPE_NONE                       void
#define SYSCALL_TYPE(argument)                  SYSCALL_TYPE_##argument

#define SYSCALL_VALUE_HANDLE(name, TYPE, rights) name
#define SYSCALL_VALUE_OWN(name, TYPE, rights)    name
#define SYSCALL_VALUE_ANY(name, rights)          name
#define SYSCALL_VALUE_MAPPED(name)               name
#define SYSCALL_VALUE_NOTIFY(name)               name
#define SYSCALL_VALUE_SIGNAL(name)               name
#define SYSCALL_VALUE_PAGES(name)                name
#define SYSCALL_VALUE_U16(name)                  name
#define SYSCALL_VALUE_U32(name)                  name
#define SYSCALL_VALUE_U64(name)                  name
#define SYSCALL_VALUE_ENUM(name, type)           name
#define SYSCALL_VALUE_IN(name, type)             (uintptr_t) name
#define SYSCALL_VALUE_OUT(name, type)            (uintptr_t) name
#define SYSCALL_VALUE_BYTES_IN(name, type)       (uintptr_t) name
#define SYSCALL_VALUE_BYTES_OUT(name, type)      (uintptr_t) name
#define SYSCALL_VALUE_NONE                       0
#define SYSCALL_VALUE(argument)                  SYSCALL_VALUE_##argument

#ifdef SYSCALLS_ARE_SIMULATED // for the tests of a program: they provide what it calls
#define CALL(number, NAME, name, ...) int64_t sys_##name(EACH(SYSCALL_TYPE, __VA_ARGS__));
#else
#define SYSCALL_PICK(a, b, c, d, e, f, syscall, ...) syscall
#define CALL(number, NAME, name, ...)                                                              \
    static inline int64_t sys_##name(EACH(SYSCALL_TYPE, __VA_ARGS__)) {                            \
        return SYSCALL_PICK(__VA_ARGS__, syscall_6, syscall_5, syscall_4, syscall_3, syscall_2,    \
                            syscall_1, )(ABI_##NAME, EACH(SYSCALL_VALUE, __VA_ARGS__));            \
    }
#endif
#define HOT_CALL CALL
#include "include/calls.h"

// Ends the caller's own process.
_Noreturn static inline void sys_process_exit(uint32_t status) {
    for (;;)
        (void)sys_process_kill(0, status);
}

_Noreturn static inline void sys_thread_end(void) {
    for (;;)
        (void)sys_thread_exit();
}
