// SPDX-License-Identifier: Apache-2.0
// The kernel's system calls, in sequences that the input spells: each byte or few one number or argument. The world is
// that of tests/unit/kernel_syscall_test.c: one process with a quota. What is checked after each call:
//
//     no more than the quota's limit is charged to it
//     a new handle of an object that was there before has no right that none of its handles had
//
// and after the process has ended: all that it took is back. The sanitizers check the rest.
#include "tests/unit/kernel_syscall_test.c"

#include "tests/fuzz/input.h"

#include "kernel/vlapic.h"

#define HANDLES_SEEN 48u

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

struct view {
    const struct object *object;
    uint64_t rights;
};

static void look(struct view *views) {
    for (uint64_t i = 0; i < HANDLES_SEEN; i++) {
        struct object *object = NULL;
        views[i] = (struct view){NULL, 0};
        if (handle_get(process, i + 1, OBJECT_NONE, 0, &object, &views[i].rights) != ABI_OK)
            continue;
        views[i].object = object;
        object_unref(object);
    }
}

static uint64_t known_rights(const struct view *views, const struct object *object) {
    uint64_t rights = 0;
    for (unsigned i = 0; i < HANDLES_SEEN; i++)
        if (views[i].object == object)
            rights |= views[i].rights;
    return rights;
}

// Objects that come to be at the address of one that is gone are new.
static void check_rights(const struct view *before, const struct view *after, uint64_t number) {
    if (number != ABI_HANDLE_COPY && number != ABI_VCPU_PAGE)
        return;
    for (unsigned i = 0; i < HANDLES_SEEN; i++) {
        uint64_t known = known_rights(before, after[i].object);
        if (after[i].object != NULL && known != 0)
            cr_assert_eq(after[i].rights & ~known, 0);
        cr_assert_eq(after[i].rights & ~(uint64_t)ABI_RIGHTS_ALL, 0);
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
                                     ABI_STUB_ADDRESS,
                                     UINT64_MAX,
                                     UINT64_MAX - PAGE_SIZE + 1,
                                     1ULL << 63,
                                     1ULL << 32,
                                     UINT32_MAX,
                                     ABI_CPUID_MAX,
                                     ABI_MESSAGE_MAX,
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
    default:
        return kind & 63; // a handle, perhaps
    }
}

static void call_once(struct input *input) {
    struct view before[HANDLES_SEEN], after[HANDLES_SEEN];
    uint64_t a[7] = {input_byte(input) % (ABI_CALL_COUNT + 1)};
    for (unsigned i = 1; i < 7; i++)
        a[i] = argument(input);
    if (is_left_out(a[0], a))
        return;
    host_now++;
    look(before);
    (void)call_with(a);
    look(after);
    check_rights(before, after, a[0]);
    cr_assert_leq(quota_read(quota).used, QUOTA_BYTES);
}

static void begin(void) {
    static bool is_set_up;
    if (!is_set_up) {
        set_up();
        is_set_up = true;
        return;
    }
    process = process_create(quota, NULL, 0);
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
    cr_assert_eq(quota_read(quota).used, PAGE_SIZE); // the process itself
    object_unref(&process->object);
    cr_assert_eq(quota_read(quota).used, 0);
    return 0;
}
