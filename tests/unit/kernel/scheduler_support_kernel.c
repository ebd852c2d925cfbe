// SPDX-License-Identifier: Apache-2.0
// See scheduler_support.h: the rest of the kernel, of paper. Memory and stacks are the host's, so
// that its sanitizer sees who uses them too long.
#include "tests/unit/kernel/scheduler_support.h"

#include "arch/cache.h"
#include "arch/log.h"
#include "arch/mitigation.h"
#include "arch/split.h"
#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/vcpu.h"

#include <stdlib.h>

struct cpu_features cpu_features;

void split_load(struct cpu *cpu, hpa_t root, hpa_t user_root) {
    (void)cpu;
    (void)root;
    (void)user_root;
}
hpa_t kspace_kernel_root(void) {
    return (hpa_t){0};
}

uint64_t kspace_stack_alloc(struct quota *payer) {
    (void)payer;
    machine.stacks++;
    return (uint64_t)aligned_alloc(CPU_STACK_SIZE, CPU_STACK_SIZE) + CPU_STACK_SIZE;
}
// A flush of all CPUs may be due, which the next thread does not pay for.
void kspace_stack_make_room(void) {
    struct processor *self = CONTAINER_OF(host_cpu_current(), struct processor, cpu);
    if (self->has_room)
        machine_complain("CPU %u makes room for a second stack", self->cpu.index);
    if (self->cpu.current->state != THREAD_RUNNING)
        machine_complain("CPU %u makes room for a stack on nobody's account", self->cpu.index);
    self->has_room = true;
    self->makes_room = self->cpu.current;
}
void kspace_stack_free(struct quota *payer, uint64_t top) {
    (void)payer;
    struct processor *self = CONTAINER_OF(host_cpu_current(), struct processor, cpu);
    const struct thread *owner = (const struct thread *)align_down(top - 8 - sizeof(*owner), 16);
    if (!self->has_room ||
        self->makes_room != (owner->state == THREAD_DEAD ? owner : self->cpu.current))
        machine_complain("CPU %u frees a stack that another pays for", self->cpu.index);
    self->has_room = false;
    machine.stacks--;
    free((void *)(top - CPU_STACK_SIZE));
}

void *kernel_page_alloc(void) {
    return calloc(1, PAGE_SIZE);
}
void *quota_alloc_page(struct quota *payer) {
    (void)payer;
    return calloc(1, PAGE_SIZE);
}
void quota_free_page(struct quota *payer, void *page) {
    (void)payer;
    free(page);
}
void *quota_alloc_object(struct quota *payer, const struct object_kind *kind) {
    struct object *object = calloc(1, PAGE_SIZE);
    object_init(object, kind);
    object_ref(&payer->object);
    object->quota = payer;
    return object;
}

bool cache_is_valid(uint32_t class, uint32_t mask) {
    return class == 0 && mask == 0;
}
void cache_set(uint32_t class, uint32_t mask) {
    (void)class, (void)mask;
}
void cache_switch(struct cpu *cpu, uint32_t class) {
    cpu->cache_class = class;
}

// A vCPU stays in the registers until it is evicted, which leaves its bytes in the CPU's buffers.
void vcpu_evict(void) {
    struct processor *self = CONTAINER_OF(host_cpu_current(), struct processor, cpu);
    if (self->loaded_domain != 0)
        self->stored_domain = self->loaded_domain;
    self->loaded_domain = 0;
}
struct mitigation mitigation;
void mitigation_clear_buffers(void) {
    struct processor *self = CONTAINER_OF(host_cpu_current(), struct processor, cpu);
    if (self->loaded_domain != 0)
        machine_complain("CPU %u forgets, and evicts its vCPU later", self->cpu.index);
    self->stored_domain = 0;
}
void mitigation_switch(struct cpu *cpu, uint64_t domain) {
    mitigation_clear_buffers();
    cpu->domain = domain;
    cpu->barriers++;
}
void vcpu_release(struct vcpu *vcpu) {
    (void)vcpu;
    machine.released++;
    if (thread_current()->vcpu != NULL)
        machine_complain("a vCPU is left by a thread that others may still post to");
}
void vcpu_post(struct vcpu *vcpu, uint32_t bits) {
    (void)vcpu, (void)bits;
}
void vcpu_add_usage(const struct vcpu *vcpu, struct abi_usage *usage) {
    (void)vcpu, (void)usage;
}
void vcpu_move_usage(struct vcpu *vcpu, struct abi_usage *usage) {
    (void)vcpu, (void)usage;
}

// How they end is not asked.
const struct object_kind quota_kind = {OBJECT_QUOTA, NULL};
const struct object_kind process_kind = {OBJECT_PROCESS, NULL};

void object_init(struct object *object, const struct object_kind *kind) {
    object->kind = kind;
    object->ref_count = 1;
}
void object_unref(struct object *object) {
    if (object->ref_count-- != 1)
        return;
    if (object->kind->type == OBJECT_GROUP) {
        machine.groups--;
        struct quota *payer = object->quota;
        (void)group_kind.destroy(object);
        free(object);
        object_unref(&payer->object);
    } else if (object->kind->type == OBJECT_PROCESS) {
        struct process *process = CONTAINER_OF(object, struct process, object);
        object_unref(&process->group->object);
        free(process);
    } else {
        panic("a quota lost its last reference");
    }
}

void object_finish(void) {}
void object_inherit(struct thread *dead) {
    assert(dead->dying == NULL);
}

struct job *job_of(const struct thread *thread) {
    return (struct job *)((const struct trap_frame *)thread - 1)->rdi; // its argument
}

bool process_join(struct process *process, struct thread *thread) {
    lock_take(&process->lock);
    job_of(thread)->thread = thread;
    process->thread_count++;
    thread_wake(thread);
    lock_drop(&process->lock);
    return true;
}

void process_leave(struct process *process, struct thread *thread) {
    lock_take(&process->lock);
    job_of(thread)->thread = NULL;
    process->thread_count--;
    if (thread->class != THREAD_SHARED)
        group_unpin(thread->group, thread->cpu->index);
    lock_drop(&process->lock);
}
