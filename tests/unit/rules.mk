# SPDX-License-Identifier: Apache-2.0
# What unit-kernel links of the kernel itself, as opposed to what its tests include. These see a
# processor of paper (kernel/host.h) and check the ranks of their locks.
UNIT_KERNEL_PARTS := arch/paging.c boot/boot_pool.c $(addprefix kernel/, \
    audit.c \
    audit_judge.c \
    bitmap.c \
    budget.c \
    device.c \
    event.c \
    exception.c \
    fpu.c \
    frame.c \
    group.c \
    lock.c \
    log.c \
    space.c \
    memory.c \
    object.c \
    process.c \
    quota.c \
    region.c \
    runqueue.c \
    syscall.c \
    syscall_process.c \
    syscall_vm.c \
    timer.c \
    vm.c \
    vmtime.c \
)
UNIT_KERNEL_SUPPORT := $(wildcard tests/unit/kernel/support*.c)
$(BUILD)/host/kernel/%: HOST_FLAGS += -DBULKHEAD_DEBUG -include tests/unit/kernel/host.h

# arch/split_support.c steps through the entries, as they are.
$(UNIT)/unit-kernel: $(BUILD)/host/arch/split.S.o $(BUILD)/host/arch/traps.S.o
$(BUILD)/host/%.S.o: %.S
	$(call say,HOSTAS,$<)mkdir -p $(@D) && $(CC) -I. -MMD -MP -D__ASSEMBLY__ -c $< -o $@
# The kernel's image has addresses of its own there.
$(BUILD)/host/tests/unit/kernel/kspace_test.c.o: HOST_FLAGS += -fPIC

# The scheduler on a simulated machine (kernel/scheduler_support.h): a binary of its own, as the
# modules of unit-kernel have none. kernel/scheduler_support_check.c includes kernel/scheduler.c and
# kernel/balance.c.
TESTS_scheduler := $(addprefix tests/unit/kernel/,scheduler_test.c scheduler_share_test.c scheduler_random_test.c thread_test.c)
PARTS_scheduler := $(addprefix kernel/,budget.c core.c group.c runqueue.c thread.c timer.c) lib/heap.c lib/string.c \
    $(wildcard tests/unit/kernel/scheduler_support*.c)

# The supervisor, whole, on a kernel of paper whose time is the tests'.
UNIT_SUPERVISOR_PARTS := $(filter-out supervisor/stack_check.c,$(wildcard supervisor/*.c))
$(BUILD)/host/supervisor/%: HOST_FLAGS += -Dmain=supervisor_main -include tests/unit/supervisor/kernel.h
$(BUILD)/host/supervisor/machine.c.o: HOST_FLAGS += -Dmachine_tsc=supervisor_no_tsc
# Its return stack is filled below RSP, where the kernel has no red zone.
$(BUILD)/host/tests/unit/arch/mitigation_test.c.o: HOST_FLAGS += -mno-red-zone

# The VT-x backend, whole, on a processor of paper (vmx/support.h), in the place of the instructions
# that it is made of.
UNIT_VMX_PARTS := $(filter-out vmx/vmcs.c vmx/backend.c,$(wildcard vmx/*.c))
$(BUILD)/host/vmx/%: HOST_FLAGS += -mno-red-zone -include tests/unit/vmx/host.h

# The AMD-V backend, whole, on a processor of paper (svm/support.h). Its VMCB is memory.
UNIT_SVM_PARTS := arch/paging.c $(wildcard svm/*.c)
$(BUILD)/host/svm/%: HOST_FLAGS += -mno-red-zone -include tests/unit/svm/host.h
