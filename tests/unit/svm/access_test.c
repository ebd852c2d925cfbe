// SPDX-License-Identifier: Apache-2.0
// svm/exit_io.c, exit_memory.c and exit_msr.c: what the guest reaches for.
#include <criterion/criterion.h>

#include "tests/unit/svm/support.h"

TestSuite(svm_access, .init = paper_set_up);

// ---- ports --------------------------------------------------------------------------------------

static enum exit_action io(uint64_t info) {
    return paper_run((struct paper_exit){.code = CODE_IOIO, .info_1 = info, .length = 2});
}

Test(svm_access, port_is_told_as_the_processor_reports_it) {
    const struct {
        uint64_t info;
        struct vcpu_exit_io io;
    } cases[] = {
        {0x03f80e11, {.port = 0x3f8, .size = 1, .is_in = 1}}, // no word of address size and segment
        {0xffff0140, {.port = 0xffff, .size = 4}},
        {0x00710d20, {.port = 0x71, .size = 2}},
        {0x00600e1d, {.port = 0x60, .size = 1, .is_in = 1, .is_string = 1, .is_repeated = 1}},
        {0x00601114, {.port = 0x60, .size = 1, .is_string = 1}},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        cr_expect_eq(io(cases[i].info), EXIT_VMM);
        cr_expect(paper_page.exit == VCPU_EXIT_IO && paper_page.instruction_length == 2);
        cr_expect_arr_eq(&paper_page.io, &cases[i].io, sizeof(paper_page.io), "case %u", i);
        cr_expect_eq(paper_vmcb()->rip, 0x1000);
    }
}

Test(svm_access, string_io_comes_with_what_a_walk_needs) {
    (void)io(0x00600014); // OUTSB
    cr_expect_eq(paper_page.walk.code_size, 8);
    paper_vmcb()->cs.attributes = 0x09b;
    svm_touch(paper_x(), CLEAN_ALL);
    (void)io(0x00600015); // INSB
    cr_expect_eq(paper_page.walk.code_size, 2);
    paper_page.walk.code_size = 0;
    (void)io(0x00600011); // INB
    cr_expect_eq(paper_page.walk.code_size, 0, "a plain one costs no walk");
}

Test(svm_access, doorbell_rings_for_plain_output_alone) {
    paper.has_doorbell = true;
    cr_expect_eq(io(0x05100040), EXIT_VMM, "the VM has none");
    paper_vm.doorbell_count = 1;
    cr_expect_eq(io(0x05100041), EXIT_VMM, "IN");
    cr_expect_eq(io(0x05100044), EXIT_VMM, "OUTS");
    cr_expect_eq(io(0x05110040), EXIT_VMM, "another port");
    cr_expect_eq(paper_vmcb()->rip, 0x1000);
    svm_caps.has_next_rip = false; // EXITINFO2 tells it
    cr_expect_eq(io(0x05100040), EXIT_RETRY);
    cr_expect_eq(paper_vmcb()->rip, 0x1002);
}

// ---- memory -------------------------------------------------------------------------------------

static enum exit_action fault(uint64_t info, uint64_t int_info) {
    return paper_run((struct paper_exit){
        .code = CODE_NPF, .info_1 = info, .info_2 = 0xfee12345678, .int_info = int_info});
}

Test(svm_access, nested_page_fault_is_the_vms_first) {
    paper.fault = SPACE_FAULT_RETRY;
    cr_expect_eq(fault(BIT(32) | BIT(2), 0), EXIT_RETRY);
    cr_expect_eq(paper.seen.gpa, 0xfee12345678);
    cr_expect_eq(paper.seen.access, VCPU_ACCESS_READ);
    paper.fault = SPACE_FAULT_SHORTAGE;
    cr_expect_eq(fault(BIT(32), 0), EXIT_FAIL);
    cr_expect_eq(paper.seen.failure, VCPU_FAILURE_MEMORY);
    cr_expect_eq(paper.seen.detail, 0xfee12345678);
}

Test(svm_access, kinds_of_access) {
    const struct {
        uint64_t info, int_info;
        struct vcpu_exit_memory memory;
    } cases[] = {
        {BIT(32) | 4, 0, {.access = VCPU_ACCESS_READ}},
        {BIT(32) | 6, 0, {.access = VCPU_ACCESS_WRITE}},
        {BIT(32) | 0x15, 0, {.access = VCPU_ACCESS_FETCH}},
        {BIT(33) | 6, 0, {.access = VCPU_ACCESS_WRITE, .is_walk = 1}}, // sets A and D
        {BIT(33) | 4, 0, {.access = VCPU_ACCESS_READ, .is_walk = 1}},
        {BIT(32) | 6, EVENT_VALID | 0x30, {.access = VCPU_ACCESS_WRITE, .is_delivery = 1}},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct vcpu_exit_memory expected = cases[i].memory;
        expected.gpa = 0xfee12345678;
        cr_expect_eq(fault(cases[i].info, cases[i].int_info), EXIT_VMM);
        cr_expect(paper_page.exit == VCPU_EXIT_MEMORY && paper_page.instruction_length == 0);
        cr_expect_arr_eq(&paper_page.memory, &expected, sizeof(expected), "case %u", i);
        cr_expect_eq(paper.seen.access, expected.access);
        paper_vmcb()->event = 0;
    }
}

static void change_bases(void) {
    paper.hidden.fs.base = 0x1111000;
    paper.hidden.gs.base = 0x2222000;
}

// FS and GS are in the processor still: WRFSBASE, SWAPGS.
Test(svm_access, walk_has_what_the_guest_has) {
    paper_vmcb()->cpl = 3;
    (void)paper_run((struct paper_exit){.code = CODE_NPF, .guest = change_bases});
    const struct vcpu_walk *walk = &paper_page.walk;
    cr_expect(walk->segment[4].base == 0x1111000 && walk->segment[5].base == 0x2222000);
    cr_expect(walk->cr0 == svm_get_cr0(paper_x()) && walk->cr3 == 0x3000);
    cr_expect_eq(walk->cr4, CR4_PAE | CR4_MCE);
    cr_expect_eq(walk->efer, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
    cr_expect(walk->cpl == 3 && walk->code_size == 8);
}

Test(svm_access, walk_has_the_modes_size_and_segments) {
    const struct {
        uint16_t attributes;
        uint64_t efer;
        uint8_t size;
    } cases[] = {{0xc9b, EFER_LMA, 4}, {0x09b, EFER_LMA, 2}, {0xa9b, EFER_LMA, 8},
                 {0xc9b, 0, 4},        {0x09b, 0, 2},        {0x29b, 0, 2}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper_set_up();
        paper_page.walk.segment[0].base = 0x99;
        paper_vmcb()->cs.attributes = cases[i].attributes;
        if (cases[i].efer == 0) {
            paper_vmcb()->cr0 &= ~CR0_PG;
            paper_vmcb()->efer &= ~EFER_LMA;
        }
        (void)fault(BIT(32), 0);
        cr_expect_eq(paper_page.walk.code_size, cases[i].size, "case %u", i);
        if (cases[i].size != 8)
            cr_expect(paper_page.walk.segment[3].attributes == 0xc093 &&
                      paper_page.walk.segment[0].base == 0);
    }
}

// ---- MSRs ---------------------------------------------------------------------------------------

static enum exit_action msr(uint32_t number, bool is_write, uint64_t value) {
    paper_page.gpr[GPR_RCX] = 0xdead00000000 | number;
    paper_page.gpr[GPR_RAX] = 0xbeef00000000 | (uint32_t)value;
    paper_page.gpr[GPR_RDX] = 0xbeef00000000 | value >> 32;
    return paper_run((struct paper_exit){.code = CODE_MSR, .info_1 = is_write, .length = 2});
}

Test(svm_access, msr_is_the_kernels_first) {
    paper.msr_result = MSR_DONE;
    paper.msr_value = 0x1122334455667788;
    cr_expect_eq(msr(0x10, false, 0), EXIT_RETRY);
    cr_expect_eq(paper.seen.msr, 0x10);
    cr_expect_eq(paper_page.gpr[GPR_RAX], 0x55667788, "the upper halves are cleared");
    cr_expect_eq(paper_page.gpr[GPR_RDX], 0x11223344);
    cr_expect_eq(paper_vmcb()->rip, 0x1002);
    cr_expect_eq(msr(0x10, true, 0x99aabbccddeeff00), EXIT_RETRY);
    cr_expect_eq(paper.seen.written, 0x99aabbccddeeff00);
    paper.msr_result = MSR_FAULT;
    cr_expect_eq(msr(0x10, true, 0), EXIT_RETRY);
    cr_expect(paper.seen.vector == EXC_GP && paper_vmcb()->rip == 0x1004);
    cr_expect_eq(paper_vmcb()->event, EVENT_VALID | EVENT_EXCEPTION | EVENT_HAS_ERROR | EXC_GP);
}

Test(svm_access, msr_that_nobody_here_knows_is_the_vmms) {
    cr_expect_eq(msr(0xc0010015, false, 0), EXIT_VMM);
    cr_expect(paper_page.exit == VCPU_EXIT_MSR_READ && paper_page.msr == 0xc0010015);
    cr_expect_eq(paper_page.instruction_length, 2);
    cr_expect_eq(paper_page.gpr[GPR_RAX], 0xbeef00000000, "as it was");
    cr_expect_eq(msr(MSR_EFER, true, 0x500), EXIT_VMM);
    cr_expect(paper_page.exit == VCPU_EXIT_MSR_WRITE && paper_page.msr == MSR_EFER);
    cr_expect_eq(msr(MSR_PAT, true, 0x0001040506070000), EXIT_VMM);
    cr_expect_eq(msr(MSR_PAT, false, 0), EXIT_VMM);
    cr_expect_eq(paper_vmcb()->rip, 0x1000);
}
