// SPDX-License-Identifier: Apache-2.0
// The kernel's system calls, in sequences that the input spells: each byte or few one number or
// argument. The world is that of tests/unit/kernel/syscall_test.c: one process with a quota. What
// is checked after each call:
//
//     no more than the quota's limit is charged to it a copy of a handle has no right, and signals
//     no bit, that the handle had not, and no other handle has changed
//
// and after the process has ended: all that it took is back. The sanitizers check the rest.
#include "arch/cache.h"
#include "arch/mitigation.h"
#include "lib/each.h"
#include "tests/unit/kernel/syscall_test.c"

#include "tests/fuzz/input.h"

#include "kernel/vlapic.h"

#define HANDLES_SEEN 48u

bool vcpu_is_cpuid_dynamic(uint32_t leaf) {
    return leaf == 1;
}
// There is no vCPU here to take an interrupt, and none whose registers could be asked for.
uint32_t vlapic_deliver_message(struct vm *vm, uint64_t address, uint32_t data) {
    (void)vm, (void)address, (void)data;
    return 0;
}
uint32_t vlapic_mmio_read(struct vcpu *vcpu, uint32_t offset) {
    (void)vcpu, (void)offset;
    abort();
}
void vlapic_mmio_write(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    (void)vcpu, (void)offset, (void)value;
    abort();
}

struct mitigation mitigation;
void mitigation_clear_bhb(void) {}

struct view {
    const struct object *object;
    uint64_t rights;
    uint64_t mask;
};

static void look(struct view *views) {
    for (uint64_t i = 0; i < HANDLES_SEEN; i++) {
        struct handle has;
        views[i] = (struct view){NULL, 0, 0};
        if (handle_get(process, i + 1, OBJECT_NONE, 0, &has) != ABI_OK)
            continue;
        views[i] = (struct view){has.object, has.rights, has.mask};
        object_unref(has.object);
    }
}

// A copy has the rights and bits of the handle that was copied, as far as they were asked for.
static void check_copy(const struct view *before, const struct view *after, const uint64_t *a,
                       int64_t result) {
    uint64_t source = a[2];
    if (a[0] != ABI_HANDLE_COPY || a[1] != 0 || result <= 0)
        return;
    if (source == 0 || source > HANDLES_SEEN || result > HANDLES_SEEN)
        return;
    cr_assert_eq(after[result - 1].object, before[source - 1].object);
    cr_assert_eq(after[result - 1].rights & ~(before[source - 1].rights & a[3]), 0);
    cr_assert_eq(after[result - 1].mask & ~(before[source - 1].mask & a[4]), 0);
}

// What was there is as it was, but for what was closed.
static void check_others(const struct view *before, const struct view *after) {
    for (unsigned i = 0; i < HANDLES_SEEN; i++) {
        cr_assert_eq(after[i].rights & ~(uint64_t)ABI_RIGHTS_ALL, 0);
        if (before[i].object != NULL && after[i].object != NULL)
            cr_assert(after[i].object == before[i].object && after[i].rights == before[i].rights &&
                      after[i].mask == before[i].mask);
    }
}

static uint64_t argument(struct input *input) {
    static const uint64_t edges[] = {0,
                                     1,
                                     PAGE_SIZE,
                                     SIZE_2M,
                                     SIZE_1G,
                                     ABI_USER_BASE,
                                     ABI_USER_END - PAGE_SIZE,
                                     ABI_USER_END,
                                     ABI_START_ADDRESS,
                                     ABI_CALL_PAGE,
                                     UINT64_MAX,
                                     UINT64_MAX - PAGE_SIZE + 1,
                                     1ULL << 63,
                                     1ULL << 32,
                                     UINT32_MAX,
                                     ABI_CPUID_MAX,
                                     ABI_CONSOLE_MAX,
                                     0xfee00000};
    uint8_t kind = input_byte(input);
    switch (kind >> 5) {
    case 0:
        return edges[kind % ARRAY_COUNT(edges)];
    case 1:
        return (uint64_t)user + input_number(input, 2) % (sizeof(user) + 64);
    case 2:
        return ABI_USER_BASE + (kind & 31) * PAGE_SIZE;
    case 3:
        return (kind & 31) * PAGE_SIZE;
    case 4:
        return input_number(input, 8);
    case 5:
        return input_number(input, 2) % (ABI_RIGHTS_ALL + 1);
    case 6:
        return 1 + (kind & 7); // a handle, most likely
    default:
        return kind & 31;
    }
}

// Every other call makes or copies something, so that the others find it.
static uint64_t number(struct input *input) {
    static const uint8_t fertile[] = {ABI_EVENT_CREATE, ABI_MEMORY_CREATE, ABI_HANDLE_COPY,
                                      ABI_HANDLE_COPY, ABI_QUOTA_CREATE};
    uint8_t byte = input_byte(input);
    return byte & 1 ? fertile[(byte >> 1) % ARRAY_COUNT(fertile)]
                    : (byte >> 1) % (ABI_CALL_COUNT + 1);
}

static uint64_t existing(const struct view *views, uint8_t choice) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < HANDLES_SEEN; i++)
        count += views[i].object != NULL;
    if (count == 0)
        return 0;
    count = choice % count + 1;
    for (uint64_t i = 0;; i++)
        if (views[i].object != NULL && --count == 0)
            return i + 1;
}

// What each call takes, of include/calls.h.
enum kind { NOTHING, NUMBER, ADDRESS, QUOTA_HANDLE, OTHER_HANDLE, OWN_OR_HANDLE };
#define KIND_HANDLE(name, TYPE, rights)                                                            \
    (OBJECT_##TYPE == OBJECT_QUOTA ? QUOTA_HANDLE : OTHER_HANDLE)
#define KIND_OWN(name, TYPE, rights) OWN_OR_HANDLE
#define KIND_ANY(name, rights)       OTHER_HANDLE
#define KIND_MAPPED(name)            OTHER_HANDLE
#define KIND_NOTIFY(name)            OWN_OR_HANDLE
#define KIND_SIGNAL(name)            OTHER_HANDLE
#define KIND_PAGES(name)             NUMBER
#define KIND_U16(name)               NUMBER
#define KIND_U32(name)               NUMBER
#define KIND_U64(name)               NUMBER
#define KIND_ENUM(name, type)        NUMBER
#define KIND_IN(name, type)          ADDRESS
#define KIND_OUT(name, type)         ADDRESS
#define KIND_BYTES_IN(name, type)    ADDRESS
#define KIND_BYTES_OUT(name, type)   ADDRESS
#define KIND_NONE                    NOTHING
#define KIND_OF(argument)            KIND_##argument

#undef CALL // of the unit tests
static const uint8_t kinds[ABI_CALL_COUNT][6] = {
#define CALL(number, NAME, name, ...) [number] = {EACH(KIND_OF, __VA_ARGS__)},
#define HOT_CALL                      CALL
#include "include/calls.h"
};

// Mostly what the call can use.
static uint64_t argument_of(struct input *input, const struct view *views, uint8_t kind) {
    uint8_t choice = input_byte(input);
    if (choice < 32)
        return argument(input);
    switch (kind) {
    case ADDRESS:
        return (uint64_t)user + choice % 64;
    case QUOTA_HANDLE:
        return 1;
    case OTHER_HANDLE:
        return existing(views, choice);
    case OWN_OR_HANDLE:
        return choice & 1 ? 0 : existing(views, choice);
    default:
        return argument(input);
    }
}

static void call_once(struct input *input) {
    struct view before[HANDLES_SEEN], after[HANDLES_SEEN];
    uint64_t a[7] = {number(input)};
    look(before);
    for (unsigned i = 0; i < 6; i++) {
        uint8_t kind = a[0] < ABI_CALL_COUNT ? kinds[a[0]][i] : NUMBER;
        a[i + 1] = kind != NOTHING ? argument_of(input, before, kind) : 0;
    }
    if (is_left_out(a[0], a))
        return;
    host_now++;
    int64_t result = call_with(a);
    look(after);
    check_copy(before, after, a, result);
    check_others(before, after);
    cr_assert_leq(host_quota_read(quota).used, QUOTA_BYTES);
}

static void begin(void) {
    static bool is_set_up;
    if (!is_set_up) {
        // Little memory, since the auditor looks at all of it whenever a VM or process has gone.
        host_init(host_map, 1);
        quota_init_root(frame_totals().free);
        vcpu_backend = &host_backend;
        quota = quota_create(quota_root(), QUOTA_BYTES);
        is_set_up = true;
    }
    process = process_create(quota, &group_root, NULL, 0);
    cr_assert_not_null(process);
    thread_current()->process = process;
    object_ref(&quota->object);
    cr_assert_eq(handle_insert(process, &quota->object, ABI_RIGHT_READ | ABI_RIGHT_CREATE), 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct abi_process_status status = {.state = ABI_PROCESS_EXITED};
    struct input input = {data, size};
    begin();
    memset(user, 0, sizeof(user));
    while (input.left > 0)
        call_once(&input);
    process_end(process, &status);
    cr_assert_eq(host_quota_read(quota).used, PAGE_SIZE); // the process itself
    object_unref(&process->object);
    cr_assert_eq(host_quota_read(quota).used, 0);
    return 0;
}

// A machine without cache allocation.
bool cache_is_valid(uint32_t class, uint32_t mask) {
    return class == 0 && mask == 0;
}
void cache_set(uint32_t class, uint32_t mask) {
    (void)class, (void)mask;
}
