// SPDX-License-Identifier: Apache-2.0
// supervisor/exits.c: each backend counts by its own numbers.
#include "supervisor/exits.h"

#include "include/svm.h"

#include <criterion/criterion.h>

Test(exits, reasons_have_the_names_of_their_backend) {
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_VTX, 10), "CPUID");
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_VTX, 48), "EPT violation");
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_SVM, SVM_EXIT_CPUID), "CPUID");
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_SVM, SVM_EXIT_NPF), "nested page fault");
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_SVM, SVM_EXIT_INVALID), "invalid guest state");
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_SVM, SVM_EXIT_OTHER), "unexpected exit");
}

Test(exits, what_has_no_name_has_its_number) {
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_VTX, 35), "reason 35");
    cr_expect_str_eq(exits_name(ABI_VIRTUALIZATION_SVM, ABI_EXIT_REASONS), "reason 80");
}
