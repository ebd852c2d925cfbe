// SPDX-License-Identifier: Apache-2.0
// The system calls, each described once. Whoever includes this file says before what a CALL, and
// what each kind of argument, is to become: numbers (include/abi.h), the kernel's table of rules
// (kernel/syscall.c), C functions for ring 3 (lib/syscall.h), the manual (docs/calls.md, by
// scripts/manual), the fuzzer's grammar (tests/fuzz).
//
// CALL(number, NAME, name, arguments...). HOT_CALL: the same; the kernel serves it without the
// table.
//
// Arguments:
//     HANDLE(name, TYPE, rights)   a handle of an object of that type, with these rights
//     OWN(name, TYPE, rights)      likewise; 0 names the caller's own
//     ANY(name, rights)            a handle of any type
//     MAPPED(name)                 a handle of a memory object, with the rights that the sixth
//                                  argument asks for
//     NOTIFY(name)                 a handle of an event that may signal all bits of the argument
//                                  behind it; 0: none
//     SIGNAL(name)                 the same, and not 0
//     PAGES(name)                  a multiple of ABI_PAGE
//     U16, U32, U64(name)          a number that fits
//     ENUM(name, type)             a value of an enum
//     IN(name, type)               the address of a struct of that type that is read
//     OUT(name, type)              the address of a value of that type that is written: zeroes
//                                  where the call failed, nothing where an argument before it
//                                  was bad
//     BYTES_IN(name, type)         the address of values of that type that are read, or written;
//                                  how
//     BYTES_OUT(name, type)        many is an argument of its own
//     NONE                         there is none
//
// What stands above each call: what it does; "Returns", where that is not 0; "Errors" beside those
// that each call can have by its arguments (HANDLE, RIGHTS, ARGUMENT, ADDRESS).

#ifndef CALL // for who only reads it
#define CALL(...)
#define HOT_CALL(...)
#endif

// ---- handles ------------------------------------------------------------------------------------

// Removes it from the caller's table.
CALL(0, HANDLE_CLOSE, handle_close, U64(handle))

// Puts a copy of the caller's `handle` into the table of `process`, with the rights that both the
// handle and `rights` have. What may be signalled by a copy of an event's handle is what both the
// handle and `mask` have. Returns: the handle's number there. Errors: MEMORY (the process's quota),
// CLOSED (that process has ended).
CALL(1, HANDLE_COPY, handle_copy, OWN(process, PROCESS, ABI_RIGHT_MANAGE),
     ANY(handle, ABI_RIGHT_COPY), U64(rights), U64(mask))

// ---- memory -------------------------------------------------------------------------------------

// A new quota that holds `bytes`, taken out of `quota`. Given back with the last handle and the
// last object that is charged to it. Each time that nothing is charged to it any more `mask` is
// signalled on `event`. Returns: a handle with the rights of the one given. Errors: MEMORY.
CALL(2, QUOTA_CREATE, quota_create, HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), PAGES(bytes),
     NOTIFY(event), U64(mask))

// What it holds, and how much of that is used.
CALL(3, QUOTA_READ, quota_read, HANDLE(quota, QUOTA, ABI_RIGHT_READ),
     OUT(info, struct abi_quota_info))

// A memory object of zeroes, charged to the quota with its pages. Pages are reserved now and
// cleared when first used. Returns: a handle. Errors: MEMORY.
CALL(4, MEMORY_CREATE, memory_create, HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), PAGES(size))

// Clears what was not yet used of the range, so that large pages can map it and no first touch
// costs; does a bounded piece. Returns: bytes done, a positive multiple of ABI_PAGE: call again for
// the rest.
CALL(5, MEMORY_COMMIT, memory_commit, HANDLE(memory, MEMORY, ABI_RIGHT_WRITE), PAGES(offset),
     PAGES(size))

// Returns: its size in bytes.
CALL(6, MEMORY_SIZE, memory_size, HANDLE(memory, MEMORY, ABI_RIGHT_READ))

// ---- processes and threads ----------------------------------------------------------------------

// An address space with a handle table. When the process ends (by exit, kill or fault) `mask` is
// signalled on `event`. Its threads are scheduled in `group`. Returns: a handle. Errors: MEMORY.
CALL(7, PROCESS_CREATE, process_create, HANDLE(quota, QUOTA, ABI_RIGHT_CREATE | ABI_RIGHT_MANAGE),
     NOTIFY(event), U64(mask), OWN(group, GROUP, ABI_RIGHT_CREATE))

// Maps memory[offset, offset+size) at `address` of the process with READ, READ|WRITE or
// READ|EXECUTE. Nothing may be mapped there yet. Above ABI_SMALL_PAGES_MAX bytes, `address` and
// `offset` have to differ by a multiple of 2 MiB, so that large pages map them. Errors: EXISTS,
// MEMORY.
CALL(8, PROCESS_MAP, process_map, OWN(process, PROCESS, ABI_RIGHT_MANAGE), MAPPED(memory),
     U64(address), U64(offset), U64(size), U64(rights))

// Undoes one earlier map call, named exactly.
CALL(9, PROCESS_UNMAP, process_unmap, OWN(process, PROCESS, ABI_RIGHT_MANAGE), U64(address),
     U64(size))

// How it stands.
CALL(10, PROCESS_STATUS, process_status, OWN(process, PROCESS, ABI_RIGHT_READ),
     OUT(status, struct abi_process_status))

// Ends it, all its threads first.
CALL(11, PROCESS_KILL, process_kill, OWN(process, PROCESS, ABI_RIGHT_MANAGE), U32(status))

// A thread that starts at once with RIP = entry, RSP = stack, RDI = argument. `cpu` ABI_CPU_ANY: it
// shares the CPUs that its group may use; else it is pinned to that CPU, which must be one that the
// group has reserved. Errors: MEMORY, CLOSED (the process has ended, or has 128 threads), EXISTS
// (another thread of the group is pinned there).
CALL(12, THREAD_CREATE, thread_create, OWN(process, PROCESS, ABI_RIGHT_CREATE), U64(entry),
     U64(stack), U64(argument), U32(cpu))

// Ends the calling thread. With its last thread the process ends, status 0.
CALL(13, THREAD_EXIT, thread_exit, NONE)

// Lets another runnable thread of this CPU go first.
CALL(14, THREAD_YIELD, thread_yield, NONE)

// ---- events -------------------------------------------------------------------------------------

// 64 bits, all clear. Returns: a handle. Errors: MEMORY.
CALL(15, EVENT_CREATE, event_create, HANDLE(quota, QUOTA, ABI_RIGHT_CREATE))

// Sets the bits and wakes who waits.
CALL(16, EVENT_SIGNAL, event_signal, SIGNAL(event), U64(mask))

// Waits until a bit of `mask` is set or the TSC reaches `deadline` (a past one: polls), then takes
// these bits and clears them. Other bits stay as they are: they wait for who asks for them, and
// wake nobody. One waiter at a time. Errors: TIMEOUT, AGAIN (somebody waits already).
CALL(17, EVENT_WAIT, event_wait, HANDLE(event, EVENT, ABI_RIGHT_WAIT), U64(mask), U64(deadline),
     OUT(bits, uint64_t))

// ---- virtual machines ---------------------------------------------------------------------------

// A VM: a guest-physical address space, a CPUID table, doorbells; its TSCs count at tsc_hz, or, for
// 0, as the host's. Returns: a handle. Errors: MEMORY, ARGUMENT (a rate not from 1/256 to 256 times
// the host's), UNSUPPORTED (no virtualization on this machine, or a rate other than the host's
// without abi_system_info.has_tsc_scaling).
CALL(18, VM_CREATE, vm_create, HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), U64(tsc_hz))

// As PROCESS_MAP, with any of READ, WRITE, EXECUTE that includes READ. An access without its right
// becomes VCPU_EXIT_MEMORY. Errors: EXISTS, MEMORY.
CALL(19, VM_MAP, vm_map, HANDLE(vm, VM, ABI_RIGHT_MANAGE), MAPPED(memory), U64(gpa), U64(offset),
     U64(size), U64(rights))

// Undoes one earlier map call, named exactly; no vCPU sees it afterwards.
CALL(20, VM_UNMAP, vm_unmap, HANDLE(vm, VM, ABI_RIGHT_MANAGE), U64(gpa), U64(size))

// What CPUID tells the guest, sorted by leaf and subleaf, at most ABI_CPUID_MAX rows. Once, before
// the first vCPU. The kernel itself keeps OSXSAVE, the current XSAVE size and the APIC IDs up to
// date. Errors: AGAIN (too late), MEMORY.
CALL(21, VM_CPUID, vm_cpuid, HANDLE(vm, VM, ABI_RIGHT_MANAGE), BYTES_IN(table, struct abi_cpuid),
     U64(count))

// An interrupt message as on the bus (SDM 3A 11.11 "Message Signalled Interrupts"), delivered to
// the local APICs. Returns: how many CPUs took it.
CALL(22, VM_INTERRUPT, vm_interrupt, HANDLE(vm, VM, ABI_RIGHT_WRITE), U64(address), U32(data))

// OUT to `port` no longer exits to the VMM: it signals `mask` on `event` (0: unbinds). Errors:
// EXISTS, MEMORY.
CALL(23, VM_DOORBELL, vm_doorbell, HANDLE(vm, VM, ABI_RIGHT_MANAGE), U16(port), NOTIFY(event),
     U64(mask))

// vCPU number `index` with that APIC ID; 0 is the boot processor, the others wait for a SIPI. Its
// registers are 0: the VMM writes them before the first run. Returns: a handle. Errors: EXISTS,
// MEMORY.
CALL(24, VCPU_CREATE, vcpu_create, HANDLE(vm, VM, ABI_RIGHT_CREATE), U32(index))

// The vCPU's page (struct vcpu_page) as a memory object of one page. Returns: a handle. Errors:
// MEMORY.
CALL(25, VCPU_PAGE, vcpu_page, HANDLE(vcpu, VCPU, ABI_RIGHT_RUN))

// Runs the guest on the calling thread until something is the VMM's to do, which vcpu_page.exit
// tells. The same thread must call it each time. Errors: AGAIN (another thread's), MEMORY,
// UNSUPPORTED (see VCPU_DIRTY_STEP).
HOT_CALL(26, VCPU_RUN, vcpu_run, HANDLE(vcpu, VCPU, ABI_RIGHT_RUN))

// Errors: AGAIN.
CALL(27, VCPU_SIGNAL, vcpu_signal, HANDLE(vcpu, VCPU, ABI_RIGHT_WRITE),
     ENUM(signal, enum vcpu_signal), U64(value))

// Writes out the group's state; the vCPU must not be running. `length` must be the group's. Errors:
// AGAIN (it runs), MEMORY.
CALL(28, VCPU_READ, vcpu_read, HANDLE(vcpu, VCPU, ABI_RIGHT_READ),
     ENUM(group, enum vcpu_state_group), BYTES_OUT(state, void), U64(length))

// The reverse. What the kernel could not load is refused (ARGUMENT), and nothing changes; of other
// values that no processor has, the next run says so (VCPU_FAILURE_ENTRY).
// Errors: AGAIN (it runs), MEMORY.
CALL(29, VCPU_WRITE, vcpu_write, HANDLE(vcpu, VCPU, ABI_RIGHT_WRITE),
     ENUM(group, enum vcpu_state_group), BYTES_IN(state, void), U64(length))

// Reads the local APIC's register page as a 32-bit load would, for the VMM that decoded it.
// `offset` is a multiple of 16 below 0x400. For the thread that runs the vCPU. Returns: the value.
// Errors: AGAIN (another thread's).
CALL(30, VCPU_APIC_READ, vcpu_apic_read, HANDLE(vcpu, VCPU, ABI_RIGHT_RUN), U32(offset))

// The same for a 32-bit store. Errors: AGAIN (another thread's).
CALL(31, VCPU_APIC_WRITE, vcpu_apic_write, HANDLE(vcpu, VCPU, ABI_RIGHT_RUN), U32(offset),
     U32(value))

// ---- the machine (the supervisor holds the one `system` handle) ---------------------------------

// What the machine has.
CALL(32, SYSTEM_INFO, system_info, HANDLE(system, SYSTEM, ABI_RIGHT_READ),
     OUT(info, struct abi_system_info))

// The kernel's lines are the holder's to print, until the handle goes, or somebody else takes them:
// `mask` is signalled when there are new ones. `memory` is a struct console_rings
// (include/console.h), what the holder has in hand, which the kernel prints in a panic. Returns: a
// handle. Errors: MEMORY (the memory is not in one piece, too).
CALL(33, LOG_TAKE, log_take, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), HANDLE(memory, MEMORY, ABI_RIGHT_READ), SIGNAL(event),
     U64(mask))

// The kernel's lines from the oldest on that was not printed, each "KEY [bulkhead] TEXT\r\n". Of
// what was read before, the first `done` bytes are printed, and are not told again. At most
// ABI_CONSOLE_MAX bytes. Returns: bytes, 0 when there are none. Errors: CLOSED (somebody else, or
// the kernel, prints by now).
CALL(34, LOG_READ, log_read, HANDLE(log, LOG, ABI_RIGHT_READ), BYTES_OUT(text, char), U64(length),
     U64(done))

// A memory object of the physical addresses [device, device+size), which processes map uncached.
// None of them may be RAM (the firmware's neither), or of the local APIC or an I/O APIC. It can
// neither be executed nor mapped into a VM. Returns: a handle. Errors: MEMORY.
CALL(35, MEMORY_CREATE_DEVICE, memory_create_device, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), PAGES(device), PAGES(size))

// Ends everything. Returns only on failure. Errors: UNSUPPORTED (the machine offers no such way).
CALL(36, SYSTEM_POWER, system_power, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     ENUM(power, enum abi_power))

// ---- scheduling and accounting ------------------------------------------------------------------

// A scheduling group; the processes that are made in it share its CPU time. Returns: a handle.
// Errors: ARGUMENT (a value outside what struct abi_group says, or that this CPU's cache does not
// have), MEMORY.
CALL(37, GROUP_CREATE, group_create, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), IN(values, struct abi_group))

// From now on it has this weight, cap, domain and cache, and these CPUs for shared threads; what is
// reserved stays as it was created. Errors: ARGUMENT.
CALL(38, GROUP_WRITE, group_write, HANDLE(group, GROUP, ABI_RIGHT_MANAGE),
     IN(values, struct abi_group))

// What the threads of a process used, those that ended included.
CALL(39, PROCESS_USAGE, process_usage, OWN(process, PROCESS, ABI_RIGHT_READ),
     OUT(usage, struct abi_usage))

// What a CPU is, and did.
CALL(40, SYSTEM_CPU, system_cpu, HANDLE(system, SYSTEM, ABI_RIGHT_READ), U32(cpu),
     OUT(info, struct abi_cpu_info))

// Looks at every table of every process and VM, and judges each frame of the machine. All CPUs
// stand still meanwhile. Returns: 0, whatever it found.
CALL(41, SYSTEM_AUDIT, system_audit, HANDLE(system, SYSTEM, ABI_RIGHT_READ),
     OUT(audit, struct abi_audit))

// ---- devices (only the supervisor makes them) ---------------------------------------------------

// An input of the machine's I/O APICs, by its number among all of them (GSI): when it fires, `mask`
// is signalled on `event`. Nobody else may have it. It fires again, after the first time, once it
// is acknowledged; an edge that comes before is told then. Returns: a handle. Errors: EXISTS
// (somebody has it), AGAIN (all vectors are taken), MEMORY, UNSUPPORTED (the machine has no such
// input).
CALL(42, INTERRUPT_CREATE, interrupt_create, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), U32(input), ENUM(trigger, enum abi_trigger),
     SIGNAL(event), U64(mask))

// The interrupt may come again. To be done before the device is looked at, so that nothing which
// comes while it is looked at is missed.
CALL(43, INTERRUPT_ACKNOWLEDGE, interrupt_acknowledge,
     HANDLE(interrupt, INTERRUPT, ABI_RIGHT_WRITE))

// The I/O ports [first, first+count), without those of the 8259s, which are the kernel's. Returns:
// a handle. Errors: MEMORY.
CALL(44, PORTS_CREATE, ports_create, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     HANDLE(quota, QUOTA, ABI_RIGHT_CREATE), U16(first), U32(count))

// IN of 1, 2 or 4 bytes from the port `offset` behind the first. Returns: the value.
CALL(45, PORTS_READ, ports_read, HANDLE(ports, PORTS, ABI_RIGHT_READ), U16(offset), U32(width))

// The same with OUT; of `value` the lowest bytes.
CALL(46, PORTS_WRITE, ports_write, HANDLE(ports, PORTS, ABI_RIGHT_WRITE), U16(offset), U32(width),
     U32(value))

// OUT of each byte, in their order, to the port `offset` behind the first: a device's FIFO is
// filled at once. ABI_PORTS_SEND_MAX bytes at most.
CALL(47, PORTS_SEND, ports_send, HANDLE(ports, PORTS, ABI_RIGHT_WRITE), U16(offset),
     BYTES_IN(data, void), U64(length))

// What was done for the group elsewhere counts as if its shared threads had run so long: of its
// cap, and of its share where they compete for a CPU, as much again as they run there. A second at
// most.
CALL(48, GROUP_CHARGE, group_charge, HANDLE(group, GROUP, ABI_RIGHT_MANAGE), U64(ticks))

// ---- nodes --------------------------------------------------------------------------------------

// From now on this is where memory objects of the quota, and of quotas made from it later, take
// what they need from, as long as their chunk of 2 MiB is there in one piece. The last range of
// `home` counts as its end, whatever it is.
CALL(49, QUOTA_HOME, quota_home, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     HANDLE(quota, QUOTA, ABI_RIGHT_MANAGE), IN(home, struct abi_home))

// How much of the physical addresses [base, base+size) is in no use, counted in runs of 2 MiB.
// Returns: bytes.
CALL(50, MEMORY_FREE, memory_free, HANDLE(system, SYSTEM, ABI_RIGHT_READ), PAGES(base), PAGES(size))

// ---- machine checks -----------------------------------------------------------------------------

// The next error in a CPU's machine-check banks that calls for nothing: corrected, or not yet used
// by anybody. It is told once. Status 0: there is none. Errors: UNSUPPORTED (the machine has no
// banks).
CALL(51, SYSTEM_MACHINE_CHECK, system_machine_check, HANDLE(system, SYSTEM, ABI_RIGHT_MANAGE),
     U32(cpu), OUT(bank, struct abi_machine_check))

#undef CALL
#undef HOT_CALL
