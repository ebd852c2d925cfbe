// SPDX-License-Identifier: Apache-2.0
// The VMM: one process, one VM. main makes the VM in the order below and then becomes its I/O
// thread. Whatever is wrong with the manifest, the images or the machine ends in report_end, which
// tells the supervisor why.
#include "lib/string.h"
#include "lib/syscall.h"
#include "lib/types.h"
#include "vmm/acpi/acpi.h"
#include "vmm/cpu/cpuid.h"
#include "vmm/cpu/run.h"
#include "vmm/device/pc.h"
#include "vmm/firmware/firmware.h"
#include "vmm/io.h"
#include "vmm/load/load.h"
#include "vmm/process.h"
#include "vmm/report.h"

int main(void *start_page);

#define READ_WRITE (ABI_RIGHT_READ | ABI_RIGHT_WRITE)

#define TSC_RATIO_MOST 256u // ABI_VM_CREATE

#define CPUID_VENDOR            0x0u
#define CPUID_EBX_AMD           0x68747541u // "Auth"
#define CPUID_VERSION           0x1u
#define CPUID_FEATURES_7        0x7u
#define CPUID_EBX_BMI1          BIT(3)
#define CPUID_ECX_LZCNT         BIT(5) // of the extended features
#define CPUID_EXTENDED_FEATURES 0x80000001u
#define CPUID_EDX_PAGE1GB       BIT(26)

static struct vmm vmm; // too large for a stack

// ---- helpers ------------------------------------------------------------------------------------

// For calls that only fail for want of memory, or when something is broken: returns the result.
static uint32_t must(int64_t result, const char *what) {
    if (result == -ABI_ERROR_MEMORY)
        report_end(&vmm, VMM_END_REFUSED, 0,
                   "not enough memory for %s: give this VM or its neighbours less memory", what);
    if (result == -ABI_ERROR_UNSUPPORTED)
        report_end(&vmm, VMM_END_REFUSED, 0,
                   "this machine cannot run guests: see the preflight report, and switch "
                   "virtualization on in the firmware");
    if (result < 0)
        report_end(&vmm, VMM_END_CRASHED, 0, "%s failed with error %ld", what, -result);
    return (uint32_t)result;
}

static void map_own(uint32_t memory, uint64_t address, uint64_t size, uint32_t rights,
                    const char *what) {
    must(sys_process_map(0, memory, address, 0, align_up(size, ABI_PAGE), rights), what);
}

// ---- the parts of the VM ------------------------------------------------------------------------

static void open_shared(const struct vmm_start *start) {
    vmm.start = start;
    if (start->version != VMM_VERSION || !report_open(&vmm))
        sys_process_exit(1); // nobody would understand, or hear, us
    map_own(start->console, PROCESS_CONSOLE_BASE, sizeof(struct vmm_console), READ_WRITE,
            "the console");
    console_open(&vmm.console, (struct vmm_console *)PROCESS_CONSOLE_BASE);
}

// The rate of the guest's TSC.
static uint64_t choose_tsc(const struct vmm_start *start) {
    uint64_t host = start->tsc_hz;
    uint64_t wanted = start->keys.tsc_frequency != 0 ? start->keys.tsc_frequency : host;
    uint64_t off = wanted > host ? wanted - host : host - wanted;
    if (start->has_tsc_scaling &&
        (wanted / TSC_RATIO_MOST >= host || host / TSC_RATIO_MOST >= wanted))
        report_end(
            &vmm, VMM_END_REFUSED, 0,
            "tsc-frequency of %lu kHz: this machine's TSC counts at %lu kHz; choose 1/%u to %u "
            "times as much, or remove it",
            wanted / 1000, host / 1000, TSC_RATIO_MOST, TSC_RATIO_MOST);
    if (start->has_tsc_scaling)
        return wanted;
    if (off > host / 1000000 * CLOCK_TOLERANCE_PPM)
        report_end(
            &vmm, VMM_END_REFUSED, 0,
            "tsc-frequency of %lu kHz: this machine's TSC counts at %lu kHz, and its CPUs have "
            "no TSC scaling: remove it, or use another machine",
            wanted / 1000, host / 1000);
    if (off != 0)
        report_log(&vmm, "a TSC of %lu kHz instead of %lu: this machine's own, near enough",
                   host / 1000, wanted / 1000);
    return host;
}

static void check_shape(const struct vmm_start *start) {
    if (start->memory_size < MEMORY_SIZE_MIN || start->memory_size % ABI_PAGE != 0)
        report_end(&vmm, VMM_END_REFUSED, 0, "memory of %lu bytes: set memory to 2M or more",
                   start->memory_size);
    if (start->vcpu_count == 0 || start->vcpu_count > MACHINE_VCPUS_MAX)
        report_end(&vmm, VMM_END_REFUSED, 0, "%u vcpus: set vcpus to 1..%u", start->vcpu_count,
                   MACHINE_VCPUS_MAX);
    vmm.vcpu_count = start->vcpu_count;
    vmm.tsc_hz = choose_tsc(start);
    if (start->vcpu_count > 1 && !start->has_unrestricted_guest) {
        report_log(&vmm,
                   "1 vcpu instead of %u: this processor has no unrestricted guest mode, which "
                   "further vcpus need to start",
                   start->vcpu_count);
        vmm.vcpu_count = 1;
    }
}

// Returns the handle of the guest's RAM, which is all zero.
static uint32_t make_memory(const struct vmm_start *start) {
    struct abi_quota_info quota;
    must(sys_quota_read(start->quota, &quota), "reading the quota");
    if (start->memory_size > quota.limit - quota.used)
        report_end(&vmm, VMM_END_REFUSED, 0,
                   "memory of %luM is more than the %luM that are left for this VM: lower it",
                   start->memory_size >> 20, (quota.limit - quota.used) >> 20);
    uint32_t memory = must(sys_memory_create(start->quota, start->memory_size), "the guest's RAM");
    map_own(memory, PROCESS_MEMORY_BASE, start->memory_size, READ_WRITE, "the guest's RAM");
    return memory;
}

static void make_vm(const struct vmm_start *start, uint32_t memory) {
    struct memory_region regions[MEMORY_REGIONS_MAX];
    size_t count = memory_regions(&vmm.machine.memory, regions);
    vmm.vm = must(sys_vm_create(start->quota, vmm.tsc_hz), "the VM");
    for (size_t i = 0; i < count; i++)
        must(sys_vm_map(vmm.vm, memory, regions[i].gpa, regions[i].offset, regions[i].size,
                        ABI_RIGHT_READ | ABI_RIGHT_EXECUTE |
                            (regions[i].is_rom ? 0 : ABI_RIGHT_WRITE)),
             "mapping the guest's RAM");
}

static bool map_ones(void *opaque, uint64_t gpa, unsigned page, bool is_writable) {
    uint32_t rights = ABI_RIGHT_READ | ABI_RIGHT_EXECUTE;
    if (is_writable)
        rights |= ABI_RIGHT_WRITE;
    (void)opaque;
    return sys_vm_map(vmm.vm, vmm.ones, gpa, (uint64_t)page * ABI_PAGE, ABI_PAGE, rights) == 0;
}

static void unmap_ones(void *opaque, uint64_t gpa) {
    (void)opaque;
    (void)sys_vm_unmap(vmm.vm, gpa, ABI_PAGE);
}

static void make_ones(const struct vmm_start *start) {
    const uint64_t size = (uint64_t)STEP_PAGES * ABI_PAGE;
    const struct step_backend backend = {.map = map_ones, .unmap = unmap_ones};
    vmm.ones = must(sys_memory_create(start->quota, size), "pages of ones");
    map_own(vmm.ones, PROCESS_ONES_BASE, size, READ_WRITE, "pages of ones");
    step_init(&vmm.step, &backend, (uint8_t *)PROCESS_ONES_BASE);
}

// Tells what of it the firmware's tables say.
static void set_cpuid(const struct vmm_start *start, struct firmware_params *firmware) {
    static struct abi_cpuid table[ABI_CPUID_MAX];
    size_t count =
        cpuid_build(&(struct cpuid_config){.host = cpuid_execute,
                                           .tsc_hz = vmm.tsc_hz,
                                           .xcr0_mask = start->xcr0_mask,
                                           .arch_capabilities = vmm.machine.arch_capabilities,
                                           .physical_bits = start->physical_bits,
                                           .vcpu_count = vmm.vcpu_count},
                    table);
    for (size_t i = 0; i < count; i++) {
        if (table[i].leaf == CPUID_VENDOR)
            vmm.is_amd = table[i].ebx == CPUID_EBX_AMD;
        if (table[i].leaf == CPUID_EXTENDED_FEATURES) {
            vmm.has_1g_pages = (table[i].edx & CPUID_EDX_PAGE1GB) != 0;
            vmm.has_lzcnt = (table[i].ecx & CPUID_ECX_LZCNT) != 0;
        }
        if (table[i].leaf == CPUID_FEATURES_7 && table[i].subleaf == 0)
            vmm.has_tzcnt = (table[i].ebx & CPUID_EBX_BMI1) != 0;
        if (table[i].leaf == CPUID_VERSION) {
            firmware->cpu_signature = table[i].eax;
            firmware->cpu_features = table[i].edx;
        }
    }
    control_learn(&vmm.control, table, count);
    vmm.control.has_modes = start->has_unrestricted_guest != 0;
    must(sys_vm_cpuid(vmm.vm, table, count), "the CPUID table");
}

static void make_vcpu(const struct vmm_start *start, uint32_t index) {
    struct vcpu *vcpu = &vmm.vcpu[index];
    uint64_t address = PROCESS_PAGES_BASE + index * PROCESS_GAP;
    vcpu->vmm = &vmm;
    vcpu->index = index;
    vcpu->handle = must(sys_vcpu_create(vmm.vm, index), "a vcpu");
    vcpu->room_event = must(sys_event_create(start->quota), "an event");
    map_own(must(sys_vcpu_page(vcpu->handle), "a vcpu's page"), address, ABI_PAGE, READ_WRITE,
            "a vcpu's page");
    vcpu->page = (struct vcpu_page *)address;
}

// ---- the guest's first instruction --------------------------------------------------------------

static void write_acpi(void) {
    void *to = memory_pointer(&vmm.machine.memory, ACPI_DEFAULT_GPA, ACPI_SPACE_BYTES);
    const struct acpi_params params = {.cpu_count = vmm.vcpu_count};
    if (acpi_build(to, ACPI_SPACE_BYTES, ACPI_DEFAULT_GPA, &params) == 0)
        report_end(&vmm, VMM_END_CRASHED, 0, "the ACPI tables do not fit");
}

static void write_firmware(const struct firmware_params *firmware) {
    if (!firmware_write(&vmm.machine.memory, firmware))
        report_end(&vmm, VMM_END_CRASHED, 0, "the firmware's tables do not fit");
}

static void map_image(uint32_t image, uint64_t address, uint64_t size, const char *what) {
    if (size > 0)
        map_own(image, address, size, ABI_RIGHT_READ, what);
}

static void unmap_image(uint64_t address, uint64_t size) {
    if (size > 0)
        (void)sys_process_unmap(0, address, align_up(size, ABI_PAGE));
}

static void load(const struct vmm_start *start) {
    struct load_refusal refusal;
    map_image(start->kernel, PROCESS_KERNEL_BASE, start->kernel_size, "the kernel's image");
    map_image(start->initrd, PROCESS_INITRD_BASE, start->initrd_size, "the initrd's image");
    const struct load_images images = {
        .kernel = (const uint8_t *)PROCESS_KERNEL_BASE,
        .kernel_size = start->kernel_size,
        .kernel_name = start->kernel_name,
        .initrd = (const uint8_t *)PROCESS_INITRD_BASE,
        .initrd_size = start->initrd_size,
        .initrd_name = start->initrd_name,
        .cmdline = start->cmdline,
        .rsdp = ACPI_DEFAULT_GPA,
        .has_unrestricted_guest = start->has_unrestricted_guest != 0,
    };
    if (!load_guest(&vmm.machine.memory, &images, &vmm.entry, &refusal))
        report_end(&vmm, VMM_END_REFUSED, 0, "%s", refusal.text);
    unmap_image(PROCESS_KERNEL_BASE, start->kernel_size);
    unmap_image(PROCESS_INITRD_BASE, start->initrd_size);
}

static void set_apic(uint32_t vcpu) {
    struct vcpu_apic apic;
    must(sys_vcpu_read(vcpu, VCPU_STATE_APIC, &apic, sizeof(apic)), "reading the local APIC");
    firmware_set_apic(&apic);
    must(sys_vcpu_write(vcpu, VCPU_STATE_APIC, &apic, sizeof(apic)), "setting the local APIC");
}

static void set_registers(const struct vcpu *vcpu) {
    struct vcpu_registers registers;
    must(sys_vcpu_read(vcpu->handle, VCPU_STATE_CONTEXT, &registers, sizeof(registers)),
         "reading registers");
    control_power_on(&vmm.control, &registers);
    if (vcpu->index == 0)
        load_set_registers(&vmm.entry, &registers);
    must(sys_vcpu_write(vcpu->handle, VCPU_STATE_CONTEXT, &registers, sizeof(registers)),
         "setting registers");
}

static void start_vcpu(const struct vmm_start *start, uint32_t index) {
    uint64_t base = PROCESS_STACKS_BASE + index * PROCESS_GAP;
    uint32_t stack = must(sys_memory_create(start->quota, PROCESS_STACK_SIZE), "a stack");
    map_own(stack, base, PROCESS_STACK_SIZE, READ_WRITE, "a stack");
    // A function is entered with the stack 8 bytes off 16: System V ABI, x86-64, 3.2.2 "The Stack
    // Frame".
    uint64_t top = base + PROCESS_STACK_SIZE - sizeof(uint64_t);
    must(sys_thread_create(0, (uintptr_t)run_loop, top, (uintptr_t)&vmm.vcpu[index],
                           start->cpu[index]),
         "a vcpu's thread");
}

int main(void *start_page) {
    const struct vmm_start *start = start_page;
    open_shared(start);
    check_shape(start);
    uint32_t memory = make_memory(start);
    process_init_machine(&vmm);
    write_acpi();
    load(start);
    make_vm(start, memory);
    make_ones(start);
    struct firmware_params firmware = {.cpu_count = vmm.vcpu_count,
                                       .memory_size = start->memory_size};
    set_cpuid(start, &firmware);
    write_firmware(&firmware);
    for (uint32_t i = 0; i < vmm.vcpu_count; i++) {
        make_vcpu(start, i);
        set_registers(&vmm.vcpu[i]);
    }
    set_apic(vmm.vcpu[0].handle);
    report_running(&vmm);
    for (uint32_t i = 0; i < vmm.vcpu_count; i++)
        start_vcpu(start, i);
    io_loop(&vmm);
}
