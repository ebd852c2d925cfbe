// SPDX-License-Identifier: Apache-2.0
// arch/mitigation: when there is a barrier, and of what. VERW and the return stack are
// real here; MSRs are counted.
#include <criterion/criterion.h>

#include "arch/mitigation.h"

static unsigned ibpb_count, l1d_count, ibrs_count;
static uint64_t spec_ctrl, de_cfg, efer;

static uint64_t paper_rdmsr(uint32_t msr) {
    cr_assert(msr == 0xc0011029 || msr == 0xc0000080);
    return msr == 0xc0000080 ? efer : de_cfg;
}
static void paper_wrmsr(uint32_t msr, uint64_t value) {
    de_cfg = msr == 0xc0011029 ? value : de_cfg;
    efer = msr == 0xc0000080 ? value : efer;
    cr_assert(value == 1 || msr == 0x48 || msr == 0xc0011029 || msr == 0xc0000080);
    ibpb_count += msr == 0x49;
    l1d_count += msr == 0x10b;
    ibrs_count += msr == 0x48;
    spec_ctrl = msr == 0x48 ? value : spec_ctrl;
}

#define x86_rdmsr   paper_rdmsr
#define x86_wrmsr   paper_wrmsr
#define split_clear paper_split_clear
#include "arch/split.h"
static unsigned clear_count;
void paper_split_clear(struct cpu *cpu) {
    (void)cpu;
    clear_count++;
}
#include "arch/mitigation.c"

static struct cpu cpus[2];

static void run(struct cpu *cpu, uint64_t domain) {
    if (cpu->domain != domain)
        mitigation_switch(cpu, domain);
}

Test(mitigation, one_barrier_for_another_domain_and_none_for_the_same) {
    mitigation = (struct mitigation){
        .has_ibpb = true, .has_verw = true, .needs_l1d_flush = true, .has_l1d_flush = true};
    const uint64_t domains[] = {1, 1, 2, 2, 2, 1, 3};
    const uint32_t barriers[] = {1, 1, 2, 2, 2, 3, 4};
    for (unsigned i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
        run(&cpus[0], domains[i]);
        cr_expect_eq(cpus[0].barriers, barriers[i], "step %u", i);
        cr_expect_eq(ibpb_count, barriers[i]);
        cr_expect_eq(l1d_count, barriers[i]);
    }
    run(&cpus[1], 3); // each CPU has its own
    cr_expect(cpus[1].barriers == 1 && cpus[0].barriers == 4 && ibpb_count == 5);
}

Test(mitigation, barrier_is_without_what_the_cpu_lacks_or_needs_not) {
    mitigation = (struct mitigation){.needs_l1d_flush = true};
    run(&cpus[0], 1);
    mitigation = (struct mitigation){.has_l1d_flush = true};
    run(&cpus[0], 2);
    cr_expect(cpus[0].barriers == 2 && ibpb_count == 0 && l1d_count == 0);
}

Test(mitigation, off_is_off) {
    mitigation = (struct mitigation){.is_off = true};
    mitigation_init_cpu();
    run(&cpus[0], 1);
    cr_expect(cpus[0].barriers == 1 && ibpb_count + l1d_count + ibrs_count + clear_count == 0);
}

Test(mitigation, split_clears_the_entry_stacks) {
    mitigation = (struct mitigation){.splits_tables = true};
    run(&cpus[0], 1);
    cr_expect_eq(clear_count, 1, "the entry stacks are the last domain's");
}

Test(mitigation, spec_ctrl_is_written_where_it_has_bits) {
    mitigation = (struct mitigation){.spec_ctrl = 0x401};
    mitigation_init_cpu();
    cr_expect_eq(spec_ctrl, 0x401);
}

Test(mitigation, automatic_ibrs_is_a_bit_more_of_efer) {
    efer = 0xd01;
    mitigation = (struct mitigation){.spec_ctrl = 1};
    mitigation_init_cpu();
    cr_expect_eq(efer, 0xd01);
    mitigation.has_auto_ibrs = true;
    mitigation_init_cpu();
    cr_expect_eq(efer, 0x200d01);
}

Test(mitigation, lfence_waits_where_a_bit_says_so) {
    de_cfg = 0x80;
    mitigation = (struct mitigation){0};
    mitigation_init_cpu();
    cr_expect_eq(de_cfg, 0x80);
    mitigation = (struct mitigation){.needs_lfence_bit = true, .is_off = true};
    mitigation_init_cpu();
    cr_expect_eq(de_cfg, 0x82);
}

Test(mitigation, history_is_cleared) {
    mitigation_clear_bhb(); // and comes back
}

// Words below RSP behind the fill: addresses of calls, six bytes apart, that lead to INT3.
Test(mitigation, fill_is_32_calls_to_nowhere) {
    mitigation.stuffs_rsb = true;
    uint64_t words[32], *to = words, size = sizeof(words);
    mitigation_stuff_rsb();
    __asm__ volatile("lea -256(%%rsp), %%rsi\n\trep movsb"
                     : "+D"(to), "+c"(size)
                     :
                     : "rsi", "memory");
    for (unsigned i = 0; i < 32; i++) {
        cr_expect_eq(*(const uint8_t *)words[i], 0xcc, "entry %u", i);
        if (i > 0)
            cr_expect_eq(words[i - 1] - words[i], 6);
    }
}
