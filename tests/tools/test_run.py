# SPDX-License-Identifier: Apache-2.0
"""The run tool from end to end, with a fake emulator: statuses, lines, terminal, traces left."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import tty
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from support import DEMO, PATIENCE, DirectoryCase, read_if_there, wait_for
from bulkhead import run
from bulkhead.command import Failure
from bulkhead.relay import ESCAPE, PROMPT_SECONDS, Escape, Keyboard, Script
from bulkhead.screen import FENCE, FENCE_ANSWER, RESET


class RunCase(DirectoryCase):
    def setUp(self):
        super().setUp()
        self.file("vmlinuz", b"kernel")
        self.file("m.toml", DEMO)
        self.parts()
        (self.work / "tmp").mkdir()

    def argv(self, scenario, *options):
        fake = str(Path(__file__).with_name("run_fake.py"))
        argv = [sys.executable, fake, scenario, "--target", "bochs", "--manifest", "m.toml"]
        argv += ["--verdict", "testkey0"]  # as fake_emulator.py has it
        return [*argv, "--build", "build", "--no-build", *options]

    @property
    def environment(self):
        return dict(os.environ, TMPDIR=str(self.work / "tmp"))

    def run_fake(self, scenario, *options, stdin=b""):
        done = subprocess.run(
            self.argv(scenario, *options),
            cwd=self.work,
            env=self.environment,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=30,
        )
        self.assertEqual(os.listdir(self.work / "tmp"), [])
        self.stderr = done.stderr.decode()
        return done.returncode, done.stdout.decode()


class Build(RunCase):
    def test_that_fails_is_told_from_a_machine_that_can_not(self):
        arguments = SimpleNamespace(manifest=self.work / "m.toml")
        with mock.patch("bulkhead.run.subprocess.run") as make, self.assertRaisesRegex(Failure, "the build failed") as caught:
            make.return_value.returncode = 2
            run.build(arguments, [])
        self.assertEqual(caught.exception.status, 70)


class Batch(RunCase):
    def batch(self, scenario, *options):
        return self.run_fake(scenario, "--batch", "--log", "run.log", *options)

    def test_good(self):
        self.assertEqual(self.batch("good"), (0, "vm demo: powered off\n"))
        self.assertEqual(self.stderr, "")
        log = (self.work / "run.log").read_bytes()
        begin = b"BdsDxe: starting Boot0001\nbulkhead: 4 modules\n[bulkhead] hello\r\n[demo] x\r\n"
        self.assertTrue(log.startswith(begin), log)

    def test_reset(self):
        self.assertEqual(self.batch("reset"), (1, "vm demo: reset\n"))

    def test_panic(self):
        self.assertEqual(self.batch("panic"), (3, "vm demo: did not end\n"))
        words = "run: the hypervisor panicked: lost; all it printed is in run.log\n"
        self.assertEqual(self.stderr, words)

    def test_forged_lines_decide_nothing(self):
        self.assertEqual(self.batch("forging"), (0, "vm demo: powered off\n"))
        self.assertEqual(self.stderr, "")

    def test_claims_of_a_vmm_decide_nothing(self):
        self.assertEqual(self.batch("claiming"), (1, "vm demo: reset\n"))
        self.assertEqual(self.stderr, "")

    def test_key_on_the_command_line(self):
        for words in ("verdict=short", "verdict=no_letters!", "verdict="):
            status, _ = self.batch("good", "--append-cmdline", words)
            self.assertEqual((status, self.stderr.count("\n")), (64, 1), words)
        self.assertEqual(self.batch("good", "--verdict", "x")[0], 64)
        self.assertEqual(self.batch("good", "--append-cmdline", "verdict=anotherkey")[0], 3)

    def test_triple_fault(self):
        self.assertEqual(self.batch("triple_fault"), (3, "vm demo: did not end\n"))
        self.assertIn("run: a triple fault on a physical CPU; ", self.stderr)

    def test_emulator_that_dies(self):
        self.assertEqual(self.batch("abort"), (3, "vm demo: did not end\n"))
        self.assertIn("run: the emulator died of SIGABRT: assertion failed: pc != -1; ", self.stderr)

    def test_nothing_to_boot(self):
        self.assertEqual(self.batch("nothing_to_boot"), (3, ""))
        self.assertIn("run: bulkhead: 4 modules; ", self.stderr)

    def test_timeout(self):
        begin = time.monotonic()
        status = self.batch("hang", "--timeout", "2", "--stat")
        self.assertEqual(status, (2, "vm demo: did not end\n"))
        self.assertIn("run: the 2 s were over; all it printed is in run.log\n", self.stderr)
        self.assertRegex(self.stderr, r"run: [23]\.\d s\n$")
        self.assertLess(time.monotonic() - begin, PATIENCE)

    def test_timeout_before_the_hypervisor(self):
        self.assertEqual(self.batch("firmware", "--timeout", "0.5"), (2, ""))
        words = "run: the 0.5 s were over before the hypervisor said a line; all it printed is in run.log\n"
        self.assertEqual(self.stderr, words)

    def test_emulator_that_does_not_start(self):
        self.assertEqual(self.batch("broken"), (69, ""))
        self.assertEqual(self.stderr, "run: the emulator ended at its start: this emulator is broken\n")

    def test_refused_manifest(self):
        self.file("m.toml", DEMO.replace("256M", "3G"))
        self.assertEqual(self.batch("good"), (65, ""))
        self.assertTrue(self.stderr.startswith("m.toml:4: vm.memory: the VMs up to this one need"))
        self.assertEqual(self.batch("good", "--no-size-checks")[0], 0)

    def test_wrong_command_line(self):
        self.assertEqual(self.batch("good", "--cpus", "two"), (64, ""))
        words = "run: argument --cpus: invalid int value: 'two'; see scripts/run --help\n"
        self.assertEqual(self.stderr, words)
        self.assertEqual(self.batch("good", "--target", "kvn")[0], 64)
        self.assertEqual(self.batch("good", "--ips", "10")[0], 64)
        words = "run: --ips 10: Bochs takes 1000000 to 4294967295 instructions a second\n"
        self.assertEqual(self.stderr, words)
        for seconds in ("0", "-1", "nan", "inf"):
            self.assertEqual(self.batch("good", f"--timeout={seconds}"), (64, ""))
            self.assertEqual(self.stderr, "run: --timeout: give a number of seconds above 0\n")
        self.assertEqual(self.run_fake("good", "--batch", "--log", "m.toml/x")[0], 64)

    def test_appended_words_are_checked(self):
        for words in ("\u00e9", "a\tb", b"\xff"):
            self.assertEqual(self.batch("good", "--append-cmdline", words), (64, ""))
            error = "--append-cmdline: holds characters other than printable ASCII; remove them; see"
            self.assertIn(error, self.stderr)
        self.assertEqual(self.batch("good", "--append-cmdline", "audit=on")[0], 0)

    def test_terminated(self):
        argv = self.argv("hang", "--batch", "--log", "run.log")
        process = subprocess.Popen(argv, cwd=self.work, env=self.environment)
        wait_for(lambda: b"hello" in read_if_there(self.work / "run.log"))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 128 + signal.SIGTERM)
        self.assertEqual(os.listdir(self.work / "tmp"), [])

    def test_several_at_once(self):
        processes = []
        for number in range(3):
            argv = self.argv("good", "--batch", "--log", f"{number}.log")
            options = {"cwd": self.work, "env": self.environment, "stdout": subprocess.PIPE}
            processes.append(subprocess.Popen(argv, **options))
        for process in processes:
            with process:
                self.assertEqual(process.stdout.read(), b"vm demo: powered off\n")


class Pipe(RunCase):
    def test_script_is_typed_behind_prompts(self):
        status, text = self.run_fake("shell", stdin=b"one\ntwo\nx")
        self.assertEqual(status, 0, self.stderr)
        lines = text.replace("\r", "").splitlines()
        self.assertEqual(lines[3:5], ["bulkhead: 4 modules", "[bulkhead] hello"])
        self.assertEqual(lines[5:], ["~ # one<13>", "~ # two<13>", "~ # ", "bye"])

    def test_end_of_input_is_not_the_end(self):
        status, text = self.run_fake("good", stdin=b"")
        self.assertEqual(status, 0, self.stderr)
        self.assertIn("[demo] x", text)

    def test_failure(self):
        self.assertEqual(self.run_fake("panic")[0], 3)
        self.assertEqual(self.run_fake("nothing_to_boot")[0], 3)
        self.assertEqual(self.run_fake("hang", "--timeout", "0.3")[0], 2)

    def test_emulator_that_does_not_start(self):
        self.assertEqual(self.run_fake("broken")[0], 69)
        self.assertIn("the emulator ended at its start: this emulator is broken", self.stderr)


class Terminal(RunCase):
    """A person at a pseudo-terminal."""

    def setUp(self):
        super().setUp()
        self.master, self.slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.slave)
        self.before = termios.tcgetattr(self.slave)
        self.screen = b""

    def start(self, scenario):
        self.process = subprocess.Popen(
            self.argv(scenario, "--log", "run.log"),
            cwd=self.work,
            env=self.environment,
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)

    def expect(self, text):
        wait_for(lambda: text in self.read())

    def read(self):
        while select.select([self.master], [], [], 0.05)[0]:
            self.screen += os.read(self.master, 4096)
        return self.screen

    def type(self, text):
        os.write(self.master, text)

    def end(self):
        status = self.process.wait(PATIENCE)
        self.read()
        self.assertEqual(termios.tcgetattr(self.slave), self.before)
        self.assertEqual(os.listdir(self.work / "tmp"), [])
        return status

    def test_every_key_reaches_the_machine(self):
        self.start("shell")
        self.expect(b"~ # ")
        self.type(b"a\x01\x03\x1a\x1d\x04\r")
        self.expect(b"a<1><3><26><29><4><13>")
        self.type(b"x")
        self.expect(b"bye\r\n")
        self.assertEqual(self.end(), 0)
        self.assertTrue(self.screen.startswith(b"Ctrl-A h: help of the hypervisor's console; "))
        progress = b"\rstarting the machine (fake, corei7_skylake_x, 2 CPUs, 1024M) ... firmware "
        self.assertIn(progress, self.screen)
        self.assertNotIn(b"BdsDxe", self.screen)
        self.assertIn(b"bye", read_if_there(self.work / "run.log"))

    def test_escape(self):
        self.start("shell")
        self.expect(b"~ # ")
        self.type(b"\x1d\x1d")
        self.assertEqual(self.end(), 130)

    def test_soft_reset_at_the_end(self):
        self.start("rude")
        self.expect(FENCE)
        self.assertEqual(self.screen.count(RESET), 1)
        self.assertGreater(self.screen.index(RESET), self.screen.index(b"secret"))
        self.type(FENCE_ANSWER)
        self.assertEqual(self.end(), 0)

    def test_late_answers_are_not_typed_into_the_shell(self):
        self.start("rude")
        self.expect(FENCE)
        for answer in (b"\x1b[?64;1;2c", b"\x1b[M !!", FENCE_ANSWER):
            time.sleep(0.2)
            self.type(answer)
        self.assertEqual(self.end(), 0)
        tty.setraw(self.slave, termios.TCSANOW)
        self.addCleanup(termios.tcsetattr, self.slave, termios.TCSANOW, self.before)
        self.assertEqual(select.select([self.slave], [], [], 0.1)[0], [])

    def test_key_stays_hidden(self):
        self.start("shell")
        self.expect(b"~ # ")
        for count, key in enumerate((b"t", b"e", b"s"), 1):  # as the key begins: seen at once all the same
            self.type(key)
            self.expect(b"~ # tes"[: 4 + count])
        self.type(b"x")
        self.assertEqual(self.end(), 0)

    def test_key_that_pauses_split_stays_hidden(self):
        self.start("halting")
        self.assertEqual(self.end(), 0)
        self.assertIn(b"all VMs ended\r\n# te", self.screen)  # what was held is seen at the end
        self.assertNotIn(b"estk", self.screen)
        self.assertNotIn(b"key0", self.screen)
        log = (self.work / "run.log").read_bytes()
        words = b"[bulkhead] hello\r\n[bulkhead] vm demo: powered off\r\n[bulkhead] all VMs ended\r\n# te"
        self.assertIn(words, log)
