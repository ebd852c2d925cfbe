# SPDX-License-Identifier: Apache-2.0
"""The report of a run for CI, as JUnit's XML: a testcase for the hypervisor and one for each VM.

    prepare_report(path)                        an old report is gone, and a new one can be written
    report(arguments, session, status)          after the run
    report_unable(arguments, failure)           there was no run

What guests and users wrote stands in it as text alone: markup is escaped, and characters that XML
has not are left out.
"""

import re
import time
from collections import deque
from xml.etree import ElementTree

from .command import EXIT_BUILD, EXIT_DATA, EXIT_USAGE, Failure
from .outcome import has_ended_well

HOST = "hypervisor"
KINDS = {EXIT_DATA: "the manifest was refused: ", EXIT_BUILD: ""}  # of what a run was not made for
LINES_MOST = 50  # of what a VM that failed said last

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def prepare_report(path):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch()
        path.unlink()
    except OSError as error:
        raise Failure(f"--junit {path} can not be written ({error.strerror})", EXIT_USAGE) from None


def report(arguments, session, status):
    suite = Suite(arguments)
    suite.properties(machine=session.machine.describe(), target=session.machine.name)
    reason = session.reason(status)
    suite.case(HOST, session.seconds, failure=reason)
    outcome = session.outcome
    whole = time.monotonic() - outcome.begun if outcome.begun is not None else 0
    said = last_lines(arguments.log, [vm.name for vm in session.manifest.vms])
    for (vm, end), line in zip(outcome.ends(), outcome.lines()):
        text = line.partition(": ")[2]
        name, seconds = f"vm {vm.name}", end.seconds if end else whole
        if has_ended_well(vm, end):
            suite.case(name, seconds if end else 0, skipped=None if end else text)
        elif outcome.has_lines:
            suite.case(name, seconds, failure=text, out=said[vm.name])
        else:
            suite.case(name, 0, skipped="the hypervisor did not come so far")
    suite.write()


def report_unable(arguments, failure):
    """The run could not be: an error, and no failure of what was to be tested."""
    if failure.status == EXIT_USAGE:
        return
    suite = Suite(arguments)
    suite.case(HOST, 0, error=f"{KINDS.get(failure.status, 'it could not run here: ')}{failure}")
    suite.write()


class Suite:
    def __init__(self, arguments):
        self.path = arguments.junit
        self.name = arguments.manifest.stem
        self.element = ElementTree.Element("testsuite", name=clean(self.name))
        self.counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
        self.seconds = 0.0

    def properties(self, **values):
        properties = ElementTree.SubElement(self.element, "properties")
        for name, value in values.items():
            ElementTree.SubElement(properties, "property", name=name, value=clean(value))

    def case(self, name, seconds, failure=None, error=None, skipped=None, out=()):
        where = {"classname": clean(self.name), "name": clean(name), "time": f"{seconds:.1f}"}
        case = ElementTree.SubElement(self.element, "testcase", where)
        self.counts["tests"] += 1
        self.seconds = max(self.seconds, seconds)  # all of them are at the same time
        kinds = (("failure", "failures", failure), ("error", "errors", error), ("skipped", "skipped", skipped))
        for tag, count, message in kinds:
            if message:
                self.counts[count] += 1
                ElementTree.SubElement(case, tag, message=clean(message)).text = clean(message)
        if out:
            ElementTree.SubElement(case, "system-out").text = clean("\n".join(out))

    def write(self):
        for name, value in self.counts.items():
            self.element.set(name, str(value))
        self.element.set("time", f"{self.seconds:.1f}")
        suites = ElementTree.Element("testsuites")
        suites.append(self.element)
        ElementTree.indent(suites)
        ElementTree.ElementTree(suites).write(self.path, encoding="utf-8", xml_declaration=True)


def clean(text):
    return _NOT_XML.sub("", text)


def last_lines(log, names):
    """What each VM said last, by the lines that the hypervisor writes in a batch run."""
    said = {name: deque(maxlen=LINES_MOST) for name in names}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        name = re.match(r"\[([a-z0-9-]+)\] ", line)
        if name and name[1] in said:
            said[name[1]].append(line[name.end() :])
    return said
