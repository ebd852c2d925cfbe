// SPDX-License-Identifier: Apache-2.0
// kvmrun VCPUS CPUS KERNEL [CMDLINE [INITRD]]: runs a guest of the bench under KVM, as the VMM
// would under Bulkhead, started in 64-bit mode by the Linux boot protocol. It does nothing but to
// run the vCPUs: ports and MMIO are answered by constants. Local APICs are the kernel's; the IOAPIC
// is the kernel's, too, for a guest with an initrd (Linux), else it would be ours (split irqchip).
//
// Each vCPU has a thread of its own, pinned to CPU (its index modulo CPUS). What the guest writes
// to COM1 goes to standard output; a write to port 0xf4 ends everything with that status. A second
// after a line with `rest: begin`, and again after IDLE_S seconds, follows what the kernel counted
// of exits so far (lines of the histogram at EXITS); then everything ends.
#define _GNU_SOURCE
#include "load.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_SIZE   (256ul << 20)
#define VCPUS_MAX     4
#define CPUID_MAX     256
#define TSS_ADDRESS   0xfffbd000ul
#define IOAPIC_INPUTS 24
#define IDLE_S        10
#define EXITS         "/sys/kernel/tracing/events/kvm/kvm_exit/hist"

#define CPUID_X2APIC       (1u << 21)
#define CPUID_TSC_DEADLINE (1u << 24)
#define CPUID_HYPERVISOR   (1u << 31)

#define PORT_COM1       0x3f8
#define PORT_COM1_LSR   0x3fd
#define LSR_EMPTY       0x60 // THRE, TEMT
#define PORT_DEBUG_EXIT 0xf4

static int kvm, vm;
static int cpu_count;

static void make_machine(struct guest *guest) {
    guest->size = MEMORY_SIZE;
    guest->memory =
        mmap(NULL, guest->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // So that a fault maps 4 KiB.
    if (guest->memory == MAP_FAILED || madvise(guest->memory, guest->size, MADV_NOHUGEPAGE) < 0)
        err(1, "memory");
    kvm = open("/dev/kvm", O_RDWR);
    vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        err(1, "VM");
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_INPUTS}};
    struct kvm_userspace_memory_region region = {.memory_size = guest->size,
                                                 .userspace_addr = (uintptr_t)guest->memory};
    int irqchip = guest->initrd != NULL ? ioctl(vm, KVM_CREATE_IRQCHIP, 0)
                                        : ioctl(vm, KVM_ENABLE_CAP, &split);
    if (irqchip < 0 || ioctl(vm, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0 ||
        ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        err(1, "machine");
}

// What KVM supports, with what Bulkhead's guests see, too: leaf 0x15 tells the TSC's frequency.
static void set_cpuid(int vcpu, uint32_t index) {
    static const struct kvm_cpuid_entry2 frequency = {.function = 0x15, .eax = 1, .ebx = 1};
    struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entry[CPUID_MAX];
    } table = {.head.nent = CPUID_MAX - 1};
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &table) < 0)
        err(1, "CPUID");
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table.head.nent; i++) {
        struct kvm_cpuid_entry2 *entry = &table.entry[i];
        if (entry->function == 0 && entry->eax < frequency.function)
            entry->eax = frequency.function;
        if (entry->function == 1) {
            entry->ebx = (entry->ebx & 0x00ffffffu) | index << 24;
            entry->ecx |= CPUID_X2APIC | CPUID_TSC_DEADLINE | CPUID_HYPERVISOR;
        }
        if (entry->function == 0xb)
            entry->edx = index;
        if (entry->function != frequency.function)
            table.entry[kept++] = *entry;
    }
    table.entry[kept] = frequency;
    table.entry[kept++].ecx = (uint32_t)ioctl(vcpu, KVM_GET_TSC_KHZ) * 1000;
    table.head.nent = kept;
    if (ioctl(vcpu, KVM_SET_CPUID2, &table) < 0)
        err(1, "CPUID");
}

static void set_start(int vcpu, uint64_t entry) {
    struct kvm_sregs special;
    struct kvm_regs general = {.rip = entry, .rsi = ZERO_PAGE, .rsp = PAGE_TABLES, .rflags = 2};
    if (ioctl(vcpu, KVM_GET_SREGS, &special) < 0)
        err(1, "registers");
    struct kvm_segment code = {.limit = ~0u, .selector = 0x10, .type = 11, .present = 1, .s = 1};
    struct kvm_segment data = {.limit = ~0u, .selector = 0x18, .type = 3, .present = 1, .s = 1};
    code.l = code.g = data.db = data.g = 1;
    special.cs = code;
    special.ds = special.es = special.ss = data;
    special.cr0 = 0x80000033; // PG, NE, ET, MP, PE
    special.cr3 = PAGE_TABLES;
    special.cr4 = 0x620;  // PAE, OSFXSR, OSXMMEXCPT
    special.efer = 0x500; // LME, LMA
    if (ioctl(vcpu, KVM_SET_SREGS, &special) < 0 || ioctl(vcpu, KVM_SET_REGS, &general) < 0)
        err(1, "registers");
}

static void show_exits(const char *when) {
    char line[256];
    FILE *exits = fopen(EXITS, "r");
    if (exits == NULL)
        err(1, EXITS);
    while (fgets(line, sizeof(line), exits) != NULL) {
        if (strncmp(line, "{ exit_reason", 13) == 0)
            printf("exits %s %s", when, line);
    }
    fclose(exits);
}

static void *watch_idle(void *argument) {
    sleep(1);
    show_exits("begin");
    sleep(IDLE_S);
    show_exits("end");
    fflush(stdout);
    _exit(0);
    return argument;
}

static void serve_com1(char c) {
    static char line[256];
    static size_t length;
    pthread_t watch;
    putchar(c);
    if (c != '\n') {
        line[length] = c;
        length += length < sizeof(line) - 2;
        return;
    }
    line[length] = '\0';
    length = 0;
    fflush(stdout);
    if (strstr(line, "rest: begin") != NULL && pthread_create(&watch, NULL, watch_idle, NULL) != 0)
        errx(1, "thread");
}

static void serve_port(struct kvm_run *run) {
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    if (run->io.direction == KVM_EXIT_IO_IN) {
        memset(data, run->io.port == PORT_COM1_LSR ? LSR_EMPTY : 0xff,
               run->io.size * run->io.count);
    } else if (run->io.port == PORT_COM1) {
        serve_com1((char)*data);
    } else if (run->io.port == PORT_DEBUG_EXIT) {
        fflush(stdout);
        _exit(*data);
    }
}

static void run_vcpu(int vcpu, struct kvm_run *run) {
    for (;;) {
        if (ioctl(vcpu, KVM_RUN, 0) < 0) {
            if (errno != EAGAIN) // of a vCPU that waited for its SIPI
                err(1, "KVM_RUN");
            continue;
        }
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
            serve_port(run);
            break;
        case KVM_EXIT_MMIO:
            if (!run->mmio.is_write)
                memset(run->mmio.data, 0, sizeof(run->mmio.data));
            break;
        default:
            errx(1, "exit reason %u", run->exit_reason);
        }
    }
}

struct vcpu {
    pthread_t thread;
    uint32_t index;
    int fd;
    struct kvm_run *run;
};

static void *vcpu_thread(void *argument) {
    const struct vcpu *vcpu = argument;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(vcpu->index % (uint32_t)cpu_count, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
        err(1, "affinity");
    run_vcpu(vcpu->fd, vcpu->run);
    return NULL;
}

int main(int argc, char **argv) {
    static struct vcpu vcpus[VCPUS_MAX];
    if (argc < 4 || argc > 6 || atoi(argv[1]) < 1 || atoi(argv[1]) > VCPUS_MAX || atoi(argv[2]) < 1)
        errx(2, "usage: kvmrun VCPUS CPUS KERNEL [CMDLINE [INITRD]]");
    struct guest guest = {.vcpu_count = (uint32_t)atoi(argv[1]),
                          .kernel = argv[3],
                          .cmdline = argc > 4 ? argv[4] : "",
                          .initrd = argc > 5 ? argv[5] : NULL};
    cpu_count = atoi(argv[2]);
    make_machine(&guest);
    uint64_t entry = guest_load(&guest);
    size_t size = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    for (uint32_t i = 0; i < guest.vcpu_count; i++) {
        struct vcpu *vcpu = &vcpus[i];
        vcpu->index = i;
        vcpu->fd = ioctl(vm, KVM_CREATE_VCPU, i);
        vcpu->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
        if (vcpu->fd < 0 || vcpu->run == MAP_FAILED)
            err(1, "vCPU");
        set_cpuid(vcpu->fd, i);
    }
    set_start(vcpus[0].fd, entry); // the others wait for INIT and SIPI
    for (uint32_t i = 0; i < guest.vcpu_count; i++) {
        if (pthread_create(&vcpus[i].thread, NULL, vcpu_thread, &vcpus[i]) != 0)
            errx(1, "thread");
    }
    pthread_join(vcpus[0].thread, NULL);
    return 1;
}
