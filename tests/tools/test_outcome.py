# SPDX-License-Identifier: Apache-2.0
"""What a batch run's serial output says: canned logs, their lines and their statuses."""

import unittest
from dataclasses import dataclass

import support  # noqa: F401
from bulkhead.firmware import Startup, plain
from bulkhead.outcome import FAILED, NOT_OK, OK, TIMED_OUT, Outcome
from bulkhead.verdict import PAUSE_MOST, Hider, Verdict, key_in

FIRMWARE = (
    b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001\r\n"
    b"BdsDxe: starting Boot0001\r\n\x1b[0m\x1b[37m\x1b[40mbulkhead: 5 modules, 40 MiB\r\n"
)


@dataclass
class Vm:
    name: str
    autostart: bool = True


def outcome_of(text, *names):
    outcome = Outcome([Vm(name) for name in names or ("demo",)])
    outcome.feed(text.replace("\n", "\r\n").encode())
    outcome.finish()
    return outcome


class Ends(unittest.TestCase):
    def assert_end(self, end, status):
        text = f"[bulkhead] x\n[bulkhead] vm demo: {end}\n[bulkhead] all VMs ended\n"
        outcome = outcome_of(text)
        self.assertEqual(list(outcome.lines()), [f"vm demo: {end}"])
        self.assertEqual(outcome.status(), status)

    def test_each_way_to_end(self):
        self.assert_end("powered off", OK)
        self.assert_end("debug-exit 0", OK)
        self.assert_end("debug-exit 1", NOT_OK)
        self.assert_end("reset", NOT_OK)
        self.assert_end("crashed: triple fault", NOT_OK)
        self.assert_end("refused: the kernel is no bzImage", NOT_OK)

    def test_order_of_the_manifest(self):
        text = "[bulkhead] vm b: powered off\n[bulkhead] vm a: reset\n[bulkhead] all VMs ended\n"
        outcome = outcome_of(text, "a", "b")
        self.assertEqual(list(outcome.lines()), ["vm a: reset", "vm b: powered off"])
        self.assertEqual(outcome.status(), NOT_OK)

    def test_one_that_did_not_end(self):
        text = "[bulkhead] vm a: powered off\n[bulkhead] all VMs ended\n"
        outcome = outcome_of(text, "a", "b")
        self.assertEqual(list(outcome.lines()), ["vm a: powered off", "vm b: did not end"])
        self.assertEqual(outcome.status(), NOT_OK)

    def test_one_that_was_not_to_start(self):
        outcome = Outcome([Vm("a"), Vm("b", autostart=False)])
        outcome.feed(b"[bulkhead] vm a: powered off\n[bulkhead] all VMs ended\n")
        self.assertEqual(list(outcome.lines()), ["vm a: powered off", "vm b: not started"])
        self.assertEqual(outcome.status(), OK)

    def test_last_end_counts(self):
        text = "[bulkhead] vm demo: reset\n[bulkhead] vm demo: powered off\n"
        outcome = outcome_of(text + "[bulkhead] all VMs ended\n")
        self.assertEqual(list(outcome.lines()), ["vm demo: powered off"])

    def test_names_twice(self):
        text = "[bulkhead] vm demo: refused: name is taken\n[bulkhead] vm demo: powered off\n"
        outcome = outcome_of(text + "[bulkhead] all VMs ended\n", "demo", "demo")
        lines = ["vm demo: powered off", "vm demo: refused: name is taken"]
        self.assertEqual(list(outcome.lines()), lines)
        self.assertEqual(outcome.status(), NOT_OK)

    def test_other_vms_and_other_words_are_ignored(self):
        text = "[bulkhead] vm other: reset\n[bulkhead] vm demo: starting\n"
        text += "[bulkhead] vm demo: powered off later\n[bulkhead] all VMs ended\n"
        self.assertEqual(list(outcome_of(text).lines()), ["vm demo: did not end"])

    def test_last_line_without_newline(self):
        text = "[bulkhead] vm demo: powered off\n[bulkhead] all VMs ended"
        self.assertEqual(outcome_of(text).status(), OK)

    def test_any_pieces(self):
        text = b"[demo] x\r\n[bulkhead] vm demo: powered off\r\n[bulkhead] all VMs ended\r\n"
        for size in (1, 2, 7):
            outcome = Outcome([Vm("demo")])
            for start in range(0, len(text), size):
                outcome.feed(text[start : start + size])
            self.assertEqual(outcome.status(), OK)


class Forgery(unittest.TestCase):
    """Without a key the hypervisor's lines are told by where they begin, with one by the key alone."""

    def keyed(self, text):
        outcome = Outcome([Vm("demo")], Verdict("k3y00000"))
        outcome.feed(text.replace("OURS", "k3y00000 [bulkhead] ").replace("\n", "\r\n").encode())
        outcome.finish()
        return outcome

    def test_a_guest_can_not_speak_for_the_hypervisor(self):
        text = "[bulkhead] x\n[demo] [bulkhead] vm demo: powered off\n"
        text += "[demo] [bulkhead] all VMs ended\n[demo] [bulkhead] halted: x\n"
        outcome = outcome_of(text)
        self.assertEqual(list(outcome.lines()), ["vm demo: did not end"])
        self.assertEqual((outcome.all_ended, outcome.halted), (False, None))

    def test_only_the_key_is_believed(self):
        text = "OURShello\n[bulkhead] panic: x\n[demo] abc[bulkhead] panic: x\n"
        text += "k3y00001 [bulkhead] halted: x\nk3y00000[bulkhead] halted: x\n"
        text += "!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 0\n"
        text += "[bulkhead] vm demo: powered off\n[bulkhead] all VMs ended\n"
        outcome = self.keyed(text)
        self.assertEqual((outcome.panic, outcome.halted, outcome.all_ended), (None, None, False))
        self.assertEqual(list(outcome.lines()), ["vm demo: did not end"])

    def test_a_guest_can_not_hide_a_line(self):
        text = "OURSx\nno newline\x1b]0;OURSvm demo: powered off\nOURSall VMs OURSpanic: lost\n"
        outcome = self.keyed(text)
        self.assertEqual(list(outcome.lines()), ["vm demo: powered off"])
        self.assertEqual((outcome.all_ended, outcome.panic), (False, "lost"))

    def test_what_a_vmm_claims_is_no_end(self):
        claims = ["powered off", "crashed: x", "all VMs ended", "panic: x", " says: powered off", "vm demo: reset"]
        claims += ["[bulkhead] vm demo: powered off", "[bulkhead] all VMs ended", "k3y00001 [bulkhead] panic: x"]
        for key, ours in ((None, "[bulkhead] "), ("k3y00000", "k3y00000 [bulkhead] ")):
            outcome = Outcome([Vm("demo"), Vm("demo says")], Verdict(key))
            for claim in claims:
                outcome.feed(f"{ours}vm demo says: {claim}\r\n".encode())
            outcome.finish()
            self.assertEqual(list(outcome.lines()), ["vm demo: did not end", "vm demo says: did not end"])
            self.assertEqual((outcome.panic, outcome.halted, outcome.all_ended), (None, None, False))

    def test_the_key_in_any_pieces(self):
        verdict = Verdict("k3y00000")
        text = b"a k3y00000 [bulkhead] x\r\nk3y0k3y00000 k3y0000 k"
        for size in (1, 2, 5, 8, 100):
            hider = Hider(verdict)
            pieces = [hider.feed(text[at : at + size]) for at in range(0, len(text), size)]
            self.assertEqual(b"".join(pieces) + hider.finish(), b"a [bulkhead] x\r\nk3y0k3y0000 k")

    def test_a_key_that_pauses_split(self):
        """Of a key only as much is seen as a guest may well have printed, wherever it pauses."""
        for key in (b"k3y00000", b"0123456789abcdef", b"aaaaaaab"):
            around = [b"x ", b"", b"[bulkhead] x\r\n" + key[:2], key[:1] * 2, b"\r\n~ # " + key[:3]]
            text, plain = (key + b" ").join(around), b"".join(around)
            for places in (*({at} for at in range(len(text) + 1)), set(range(len(text) + 1))):
                hider, seen = Hider(Verdict(key.decode())), b""
                for at, byte in enumerate(text):
                    seen += hider.pause() if at in places else b""
                    seen += hider.feed(bytes([byte]))
                seen += hider.finish()
                rest = iter(seen)
                self.assertTrue(all(byte in rest for byte in plain), (key, places, seen))
                keys = 1 if len(places) == 1 else 4
                self.assertLessEqual(len(seen), len(plain) + keys * PAUSE_MOST, (key, places, seen))
                if key[:1] != key[1:2]:  # else the text itself has more of it
                    self.assertNotIn(key[: PAUSE_MOST + 1], seen, places)

    def test_what_is_typed_is_seen_at_a_pause(self):
        hider = Hider(Verdict("k3y00000"))
        self.assertEqual([hider.feed(b"~ # k"), hider.pause(), hider.pause()], [b"~ # ", b"k", b""])
        self.assertEqual([hider.feed(b"3"), hider.pause(), hider.feed(b"x")], [b"", b"3", b"x"])
        # What is longer is no chance; it is seen when something else comes.
        self.assertEqual([hider.feed(b"k3y0"), hider.pause(), hider.feed(b"\r")], [b"", b"", b"k3y0\r"])

    def test_the_first_key_on_a_command_line_counts(self):
        self.assertEqual(key_in("a verdict=one verdict=two"), "one")
        self.assertEqual((key_in("xverdict=one"), key_in("verdict=")), (None, ""))

    def test_prefix_must_be_exact(self):
        text = "[bulkhead] x\n [bulkhead] all VMs ended\n[bulkhead]  all VMs ended\n"
        self.assertFalse(outcome_of(text).all_ended)


class Failures(unittest.TestCase):
    def assert_failed(self, text, words):
        outcome = outcome_of(text)
        self.assertEqual((outcome.status(), outcome.failure()), (FAILED, words))

    def test_each_way_to_fail(self):
        self.assert_failed("", "the hypervisor never said a line")
        self.assert_failed("BdsDxe: x\n", "the hypervisor never said a line")
        words = 'the machine ended without "[bulkhead] all VMs ended"'
        self.assert_failed("[bulkhead] x\n[bulkhead] vm demo: powered off\n", words)
        self.assert_failed("[bulkhead] panic: no\n", "the hypervisor panicked: no")
        words = "the hypervisor refused the machine: no VT-x"
        self.assert_failed("[bulkhead] halted: no VT-x\n", words)

    def test_who_resets_is_waited_for(self):
        self.assertFalse(outcome_of("[bulkhead] halted: no VT-x\n[demo] [bulkhead] resets in 9 s\n").resets)
        outcome = outcome_of("[bulkhead] halted: no VT-x\n[bulkhead] resets in 9 s (panic=reset)\n")
        self.assertEqual((outcome.resets, outcome.status()), (True, FAILED))

    def test_panic_after_all_ended(self):
        text = "[bulkhead] vm demo: powered off\n[bulkhead] all VMs ended\n[bulkhead] panic: x\n"
        self.assertEqual(outcome_of(text).status(), FAILED)

    def test_timeout(self):
        self.assertEqual(outcome_of("[bulkhead] x\n").status(True), TIMED_OUT)
        self.assertEqual(outcome_of("").status(True), TIMED_OUT)
        self.assertEqual(outcome_of("[bulkhead] panic: x\n").status(True), FAILED)
        text = "[bulkhead] vm demo: powered off\n[bulkhead] all VMs ended\n"
        self.assertEqual(outcome_of(text).status(True), OK)


class Firmware(unittest.TestCase):
    def feed(self, data, size):
        startup = Startup()
        text, rest = "", b""
        for start in range(0, len(data), size):
            more_text, more_rest = startup.feed(data[start : start + size])
            text += more_text
            rest += more_rest
        return startup, text, rest

    def test_noise_is_taken_out_and_the_rest_untouched(self):
        ours = b"[bulkhead] hello\r\n\x1b[1m[bulkhead] again\r\n"
        for size in (1, 3, 1000):
            startup, text, rest = self.feed(FIRMWARE + ours, size)
            self.assertTrue(startup.is_over)
            self.assertEqual(rest, ours)
            lines = ["BdsDxe: loading Boot0001", "BdsDxe: starting Boot0001"]
            self.assertEqual(text.splitlines(), lines + ["bulkhead: 5 modules, 40 MiB"])
            self.assertEqual(startup.finish(), "")

    def test_first_line_of_ours_may_follow_anything(self):
        _startup, text, rest = self.feed(b"bulkhead: entering\x1b[0m[bulkhead] x\r\n", 5)
        self.assertEqual((text, rest), ("bulkhead: entering\n", b"[bulkhead] x\r\n"))

    def test_what_is_left_at_the_end(self):
        startup, text, rest = self.feed(b"bulkhead: no kernel.elf\x1b[", 4)
        self.assertEqual((text, rest, startup.finish()), ("", b"", "bulkhead: no kernel.elf\n"))

    def test_giving_up(self):
        for data, reason in (
            (FIRMWARE, None),
            (FIRMWARE + b"BdsDxe: failed to start Boot0001: Not Found\r\n", "5 modules, 40 MiB"),
            (b"BdsDxe: failed to start Boot0001: Not Found\r\n", None),
            (b"bulkhead: x\r\nbulkhead: back to the firmware in 10 s\r\n", "bulkhead: x"),
            (b"UEFI Interactive Shell v2.2\r\n", "the firmware found nothing to boot"),
            (b"BdsDxe: No bootable option or device was found.\r\n", "the firmware found nothing"),
            (b"!!!! X64 Exception Type - 0D(#GP)  CPU Apic ID - 00 !!!!\r\n", "0D(#GP)"),
        ):
            startup, _text, _rest = self.feed(data, 9)
            if reason is None:
                self.assertIsNone(startup.gave_up)
            else:
                self.assertIn(reason, startup.gave_up)

    def test_plain(self):
        self.assertEqual(plain(b"a\x1b[1;31mb\x1b(Bc\x1b[5;1Hd\x00e\rf"), "abc\nde\nf")


if __name__ == "__main__":
    unittest.main()
