// SPDX-License-Identifier: Apache-2.0
// What a VM's VMM says: it comes through a ring that both sides map (include/vmm.h). The last few
// KiB of it are kept for the command "dump", and some of it goes to the host's console at once.
//
//   reports_begin    the VM starts; what is there stays
//   reports_open     its ring exists
//   reports_take     the next message
//   reports_log      a line for the console
//   reports_dump     a line of a crash dump: for the console in batch mode only, where nobody can
//                    ask for it
//   reports_note     a line of the supervisor's own, kept only
//   reports_print    all that is kept
//
// On the console a VMM's text is `vm NAME says: TEXT`, and kept it is `| TEXT`: it may say "powered
// off", or a whole line of the supervisor's, and nobody takes it for one. A VMM may be hostile: of
// its lines no more go to the console than REPORTS_BURST and one a second, and REPORTS_DUMP_LINES
// of a dump, so that it can neither hide what others say nor keep the console busy.
#pragma once

#include "include/vmm.h"
#include "lib/ring.h"
#include "supervisor/backlog.h"

#include <stdbool.h>
#include <stdint.h>

#define REPORTS_BURST      16u
#define REPORTS_DUMP_LINES 64u

struct reports {
    uint32_t credit;      // lines that it may still say at once
    uint32_t dump_credit; // likewise, until it starts again
    uint64_t credited;    // TSC: credit is counted up to there
    bool is_muted;        // and this was said
    struct ring_reader ring;
    struct backlog kept;
};

void reports_begin(struct reports *reports);
void reports_open(struct reports *reports, struct vmm_reports *shared);
// Copies it out, its text terminated: what the VMM does to the ring from now on is no matter.
// False: there is none, or a part of one, which is dropped.
bool reports_take(struct reports *reports, struct vmm_message *message);
void reports_log(struct reports *reports, const char *name, const char *text);
void reports_dump(struct reports *reports, const char *name, const char *text);
void reports_note(struct reports *reports, const char *text);
void reports_print(const struct reports *reports, const char *name);
