// SPDX-License-Identifier: Apache-2.0
// All modes of a processor, in one trip from long mode and back: compatibility mode, protected mode
// without paging, PAE paging, 32-bit paging with 4 MiB pages, real mode with its interrupts. In
// each, exits of several kinds (CPUID, a port, a device's register), and that memory is what the
// mode's page tables say. With PAE paging, also a MOV to CR4 that has bad tables loaded.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define LOW    0x20000u // where the trip's code runs: real mode reaches no higher than 1 MiB
#define MARKER 0x5ca1ab1eu
#define WINDOW 0xc0000000u // shows the first 2 or 4 MiB once more
#define IOAPIC 0xfec00000u

#define PRESENT_WRITE 3u
#define LARGE         0x80u

// What the trip wrote on its way, one word a step: MARKER when all was right, else what was seen.
struct steps {
    uint32_t compatibility, protected, pae, pae_after_exit, pae_device, pse, pse_device, real,
        real_interrupt, back, cr4_fault, cr4_kept, cr4_no_fault, cr4_taken, cr4_memory;
};

static volatile struct steps *const steps = (struct steps *)0x1f000;
static volatile uint64_t pdpt[4] __attribute__((aligned(32)));
static volatile uint64_t directory_low[512] __attribute__((aligned(4096)));
static volatile uint64_t directory_window[512] __attribute__((aligned(4096)));
static volatile uint32_t directory_32[1024] __attribute__((aligned(4096)));

extern const uint8_t trip_begin[], trip_end[], trip_fault[];

// Parameters of the trip, for its 32-bit code. In low memory.
struct trip {
    uint32_t cr3_long, cr3_pae, cr3_32, rsp;
    uint16_t gdt_limit;
    uint64_t gdt_base;
    uint16_t ivt_limit;
    uint32_t ivt_base;
    uint64_t gdt[8];
    uint16_t idt_limit;
    uint32_t idt_base;
    uint64_t idt[14]; // up to #GP
} __attribute__((packed));
_Static_assert(offsetof(struct trip, ivt_limit) == 26, "the trip's code knows it");
_Static_assert(offsetof(struct trip, idt_limit) == 96, "and this");
static volatile struct trip *const trip = (struct trip *)0x1e000;

__asm__(".set LOW, 0x20000\n"
        ".set STEPS, 0x1f000\n"
        ".set TRIP, 0x1e000\n"
        ".set MARKER, 0x5ca1ab1e\n"
        ".section .text\n"
        ".balign 16\n"
        "trip_begin:\n"
        ".code64\n"
        // The caller's state, then into a 32-bit segment.
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, %rax\n"
        "    mov %eax, TRIP + 12\n"
        "    sgdt LOW + trip_gdt_saved - trip_begin\n"
        "    sidt LOW + trip_idt_saved - trip_begin\n"
        "    lgdt TRIP + 16\n"
        "    mov $0x2f000, %esp\n"
        "    push $0x18\n"
        "    push $(LOW + in_compatibility - trip_begin)\n"
        "    lretq\n"
        ".code32\n"
        "in_compatibility:\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    xor %eax, %eax; cpuid\n"
        "    xor %eax, %eax; out %al, $0x80\n"
        "    movl $MARKER, STEPS + 0\n"
        // Paging off, long mode off.
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        "    mov $0xc0000080, %ecx; rdmsr; and $~0x100, %eax; wrmsr\n"
        "    xor %eax, %eax; cpuid\n"
        "    xor %eax, %eax; out %al, $0x80\n"
        "    mov %cr0, %eax; test $0x80000000, %eax; jnz 1f\n"
        "    mov $0xc0000080, %ecx; rdmsr; test $0x500, %eax; jnz 1f\n"
        "    movl $MARKER, STEPS + 4\n"
        "1:\n"
        // PAE paging: the processor loads four entries from memory with this MOV to CR0.
        "    mov TRIP + 4, %eax; mov %eax, %cr3\n"
        "    mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
        "    mov 0xc0000000 + STEPS, %eax; mov %eax, STEPS + 8\n"
        "    xor %eax, %eax; cpuid\n"
        "    xor %eax, %eax; out %al, $0x80\n"
        "    mov 0xc0000000 + STEPS, %eax; mov %eax, STEPS + 12\n"
        "    movl $1, 0xfec00000; mov 0xfec00010, %eax; mov %eax, STEPS + 16\n"
        // MCE and PGE change at once, with a reserved bit in an entry: #GP, and nothing changed.
        // Then without it.
        "    lidt TRIP + 96\n"
        "    mov TRIP + 4, %ebx\n"
        "    mov %cr4, %edi\n"
        "    mov %edi, %eax; xor $0xc0, %eax\n"
        "    movl $3, 8(%ebx)\n"
        "    xor %edx, %edx; mov $(LOW + cr4_refused - trip_begin), %esi\n"
        "    mov %eax, %cr4\n"
        "cr4_refused:\n"
        "    mov %edx, STEPS + 40\n"
        "    mov %cr4, %ecx; xor %edi, %ecx; add $MARKER, %ecx; mov %ecx, STEPS + 44\n"
        "    movl $0, 8(%ebx)\n"
        "    mov $MARKER, %edx; mov $(LOW + cr4_taken - trip_begin), %esi\n"
        "    mov %eax, %cr4\n"
        "    mov %edx, STEPS + 48\n"
        "cr4_taken:\n"
        "    mov %cr4, %ecx; xor %eax, %ecx; add $MARKER, %ecx; mov %ecx, STEPS + 52\n"
        "    mov 0xc0000000 + STEPS, %ecx; mov %ecx, STEPS + 56\n"
        "    mov %edi, %cr4\n"
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        // 32-bit paging with large pages.
        "    mov %cr4, %eax; and $~0x20, %eax; or $0x10, %eax; mov %eax, %cr4\n"
        "    mov TRIP + 8, %eax; mov %eax, %cr3\n"
        "    mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
        "    mov 0xc0000000 + STEPS, %eax; mov %eax, STEPS + 20\n"
        "    movl $1, 0xfec00000; mov 0xfec00010, %eax; mov %eax, STEPS + 24\n"
        "    mov %cr0, %eax; and $0x7fffffff, %eax; mov %eax, %cr0\n"
        // Real mode, through 16-bit segments.
        "    lidt TRIP + 26\n"
        "    ljmp $0x20, $(in_16bit - trip_begin)\n"
        ".code16\n"
        "in_16bit:\n"
        "    mov $0x28, %ax; mov %ax, %ds; mov %ax, %es; mov %ax, %ss\n"
        "    mov %cr0, %eax; and $~1, %eax; mov %eax, %cr0\n"
        "    ljmp $(LOW >> 4), $(in_real - trip_begin)\n"
        "in_real:\n"
        "    mov $0x1f00, %ax; mov %ax, %ds; xor %ax, %ax; mov %ax, %es\n"
        "    mov $0x2000, %ax; mov %ax, %ss; mov $0xe000, %sp\n"
        "    movw $(in_interrupt - trip_begin), %es:0x61*4; movw $(LOW >> 4), %es:0x61*4 + 2\n"
        "    xor %eax, %eax; cpuid\n"
        "    xor %eax, %eax; out %al, $0x80\n"
        "    movl $MARKER, 28\n"
        "    int $0x61\n"
        // And back: protected, then long.
        "    mov %cr0, %eax; or $1, %eax; mov %eax, %cr0\n"
        "    ljmpl $0x18, $(LOW + in_protected - trip_begin)\n"
        "in_interrupt:\n"
        "    xor %eax, %eax; cpuid\n"
        "    movl $MARKER, 32\n"
        "    iret\n"
        ".code32\n"
        "trip_fault:\n" // goes on at ESI
        "    pop %edx; add $MARKER, %edx; mov %esi, (%esp); iret\n"
        "in_protected:\n"
        "    mov $0x10, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    mov %cr4, %eax; and $~0x10, %eax; or $0x20, %eax; mov %eax, %cr4\n"
        "    mov TRIP + 0, %eax; mov %eax, %cr3\n"
        "    mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr\n"
        "    mov %cr0, %eax; or $0x80000000, %eax; mov %eax, %cr0\n"
        "    ljmp $0x08, $(LOW + in_long - trip_begin)\n"
        ".code64\n"
        "in_long:\n"
        "    mov TRIP + 12, %esp\n"
        "    lgdt LOW + trip_gdt_saved - trip_begin\n"
        "    lidt LOW + trip_idt_saved - trip_begin\n"
        "    mov $0x18, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    pop %rax\n"
        "    push $0x10\n"
        "    push %rax\n"
        "    movl $MARKER, STEPS + 36\n"
        "    lretq\n"
        "trip_gdt_saved: .skip 10\n"
        "trip_idt_saved: .skip 10\n"
        "trip_end:\n"
        ".text\n");

static void map_windows(void) {
    pdpt[0] = (uintptr_t)directory_low | 1;
    pdpt[3] = (uintptr_t)directory_window | 1;
    for (uint32_t i = 0; i < 8; i++)
        directory_low[i] = (uint64_t)i << 21 | LARGE | PRESENT_WRITE;
    directory_window[0] = LARGE | PRESENT_WRITE;
    directory_window[(IOAPIC - WINDOW) >> 21] = IOAPIC | LARGE | PRESENT_WRITE;
    for (uint32_t i = 0; i < 4; i++)
        directory_32[i] = i << 22 | LARGE | PRESENT_WRITE;
    directory_32[WINDOW >> 22] = LARGE | PRESENT_WRITE;
    directory_32[IOAPIC >> 22] = (IOAPIC & 0xffc00000u) | LARGE | PRESENT_WRITE;
}

static void prepare(void) {
    memset((void *)(uintptr_t)steps, 0, sizeof(*steps));
    memcpy((void *)(uintptr_t)LOW, trip_begin, (size_t)(trip_end - trip_begin));
    trip->gdt[1] = 0x00af9b000000ffffULL; // 0x08: 64-bit code
    trip->gdt[2] = 0x00cf93000000ffffULL; // 0x10: data, 4 GiB
    trip->gdt[3] = 0x00cf9b000000ffffULL; // 0x18: 32-bit code
    trip->gdt[4] = 0x00009b020000ffffULL; // 0x20: 16-bit code at LOW
    trip->gdt[5] = 0x000093000000ffffULL; // 0x28: 16-bit data
    trip->gdt_limit = sizeof(trip->gdt) - 1;
    trip->gdt_base = (uintptr_t)trip + offsetof(struct trip, gdt);
    uint32_t fault = LOW + (uint32_t)(trip_fault - trip_begin);
    trip->idt[13] = (fault & 0xffff) | 0x18u << 16 | (fault & 0xffff0000ULL) << 32 | 0x8eULL << 40;
    trip->idt_limit = sizeof(trip->idt) - 1;
    trip->idt_base = (uint32_t)(uintptr_t)trip + offsetof(struct trip, idt);
    trip->ivt_limit = 0x3ff;
    trip->ivt_base = 0;
    trip->cr3_long = (uint32_t)read_cr3();
    trip->cr3_pae = (uint32_t)(uintptr_t)pdpt;
    trip->cr3_32 = (uint32_t)(uintptr_t)directory_32;
    map_windows();
}

void test(void) {
    uint64_t cr0 = read_cr0(), cr4 = read_cr4(), efer = rdmsr(MSR_EFER);
    uint32_t version;
    prepare();
    ((void (*)(void))(uintptr_t)LOW)();
    version = steps->pae_device;
    CHECK_EQ(steps->compatibility, MARKER);
    CHECK_EQ(steps->protected, MARKER);
    CHECK_EQ(steps->pae, MARKER);
    CHECK_EQ(steps->pae_after_exit, MARKER);
    CHECK_EQ(version & 0xff, 0x11);
    if (!is_amd()) { // where these entries are read as others are: APM 2 15.25.10
        CHECK_EQ(steps->cr4_fault, MARKER); // the error code is 0
        CHECK_EQ(steps->cr4_kept, MARKER);
    }
    CHECK_EQ(steps->cr4_no_fault, MARKER);
    CHECK_EQ(steps->cr4_taken, MARKER);
    CHECK_EQ(steps->cr4_memory, MARKER);
    CHECK_EQ(steps->pse, MARKER);
    CHECK_EQ(steps->pse_device, version);
    CHECK_EQ(steps->real, MARKER);
    CHECK_EQ(steps->real_interrupt, MARKER);
    CHECK_EQ(steps->back, MARKER);
    CHECK_EQ(read_cr0(), cr0);
    CHECK_EQ(read_cr4(), cr4);
    CHECK_EQ(rdmsr(MSR_EFER), efer);
}
