// SPDX-License-Identifier: Apache-2.0
// arch/traps.c and kernel/trap.c: what a selector of ring 3 can reach behind a CPU's GDT, and whose
// fault an exception is. The slots of two CPUs are memory of the host here; the assembly's entries
// are names.
#include "tests/unit/kernel/support.h"

#include <criterion/criterion.h>
#include <string.h>

#define trap_entries         paper_entries
#define entry_sysenter       paper_entry_sysenter // those of split.S are real
#define usercopy_move        paper_usercopy_move
#define usercopy_fault       paper_usercopy_fault
#define usercopy             paper_usercopy
#define user_read            traps_test_user_read
#define user_write           traps_test_user_write
#define trap_before_user     paper_before_user
#define sysexit_whole        paper_sysexit
#define idle_hlt             paper_hlt
#define mitigation_clear_bhb paper_clear_history
#define machine_check_handle paper_machine_check
#define machine_check_leave  paper_machine_check_leave
#include "arch/lapic.h"
#include "arch/traps.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/vcpu.h"

#define CPUS 2u

static _Alignas(PAGE_SIZE) uint8_t slots[CPUS][CPU_TABLES_SLOT];
#undef CPU_TABLES_BASE
#define CPU_TABLES_BASE ((uint64_t)slots)

static uint64_t fault_address;
static struct { unsigned nmis, interrupts, eois, ways_out, clears, machine_checks, ended; } seen;
static uint64_t left_for; // the stack

static void count_timer(void) {
    seen.interrupts += 0x1;
}
static void count_wake(void) {
    seen.interrupts += 0x10;
}

static uint64_t msrs[8][2]; // number, value
static uint64_t *paper_msr(uint32_t msr) {
    unsigned i = 0;
    while (msrs[i][0] != 0 && msrs[i][0] != msr)
        i++;
    msrs[i][0] = msr;
    return &msrs[i][1];
}

#define x86_read_cr2()        fault_address
#define x86_rdmsr(msr)        (*paper_msr(msr))
#define x86_wrmsr(msr, value) (*paper_msr(msr) = (value))
#undef x86_leave_stack
#define x86_leave_stack(top, run) (left_for = (top), run())
#include "arch/traps.c"
#define timer_interrupt count_timer
#define smp_interrupt   count_wake
#include "kernel/trap.c"

const uint8_t paper_sysexit[2], paper_hlt[2];
static bool uses_broken_memory; // what a machine check tells of who ran
bool paper_machine_check(bool is_kernel) {
    seen.machine_checks += is_kernel ? 0x10 : 1;
    return uses_broken_memory;
}
static jmp_buf left;
_Noreturn void paper_machine_check_leave(void) {
    seen.ended++;
    longjmp(left, 1);
}
void paper_clear_history(void) {
    seen.clears++;
}
const uint8_t paper_entries[1], paper_entry_sysenter[1], paper_usercopy_move[1],
    paper_usercopy_fault[1];
uint64_t paper_usercopy(void *to, const void *from, size_t size) {
    memcpy(to, from, size);
    return 0;
}
void paper_before_user(void) {
    seen.ways_out++;
}
void nmi_handle(void) {
    seen.nmis++;
}
_Noreturn void trap_kernel_exception(const struct trap_frame *frame) {
    panic("exception %lu", frame->vector);
}

void lapic_eoi(void) {
    seen.eois++;
}
void vcpu_notified(void) {
    seen.interrupts += 0x100;
}

// ---- behind the GDT -----------------------------------------------------------------------------

static const uint64_t stacks[4] = {0xfffffe8000003ff0, 0xfffffe8000007ff0, 0xfffffe800000bff0,
                                   0xfffffe800000fff0};

// What kspace_cpu_init maps of a slot: its first page and its window, where a guest's page may be.
static bool is_slot_mapped(uint64_t offset) {
    offset %= CPU_TABLES_SLOT;
    return offset < PAGE_SIZE || offset - CPU_TABLES_WINDOW < PAGE_SIZE;
}

// Also where the CPU's stacks have addresses that make a descriptor of TSS.RSP0.
Test(traps, nothing_behind_a_gdt_is_a_descriptor) {
    struct cpu cpus[CPUS] = {{.slot = 0}, {.slot = 1}};
    memset(slots, 0, sizeof(slots));
    for (unsigned i = 0; i < CPUS; i++) {
        descriptors_init(&cpus[i], stacks);
        cpus[i].tss->rsp[0] = 0xfffffe800000fe38;
        memset(slots[i] + CPU_TABLES_WINDOW, 0xff, PAGE_SIZE);
    }
    const struct cpu_tables *tables = CONTAINER_OF(cpus[0].tss, struct cpu_tables, tss);
    uint64_t gdt = (uint64_t)tables->gdt, begin = (uint64_t)slots;
    unsigned mapped = 0;
    for (uint64_t at = sizeof(tables->gdt); at < GDT_REACH; at += 8) {
        uint64_t offset = gdt + at - begin;
        if (!is_slot_mapped(offset))
            continue;
        mapped++;
        cr_expect_eq(*(const uint64_t *)(gdt + at), 0, "selector %#lx", at);
    }
    cr_expect_eq(mapped, 0);
}

Test(traps, descriptors_are_what_the_selectors_say) {
    struct cpu cpu = {.slot = 1};
    memset(slots, 0, sizeof(slots));
    descriptors_init(&cpu, stacks);
    const uint64_t *gdt = CONTAINER_OF(cpu.tss, struct cpu_tables, tss)->gdt;
    for (unsigned i = 0; i < GDT_ENTRIES; i++) {
        bool is_user = i == SELECTOR_USER_DATA / 8 || i == SELECTOR_USER_CODE / 8 ||
                       i == SELECTOR_USER_DATA2 / 8;
        cr_expect_eq((gdt[i] & GDT_DPL3) != 0, is_user, "entry %u", i);
    }
    cr_expect_eq(gdt[SELECTOR_USER_CODE32 / 8], 0);
    uint64_t tss = gdt[SELECTOR_TSS / 8];
    uint64_t base = (tss >> 16 & 0xffffff) | (tss >> 56) << 24 | gdt[SELECTOR_TSS / 8 + 1] << 32;
    cr_expect_eq(base, (uint64_t)cpu.tss);
    cr_expect_eq(tss & 0xffff, 103, "no bit of a port map behind it");
    cr_expect_eq(cpu.tss->iomap_base, 104);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_eq(cpu.tss->ist[i], stacks[i]);
}

Test(traps, gates_are_ring_0s_and_lead_to_their_entries) {
    traps_init();
    for (unsigned i = 0; i < 256; i++) {
        uint64_t offset = idt[i].offset_low | (uint64_t)idt[i].offset_middle << 16 |
                          (uint64_t)idt[i].offset_high << 32;
        cr_expect_eq(offset, (uint64_t)paper_entries + i * 16ULL);
        cr_expect_eq(idt[i].type, 0x8e, "vector %u: INT n of ring 3 is #GP", i);
        cr_expect_eq(idt[i].selector, SELECTOR_KERNEL_CODE);
        unsigned ist = i == 2 ? 1 : i == 8 ? 2 : i == 18 ? 3 : i == 1 ? 4 : 0;
        cr_expect_eq(idt[i].ist, ist, "vector %u", i);
    }
}

// Where tables are split, all stacks that an entry starts on are on the page that ring 3's root
// has.
Test(traps, split_entries_start_on_the_cpus_page) {
    struct cpu cpu = {.slot = 1};
    memset(slots, 0, sizeof(slots));
    mitigation.splits_tables = true;
    traps_init();
    descriptors_init(&cpu, stacks);
    uint64_t page = (uint64_t)cpu.tables;
    cr_expect_eq(page, (uint64_t)slots[1]);
    cr_expect(cpu.tss->rsp[0] - page <= PAGE_SIZE && (uint64_t)cpu.stack - page < PAGE_SIZE);
    cr_expect_eq((uint64_t)cpu.stack - page, ENTRY_STACK);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_eq(cpu.tss->ist[i], (uint64_t)&cpu.tables->stacks[i + 1].kernel_stack);
        cr_expect_eq(cpu.tss->ist[i] % 16, 0);
        cr_expect_eq(cpu.tables->stacks[i + 1].kernel_stack, stacks[i]);
    }
    const struct idt_gate *gate = traps_idt();
    for (unsigned i = 0; i < 256; i++, gate++) {
        uint64_t offset = gate->offset_low | (uint64_t)gate->offset_middle << 16 |
                          (uint64_t)gate->offset_high << 32;
        cr_expect_eq(offset, (uint64_t)trap_entries_split + i * 16ULL);
    }
    cr_expect_eq((uint64_t)traps_idt() % PAGE_SIZE, 0);
}

// ---- system calls -------------------------------------------------------------------------------

// APM 2 6.1.1 "SYSCALL and SYSRET": which selectors come of STAR.
Test(traps, syscall_leads_to_its_entry) {
    struct cpu cpu = {.slot = 1};
    memset(slots, 0, sizeof(slots));
    descriptors_init(&cpu, stacks);
    *paper_msr(MSR_EFER) = EFER_LME | EFER_LMA | EFER_NXE;
    load_syscall(&cpu);
    uint64_t star = *paper_msr(MSR_STAR);
    cr_expect_eq(star >> 32 & 0xffff, SELECTOR_KERNEL_CODE);
    cr_expect_eq((star >> 48) + 16, SELECTOR_USER_CODE | 3, "SYSRET's CS");
    cr_expect_eq((star >> 48) + 8, SELECTOR_USER_DATA | 3, "and SS");
    cr_expect_eq(*paper_msr(MSR_LSTAR), (uint64_t)entry_syscall);
    cr_expect_eq(*paper_msr(MSR_KERNEL_GS_BASE), (uint64_t)cpu.stack);
    cr_expect_eq(*paper_msr(MSR_EFER), EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    const uint64_t cleared = RFLAGS_IF | RFLAGS_TF | BIT(10) | BIT(14) | BIT(18); // DF, NT, AC
    cr_expect_eq(*paper_msr(MSR_SFMASK) & cleared, cleared);
}

// Both return at the same offset: traps.S has one constant of it.
Test(traps, call_page_is_the_processors) {
    bool was_intel = cpu_features.is_intel;
    cpu_features.is_intel = true;
    cr_expect_eq(memcmp(call_page_code(), "\x48\x89\xe1\x0f\x34\xc3", CALL_PAGE_CODE), 0);
    cpu_features.is_intel = false;
    cr_expect_eq(memcmp(call_page_code(), "\x48\x89\xe2\x0f\x05\xc3", CALL_PAGE_CODE), 0);
    cpu_features.is_intel = was_intel;
}

// ---- whose fault it is --------------------------------------------------------------------------

static struct process *process;

static void set_up(void) {
    host_init_all();
    process = process_create(quota_root(), &group_root, NULL, 0);
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    cr_assert(process != NULL && memory != NULL);
    cr_assert_eq(space_map(&process->space, memory, 0x400000, 0, PAGE_SIZE,
                           ABI_RIGHT_READ | ABI_RIGHT_WRITE),
                 ABI_OK);
    process->thread_count = 1; // so its end is not yet its teardown
    thread_current()->process = process;
}

TestSuite(traps_origin, .init = set_up);

static struct trap_frame frame_of(uint64_t vector, uint64_t error, uint64_t cs) {
    return (struct trap_frame){.vector = vector, .error = error, .cs = cs, .rip = 0x400010};
}

#define USER_CS   (SELECTOR_USER_CODE | 3)
#define KERNEL_CS SELECTOR_KERNEL_CODE

// LAR, VERR or a far jump of ring 3: the processor reads a table for it, and says "supervisor".
Test(traps_origin, supervisor_fault_at_cpl_3_ends_the_process) {
    const uint64_t addresses[] = {0xffffff0000001000, 0xffff800000000000, 0xffffffff80000000,
                                  0x400000, 0};
    for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        for (uint64_t error = 0; error < 32; error++) {
            bool is_absent = (error & PF_PRESENT) == 0;
            bool is_allowed = (error & PF_WRITE) != 0 || (error & PF_FETCH) == 0;
            struct trap_frame frame = frame_of(EXC_PF, error, USER_CS);
            fault_address = addresses[i];
            process->is_ending = 0;
            seen.ways_out = 0;
            cr_expect_not(HOST_PANICS(trap_dispatch(&frame)), "%#lx error %#lx", fault_address,
                          error);
            bool is_mended = addresses[i] == 0x400000 && is_absent && is_allowed;
            cr_expect_eq(process->is_ending, !is_mended, "%#lx error %#lx", fault_address, error);
            cr_expect_eq(seen.ways_out, 1);
        }
    }
    cr_expect_eq(process->status.vector, EXC_PF);
}

// And the same fault in ring 0 is ours, even if the error code names the user.
Test(traps_origin, fault_in_ring_0_is_the_kernels_whatever_the_error_says) {
    for (uint64_t error = 0; error < 32; error++) {
        struct trap_frame frame = frame_of(EXC_PF, error, KERNEL_CS);
        fault_address = 0x400000;
        cr_expect(HOST_PANICS(trap_dispatch(&frame)), "error %#lx", error);
    }
    cr_expect_eq(process->is_ending, 0);
}

Test(traps_origin, exceptions_of_ring_3_end_it_and_those_of_ring_0_the_machine) {
    for (uint64_t vector = 0; vector < 32; vector++) {
        if (vector == EXC_NMI || vector == EXC_PF || vector == EXC_MC)
            continue;
        bool is_ours = vector == EXC_DF;
        struct trap_frame frame = frame_of(vector, 0, USER_CS);
        process->is_ending = 0;
        cr_expect_eq(HOST_PANICS(trap_dispatch(&frame)), is_ours, "vector %lu", vector);
        cr_expect_eq(process->is_ending, !is_ours, "vector %lu", vector);
        frame = frame_of(vector, 0, KERNEL_CS);
        cr_expect(HOST_PANICS(trap_dispatch(&frame)), "vector %lu", vector);
    }
}

// Who goes on does so at once: on that stack nothing else may happen.
Test(traps_origin, machine_check_ends_who_used_broken_memory_and_nobody_else) {
    struct trap_frame frame = frame_of(EXC_MC, 0, USER_CS);
    trap_dispatch(&frame);
    cr_expect(seen.machine_checks == 1 && seen.ways_out == 0 && process->is_ending == 0);
    uses_broken_memory = true;
    if (setjmp(left) == 0) {
        trap_dispatch(&frame);
        cr_assert_fail("it goes on");
    }
    cr_expect(seen.machine_checks == 2 && seen.ways_out == 0 && seen.ended == 1);
    cr_expect_eq(left_for, (uint64_t)thread_current(), "the next one comes on the same stack");
    uses_broken_memory = false;
    frame = frame_of(EXC_MC, 0, KERNEL_CS);
    frame.rip = (uint64_t)paper_hlt;
    frame.rflags = RFLAGS_ONE | RFLAGS_IF;
    trap_dispatch(&frame);
    cr_expect_eq(seen.machine_checks, 0x12, "and whether the kernel ran is told");
    cr_expect_eq(frame.rip, (uint64_t)paper_hlt - 1, "STI again, as behind an NMI");
    cr_expect_eq(seen.ways_out, 0);
}

Test(traps_origin, interrupts_and_nmis_are_nobodys_fault) {
    for (uint64_t vector = 32; vector < 256; vector++) {
        struct trap_frame frame = frame_of(vector, 0, USER_CS);
        trap_dispatch(&frame);
    }
    cr_expect_eq(seen.eois, 223, "all but the spurious one");
    cr_expect_eq(seen.interrupts, 0x111, "timer, wake-up and notification, each its own handler");
    cr_expect_eq(seen.ways_out, 224);
    struct trap_frame frame = frame_of(EXC_NMI, 0, USER_CS);
    trap_dispatch(&frame);
    cr_expect(seen.nmis == 1 && seen.ways_out == 224, "on an NMI's stack nothing else happens");
    cr_expect_eq(process->is_ending, 0);
}

// SYSENTER with RFLAGS.TF: the step ends at the kernel's first instruction, and only there it is
// ring 3's.
Test(traps_origin, single_step_into_the_kernel_is_swallowed_at_its_entry_alone) {
    struct trap_frame frame = frame_of(EXC_DB, 0, KERNEL_CS);
    frame.rip = (uint64_t)paper_entry_sysenter;
    frame.rflags = RFLAGS_ONE | RFLAGS_TF;
    trap_dispatch(&frame);
    cr_expect_eq(frame.rflags, RFLAGS_ONE);
    frame.rip++;
    cr_expect(HOST_PANICS(trap_dispatch(&frame)));
}

Test(traps_origin, copy_that_faults_ends_or_goes_on) {
    struct trap_frame frame = frame_of(EXC_PF, PF_WRITE, KERNEL_CS);
    frame.rip = (uint64_t)paper_usercopy_move;
    fault_address = 0x400000;
    trap_dispatch(&frame);
    cr_expect_eq(frame.rip, (uint64_t)paper_usercopy_move, "mapped now");
    fault_address = 0x800000;
    trap_dispatch(&frame);
    cr_expect_eq(frame.rip, (uint64_t)paper_usercopy_fault);
    cr_expect_eq(process->is_ending, 0);
}

// STI keeps interrupts away from SYSEXIT and from HLT; an NMI there ends that.
Test(traps_origin, nmi_behind_sti_has_it_done_again) {
    const uint8_t *const behind_sti[] = {sysexit_split_last, paper_sysexit, paper_hlt};
    for (unsigned i = 0; i < ARRAY_COUNT(behind_sti); i++) {
        struct trap_frame frame = frame_of(EXC_NMI, 0, KERNEL_CS);
        frame.rip = (uint64_t)behind_sti[i];
        frame.rflags = RFLAGS_ONE | RFLAGS_IF;
        trap_dispatch(&frame);
        cr_expect_eq(frame.rip, (uint64_t)behind_sti[i] - 1);
        cr_expect_eq(frame.rflags, RFLAGS_ONE);
        frame.rflags = RFLAGS_ONE | RFLAGS_IF;
        trap_dispatch(&frame);
        cr_expect_eq(frame.rip, (uint64_t)behind_sti[i] - 1, "at STI nothing is to be mended");
        cr_expect_eq(frame.rflags, RFLAGS_ONE | RFLAGS_IF);
        frame.rip = (uint64_t)behind_sti[i];
        frame.cs = USER_CS;
        trap_dispatch(&frame);
        cr_expect_eq(frame.rip, (uint64_t)behind_sti[i], "ring 3, which went astray");
    }
}

// The instruction before the one that is named is STI.
Test(traps_origin, split_way_out_is_sti_and_sysexit) {
    cr_expect_eq(sysexit_split_last[-1], 0xfb);
    cr_expect_eq(memcmp(sysexit_split_last, "\x48\x0f\x35", 3), 0);
}

Test(traps_origin, history_of_ring_3_is_cleared_before_a_handler_is_called) {
    struct trap_frame user = frame_of(0x40, 0, USER_CS), kernel = frame_of(0x40, 0, KERNEL_CS);
    trap_dispatch(&user);
    cr_expect_eq(seen.clears, 0, "not everywhere");
    mitigation.clears_bhb = true;
    trap_dispatch(&kernel);
    cr_expect_eq(seen.clears, 0, "the kernel's own");
    trap_dispatch(&user);
    cr_expect_eq(seen.clears, 1);
    mitigation.clears_bhb = false;
}

Test(traps, ways_out_empty_buffers_where_they_leak) {
    for (unsigned leaks = 0; leaks < 2; leaks++) {
        mitigation = (struct mitigation){.empties_for_users = leaks != 0};
        traps_init();
        cr_expect_eq(traps_empty_buffers, leaks);
    }
    mitigation = (struct mitigation){0};
    traps_init();
}

// The first page is nobody's, so that a NULL with an offset is no address, and behind the last one
// is the kernel's.
Test(traps_origin, user_memory_has_two_ends) {
    uint8_t byte[2] = {0};
    const struct {
        uint64_t address, size;
    } bad[] = {{0, 1},
               {PAGE_SIZE - 1, 1},
               {PAGE_SIZE - 1, 2},
               {ABI_USER_END, 1},
               {ABI_USER_END - 1, 2},
               {ABI_USER_END + PAGE_SIZE - 1, 1},
               {0xffff800000000000, 1},
               {UINT64_MAX, 1},
               {UINT64_MAX, 2},
               {PAGE_SIZE, UINT64_MAX}};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        cr_expect_not(is_user_range(bad[i].address, bad[i].size), "case %u", i);
        if (bad[i].size <= sizeof(byte)) {
            cr_expect_not(user_read(byte, bad[i].address, bad[i].size), "case %u", i);
            cr_expect_not(user_write(bad[i].address, byte, bad[i].size), "case %u", i);
        }
    }
    cr_expect(is_user_range(PAGE_SIZE, 1) && is_user_range(ABI_USER_END - 1, 1));
    cr_expect(is_user_range(PAGE_SIZE, ABI_USER_END - PAGE_SIZE));
}

// What a copy of the kernel's touches is brought in as ring 3 itself could have it, and no more.
Test(traps_origin, copy_gets_no_more_than_ring_3_has) {
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    cr_assert_eq(space_map(&process->space, memory, 0x600000, 0, PAGE_SIZE, ABI_RIGHT_READ),
                 ABI_OK);
    const struct {
        uint64_t error, address;
        bool is_mended;
    } cases[] = {{PF_WRITE, 0x600000, false},
                 {0, 0x600000, true},
                 {PF_PRESENT, 0x600000, false},
                 {PF_PRESENT | PF_WRITE, 0x600000, false}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct trap_frame frame = frame_of(EXC_PF, cases[i].error, KERNEL_CS);
        frame.rip = (uint64_t)paper_usercopy_move;
        fault_address = cases[i].address;
        trap_dispatch(&frame);
        cr_expect_eq(frame.rip,
                     (uint64_t)(cases[i].is_mended ? paper_usercopy_move : paper_usercopy_fault),
                     "case %u", i);
    }
}

Test(traps_origin, write_to_what_is_read_only_ends_the_process) {
    struct memory *memory = memory_create(quota_root(), PAGE_SIZE);
    cr_assert_eq(space_map(&process->space, memory, 0x600000, 0, PAGE_SIZE, ABI_RIGHT_READ),
                 ABI_OK);
    fault_address = 0x600000;
    struct trap_frame frame = frame_of(EXC_PF, 0, USER_CS);
    trap_dispatch(&frame);
    cr_expect_eq(process->is_ending, 0);
    frame = frame_of(EXC_PF, PF_WRITE, USER_CS);
    trap_dispatch(&frame);
    cr_expect_eq(process->is_ending, 1);
    process->is_ending = 0;
    frame = frame_of(EXC_PF, PF_FETCH, USER_CS);
    trap_dispatch(&frame);
    cr_expect_eq(process->is_ending, 1);
}
