# SPDX-License-Identifier: Apache-2.0
"""The report for CI of a real boot, with a guest that passes and one that fails, as docs/ci.md has it; once on a machine
with an NVMe disk, a network card and an IOMMU before them, as a server has."""

from xml.etree import ElementTree

from runner.job import BUILD, verdict
from runner.machine import run_machine

WORDS = "from the command line"  # without them guests/tiny/hello.c fails


def read_report(path):
    """{testcase: what went wrong, or None}, and what each printed."""
    wrong, printed = {}, {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        problem = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        wrong[case.get("name")] = None if problem is None else f"{problem.tag}: {problem.get('message')}"
        printed[case.get("name")] = case.findtext("system-out", "")
    return wrong, printed


def report_job(options):
    def run(context):
        kernel = str(BUILD / "guests" / "tiny" / "hello.elf")
        good = {"name": "good", "vcpus": 1, "memory": "8M", "kernel": kernel, "cmdline": WORDS}
        bad = {"name": "bad", "vcpus": 1, "memory": "8M", "kernel": kernel}
        path = context.log.with_suffix(".xml")
        boot = run_machine(context, context.log.stem, [good, bad], [*options, "--junit", path], 300)
        if not path.exists():
            return [verdict("report", f"there is none: {boot.complaint}")]
        wrong, printed = read_report(path)
        expected = {"hypervisor": None, "vm good": None, "vm bad": "failure: debug-exit 1"}
        return [
            verdict("report", None if wrong == expected else f"it says {wrong}"),
            verdict("what failed", None if "FAIL" in printed.get("vm bad", "") else "the report has no line 'FAIL'"),
            verdict("host", boot.host_problem([1])),
        ]

    return run


def server_job(options):
    def run(context):
        disk = context.log.with_suffix(".disk")
        disk.parent.mkdir(parents=True, exist_ok=True)
        with open(disk, "wb") as image:
            image.truncate(16 << 20)
        return report_job([*options, "--nvme", disk, "--nic", "virtio", "--iommu", "amd"])(context)

    return run
