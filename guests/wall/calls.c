// SPDX-License-Identifier: Apache-2.0
// Every system call, with random, boundary and racing arguments, from several threads of a
// process that has what a VMM has. They close and copy the handles that the others use, unmap the
// memory that the kernel copies from, run one vCPU together and rewrite its page; then the mother
// kills the process, wherever its threads are, and all its memory has to come back. Command line:
//     races          the CPUs run at the same time, so where a kill finds a thread is chance: in
//                    some calls it may find nobody
#include "lib/string.h"
#include "lib/syscall.h"
#include "runtime/wall.h"

#define LIVES         (2 * MANY) // a round: every second one has a favourite call
#define LIVES_MORE    1200u      // at most, for a call that never worked, or that few died in
#define KILLS         3u         // in each call, at least
#define THREADS       4u
#define THREADS_MAX   12u  // with those that they make
#define CALLS         300u // of a thread
#define LIFE_US_MAX   60000u
#define LIFE_US_WHOLE 1000000u
#define QUOTA_BYTES   (3ULL << 20)
#define STACK_SIZE    ABI_PAGE
#define OWN_PAGES     (2 + THREADS_MAX)
#define HANDLES       6u              // that the threads share, of each type
#define PLACES_AT     0x4000000000ULL // where they map and unmap
#define PLACES        3u
#define MANY          (ABI_CALL_COUNT + 3) // some that are no calls

enum kind { QUOTA, MEMORY, EVENT, VM, VCPU, PROCESS, KINDS };
// A VMM has no handle of these: any of its others has to be refused.
enum { SYSTEM = KINDS, GROUP = KINDS, INTERRUPT = KINDS, PORTS = KINDS, LOG = KINDS };

// What an argument is.
enum argument {
    NOTHING,
    OBJECT,  // a handle with the kind of the argument
    POINTER, // to what the kernel reads or writes
    OFFSET,  // in pages, mostly 0
    SIZE,    // in pages, mostly
    SMALL,   // a small number
    STATE,   // enum vcpu_state_group
    LENGTH,  // of text, or of vCPU state
    RIGHTS,
    PLACE, // where something may be mapped
    GPA,
    DEADLINE,
    VALUE,
    MASK,
    ENTRY, // of a thread
    STACK,
    CPU,
};

// The numbers of include/calls.h by their names.
enum {
    IS_handle = OBJECT,
    IS_rights = RIGHTS,
    IS_mask = MASK,
    IS_bytes = SIZE,
    IS_size = SIZE,
    IS_length = LENGTH,
    IS_offset = OFFSET,
    IS_address = PLACE,
    IS_status = VALUE,
    IS_entry = ENTRY,
    IS_stack = STACK,
    IS_argument = VALUE,
    IS_cpu = CPU,
    IS_deadline = DEADLINE,
    IS_ticks = VALUE,
    IS_tsc_hz = NOTHING, // the host's rate: others are rarely taken
    IS_gpa = GPA,
    IS_count = SMALL,
    IS_data = VALUE,
    IS_port = SMALL,
    IS_input = SMALL,
    IS_trigger = VALUE,
    IS_first = SMALL,
    IS_width = SMALL,
    IS_device = GPA,
    IS_base = GPA,
    IS_done = SMALL,
    IS_index = SMALL,
    IS_signal = SMALL,
    IS_value = VALUE,
    IS_group = STATE,
    IS_power = SMALL,
};

#define ROW_HANDLE(name, TYPE, rights)                                                             \
    { OBJECT, TYPE }
#define ROW_OWN(name, TYPE, rights)                                                                \
    { OBJECT, TYPE }
#define ROW_ANY(name, rights)                                                                      \
    { OBJECT, KINDS }
#define ROW_MAPPED(name)                                                                           \
    { OBJECT, MEMORY }
#define ROW_NOTIFY(name)                                                                           \
    { OBJECT, EVENT }
#define ROW_SIGNAL(name)                                                                           \
    { OBJECT, EVENT }
#define ROW_PAGES(name)                                                                            \
    { IS_##name, KINDS }
#define ROW_U16(name)                                                                              \
    { IS_##name, KINDS }
#define ROW_U32(name)                                                                              \
    { IS_##name, KINDS }
#define ROW_U64(name)                                                                              \
    { IS_##name, KINDS }
#define ROW_ENUM(name, type)                                                                       \
    { IS_##name, KINDS }
#define ROW_IN(name, type)                                                                         \
    { POINTER, KINDS }
#define ROW_OUT(name, type)                                                                        \
    { POINTER, KINDS }
#define ROW_BYTES_IN(name, type)                                                                   \
    { POINTER, KINDS }
#define ROW_BYTES_OUT(name, type)                                                                  \
    { POINTER, KINDS }
#define ROW_NONE                                                                                   \
    { NOTHING, KINDS }
#define ROW_OF(argument) ROW_##argument

struct row {
    struct {
        uint8_t is, kind; // enum argument, enum kind
    } argument[6];
};

static const struct row rows[MANY] = {
#define CALL(number, NAME, name, ...) [number] = {{EACH(ROW_OF, __VA_ARGS__)}},
#define HOT_CALL                      CALL
#include "include/calls.h"
};

// The kind of object that a call makes.
static uint32_t made_by(uint32_t number) {
    switch (number) {
    case ABI_QUOTA_CREATE:
        return QUOTA;
    case ABI_MEMORY_CREATE:
    case ABI_VCPU_PAGE:
        return MEMORY;
    case ABI_PROCESS_CREATE:
        return PROCESS;
    case ABI_EVENT_CREATE:
        return EVENT;
    case ABI_VM_CREATE:
        return VM;
    case ABI_VCPU_CREATE:
        return VCPU;
    default:
        return KINDS;
    }
}

// At CHILD_OWN; a page behind it for what the kernel copies, then stacks.
struct own {
    uint64_t seed;
    uint64_t mapped[2][3];           // what a PROCESS_MAP and a VM_MAP named: handle, address, size
    uint32_t favourite;              // call; MANY: none
    uint32_t thread_count;           // ever started (atomic)
    uint32_t handle[KINDS][HANDLES]; // atomic each, in their way: threads take what they find
    uint64_t calls[MANY], good[MANY];
    uint32_t inside[THREADS_MAX + 1]; // by stack: the call in which a thread is, from 1; 0: in none
};
_Static_assert(sizeof(struct own) <= ABI_PAGE, "one page");

#define BUFFER (CHILD_OWN + ABI_PAGE)

// ---- in the child -------------------------------------------------------------------------------

static uint32_t *any_handle(struct own *self, struct dice *dice, uint32_t kind) {
    if (kind == KINDS || dice_one_in(dice, 12))
        kind = dice_below(dice, KINDS);
    return &self->handle[kind][dice_below(dice, dice_one_in(dice, 2) ? 2 : HANDLES)];
}

static void keep_handle(struct own *self, struct dice *dice, uint32_t kind, int64_t handle) {
    uint32_t *slot = &self->handle[kind][dice_below(dice, HANDLES)];
    // Else the process soon has none left.
    uint32_t old = __atomic_exchange_n(slot, (uint32_t)handle, __ATOMIC_RELAXED);
    if (old > KINDS && dice_one_in(dice, 2))
        (void)sys_handle_close(old);
}

static uint64_t any_place(struct dice *dice) {
    return PLACES_AT + dice_below(dice, PLACES) * (dice_one_in(dice, 6) ? ABI_PAGE : 4 * ABI_PAGE);
}

static uint64_t any_pointer(struct dice *dice) {
    switch (dice_below(dice, 8)) {
    case 0:
        return any_place(dice) + dice_below(dice, 2 * ABI_PAGE);
    case 1:
        return dice_address(dice);
    case 2:
        return BUFFER - dice_below(dice, 64); // over a border
    case 3:
        return (uintptr_t)rows + dice_below(dice, sizeof(rows)); // only to be read
    default:
        return BUFFER + dice_below(dice, 64);
    }
}

static uint64_t any_gpa(struct dice *dice) {
    static const uint64_t places[] = {0, 0, 0xfee00000, 0xfffff000};
    return dice_one_in(dice, 8) ? dice_value(dice) : places[dice_below(dice, ARRAY_COUNT(places))];
}

static void attack(void);

// A thread's own, by its stack; the last one is for who came to it with a stack of its own making.
static uint32_t *inside_of(struct own *self) {
    uint64_t at = (uintptr_t)__builtin_frame_address(0) - (BUFFER + ABI_PAGE);
    return &self->inside[MIN(at / STACK_SIZE, THREADS_MAX)];
}

static uint64_t any_stack(struct own *self) {
    uint32_t number = __atomic_fetch_add(&self->thread_count, 1, __ATOMIC_RELAXED);
    return number < THREADS_MAX ? BUFFER + ABI_PAGE + (number + 1) * STACK_SIZE - 8 : UINT64_MAX;
}

static uint64_t choose(struct own *self, struct dice *dice, uint32_t argument, uint32_t kind) {
    static const uint64_t sizes[] = {
        ABI_PAGE,     ABI_PAGE, ABI_PAGE, ABI_PAGE, ABI_PAGE,           2 * ABI_PAGE,
        4 * ABI_PAGE, 0,        0,        SIZE_2M,  SIZE_2M + ABI_PAGE,
    };
    static const uint64_t states[] = {sizeof(struct vcpu_registers), sizeof(struct vcpu_apic),
                                      ABI_XSAVE_SIZE};
    // A thread that begins anywhere mostly ends them all.
    uint32_t chance = argument == ENTRY || argument == STACK ? 40 : 12;
    if (argument != NOTHING && dice_one_in(dice, chance))
        return dice_value(dice);
    switch (argument) {
    case OBJECT:
        return *any_handle(self, dice, kind);
    case POINTER:
        return any_pointer(dice);
    case SIZE:
        return sizes[dice_below(dice, ARRAY_COUNT(sizes))];
    case OFFSET:
        return dice_one_in(dice, 4) ? dice_below(dice, 4) * ABI_PAGE : 0;
    case SMALL:
        return dice_one_in(dice, 3) ? 16 * dice_below(dice, 64) : dice_below(dice, 4);
    case STATE:
        return dice_below(dice, ARRAY_COUNT(states));
    case LENGTH:
        return dice_one_in(dice, 3) ? dice_below(dice, 300)
                                    : states[dice_below(dice, ARRAY_COUNT(states))];
    case RIGHTS:
        return dice_one_in(dice, 3) ? dice_below(dice, 0x400)
                                    : ABI_RIGHT_READ | dice_below(dice, 8);
    case PLACE:
        return any_place(dice);
    case GPA:
        return any_gpa(dice);
    case DEADLINE:
        return dice_one_in(dice, 64) ? ABI_FOREVER : wall_tsc() + dice_below(dice, 20000);
    case VALUE:
        return dice_value(dice);
    case MASK:
        return dice_one_in(dice, 2) ? UINT64_MAX : dice_value(dice);
    case ENTRY:
        return (uintptr_t)attack;
    case STACK:
        return any_stack(self);
    case CPU:
        return dice_one_in(dice, 4) ? dice_below(dice, 4) : ABI_CPU_ANY;
    default:
        return 0;
    }
}

// What would end everything too soon is rare.
static uint32_t choose_call(const struct own *self, struct dice *dice) {
    bool is_favourite = self->favourite < MANY && dice_one_in(dice, 2);
    uint32_t number = is_favourite ? self->favourite : dice_below(dice, MANY);
    bool is_end = number == ABI_PROCESS_KILL || number == ABI_THREAD_EXIT;
    return is_end && !dice_one_in(dice, 50) ? (uint32_t)ABI_THREAD_YIELD : number;
}

// State that a vCPU has, with some of it spoiled, is believed more often than noise.
static void spoil_buffer(struct dice *dice) {
    uint64_t *words = (uint64_t *)BUFFER;
    if (dice_one_in(dice, 3))
        words[dice_below(dice, ABI_PAGE / sizeof(*words))] = dice_value(dice);
}

static uint64_t *mapped_by(struct own *self, uint32_t number) {
    switch (number) {
    case ABI_PROCESS_MAP:
    case ABI_PROCESS_UNMAP:
        return self->mapped[0];
    case ABI_VM_MAP:
    case ABI_VM_UNMAP:
        return self->mapped[1];
    default:
        return NULL;
    }
}

// By chance alone, an unmap would rarely name what is mapped, nor a write a whole state.
static void fit(struct own *self, struct dice *dice, uint32_t number, uint64_t a[6]) {
    const uint64_t *mapped = mapped_by(self, number);
    if (!dice_one_in(dice, 2))
        return;
    if (number == ABI_PROCESS_UNMAP || number == ABI_VM_UNMAP)
        memcpy(a, mapped, sizeof(self->mapped[0]));
    if (number == ABI_VCPU_WRITE && syscall_6(ABI_VCPU_READ, a[0], a[1], a[2], a[3], 0, 0) == 0)
        spoil_buffer(dice);
}

static void keep_mapped(struct own *self, uint32_t number, const uint64_t a[6]) {
    uint64_t *mapped = mapped_by(self, number);
    if (number != ABI_PROCESS_MAP && number != ABI_VM_MAP)
        return;
    mapped[0] = a[0];
    mapped[1] = a[2];
    mapped[2] = a[4];
}

// Whatever its argument is.
static void attack(void) {
    struct own *self = (struct own *)CHILD_OWN;
    struct dice dice = {self->seed + wall_tsc()};
    uint32_t *inside = inside_of(self);
    for (uint32_t i = 0; i < CALLS; i++) {
        uint32_t number = choose_call(self, &dice);
        const struct row *row = &rows[number];
        uint32_t made = made_by(number);
        uint64_t a[6];
        for (uint32_t k = 0; k < ARRAY_COUNT(a); k++)
            a[k] = choose(self, &dice, row->argument[k].is, row->argument[k].kind);
        spoil_buffer(&dice);
        fit(self, &dice, number, a);
        __atomic_fetch_add(&self->calls[number], 1, __ATOMIC_RELAXED);
        __atomic_store_n(inside, number + 1, __ATOMIC_SEQ_CST);
        int64_t result = syscall_6((enum abi_call)number, a[0], a[1], a[2], a[3], a[4], a[5]);
        __atomic_store_n(inside, 0, __ATOMIC_SEQ_CST);
        if (result < 0)
            continue;
        __atomic_fetch_add(&self->good[number], 1, __ATOMIC_RELAXED);
        keep_mapped(self, number, a);
        if (number == ABI_HANDLE_COPY)
            keep_handle(self, &dice, dice_below(&dice, KINDS), result);
        else if (made != KINDS)
            keep_handle(self, &dice, made, result);
    }
    sys_thread_end();
}

// ---- the mother ---------------------------------------------------------------------------------

static uint64_t calls[MANY], good[MANY], killed[MANY]; // of all lives

static void give(struct own *own, const struct child *child, enum kind kind, uint32_t handle,
                 uint32_t rights) {
    for (uint32_t i = 0; i < 2; i++)
        own->handle[kind][i] = child_give(child, handle, rights);
}

// Who was inside a call when the process ended, by the mother or by another thread, comes out of it
// no more. THREAD_EXIT and PROCESS_KILL are such an end themselves. One such kill may find its
// thread still in ring 3, between the mark and the call; of KILLS, hardly all do.
static void count_killed(const struct own *own) {
    for (uint32_t i = 0; i < THREADS_MAX; i++)
        if (own->inside[i] != 0 && own->inside[i] <= MANY)
            killed[own->inside[i] - 1]++;
}

// A life. How it ends is its own affair: by a thread that was started anywhere, by its last
// thread, or killed.
static void live(struct dice *dice, const struct area *area, uint32_t event, uint32_t favourite) {
    struct child child;
    struct abi_process_status status;
    struct own *own = (struct own *)(void *)area->at;
    memset(area->at, 0, area->size);
    child_open(&child, QUOTA_BYTES);
    child_map(&child, area, CHILD_OWN, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    own->seed = dice_roll(dice);
    own->favourite = favourite;
    own->thread_count = THREADS;
    give(own, &child, QUOTA, child.quota, ABI_RIGHT_READ | ABI_RIGHT_CREATE);
    give(own, &child, EVENT, event, ABI_RIGHTS_ALL);
    for (uint32_t i = 0; i < THREADS; i++)
        (void)sys_thread_create(child.process, (uintptr_t)attack,
                                BUFFER + ABI_PAGE + (i + 1) * STACK_SIZE - 8, CHILD_OWN,
                                ABI_CPU_ANY);
    (void)child_wait(&child,
                     favourite < MANY || dice_one_in(dice, 2) ? dice_below(dice, LIFE_US_MAX)
                                                              : LIFE_US_WHOLE,
                     &status);
    child_close(&child);
    for (uint32_t i = 0; i < MANY; i++) {
        calls[i] += own->calls[i];
        good[i] += own->good[i];
    }
    count_killed(own);
}

// An attack that the kernel refuses at the door tests the door only. Some calls do not return; the
// local APIC's only work between two runs of the thread that runs the vCPU: vcpus.c's affair.
static bool has_reached(uint32_t call) {
    bool returns = call != ABI_PROCESS_KILL && call != ABI_THREAD_EXIT &&
                   call != ABI_PROCESS_CREATE && call != ABI_VCPU_APIC_READ &&
                   call != ABI_VCPU_APIC_WRITE;
    return calls[call] > 0 && (good[call] > 0 || !returns);
}

static void check_reach(struct dice *dice, const struct area *area, uint32_t event) {
    uint64_t sum = 0, least = UINT64_MAX, kills = wall_has("races") ? 0 : KILLS;
    for (uint32_t i = 0; i < MANY; i++) {
        bool may_work = i < ABI_SYSTEM_INFO;
        for (uint32_t life = 0; life < LIVES_MORE; life++)
            if (killed[i] < kills || (may_work && !has_reached(i)))
                live(dice, area, event, i);
        CHECK(!may_work || has_reached(i), "call %u: made %lu times, worked %lu times", i, calls[i],
              good[i]);
        CHECK(killed[i] >= kills, "call %u: %lu were killed in it", i, killed[i]);
        sum += killed[i];
        least = MIN(least, killed[i]);
    }
    CHECK(sum > 0, "nobody was killed inside a call");
    say("killed inside a call %lu times, in each of %u calls %lu times or more", sum, MANY, least);
}

void wall_main(void) {
    struct dice dice = {wall_seed};
    struct area area = area_make(OWN_PAGES * ABI_PAGE);
    uint32_t event = must(sys_event_create(wall_start->quota), "an event");
    for (uint64_t life = 0; life < wall_rounds * LIVES; life++)
        live(&dice, &area, event, life % 2 == 0 ? (uint32_t)(life / 2 % MANY) : MANY);
    uint64_t sum = 0, sum_good = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        sum += calls[i];
        sum_good += good[i];
    }
    say("calls %lu, of which %lu worked", sum, sum_good);
    check_reach(&dice, &area, event);
}
