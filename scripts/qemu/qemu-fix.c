// SPDX-License-Identifier: Apache-2.0
//
// qemu-fix.so: three faults of QEMU's AMD-V: the first two it has from 7.2 to 10.0 at least, the
// third is mended in 7.2 alone. Preloaded into a QEMU that emulates the CPU.
//
// - Another CPU's flags are spoilt. An instruction that loads the x87 state (XRSTOR, FXRSTOR,
//   FLDENV) clears a flag in a word of the first CPU, without a lock, whichever CPU executes it. In
//   the same word that CPU keeps whether a guest runs on nested page tables, and GIF: either is
//   lost when both write at once. Then the guest's CR3 is taken for one of the host's, and the
//   guest ends by a triple fault; or the CPU takes no interrupts any more. The flag (IGNNE) is set
//   by a port that nobody here writes, so the function that clears it only returns now.
// - An injected interrupt comes twice. VMRUN leaves its vector where the emulator notes exceptions
//   to be delivered; when it looks there before the guest's next exit, the vector is delivered once
//   more. Now the note is taken back when an interrupt was delivered.
// - A guest that writes CR8 while its hypervisor has a virtual interrupt pending ends the emulator
//   with a failed assertion, since a lock is not held (OVMF does so at the end of each interrupt).
//   Here that function takes the lock first. It lies in a module, which finds ours before its own.
//
// Each is left alone where the emulator does not look as it is known. With BULKHEAD_FIX=say a line
// on stderr says which it was.
#define _GNU_SOURCE
#include "scripts/bochs/patch.h"

#include <dlfcn.h>
#include <err.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>

struct CPUState;
bool qemu_mutex_iothread_locked(void) __attribute__((weak));
void qemu_mutex_lock_iothread_impl(const char *file, int line) __attribute__((weak));
void qemu_mutex_unlock_iothread(void) __attribute__((weak));
void tcg_handle_interrupt(struct CPUState *cpu, int mask);

// ---- the first CPU's flags ----------------------------------------------------------------------

#define ENDBR         4  // bytes of ENDBR64, with which functions of some builds begin
#define SEARCH_LENGTH 64 // bytes of a function in which what we look for must stand

// andl $~0x80,hflags2(%reg): HF2_IGNNE_MASK.
static const uint8_t clear[10] = {0x81, 0xa0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff};
static const uint8_t clear_any[10] = {0, 0x07, 0xff, 0xff, 0xff, 0xff};

static bool mend_flags(void) {
    static const uint8_t return_at_once[] = {0xc3};
    uint8_t *function = dlsym(RTLD_DEFAULT, "cpu_clear_ignne");
    return function != NULL &&
           find_code(function, SEARCH_LENGTH, clear, clear_any, sizeof(clear)) != NULL &&
           install_code(function, return_at_once, sizeof(return_at_once));
}

// ---- interrupts that come twice -----------------------------------------------------------------

// do_interrupt_x86_hardirq: the CPU's object begins before its registers; then to
// do_interrupt_all(cpu, vector, 0, 0, 0, is_hw).
struct __attribute__((packed)) hardirq {
    uint8_t is_hw[3]; // mov %edx,%r9d
    uint8_t back[3];  // sub $distance,%rdi
    int32_t distance;
    uint8_t zeroes[7]; // xor %r8d,%r8d; xor %ecx,%ecx; xor %edx,%edx
    uint8_t jump;
    int32_t all;
};
static const struct hardirq known_hardirq = {
    {0x41, 0x89, 0xd1}, {0x48, 0x81, 0xef}, 0, {0x45, 0x31, 0xc0, 0x31, 0xc9, 0x31, 0xd2}, 0xe9, 0};
static const struct hardirq hardirq_any = {.distance = -1, .all = -1};

// cpu_loop_exit_noexc: movl $-1,exception_index(%rdi).
struct __attribute__((packed)) forget {
    uint8_t move[2];
    int32_t exception_index;
    int32_t none;
};
static const struct forget known_forget = {{0xc7, 0x87}, 0, -1};
static const struct forget forget_any = {.exception_index = -1};

typedef void interrupt_all(uint8_t *cpu, int vector, int is_int, int error, uint64_t rip,
                           int is_hw);

static interrupt_all *deliver;
static int32_t distance, exception_index;

static void deliver_once(uint8_t *env, int vector, int is_hw) {
    const int32_t none = -1;
    deliver(env - distance, vector, 0, 0, 0, is_hw);
    memcpy(env - distance + exception_index, &none, sizeof(none));
}

static bool mend_delivery(void) {
    uint8_t *function = dlsym(RTLD_DEFAULT, "do_interrupt_x86_hardirq");
    const uint8_t *leave = dlsym(RTLD_DEFAULT, "cpu_loop_exit_noexc");
    void *all = dlsym(RTLD_DEFAULT, "do_interrupt_all");
    if (function == NULL || leave == NULL || all == NULL)
        return false;
    const struct hardirq *known = find_code(function, ENDBR + sizeof(*known), &known_hardirq,
                                            &hardirq_any, sizeof(known_hardirq));
    const struct forget *forget =
        find_code(leave, SEARCH_LENGTH, &known_forget, &forget_any, sizeof(known_forget));
    if (known == NULL || forget == NULL || (const uint8_t *)(known + 1) + known->all != all)
        return false;
    memcpy(&deliver, &all, sizeof(deliver));
    distance = known->distance;
    exception_index = forget->exception_index;
    const struct jump there = make_jump((const void *)deliver_once);
    return install_code(function, &there, sizeof(there));
}

// ---- the lock that is not held ------------------------------------------------------------------

typedef void handle_interrupt(struct CPUState *cpu, int mask);

static int find_module(struct dl_phdr_info *info, size_t size, void *found) {
    (void)size;
    if (strstr(info->dlpi_name, "/accel-tcg-x86_64.so") == NULL)
        return 0;
    void *module = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    *(void **)found = module != NULL ? dlsym(module, "tcg_handle_interrupt") : NULL;
    return 1;
}

// A QEMU without such a module never calls ours.
void tcg_handle_interrupt(struct CPUState *cpu, int mask) {
    static handle_interrupt *original;
    handle_interrupt *handle = __atomic_load_n(&original, __ATOMIC_RELAXED);
    if (handle == NULL) {
        dl_iterate_phdr(find_module, &handle);
        if (handle == NULL)
            errx(1, "qemu-fix: QEMU's tcg_handle_interrupt is missing");
        __atomic_store_n(&original, handle, __ATOMIC_RELAXED);
    }
    bool is_locked = qemu_mutex_iothread_locked == NULL || qemu_mutex_iothread_locked();
    if (!is_locked)
        qemu_mutex_lock_iothread_impl(__FILE__, __LINE__);
    handle(cpu, mask);
    if (!is_locked)
        qemu_mutex_unlock_iothread();
}

__attribute__((constructor)) static void fix(void) {
    bool has_flags = mend_flags(), has_delivery = mend_delivery();
    const char *word = getenv("BULKHEAD_FIX");
    if (word == NULL || strcmp(word, "say") != 0)
        return;
    fprintf(stderr, "qemu-fix: the first CPU's flags are %s\n",
            has_flags ? "its own now" : "left alone: not the emulator that it knows");
    fprintf(stderr, "qemu-fix: interrupts are %s\n",
            has_delivery ? "injected once now" : "left alone: not the emulator that it knows");
}
