// SPDX-License-Identifier: Apache-2.0
// What the hostile processes stand on. A program of guests/wall is started by the supervisor in a
// VMM's place, with a VMM's handles (include/vmm.h). It is the mother of processes that attack: a
// fault ends a process, so each attack is the life of a child, and the mother looks at how it
// ended and whether all of its memory came back.
//
// Each program defines wall_main. Command line of its VM: `seed=N rounds=N`.
#pragma once

#include "include/vmm.h"
#include "runtime/dice.h"

extern const struct vmm_start *wall_start;
extern uint64_t wall_seed, wall_rounds;

void wall_main(void);
// The number behind `key=` on the command line, or `otherwise`.
uint64_t wall_number(const char *key, uint64_t otherwise);
bool wall_has(const char *word);

// A line of the VM's.
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Bytes as they are.
void wall_put(const char *text, size_t size);
// After the program itself has moved its console's out_head.
void wall_resume_lines(void);
// A message to the supervisor. False: there is no room for it.
bool wall_report(const struct vmm_message *message);
// Where the supervisor reads them: the program may write anything there.
struct vmm_reports *wall_reports(void);
// After it did: waits until the supervisor has read it all.
void wall_resume_reports(void);

// A check that fails says so in a line `FAIL file:line: what` and makes the program end with
// debug-exit 1; the first few are told.
void wall_check(bool is_good, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define CHECK(condition, ...) wall_check((condition), __FILE__, __LINE__, __VA_ARGS__)

// Ends the program if the call failed: for what only fails for want of memory.
uint32_t must(int64_t result, const char *what);

// The call page enters the kernel by SYSCALL, not by SYSENTER. Children may ask, too.
#define WALL_ENTER_AT (ABI_CALL_PAGE + 3)
static inline bool wall_enters_by_syscall(void) {
    return ((const uint8_t *)WALL_ENTER_AT)[1] == 0x05;
}

uint64_t wall_tsc(void);
uint64_t wall_ticks(uint64_t microseconds);
// For what comes by itself, however long the others want the CPUs before.
#define WALL_PATIENCE_US 60000000u
// Lets others run for so long.
void wall_nap(uint64_t microseconds);

// ---- memory -------------------------------------------------------------------------------------

struct area {
    uint32_t memory; // handle, with all rights
    uint8_t *at;     // where the program itself sees it
    uint64_t size;
};

struct area area_make(uint64_t size);

// ---- children -----------------------------------------------------------------------------------
//
// A child sees the program's code and constants where the program itself does, so that it can run
// any function of it that needs no variables; an area of its own at CHILD_OWN, where stacks may
// lie, too; and nothing else.

#define CHILD_OWN  0x2000000000ULL
#define CHILD_CODE 0x3000000000ULL

struct child {
    uint32_t quota; // its own; 0: none
    uint32_t process;
    uint32_t event; // signalled when it has ended
};

// `bytes`: of a quota of its own.
void child_open(struct child *child, uint64_t bytes);
void child_map(const struct child *child, const struct area *area, uint64_t address,
               uint32_t rights);
// The number of the handle's copy.
uint32_t child_give(const struct child *child, uint32_t handle, uint32_t rights);
// A thread that calls `entry` (a function, or an address) with `argument`.
void child_start(const struct child *child, uint64_t entry, uint64_t stack_top, uint64_t argument);
// Waits for its end. False: it goes on.
bool child_wait(const struct child *child, uint64_t microseconds,
                struct abi_process_status *status);
// Ends it, if that has to be, and checks that all its memory came back.
void child_close(struct child *child);
