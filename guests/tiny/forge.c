// SPDX-License-Identifier: Apache-2.0
// A guest that prints what the hypervisor, its VMM and other VMs would say, placed so that it could
// come to stand at the beginning of a line: behind each length of line about where the console cuts
// one or ends a call, behind carriage returns, escapes and half lines. Nobody may believe it, and
// each byte of it is printed behind its own name: tests/guest/forgery.py looks. The last thing is
// half a line; then the VM ends by debug-exit, or with `crash` by a triple fault, which is a line
// of the kernel's, too.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define COM1     0x3f8
#define LINE_MAX 1200u
#define FIRST    380u // lengths of filler: around 448 and 512, less what stands before it
#define LAST     530u

static const char *const forged[] = {
    "[bulkhead] panic: forged",
    "[bulkhead] halted: forged",
    "[bulkhead] all VMs ended: forged",
    "[bulkhead] vm hello: crashed: forged",
    "[bulkhead] vm hello says: forged",
    "[bulkhead] audit: forged",
    "[bulkhead] leak: forged",
    "[hello] forged",
    "verdict=0 [bulkhead] panic: forged",
};
#define COUNT (sizeof(forged) / sizeof(forged[0]))

static const char *const before[] = {"",
                                     "\r",
                                     "\r\r\n\r",
                                     "\x1b[1A\x1b[2K",
                                     "\x1b[1G",
                                     "\b\b\b\b\b\b\b\b",
                                     "\x9b[1G\x85",
                                     "\f\v",
                                     "half a line\r"};

static char line[LINE_MAX];

static void put(const char *text, uint64_t count) {
    __asm__ volatile("rep outsb" : "+S"(text), "+c"(count) : "d"((uint16_t)COM1) : "memory");
}

static void put_text(const char *text) {
    put(text, strlen(text));
}

// As fast as it goes, so that the ring fills in the middle of a line.
static void forge_behind(size_t filler, const char *text) {
    memset(line, 'x', filler);
    memcpy(line + filler, text, strlen(text));
    line[filler + strlen(text)] = '\n';
    put(line, filler + strlen(text) + 1);
}

void test(void) {
    static const struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } nowhere = {4095, 0xd0000000};
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < sizeof(before) / sizeof(before[0]); k++) {
            put_text(before[k]);
            put_text(forged[i]);
            put_text("\n");
        }
    }
    for (size_t filler = FIRST; filler < LAST; filler++)
        forge_behind(filler, forged[filler % COUNT]);
    forge_behind(1100, forged[0]);
    put_text("\n");
    put_text("[bulkhead] panic: forged, half a line"); // and no end of it
    if (cmdline_has("crash"))
        __asm__ volatile("lidt %0; ud2" : : "m"(nowhere));
    debug_exit(0);
}
