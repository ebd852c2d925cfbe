// SPDX-License-Identifier: Apache-2.0
// The kernel of paper; the interface is told in support.h.
#include "tests/unit/supervisor/support.h"
#include "tests/unit/supervisor/kernel.h"
#include "tests/unit/supervisor/support_button.h"

#include "include/manifest.h"
#include "supervisor/process.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int supervisor_main(void *start);

struct life life;
struct abi_start life_start = {
    .version = ABI_VERSION, .quota = LIFE_QUOTA, .system = LIFE_SYSTEM, .group = LIFE_OWN};

static uint64_t memory_size(void) {
    return life.memory != 0 ? life.memory : LIFE_MEMORY;
}

static uint32_t life_new(enum life_type type, uint32_t parent, uint64_t size) {
    for (uint32_t i = 8; i < LIFE_OBJECTS; i++) {
        if (life.object[i].type == LIFE_FREE) {
            life.object[i] = (struct life_object){.type = type, .parent = parent, .size = size};
            return i;
        }
    }
    abort();
}

static int64_t life_new_memory(uint32_t parent, uint64_t size) {
    uint32_t handle = life_new(LIFE_MEMORY_OBJECT, parent, size);
    life.object[handle].file = memfd_create("memory", 0);
    cr_assert_eq(ftruncate(life.object[handle].file, (off_t)size), 0);
    life.used += parent == LIFE_QUOTA ? size : 0;
    return handle;
}

static void *life_map(uint32_t memory, uint64_t address, uint64_t offset, uint64_t size) {
    void *at = mmap((void *)address, size, PROT_READ | PROT_WRITE,
                    MAP_SHARED | (address != 0 ? MAP_FIXED_NOREPLACE : 0), life.object[memory].file,
                    (off_t)offset);
    return at != MAP_FAILED ? at : NULL;
}

// ---- the system calls ---------------------------------------------------------------------------

int64_t sys_handle_close(uint64_t handle) {
    if (handle >= LIFE_OBJECTS) {
        button_close(handle);
        return 0;
    }
    struct life_object *object = &life.object[handle];
    cr_assert_neq(object->type, LIFE_FREE, "handle %lu closed twice", handle);
    if (object->type == LIFE_QUOTA_OBJECT) {
        life.used -= object->size;
    }
    if (object->type == LIFE_MEMORY_OBJECT) {
        close(object->file);
    }
    object->type = LIFE_FREE;
    return 0;
}

int64_t sys_handle_copy(uint32_t process, uint32_t handle, uint64_t rights, uint64_t mask) {
    cr_assert_eq(life.object[process].type, LIFE_PROCESS);
    cr_assert_eq(rights & (ABI_RIGHT_MANAGE | ABI_RIGHT_COPY), 0);
    if (rights == ABI_RIGHT_SIGNAL) { // the supervisor's event
        life.object[process].signals = mask;
    }
    bool is_module = life.object[handle].type == LIFE_MEMORY_OBJECT && !life.object[handle].parent;
    cr_assert(!is_module || rights == ABI_RIGHT_READ, "other VMs have it, too");
    return handle; // the script uses the same numbers
}

int64_t sys_quota_create(uint32_t quota, uint64_t bytes, uint32_t event, uint64_t mask) {
    cr_assert_eq(quota, LIFE_QUOTA);
    (void)event;
    life.quota_mask = mask;
    if (bytes > memory_size() - life.used) {
        return -ABI_ERROR_MEMORY;
    }
    life.used += bytes;
    return life_new(LIFE_QUOTA_OBJECT, quota, bytes);
}

int64_t sys_quota_read(uint32_t quota, struct abi_quota_info *info) {
    bool is_own = quota == LIFE_QUOTA;
    info->limit = is_own ? memory_size() : life.object[quota].size;
    info->used = is_own ? life.used : life.leak;
    return 0;
}

int64_t sys_quota_home(uint32_t system, uint32_t quota, const struct abi_home *home) {
    cr_assert_eq(system, LIFE_SYSTEM);
    cr_assert_eq(life.object[quota].type, LIFE_QUOTA_OBJECT);
    life.object[quota].home = *home;
    return 0;
}

int64_t sys_memory_free(uint32_t system, uint64_t base, uint64_t size) {
    cr_assert_eq(system, LIFE_SYSTEM);
    cr_assert_neq(size, 0);
    return (int64_t)life.node_free[(base >> 32) - 1];
}

int64_t sys_memory_create(uint32_t quota, uint64_t size) {
    return life_new_memory(quota, size);
}

int64_t sys_process_create(uint32_t quota, uint32_t event, uint64_t mask, uint32_t group) {
    (void)event;
    uint32_t handle = life_new(LIFE_PROCESS, quota, 0);
    cr_assert(group == 0 || life.object[group].type == LIFE_GROUP);
    life.object[handle].in_group = group;
    life.object[handle].mask = mask;
    return handle;
}

int64_t sys_process_map(uint32_t process, uint32_t memory, uint64_t address, uint64_t offset,
                        uint64_t size, uint64_t rights) {
    cr_assert_eq(size % ABI_PAGE, 0);
    cr_assert_eq(life.object[memory].type, LIFE_MEMORY_OBJECT);
    cr_assert_neq(rights & (ABI_RIGHT_WRITE | ABI_RIGHT_EXECUTE),
                  ABI_RIGHT_WRITE | ABI_RIGHT_EXECUTE);
    if (process != 0) {
        if (address == ABI_START_ADDRESS) {
            life.object[process].start_memory = (uint32_t)dup(life.object[memory].file);
        }
        return 0;
    }
    life.mapped++;
    return life_map(memory, address, offset, size) != NULL ? 0 : -ABI_ERROR_EXISTS;
}

int64_t sys_process_unmap(uint32_t process, uint64_t address, uint64_t size) {
    cr_assert_eq(process, 0);
    life.mapped--;
    return munmap((void *)address, size);
}

int64_t sys_process_status(uint32_t process, struct abi_process_status *status) {
    *status = life.object[process].status;
    return 0;
}

void life_end_process(uint32_t process, struct abi_process_status status) {
    if (life.object[process].status.state == ABI_PROCESS_RUNNING) {
        life.object[process].status = status;
        life.bits |= life.object[process].mask;
    }
}

int64_t sys_process_kill(uint32_t process, uint32_t status) {
    life_end_process(process, (struct abi_process_status){ABI_PROCESS_EXITED, status, 0, 0, 0, 0});
    return 0;
}

// ---- the console's driver -----------------------------------------------------------------------

static bool is_batch(void) {
    return strstr(life_start.cmdline, "console=batch") != NULL;
}

static void start_driver(uint32_t process) {
    struct console_start start;
    int file = (int)life.object[process].start_memory;
    cr_assert_eq(pread(file, &start, sizeof(start), 0), (ssize_t)sizeof(start));
    close(file);
    cr_assert(start.log != 0 && start.ports != 0 && start.interrupt != 0 && start.screen != 0);
    cr_assert_eq(life.object[process].signals, start.supervisor_mask);
    cr_assert_eq(start.supervisor_mask, 1);
    cr_assert_eq(start.is_batch, is_batch());
    life.driver = process;
    life.driver_starts++;
    if (life.rings == NULL) {
        life.rings = life_map(start.rings, 0, 0, sizeof(*life.rings));
    }
}

static void drive_input(void) {
    struct console_rings *rings = life.rings;
    while (life.typed != NULL && *life.typed != '\0' &&
           rings->in_head - rings->in_tail < CONSOLE_IN_SIZE) {
        rings->in[rings->in_head++ % CONSOLE_IN_SIZE] = (uint8_t)*life.typed++;
        life.bits |= 1;
    }
}

// Prints as the driver does, as much as the wire takes. It runs while the supervisor sleeps.
static void drive(size_t room) {
    struct console_rings *rings = life.rings;
    if (rings == NULL || life.object[life.driver].status.state != ABI_PROCESS_RUNNING) {
        return;
    }
    uint32_t count = rings->out_head - rings->out_tail;
    cr_assert_leq(count, CONSOLE_OUT_SIZE);
    cr_assert(count == 0 || !is_batch() ||
                  rings->out[(rings->out_head - 1) % CONSOLE_OUT_SIZE] == '\n',
              "a line of the kernel's would come into one");
    if (life.stuck_driver == life.driver_starts) {
        return;
    }
    life.console_left = count == 0 ? 0 : life.console_left + room;
    if (life.console_room != 0 && count > life.console_left) {
        count = (uint32_t)life.console_left;
        while (is_batch() && count > 0 &&
               rings->out[(rings->out_tail + count - 1) % CONSOLE_OUT_SIZE] != '\n') {
            count--;
        }
    }
    life.console_left -= life.console_room != 0 ? count : 0;
    cr_assert_lt(life.console_length + count, sizeof(life.console));
    for (; count > 0; count--) {
        life.console[life.console_length++] =
            (char)rings->out[rings->out_tail++ % CONSOLE_OUT_SIZE];
    }
    if (rings->room_wanted != 0 && rings->out_head - rings->out_tail < rings->room_wanted) {
        rings->room_wanted = 0;
        life.bits |= 1;
    }
    drive_input();
}

int64_t sys_thread_create(uint32_t process, uint64_t entry, uint64_t stack, uint64_t argument,
                          uint32_t cpu) {
    if (life.object[process].in_group == 0) {
        start_driver(process);
        return 0;
    }
    cr_assert_lt(life.vmm_count, LIFE_VMMS);
    struct life_vmm *vmm = &life.vmm[life.vmm_count++];
    vmm->group = life.object[life.object[process].in_group].group;
    (void)cpu;
    cr_assert_eq(entry, 0x401000);
    cr_assert_eq(stack, PROCESS_STACK_TOP);
    cr_assert_eq(argument, ABI_START_ADDRESS);
    int file = (int)life.object[process].start_memory;
    cr_assert_eq(pread(file, &vmm->start, sizeof(vmm->start), 0), (ssize_t)sizeof(vmm->start));
    close(file);
    vmm->process = process;
    vmm->signals = life.object[process].signals;
    vmm->console = life_map(vmm->start.console, 0, 0, process_pages(sizeof(*vmm->console)));
    ring_writer_open(&vmm->out, vmm->console->out, VMM_CONSOLE_OUT, &vmm->console->out_head,
                     &vmm->console->out_tail);
    ring_reader_open(&vmm->in, vmm->console->in, VMM_CONSOLE_IN, &vmm->console->in_head,
                     &vmm->console->in_tail);
    vmm->reports = life_map(vmm->start.reports, 0, 0, process_pages(sizeof(*vmm->reports)));
    ring_writer_open(&vmm->messages, vmm->reports->ring, VMM_REPORTS_RING, &vmm->reports->head,
                     &vmm->reports->tail);
    return 0;
}

// The supervisor's is the first, the driver's the second.
int64_t sys_event_create(uint32_t quota) {
    uint32_t handle = life_new(LIFE_OTHER, quota, 0);
    if (life.event_count++ == 1) {
        life.driver_event = handle;
    }
    return handle;
}

int64_t sys_event_signal(uint32_t event, uint64_t mask) {
    if (event == life.driver_event) {
        life.driver_signals++;
        drive_input(); // on another CPU
        return 0;
    }
    if (event == life.vmm[0].start.supervisor_event || life.vmm_count == 0) {
        life.bits |= mask;
    } else {
        life.wakeups++;
        life.wanted |= mask;
    }
    return 0;
}

int64_t sys_event_wait(uint32_t event, uint64_t mask, uint64_t deadline, uint64_t *bits) {
    (void)event;
    if ((life.bits & mask) == 0 && deadline == 0) {
        return -ABI_ERROR_TIMEOUT;
    }
    drive(life.console_room);
    bool has_acted = life.bits != 0 || life.script(life.commands++) || life.bits != 0;
    if (!has_acted && deadline == ABI_FOREVER) { // the wire goes on
        drive(CONSOLE_OUT_SIZE);
        if (life.bits == 0) {
            longjmp(life.out, LIFE_SLEEPS);
        }
    }
    if ((life.bits & mask) == 0 && deadline != ABI_FOREVER) {
        life.now = deadline > life.now ? deadline : life.now;
        return -ABI_ERROR_TIMEOUT;
    }
    cr_assert_lt(++life.sleeps, 100000, "the supervisor is busy with nothing");
    *bits = life.bits & mask;
    life.bits &= ~mask;
    return 0;
}

int64_t sys_system_info(uint32_t system, struct abi_system_info *info) {
    cr_assert_eq(system, LIFE_SYSTEM);
    *info = (struct abi_system_info){
        .version = ABI_VERSION,
        .cpu_count = life.cpu_count,
        .memory_kernel = 1000,
        .kernel_entry_tsc = 100,
        .first_entry_tsc = life.vmm_count > 0 ? 350 : 0,
        .virtualization =
            life.lacks_virtualization ? ABI_VIRTUALIZATION_NONE : ABI_VIRTUALIZATION_VTX,
        .vm_exits = 77,
    };
    return 0;
}

int64_t sys_log_take(uint32_t system, uint32_t quota, uint32_t memory, uint32_t event,
                     uint64_t mask) {
    cr_assert_eq(system, LIFE_SYSTEM);
    cr_assert_eq(event, life.driver_event);
    cr_assert_eq(mask, CONSOLE_EVENT_LOG);
    cr_assert_eq(life.object[memory].size, sizeof(struct console_rings));
    life.log_takes++;
    return life_new(LIFE_OTHER, quota, 0);
}

int64_t sys_ports_create(uint32_t system, uint32_t quota, uint16_t first, uint32_t count) {
    cr_assert_eq(system, LIFE_SYSTEM);
    if (quota == LIFE_QUOTA) {
        return button_ports_create(first, count);
    }
    cr_assert(first == 0x3f8 && count == 8);
    if (life.lacks_ports) {
        return -ABI_ERROR_MEMORY;
    }
    return life_new(LIFE_OTHER, quota, 0);
}

int64_t sys_interrupt_create(uint32_t system, uint32_t quota, uint32_t input,
                             enum abi_trigger trigger, uint32_t event, uint64_t mask) {
    cr_assert_eq(system, LIFE_SYSTEM);
    if (quota == LIFE_QUOTA) {
        return button_interrupt_create(input, trigger, event, mask);
    }
    cr_assert(input == 4 && trigger == 0);
    cr_assert(event == life.driver_event && mask == CONSOLE_EVENT_DEVICE);
    return life_new(LIFE_OTHER, quota, 0);
}

int64_t sys_memory_create_device(uint32_t system, uint32_t quota, uint64_t device, uint64_t size) {
    cr_assert(system == LIFE_SYSTEM && device == 0xe0000000 && size == 0x1d5000);
    return life_new(LIFE_OTHER, quota, 0);
}

int64_t sys_system_power(uint32_t system, enum abi_power power) {
    (void)system;
    life.power = power;
    if (life.power_result != 0) {
        return life.power_result;
    }
    longjmp(life.out, LIFE_POWERED);
}

int64_t sys_system_cpu(uint32_t system, uint32_t cpu, struct abi_cpu_info *info) {
    cr_assert_eq(system, LIFE_SYSTEM);
    cr_assert_lt(cpu, LIFE_CPUS);
    *info = life.cpu[cpu];
    return 0;
}

int64_t sys_group_create(uint32_t system, uint32_t quota, const struct abi_group *group) {
    cr_assert_eq(system, LIFE_SYSTEM);
    if (life.group_result != 0) {
        return life.group_result;
    }
    uint32_t handle = life_new(LIFE_GROUP, quota, 0);
    life.object[handle].group = *group;
    return handle;
}

int64_t sys_group_write(uint32_t group, const struct abi_group *values) {
    cr_assert(group == LIFE_OWN || life.object[group].type == LIFE_GROUP);
    life.object[group].group = *values;
    life.last_group = group;
    return 0;
}

int64_t sys_group_charge(uint32_t group, uint64_t ticks) {
    cr_assert_eq(life.object[group].type, LIFE_GROUP);
    cr_assert_leq(ticks, life.tsc_hz != 0 ? life.tsc_hz : 1000);
    life.object[group].charges++;
    return 0;
}

int64_t sys_process_usage(uint32_t process, struct abi_usage *usage) {
    cr_assert(process == 0 || life.object[process].type == LIFE_PROCESS);
    *usage = life.usage;
    return 0;
}

int64_t sys_system_audit(uint32_t system, struct abi_audit *audit) {
    cr_assert_eq(system, LIFE_SYSTEM);
    *audit = life.audit;
    life.audits++;
    return life.audit_result;
}

int64_t sys_system_machine_check(uint32_t system, uint32_t cpu, struct abi_machine_check *error) {
    cr_assert_eq(system, LIFE_SYSTEM);
    cr_assert_lt(cpu, life.cpu_count);
    life.bank_looks++;
    *error = (struct abi_machine_check){0};
    if (cpu == life.bank_cpu && life.bank_errors > 0) {
        life.bank_errors--;
        *error = life.bank_next;
    }
    return life.has_banks ? 0 : -ABI_ERROR_UNSUPPORTED;
}

uint64_t machine_tsc(void);

uint64_t machine_tsc(void) {
    return life.now;
}

// ---- what scripts do ----------------------------------------------------------------------------

void life_print(unsigned int index, const char *text) {
    struct life_vmm *vmm = &life.vmm[index];
    uint32_t length = (uint32_t)strlen(text);
    cr_assert_eq(ring_write(&vmm->out, (const uint8_t *)text, length), length);
    life.bits |= vmm->start.supervisor_mask;
}

void life_report(unsigned int index, enum vmm_message_type type, enum vmm_end end, uint32_t code,
                 const char *text) {
    struct life_vmm *vmm = &life.vmm[index];
    struct vmm_message message = {.type = type, .end = end, .code = code};
    strncpy(message.text, text, sizeof(message.text) - 1);
    cr_assert_eq(ring_write(&vmm->messages, (const uint8_t *)&message, sizeof(message)),
                 sizeof(message));
    life.bits |= vmm->start.supervisor_mask;
}

bool life_may_report(unsigned int index) {
    return ring_writer_room(&life.vmm[index].messages) >= sizeof(struct vmm_message);
}

void life_type(const char *text) {
    life.typed = text;
    drive_input();
}

// ---- set-up -------------------------------------------------------------------------------------

static void life_module(const char *name, const void *data, size_t size) {
    struct abi_start_module *module = &life_start.module[life_start.module_count++];
    strcpy(module->name, name);
    module->size = size;
    module->memory = (uint32_t)life_new_memory(0, process_pages(size));
    cr_assert_eq(pwrite(life.object[module->memory].file, data, size, 0), (ssize_t)size);
}

// A program of one page of code and one of data.
static void life_program_module(const char *name) {
    static struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment[2];
        char code[4096 * 3];
    } elf;
    elf.header = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = 0x401000,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 2,
    };
    elf.segment[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                                  .p_flags = PF_R | PF_X,
                                  .p_offset = 4096,
                                  .p_vaddr = 0x401000,
                                  .p_filesz = 100,
                                  .p_memsz = 100,
                                  .p_align = 4096};
    elf.segment[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                                  .p_flags = PF_R | PF_W,
                                  .p_offset = 8192,
                                  .p_vaddr = 0x402010,
                                  .p_filesz = 16,
                                  .p_memsz = 9000,
                                  .p_align = 16};
    life_module(name, &elf, sizeof(elf));
}

static void life_manifest(const struct life_config *vm, const char *when_all_ended) {
    static char tree[128 << 10] __attribute__((aligned(8)));
    fdt_create(tree, sizeof(tree));
    fdt_finish_reservemap(tree);
    fdt_begin_node(tree, "");
    fdt_property_string(tree, "compatible", MANIFEST_COMPATIBLE);
    fdt_property_u32(tree, "version", MANIFEST_VERSION);
    fdt_begin_node(tree, "host");
    fdt_property_string(tree, "when-all-ended", when_all_ended);
    fdt_end_node(tree);
    fdt_begin_node(tree, "vms");
    for (unsigned int i = 0; vm[i].name != NULL; i++) {
        char node[16];
        snprintf(node, sizeof(node), "vm@%u", i);
        fdt_begin_node(tree, node);
        fdt_property_string(tree, "vm-name", vm[i].name);
        fdt_property_u32(tree, "vcpus", vm[i].vcpus != 0 ? vm[i].vcpus : 3);
        fdt_property_u64(tree, "memory", vm[i].mib << 20);
        fdt_property_string(tree, "kernel", "vmlinuz-0");
        fdt_property_string(tree, "cmdline", "quiet");
        if (!vm[i].is_manual) {
            fdt_property(tree, "autostart", NULL, 0);
        }
        if (vm[i].more != NULL) {
            vm[i].more(tree);
        }
        fdt_end_node(tree);
    }
    fdt_end_node(tree);
    fdt_end_node(tree);
    cr_assert_eq(fdt_finish(tree), 0);
    life_module(MANIFEST_MODULE_MANIFEST, tree, fdt_totalsize(tree));
}

void life_prepare(const struct life_config *vm, const char *cmdline, const char *when_all_ended,
                  bool (*script)(unsigned int step)) {
    strcpy(life_start.cmdline, cmdline);
    life_module("vmlinuz-0", "kernel", 6);
    life_program_module(MANIFEST_MODULE_VMM);
    life_start.uart = (struct boot_uart){.base = 0x3f8, .stride = 1, .width = 1};
    life_start.uart_interrupt = (struct boot_interrupt){.is_there = 1, .input = 4};
    life_start.tsc_hz = life.tsc_hz != 0 ? life.tsc_hz : 1000;
    life_start.framebuffer = (struct boot_framebuffer){0xe0000000, 800, 600, 800, 1};
    life_manifest(vm, when_all_ended);
    life_program_module(MANIFEST_MODULE_CONSOLE);
    life.script = script;
    life.cpu_count = life.cpu_count != 0 ? life.cpu_count : 2;
    for (uint32_t i = 0; i < LIFE_CPUS; i++) {
        life.cpu[i].core = i;
    }
}

int life_run(void) {
    int how = setjmp(life.out);
    if (how == LIFE_NEVER) {
        life.status = supervisor_main(&life_start);
    }
    life.console[life.console_length] = '\0';
    return how;
}

void life_expect(const char *text) {
    cr_assert_not_null(strstr(life.console, text), "no \"%s\" in:\n%s", text, life.console);
}

void life_expect_no_line(const char *text) {
    for (const char *at = life.console; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        cr_assert_neq(strncmp(at, text, strlen(text)), 0, "\"%s\" in:\n%s", text, life.console);
    }
}

unsigned int life_open_handles(void) {
    unsigned int count = 0;
    for (unsigned int i = 8; i < LIFE_OBJECTS; i++) {
        count += life.object[i].type != LIFE_FREE;
    }
    return count;
}

unsigned int life_count(const char *text) {
    unsigned int count = 0;
    for (const char *at = life.console; (at = strstr(at, text)) != NULL; at++) {
        count++;
    }
    return count;
}

const struct abi_group *life_group(unsigned int index) {
    return &life.vmm[index].group;
}

const struct life_config life_one[] = {{.name = "demo", .mib = 8}, {.name = NULL}};
const struct life_config life_two[] = {
    {.name = "demo", .mib = 8}, {.name = "other", .mib = 8}, {.name = NULL}};

void life_nodes(const struct nodes *nodes) {
    life_module(NODES_MODULE, nodes, sizeof(*nodes));
}
