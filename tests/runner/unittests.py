# SPDX-License-Identifier: Apache-2.0
"""unittests.py MODULE: runs the tests of a module in the current directory, with a line for each:
`RESULT NAME passed|failed|skipped [REASON]`."""

import sys
import unittest


class Report(unittest.TextTestResult):
    def tell(self, test, outcome, why=""):
        name = test.id().partition(".")[2] or test.id()
        self.stream.flush()
        print(f"RESULT {name.replace(' ', '_')} {outcome} {why}".rstrip(), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tell(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(test, "failed", str(err[1]).partition("\n")[0])

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(test, "failed", f"{err[0].__name__}: {err[1]}".partition("\n")[0])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tell(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.tell(subtest, "failed", str(err[1]).partition("\n")[0])

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.tell(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.tell(test, "failed", "was expected to fail")


def main():
    sys.path.insert(0, ".")
    sys.dont_write_bytecode = True
    suite = unittest.defaultTestLoader.loadTestsFromName(sys.argv[1])
    runner = unittest.TextTestRunner(stream=sys.stdout, resultclass=Report, verbosity=0)
    sys.exit(0 if runner.run(suite).wasSuccessful() else 1)


main()
