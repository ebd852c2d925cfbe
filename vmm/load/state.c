// SPDX-License-Identifier: Apache-2.0
// The state in which a kernel starts: page tables, GDT and registers of the 64-bit Linux boot
// protocol, and of the 32-bit entries: Multiboot 0.6.96, 3.2 "Machine state"; Multiboot2 2.0, 3.3
// "I386 machine state"; Xen, "x86/HVM direct boot ABI".
#include "lib/string.h"
#include "lib/types.h"
#include "vmm/load/load.h"

// SDM 3A 3.4.5 "Segment Descriptors". Selectors as the Linux protocol names them; the task state
// segment is there because VM entry wants one.
#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u
#define SELECTOR_TSS  0x20u
#define GDT_CODE      (SELECTOR_CODE / 8)

#define CODE_32 0x00cf9b000000ffffULL // readable, accessed

static const uint64_t gdt[] = {
    0,
    0,
    0x00af9b000000ffffULL, // 64-bit code, readable, accessed
    0x00cf93000000ffffULL, // flat data, writable, accessed
    0x00008b0000000067ULL, // busy TSS at 0
    0,
};

// Access rights as SDM 3C 25.4.1 "Guest Register State" has them.
#define ATTRIBUTES_CODE_64 0xa09bu
#define ATTRIBUTES_CODE_32 0xc09bu
#define ATTRIBUTES_DATA    0xc093u
#define ATTRIBUTES_TSS     0x008bu
#define TSS_LIMIT          0x67u

#define CR0_PE     BIT(0)
#define CR0_ET     BIT(4)
#define CR0_NE     BIT(5)
#define CR0_PG     BIT(31)
#define CR4_PAE    BIT(5)
#define EFER_LME   BIT(8)
#define EFER_LMA   BIT(10)
#define RFLAGS_ONE BIT(1)

#define GPR_RAX 0
#define GPR_RBX 3
#define GPR_RSP 4
#define GPR_RSI 6

// SDM 3A 4.5 "4-Level Paging and 5-Level Paging".
#define PTE_PRESENT  BIT(0)
#define PTE_WRITABLE BIT(1)
#define PTE_LARGE    BIT(7)
#define PTE_COUNT    512u
#define MAPPED_GIBS  4u

// One top table, one of its entries used, and a table of 2 MiB pages for each GiB.
static void build_page_tables(const struct memory *memory) {
    void *at = memory_pointer(memory, LOAD_PAGE_TABLES, (2 + MAPPED_GIBS) * PAGE_SIZE);
    uint64_t *top = at;
    uint64_t *pointers = top + PTE_COUNT;
    uint64_t *directories = pointers + PTE_COUNT;
    const uint64_t flags = PTE_PRESENT | PTE_WRITABLE;
    memset(top, 0, 2 * PAGE_SIZE);
    top[0] = (LOAD_PAGE_TABLES + PAGE_SIZE) | flags;
    for (unsigned i = 0; i < MAPPED_GIBS; i++)
        pointers[i] = (LOAD_PAGE_TABLES + (2 + i) * PAGE_SIZE) | flags;
    for (unsigned i = 0; i < MAPPED_GIBS * PTE_COUNT; i++)
        directories[i] = i * SIZE_2M | flags | PTE_LARGE;
}

void load_build_state(const struct memory *memory, enum load_protocol protocol) {
    uint64_t *table = memory_pointer(memory, LOAD_GDT, sizeof(gdt));
    memcpy(table, gdt, sizeof(gdt));
    if (protocol == LOAD_LINUX)
        build_page_tables(memory);
    else
        table[GDT_CODE] = CODE_32;
}

static void set_segments(struct vcpu_registers *registers, uint16_t code) {
    const struct vcpu_segment data = {SELECTOR_DATA, ATTRIBUTES_DATA, UINT32_MAX, 0};
    registers->cs = (struct vcpu_segment){SELECTOR_CODE, code, UINT32_MAX, 0};
    registers->ds = registers->es = registers->ss = registers->fs = registers->gs = data;
    registers->tr = (struct vcpu_segment){SELECTOR_TSS, ATTRIBUTES_TSS, TSS_LIMIT, 0};
    registers->ldtr = (struct vcpu_segment){.attributes = VCPU_SEGMENT_UNUSABLE};
    registers->gdtr = (struct vcpu_segment){.base = LOAD_GDT, .limit = sizeof(gdt) - 1};
    registers->idtr = (struct vcpu_segment){.base = 0, .limit = 0};
}

static void set_linux(struct vcpu_registers *registers) {
    registers->gpr[GPR_RSI] = LOAD_INFO;
    registers->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    registers->cr3 = LOAD_PAGE_TABLES;
    registers->cr4 = CR4_PAE;
    registers->efer = EFER_LME | EFER_LMA;
    set_segments(registers, ATTRIBUTES_CODE_64);
}

static void set_32bit(struct vcpu_registers *registers, uint32_t magic) {
    registers->gpr[GPR_RAX] = magic;
    registers->gpr[GPR_RBX] = LOAD_INFO;
    registers->cr0 = CR0_PE | CR0_ET;
    registers->cr3 = registers->cr4 = registers->efer = 0;
    set_segments(registers, ATTRIBUTES_CODE_32);
}

void load_set_registers(const struct load_entry *entry, struct vcpu_registers *registers) {
    static const uint32_t magic[] = {[LOAD_MULTIBOOT] = LOAD_MULTIBOOT_MAGIC,
                                     [LOAD_MULTIBOOT2] = LOAD_MULTIBOOT2_MAGIC,
                                     [LOAD_PVH] = 0};
    memset(registers->gpr, 0, sizeof(registers->gpr));
    registers->gpr[GPR_RSP] = LOAD_STACK_TOP;
    registers->rip = entry->rip;
    registers->rflags = RFLAGS_ONE;
    if (entry->protocol == LOAD_LINUX)
        set_linux(registers);
    else
        set_32bit(registers, magic[entry->protocol]);
}
