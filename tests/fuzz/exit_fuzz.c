// SPDX-License-Identifier: Apache-2.0
// The handlers of VM exits, against a VMCS of paper that the input fills: the world is that of
// tests/unit/vmx/exit_test.c. Whatever the processor reports, a handler answers with an action,
// what it tells the VMM is within the ABI's ranges, and what it leaves for the next entry is an
// event that VM entry accepts (SDM 3C 27.2.1.3 "VM-Entry Control Fields") and control registers
// whose bits are ours where they must be.
#include "tests/unit/vmx/exit_test.c"

#include "tests/fuzz/input.h"

struct vmx_caps vmx_caps;
uint64_t tsc_hz = 1000000000;
void mitigation_clear_buffers(void) {}
// No exit that is here is one for an exception.
bool machine_check_handle(bool is_kernel) {
    (void)is_kernel;
    __builtin_trap();
}
void machine_check_end(void) {}

#define TYPE_RESERVED 1u
#define TYPE_OTHER    7u
#define ERROR_MASK    0xffffu
#define LENGTH_MAX    15u

static exit_handler *const handlers[] = {
    exit_control_register, exit_io,        exit_ept_violation, exit_rdmsr, exit_wrmsr,
    exit_interrupt_window, exit_nmi_window};

// Fields that the processor writes at an exit, and the guest's state. Where the processor's own
// rules bind them, so does `bind`.
static void fill(struct input *input) {
    exit_set_up();
    seen.fault = input_byte(input) % 3;
    seen.msr_result = input_byte(input) % 3;
    for (unsigned i = 0; i < ARRAY_COUNT(exit_page.gpr); i++)
        exit_page.gpr[i] = input_number(input, input_byte(input) % 9);
    vmcs_write(VMCS_EXIT_QUALIFICATION, input_number(input, 8));
    vmcs_write64(VMCS_GUEST_PHYSICAL_ADDRESS, input_number(input, 6));
    vmcs_write(VMCS_GUEST_LINEAR_ADDRESS, input_number(input, 8));
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_CS), (uint32_t)input_number(input, 2));
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_SS), (uint32_t)input_number(input, 2));
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, input_byte(input) & 0xf);
    vmcs_write(VMCS_GUEST_RFLAGS, (input_number(input, 3) & 0x3f7fd7) | RFLAGS_ONE);
}

// SDM 3C 28.2.4 "Information for VM Exits During Event Delivery": an event that can be delivered.
static void fill_vectoring(struct input *input) {
    static const uint32_t errors =
        BIT(8) | BIT(10) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(17);
    uint32_t type = input_byte(input) % TYPE_OTHER, vector = input_byte(input);
    vmcs_write32(VMCS_EXIT_INSTRUCTION_LENGTH, input_byte(input) % LENGTH_MAX + 1);
    if (input_byte(input) & 1 || type == TYPE_RESERVED)
        return;
    if (type == EVENT_NMI >> EVENT_TYPE_SHIFT)
        vector = EXC_NMI;
    if (type == EVENT_EXCEPTION >> EVENT_TYPE_SHIFT)
        vector %= 32;
    uint32_t info = (uint32_t)EVENT_VALID | type << EVENT_TYPE_SHIFT | vector;
    if (type == EVENT_EXCEPTION >> EVENT_TYPE_SHIFT && (errors & BIT(vector)))
        info |= (uint32_t)EVENT_HAS_ERROR;
    vmcs_write32(VMCS_IDT_VECTORING_INFO, info | (input_byte(input) & 1 ? BIT(12) : 0));
    vmcs_write32(VMCS_IDT_VECTORING_ERROR, (uint32_t)input_number(input, 4));
}

static void check_event(void) {
    uint32_t info = vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO);
    uint32_t type = (info & EVENT_TYPE) >> EVENT_TYPE_SHIFT, vector = info & EVENT_VECTOR;
    if (!(info & EVENT_VALID))
        return;
    cr_assert_eq(info & ~(uint32_t)(EVENT_VALID | EVENT_HAS_ERROR | EVENT_TYPE | EVENT_VECTOR), 0);
    cr_assert(type != TYPE_RESERVED && type != TYPE_OTHER);
    if (type == EVENT_NMI >> EVENT_TYPE_SHIFT)
        cr_assert_eq(vector, EXC_NMI);
    if (type == EVENT_EXCEPTION >> EVENT_TYPE_SHIFT)
        cr_assert_lt(vector, 32);
    if (info & EVENT_HAS_ERROR)
        cr_assert_eq(vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR) & ~ERROR_MASK, 0);
    if (event_has_length(info)) {
        uint32_t length = vmcs_read32(VMCS_ENTRY_INSTRUCTION_LENGTH);
        cr_assert(length >= 1 && length <= LENGTH_MAX);
    }
    if (type == EVENT_NMI >> EVENT_TYPE_SHIFT)
        cr_assert_eq(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_BY_NMI, 0);
}

// No handler changes them: what the guest may not by itself, the VMM says.
static void check_control(void) {
    cr_assert_eq(vmcs_read(VMCS_GUEST_CR4), CR4_PAE | CR4_VMXE | CR4_MCE);
    cr_assert_eq(vmcs_read(VMCS_GUEST_CR0), CR0_PE | CR0_PG | CR0_NE | CR0_ET);
    cr_assert_eq(vmcs_read64(VMCS_GUEST_EFER), EFER_LME | EFER_LMA);
    cr_assert_eq(vmcs_read(VMCS_CR0_READ_SHADOW), CR0_PE | CR0_PG | CR0_ET);
    cr_assert_eq(vmcs_read(VMCS_CR4_READ_SHADOW), CR4_PAE);
}

static void check_io(void) {
    const struct vcpu_exit_io *io = &exit_page.io;
    cr_assert(io->size == 1 || io->size == 2 || io->size == 4);
    if (io->is_string)
        cr_assert(exit_page.walk.code_size != 0);
}

// The qualification's size field has three values only: SDM 3C Table 28-5.
static void bind(exit_handler *handler) {
    static const uint8_t sizes[] = {0, 1, 3};
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    if (handler == exit_io)
        vmcs_write(VMCS_EXIT_QUALIFICATION,
                   (qualification & ~7ULL) | sizes[(qualification & 7) % ARRAY_COUNT(sizes)]);
}

static void exit_once(struct input *input) {
    exit_handler *handler = handlers[input_byte(input) % ARRAY_COUNT(handlers)];
    fill(input);
    fill_vectoring(input);
    bind(handler);
    enum exit_action action = handler(&exit_vcpu);
    cr_assert(action <= EXIT_FAIL);
    if (action == EXIT_FAIL)
        cr_assert(seen.failure != 0);
    if (action == EXIT_VMM && exit_page.exit == VCPU_EXIT_IO)
        check_io();
    if (action == EXIT_VMM && exit_page.exit == VCPU_EXIT_MEMORY)
        cr_assert(exit_page.memory.access <= 7 && exit_page.walk.cpl <= 3);
    check_event();
    check_control();
}

static void inject_once(struct input *input) {
    exit_set_up();
    fill_vectoring(input);
    (void)vmx_requeue_event(&exit_vcpu, input_byte(input) & 1);
    for (unsigned count = input_byte(input) % 4; count > 0; count--)
        vmx_inject_exception(&exit_vcpu, input_byte(input), (uint32_t)input_number(input, 4));
    check_event();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    while (input.left > 0) {
        if (input_byte(&input) & 1)
            inject_once(&input);
        else
            exit_once(&input);
    }
    return 0;
}
