// SPDX-License-Identifier: Apache-2.0
// vmm/report.c: a message goes in whole, in order, and waits for its room.
#define report_open    report_test_open
#define report_log     report_test_log
#define report_dump    report_test_dump
#define report_running report_test_running
#define report_end     report_test_end
#include "vmm/report.h"

#include "lib/syscall.h"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <string.h>

#define MESSAGES (VMM_REPORTS_RING / VMM_MESSAGE_SIZE)

static struct vmm_start start = {.supervisor_event = 5, .supervisor_mask = 2};
static struct vmm paper = {.start = &start};
static struct vmm_reports shared;
static struct vmm_console console;
static struct ring_reader reader;
static unsigned yields, signals;
static jmp_buf ended;

static void yield(void);
static int64_t tell(uint32_t event, uint64_t mask);

#define sys_thread_yield()            yield()
#define sys_event_signal(event, mask) tell(event, mask)
#define sys_process_exit(status)      longjmp(ended, 1)
#define sys_thread_end()              longjmp(ended, 2)
#include "vmm/report.c"

static void set_up(void) {
    ring_writer_open(&paper.reports, shared.ring, VMM_REPORTS_RING, &shared.head, &shared.tail);
    ring_reader_open(&reader, shared.ring, VMM_REPORTS_RING, &shared.head, &shared.tail);
    console_open(&paper.console, &console);
}
TestSuite(vmm_report, .init = set_up);

static int64_t tell(uint32_t event, uint64_t mask) {
    cr_assert(event == 5 && mask == 2);
    signals++;
    return 0;
}

static struct vmm_message take(void) {
    struct vmm_message message;
    cr_assert_eq(ring_read(&reader, (uint8_t *)&message, sizeof(message)), sizeof(message));
    return message;
}

// The supervisor's turn: of the first, less than a message is taken.
static void yield(void) {
    uint8_t bytes[VMM_MESSAGE_SIZE - 1];
    cr_assert_eq(ring_reader_count(&reader) / VMM_MESSAGE_SIZE, MESSAGES - (yields != 0));
    (void)ring_read(&reader, bytes, yields++ == 0 ? sizeof(bytes) : 1);
}

Test(vmm_report, messages_are_told_in_order) {
    report_running(&paper);
    report_log(&paper, "line %u", 7u);
    report_dump(&paper, "of a dump");
    cr_expect_eq(signals, 3);
    cr_expect_eq(take().type, VMM_MESSAGE_RUNNING);
    struct vmm_message log = take(), dump = take();
    cr_expect(log.type == VMM_MESSAGE_LOG && strcmp(log.text, "line 7") == 0);
    cr_expect(dump.type == VMM_MESSAGE_DUMP && strcmp(dump.text, "of a dump") == 0);
    cr_expect_eq(ring_reader_count(&reader), 0);
}

Test(vmm_report, no_part_of_a_message_goes_in) {
    for (unsigned i = 0; i < MESSAGES; i++)
        report_log(&paper, "%u", i);
    cr_expect_eq(yields, 0);
    report_log(&paper, "late");
    cr_expect_eq(yields, 2, "a byte was missing, then none");
    cr_expect_eq(ring_reader_count(&reader), VMM_REPORTS_RING);
    for (unsigned i = 1; i < MESSAGES; i++)
        cr_expect_eq(take().text[0], (char)('0' + i));
    cr_expect_str_eq(take().text, "late");
    cr_expect_eq(signals, MESSAGES + 3, "the supervisor is told while it is waited for");
}

Test(vmm_report, a_long_line_is_cut) {
    char line[2 * VMM_MESSAGE_SIZE];
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    report_log(&paper, "%s", line);
    struct vmm_message message = take();
    cr_expect_eq(strnlen(message.text, sizeof(message.text)), sizeof(message.text) - 1);
}

Test(vmm_report, only_the_first_end_is_told) {
    if (setjmp(ended) == 0)
        report_end(&paper, VMM_END_CRASHED, 3, "for %s", "a reason");
    int how = setjmp(ended);
    if (how == 0)
        report_end(&paper, VMM_END_POWERED_OFF, 0, "powered off");
    cr_expect_eq(how, 2, "the second caller's thread ends");
    struct vmm_message message = take();
    cr_expect(message.type == VMM_MESSAGE_ENDED && message.end == VMM_END_CRASHED);
    cr_expect(message.code == 3 && strcmp(message.text, "for a reason") == 0);
    cr_expect_eq(ring_reader_count(&reader), 0);
}
