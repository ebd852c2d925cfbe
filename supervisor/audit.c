// SPDX-License-Identifier: Apache-2.0
// The auditor's words.
#include "supervisor/audit.h"

#include "lib/fmt.h"
#include "lib/syscall.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"

#define TEXT_MAX 256u

static uint32_t audits;
static uint64_t errors;

static const char *error_text(uint32_t error) {
    static const char *const text[] = {
        [ABI_AUDIT_NONE] = "no error",
        [ABI_AUDIT_TWICE] = "a frame is mapped by somebody beside its owner",
        [ABI_AUDIT_FREE] = "a free frame is still mapped",
        [ABI_AUDIT_RIGHTS] = "a mapping has a right that its owner was not given",
        [ABI_AUDIT_KERNEL] = "a frame of the kernel's is mapped outside it",
        [ABI_AUDIT_TABLE] = "a table is no table's child, or two tables' child",
        [ABI_AUDIT_QUOTA] = "a quota and what is charged to it do not agree",
        [ABI_AUDIT_LOST] = "frames are neither free nor anybody's",
        [ABI_AUDIT_DIRTY] = "memory is mapped that was not cleared of its last owner's",
    };
    return error < sizeof(text) / sizeof(text[0]) ? text[error] : "an error without a name";
}

static const char *space_text(uint32_t space) {
    static const char *const text[] = {
        [ABI_AUDIT_NOBODY] = "in no table",
        [ABI_AUDIT_VM] = "in a VM",
        [ABI_AUDIT_PROCESS] = "in a process",
        [ABI_AUDIT_HOST] = "in the kernel",
    };
    return space < sizeof(text) / sizeof(text[0]) ? text[space] : "somewhere";
}

static void describe(const struct abi_audit *audit, char text[TEXT_MAX]) {
    size_t length =
        fmt_format(text, TEXT_MAX,
                   "%llu frames, %llu mappings, %llu tables: ", (unsigned long long)audit->frames,
                   (unsigned long long)audit->mappings, (unsigned long long)audit->tables);
    if (audit->errors == 0) {
        fmt_format(text + length, TEXT_MAX - length, "no error");
        return;
    }
    fmt_format(text + length, TEXT_MAX - length,
               "%llu errors, the first: %s (frame 0x%llx, %s at 0x%llx)",
               (unsigned long long)audit->errors, error_text(audit->error),
               (unsigned long long)audit->frame, space_text(audit->space),
               (unsigned long long)audit->address);
}

void audit_print(void) {
    char text[TEXT_MAX];
    struct abi_audit audit = {0};
    int64_t result = sys_system_audit(machine.start->system, &audit);
    if (result < 0) {
        console_print("audit: %s\n", machine_error_text(result));
        return;
    }
    describe(&audit, text);
    console_print("audit: %s\n", text);
}

static bool is_on(void) {
    return machine_has_option("audit=on");
}

void audit_after(const char *name) {
    char text[TEXT_MAX];
    struct abi_audit audit = {0};
    if (!is_on() || sys_system_audit(machine.start->system, &audit) < 0) {
        return; // "stat audits" tells that there was none
    }
    audits++;
    errors += audit.errors;
    if (audit.errors != 0) {
        describe(&audit, text);
        console_say("audit: after vm %s: %s", name, text);
    }
}

void audit_stat(void) {
    if (is_on()) {
        console_say("stat audits %u", audits);
        console_say("stat audit_errors %llu", (unsigned long long)errors);
    }
}
