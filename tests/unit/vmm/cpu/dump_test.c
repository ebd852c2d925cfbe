// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/dump.c: what the kernel hands over of a failure is told.
#define dump_vcpu   dump_test_vcpu
#define report_dump dump_test_report
#include "vmm/cpu/run.h"

#include "lib/fmt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "vmm/cpu/dump.c"

static struct vmm paper_vmm;
static struct vcpu paper_vcpu;
static struct vcpu_page page;
static char text[1000];

void report_dump(struct vmm *vmm, const char *format, ...) {
    size_t length = strlen(text);
    va_list arguments;
    (void)vmm;
    va_start(arguments, format);
    (void)vsnprintf(text + length, sizeof(text) - length, format, arguments);
    va_end(arguments);
    strcat(text, "\n");
}

static void dump(uint32_t exit, enum vcpu_failure failure) {
    text[0] = '\0';
    page.exit = exit;
    page.failure = (uint32_t)failure;
    for (unsigned i = 0; i < VCPU_WORD_COUNT; i++)
        page.failure_words[i] = 0x10 + i;
    paper_vcpu = (struct vcpu){.vmm = &paper_vmm, .page = &page};
    dump_failure(&paper_vcpu);
}

Test(vmm_dump, failure_is_told_word_by_word) {
    const char *all = "info 10 address 11 linear 12 pending 1e\n"
                      "exit event 13 error 14 vectoring 15 entry event 16 error 17\n"
                      "interruptibility 18 activity 19 controls 1a 1b 1c entry 1d\n";
    dump(VCPU_EXIT_FAILED, VCPU_FAILURE_ENTRY);
    cr_expect_str_eq(text, all);
    dump(VCPU_EXIT_FAILED, VCPU_FAILURE_UNHANDLED_EXIT);
    cr_expect_str_eq(text, all);
}

Test(vmm_dump, other_ends_have_no_such_words) {
    dump(VCPU_EXIT_FAILED, VCPU_FAILURE_MEMORY);
    cr_expect_str_empty(text);
    dump(VCPU_EXIT_SHUTDOWN, VCPU_FAILURE_ENTRY);
    cr_expect_str_empty(text);
}
