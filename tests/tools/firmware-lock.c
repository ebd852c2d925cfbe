// SPDX-License-Identifier: Apache-2.0
// firmware-lock.so: a firmware that locks VT-x off, for `scripts/run --firmware-lock`.
//
// With its fw_cfg device, Bochs 3.1 plays the firmware itself in one point: at a reset it sets the
// lock bit of IA32_FEATURE_CONTROL together with the one that permits VMXON. No software can take
// that back, and no option of Bochs changes it. So this library, preloaded into the emulator,
// changes the one instruction of BX_CPU_C::allowVmxForFirmware(), an exported function, so that it
// sets the lock bit only: VMXON then faults on every processor, SDM 3C 24.7 "Enabling and Entering
// VMX Operation".
//
// One line on stderr tells that it is done. Where the instruction is not found exactly once, the
// emulator is ended. In a process that is not Bochs (its wrapper's shell) the library does nothing.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define RESET     "_ZN8BX_CPU_C5resetEj"                // BX_CPU_C::reset(unsigned): tells a Bochs
#define ALLOW_VMX "_ZN8BX_CPU_C19allowVmxForFirmwareEv" // BX_CPU_C::allowVmxForFirmware()

#define LOCK              0x1
#define VMXON_OUTSIDE_SMX 0x4

#define EXIT_NOT_FOUND 70

// `orl $5, disp32(reg)`: opcode, ModRM with mod = 2 and reg field = 1 (OR), disp32, imm8.
#define OR_LENGTH     7
#define OR_OPCODE     0x83
#define OR_MODRM_MASK 0xf8
#define OR_MODRM      0x88
#define OR_IMMEDIATE  6

static int is_wanted(const uint8_t *code) {
    return code[0] == OR_OPCODE && (code[1] & OR_MODRM_MASK) == OR_MODRM &&
           code[OR_IMMEDIATE] == (LOCK | VMXON_OUTSIDE_SMX);
}

static void replace(uint8_t *byte, uint8_t value) {
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)byte & ~(page_size - 1));
    if (mprotect(page, page_size, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        _exit(EXIT_NOT_FOUND);
    *byte = value;
    mprotect(page, page_size, PROT_READ | PROT_EXEC);
}

__attribute__((constructor)) static void lock_off(void) {
    uint8_t *allow = dlsym(RTLD_DEFAULT, ALLOW_VMX), *found = NULL;
    ElfW(Sym) * symbol;
    Dl_info info;
    int count = 0;

    if (!dlsym(RTLD_DEFAULT, RESET))
        return;
    if (allow && dladdr1(allow, &info, (void **)&symbol, RTLD_DL_SYMENT) != 0) {
        for (size_t i = 0; i + OR_LENGTH <= symbol->st_size; i++) {
            if (is_wanted(allow + i)) {
                found = allow + i;
                count++;
            }
        }
    }
    if (count != 1) {
        fprintf(stderr, "firmware-lock: not this build of Bochs: %d places found\n", count);
        _exit(EXIT_NOT_FOUND);
    }
    replace(found + OR_IMMEDIATE, LOCK);
    fprintf(stderr, "firmware-lock: VT-x is locked off\n");
}
