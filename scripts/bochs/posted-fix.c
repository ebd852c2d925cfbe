// SPDX-License-Identifier: Apache-2.0
//
// posted-fix.so: mends posted interrupts that bring nothing.
//
// A notification may find no request in its descriptor, since a hypervisor has taken them before it came.
// Then the processor leaves RVI, the vector that it delivers next, as it was (SDM 3C 30.6 "Posted-Interrupt
// Processing"). Bochs 3.1 sets RVI to the highest vector of the virtual IRR, which is -1 when there is none,
// cut to a byte: the guest gets an interrupt 255 that nobody sent. Seen with several virtual CPUs that send each
// other interrupts.
//
// This library puts a test for -1 before that comparison. It does nothing where the function does not look as it
// knows it. One line on stderr says which it was.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define POSTED_PROCESSING "_ZN8BX_CPU_C31VMX_Posted_Interrupt_ProcessingEh"
#define SEARCH_LENGTH     1024 // bytes of it in which the comparison must stand

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

struct __attribute__((packed)) jump {
    uint8_t opcode[6]; // jmp *0(%rip)
    uint64_t target;
};
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

static struct jump make_jump(const void *target) {
    return (struct jump){{0xff, 0x25, 0, 0, 0, 0}, (uintptr_t)target};
}

static bool install(struct comparison *at) {
    const uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint8_t *page = (uint8_t *)((uintptr_t)at & ~(page_size - 1));
    const size_t length = (size_t)((uint8_t *)(at + 1) - page);
    struct detour *detour =
        mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (detour == MAP_FAILED || mprotect(page, length, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        return false;
    *detour = (struct detour){.test = {0x85, 0xc0, 0x78, sizeof(struct comparison)},
                              .comparison = *at,
                              .back = make_jump(at + 1)};
    const struct jump there = make_jump(detour);
    memcpy(at, &there, sizeof(there));
    return mprotect(page, length, PROT_READ | PROT_EXEC) == 0 &&
           mprotect(detour, page_size, PROT_READ | PROT_EXEC) == 0;
}

__attribute__((constructor)) static void fix(void) {
    uint8_t *processing = dlsym(RTLD_DEFAULT, POSTED_PROCESSING);
    struct comparison *at = processing != NULL ? find_comparison(processing) : NULL;

    if (at == NULL)
        fprintf(stderr, "posted-fix: not the emulator that it knows, left alone\n");
    else if (install(at))
        fprintf(stderr, "posted-fix: a posted interrupt that brings nothing brings nothing now\n");
    else
        fprintf(stderr, "posted-fix: the emulator could not be changed\n");
}
