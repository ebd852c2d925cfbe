// SPDX-License-Identifier: Apache-2.0
// The table of exits (include/svm.h) with its handlers. A handler runs on the owner thread inside
// svm_open and svm_close and says what happens next; it never moves RIP itself.
#pragma once

#include "svm/svm.h"

typedef enum exit_action svm_exit_handler(struct vcpu *vcpu);

#define SVM_EXIT_PROTOTYPE_ROW(first, last, name, handler, words) svm_exit_handler handler;
SVM_EXITS(SVM_EXIT_PROTOTYPE_ROW)
#undef SVM_EXIT_PROTOTYPE_ROW

_Static_assert(SVM_EXIT_COUNT <= ABI_EXIT_REASONS, "a counter for each row");

svm_exit_handler svm_exit_unexpected;
extern svm_exit_handler *const svm_exit_handlers[SVM_EXIT_COUNT]; // no NULL among them
// The row of an exit code; SVM_EXIT_OTHER: none.
enum svm_exit svm_exit_row(uint64_t code);
// In the plain form of the instruction; 0: the row is no instruction, or more than one.
uint32_t svm_exit_length(enum svm_exit row);
