# SPDX-License-Identifier: Apache-2.0
"""What the person at the terminal sees: a line a job, its failures and skips under it, and at the
end `N passed, N failed, N skipped`."""

import sys

from .job import FAILED, PASSED, SKIPPED, ROOT
from .schedule import log_of

CLEAR = "\r\x1b[K"


class Report:
    def __init__(self, is_verbose):
        self.is_verbose = is_verbose
        self.is_terminal = sys.stdout.isatty()
        self.counts = dict.fromkeys((PASSED, FAILED, SKIPPED), 0)
        self.failures = []
        self.running = []

    def started(self, job):
        self.running.append(job.title)
        self._show_running()

    def ended(self, job, results, seconds):
        if job.title in self.running:
            self.running.remove(job.title)
        counts = dict.fromkeys(self.counts, 0)
        for result in results:
            counts[result.outcome] += 1
            self.counts[result.outcome] += 1
            if result.outcome == FAILED:
                self.failures.append((job, result))
        told = [f"{counts[PASSED]:4d} passed"]
        told += [f"{counts[kind]} {kind}" for kind in (FAILED, SKIPPED) if counts[kind]]
        self._line(f"{job.tier:<6} {job.name:<18} {', '.join(told):<36}{seconds:8.1f} s")
        for result in results:
            if self.is_verbose or result.outcome != PASSED:
                self._line(f"       {result.outcome:<8} {result.name}: {result.why}".rstrip(": "))
        if counts[FAILED]:
            self._line(f"       see {log_of(job).relative_to(ROOT).with_suffix('')}.*")
        self._show_running()

    def finish(self):
        """Returns the exit status."""
        if self.is_terminal:
            print(CLEAR, end="")
        if len(self.failures) > 1:
            print("\nfailed:")
            for job, result in self.failures:
                print(f"  {job.title} {result.name}: {result.why}".rstrip(": "))
        if sum(self.counts.values()) == 0:
            print("no test ran")
        print(", ".join(f"{count} {kind}" for kind, count in self.counts.items()), flush=True)
        return 1 if self.counts[FAILED] or sum(self.counts.values()) == 0 else 0

    def _line(self, text):
        print(f"{CLEAR if self.is_terminal else ''}{text}", flush=True)

    def _show_running(self):
        if self.is_terminal and self.running:
            print(f"{CLEAR}running: {', '.join(self.running)}"[:79], end="", flush=True)
