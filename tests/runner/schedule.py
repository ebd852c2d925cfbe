# SPDX-License-Identifier: Apache-2.0
"""Runs jobs on a number of slots: the wide ones first, then the long ones, each as soon as there is
room for it. Every boot is one emulator, which keeps one processor busy."""

import threading
import time
import traceback

from .job import LOGS, Context, failed

SLOTS = 2


def log_of(job):
    return LOGS / job.tier / f"{job.name}.out"


def execute_job(job):
    """A job's results; an exception is a failed test, not the end of the run."""
    try:
        return job.run(Context(log_of(job), job.pattern))
    except Exception as error:
        log_of(job).parent.mkdir(parents=True, exist_ok=True)
        log_of(job).with_suffix(".trace").write_text(traceback.format_exc(), encoding="utf-8")
        return [failed(job.name, f"the test itself is broken: {type(error).__name__}: {error}")]


class Schedule:
    """run() calls started(job) and ended(job, results, seconds), one at a time."""

    def __init__(self, jobs, slots, started, ended):
        self.waiting = sorted(jobs, key=lambda job: (-job.slots, -job.weight))
        self.free = slots
        self.slots = slots
        self.started = started
        self.ended = ended
        self.changed = threading.Condition()

    def run(self):
        threads = []
        with self.changed:
            while self.waiting:
                job = self._next()
                if job is None:
                    self.changed.wait()
                    continue
                self.free -= min(job.slots, self.slots)
                self.started(job)
                threads.append(threading.Thread(target=self._work, args=[job], daemon=True))
                threads[-1].start()
        for thread in threads:
            thread.join()

    def _next(self):
        for job in self.waiting:
            if min(job.slots, self.slots) <= self.free:
                self.waiting.remove(job)
                return job
        return None

    def _work(self, job):
        start = time.monotonic()
        results = execute_job(job)
        with self.changed:
            self.free += min(job.slots, self.slots)
            self.ended(job, results, time.monotonic() - start)
            self.changed.notify()
