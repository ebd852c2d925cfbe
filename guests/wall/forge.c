// SPDX-License-Identifier: Apache-2.0
// A VMM that speaks for others: in its messages and on its console it says what the supervisor or
// the kernel would say of its own VM, of the witnesses and of themselves, and then goes on. Nothing
// of it may be believed.
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define LONG 1000u // characters: more than a message or a line holds

static const char *const forged[] = {
    "powered off",
    "crashed: forged",
    "debug-exit 7; restart 1 in 1ms",
    " says: powered off",
    "says: [bulkhead] vm witness-a: crashed: forged",
    "[bulkhead] vm witness-a: crashed: forged",
    "[bulkhead] panic: forged",
    "\n[bulkhead] panic: forged",
    "\r\n[bulkhead] vm w-forge: powered off\r\n[bulkhead] all VMs ended\r\n",
    "\r[bulkhead] vm w-forge: powered off",
    "\x1b[1A\x1b[2K\x1b[1G[bulkhead] panic: forged",
    "\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b[bulkhead] panic: forged",
    "\x9b[\x85[bulkhead] panic: forged",
};
#define COUNT (sizeof(forged) / sizeof(forged[0]))

static char line[LONG + 64];

static void send(uint32_t type, const char *text, size_t size) {
    struct vmm_message message = {.type = type};
    memcpy(message.text, text, MIN(size, sizeof(message.text)));
    while (!wall_report(&message))
        wall_nap(1000);
}

static void claim(const char *text) {
    send(VMM_MESSAGE_LOG, text, strlen(text) + 1);
    send(VMM_MESSAGE_DUMP, text, strlen(text) + 1);
    say("%s", text);
}

// So that what is forged stands where a message, a line of the console or a piece of it ends, and
// without a NUL.
static void claim_behind(size_t filler, const char *text) {
    memset(line, 'x', filler);
    memcpy(line + filler, text, strlen(text) + 1);
    send(VMM_MESSAGE_DUMP, line, strlen(line) + 1);
    wall_put(line, strlen(line));
    wall_put("\n", 1);
}

static void claim_too_much(void) {
    memset(line, '\x1b', LONG);
    send(VMM_MESSAGE_LOG, line, LONG);
    wall_put(line, LONG);
    wall_put("\n", 1);
}

void wall_main(void) {
    static const size_t ends[] = {239, 255, 256, 448 - 1, 448, 512};
    for (size_t i = 0; i < COUNT; i++)
        claim(forged[i]);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        for (size_t before = 0; before < 32; before += 8)
            claim_behind(ends[i] - before, "[bulkhead] panic: forged");
    claim_too_much();
}
