// SPDX-License-Identifier: Apache-2.0
// The keys of the manifest, each described once. Whoever includes this file says before what a key,
// and what each kind of value, is to become: members of structs (include/manifest.h), the table
// by which the supervisor reads them (supervisor/manifest_keys.c). The tool checks and compiles by
// it (tools/bulkhead/schema.py), and the manual is made from it (docs/manifest.md, by
// scripts/manual).
//
// VM_KEY(member, "key", value, without, when): a key of [[vm]]; member of struct vm_config.
// VMM_KEY: the same, and the supervisor hands it to the VMM (include/vmm.h): a number or a FLAG.
// SCHEDULING_KEY: the same; member of struct vm_scheduling.
// HOST_KEY: a key of [host]; member of struct host_config.
//
// value: what it is in the TOML; what it becomes in the device tree, where the property is called
// as the key:
//     NAME                    a VM's name; a string, "vm-name", since the tree has its own "name"
//     WORD                    formed as a name; a string
//     FILE                    the path of a file; two strings: its name among the modules, and in
//                             "KEY-file" the user's own name of it, for messages
//     TEXT(most)              printable ASCII of so many characters; a string
//     FLAG                    true, which is a property without a value, or false, which is none
//     CHOICE(type)            a word of that CHOICES; a string
//     NUMBER(least, most)     a whole number; u32
//     SIZE(step, unit, most, unit)    such as "256M", a multiple of the step; u64, bytes
//     TIME(least, unit, most, unit)   such as "2ms"; u64, nanoseconds
//     RATE(least, unit, most, unit)   such as "2.4GHz"; u64, Hz
//     CPUS                    such as "0-3,6"; MANIFEST_CPU_WORDS u64, a bit mask, CPUs 0..63 first
// without: what holds when nothing is said
//     REQUIRED("example")     that is an error
//     DEFAULT(number)         this value; DEFAULT(number, unit) likewise
//     FIRST                   the first word of the CHOICES
//     SET                     true
//     EMPTY                   a text of no characters
//     ABSENT("what then")     the property is absent: the member is 0, or NULL, or all CPUs
//     FOR_TESTS               likewise; and only an image for tests may have it
//     CHOSEN("by whom")       the property is absent: the member, which may be 0, is UINT32_MAX
// when: where it means something
//     ALWAYS
//     WITH(other, "word"...)  where that key, which stands before it, is one of these words; there
//                             REQUIRED holds, and elsewhere the key is refused
//
// What stands above each key is for the manual; rulers are its tables. CHOICES(type, WORD...) makes
// an enum: WORD_IS(constant, "word", "what it means", as the manual and errors say it).

#ifndef CHOICES
#define CHOICES(...)
#endif
#ifndef HOST_KEY
#define HOST_KEY(...)
#endif
#ifndef VM_KEY
#define VM_KEY(...)
#endif
#ifndef VMM_KEY
#define VMM_KEY VM_KEY
#endif
#ifndef SCHEDULING_KEY
#define SCHEDULING_KEY(...)
#endif

CHOICES(host_end, WORD_IS(HOST_POWER_OFF, "power-off", "the machine is switched off"),
        WORD_IS(HOST_STAY, "stay", "the hypervisor's console stays"))

CHOICES(vm_schedule, WORD_IS(VM_SHARED, "shared", "its vCPUs share CPUs with others"),
        WORD_IS(VM_DEDICATED, "dedicated", "each vCPU has a core for itself"),
        WORD_IS(VM_REALTIME, "realtime", "each vCPU runs for its budget in each period"))

CHOICES(vm_restart, WORD_IS(VM_RESTART_NEVER, "never", "it is not started again"),
        WORD_IS(VM_RESTART_ON_FAILURE, "on-failure", "when the guest crashed, or its VMM did"),
        WORD_IS(VM_RESTART_ALWAYS, "always", "also when it powered off, or left by debug-exit"))

// ---- host ---------------------------------------------------------------------------------------

// The hypervisor's own command line: words between blanks, see below.
HOST_KEY(cmdline, "cmdline", TEXT(MANIFEST_HOST_CMDLINE_MAX), EMPTY, ALWAYS)

// What comes when all VMs have ended.
HOST_KEY(when_all_ended, "when-all-ended", CHOICE(host_end), FIRST, ALWAYS)

// ---- vm -----------------------------------------------------------------------------------------

// Each VM has its own; not `bulkhead`, which is the hypervisor's.
VM_KEY(name, "name", NAME, REQUIRED("demo"), ALWAYS)

// How many virtual CPUs it has.
VM_KEY(vcpus, "vcpus", NUMBER(1, MANIFEST_VCPUS_MAX), REQUIRED("1"), ALWAYS)

// The guest's memory.
VM_KEY(memory, "memory", SIZE(2, M, 16, T), REQUIRED("256M"), ALWAYS)

// The kernel: a Linux bzImage, a kernel with a Multiboot 1 or 2 header or a PVH entry (ELF32,
// ELF64), or an ELF64 executable that starts as the 64-bit Linux boot protocol says. Which it is
// [is recognised](vmm.md#what-a-guest-finds); one that is compressed (`vmlinux.gz`) has to be
// unpacked first.
VM_KEY(kernel, "kernel", FILE, REQUIRED("vmlinuz"), ALWAYS)

// The initial RAM disk, or the module of Multiboot and PVH.
VM_KEY(initrd, "initrd", FILE, ABSENT("none"), ALWAYS)

// A program that runs in the VMM's place, with more rights than a VMM.
VM_KEY(vmm, "vmm", FILE, FOR_TESTS, ALWAYS)

// The kernel's command line.
VM_KEY(cmdline, "cmdline", TEXT(MANIFEST_CMDLINE_MAX), EMPTY, ALWAYS)

// Whether it starts at boot. Without, it is started from the console.
VM_KEY(is_autostart, "autostart", FLAG, SET, ALWAYS)

// The rate of its TSC, for a guest that must see the same on different machines; between 1/256 of
// the host's and 256 times that. Needs TSC scaling in the CPU where it is not the host's own; see
// [Time](time.md).
VMM_KEY(tsc_frequency, "tsc-frequency", RATE(1, MHz, 8, GHz), ABSENT("the host's"), ALWAYS)

// ---- sharing the CPUs ---------------------------------------------------------------------------

// How its vCPUs get CPU time. The timer of a dedicated core never interrupts it on our behalf.
// Real-time vCPUs run before all shared ones.
SCHEDULING_KEY(schedule, "schedule", CHOICE(vm_schedule), FIRST, ALWAYS)

// CPU time is divided among shared VMs that want it in the proportion of their weights, however
// many vCPUs they have.
SCHEDULING_KEY(weight, "weight", NUMBER(1, MANIFEST_WEIGHT_MAX), DEFAULT(100), ALWAYS)

// The most it may use, in percent of one CPU: 150 is one CPU and a half.
SCHEDULING_KEY(cap, "cap", NUMBER(1, MANIFEST_CAP_MAX), ABSENT("none"), WITH(schedule, "shared"))

// The host's CPUs that its vCPUs may use.
SCHEDULING_KEY(cpus, "cpus", CPUS, ABSENT("all"), ALWAYS)

// The NUMA node that its memory comes from first, and whose CPUs its vCPUs run on where `cpus` says
// nothing else; `info` on the console lists them. See [Nodes](scheduler.md#nodes). A machine
// without that node says so in a line, and chooses itself.
SCHEDULING_KEY(node, "node", NUMBER(0, MANIFEST_NODE_MAX), CHOSEN("a node that it fits in"), ALWAYS)

// CPU time of each vCPU in each period, at most 90 % of that.
SCHEDULING_KEY(budget, "budget", TIME(10, us, 1, s), REQUIRED("2ms"), WITH(schedule, "realtime"))

// See `budget`.
SCHEDULING_KEY(period, "period", TIME(100, us, 10, s), REQUIRED("10ms"), WITH(schedule, "realtime"))

// VMs with one word trust each other: only they may run on the hardware threads of a core at the
// same time, and no predictor is flushed between them.
VM_KEY(trust, "trust", WORD, ABSENT("trusts nobody"), ALWAYS)

// So many ways of the last-level cache are for this VM alone, where the CPU can partition it (CAT);
// all VMs without this key share the others. Elsewhere a line says that it does nothing.
SCHEDULING_KEY(cache, "cache", NUMBER(1, 32), ABSENT("shares"), ALWAYS)

// ---- restarting ---------------------------------------------------------------------------------

// When it is started again.
VM_KEY(restart, "restart", CHOICE(vm_restart), FIRST, ALWAYS)

// How long to wait before the first restart. It doubles with each further one, up to a minute,
// until the VM has run for a minute.
VM_KEY(restart_delay, "restart-delay", TIME(1, ms, MANIFEST_RESTART_SECONDS_MAX, s), DEFAULT(1, s),
       WITH(restart, "on-failure", "always"))

// How many restarts there may be before the VM has run for a minute; 0: any number.
VM_KEY(restart_limit, "restart-limit", NUMBER(0, 1000000), DEFAULT(0),
       WITH(restart, "on-failure", "always"))

#undef CHOICES
#undef HOST_KEY
#undef VM_KEY
#undef VMM_KEY
#undef SCHEDULING_KEY
