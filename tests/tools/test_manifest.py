# SPDX-License-Identifier: Apache-2.0
"""The manifest: each error by its exact line, and the device tree that comes out."""

import subprocess
import unittest
import zlib

from support import DEMO, ROOT, DirectoryCase
from bulkhead.compiler import compile_manifest
from bulkhead.manifest import Checks, Refused, load

GIB = 1 << 30


class Case(DirectoryCase):
    def setUp(self):
        super().setUp()
        self.file("vmlinuz", b"kernel")
        self.file("initrd.img", b"initrd")

    def load(self, text, **checks):
        return load(self.file("m.toml", text), Checks(**checks))

    def errors(self, text, **checks):
        with self.assertRaises(Refused) as caught:
            self.load(text, **checks)
        return [line.replace(f"{self.work}/", "") for line in caught.exception.lines]

    def assert_error(self, old, new, error, **checks):
        """DEMO with `old` replaced by `new` gives just this error."""
        self.assertIn(old, DEMO)
        self.assertEqual(self.errors(DEMO.replace(old, new), **checks), [error])


class Keys(Case):
    def test_defaults(self):
        manifest = self.load(DEMO)
        (vm,) = manifest.vms
        self.assertEqual((vm.name, vm.vcpus, vm.memory), ("demo", 1, GIB // 4))
        self.assertEqual((vm.initrd, vm.cmdline, vm.autostart), (None, "", True))
        self.assertEqual((manifest.host.cmdline, manifest.host.when_all_ended), ("", "power-off"))

    def test_all_keys(self):
        text = '[host]\ncmdline = "x"\nwhen-all-ended = "stay"\n' + DEMO
        text += 'initrd = "initrd.img"\ncmdline = "console=ttyS0"\nautostart = false\n'
        manifest = self.load(text)
        (vm,) = manifest.vms
        self.assertEqual(vm.initrd, self.work / "initrd.img")
        self.assertEqual((vm.cmdline, vm.autostart), ("console=ttyS0", False))
        self.assertEqual((manifest.host.cmdline, manifest.host.when_all_ended), ("x", "stay"))

    def test_unknown_key_with_a_near_one(self):
        error = 'm.toml:4: vm.memroy: unknown key; did you mean "memory"?'
        missing = 'm.toml:1: vm.memory: is missing; add a line such as memory = "256M"'
        text = DEMO.replace("memory", "memroy")
        self.assertEqual(self.errors(text), [missing, error])

    def test_unknown_key_without(self):
        known = "name, vcpus, memory, kernel, initrd, cmdline, autostart, tsc-frequency, schedule, weight"
        known += ", cap, cpus, node, budget, period, trust, cache, restart, restart-delay, restart-limit"
        error = f"m.toml:6: vm.xyz: unknown key; known keys: {known}"
        self.assertEqual(self.errors(DEMO + "xyz = 1\n"), [error])
        error = 'm.toml:6: vms: unknown key; did you mean "vm"?'
        self.assertEqual(self.errors(DEMO + "[[vms]]\n"), [error])
        error = "m.toml:2: host.a: unknown key; known keys: cmdline, when-all-ended"
        self.assertEqual(self.errors("[host]\na.b = 1\n" + DEMO), [error])

    def test_missing_keys(self):
        self.assertEqual(
            self.errors("# x\n[[vm]]\n"),
            [
                'm.toml:2: vm.name: is missing; add a line such as name = "demo"',
                "m.toml:2: vm.vcpus: is missing; add a line such as vcpus = 1",
                'm.toml:2: vm.memory: is missing; add a line such as memory = "256M"',
                'm.toml:2: vm.kernel: is missing; add a line such as kernel = "vmlinuz"',
            ],
        )

    def test_no_vm(self):
        remedy = "add a [[vm]] table, see docs/manifest.md"
        self.assertEqual(self.errors(""), [f"m.toml:1: vm: no VM is described; {remedy}"])
        self.assertEqual(self.errors("vm = []"), [f"m.toml:1: vm: no VM is described; {remedy}"])

    def test_wrong_tables(self):
        one = "m.toml:1: vm: is one table, not a list; write [[vm]], in two brackets"
        self.assertEqual(self.errors(DEMO.replace("[[vm]]", "[vm]")), [one])
        number = "m.toml:1: vm: is a whole number, not tables; write [[vm]] above keys"
        self.assertEqual(self.errors("vm = 1"), [number])
        host = "m.toml:1: host: is a string, not a table; write [host]"
        self.assertEqual(self.errors('host = "x"\n' + DEMO), [host])

    def test_wrong_types(self):
        for old, new, error in (
            ('"demo"', "1", '2: vm.name: is a whole number, not a string; write it such as name'),
            ("vcpus = 1", 'vcpus = "1"', "3: vm.vcpus: is a string, not a whole number; write a"),
            ("vcpus = 1", "vcpus = true", "3: vm.vcpus: is true or false, not a whole number; wr"),
            ("vcpus = 1", "vcpus = 1.5", "3: vm.vcpus: is a fraction, not a whole number; write"),
            ('"256M"', "256", '4: vm.memory: is a whole number, not a string; write it like "256'),
            ('"vmlinuz"', "[]", "5: vm.kernel: is a list, not a string; write the path of a file"),
            ("vcpus = 1", "vcpus = 1\ninitrd = 2026-01-01", "4: vm.initrd: is a date or time, not"),
            ("vcpus = 1", "vcpus = 1\nautostart = 1", "4: vm.autostart: is a whole number, not t"),
            ("vcpus = 1", "vcpus = 1\ncmdline = {}", "4: vm.cmdline: is a table, not a string; w"),
        ):
            with self.subTest(new=new):
                (found,) = self.errors(DEMO.replace(old, new))
                self.assertTrue(found.startswith("m.toml:" + error), found)

    def test_syntax(self):
        error = "m.toml:2: syntax: invalid value; correct the TOML, see docs/manifest.md"
        self.assertEqual(self.errors("[[vm]]\nname =\n"), [error])
        error = "syntax: illegal character '\\n'; correct the TOML, see docs/manifest.md"
        self.assertEqual(self.errors('[[vm]]\nname = "x\n'), ["m.toml:2: " + error])

    def test_byte_order_mark(self):
        self.file("m.toml", b"\xef\xbb\xbf" + DEMO.encode())
        self.assertEqual(load(self.work / "m.toml").vms[0].name, "demo")

    def test_deep_nesting(self):
        remedy = "no key needs more than two levels, see docs/manifest.md"
        error = f"m.toml:1: syntax: lists or tables are nested too deeply; {remedy}"
        for deep in ("[" * 3000 + "]" * 3000, "{a=" * 3000 + "1" + "}" * 3000, "[" * 1200 + "]" * 1200):
            self.assertEqual(self.errors(DEMO + f"x = {deep}\n"), [error])

    def test_endless_numbers(self):
        digits = "9" * 5000
        error = "syntax: a number has too many digits; write a smaller one"
        for text, line in (
            (DEMO.replace("vcpus = 1", f"vcpus = {digits}"), 3),
            (DEMO + f'x = "{digits}" # {digits}\ny = [\n1,\n-{digits},\n2]\n', 9),
            (DEMO + f"x = {{y = {digits}}}", 6),
        ):
            self.assertEqual(self.errors(text), [f"m.toml:{line}: {error}"])
        error = "m.toml:3: vm.vcpus: the number is out of range; write a number from 1 to 64"
        self.assertEqual(self.errors(DEMO.replace("vcpus = 1", f"vcpus = 0x{digits}")), [error])

    def test_what_a_terminal_would_obey_is_shown(self):
        text = DEMO + '"\\u001b[2Jx\\n[bulkhead] y" = 1\n'
        (error,) = self.errors(text)
        begin = "m.toml:6: vm.\\x1b[2Jx\\n[bulkhead] y: unknown key; "
        self.assertTrue(error.startswith(begin), error)

    def test_unreadable_manifest(self):
        remedy = "name a TOML file, see docs/manifest.md"
        with self.assertRaises(Refused) as caught:
            load(self.work / "none.toml")
        error = f"none.toml:1: manifest: can not be read (No such file or directory); {remedy}"
        self.assertEqual(str(caught.exception), f"{self.work}/{error}")
        self.file("bad.toml", b"\xff")
        with self.assertRaises(Refused) as caught:
            load(self.work / "bad.toml")
        error = f"{self.work}/bad.toml:1: manifest: is no UTF-8 text; {remedy}"
        self.assertEqual(str(caught.exception), error)

    def test_every_error_in_the_order_of_lines(self):
        text = DEMO.replace('"demo"', '"Demo"').replace("= 1", "= 65").replace("vmlinuz", "none")
        lines = [int(error.split(":")[1]) for error in self.errors("[host]\nx=1\n" + text)]
        self.assertEqual(lines, [2, 4, 5, 7])


class Values(Case):
    def test_names(self):
        remedy = "use 1 to 31 of a-z, 0-9 and -, not starting with -"
        for name in ("", "Demo", "a b", "-a", "a_b", "ä", "x" * 32):
            error = f'm.toml:2: vm.name: "{name}" is no name for a VM; {remedy}'
            self.assert_error('"demo"', f'"{name}"', error)
        error = 'm.toml:2: vm.name: "bulkhead" is the hypervisor\'s own name; choose another'
        self.assert_error('"demo"', '"bulkhead"', error)
        for name in ("0", "a-b-", "x" * 31):
            self.assertEqual(self.load(DEMO.replace("demo", name)).vms[0].name, name)

    def test_names_twice(self):
        error = 'vm.name: "demo" is already the name of the VM at line 2; give each VM its own name'
        self.assertEqual(self.errors(DEMO + DEMO), ["m.toml:7: " + error])

    def test_names_unchecked(self):
        text = DEMO + DEMO + DEMO.replace("demo", "bulkhead")
        names = [vm.name for vm in self.load(text, names=False).vms]
        self.assertEqual(names, ["demo", "demo", "bulkhead"])

    def test_vcpus(self):
        for vcpus in (0, 65, -1):
            error = f"m.toml:3: vm.vcpus: {vcpus} is out of range; write a number from 1 to 64"
            self.assert_error("vcpus = 1", f"vcpus = {vcpus}", error)
        self.assertEqual(self.load(DEMO.replace("= 1", "= 64")).vms[0].vcpus, 64)

    def test_memory(self):
        for text, words in (
            ("256", '"256" is no size; write it like "256M" or "1G"'),
            ("256MB", '"256MB" is no size; write it like "256M" or "1G"'),
            ("-1G", '"-1G" is no size; write it like "256M" or "1G"'),
            ("1.5G", '"1.5G" is no size; write it like "256M" or "1G"'),
            ("0M", 'is zero; give it at least "2M"'),
            ("3M", '"3M" is not a multiple of 2M; write "2M" or "4M"'),
            ("1K", '"1K" is not a multiple of 2M; write "2M"'),
            ("17T", '"17T" is more than any machine has; the most is "16T"'),
        ):
            self.assert_error('"256M"', f'"{text}"', f"m.toml:4: vm.memory: {words}")
        for text, size in (("2M", 2 << 20), ("2048K", 2 << 20), ("16T", 16 << 40)):
            self.assertEqual(self.load(DEMO.replace("256M", text)).vms[0].memory, size)

    def test_files(self):
        self.file("empty", b"")
        self.file("folder/x")
        for name, words in (
            ("none", '"none" does not exist; looked for none; correct the path'),
            ("folder", '"folder" is no regular file; looked for folder; correct the path'),
            ("empty", '"empty" is empty; make or copy empty again'),
        ):
            self.assert_error('"vmlinuz"', f'"{name}"', f"m.toml:5: vm.kernel: {words}")
        error = 'm.toml:6: vm.initrd: "none" does not exist; looked for none; correct the path'
        self.assertEqual(self.errors(DEMO + 'initrd = "none"\n'), [error])

    def test_cmdlines(self):
        error = "m.toml:6: vm.cmdline: has 2048 characters, the most is 2047; shorten it"
        self.assertEqual(self.errors(DEMO + f'cmdline = "{"x" * 2048}"\n'), [error])
        self.load(DEMO + f'cmdline = "{"x" * 2047}"\n')
        error = "vm.cmdline: holds characters other than printable ASCII; remove them"
        self.assertEqual(self.errors(DEMO + r'cmdline = "a\nb"'), ["m.toml:6: " + error])
        error = "m.toml:2: host.cmdline: has 512 characters, the most is 511; shorten it"
        self.assertEqual(self.errors(f'[host]\ncmdline = "{"x" * 512}"\n' + DEMO), [error])

    def test_when_all_ended(self):
        error = 'm.toml:2: host.when-all-ended: "off" is not known; write "power-off" or "stay"'
        self.assertEqual(self.errors('[host]\nwhen-all-ended = "off"\n' + DEMO), [error])

    def test_a_program_in_the_vmms_place_is_for_tests(self):
        text = DEMO + 'vmm = "initrd.img"\n'
        what = "m.toml:6: vm.vmm: is for tests of the hypervisor: such an image is not for use"
        self.assertEqual(self.errors(text), [what + "; remove the line, or give --test-keys"])
        self.assertTrue(self.load(text, test_keys=True).is_test)
        self.assertFalse(self.load(DEMO, test_keys=True).is_test)

    def test_compressed_kernel(self):
        packed = {
            b"\x1f\x8b\x08": "gzip: unpack it first, such as with gunzip",
            b"\xfd7zXZ\0": "xz: unpack it first, such as with unxz",
            b"\x28\xb5\x2f\xfd": "zstd: unpack it first, such as with unzstd",
        }
        for head, what in packed.items():
            self.file("vmlinuz", head + b"rest")
            error = f"m.toml:5: vm.kernel: the file is compressed by {what.replace(':', ';')}"
            self.assertEqual(self.errors(DEMO), [error])
            self.load(DEMO, sizes=False)

    def test_initrd_larger_than_the_memory(self):
        self.sparse("big", 3 << 20)
        text = DEMO.replace("256M", "2M") + 'initrd = "big"\n'
        what = "the file's 3.0M are more than the VM's memory of 2M"
        remedy = "give the VM more memory, or a smaller file"
        self.assertEqual(self.errors(text), [f"m.toml:6: vm.initrd: {what}; {remedy}"])
        self.load(text, sizes=False)

    def test_files_larger_than_the_memory_together(self):
        self.sparse("big", (2 << 20) - 1)
        text = DEMO.replace("256M", "2M") + 'initrd = "big"\n'
        error = "vm.memory: kernel and initrd have 2.0M together; give the VM more memory than 2M"
        self.assertEqual(self.errors(text), ["m.toml:4: " + error])

    def test_vms_larger_than_the_machine(self):
        text = DEMO + DEMO.replace("demo", "two").replace("256M", "1G")
        what = "the VMs up to this one need 1280M"
        remedy = "the machine has 1G: give less, or run it with more"
        error = f"m.toml:9: vm.memory: {what}; {remedy}"
        self.assertEqual(self.errors(text, machine_memory=GIB), [error])
        self.load(text, machine_memory=GIB, sizes=False)
        self.load(text, machine_memory=2 * GIB)

    def test_too_many_vms(self):
        text = "".join(DEMO.replace("demo", f"vm{number}") for number in range(257))
        error = "m.toml:1281: vm: 257 VMs are described, the most is 256; remove some"
        self.assertEqual(self.errors(text), [error])


class Scheduling(Case):
    def scheduling(self, lines, vcpus=1):
        return self.load(DEMO.replace("vcpus = 1", f"vcpus = {vcpus}") + lines).vms[0]

    def assert_refused(self, lines, error, vcpus=1):
        """DEMO with these lines below gives just this error."""
        text = DEMO.replace("vcpus = 1", f"vcpus = {vcpus}") + lines
        self.assertEqual(self.errors(text), ["m.toml:" + error])

    def test_defaults(self):
        found = self.scheduling("")
        self.assertEqual((found.schedule, found.weight, found.cap), ("shared", 100, None))
        self.assertEqual((found.cpus, found.trust, found.cache), (None, None, None))
        self.assertEqual((found.budget, found.period), (None, None))

    def test_all_keys(self):
        found = self.scheduling('weight = 1\ncap = 150\ncpus = "0-3, 6"\ntrust = "us"\ncache = 4\n')
        self.assertEqual((found.weight, found.cap, found.trust, found.cache), (1, 150, "us", 4))
        self.assertEqual(found.cpus, {0, 1, 2, 3, 6})
        found = self.scheduling('schedule = "realtime"\nbudget = "500us"\nperiod = "1s"\n')
        self.assertEqual((found.budget, found.period), (500_000, 10**9))
        found = self.scheduling('schedule = "dedicated"\ncpus = "1022-1023"\n', vcpus=2)
        self.assertEqual(found.cpus, {1022, 1023})

    def test_ranges(self):
        for key, low, high in (("weight", 1, 10000), ("cap", 1, 102400), ("cache", 1, 32), ("node", 0, 63)):
            for value in (low - 1, high + 1):
                words = f"{value} is out of range; write a number from {low} to {high}"
                self.assert_refused(f"{key} = {value}\n", f"6: vm.{key}: {words}")
            for value in (low, high):
                self.assertEqual(getattr(self.scheduling(f"{key} = {value}\n"), key), value)

    def test_cpus(self):
        remedy = 'write numbers from 0 to 1023, such as "0-3,6"'
        for text in ("", "a", "3-1", "0-1024", "1024", "1,", "-1", "1-2-3", "0x1", "1 2"):
            self.assert_refused(f'cpus = "{text}"\n', f'6: vm.cpus: "{text}" is no list of CPUs; {remedy}')
        self.assert_refused("cpus = 1\n", f"6: vm.cpus: is a whole number, not a string; {remedy}")

    def test_trust(self):
        remedy = "use 1 to 31 of a-z, 0-9 and -, not starting with -"
        for text in ("", "US", "a b"):
            self.assert_refused(f'trust = "{text}"\n', f'6: vm.trust: "{text}" is no word; {remedy}')

    def test_schedule(self):
        remedy = 'write "shared" or "dedicated" or "realtime"'
        error = f'6: vm.schedule: "real" is not known; {remedy}'
        self.assert_refused('schedule = "real"\nbudget = "1ms"\n', error)

    def test_times(self):
        text = 'schedule = "realtime"\nperiod = "10ms"\n'
        remedy = 'write a time from "10us" to "1s"'
        for budget in ("", "2", "2 ms", "1.5ms", "2m", "-1ms"):
            error = f'8: vm.budget: "{budget}" is no time; {remedy}, in us, ms or s'
            self.assert_refused(f'{text}budget = "{budget}"\n', error)
        for budget in ("9us", "2s"):
            error = f'8: vm.budget: "{budget}" is out of range; {remedy}'
            self.assert_refused(f'{text}budget = "{budget}"\n', error)

    def test_realtime_wants_both_times(self):
        remedy = 'with schedule = "realtime" add a line such as budget = "2ms"'
        self.assert_refused(
            'schedule = "realtime"\nperiod = "10ms"\n', f"1: vm.budget: is missing; {remedy}"
        )

    def test_contradictions(self):
        both = 'schedule = "realtime"\nbudget = "{}"\nperiod = "10ms"\n'
        remedy = "shorten it, or lengthen the period"
        for budget, words in (
            ("11ms", "is longer than the period"),
            ("9001us", "is more than 90 % of the period, which no CPU can promise"),
        ):
            self.assert_refused(both.format(budget), f"7: vm.budget: {words}; {remedy}")
        self.assertEqual(self.scheduling(both.format("9ms")).budget, 9_000_000)
        meanings = {
            "shared": "its vCPUs share CPUs with others",
            "dedicated": "each vCPU has a core for itself",
            "realtime": "each vCPU runs for its budget in each period",
        }
        for schedule in ("shared", "dedicated"):
            words = f'means nothing with schedule = "{schedule}" ({meanings[schedule]})'
            words += '; write schedule = "realtime" as well, or remove it'
            lines = f'schedule = "{schedule}"\nperiod = "10ms"\n'
            self.assert_refused(lines, f"7: vm.period: {words}")
        for schedule, lines in (("dedicated", ""), ("realtime", 'budget = "1ms"\nperiod = "10ms"\n')):
            words = f'means nothing with schedule = "{schedule}" ({meanings[schedule]})'
            words += '; write schedule = "shared" as well, or remove it'
            lines = f'schedule = "{schedule}"\n{lines}'
            line = 6 + lines.count("\n")
            self.assert_refused(lines + "cap = 50\n", f"{line}: vm.cap: {words}")
        words = "3 CPUs for 4 vCPUs that want one each; name more CPUs, or lower vcpus"
        lines = 'schedule = "dedicated"\ncpus = "1-3"\n'
        self.assert_refused(lines, f"7: vm.cpus: {words}", vcpus=4)
        self.assertEqual(len(self.scheduling('cpus = "1-3"\n', vcpus=4).cpus), 3)


class Restarting(Case):
    def restart(self, lines):
        found = self.load(DEMO + lines).vms[0]
        return found.restart, found.restart_delay, found.restart_limit

    def test_values(self):
        self.assertEqual(self.restart(""), ("never", None, None))
        self.assertEqual(self.restart('restart = "always"\n'), ("always", 10**9, 0))
        lines = 'restart = "on-failure"\nrestart-delay = "5ms"\nrestart-limit = 3\n'
        self.assertEqual(self.restart(lines), ("on-failure", 5_000_000, 3))

    def test_errors(self):
        words = 'means nothing with restart = "never" (it is not started again)'
        words += '; write restart = "on-failure" or "always" as well, or remove it'
        remedy = 'write a time from "1ms" to "60s"'
        for lines, error in (
            ('restart = "no"\n', '6: vm.restart: "no" is not known; '
             'write "never" or "on-failure" or "always"'),
            ("restart-limit = 1\n", f"6: vm.restart-limit: {words}"),
            ('restart-delay = "1s"\n', f"6: vm.restart-delay: {words}"),
            ('restart = "always"\nrestart-delay = "2m"\n',
             f'7: vm.restart-delay: "2m" is no time; {remedy}, in us, ms or s'),
            ('restart = "always"\nrestart-delay = "61s"\n',
             f'7: vm.restart-delay: "61s" is out of range; {remedy}'),
            ('restart = "always"\nrestart-limit = -1\n',
             "7: vm.restart-limit: -1 is out of range; write a number from 0 to 1000000"),
        ):
            self.assertEqual(self.errors(DEMO + lines), ["m.toml:" + error])


class Compiling(Case):
    def compile(self, text, append=""):
        return compile_manifest(self.load(text), self.parts(), append)

    def source(self, dtb):
        argv = ["dtc", "-q", "-I", "dtb", "-O", "dts"]
        return subprocess.run(argv, input=dtb, capture_output=True, check=True).stdout.decode()

    def test_device_tree(self):
        text = '[host]\ncmdline = "loglevel=2"\n' + DEMO
        text += 'initrd = "initrd.img"\ncmdline = "a=\\"b\\\\c\\""\n'
        text += DEMO.replace("demo", "two") + "autostart = false\n"
        compiled = self.compile(text, "console=batch")
        source = self.source(compiled.dtb)
        for line in (
            'compatible = "bulkhead,manifest";',
            "version = <0x01>;",
            'cmdline = "loglevel=2 console=batch";',
            'when-all-ended = "power-off";',
            'path = "\\\\bulkhead\\\\supervisor.elf";',
            f"crc32 = <{zlib.crc32(b'kernel'):#04x}>;",
            "size = <0x00 0x06>;",
            "memory = <0x00 0x10000000>;",
            'kernel = "vmlinuz-0";',
            'kernel-file = "vmlinuz";',
            'initrd = "initrd.img-1";',
            'initrd-file = "initrd.img";',
            'cmdline = "a=\\"b\\\\c\\"";',
        ):
            self.assertIn(line, source)
        self.assertEqual(source.count("autostart;"), 1)

    def test_test_image(self):
        self.assertNotIn("test-image", self.source(self.compile(DEMO).dtb))
        manifest = self.load(DEMO + 'vmm = "initrd.img"\n', test_keys=True)
        source = self.source(compile_manifest(manifest, self.parts(), "").dtb)
        self.assertIn("test-image;", source)
        self.assertIn('vmm = "initrd.img-1";', source)

    def test_files_keep_the_users_names(self):
        self.file("k\u00e9rnel-" + "x" * 80, b"kernel")
        source = self.source(self.compile(DEMO.replace("vmlinuz", "k\u00e9rnel-" + "x" * 80)).dtb)
        self.assertIn('kernel-file = "k?rnel-' + "x" * 56 + '";', source)
        self.assertNotIn("initrd-file", source)

    def test_tsc_frequency(self):
        for text, cells in (("2.4GHz", "0x00 0x8f0d1800"), ("8GHz", "0x01 0xdcd65000"),
                            ("49996.5kHz", "0x00 0x2fae2d4"), ("2.893202114GHz", "0x00 0xac72c2c2"), ("8000000000Hz", "0x01 0xdcd65000"), ("1MHz", "0x00 0xf4240")):
            source = self.source(self.compile(DEMO + f'tsc-frequency = "{text}"\n').dtb)
            self.assertIn(f"tsc-frequency = <{cells}>;", source)
        words = 'write a rate from "1MHz" to "8GHz"'
        for text, error in (
            ('"2.4"', f'"2.4" is no rate in whole Hz; {words}, in Hz, kHz, MHz or GHz'),
            ('"1.2345kHz"', f'"1.2345kHz" is no rate in whole Hz; {words}, in Hz, kHz, MHz or GHz'),
            ('"999kHz"', f'"999kHz" is out of range; {words}'),
            ('"8.1GHz"', f'"8.1GHz" is out of range; {words}'),
            ("2400", f"is a whole number, not a string; {words}"),
        ):
            errors = self.errors(DEMO + f"tsc-frequency = {text}\n")
            self.assertEqual(errors, [f"m.toml:6: vm.tsc-frequency: {error}"])

    def test_scheduling_and_restart(self):
        text = DEMO + 'weight = 7\ncap = 150\ncpus = "0,65-66,1023"\ntrust = "us"\ncache = 3\n'
        text += DEMO.replace("demo", "two") + 'restart = "always"\nrestart-limit = 5\n'
        text += 'schedule = "realtime"\nbudget = "2ms"\nperiod = "10s"\n'
        source = self.source(self.compile(text).dtb)
        mask = " ".join(["0x00 0x01 0x00 0x06", *["0x00"] * 26, "0x80000000 0x00"])
        for line in (
            "weight = <0x07>;", "cap = <0x96>;", f"cpus = <{mask}>;", 'trust = "us";',
            "cache = <0x03>;", 'schedule = "realtime";', "budget = <0x00 0x1e8480>;",
            "period = <0x02 0x540be400>;", 'restart = "always";', "restart-limit = <0x05>;",
            "restart-delay = <0x00 0x3b9aca00>;",
        ):
            self.assertEqual(source.count(line), 1, line)
        self.assertEqual(source.count('schedule = "shared";'), 1)

    def test_modules(self):
        self.file("folder/initrd.img", b"other")
        text = DEMO + 'initrd = "initrd.img"\n'
        text += DEMO.replace("demo", "two") + 'initrd = "folder/../initrd.img"\n'
        text += DEMO.replace("demo", "three") + 'initrd = "folder/initrd.img"\n'
        names = [module.name for module in self.compile(text).modules]
        parts = ["kernel.elf", "supervisor.elf", "vmm.elf", "console.elf"]
        self.assertEqual(names, parts + ["vmlinuz-0", "initrd.img-1", "initrd.img-2"])

    def test_odd_file_names(self):
        self.file('we"ird näme' + "x" * 60)
        text = DEMO.replace('"vmlinuz"', "'" + 'we"ird näme' + "x" * 60 + "'")
        name = self.compile(text).modules[-1].name
        self.assertEqual(name, "we_ird_n_me" + "x" * 29 + "-0")

    def test_is_deterministic(self):
        self.assertEqual(self.compile(DEMO).dtb, self.compile(DEMO).dtb)

    def test_too_many_modules(self):
        text = ""
        for number in range(125):
            self.file(f"k{number}")
            text += DEMO.replace("demo", f"vm{number}").replace("vmlinuz", f"k{number}")
        with self.assertRaises(Refused) as caught:
            self.compile(text)
        what = "125 different kernels and initrds are named, the most is 123; share some"
        self.assertEqual(str(caught.exception), f"{self.work}/m.toml:1: vm: {what}")

    def test_command_line_with_what_is_appended(self):
        text = f'[host]\ncmdline = "{"x" * 500}"\n' + DEMO
        with self.assertRaises(Refused) as caught:
            self.compile(text, "console=batch")
        what = "514 characters with what was appended, the most is 511; shorten it"
        self.assertEqual(str(caught.exception), f"{self.work}/m.toml:1: host.cmdline: {what}")


class Tool(Case):
    def run_tool(self, *arguments):
        argv = [str(ROOT / "tools" / "manifest"), *map(str, arguments)]
        done = subprocess.run(argv, cwd=self.work, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_compiles(self):
        self.file("m.toml", DEMO)
        arguments = ("m.toml", "-o", "out", "--build", self.parts())
        self.assertEqual(self.run_tool(*arguments), (0, ""))
        files = (self.work / "out/manifest.files").read_text(encoding="utf-8").splitlines()
        self.assertEqual(files[-1], "bulkhead/vmlinuz-0\tvmlinuz")
        self.assertTrue((self.work / "out/manifest.dtb").is_file())

    def test_checks_only(self):
        self.file("m.toml", DEMO)
        self.assertEqual(self.run_tool("m.toml"), (0, ""))

    def test_refuses(self):
        self.file("m.toml", (DEMO + DEMO).replace("vmlinuz", "none"))
        status, text = self.run_tool("m.toml")
        self.assertEqual(status, 2)
        places = [line.split(" ")[0] for line in text.splitlines()]
        self.assertEqual(places, ["m.toml:5:", "m.toml:7:", "m.toml:10:"])

    def test_missing_part(self):
        self.file("m.toml", DEMO)
        words = "manifest: none/kernel.elf is missing; build it first: make image-parts\n"
        self.assertEqual(self.run_tool("m.toml", "-o", "x", "--build", "none"), (69, words))

    def test_wrong_command_line(self):
        status, text = self.run_tool()
        words = "the following arguments are required: MANIFEST; see tools/manifest --help"
        self.assertEqual((status, text), (64, f"manifest: {words}\n"))
        status, text = self.run_tool("m.toml", "--machine-memory", "1Q")
        words = 'argument --machine-memory: "1Q" is no size; write it like 512M or 4G'
        self.assertEqual((status, text), (64, f"manifest: {words}; see tools/manifest --help\n"))


if __name__ == "__main__":
    unittest.main()
