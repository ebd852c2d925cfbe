// SPDX-License-Identifier: Apache-2.0
// The dispatch table, and what happens to an exit that nobody can explain: the VM ends with a dump,
// and the instruction is never stepped over.
#include "svm/exit.h"

svm_exit_handler *const svm_exit_handlers[SVM_EXIT_COUNT] = {
#define HANDLER_ROW(first, last, name, handler, words) [SVM_EXIT_##name] = handler,
    SVM_EXITS(HANDLER_ROW)
#undef HANDLER_ROW
        [SVM_EXIT_OTHER] = svm_exit_unexpected,
};

// By code, plus 2: those that are negative come first. 0: no row; else the row, plus 1.
#define PLACE(code) ((uint32_t)(code) + 2u)
static const uint8_t row_of[] = {
#define CODE_ROW(first, last, name, handler, words)                                                \
    [PLACE(first)... PLACE(last)] = SVM_EXIT_##name + 1,
    SVM_EXITS(CODE_ROW)
#undef CODE_ROW
};

enum svm_exit svm_exit_row(uint64_t code) {
    // VMEXIT_INVALID has 64 bits, and 32 on some emulators.
    uint32_t place = PLACE(code);
    uint8_t row = place < ARRAY_COUNT(row_of) ? row_of[place] : 0;
    return row != 0 ? (enum svm_exit)(row - 1) : SVM_EXIT_OTHER;
}

uint32_t svm_exit_length(enum svm_exit row) {
    static const uint8_t lengths[SVM_EXIT_COUNT] = {
        [SVM_EXIT_HLT] = 1,  [SVM_EXIT_CPUID] = 2,  [SVM_EXIT_MSR] = 2,     [SVM_EXIT_PAUSE] = 2,
        [SVM_EXIT_INVD] = 2, [SVM_EXIT_WBINVD] = 2, [SVM_EXIT_VMMCALL] = 3, [SVM_EXIT_XSETBV] = 3,
    };
    return lengths[row];
}

static enum exit_action fail(struct vcpu *vcpu, enum vcpu_failure failure) {
    const struct vmcb *v = ((struct svm_vcpu *)vcpu->backend)->vmcb;
    uint64_t *words = vcpu->page->failure_words;
    words[VCPU_WORD_INFO] = v->exit_info_1;
    words[VCPU_WORD_ADDRESS] = v->exit_info_2;
    words[VCPU_WORD_VECTORING] = v->exit_int_info;
    words[VCPU_WORD_ENTRY_EVENT] = v->event;
    words[VCPU_WORD_INTERRUPTIBILITY] = v->shadow;
    words[VCPU_WORD_PIN] = v->interrupt;
    return vcpu_fail(vcpu, failure, v->exit_code);
}

enum exit_action svm_exit_unexpected(struct vcpu *vcpu) {
    return fail(vcpu, VCPU_FAILURE_UNHANDLED_EXIT);
}

// The state that the VMM wrote is not one that a processor can be in. What of it, the VMM looks
// for.
enum exit_action svm_exit_refused(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    svm_forget_asids(vcpu->cpu);
    x->vmcb->interrupt |= VINTR_MASKING; // which QEMU 7.2 takes out where it enters no guest
    svm_touch(vcpu->backend, CLEAN_INTERRUPT);
    return fail(vcpu, VCPU_FAILURE_ENTRY);
}
