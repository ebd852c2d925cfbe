// SPDX-License-Identifier: Apache-2.0
// What a tiny guest has: a guest is one file with a function `test`, called once; it checks its
// property with CHECK and CHECK_EQ. When it returns the runtime prints `PASS: N checks` and leaves
// with debug-exit 0, or, when a check failed, `FAILED: ...` and debug-exit 1. Each failed check is
// a line `FAIL file:line: what`.
//
// Started as the 64-bit Linux boot protocol says: the first 4 GiB mapped identically, on processor
// 0 with interrupts off. The runtime has a GDT, TSS and IDT of its own (trap.h) before `test` runs.
#pragma once

#include "lib/types.h"

// Each guest's own.
void test(void);

// At most 4095 characters; the rest is left out.
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(condition) check((condition), __FILE_NAME__, __LINE__, #condition)
#define CHECK_EQ(got, want)                                                                        \
    check_equal((uint64_t)(got), (uint64_t)(want), __FILE_NAME__, __LINE__, #got)
// The instruction before was TRY'ed (trap.h) and raised this exception, or none.
#define CHECK_FAULT(vector, error) check_fault((vector), (error), __FILE_NAME__, __LINE__)
#define CHECK_NO_FAULT()           check_no_fault(__FILE_NAME__, __LINE__)

void check(bool is_true, const char *file, int line, const char *what);
void check_equal(uint64_t got, uint64_t want, const char *file, int line, const char *what);
void check_fault(uint8_t vector, uint32_t error, const char *file, int line);
void check_no_fault(const char *file, int line);

// Ends the VM with debug-exit `code`.
_Noreturn void debug_exit(uint8_t code);
// Says how many checks passed, and ends the VM.
_Noreturn void finish(void);

// The zero page: offsets of Linux, arch/x86/include/uapi/asm/bootparam.h.
#define BOOT_RSDP          0x070u
#define BOOT_E820_ENTRIES  0x1e8u
#define BOOT_MAGIC         0x202u
#define BOOT_LOADER_TYPE   0x210u
#define BOOT_RAMDISK_IMAGE 0x218u
#define BOOT_RAMDISK_SIZE  0x21cu
#define BOOT_CMDLINE       0x228u
#define BOOT_E820_TABLE    0x2d0u

extern const uint8_t *boot_params;
uint64_t boot_field(uint32_t offset, uint32_t size);

struct __attribute__((packed)) e820 {
    uint64_t base;
    uint64_t size;
    uint32_t type;
};
#define E820_RAM 1u
size_t e820_count(void);
struct e820 e820_entry(size_t index);
// The end of RAM below 4 GiB.
uint64_t low_ram_end(void);

// The kernel command line; whether it has a word; the number behind `name=`, or 0.
const char *boot_cmdline(void);
bool cmdline_has(const char *word);
uint64_t cmdline_number(const char *name);

// First byte behind this guest's image.
extern uint8_t image_end[];

// Ticks of the TSC in a second, from CPUID.
uint64_t tsc_hz(void);
// Spins, interrupts as they are, until *counter has reached `count` or so many seconds of TSC time
// are over. Others may run in between, for seconds: patience ends only where something is broken.
#define PATIENCE_S 60u
bool wait_for(const volatile uint32_t *counter, uint32_t count, uint32_t seconds);
void wait_us(uint64_t us);
