# SPDX-License-Identifier: Apache-2.0
"""What the tier nested makes of the lines of the outer machine and of Bulkhead's."""

import sys
import unittest

from support import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from nested.tier import outer_problem, refused_entry  # noqa: E402
from runner.machine import Boot  # noqa: E402

BEFORE = "[   10.320494] RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!"
CLEAN = [
    "[    6.533909] Run /init as init process",
    "[    7.897590] kvm: Nested Virtualization enabled",
    "[    7.897590] SVM: kvm: Nested Paging enabled",
    "outer: starts QEMU",
    "qemu-system-x86_64: -accel kvm: warning: Number of SMP cpus requested (2) exceeds the recommended cpus supported by KVM (1)",
    "outer: QEMU ended with status 0",
    "[  122.208742] reboot: Power down",
]


class Outer(unittest.TestCase):
    def test_a_clean_log_has_no_problem(self):
        self.assertIsNone(outer_problem(CLEAN))
        self.assertIsNone(outer_problem([BEFORE, *CLEAN]))

    def test_each_complaint_is_found(self):
        for line in (
            "[   20.1] kvm [120]: vcpu0, guest rIP: 0x1000 unhandled wrmsr: 0x1234 data 0x0",
            "[   20.1] WARNING: CPU: 0 PID: 120 at arch/x86/kvm/svm/nested.c:800",
            "[   20.1] BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "qemu-system-x86_64: error: failed to set MSR 0x10 to 0x0",
            "KVM: entry failed, hardware error 0x7",
            "outer: cannot load kvm-amd",
        ):
            with self.subTest(line):
                self.assertEqual(outer_problem([*CLEAN[:5], line, *CLEAN[5:]]).split(": ")[-1], line.split(": ")[-1])

    def test_qemu_has_to_end_well(self):
        self.assertIn("QEMU", outer_problem(CLEAN[:5]))
        self.assertIn("status 1", outer_problem([*CLEAN[:5], "outer: QEMU ended with status 1", CLEAN[6]]))


class Refused(unittest.TestCase):
    def test_a_refused_state_is_found(self):
        for line in (
            "vCPU 0: AMD-V refuses its state: CR0",
            "the processor refused the guest's state: vm x, vCPU 0",
            "vm x: crashed: the processor left the guest for reason 7, which nobody handles",
        ):
            with self.subTest(line):
                self.assertEqual(refused_entry(Boot(host=["Bulkhead 0.1", line])), line)

    def test_a_refused_image_is_none(self):
        self.assertIsNone(refused_entry(Boot(host=["vm x: refused: kernel 'y' is no kernel"])))


if __name__ == "__main__":
    unittest.main()
