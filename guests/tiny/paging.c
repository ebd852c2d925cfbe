// SPDX-License-Identifier: Apache-2.0
// The guest's own page tables: error codes and CR2 of page faults, accessed and dirty bits, write
// protection, no-execute, reserved bits, ring 3, SMEP and SMAP where CPUID shows them.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define PDPT     0xa000ULL // the loader's
#define P        1ULL
#define RW       2ULL
#define US       4ULL
#define ACCESSED BIT(5)
#define DIRTY    BIT(6)
#define NX       BIT(63)
#define RESERVED BIT(51) // beyond the physical address width, which is below 52

#define E_PRESENT  1u
#define E_WRITE    2u
#define E_USER     4u
#define E_RESERVED 8u
#define E_FETCH    16u

#define L7_EBX_SMEP BIT(7)
#define L7_EBX_SMAP BIT(20)
#define L7_ECX_UMIP BIT(2)

#define BASE  0x100000000ULL // what this test maps: 512 pages behind the identical map
#define PAGE  BASE           // one page, whose entry is entries[0]
#define STACK (BASE + 0x1000)
#define OTHER (BASE + 0x2000)

static volatile uint64_t directory[512] __attribute__((aligned(4096)));
static volatile uint64_t entries[512] __attribute__((aligned(4096)));
static uint8_t frame[4096] __attribute__((aligned(4096)));
static uint8_t stack_frame[4096] __attribute__((aligned(4096)));

static void map(uint64_t flags) {
    entries[0] = (uintptr_t)frame | flags;
    invlpg(PAGE);
}

static void try_read(uint64_t address) {
    __asm__ volatile(TRY("movb (%0), %%al") : : "r"(address) : "rax", TRY_CLOBBERS);
}
static void try_write(uint64_t address) {
    __asm__ volatile(TRY("movb %%al, (%0)") : : "r"(address) : TRY_CLOBBERS);
}
// The page must begin with RET.
static void try_call(uint64_t address) {
    __asm__ volatile("mov %%rsp, %%rbx\n\t" TRY("call *%0") "mov %%rbx, %%rsp"
                     :
                     : "r"(address)
                     : "rbx", TRY_CLOBBERS);
}

static void check_page_fault(uint32_t error) {
    CHECK_FAULT(EXC_PF, error);
    CHECK_EQ(trap_last.cr2, PAGE);
}

static void set_up(void) {
    memset(frame, 0xc3, sizeof(frame)); // RET
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    write_cr0(read_cr0() | CR0_WP);
    directory[0] = (uintptr_t)entries | P | RW | US;
    ((volatile uint64_t *)PDPT)[BASE / SIZE_1G] = (uintptr_t)directory | P | RW | US;
    ((volatile uint64_t *)(PDPT - PAGE_SIZE))[0] |= US;
    entries[1] = (uintptr_t)stack_frame | P | RW | US;
    write_cr3(read_cr3());
}

static void check_kernel_faults(void) {
    map(0);
    try_read(PAGE);
    check_page_fault(0);
    try_write(PAGE);
    check_page_fault(E_WRITE);
    try_call(PAGE);
    check_page_fault(E_FETCH);
    map(P);
    try_read(PAGE);
    CHECK_NO_FAULT();
    try_write(PAGE);
    check_page_fault(E_PRESENT | E_WRITE);
    try_call(PAGE);
    CHECK_NO_FAULT();
    map(P | RW | NX);
    try_write(PAGE);
    CHECK_NO_FAULT();
    try_call(PAGE);
    check_page_fault(E_PRESENT | E_FETCH);
    frame[0] = 0xc3;
    map(P | RW | RESERVED);
    try_read(PAGE);
    check_page_fault(E_PRESENT | E_RESERVED);
    write_cr0(read_cr0() & ~CR0_WP);
    map(P);
    try_write(PAGE);
    CHECK_NO_FAULT();
    write_cr0(read_cr0() | CR0_WP);
    frame[0] = 0xc3;
}

static void check_accessed_dirty(void) {
    map(P | RW);
    CHECK_EQ(entries[0] & (ACCESSED | DIRTY), 0);
    try_read(PAGE);
    CHECK_EQ(entries[0] & (ACCESSED | DIRTY), ACCESSED);
    try_write(PAGE);
    CHECK_EQ(entries[0] & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    frame[0] = 0xc3;
}

static void check_non_canonical(void) {
    try_read(0x800000000000ULL);
    CHECK_FAULT(EXC_GP, 0);
}

// Code that ring 3 runs, copied to where it may.
static void user_code(const char *bytes, size_t size) {
    memcpy(frame, bytes, size);
    user_run(PAGE, STACK + PAGE_SIZE, RFLAGS_ONE);
}
#define USER(bytes) user_code(bytes, sizeof(bytes) - 1)

static void check_user(void) {
    map(P | US);
    USER("\xf4"); // HLT
    CHECK_FAULT(EXC_GP, 0);
    CHECK_EQ(trap_last.rip, PAGE);
    USER("\xcd\x60"); // INT 0x60: its gate is ring 0's
    CHECK_FAULT(EXC_GP, 0x60 * 8 + 2);
    USER("\xa0\x00\x20\x00\x00\x01\x00\x00\x00"); // MOV AL, [OTHER]
    CHECK_FAULT(EXC_PF, E_USER);
    CHECK_EQ(trap_last.cr2, OTHER);
    entries[2] = (uintptr_t)stack_frame | P | RW;
    USER("\xa2\x00\x20\x00\x00\x01\x00\x00\x00"); // MOV [OTHER], AL
    CHECK_FAULT(EXC_PF, E_PRESENT | E_WRITE | E_USER);
    USER("\xe4\x80"); // IN AL, 0x80: the TSS has no map
    CHECK_FAULT(EXC_GP, 0);
    USER("\x0f\x32"); // RDMSR
    CHECK_FAULT(EXC_GP, 0);
    if (is_amd())
        USER("\x0f\x01\xd9\x0f\x0b"); // VMMCALL, which answers, then UD2
    else
        USER("\x0f\x01\xc1\x0f\x0b"); // VMCALL
    CHECK_FAULT(EXC_UD, 0);
    CHECK_EQ(trap_last.rip, PAGE + 3);
    USER("\x0f\xa2\x0f\x0b"); // CPUID, then UD2
    CHECK_FAULT(EXC_UD, 0);
    CHECK_EQ(trap_last.rip, PAGE + 2);
    map(P);
    user_run(PAGE, STACK + PAGE_SIZE, RFLAGS_ONE);
    CHECK_FAULT(EXC_PF, E_PRESENT | E_USER | E_FETCH);
}

static void check_umip(void) {
    if (!(cpuid(7, 0).ecx & L7_ECX_UMIP))
        return;
    write_cr4(read_cr4() | CR4_UMIP);
    map(P | US);
    USER("\x0f\x01\xe0"); // SMSW EAX
    CHECK_FAULT(EXC_GP, 0);
    write_cr4(read_cr4() & ~CR4_UMIP);
}

static void check_smep_smap(void) {
    uint32_t features = cpuid(7, 0).ebx;
    frame[0] = 0xc3;
    map(P | RW | US);
    if (features & L7_EBX_SMEP) {
        write_cr4(read_cr4() | CR4_SMEP);
        try_call(PAGE);
        check_page_fault(E_PRESENT | E_FETCH);
        write_cr4(read_cr4() & ~CR4_SMEP);
    }
    if (features & L7_EBX_SMAP) {
        write_cr4(read_cr4() | CR4_SMAP);
        try_read(PAGE);
        check_page_fault(E_PRESENT);
        __asm__ volatile("stac");
        try_read(PAGE);
        CHECK_NO_FAULT();
        __asm__ volatile("clac");
        write_cr4(read_cr4() & ~CR4_SMAP);
    }
    try_call(PAGE);
    CHECK_NO_FAULT();
}

// The error code of a fetch has E_FETCH with NXE or SMEP only; NXE is on throughout.
void test(void) {
    set_up();
    check_kernel_faults();
    check_accessed_dirty();
    check_non_canonical();
    check_user();
    check_umip();
    check_smep_smap();
}
