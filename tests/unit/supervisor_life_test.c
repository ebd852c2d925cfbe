// SPDX-License-Identifier: Apache-2.0
// The whole supervisor, as it is, on a kernel of paper: the system calls it makes are answered here, and
// the VMMs it starts are played by each test's script, which runs whenever the supervisor sleeps.
//
// The supervisor's files are included, not linked, behind renamed system calls. Memory objects are
// memfds, so that both sides can map them; handles and quotas are counted, so that a test sees what an ended
// VM leaves behind.
#define sys_handle_close    kernel_handle_close
#define sys_handle_copy     kernel_handle_copy
#define sys_quota_create    kernel_quota_create
#define sys_quota_read      kernel_quota_read
#define sys_memory_create   kernel_memory_create
#define sys_process_create  kernel_process_create
#define sys_process_map     kernel_process_map
#define sys_process_unmap   kernel_process_unmap
#define sys_process_status  kernel_process_status
#define sys_process_kill    kernel_process_kill
#define sys_thread_create   kernel_thread_create
#define sys_event_create    kernel_event_create
#define sys_event_signal    kernel_event_signal
#define sys_event_wait      kernel_event_wait
#define sys_channel_create  kernel_channel_create
#define sys_channel_bind    kernel_channel_bind
#define sys_channel_send    kernel_channel_send
#define sys_channel_receive kernel_channel_receive
#define sys_system_info     kernel_system_info
#define sys_console_write   kernel_console_write
#define sys_console_read    kernel_console_read
#define sys_console_bind    kernel_console_bind
#define sys_system_power    kernel_system_power
#include "lib/syscall.h"
#undef sys_handle_close
#undef sys_handle_copy
#undef sys_quota_create
#undef sys_quota_read
#undef sys_memory_create
#undef sys_process_create
#undef sys_process_map
#undef sys_process_unmap
#undef sys_process_status
#undef sys_process_kill
#undef sys_thread_create
#undef sys_event_create
#undef sys_event_signal
#undef sys_event_wait
#undef sys_channel_create
#undef sys_channel_bind
#undef sys_channel_send
#undef sys_channel_receive
#undef sys_system_info
#undef sys_console_write
#undef sys_console_read
#undef sys_console_bind
#undef sys_system_power

#include "include/vmm.h"
#include "lib/ring.h"
#include "supervisor/process.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <libfdt.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Elsewhere than in the real machine, where a host's sanitizer has its shadow memory.
#undef PROCESS_OWN_BASE
#define PROCESS_OWN_BASE 0x200000000000ULL

#define LIFE_MIB     (1ULL << 20)
#define LIFE_MEMORY  (64 * LIFE_MIB)
#define LIFE_OBJECTS 128
#define LIFE_QUOTA   1u // handles of the start page
#define LIFE_SYSTEM  2u
#define LIFE_NEVER   0
#define LIFE_POWERED 1
#define LIFE_SLEEPS  2

enum life_type { LIFE_FREE = 0, LIFE_OTHER, LIFE_QUOTA_OBJECT, LIFE_MEMORY_OBJECT, LIFE_PROCESS };

struct life_object {
    enum life_type type;
    uint32_t parent; // quota it is charged to
    uint64_t size;   // memory, quota
    int file;        // memory
    // Processes.
    struct abi_process_status status;
    uint64_t mask;
    uint32_t start_memory;
};

// A VMM as the test's script sees it.
struct life_vmm {
    struct vmm_start start;
    uint32_t process;
    struct vmm_console *console;
    struct ring_writer out;
    struct ring_reader in;
};

static struct {
    struct life_object object[LIFE_OBJECTS];
    uint64_t used; // of the supervisor's quota
    uint64_t bits; // of the supervisor's event
    bool was_full;
    size_t console_room; // taken a sleep; 0: as much as there is
    size_t console_left;
    char console[8 << 20];
    size_t console_length;
    const char *typed;
    struct vmm_message mail[16]; // to the supervisor, of all VMMs; `mail_to` tells on which channel
    uint32_t mail_to[16];
    unsigned int mail_count;
    enum vmm_message_type last_sent;
    uint64_t wakeups;
    struct life_vmm vmm[4];
    unsigned int vmm_count;
    uint64_t leak; // bytes that no quota of a VM gives back
    unsigned int mapped;
    unsigned int sleeps;
    unsigned int commands;             // how often the script has acted
    bool (*script)(unsigned int step); // false: nothing happens any more
    jmp_buf out;
    enum abi_power power;
} life;

static struct abi_start life_start;

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

// ---- the system calls -------------------------------------------------------------------------------

static int64_t sys_handle_close(uint32_t handle) {
    struct life_object *object = &life.object[handle];
    cr_assert_neq(object->type, LIFE_FREE, "handle %u closed twice", handle);
    if (object->type == LIFE_QUOTA_OBJECT) {
        life.used -= object->size;
    }
    if (object->type == LIFE_MEMORY_OBJECT) {
        close(object->file);
    }
    object->type = LIFE_FREE;
    return 0;
}

static int64_t sys_handle_copy(uint32_t process, uint32_t handle, uint32_t rights) {
    cr_assert_eq(life.object[process].type, LIFE_PROCESS);
    cr_assert_eq(rights & (ABI_RIGHT_MANAGE | ABI_RIGHT_COPY), 0);
    return handle; // the script uses the same numbers
}

static int64_t sys_quota_create(uint32_t quota, uint64_t bytes) {
    cr_assert_eq(quota, LIFE_QUOTA);
    if (bytes > LIFE_MEMORY - life.used) {
        return -ABI_ERROR_MEMORY;
    }
    life.used += bytes;
    return life_new(LIFE_QUOTA_OBJECT, quota, bytes);
}

static int64_t sys_quota_read(uint32_t quota, struct abi_quota_info *info) {
    bool is_own = quota == LIFE_QUOTA;
    info->limit = is_own ? LIFE_MEMORY : life.object[quota].size;
    info->used = is_own ? life.used : life.leak;
    return 0;
}

static int64_t sys_memory_create(uint32_t quota, uint64_t size) {
    return life_new_memory(quota, size);
}

static int64_t sys_process_create(uint32_t quota, uint32_t event, uint64_t mask, uint32_t group) {
    (void)event;
    (void)group;
    uint32_t handle = life_new(LIFE_PROCESS, quota, 0);
    life.object[handle].mask = mask;
    return handle;
}

static int64_t sys_process_map(uint32_t process, uint32_t memory, uint64_t address, uint64_t offset,
                               uint64_t size, uint32_t rights) {
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

static int64_t sys_process_unmap(uint32_t process, uint64_t address, uint64_t size) {
    cr_assert_eq(process, 0);
    life.mapped--;
    return munmap((void *)address, size);
}

static int64_t sys_process_status(uint32_t process, struct abi_process_status *status) {
    *status = life.object[process].status;
    return 0;
}

static void life_end_process(uint32_t process, struct abi_process_status status) {
    if (life.object[process].status.state == ABI_PROCESS_RUNNING) {
        life.object[process].status = status;
        life.bits |= life.object[process].mask;
    }
}

static int64_t sys_process_kill(uint32_t process, uint32_t status) {
    life_end_process(process, (struct abi_process_status){ABI_PROCESS_EXITED, status, 0, 0, 0, 0});
    return 0;
}

static int64_t sys_thread_create(uint32_t process, uint64_t entry, uint64_t stack,
                                 uint64_t argument, uint32_t cpu) {
    struct life_vmm *vmm = &life.vmm[life.vmm_count++];
    (void)cpu;
    cr_assert_eq(entry, 0x401000);
    cr_assert_eq(stack, PROCESS_STACK_TOP);
    cr_assert_eq(argument, ABI_START_ADDRESS);
    int file = (int)life.object[process].start_memory;
    cr_assert_eq(pread(file, &vmm->start, sizeof(vmm->start), 0), (ssize_t)sizeof(vmm->start));
    close(file);
    vmm->process = process;
    vmm->console = life_map(vmm->start.console, 0, 0, process_pages(sizeof(*vmm->console)));
    ring_writer_open(&vmm->out, vmm->console->out, VMM_CONSOLE_OUT, &vmm->console->out_head,
                     &vmm->console->out_tail);
    ring_reader_open(&vmm->in, vmm->console->in, VMM_CONSOLE_IN, &vmm->console->in_head,
                     &vmm->console->in_tail);
    return 0;
}

static int64_t sys_event_create(uint32_t quota) {
    return life_new(LIFE_OTHER, quota, 0);
}

static int64_t sys_event_signal(uint32_t event, uint64_t mask) {
    if (event == life.vmm[0].start.supervisor_event || life.vmm_count == 0) {
        life.bits |= mask;
    } else {
        life.wakeups++;
    }
    return 0;
}

static int64_t sys_event_wait(uint32_t event, uint64_t deadline, uint64_t *bits) {
    (void)event;
    if (life.bits == 0 && deadline == 0) {
        return -ABI_ERROR_TIMEOUT;
    }
    if (life.bits == 0 && life.was_full) {
        life.bits |= 1;
        life.was_full = false;
    }
    life.console_left = life.console_room;
    if (life.bits == 0 && !life.script(life.commands++) && life.bits == 0) {
        if (deadline != ABI_FOREVER) {
            return -ABI_ERROR_TIMEOUT; // time flies while nothing happens: see life_run
        }
        longjmp(life.out, LIFE_SLEEPS);
    }
    cr_assert_lt(++life.sleeps, 100000, "the supervisor is busy with nothing");
    *bits = life.bits;
    life.bits = 0;
    return 0;
}

static int64_t sys_channel_create(uint32_t quota, uint32_t handles[2]) {
    handles[0] = life_new(LIFE_OTHER, quota, 0);
    handles[1] = life_new(LIFE_OTHER, quota, 0);
    return 0;
}

static int64_t sys_channel_bind(uint32_t channel, uint32_t event, uint64_t mask) {
    (void)channel, (void)event, (void)mask;
    return 0;
}

static int64_t sys_channel_send(uint32_t channel, const void *message, size_t size) {
    (void)channel;
    cr_assert_eq(size, sizeof(struct vmm_message));
    life.last_sent = ((const struct vmm_message *)message)->type;
    return 0;
}

static int64_t sys_channel_receive(uint32_t channel, void *message, size_t size) {
    cr_assert_eq(size, sizeof(struct vmm_message));
    for (unsigned int i = 0; i < life.mail_count; i++) {
        if (life.mail_to[i] + 1 == channel || life.mail_to[i] == channel + 1) {
            memcpy(message, &life.mail[i], size);
            life.mail_count--;
            memmove(&life.mail[i], &life.mail[i + 1], (life.mail_count - i) * sizeof(life.mail[0]));
            memmove(&life.mail_to[i], &life.mail_to[i + 1],
                    (life.mail_count - i) * sizeof(life.mail_to[0]));
            return (int64_t)size;
        }
    }
    return -ABI_ERROR_AGAIN;
}

static int64_t sys_system_info(uint32_t system, struct abi_system_info *info) {
    cr_assert_eq(system, LIFE_SYSTEM);
    *info = (struct abi_system_info){
        .version = ABI_VERSION,
        .cpu_count = 2,
        .tsc_hz = 1, // so that END_PATIENCE is over at once
        .memory_kernel = 1000,
        .kernel_entry_tsc = 100,
        .first_entry_tsc = life.vmm_count > 0 ? 350 : 0,
        .has_virtualization = 1,
        .vm_exits = 77,
    };
    return 0;
}

static int64_t sys_console_write(uint32_t system, const char *text, size_t size) {
    (void)system;
    if (life.console_room != 0 && size > life.console_left) {
        size = life.console_left;
        life.was_full = true;
    }
    life.console_left -= life.console_room != 0 ? size : 0;
    cr_assert_lt(life.console_length + size, sizeof(life.console));
    memcpy(&life.console[life.console_length], text, size);
    life.console_length += size;
    return (int64_t)size;
}

static int64_t sys_console_read(uint32_t system, char *text, size_t size) {
    (void)system;
    size_t count = life.typed != NULL ? strnlen(life.typed, size) : 0;
    memcpy(text, life.typed != NULL ? life.typed : "", count);
    life.typed = life.typed != NULL ? life.typed + count : NULL;
    return (int64_t)count;
}

static int64_t sys_console_bind(uint32_t system, uint32_t event, uint64_t mask) {
    (void)system, (void)event;
    cr_assert_eq(mask, 1);
    return 0;
}

static int64_t sys_system_power(uint32_t system, enum abi_power power) {
    (void)system;
    life.power = power;
    longjmp(life.out, LIFE_POWERED);
}

// ---- the supervisor ---------------------------------------------------------------------------------

#define main supervisor_main
#include "supervisor/console.c"
#include "supervisor/machine.c"
#include "supervisor/main.c"
#undef PREFIX
#include "supervisor/mux.c"
#include "supervisor/partition.c"
#undef MIB
#include "supervisor/process.c"
#include "supervisor/shell.c"
#include "supervisor/stat.c"
#include "supervisor/vm.c"
#undef main

// ---- what scripts do --------------------------------------------------------------------------------

static void life_print(unsigned int index, const char *text) {
    struct life_vmm *vmm = &life.vmm[index];
    uint32_t length = (uint32_t)strlen(text);
    cr_assert_eq(ring_write(&vmm->out, (const uint8_t *)text, length), length);
    life.bits |= vmm->start.supervisor_mask;
}

static void life_report(unsigned int index, enum vmm_message_type type, enum vmm_end end,
                        uint32_t code, const char *text) {
    struct vmm_message *message = &life.mail[life.mail_count];
    *message = (struct vmm_message){.type = type, .end = end, .code = code};
    strncpy(message->text, text, sizeof(message->text) - 1);
    life.mail_to[life.mail_count++] = life.vmm[index].start.report;
    life.bits |= life.vmm[index].start.supervisor_mask;
}

static void life_type(const char *text) {
    life.typed = text;
    life.bits |= 1;
}

// ---- set-up -----------------------------------------------------------------------------------------

static void life_module(const char *name, const void *data, size_t size) {
    struct abi_start_module *module = &life_start.module[life_start.module_count++];
    strcpy(module->name, name);
    module->size = size;
    module->memory = (uint32_t)life_new_memory(0, process_pages(size));
    cr_assert_eq(pwrite(life.object[module->memory].file, data, size, 0), (ssize_t)size);
}

// A program of one page of code and one of data.
static void life_vmm_module(void) {
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
    life_module(MANIFEST_MODULE_VMM, &elf, sizeof(elf));
}

struct life_config {
    const char *name;
    uint64_t mib;
    bool is_manual;
};

static void life_manifest(const struct life_config *vm, const char *when_all_ended) {
    static char tree[16384] __attribute__((aligned(8)));
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
        fdt_property_u32(tree, "vcpus", 3);
        fdt_property_u64(tree, "memory", vm[i].mib << 20);
        fdt_property_string(tree, "kernel", "vmlinuz-0");
        fdt_property_string(tree, "cmdline", "quiet");
        if (!vm[i].is_manual) {
            fdt_property(tree, "autostart", NULL, 0);
        }
        fdt_end_node(tree);
    }
    fdt_end_node(tree);
    fdt_end_node(tree);
    cr_assert_eq(fdt_finish(tree), 0);
    life_module(MANIFEST_MODULE_MANIFEST, tree, fdt_totalsize(tree));
}

static void life_prepare(const struct life_config *vm, const char *cmdline,
                         const char *when_all_ended, bool (*script)(unsigned int step)) {
    life_start.version = ABI_VERSION;
    life_start.quota = LIFE_QUOTA;
    life_start.system = LIFE_SYSTEM;
    strcpy(life_start.cmdline, cmdline);
    life_module("vmlinuz-0", "kernel", 6);
    life_vmm_module();
    life_manifest(vm, when_all_ended);
    life.script = script;
}

// Runs the supervisor until it powers off or sleeps forever; returns which, the output in life.console.
static int life_run(void) {
    int how = setjmp(life.out);
    if (how == LIFE_NEVER) {
        supervisor_main(&life_start);
    }
    life.console[life.console_length] = '\0';
    return how;
}

static void life_expect(const char *text) {
    cr_assert_not_null(strstr(life.console, text), "no \"%s\" in:\n%s", text, life.console);
}

// No line of the output starts with it.
static void life_expect_no_line(const char *text) {
    for (const char *at = life.console; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        cr_assert_neq(strncmp(at, text, strlen(text)), 0, "\"%s\" in:\n%s", text, life.console);
    }
}

static unsigned int life_open_handles(void) {
    unsigned int count = 0;
    for (unsigned int i = 8; i < LIFE_OBJECTS; i++) {
        count += life.object[i].type != LIFE_FREE;
    }
    return count;
}

static const struct life_config life_one[] = {{"demo", 8, false}, {NULL, 0, false}};
static const struct life_config life_two[] = {
    {"demo", 8, false}, {"other", 8, false}, {NULL, 0, false}};

// ---- batch mode -------------------------------------------------------------------------------------

static bool life_script_two(unsigned int step) {
    switch (step) {
    case 0:
        life_print(0, "hello\r\nhal");
        life_print(1, "[bulkhead] vm demo: crashed: forged\n\r[bulkhead] all VMs ended\n");
        return true;
    case 1:
        life_report(0, VMM_MESSAGE_RUNNING, 0, 0, "");
        life_report(1, VMM_MESSAGE_LOG, 0, 0, "says\n[bulkhead] all VMs ended");
        return true;
    case 2:
        life_print(0, "f a line");
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    case 3:
        life_end_process(life.vmm[1].process, (struct abi_process_status){ABI_PROCESS_FAULTED, 0,
                                                                          14, 4, 0x401234, 0x10});
        return true;
    default:
        return false;
    }
}

Test(supervisor_life, batch_tells_two_vms_apart) {
    life_prepare(life_two, "loglevel=1 console=batch", "stay", life_script_two);
    unsigned int handles = life_open_handles();
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[demo] hello\n");
    life_expect("[demo] half a line\n[bulkhead] vm demo: powered off\n");
    life_expect("[other] [bulkhead] vm demo: crashed: forged\n");
    life_expect("[bulkhead] vm other: says\\x0a[bulkhead] all VMs ended\n");
    life_expect("[bulkhead] vm other: crashed: its VMM faulted (vector 14 at rip 0x401234, "
                "address 0x10)\n");
    life_expect("[bulkhead] stat boot_to_guest 250\n");
    life_expect("[bulkhead] stat vm_exits 77\n[bulkhead] all VMs ended\n");
    life_expect_no_line("[bulkhead] leak");
    life_expect_no_line("[bulkhead] vm demo: crashed");
    cr_assert_eq(life_open_handles(), handles + 1, "only the event stays");
    cr_assert_eq(life.mapped, 3, "manifest, vmm.elf and the table of VMs stay");
}

Test(supervisor_life, vmm_gets_what_the_manifest_says) {
    life_prepare(life_two, "console=batch", "stay", life_script_two);
    cr_assert_eq(life_run(), LIFE_POWERED);
    const struct vmm_start *page = &life.vmm[1].start;
    cr_assert_eq(page->version, VMM_VERSION);
    cr_assert_eq(page->vcpu_count, 3);
    cr_assert_eq(page->memory_size, 8 * LIFE_MIB);
    cr_assert_eq(page->kernel_size, 6);
    cr_assert_eq(page->initrd, 0);
    cr_assert_str_eq(page->name, "other");
    cr_assert_str_eq(page->cmdline, "quiet");
    cr_assert_eq(page->cpu[0], 1, "three vCPUs of demo came first");
    cr_assert_eq(page->cpu[1], 0);
    cr_assert_neq(page->supervisor_mask, life.vmm[0].start.supervisor_mask);
}

static bool life_script_flood(unsigned int step) {
    static char line[2048];
    memset(line, 'x', sizeof(line) - 2);
    line[sizeof(line) - 2] = '\n';
    if (step < 40) {
        while (ring_writer_room(&life.vmm[0].out) >= sizeof(line)) {
            life_print(0, line);
        }
        life_print(1, "tick\n");
        return true;
    }
    for (unsigned int i = 0; i < 2 && step == 40; i++) {
        life_report(i, VMM_MESSAGE_ENDED, VMM_END_DEBUG_EXIT, i, "");
    }
    return step == 40;
}

// A console of 200 bytes a turn: nothing of the well-behaved VM is lost.
Test(supervisor_life, slow_console_loses_nothing) {
    life_prepare(life_two, "console=batch", "stay", life_script_flood);
    life.console_room = 200;
    cr_assert_eq(life_run(), LIFE_POWERED);
    unsigned int ticks = 0;
    for (const char *at = life.console; (at = strstr(at, "[other] tick\n")) != NULL; at++) {
        ticks++;
    }
    cr_assert_eq(ticks, 40);
    life_expect("[bulkhead] vm demo: debug-exit 0\n");
    life_expect("[bulkhead] vm other: debug-exit 1\n");
    cr_assert_gt(life.wakeups, 0, "the flooding VMM was told that there is room again");
}

static bool life_script_garbage(unsigned int step) {
    struct vmm_console *console = life.vmm[0].console;
    if (step < 50) {
        console->out_head = step * 0x9e3779b9u;
        console->out_tail = ~step;
        console->in_head = step;
        life.bits |= life.vmm[0].start.supervisor_mask;
        life_report(0, step % 7 + 100, step, step, "?");
        return true;
    }
    life_report(0, VMM_MESSAGE_ENDED, 99, 0, "x");
    console->out_head = 0;
    return step < 60;
}

Test(supervisor_life, hostile_vmm_hurts_itself_only) {
    life_prepare(life_one, "console=batch", "stay", life_script_garbage);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: crashed: x\n");
    life_expect("[bulkhead] all VMs ended\n");
}

static bool life_script_nothing(unsigned int step) {
    (void)step;
    return false;
}

static bool life_script_end_one(unsigned int step) {
    life_report(0, VMM_MESSAGE_ENDED, VMM_END_RESET, 0, "");
    return step == 0;
}

static const struct life_config life_impossible[] = {
    {"huge", 4096, false}, {"demo", 8, false}, {"demo", 8, false}, {NULL, 0, false}};

Test(supervisor_life, impossible_vms_are_refused_and_the_rest_runs) {
    life_prepare(life_impossible, "console=batch", "stay", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm huge: refused: needs 4131 MiB, the machine has 63 MiB free; lower "
                "\"memory\" in the manifest\n");
    life_expect("[bulkhead] vm demo: refused: an earlier VM has the same name");
    life_expect("[bulkhead] vm demo: reset\n");
}

Test(supervisor_life, missing_kernel_is_named) {
    life_prepare(life_one, "console=batch", "stay", life_script_nothing);
    strcpy(life_start.module[0].name, "another");
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: refused: its kernel \"vmlinuz-0\" was not loaded");
    life_expect("[bulkhead] all VMs ended\n");
}

Test(supervisor_life, damaged_vmm_is_told) {
    life_prepare(life_one, "console=batch", "stay", life_script_nothing);
    cr_assert_eq(pwrite(life.object[life_start.module[1].memory].file, "x", 1, 0), 1);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: refused: its virtual machine monitor could not be started: ");
    life_expect_no_line("[bulkhead] leak");
}

Test(supervisor_life, damaged_manifest_is_told) {
    life_prepare(life_one, "console=batch", "stay", life_script_nothing);
    cr_assert_eq(pwrite(life.object[life_start.module[2].memory].file, "xxxx", 4, 0), 4);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] the manifest (manifest.dtb) cannot be used: ");
    life_expect_no_line("[bulkhead] all VMs ended");
}

Test(supervisor_life, leak_is_told) {
    life.leak = 4096;
    life_prepare(life_one, "console=batch", "stay", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] leak: vm demo: 4096 bytes did not come back\n");
}

// ---- interactive mode -------------------------------------------------------------------------------

static bool life_script_focus(unsigned int step) {
    switch (step) {
    case 0:
        life_print(0, "login: ");
        life_print(1, "unseen\r\n");
        return true;
    case 1:
        life_type("root\r\x01\x01");
        return true;
    case 2:
        life_type("\x01n");
        return true;
    case 3:
        life_type("\x01"
                  "cvm\rend demo\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_life, terminal_follows_the_focus) {
    life_prepare(life_two, "", "stay", life_script_focus);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    uint8_t bytes[64] = {0};
    cr_assert_eq(ring_read(&life.vmm[0].in, bytes, sizeof(bytes)), 6);
    cr_assert_str_eq((char *)bytes, "root\r\x01");
    life_expect("[bulkhead] the terminal is now vm demo's");
    life_expect(
        "login: \r\n[bulkhead] the terminal is now vm other's (Ctrl-A h: help)\r\nunseen\r\n");
    life_expect("the hypervisor's (help: commands)\r\nbulkhead> vm\r\n");
    life_expect("  1  demo              3 vCPU      8 MiB  starting\r\n");
    cr_assert_eq(life.last_sent, VMM_MESSAGE_END);
    // It does not answer: its patience being over, it is ended.
    life_expect("[bulkhead] vm demo: crashed: its VMM did not end it when asked to, and was ended");
}

static bool life_script_end_all(unsigned int step) {
    switch (step) {
    case 0:
        life_report(1, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    case 1:
        life_type("\x01x");
        return true;
    case 2:
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    default:
        return false;
    }
}

Test(supervisor_life, quit_ends_all_and_powers_off) {
    life_prepare(life_two, "", "stay", life_script_end_all);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.power, ABI_POWER_OFF);
    life_expect("[bulkhead] all VMs ended\r\n");
}

static const struct life_config life_manual[] = {{"demo", 8, true}, {NULL, 0, false}};

static bool life_script_start(unsigned int step) {
    switch (step) {
    case 0:
        life_type("start demo\r");
        return true;
    case 1:
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    case 2:
        life_type("start demo\r");
        return true;
    case 3:
        life_report(1, VMM_MESSAGE_ENDED, VMM_END_DEBUG_EXIT, 3, "");
        return true;
    case 4:
        life_type("reset\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_life, vm_is_started_twice_by_hand) {
    life_prepare(life_manual, "", "stay", life_script_start);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.power, ABI_POWER_RESET);
    life_expect("[bulkhead] vm demo: powered off\r\n");
    life_expect("[bulkhead] vm demo: debug-exit 3\r\n");
    life_expect_no_line("[bulkhead] leak");
}

Test(supervisor_life, machine_powers_off_when_the_manifest_says_so) {
    life_prepare(life_one, "", "power-off", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: reset\r\n[bulkhead] all VMs ended\r\n");
}
