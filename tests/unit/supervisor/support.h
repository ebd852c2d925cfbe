// SPDX-License-Identifier: Apache-2.0
// The kernel of paper below the whole supervisor: the system calls it makes are answered here, and
// the VMMs it starts are played by each test's script, which runs whenever the supervisor sleeps.
//
//   life_prepare    a machine, its VMs, a script
//   life_run        from the supervisor's first instruction until it powers off or sleeps for ever
//   life_expect     what stands on the console then
//
// Memory objects are memfds, so that both sides can map them; handles and quotas are counted, so
// that a test sees what an ended VM leaves behind.
#pragma once

#include "include/driver.h"
#include "include/nodes.h"
#include "include/start.h"
#include "include/vmm.h"
#include "lib/ring.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIFE_MIB     (1ULL << 20)
#define LIFE_MEMORY  (64 * LIFE_MIB)
#define LIFE_OBJECTS 4096
#define LIFE_VMMS    264
#define LIFE_CPUS    300
#define LIFE_NODES   8
#define LIFE_QUOTA   1u // handles of the start page
#define LIFE_SYSTEM  2u
#define LIFE_OWN     3u // the supervisor's group
#define LIFE_KEPT    5u // objects of the supervisor: its event; event, quota, rings, driver
#define LIFE_NEVER   0
#define LIFE_POWERED 1
#define LIFE_SLEEPS  2

#define LIFE_NODE_BASE(node) (((uint64_t)(node) + 1) << 32)

enum life_type {
    LIFE_FREE = 0,
    LIFE_OTHER,
    LIFE_QUOTA_OBJECT,
    LIFE_MEMORY_OBJECT,
    LIFE_PROCESS,
    LIFE_GROUP
};

struct life_object {
    enum life_type type;
    uint32_t parent; // quota it is charged to
    uint64_t size;   // memory, quota
    int file;        // memory
    // Processes.
    struct abi_process_status status;
    uint64_t mask;
    uint64_t signals; // as in struct life_vmm
    uint32_t start_memory;
    uint32_t in_group;
    struct abi_group group; // groups
    unsigned int charges;   // groups
    struct abi_home home;   // quotas
};

// A VMM as the test's script sees it.
struct life_vmm {
    struct vmm_start start;
    struct abi_group group; // as it was when the VMM was started
    uint32_t process;
    uint64_t signals; // what it may signal on the supervisor's event
    struct vmm_console *console;
    struct ring_writer out;
    struct ring_reader in;
    struct vmm_reports *reports;
    struct ring_writer messages;
};

struct life {
    struct life_object object[LIFE_OBJECTS];
    uint64_t used;       // of the supervisor's quota
    uint64_t bits;       // of the supervisor's event
    size_t console_room; // taken a sleep; 0: as much as there is
    size_t console_left;
    char console[8 << 20];
    size_t console_length;
    const char *typed;
    struct console_rings *rings; // NULL: no driver was started yet
    uint32_t driver;             // process
    unsigned int driver_starts;
    uint32_t driver_event;
    unsigned int driver_signals;
    unsigned int stuck_driver; // does not print: of the starts the how-manieth
    bool lacks_ports;          // they are not to be had
    unsigned int log_takes;
    int status; // that the supervisor ended with
    unsigned int event_count;
    uint64_t wakeups;
    uint64_t wanted; // bits that were signalled to VMMs
    struct life_vmm vmm[LIFE_VMMS];
    unsigned int vmm_count;
    uint64_t leak;       // bytes that no quota of a VM gives back
    uint64_t quota_mask; // what the end of the last quota signals
    unsigned int mapped;
    unsigned int sleeps;
    unsigned int commands;             // how often the script has acted
    bool (*script)(unsigned int step); // false: nothing happens any more
    jmp_buf out;
    enum abi_power power;
    int64_t power_result; // what ABI_SYSTEM_POWER answers; 0: it does not come back
    uint64_t now;         // the TSC
    uint64_t memory;      // of the machine; 0: LIFE_MEMORY
    uint64_t tsc_hz;      // 0: 1000
    bool lacks_virtualization;
    uint32_t cpu_count;
    struct abi_cpu_info cpu[LIFE_CPUS];
    uint64_t node_free[LIFE_NODES]; // of the range that begins at LIFE_NODE_BASE(node)
    int64_t group_result;           // what ABI_GROUP_CREATE answers, unless 0
    uint32_t last_group;            // that was written
    struct abi_usage usage;         // of every process
    struct abi_audit audit;         // what ABI_SYSTEM_AUDIT finds
    int64_t audit_result;
    bool has_banks;                     // else ABI_SYSTEM_MACHINE_CHECK answers UNSUPPORTED
    struct abi_machine_check bank_next; // what it finds bank_errors times more
    uint32_t bank_cpu, bank_errors;     // and on which CPU alone
    unsigned int bank_looks;            // calls
    unsigned int audits;
};

extern struct life life;
extern struct abi_start life_start;

struct life_config {
    const char *name; // NULL: the last one
    uint64_t mib;
    bool is_manual;
    uint32_t vcpus;           // 0: 3
    void (*more)(void *tree); // adds properties; NULL: none
};

extern const struct life_config life_one[];
extern const struct life_config life_two[];

// A machine with nodes, as its table tells. Behind life_prepare, or without it.
void life_nodes(const struct nodes *nodes);

void life_prepare(const struct life_config *vm, const char *cmdline, const char *when_all_ended,
                  bool (*script)(unsigned int step));

// Returns which, LIFE_POWERED or LIFE_SLEEPS; the output is in life.console.
int life_run(void);

// ---- what scripts do ----

void life_print(unsigned int index, const char *text);
void life_report(unsigned int index, enum vmm_message_type type, enum vmm_end end, uint32_t code,
                 const char *text);
bool life_may_report(unsigned int index); // there is room for one more
void life_type(const char *text);
void life_end_process(uint32_t process, struct abi_process_status status);

// ---- what tests look at ----

void life_expect(const char *text);
// No line of the output starts with it.
void life_expect_no_line(const char *text);
// How often it stands there.
unsigned int life_count(const char *text);
unsigned int life_open_handles(void);
// The group that VMM number `index` was started in.
const struct abi_group *life_group(unsigned int index);
