# SPDX-License-Identifier: Apache-2.0
"""Which target a run takes by itself, and what it says of the better ones: on trees of files that look like
machines of all kinds. KVM is started nowhere here."""

import os
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from run_fake import fake
from support import DirectoryCase
from bulkhead import probe, session, target
from bulkhead.bochs import Bochs
from bulkhead.command import Failure
from bulkhead.machine import Settings
from bulkhead.qemu import Kvm, Qemu
from bulkhead.target import check_model_is_known, choose_target, kvm_obstacle


class HostCase(DirectoryCase):
    """A machine whose files are those below self.work. Both emulators are there, but for what a test takes away."""

    def setUp(self):
        super().setUp()
        for kind, models in ((Qemu, ["EPYC", "max"]), (Bochs, ["corei7_skylake_x", "ryzen"])):
            for name, value in (("check_installed", "there"), ("known_cpus", models)):
                self.patch(mock.patch.object(kind, name, return_value=value))

    def patch(self, patch):
        patch.start()
        self.addCleanup(patch.stop)

    def host(self, flags, module=None, nested="1", device=True):
        self.file("proc/cpuinfo", f"processor : 0\nflags\t\t: fpu {flags} sse\nbugs : svm vmx\n")
        if module:
            self.file(f"sys/module/{module}/parameters/nested", nested + "\n")
        if device:
            self.file("dev/kvm")
        return self.work

    def choose(self, name=None, **settings):
        return choose_target(name, Settings(image=Path("/i.img"), **settings), self.work)


class Obstacle(HostCase):
    def obstacle(self, *arguments, **options):
        return kvm_obstacle(self.host(*arguments, **options))

    def test_none(self):
        for flags, module in (("vmx", "kvm_intel"), ("svm", "kvm_amd")):
            for nested in ("Y", "1"):
                self.assertIsNone(self.obstacle(flags, module, nested))

    def test_nesting_off(self):
        for flags, module, nested in (("vmx", "kvm_intel", "N"), ("svm", "kvm_amd", "0")):
            words = f"nesting is off (sudo modprobe -r {module}; sudo modprobe {module} nested=1)"
            self.assertEqual(self.obstacle(flags, module, nested), words)

    def test_nested_paging_off(self):
        for flags, module, name, value in (("vmx", "kvm_intel", "ept", "N"), ("svm", "kvm_amd", "npt", "0")):
            self.file(f"sys/module/{module}/parameters/{name}", value + "\n")
            words = f"nested paging is off (sudo modprobe -r {module}; sudo modprobe {module} nested=1 {name}=1)"
            self.assertEqual(self.obstacle(flags, module), words)
            self.file(f"sys/module/{module}/parameters/{name}", "Y\n")
            self.assertIsNone(self.obstacle(flags, module))

    def test_no_device(self):
        words = "there is no /dev/kvm (a container is to be started with --device /dev/kvm)"
        self.assertEqual(self.obstacle("svm", "kvm_amd", device=False), words)

    def test_no_module(self):
        words = "the module kvm_intel is not loaded (sudo modprobe kvm_intel nested=1)"
        self.assertEqual(self.obstacle("vmx", device=False), words)

    def test_module_of_the_other_vendor(self):
        self.assertIn("kvm_amd is not loaded", self.obstacle("svm", "kvm_intel"))

    def test_no_permission(self):
        self.patch(mock.patch("os.access", return_value=False))
        group = target.group_of(self.host("vmx", "kvm_intel") / "dev/kvm")
        words = f"/dev/kvm may not be opened by you (sudo usermod -aG {group} $USER, and log in again)"
        self.assertEqual(kvm_obstacle(self.work), words)

    def test_group_without_a_name(self):
        self.patch(mock.patch("grp.getgrgid", side_effect=KeyError))
        self.assertEqual(target.group_of(self.work), str(os.stat(self.work).st_gid))

    def test_processor_without(self):
        words = "the processor shows neither VT-x nor AMD-V (switch it on in "
        self.assertEqual(self.obstacle("", "kvm_intel"), words + "the firmware setup)")
        below = words + "the settings of the hypervisor below)"
        self.assertEqual(self.obstacle("hypervisor", "kvm_intel"), below)


class Choice(HostCase):
    def test_kvm_first(self):
        self.host("vmx", "kvm_intel")
        self.assertEqual(self.choose(), ("kvm", "target kvm"))
        self.assertEqual(self.choose("auto", cpu="host"), ("kvm", "target kvm"))
        self.assertEqual(self.choose("kvm"), ("kvm", None))

    def test_qemu_second(self):
        self.host("vmx", "kvm_intel", "N")
        words = "target qemu; not kvm: nesting is off (sudo modprobe -r kvm_intel; sudo modprobe kvm_intel nested=1)"
        self.assertEqual(self.choose(), ("qemu", words))

    def test_bochs_third(self):
        self.host("vmx")
        self.patch(mock.patch.object(Qemu, "check_installed", side_effect=Failure("no QEMU; install it")))
        words = "target bochs; not kvm: the module kvm_intel is not loaded (sudo modprobe kvm_intel nested=1)"
        self.assertEqual(self.choose(), ("bochs", words + "; not qemu: no QEMU; install it"))

    def test_who_has_the_cpu(self):
        self.host("svm", "kvm_amd")
        for cpu, choice in (("corei7_skylake_x", "bochs"), ("ryzen", "bochs"), ("EPYC,+x", "qemu"), ("host", "kvm")):
            self.assertEqual(self.choose(cpu=cpu)[0], choice)
        words = "target bochs; not kvm: it has this machine's own processor, not ryzen; not qemu: it has no CPU ryzen"
        self.assertEqual(self.choose(cpu="ryzen")[1], words)

    def test_who_has_the_option(self):
        self.host("vmx", "kvm_intel")
        words = "target bochs; not kvm: it has no --firmware-lock; not qemu: it has no --firmware-lock"
        self.assertEqual(self.choose(firmware_lock=True), ("bochs", words))
        self.assertEqual(self.choose(ips=2_000_000)[0], "bochs")
        self.assertEqual(self.choose(icount="0"), ("qemu", "target qemu; not kvm: it has no --icount"))
        self.assertEqual(self.choose(iommu="intel"), ("kvm", "target kvm"))

    def test_options_that_mean_qemu(self):
        self.host("")
        for option in ({"nvme": [Path("x")]}, {"nic": "virtio"}, {"iommu": "amd"}, {"icount": "0"}):
            self.assertEqual(self.choose(**option)[0], "qemu")
            with self.assertRaisesRegex(Failure, "; not qemu: no QEMU; not bochs: it has no --"):
                with mock.patch.object(Qemu, "check_installed", side_effect=Failure("no QEMU")):
                    self.choose(**option)

    def test_nobody(self):
        self.host("vmx")
        with self.assertRaisesRegex(Failure, "no target can play this machine here: not kvm: .*; not bochs: it has no --nic$") as caught:
            self.choose(cpu="corei7_skylake_x", nic="virtio")
        self.assertEqual(caught.exception.status, 69)

    def test_unknown_cpu(self):
        with self.assertRaisesRegex(Failure, '^--cpu: no target has a model "ryzon"; did you mean "ryzen"') as caught:
            check_model_is_known(Settings(image=Path("/i.img"), cpu="ryzon,+x"))
        self.assertEqual(caught.exception.status, 64)

    def test_kvm_by_name_that_can_not_work(self):
        self.host("vmx")
        with self.assertRaisesRegex(Failure, "target kvm can not work here: the module kvm_intel is not loaded") as caught:
            self.choose("kvm")
        self.assertEqual(caught.exception.status, 69)
        self.assertEqual(self.choose("qemu"), ("qemu", None))


class ThirdLevel(HostCase):
    """KVM is played by fake_emulator.py."""

    def setUp(self):
        super().setUp()
        self.parts()
        self.file("build/guests/tiny/hello.elf")
        self.patch(mock.patch("bulkhead.probe.is_virtual", return_value=True))
        self.patch(mock.patch("bulkhead.probe.make_key", return_value="testkey0"))
        for name in ("ENDED_GRACE", "FAILED_GRACE"):
            self.patch(mock.patch.object(session, name, 0.3))

    def doubt(self, scenario):
        self.patch(mock.patch.dict(target.MACHINES, kvm=fake(Kvm, scenario)))
        arguments = SimpleNamespace(build=self.work / "build")
        settings = Settings(image=Path("/i.img"))
        return probe.doubt_third_level(arguments, settings, "kvm", "target kvm")

    def test_it_starts(self):
        self.assertEqual(self.doubt("inner"), ("kvm", "target kvm"))
        self.assertEqual(self.doubt("broken"), ("kvm", "target kvm"))  # it is noted

    def test_it_does_not_start(self):
        words = "target qemu; not kvm: the inner guest does not start, vm inner: crashed: nobody handles (this machine "
        choice, line = self.doubt("inner_crashes")
        self.assertEqual((choice, line[: len(words)]), ("qemu", words))
        self.assertIn("third level", line)
        self.assertEqual(self.doubt("inner"), (choice, line))

    def test_the_machine_does_not_start(self):
        self.assertIn("does not start, the emulator ended at its start: this emulator is broken (", self.doubt("broken")[1])

    def test_another_boot_is_tried_again(self):
        self.assertEqual(self.doubt("inner_crashes")[0], "qemu")
        self.patch(mock.patch("bulkhead.probe.BOOT_ID", self.file("boot_id", "another\n")))
        self.assertEqual(self.doubt("inner")[0], "kvm")

    def test_bare_metal_is_not_doubted(self):
        self.patch(mock.patch("bulkhead.probe.is_virtual", return_value=False))
        self.assertEqual(self.doubt("inner_crashes"), ("kvm", "target kvm"))


if __name__ == "__main__":
    unittest.main()
