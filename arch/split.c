// SPDX-License-Identifier: Apache-2.0
// See arch/split.h, and arch/split.S for the entries.
#include "arch/split.h"

#include "arch/mitigation.h"
#include "lib/string.h"

#define PCID_USER    1ULL
#define CR3_NO_FLUSH BIT(63)

// In the entries' code: loads the user's root, which flushes what the TLB has of it, and the
// kernel's again.
void split_flush_user(uint64_t user_cr3, uint64_t kernel_cr3);

// The words are right before CR3 changes: an NMI in between finds either the kernel's root or the
// user's that they name.
void split_load(struct cpu *cpu, hpa_t root, hpa_t user_root) {
    struct cpu_tables *tables = cpu->tables;
    if (!mitigation.splits_tables) {
        paging_load_root(root);
        return;
    }
    bool has_pcid = mitigation.has_pcid;
    tables->kernel_cr3 = root.v | (has_pcid ? CR3_NO_FLUSH : 0);
    tables->user_cr3_read = user_root.v | (has_pcid ? PCID_USER : 0);
    tables->user_cr3 = tables->user_cr3_read | (has_pcid ? CR3_NO_FLUSH : 0);
    if (has_pcid && user_root.v != 0)
        split_flush_user(tables->user_cr3_read, root.v);
    else
        paging_load_root(root);
}

void split_clear(struct cpu *cpu) {
    for (unsigned i = 0; i < ENTRY_STACKS; i++)
        memset(cpu->tables->stacks[i].words, 0, sizeof(cpu->tables->stacks[i].words));
}
