# SPDX-License-Identifier: Apache-2.0
"""The emulators' command lines. test_target.py has the choice between them."""

import os
import re
import socket
import subprocess
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from support import PATIENCE, ROOT, DirectoryCase, read_if_there, wait_for
from bulkhead.bochs import Bochs
from bulkhead.command import Failure
from bulkhead.machine import SerialFile, SerialSocket, Settings, tcp_sockets
from bulkhead.qemu import Kvm, Qemu
from bulkhead.target import check_settings


class Sockets(DirectoryCase):
    def listener(self):
        serial = SerialSocket(self.work)
        port = serial.listen_tcp()
        self.addCleanup(serial.listener.close)
        return serial, port

    def test_sockets_of_a_process_are_seen(self):
        serial, port = self.listener()
        here = [sock for sock in tcp_sockets(os.getpid()) if sock.port == port]
        self.assertEqual([(sock.is_listening, sock.is_from_loopback) for sock in here], [(True, True)])
        with socket.create_server(("", 0)) as anywhere:
            port = anywhere.getsockname()[1]
            (sock,) = [sock for sock in tcp_sockets(os.getpid()) if sock.port == port]
            self.assertEqual((sock.is_listening, sock.is_from_loopback), (True, False))

    def test_com1_is_the_emulators_only(self):
        """A stranger who connects first gets nothing, and the emulator its line."""
        serial, port = self.listener()
        stranger = socket.create_connection(("127.0.0.1", port))
        self.addCleanup(stranger.close)
        code = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
        code += "s.sendall(b'mine'); s.recv(1)"
        emulator = subprocess.Popen([sys.executable, "-c", code, str(port)])
        self.addCleanup(emulator.wait)
        self.addCleanup(emulator.kill)
        machine = Bochs(Settings(image=Path("/i.img")), self.work)
        machine.process = emulator
        with serial.accept(machine) as connection:
            self.assertEqual(connection.recv(4), b"mine")
            stranger.settimeout(PATIENCE)
            self.assertEqual(stranger.recv(1), b"")

    def test_bochs_listens_nowhere(self):
        """The real emulator, as soon as it is past the start of its display."""
        image = self.sparse("disk.img", 516096)
        machine = Bochs(Settings(image=image, cpus=1, memory=128 << 20), self.work)
        log = self.work / Bochs.log_name
        machine.start(SerialFile(self.work / "com1.log"))
        self.addCleanup(machine.stop)
        wait_for(lambda: not machine.is_running() or b"[RFB" in read_if_there(log))
        self.assertTrue(machine.is_running(), machine.last_words())
        self.assertEqual([sock for sock in tcp_sockets(machine.process.pid) if sock.is_listening], [])


class Models(DirectoryCase):
    def test_unknown_models_are_named(self):
        for kind, name, near in ((Bochs, "corei7_skylake", "corei7_skylake_x"), (Qemu, "EPIC", "EPYC")):
            machine = kind(Settings(image=Path("/i.img"), cpu=name), self.work)
            words = f'--cpu: {machine.name} has no model "{name}"; did you mean "{near}'
            with self.assertRaisesRegex(Failure, re.escape(words)):
                machine.check_cpu()

    def test_known_models_pass(self):
        known = [(Bochs, "corei5_lynnfield_750"), (Qemu, "EPYC,+svm"), (Qemu, "EPYC"), (Qemu, "max")]
        known += [(Bochs, name) for name in ("ryzen", "zambezi", "trinity_apu", "phenom_8650_toliman")]
        for kind, name in known:
            kind(Settings(image=Path("/i.img"), cpu=name), self.work).check_cpu()
        Bochs(Settings(image=Path("/i.img")), self.work).check_cpu()

    def test_defaults_are_known(self):
        for kind in (Bochs, Qemu, Kvm):
            settings = Settings(image=Path("/i.img"), cpu=kind.default_cpu)
            kind(settings, self.work).check_cpu()


class CommandLines(DirectoryCase):
    def setUp(self):
        super().setUp()
        self.file("cache/bochs/bin/bochs-bin")
        self.file("cache/ovmf/OVMF.fd")
        environment = mock.patch.dict(os.environ, BULKHEAD_CACHE=str(self.work / "cache"))
        environment.start()
        self.addCleanup(environment.stop)

    def bochs(self, **settings):
        settings = Settings(image=Path("/i.img"), **settings)
        check_settings("bochs", settings)
        serial = SerialFile(self.work / "com1.log")
        return Bochs(settings, self.work).configuration(serial).splitlines()

    def cpu_line(self, **settings):
        (line,) = [line for line in self.bochs(**settings) if line.startswith("cpu: ")]
        return line.removeprefix("cpu: ")

    def test_bochs_threads_of_cores(self):
        self.assertIn(", count=1:2:2, ", self.cpu_line(cpus=4, threads=2))
        for threads in (0, 3):
            with self.assertRaisesRegex(Failure, "4 CPUs are no whole number of cores"):
                self.bochs(cpus=4, threads=threads)

    def test_bochs_defaults(self):
        lines = self.bochs()
        for line in (
            "cpu: model=corei7_skylake_x, count=2, ips=50000000, reset_on_triple_fault=0, "
            'cpuid_freq=ips, exclude_features="rdrand,rdseed,mwait"',
            "memory: guest=1024, host=1024",
            "vga: extension=vbe, update_freq=5, realtime=0",
            "clock: sync=none, time0=1700000000",
            "ata0-master: type=disk, path=/i.img, mode=flat",
            f"com1: enabled=1, mode=file, dev={self.work}/com1.log",
            f"romimage: file={self.work}/cache/ovmf/OVMF.fd, address=0xffc00000",
        ):
            self.assertIn(line, lines)

    def test_bochs_needs_no_resolver(self):
        settings = Settings(image=Path("/i.img"))
        serial = SimpleNamespace(listen_tcp=lambda: 4711)
        lines = Bochs(settings, self.work).configuration(serial).splitlines()
        self.assertIn("com1: enabled=1, mode=socket-client, dev=127.0.0.1:4711", lines)

    def test_bochs_features(self):
        line = self.cpu_line(without=["vmx"], with_=["mwait"], cpus=1)
        self.assertTrue(line.endswith('exclude_features="rdrand,rdseed,vmx"'), line)

    def test_bochs_newer_models(self):
        msrs = f'msrs="{ROOT}/scripts/bochs/newer-models.msrs"'
        self.assertTrue(self.cpu_line(cpu="sapphire_rapids").endswith(msrs))
        self.assertNotIn("msrs", self.cpu_line(cpu="broadwell_ult"))

    def test_bochs_much_memory(self):
        self.assertIn("memory: guest=32768, host=4096", self.bochs(memory=32 << 30))

    def test_bochs_options(self):
        self.assertIn("debug: action=report", self.bochs(bochs_options=["debug: action=report"]))

    def test_bochs_tells_a_triple_fault(self):
        machine = Bochs(Settings(image=Path("/i.img")), self.work)
        self.assertIsNone(machine.fault())
        self.file("bochs.log", "0i[CPU0 ] x\n9e[CPU1 ] exception(): 3rd (1")
        self.assertIsNone(machine.fault())
        with open(self.work / "bochs.log", "a", encoding="ascii") as log:
            log.write("3) exception with no resolution\n")
        self.assertEqual(machine.fault(), "a triple fault on a physical CPU")

    def qemu(self, kind=Qemu, **settings):
        settings.setdefault("image", Path("/i.img"))
        with mock.patch("bulkhead.qemu.program", lambda name, _package: name), \
                mock.patch.object(kind, "check_cpu"):
            argv = kind(Settings(**settings), self.work).command(SerialFile(self.work / "com1.log"))
        return " ".join(argv)

    def test_qemu(self):
        text = self.qemu(image=Path("/a,b.img"), without=["rdrand"], qemu_options=["-d", "int"])
        for part in (
            "qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu EPYC,+svm,+npt,-smap,-rdtscp,-monitor,-rdrand",
            " -smp 2 -m 1024M ",
            "id=image,format=raw,snapshot=on,file=/a,,b.img -device ide-hd,drive=image,bus=ide.0,bootindex=0",
            "-d int",
        ):
            self.assertIn(part, text)
        for part in ("icount", "nvme", "netdev", "iommu"):
            self.assertNotIn(part, text)

    def test_what_is_said_of_a_feature_is_said_once(self):
        for settings, words in (
            ({"cpu": "max"}, "max,+svm,+npt,-smap,-rdtscp,-monitor"),
            ({"cpu": "EPYC,+smap,vgif=on"}, "EPYC,+svm,+npt,-rdtscp,-monitor,+smap,vgif=on"),
            ({"cpu": "EPYC,svm=off"}, "EPYC,+npt,-smap,-rdtscp,-monitor,svm=off"),
            ({"without": ["npt"], "with_": ["rdtscp"]}, "EPYC,+svm,-smap,-monitor,-npt,+rdtscp"),
        ):
            self.assertIn(f"-cpu {words} -smp", self.qemu(**settings))

    def test_qemu_counts_instructions(self):
        text = self.qemu(icount="0", cpus=4)
        self.assertIn("-accel tcg,thread=single", text)
        self.assertIn("-icount shift=0,sleep=off -rtc base=2023-11-14T22:13:20,clock=vm -seed 1", text)
        self.assertIn("-icount shift=3,sleep=off ", self.qemu(icount="3"))

    def test_qemu_devices(self):
        text = self.qemu(nvme=[Path("/a,b"), Path("/c")], nic="virtio", iommu="intel")
        for part in (
            "-device intel-iommu,intremap=on,caching-mode=off,device-iotlb=on -drive ",
            "-drive if=none,id=nvme0,format=raw,file=/a,,b -device nvme,drive=nvme0,serial=bulkhead-0",
            "-drive if=none,id=nvme1,format=raw,file=/c -device nvme,drive=nvme1,serial=bulkhead-1",
            "-device virtio-net-pci,disable-legacy=on,iommu_platform=on,netdev=net0,romfile=",
        ):
            self.assertIn(part, text)
        text = self.qemu(nic="e1000e", iommu="amd")
        self.assertIn("-device amd-iommu,intremap=on,device-iotlb=on -drive ", text)
        self.assertIn("-netdev user,id=net0 -device e1000e,netdev=net0,romfile=", text)
        self.assertNotIn("iommu_platform", self.qemu(nic="virtio"))

    def test_kvm(self):
        text = self.qemu(Kvm, cpus=4, threads=2)
        self.assertIn("-machine q35 -accel kvm -cpu host,migratable=off,+invtsc -smp 4,threads=2 ", text)
        self.assertIn("-machine q35,kernel-irqchip=split ", self.qemu(Kvm, iommu="intel"))
        self.assertIn("-cpu host,migratable=off,+invtsc,+x ", self.qemu(Kvm, cpu="host,+x"))
        self.assertIn("-cpu EPYC,+invtsc ", self.qemu(Kvm, cpu="EPYC"))

    def test_refused_settings(self):
        for target, settings, words in (
            ("bochs", {"cpus": 0}, "--cpus 0: from 1 to 255"),
            ("bochs", {"memory": 64 << 20}, "--memory: give the machine at least 128M"),
            ("bochs", {"qemu_options": ["-d"]}, "--qemu-option goes with"),
            ("bochs", {"nvme": [Path("x")]}, "--nvme goes with --target qemu or kvm only"),
            ("bochs", {"nic": "virtio"}, "--nic goes with --target qemu or kvm only"),
            ("bochs", {"iommu": "amd"}, "--iommu goes with --target qemu or kvm only"),
            ("bochs", {"icount": "0"}, "--icount goes with --target qemu only"),
            ("kvm", {"icount": "0"}, "--icount goes with --target qemu only"),
            ("qemu", {"bochs_options": ["x"]}, "--bochs-option goes with --target bochs only"),
            ("qemu", {"ips": 2_000_000}, "--ips goes with --target bochs only"),
            ("qemu", {"firmware_lock": True}, "--firmware-lock goes with --target bochs only"),
            ("qemu", {"nvme": [Path("/nowhere/x")]}, "--nvme /nowhere/x: no such file"),
        ):
            with self.assertRaisesRegex(Failure, words) as caught:
                check_settings(target, Settings(image=Path("/i.img"), **settings))
            self.assertEqual(caught.exception.status, 64)


if __name__ == "__main__":
    unittest.main()
