// SPDX-License-Identifier: Apache-2.0
// The common part of the loader: format, initrd, command line, zero page, and the processor state of
// the 64-bit boot protocol. The interface is told in load.h.
#include "load.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/types.h"

// ---- helpers ----------------------------------------------------------------------------------------

bool load_refuse(struct load_refusal *refusal, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fmt_format_va(refusal->text, sizeof(refusal->text), format, arguments);
    va_end(arguments);
    return false;
}

static uint64_t mib_up(uint64_t bytes) {
    return (bytes + (1u << 20) - 1) >> 20;
}

uint64_t load_get(const uint8_t *at, unsigned size) {
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

void load_put(uint8_t *at, unsigned size, uint64_t value) {
    memcpy(at, &value, size);
}

// ---- processor state --------------------------------------------------------------------------------

// SDM 3A 3.4.5 "Segment Descriptors". Selectors as the protocol names them; the task state segment is there because
// VM entry wants one.
#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u
#define SELECTOR_TSS  0x20u

static const uint64_t gdt[] = {
    0,
    0,
    0x00af9b000000ffffULL, // 64-bit code, readable, accessed
    0x00cf93000000ffffULL, // flat data, writable, accessed
    0x00008b0000000067ULL, // busy 64-bit TSS at 0
    0,
};

// Access rights as SDM 3C 25.4.1 "Guest Register State" has them.
#define ATTRIBUTES_CODE 0xa09bu
#define ATTRIBUTES_DATA 0xc093u
#define ATTRIBUTES_TSS  0x008bu
#define TSS_LIMIT       0x67u

#define CR0_PE     BIT(0)
#define CR0_ET     BIT(4)
#define CR0_NE     BIT(5)
#define CR0_PG     BIT(31)
#define CR4_PAE    BIT(5)
#define EFER_LME   BIT(8)
#define EFER_LMA   BIT(10)
#define RFLAGS_ONE BIT(1)

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

void load_set_registers(const struct load_entry *entry, struct vcpu_registers *registers) {
    const struct vcpu_segment data = {SELECTOR_DATA, ATTRIBUTES_DATA, UINT32_MAX, 0};
    memset(registers->gpr, 0, sizeof(registers->gpr));
    registers->gpr[4] = LOAD_STACK_TOP;
    registers->gpr[6] = LOAD_ZERO_PAGE;
    registers->rip = entry->rip;
    registers->rflags = RFLAGS_ONE;
    registers->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    registers->cr3 = LOAD_PAGE_TABLES;
    registers->cr4 = CR4_PAE;
    registers->efer = EFER_LME | EFER_LMA;
    registers->cs = (struct vcpu_segment){SELECTOR_CODE, ATTRIBUTES_CODE, UINT32_MAX, 0};
    registers->ds = registers->es = registers->ss = registers->fs = registers->gs = data;
    registers->tr = (struct vcpu_segment){SELECTOR_TSS, ATTRIBUTES_TSS, TSS_LIMIT, 0};
    registers->ldtr = (struct vcpu_segment){.attributes = VCPU_SEGMENT_UNUSABLE};
    registers->gdtr = (struct vcpu_segment){.base = LOAD_GDT, .limit = sizeof(gdt) - 1};
    registers->idtr = (struct vcpu_segment){.base = 0, .limit = 0};
}

// ---- initrd, command line, zero page ----------------------------------------------------------------

// As high as it may lie, below the end of low RAM, and above the kernel.
static bool load_initrd(const struct memory *memory, const struct load_images *images,
                        const struct load_kernel *kernel, uint8_t *zero_page,
                        struct load_refusal *refusal) {
    uint64_t size = images->initrd_size;
    uint64_t limit = MIN(memory->low_size, kernel->initrd_last + 1);
    if (size == 0)
        return true;
    if (size > limit || align_down(limit - size, PAGE_SIZE) < align_up(kernel->end, PAGE_SIZE))
        return load_refuse(refusal,
                           "initrd '%s' (%lu MiB) does not fit into the guest's %lu MiB beside the "
                           "kernel: set memory to at least %luM, or use a smaller initrd",
                           images->initrd_name, mib_up(size), memory->size >> 20,
                           mib_up(align_up(kernel->end, PAGE_SIZE) + size + PAGE_SIZE));
    uint64_t gpa = align_down(limit - size, PAGE_SIZE);
    memcpy(memory_pointer(memory, gpa, size), images->initrd, size);
    load_put(zero_page + ZERO_PAGE_RAMDISK_IMAGE, sizeof(uint32_t), gpa);
    load_put(zero_page + ZERO_PAGE_RAMDISK_SIZE, sizeof(uint32_t), size);
    return true;
}

static bool load_cmdline(const struct memory *memory, const struct load_images *images,
                         const struct load_kernel *kernel, uint8_t *zero_page,
                         struct load_refusal *refusal) {
    size_t length = strlen(images->cmdline);
    if (length > kernel->cmdline_max)
        return load_refuse(refusal,
                           "cmdline is %zu bytes long, but '%s' takes only %lu: shorten it", length,
                           images->kernel_name, kernel->cmdline_max);
    memcpy(memory_pointer(memory, LOAD_CMDLINE, length + 1), images->cmdline, length + 1);
    load_put(zero_page + ZERO_PAGE_CMD_LINE_PTR, sizeof(uint32_t), LOAD_CMDLINE);
    return true;
}

static void finish_zero_page(const struct memory *memory, const struct load_images *images,
                             uint8_t *zero_page) {
    struct memory_e820 map[MEMORY_E820_MAX];
    size_t count = memory_e820(memory, map);
    memcpy(zero_page + ZERO_PAGE_E820_TABLE, map, count * sizeof(map[0]));
    zero_page[ZERO_PAGE_E820_ENTRIES] = (uint8_t)count;
    zero_page[ZERO_PAGE_TYPE_OF_LOADER] = LOAD_TYPE_UNDEFINED;
    load_put(zero_page + ZERO_PAGE_RSDP, sizeof(uint64_t), images->rsdp);
}

bool load_guest(const struct memory *memory, const struct load_images *images,
                struct load_entry *entry, struct load_refusal *refusal) {
    struct load_kernel kernel;
    uint8_t *zero_page = memory_pointer(memory, LOAD_ZERO_PAGE, ZERO_PAGE_SIZE);
    memset(zero_page, 0, ZERO_PAGE_SIZE);
    if (images->kernel_size == 0)
        return load_refuse(refusal, "kernel '%s' is empty: name a Linux bzImage or an ELF64 file",
                           images->kernel_name);
    bool is_loaded = load_linux_recognises(images)
                         ? load_linux(memory, images, zero_page, &kernel, refusal)
                         : load_elf(memory, images, zero_page, &kernel, refusal);
    if (!is_loaded || !load_initrd(memory, images, &kernel, zero_page, refusal) ||
        !load_cmdline(memory, images, &kernel, zero_page, refusal))
        return false;
    finish_zero_page(memory, images, zero_page);
    build_page_tables(memory);
    memcpy(memory_pointer(memory, LOAD_GDT, sizeof(gdt)), gdt, sizeof(gdt));
    entry->rip = kernel.entry;
    return true;
}
