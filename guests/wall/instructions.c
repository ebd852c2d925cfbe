// SPDX-License-Identifier: Apache-2.0
// Everything that a ring-3 instruction can name: selectors, gates, ports, MSRs, vectors,
// addresses, flags. Each attack is one life of a child: the table says how it may end. Whatever
// it does, the kernel goes on, and so do the others.
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/code.h"
#include "runtime/rows.h"
#include "runtime/wall.h"

#define FRIEND_QUOTA (512u << 10) // of a child
#define OWN_SIZE     (4 * ABI_PAGE)
#define STACK_TOP    (CHILD_OWN + OWN_SIZE)
#define HANGING_US   5000u // for what may never end
#define SEEN_MAX     32u
#define SELECTORS    65536u
#define NAMED_A_LIFE (SELECTORS / 16) // what lies in a page, if there is one
#define STACKS       4u               // kernel stacks whose addresses are different descriptors

#define ERROR_USER 4u  // of a page fault: the access had ring 3's rights
#define PORT_COUNT 32u // of a bitmap's parts that ports are tried in
#define MSR_COUNT  32u

#define LOAD_ENDS (LIVES | BIT(EXC_NP) | BIT(EXC_SS) | GP | PF)

#define FLAG_TF 0x100u
#define FLAG_IF 0x200u

// SDM 3A 3.4.5.1 "Code- and Data-Segment Descriptor Types": of the second word, what LAR shows.
#define RIGHTS_S      0x1000u
#define RIGHTS_DPL3   0x6000u
#define SELECTOR_LDT  4u    // the bit that means the LDT
#define GDT_BEHIND    0x40u // no descriptor of ours for data or code stands there
#define SEGMENT_COUNT 5u

struct seen {
    uint32_t selector;
    uint32_t rights;
};

// At CHILD_OWN, and seen by the mother.
struct own {
    struct dice dice;
    uint32_t selector, segment, event;
    uint64_t done; // passes through what it attacked with
    uint32_t seen_count;
    struct seen seen[SEEN_MAX];
};

static struct area own_area, code_area;
static struct own *own;               // as the mother sees it
static struct seen visible[SEEN_MAX]; // what children saw
static uint32_t visible_count;
static uint64_t behind_count; // lives that ended behind the GDT

// ---- in the child -------------------------------------------------------------------------------

// It still lives: now the kernel uses whatever the attack may have spoiled.
_Noreturn static void live_on(struct own *self) {
    uint64_t end = wall_tsc() + 2000;
    self->done++;
    for (unsigned i = 0; i < 8; i++)
        (void)sys_thread_yield();
    while (wall_tsc() < end)
        __asm__ volatile("pause");
    sys_process_exit(0);
}

static bool is_named(uint16_t selector, uint32_t *rights) {
    uint32_t limit = 0;
    bool by_lar, by_lsl, by_verr, by_verw;
    __asm__ volatile("lar %2, %0"
                     : "=r"(*rights), "=@ccz"(by_lar)
                     : "r"((uint32_t)selector), "0"(0));
    __asm__ volatile("lsl %2, %0" : "=r"(limit), "=@ccz"(by_lsl) : "r"((uint32_t)selector), "0"(0));
    __asm__ volatile("verr %1" : "=@ccz"(by_verr) : "r"(selector));
    __asm__ volatile("verw %1" : "=@ccz"(by_verw) : "r"(selector));
    return by_lar || by_lsl || by_verr || by_verw;
}

static void name_selectors(struct own *self) {
    uint32_t rights;
    for (uint32_t selector = self->selector; selector < self->selector + NAMED_A_LIFE; selector++) {
        if (!is_named((uint16_t)selector, &rights))
            continue;
        if (self->seen_count < SEEN_MAX)
            self->seen[self->seen_count] = (struct seen){selector, rights};
        self->seen_count++;
    }
    live_on(self);
}

static void wait_for_ever(struct own *self) {
    uint64_t bits;
    for (;;)
        (void)sys_event_wait(self->event, UINT64_MAX, ABI_FOREVER, &bits);
}

static void load_selector(struct own *self) {
    uint32_t selector = self->selector;
    switch (self->segment) {
    case 0:
        __asm__ volatile("mov %0, %%ds" : : "r"(selector) : "memory");
        break;
    case 1:
        __asm__ volatile("mov %0, %%es" : : "r"(selector) : "memory");
        break;
    case 2:
        __asm__ volatile("mov %0, %%fs" : : "r"(selector) : "memory");
        break;
    case 3:
        __asm__ volatile("mov %0, %%gs" : : "r"(selector) : "memory");
        break;
    default:
        __asm__ volatile("mov %0, %%ss" : : "r"(selector) : "memory");
        break;
    }
    live_on(self);
}

// The kernel is called with any flags, and a stack that the call page's RET finds its way back by.
#define ENTER_BY(instruction)                                                                      \
    __asm__ volatile("lea 1f(%%rip), %%rdx\n\t"                                                    \
                     "push %%rdx\n\t"                                                              \
                     "mov %%rsp, %%rcx\n\t"                                                        \
                     "mov %%rsp, %%rdx\n\t"                                                        \
                     "push %1\n\t"                                                                 \
                     "popfq\n\t" instruction "\n"                                                  \
                     "1:\n\t"                                                                      \
                     "cld"                                                                         \
                     : "+a"(call)                                                                  \
                     : "r"(flags)                                                                  \
                     : "rcx", "rdx", "r11", "memory", "cc")

static void enter_with(uint64_t flags) {
    uint64_t call = ABI_THREAD_YIELD;
    if (wall_enters_by_syscall())
        ENTER_BY("syscall");
    else
        ENTER_BY("sysenter");
}

static void enter_with_flags(struct own *self) {
    for (unsigned i = 0; i < 200; i++)
        enter_with(dice_roll(&self->dice) & (i % 2 == 0 ? UINT32_MAX : UINT64_MAX));
    live_on(self);
}

// Locked accesses over the borders of cache lines and of pages.
static void split_locks(struct own *self) {
    uint8_t *base = (uint8_t *)CHILD_OWN + ABI_PAGE;
    for (unsigned i = 0; i < 100; i++) {
        uint64_t *at =
            (uint64_t *)(void *)(base + (dice_one_in(&self->dice, 2) ? ABI_PAGE : 64) - 1 - i % 7);
        __asm__ volatile("lock addq %1, %0" : "+m"(*at) : "r"(dice_roll(&self->dice)));
        __asm__ volatile("xchg %1, %0" : "+m"(*at) : "r"(dice_roll(&self->dice)));
    }
    live_on(self);
}

// ---- code that the mother writes ----------------------------------------------------------------

// Whoever comes to the end lives on.
static void end_code(void) {
    static const uint8_t jump[] = {0xff, 0xe0};
    code_move(RSP, STACK_TOP - 64);
    code_move(RDI, CHILD_OWN);
    code_move(RAX, (uintptr_t)live_on);
    code_emit(jump, sizeof(jump));
}

static uint32_t random_msr(struct dice *dice) {
    static const uint32_t first[] = {0,     0x10,  0x1b,  0x3a,  0x48,  0x8b,       0x174,
                                     0x1a0, 0x277, 0x480, 0x6e0, 0x800, 0xc0000080, 0xc0000100};
    return dice_one_in(dice, 3) ? (uint32_t)dice_value(dice)
                                : first[dice_below(dice, ARRAY_COUNT(first))] + dice_below(dice, 4);
}

static void write_row(struct dice *dice, const struct row *row) {
    code_begin(&code_area);
    code_move(RAX, dice_value(dice));
    code_move(RCX, random_msr(dice));
    code_move(RDX, dice_value(dice));
    code_move(RBX, CHILD_OWN + ABI_PAGE);
    code_move(RSI, CHILD_OWN + ABI_PAGE);
    code_move(RDI, CHILD_OWN + ABI_PAGE);
    code_emit(row->bytes, row->size);
    end_code();
}

static void write_interrupt(uint32_t vector) {
    const uint8_t interrupt[] = {0xcd, (uint8_t)vector};
    code_begin(&code_area);
    code_emit(interrupt, sizeof(interrupt));
    end_code();
}

// Far jumps, calls and returns, in all sizes, with any selector, to the code behind them or to
// anywhere.
static void write_far(struct dice *dice, uint32_t selector) {
    static const uint8_t ways[][4] = {
        {0x48, 0xff, 0x2f}, {0xff, 0x2f},
        {0x66, 0xff, 0x2f}, {0x48, 0xff, 0x1f},
        {0xff, 0x1f},       {0x66, 0xff, 0x1f},
        {0x48, 0xcb},       {0xcb},
        {0x48, 0xcf},       {0xcf},
        {0x66, 0xcf},       {0x48, 0x0f, 0xb2, 0x3f},
    };
    static const uint8_t sizes[] = {3, 2, 3, 3, 2, 3, 2, 1, 2, 1, 2, 4};
    uint32_t way = dice_below(dice, ARRAY_COUNT(ways));
    uint64_t target = dice_one_in(dice, 2) ? CHILD_CODE + 0x100 : dice_address(dice);
    // What memory at RDI and at RSP holds: offset and selector, then flags, stack and its selector.
    uint64_t *words = (uint64_t *)(void *)(own_area.at + ABI_PAGE);
    words[0] = target;
    words[1] = selector;
    words[2] = dice_roll(dice) & 0x7fffffff;
    words[3] = dice_one_in(dice, 2) ? STACK_TOP - 64 : dice_address(dice);
    words[4] = dice_one_in(dice, 2) ? selector : dice_below(dice, SELECTORS);
    code_begin(&code_area);
    code_move(RDI, CHILD_OWN + ABI_PAGE);
    code_move(RSP, CHILD_OWN + ABI_PAGE);
    code_emit(ways[way], sizes[way]);
    code_skip(0x100);
    end_code();
}

// A load, a store, a jump, a call, a stack at any address. True: no process may see what is
// there.
static bool write_access(struct dice *dice) {
    static const uint8_t ways[][8] = {
        {0x48, 0x8b, 0x00},
        {0x48, 0x89, 0x00},
        {0xff, 0xe0},
        {0xff, 0xd0},
        {0x48, 0x89, 0xc4, 0x50},
        {0x48, 0x89, 0xc4, 0xc3},
        {0x48, 0x89, 0xc4, 0x48, 0xcf},
        {0xf0, 0x48, 0x0f, 0xc7, 0x08},
        {0x48, 0x89, 0xc7, 0xf3, 0xa4},
        {0x48, 0x89, 0xc4, 0xcc},
        {0x48, 0x89, 0xc4, 0x9c},
        {0x48, 0x89, 0xc5, 0xc9},
        {0x48, 0x89, 0xc1, 0x0f, 0x34}, // SYSENTER: the kernel's way out takes RCX for the stack,
        {0x48, 0x89, 0xc2, 0x0f, 0x05}, // that of SYSCALL RDX
    };
    static const uint8_t sizes[] = {3, 3, 2, 2, 4, 4, 5, 5, 5, 4, 4, 4, 5, 5};
    uint32_t way = dice_below(dice, ARRAY_COUNT(ways));
    uint64_t address = dice_address(dice);
    code_begin(&code_area);
    code_move(RSI, CHILD_OWN);
    code_move(RCX, 16);
    code_move(RAX, address);
    code_emit(ways[way], sizes[way]);
    end_code();
    return address >= ABI_USER_END && address < UINT64_MAX - ABI_PAGE;
}

// Single steps: TF, then the call page, a load of SS, the call itself.
static void write_step(struct dice *dice) {
    static const uint8_t call[] = {0xff, 0xd3}, pop_ss[] = {0x8e, 0xd2};
    const uint8_t enter[] = {0x0f, wall_enters_by_syscall() ? 0x05 : 0x34};
    static const uint8_t push_pop[] = {0x50, 0x9d};
    code_begin(&code_area);
    code_move(RBX, ABI_CALL_PAGE);
    code_move(RDX, dice_one_in(dice, 2) ? 0x23 : 0x33);
    code_move(RCX, STACK_TOP - 128);
    code_move(RAX, FLAG_TF | FLAG_IF | 2);
    code_emit(push_pop, sizeof(push_pop));
    switch (dice_below(dice, 4)) {
    case 0:
        code_emit(call, sizeof(call));
        break;
    case 1:
        code_emit(pop_ss, sizeof(pop_ss));
        code_emit(call, sizeof(call));
        break;
    case 2:
        code_emit(pop_ss, sizeof(pop_ss));
        code_emit(enter, sizeof(enter));
        break;
    default:
        code_emit(enter, sizeof(enter));
        break;
    }
    end_code();
}

static void write_anything(struct dice *dice) {
    code_begin(&code_area);
    for (uint32_t reg = 0; reg < 8; reg++)
        if (reg != RSP)
            code_move(reg, dice_one_in(dice, 2) ? CHILD_OWN + dice_below(dice, OWN_SIZE)
                                                : dice_value(dice));
    for (unsigned i = 0; i < 64; i++) {
        uint8_t byte = (uint8_t)dice_roll(dice);
        code_emit(&byte, 1);
    }
    // GETSEC stops the emulator (docs/testing.md): the one instruction that is left out.
    for (uint32_t i = 0; i + 1 < code_size(); i++)
        if (code_area.at[i] == 0x0f && code_area.at[i + 1] == 0x37)
            code_area.at[i + 1] = 0x0b;
    end_code();
}

// ---- the mother ---------------------------------------------------------------------------------

// How it may end on this processor.
static uint64_t ends_here(uint64_t ends) {
    if (wall_enters_by_syscall()) {
        ends |= (ends & AMD_UD) != 0 ? UD : 0;
        ends |= (ends & AMD_DOOR) != 0 ? ANY | LIVES : 0;
    }
    if (is_on_qemu()) {
        ends |= (ends & QEMU_LIVES) != 0 ? LIVES : 0;
        ends |= (ends & QEMU_UD) != 0 ? UD : 0;
    }
    return ends;
}

static void judge(const char *name, uint64_t detail, bool has_ended,
                  const struct abi_process_status *status, uint64_t ends) {
    if (!has_ended) {
        CHECK((ends & HANGS) != 0, "%s 0x%lx: does not end", name, detail);
    } else if (status->state == ABI_PROCESS_EXITED) {
        CHECK((ends & LIVES) != 0, "%s 0x%lx: nothing happened", name, detail);
    } else {
        behind_count += status->vector == EXC_PF && (status->error & ERROR_USER) == 0;
        bool is_good = status->vector < 32 && (ends & BIT(status->vector)) != 0;
        CHECK(is_good, "%s 0x%lx: exception %u, error 0x%x at 0x%lx", name, detail, status->vector,
              status->error, status->rip);
    }
}

// A child lives and ends.
static void attack(const char *name, uint64_t detail, uint64_t entry, uint64_t ends) {
    struct child child;
    struct abi_process_status status;
    child_open(&child, FRIEND_QUOTA);
    child_map(&child, &own_area, CHILD_OWN, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    child_map(&child, &code_area, CHILD_CODE, ABI_RIGHT_READ | ABI_RIGHT_EXECUTE);
    child_start(&child, entry, STACK_TOP, CHILD_OWN);
    bool has_ended =
        child_wait(&child, (ends & HANGS) != 0 ? HANGING_US : WALL_PATIENCE_US, &status);
    judge(name, detail, has_ended, &status, ends_here(ends));
    child_close(&child);
}

static void attack_by_function(const char *name, uint64_t detail, void (*function)(struct own *),
                               uint64_t ends) {
    own->done = 0;
    attack(name, detail, (uintptr_t)function, ends);
    CHECK((ends & ANY) != 0 || own->done == 1, "%s: came through %lu times", name, own->done);
}

// Ring 3 names no descriptor but its own, whatever the limit of the GDT is. Behind it the
// processor may read for the process what is not mapped: that ends the process.
static void attack_by_names(void) {
    own->seen_count = 0;
    for (own->selector = 0; own->selector < SELECTORS; own->selector += NAMED_A_LIFE)
        attack_by_function("naming selectors", own->selector, name_selectors, LIVES | PF);
    CHECK(own->seen_count > 0, "not even its own selectors are seen");
    visible_count = MIN(own->seen_count, SEEN_MAX);
    for (uint32_t i = 0; i < visible_count; i++) {
        const struct seen *seen = &own->seen[i];
        bool is_ours = (seen->rights & RIGHTS_S) != 0 &&
                       (seen->rights & RIGHTS_DPL3) == RIGHTS_DPL3 && seen->selector < GDT_BEHIND &&
                       (seen->selector & SELECTOR_LDT) == 0;
        CHECK(is_ours, "selector 0x%x is seen, with rights 0x%x", seen->selector, seen->rights);
        visible[i] = *seen;
    }
}

// Each part of the TSS's bitmap, of which there is none, and what a PC has.
static void attack_by_ports(struct dice *dice) {
    static const uint16_t known[] = {0x20,  0x40,  0x60,  0x64,  0x70,  0x80,   0x92,
                                     0xcf8, 0xcfc, 0xcf9, 0x3f8, 0x402, 0xfffc, 0xffff};
    static const uint8_t ways[] = {0xec, 0xed, 0xee, 0xef}; // IN and OUT with DX, of AL and EAX
    for (uint32_t i = 0; i < ARRAY_COUNT(known) + PORT_COUNT; i++) {
        uint32_t part = (i - (uint32_t)ARRAY_COUNT(known)) * (0x10000 / PORT_COUNT);
        uint32_t port =
            i < ARRAY_COUNT(known) ? known[i] : part + dice_below(dice, 0x10000 / PORT_COUNT);
        for (uint32_t way = 0; way < ARRAY_COUNT(ways); way++) {
            code_begin(&code_area);
            code_move(RDX, port);
            code_emit(&ways[way], 1);
            end_code();
            attack("port", port, CHILD_CODE, GP);
        }
    }
}

static void attack_by_msrs(struct dice *dice) {
    static const uint8_t ways[][2] = {{0x0f, 0x32}, {0x0f, 0x30}}; // RDMSR, WRMSR
    for (uint32_t i = 0; i < MSR_COUNT; i++) {
        uint32_t msr = random_msr(dice);
        for (uint32_t way = 0; way < ARRAY_COUNT(ways); way++) {
            code_begin(&code_area);
            code_move(RCX, msr);
            code_emit(ways[way], sizeof(ways[way]));
            end_code();
            attack("MSR", msr, CHILD_CODE, GP);
        }
    }
}

// A process that waits has a kernel stack, so the next one has another.
static void park(struct child *child) {
    child_open(child, FRIEND_QUOTA);
    child_map(child, &own_area, CHILD_OWN, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    own->event = child_give(child, child->event, ABI_RIGHT_WAIT);
    child_start(child, (uintptr_t)wait_for_ever, STACK_TOP - ABI_PAGE, CHILD_OWN);
    wall_nap(100); // it has read its handle
}

static uint32_t random_selector(struct dice *dice) {
    if (dice_one_in(dice, 3))
        return dice_below(dice, SELECTORS);
    return dice_one_in(dice, 2) ? dice_below(dice, 0x80)
                                : visible[dice_below(dice, visible_count)].selector;
}

static void attack_by_visible(void) {
    for (uint32_t i = 0; i < visible_count; i++) {
        for (own->segment = 0; own->segment < SEGMENT_COUNT; own->segment++) {
            own->selector = visible[i].selector;
            attack_by_function("loading selector", own->selector, load_selector, LOAD_ENDS);
        }
    }
}

static void attack_by_selectors(struct dice *dice) {
    struct child parked[STACKS];
    for (uint32_t i = 0; i < STACKS; i++) {
        attack_by_names();
        attack_by_visible();
        park(&parked[i]);
    }
    for (uint32_t i = 0; i < STACKS; i++)
        child_close(&parked[i]);
    for (uint32_t i = 0; i < 60; i++) {
        own->segment = dice_below(dice, SEGMENT_COUNT);
        own->selector = random_selector(dice);
        attack_by_function("loading selector", own->selector, load_selector, LOAD_ENDS);
    }
    for (uint32_t i = 0; i < 80; i++) {
        uint32_t selector = random_selector(dice);
        write_far(dice, selector);
        attack("far transfer with selector", selector, CHILD_CODE, ANY | LIVES | HANGS);
    }
}

static void attack_by_code(struct dice *dice) {
    for (uint32_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint64_t bytes = 0;
        memcpy(&bytes, rows[i].bytes, rows[i].size);
        write_row(dice, &rows[i]);
        attack("instruction", bytes, CHILD_CODE, rows[i].ends);
    }
    for (uint32_t vector = 0; vector < 256; vector++) {
        write_interrupt(vector);
        attack("INT", vector, CHILD_CODE, GP);
    }
    for (uint32_t i = 0; i < 16; i++) {
        write_step(dice);
        attack("single step", i, CHILD_CODE, DB | PF | GP | LIVES);
    }
    for (uint32_t i = 0; i < 120; i++) {
        bool is_kernels = write_access(dice);
        attack("address", i, CHILD_CODE, ANY | (is_kernels ? 0 : LIVES | HANGS));
    }
    for (uint32_t i = 0; i < 150; i++) {
        write_anything(dice);
        attack("random code", i, CHILD_CODE, ANY | LIVES | HANGS);
    }
}

void wall_main(void) {
    struct dice dice = {wall_seed};
    own_area = area_make(OWN_SIZE);
    code_area = area_make(ABI_PAGE);
    own = (struct own *)(void *)own_area.at;
    for (uint64_t round = 0; round < wall_rounds; round++) {
        own->dice.state = dice_roll(&dice);
        attack_by_selectors(&dice);
        attack_by_function("a call with flags", 0, enter_with_flags, LIVES);
        attack_by_function("split locks", 0, split_locks, LIVES | BIT(EXC_AC));
        attack_by_code(&dice);
        attack_by_ports(&dice);
        attack_by_msrs(&dice);
        attack_by_names();
    }
    // A VM exit of VT-x leaves a GDT of 64 KiB: then the processor looks behind ours.
    say("%lu lives ended behind the GDT", behind_count);
    CHECK(wall_enters_by_syscall() || behind_count > 0, "nobody looked behind the GDT");
}
