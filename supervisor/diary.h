// SPDX-License-Identifier: Apache-2.0
// What a VM's VMM says: the last few KiB of it are kept for the command "dump", and some of it goes
// to the host's console at once.
//
//   diary_begin    the VM starts; what is there stays
//   diary_log      a line for the console
//   diary_dump     a line of a crash dump: for the console in batch mode only, where nobody can ask
//                  for it
//   diary_note     a line of the supervisor's own, kept only
//   diary_print    all that is kept
//
// On the console a VMM's text is `vm NAME says: TEXT`, and kept it is `| TEXT`: it may say "powered
// off", or a whole line of the supervisor's, and nobody takes it for one.
// A VMM may be hostile: of its lines no more go to the console than DIARY_BURST and one a second,
// and DIARY_DUMP_LINES of a dump, so that it can neither hide what others say nor keep the console
// busy.
#pragma once

#include "supervisor/backlog.h"

#include <stdbool.h>
#include <stdint.h>

#define DIARY_BURST      16u
#define DIARY_DUMP_LINES 64u

struct diary {
    uint32_t credit;      // lines that it may still say at once
    uint32_t dump_credit; // likewise, until it starts again
    uint64_t credited;    // TSC: credit is counted up to there
    bool is_muted;        // and this was said
    struct backlog kept;
};

void diary_begin(struct diary *diary);
void diary_log(struct diary *diary, const char *name, const char *text);
void diary_dump(struct diary *diary, const char *name, const char *text);
void diary_note(struct diary *diary, const char *text);
void diary_print(const struct diary *diary, const char *name);
