# SPDX-License-Identifier: Apache-2.0
"""A guest that runs code in every 2 MiB of its RAM, and what that costs: on a CPU with ITLB multihit, one exit for each,
in which its large page is split, beside the one in which it came."""

import re

from runner.job import BUILD, verdict
from runner.machine import run_machine

TIMEOUT = 300
EPT_VIOLATION = 48
OTHERS = 16  # of the guest's start: its image, tables, stack, boot parameters


def violations(boot):
    for line in boot.host:
        if match := re.search(rf"^exits code at \d+.* {EPT_VIOLATION}:(\d+)", line):
            return int(match[1])
    return None


def large_pages(boot):
    for line in boot.lines.get("code", []):
        if match := re.fullmatch(r"large pages (\d+)", line):
            return int(match[1])
    return 0


def judge(boot, exits_each):
    count, pages = violations(boot), large_pages(boot)
    if count is None or pages == 0:
        return f"{count} EPT violations, {pages} large pages"
    least, most = exits_each * pages, exits_each * pages + OTHERS
    return None if least <= count <= most else f"{count} EPT violations for {pages} large pages, not {least} to {most}"


def code_job(model, words, exits_each, says):
    def run(context):
        kernel = str(BUILD / "guests" / "tiny" / "code-pages.elf")
        vms = [{"name": "code", "vcpus": 1, "memory": "64M", "kernel": kernel}]
        options = ["--cpu", model, "--append-cmdline", f"usage=all audit=on {words}".strip()]
        boot = run_machine(context, context.log.stem, vms, options, TIMEOUT)
        end = boot.end("code")
        named = any("ITLB multihit: guests' code is mapped by small pages" in line for line in boot.host)
        return [
            verdict("runs", None if end == "debug-exit 0" else f"ended as '{end}'"),
            verdict("exits", judge(boot, exits_each)),
            verdict("the report says so", None if named == says else f"it is {'not ' if says else ''}named"),
            verdict("host", boot.host_problem([0])),
        ]

    return run


JOBS = {
    "code-pages": code_job("corei7_skylake_x", "", exits_each=2, says=True),
    "code-pages-off": code_job("corei7_skylake_x", "mitigations=off", exits_each=1, says=False),
}
