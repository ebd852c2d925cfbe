# SPDX-License-Identifier: Apache-2.0
"""The report for CI: what scripts/run --junit writes, whatever became of the run."""

import re
import shlex
import unittest
from xml.etree import ElementTree

from support import DEMO, ROOT
from test_run import RunCase


class Report(RunCase):
    def report(self, scenario, *options, status):
        """The testcases by name: {name: (tag of what went wrong, its message)}, and the suite."""
        done = self.run_fake(scenario, "--junit", "out/report.xml", "--log", "run.log", *options)
        self.assertEqual(done[0], status, self.stderr)
        self.suite = ElementTree.parse(self.work / "out/report.xml").getroot().find("testsuite")
        cases = {}
        for case in self.suite.findall("testcase"):
            wrong = [child for child in case if child.tag != "system-out"]
            cases[case.get("name")] = (wrong[0].tag, wrong[0].get("message")) if wrong else None
        return cases

    def counts(self):
        return [int(self.suite.get(name)) for name in ("tests", "failures", "errors", "skipped")]

    def test_good(self):
        cases = self.report("good", status=0)
        self.assertEqual(cases, {"hypervisor": None, "vm demo": None})
        self.assertEqual(self.counts(), [2, 0, 0, 0])
        self.assertEqual(self.suite.get("name"), "m")
        target = {p.get("name"): p.get("value") for p in self.suite.find("properties")}
        self.assertEqual(target["machine"], "fake, corei7_skylake_x, 2 CPUs, 1024M")
        host, vm = self.suite.findall("testcase")
        self.assertGreaterEqual(float(host.get("time")), float(vm.get("time")))

    def test_time_of_a_vm(self):
        cases = self.report("slow", status=0)
        self.assertIsNone(cases["vm demo"])
        _host, vm = self.suite.findall("testcase")
        self.assertGreaterEqual(float(vm.get("time")), 0.5)

    def test_failed_vm_with_what_it_said(self):
        cases = self.report("talking", status=1)
        self.assertEqual(cases, {"hypervisor": None, "vm demo": ("failure", "debug-exit 3")})
        self.assertEqual(self.counts(), [2, 1, 0, 0])
        out = self.suite.findall("testcase")[1].find("system-out").text.splitlines()
        self.assertEqual(len(out), 50)
        self.assertEqual(out[-2:], ["line 59", "</system-out> & [2J \u00e9"])

    def test_vm_that_was_not_to_start(self):
        self.file("m.toml", DEMO + DEMO.replace("demo", "later") + "autostart = false\n")
        cases = self.report("good", status=0)
        self.assertEqual(cases["vm later"], ("skipped", "not started"))

    def test_vm_that_did_not_end(self):
        cases = self.report("hang", "--timeout", "2", status=2)
        self.assertEqual(cases["hypervisor"], ("failure", "the 2 s were over"))
        self.assertEqual(cases["vm demo"], ("failure", "did not end"))

    def test_panic(self):
        cases = self.report("panic", status=3)
        self.assertEqual(cases["hypervisor"], ("failure", "the hypervisor panicked: lost"))

    def test_vms_that_never_had_a_chance(self):
        cases = self.report("nothing_to_boot", status=3)
        self.assertEqual(cases["hypervisor"][0], "failure")
        self.assertEqual(cases["vm demo"], ("skipped", "the hypervisor did not come so far"))
        self.assertEqual(self.counts(), [2, 1, 0, 1])

    def test_no_run_is_an_error(self):
        cases = self.report("broken", status=69)
        words = "it could not run here: the emulator ended at its start: this emulator is broken"
        self.assertEqual(cases, {"hypervisor": ("error", words)})
        self.file("m.toml", DEMO.replace("256M", "3G"))
        (kind, words), = self.report("good", status=65).values()
        self.assertEqual(kind, "error")
        self.assertTrue(words.startswith("the manifest was refused: m.toml:4: vm.memory: "), words)

    def test_old_report_is_gone(self):
        old = self.file("out/report.xml", "<old/>")
        self.assertEqual(self.run_fake("good", "--junit", "out/report.xml", "--cpus", "0", "--log", "run.log")[0], 64)
        self.assertFalse(old.exists())

    def test_no_place_for_it(self):
        status, _ = self.run_fake("good", "--junit", "m.toml/x", "--log", "run.log")
        self.assertEqual(status, 64)
        self.assertIn("--junit m.toml/x can not be written", self.stderr)

    def test_workflow_of_the_manual(self):
        text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
        workflow = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
        self.assertLessEqual(workflow.count("\n"), 18)
        (line,) = re.findall(r"run: bulkhead/scripts/run (.*)", workflow)
        words = shlex.split(line)
        self.file(words[words.index("--manifest") + 1], DEMO.replace("vmlinuz", "../vmlinuz"))
        self.assertEqual(self.run_fake("reset", *words)[0], 1, self.stderr)
        for name in ("boot.xml", "boot.log"):
            self.assertTrue((self.work / name).exists(), name)


if __name__ == "__main__":
    unittest.main()
