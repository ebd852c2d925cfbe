// SPDX-License-Identifier: Apache-2.0
// The table of exits (include/svm.h) against APM 2 Appendix C "SVM Intercept Exit Codes".
#include <criterion/criterion.h>

#include "tests/unit/svm/support.h"

static const struct {
    uint32_t first, last;
    enum svm_exit row;
} codes[] = {
    {0x000, 0x00f, SVM_EXIT_CR_READ},
    {0x010, 0x01f, SVM_EXIT_CR_WRITE},
    {0x020, 0x03f, SVM_EXIT_OTHER}, // DR_ACCESS
    {0x040, 0x05f, SVM_EXIT_EXCEPTION},
    {0x060, 0x060, SVM_EXIT_INTR},
    {0x061, 0x061, SVM_EXIT_NMI},
    {0x062, 0x062, SVM_EXIT_SMI},
    {0x063, 0x063, SVM_EXIT_INIT},
    {0x064, 0x064, SVM_EXIT_VINTR},
    {0x065, 0x065, SVM_EXIT_CR0_SEL_WRITE},
    {0x066, 0x06d, SVM_EXIT_OTHER}, // DESCRIPTOR
    {0x06e, 0x06e, SVM_EXIT_OTHER}, // RDTSC
    {0x06f, 0x06f, SVM_EXIT_RDPMC},
    {0x070, 0x070, SVM_EXIT_OTHER}, // PUSHF
    {0x071, 0x071, SVM_EXIT_OTHER}, // POPF
    {0x072, 0x072, SVM_EXIT_CPUID},
    {0x073, 0x073, SVM_EXIT_RSM},
    {0x074, 0x074, SVM_EXIT_IRET},
    {0x075, 0x075, SVM_EXIT_OTHER}, // SWINT
    {0x076, 0x076, SVM_EXIT_INVD},
    {0x077, 0x077, SVM_EXIT_PAUSE},
    {0x078, 0x078, SVM_EXIT_HLT},
    {0x079, 0x079, SVM_EXIT_OTHER}, // INVLPG
    {0x07a, 0x07a, SVM_EXIT_INVLPGA},
    {0x07b, 0x07b, SVM_EXIT_IOIO},
    {0x07c, 0x07c, SVM_EXIT_MSR},
    {0x07d, 0x07d, SVM_EXIT_TASK_SWITCH},
    {0x07e, 0x07e, SVM_EXIT_OTHER}, // FERR_FREEZE
    {0x07f, 0x07f, SVM_EXIT_SHUTDOWN},
    {0x080, 0x080, SVM_EXIT_VMRUN},
    {0x081, 0x081, SVM_EXIT_VMMCALL},
    {0x082, 0x082, SVM_EXIT_VMLOAD_TO_RDTSCP}, // VMLOAD
    {0x083, 0x083, SVM_EXIT_VMLOAD_TO_RDTSCP}, // VMSAVE
    {0x084, 0x084, SVM_EXIT_VMLOAD_TO_RDTSCP}, // STGI
    {0x085, 0x085, SVM_EXIT_VMLOAD_TO_RDTSCP}, // CLGI
    {0x086, 0x086, SVM_EXIT_VMLOAD_TO_RDTSCP}, // SKINIT
    {0x087, 0x087, SVM_EXIT_VMLOAD_TO_RDTSCP}, // RDTSCP
    {0x088, 0x088, SVM_EXIT_OTHER},            // ICEBP
    {0x089, 0x089, SVM_EXIT_WBINVD},
    {0x08a, 0x08a, SVM_EXIT_MONITOR_TO_MWAIT}, // MONITOR
    {0x08b, 0x08c, SVM_EXIT_MONITOR_TO_MWAIT}, // MWAIT
    {0x08d, 0x08d, SVM_EXIT_XSETBV},
    {0x08e, 0x08e, SVM_EXIT_RDPRU},
    {0x08f, 0x08f, SVM_EXIT_OTHER},              // EFER_WRITE_TRAP
    {0x090, 0x09f, SVM_EXIT_OTHER},              // CR_WRITE_TRAP
    {0x0a0, 0x0a1, SVM_EXIT_INVLPGB_TO_TLBSYNC}, // INVLPGB
    {0x0a2, 0x0a2, SVM_EXIT_INVLPGB_TO_TLBSYNC}, // INVPCID
    {0x0a3, 0x0a3, SVM_EXIT_INVLPGB_TO_TLBSYNC}, // MCOMMIT
    {0x0a4, 0x0a4, SVM_EXIT_INVLPGB_TO_TLBSYNC}, // TLBSYNC
    {0x0a5, 0x0a5, SVM_EXIT_OTHER},              // BUSLOCK
    {0x0a6, 0x0a6, SVM_EXIT_OTHER},              // IDLE_HLT
    {0x400, 0x400, SVM_EXIT_NPF},
    {0x401, 0x402, SVM_EXIT_OTHER}, // AVIC
    {0x403, 0x403, SVM_EXIT_OTHER}, // VMGEXIT
    {0xfffffffe, 0xfffffffe, SVM_EXIT_BUSY},
    {0xffffffff, 0xffffffff, SVM_EXIT_INVALID},
};

static enum svm_exit expected(uint32_t code) {
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++)
        if (code >= codes[i].first && code <= codes[i].last)
            return codes[i].row;
    return SVM_EXIT_OTHER;
}

Test(svm_exit, every_code_of_the_manual_has_its_row) {
    bool has_code[SVM_EXIT_COUNT] = {false};
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        has_code[codes[i].row] = true;
        cr_expect(i == 0 || codes[i].first == codes[i - 1].last + 1 || codes[i].first == 0x400 ||
                      codes[i].first == 0xfffffffe,
                  "no code of the manual's is left out before %#x", codes[i].first);
    }
    for (unsigned i = 0; i < SVM_EXIT_COUNT; i++)
        cr_expect(has_code[i], "row %u is in the manual", i);
    for (uint32_t code = 0; code <= 0x1000; code++)
        cr_expect_eq(svm_exit_row(code), expected(code), "code %#x", code);
    for (uint32_t code = 0xffffff00; code != 0; code++)
        cr_expect_eq(svm_exit_row(code), expected(code), "code %#x", code);
    cr_expect_eq(svm_exit_row(0x80000000), SVM_EXIT_OTHER);
}

Test(svm_exit, invalid_has_64_bits_or_32) {
    cr_expect_eq(svm_exit_row(UINT64_MAX), SVM_EXIT_INVALID);
    cr_expect_eq(svm_exit_row(0xffffffff), SVM_EXIT_INVALID);
    cr_expect_eq(svm_exit_row((uint64_t)-2), SVM_EXIT_BUSY);
}

Test(svm_exit, every_row_has_a_handler) {
    for (unsigned i = 0; i < SVM_EXIT_COUNT; i++)
        cr_expect_neq(svm_exit_handlers[i], NULL, "row %u", i);
    cr_expect_eq(svm_exit_handlers[SVM_EXIT_OTHER], svm_exit_unexpected);
    cr_expect_leq(SVM_EXIT_COUNT, ARRAY_COUNT(paper_cpus[0].exits));
}

Test(svm_exit, lengths_are_those_without_prefixes) {
    const struct {
        enum svm_exit row;
        uint32_t length;
    } rows[] = {{SVM_EXIT_HLT, 1},     {SVM_EXIT_CPUID, 2},    {SVM_EXIT_MSR, 2},
                {SVM_EXIT_PAUSE, 2},   {SVM_EXIT_INVD, 2},     {SVM_EXIT_WBINVD, 2},
                {SVM_EXIT_VMMCALL, 3}, {SVM_EXIT_XSETBV, 3},   {SVM_EXIT_CR_WRITE, 0},
                {SVM_EXIT_NPF, 0},     {SVM_EXIT_EXCEPTION, 0}};
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
        cr_expect_eq(svm_exit_length(rows[i].row), rows[i].length, "row %u", rows[i].row);
}

Test(svm_exit, length_is_the_processors_where_it_tells) {
    struct vmcb vmcb = {.rip = 0xfffffffffffffffe, .next_rip = 3, .exit_info_2 = 4};
    svm_caps.has_next_rip = true;
    cr_expect_eq(svm_length(&vmcb, SVM_EXIT_CPUID), 5);
    cr_expect_eq(svm_length(&vmcb, SVM_EXIT_IOIO), 6, "by EXITINFO2, on each processor");
    svm_caps.has_next_rip = false;
    cr_expect_eq(svm_length(&vmcb, SVM_EXIT_CPUID), 2);
    cr_expect_eq(svm_length(&vmcb, SVM_EXIT_IOIO), 6);
}
