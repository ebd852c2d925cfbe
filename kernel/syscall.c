// SPDX-License-Identifier: Apache-2.0
// The way of a system call: its arguments are checked by their description (include/calls.h), what
// they name is got, the call is done, what it gives is written, and what was got is dropped.
#include "kernel/syscall.h"

#include "arch/mitigation.h"
#include "arch/traps.h"
#include "kernel/group.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "lib/each.h"
#include "lib/index.h"
#include "lib/string.h"

enum kind { END, NUMBER, NUMBER_16, NUMBER_32, PAGE_MULTIPLE, READ, WRITTEN, NAMED };
enum how {
    NAMED_OWN = 1 << 0,    // 0: the caller's own
    NAMED_NONE = 1 << 1,   // 0: none
    NAMED_MASK = 1 << 2,   // the next argument is what is to be signalled
    NAMED_RIGHTS = 1 << 3, // the sixth argument is the rights
};

struct rule {
    uint8_t kind, type, how; // enum kind, object_type, how
    uint16_t detail;         // NAMED: the rights; READ, WRITTEN: the size
};

#define RULE(...)                                                                                  \
    { __VA_ARGS__ }
#define RULE_HANDLE(name, TYPE, rights) RULE(NAMED, OBJECT_##TYPE, 0, rights)
#define RULE_OWN(name, TYPE, rights)    RULE(NAMED, OBJECT_##TYPE, NAMED_OWN, rights)
#define RULE_ANY(name, rights)          RULE(NAMED, OBJECT_NONE, 0, rights)
#define RULE_MAPPED(name)               RULE(NAMED, OBJECT_MEMORY, NAMED_RIGHTS, 0)
#define RULE_NOTIFY(name)               RULE(NAMED, OBJECT_EVENT, NAMED_NONE | NAMED_MASK, ABI_RIGHT_SIGNAL)
#define RULE_SIGNAL(name)               RULE(NAMED, OBJECT_EVENT, NAMED_MASK, ABI_RIGHT_SIGNAL)
#define RULE_PAGES(name)                RULE(PAGE_MULTIPLE, 0, 0, 0)
#define RULE_U16(name)                  RULE(NUMBER_16, 0, 0, 0)
#define RULE_U32(name)                  RULE(NUMBER_32, 0, 0, 0)
#define RULE_U64(name)                  RULE(NUMBER, 0, 0, 0)
#define RULE_ENUM(name, type)           RULE(NUMBER, 0, 0, 0)
#define RULE_IN(name, type)             RULE(READ, 0, 0, sizeof(type))
#define RULE_OUT(name, type)            RULE(WRITTEN, 0, 0, sizeof(type))
#define RULE_BYTES_IN(name, type)       RULE(NUMBER, 0, 0, 0)
#define RULE_BYTES_OUT(name, type)      RULE(NUMBER, 0, 0, 0)
#define RULE_NONE                       RULE(END, 0, 0, 0)
#define RULE_OF(argument)               RULE_##argument

static const struct {
    int64_t (*run)(struct call *c);
    struct rule rules[ARRAY_COUNT(((struct call *)0)->a)];
} calls[ABI_CALL_COUNT] = {
#define CALL(number, NAME, name, ...) [number] = {call_##name, {EACH(RULE_OF, __VA_ARGS__)}},
#define HOT_CALL(number, NAME, name, ...)
#include "include/calls.h"
};

int64_t call_give(struct object *object) {
    return handle_insert(thread_current()->process, object, ABI_RIGHTS_ALL);
}

static int get_named(struct call *c, unsigned i, const struct rule *rule) {
    struct process *self = thread_current()->process;
    struct handle *handle = &c->handle[i];
    if (c->a[i] == 0 && (rule->how & (NAMED_OWN | NAMED_NONE)) != 0) {
        if ((rule->how & NAMED_OWN) != 0) {
            handle->object = rule->type == OBJECT_GROUP ? &self->group->object : &self->object;
            object_ref(handle->object);
        }
        return ABI_OK;
    }
    uint64_t rights = (rule->how & NAMED_RIGHTS) != 0 ? c->a[5] : rule->detail;
    int error = handle_get(self, c->a[i], rule->type, rights, handle);
    if (error == ABI_OK && (rule->how & NAMED_MASK) != 0 && (c->a[i + 1] & ~handle->mask) != 0)
        error = ABI_ERROR_RIGHTS; // what was got is dropped like all
    return error;
}

static int get(struct call *c, unsigned i, const struct rule *rule) {
    switch (rule->kind) {
    case NUMBER_16:
        return c->a[i] <= UINT16_MAX ? ABI_OK : ABI_ERROR_ARGUMENT;
    case NUMBER_32:
        return c->a[i] <= UINT32_MAX ? ABI_OK : ABI_ERROR_ARGUMENT;
    case PAGE_MULTIPLE:
        return is_aligned(c->a[i], PAGE_SIZE) ? ABI_OK : ABI_ERROR_ARGUMENT;
    case READ:
        return user_read(&c->data, c->a[i], rule->detail) ? ABI_OK : ABI_ERROR_ADDRESS;
    case WRITTEN: // now, before anything is done or taken that could not be told
        memset(&c->data, 0, rule->detail);
        return user_write(c->a[i], &c->data, rule->detail) ? ABI_OK : ABI_ERROR_ADDRESS;
    case NAMED:
        return get_named(c, i, rule);
    default:
        return ABI_OK;
    }
}

// Of its own, so that the room for arguments is not on the stack below vcpu_run.
__attribute__((noinline)) static int64_t run_by_rules(const uint64_t *a, uint64_t number) {
    const struct rule *rules = calls[number].rules;
    struct call c;
    int64_t result = ABI_OK;
    unsigned count = 0;
    memcpy(c.a, a, sizeof(c.a));
    for (; count < ARRAY_COUNT(c.a) && rules[count].kind != END && result == ABI_OK; count++) {
        c.handle[count].object = NULL;
        result = -get(&c, count, &rules[count]);
    }
    if (result == ABI_OK)
        result = calls[number].run(&c);
    for (unsigned i = 0; i < count; i++) {
        if (rules[i].kind == WRITTEN && result >= 0 &&
            !user_write(c.a[i], &c.data, rules[i].detail))
            result = -ABI_ERROR_ADDRESS;
        if (c.handle[i].object != NULL)
            object_unref(c.handle[i].object);
    }
    return result;
}

// A thread comes here by one handle over and over. As long as the process closed none since, it
// names the vCPU that the thread has, with the right to run it.
static int64_t run_vcpu(uint64_t number) {
    struct thread *self = thread_current();
    uint64_t closings = __atomic_load_n(&self->process->closings, __ATOMIC_ACQUIRE);
    struct handle handle;
    if (number != 0 && self->run_handle == number && self->run_closings == closings)
        return -vcpu_run(self->vcpu);
    int error = handle_get(self->process, number, OBJECT_VCPU, ABI_RIGHT_RUN, &handle);
    if (error == ABI_OK) {
        error = vcpu_run(CONTAINER_OF(handle.object, struct vcpu, object));
        self->run_handle = error == ABI_OK ? number : 0;
        self->run_closings = closings;
        object_unref(handle.object);
    }
    return -error;
}

int64_t syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                         uint64_t a5, uint64_t number) {
    int64_t result = -ABI_ERROR_CALL;
    if (__builtin_expect(mitigation.clears_bhb, 0))
        mitigation_clear_bhb();
    if (number == ABI_VCPU_RUN)
        result = run_vcpu(a0);
    else if (number < ABI_CALL_COUNT)
        result = run_by_rules((const uint64_t[]){a0, a1, a2, a3, a4, a5},
                              index_mask(number, ABI_CALL_COUNT));
    trap_after_call();
    return result;
}
