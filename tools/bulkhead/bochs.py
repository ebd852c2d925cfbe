# SPDX-License-Identifier: Apache-2.0
"""The machine that Bochs plays: UEFI, with VT-x on CPU models from Nehalem on, or AMD-V.

With the serial port in a file, two runs are equal to the tick: the clock starts at TIME0 and runs by
the instructions executed, as does the screen's timer (by default it follows the host's clock),
scripts/bochs/clock-fix.c keeps the host's clock away, and neither RDRAND nor RDSEED is there.
"""

import os
import re
import subprocess

from .command import GIB, MIB, ROOT, Failure, execute, program
from .machine import Machine, SerialFile, cache, firmware

TIME0 = 1700000000


class Bochs(Machine):
    name = "bochs"
    wrapper = ROOT / "scripts" / "bochs" / "bochs"
    default_cpu = "corei7_skylake_x"
    default_ips = 50_000_000

    # Without RDRAND and RDSEED runs repeat; with MWAIT, OVMF parks processors in a slow loop.
    without = ("rdrand", "rdseed", "mwait")
    # These read IA32_MISC_ENABLE as 0, so Linux would use fast string copies wrongly.
    newer_models = (
        "corei7_icelake_u",
        "tigerlake",
        "sapphire_rapids",
        "arrow_lake",
        "wildcat_lake",
    )
    host_memory_most = 4 * GIB  # the rest lies in a file of its own
    triple_fault = b"exception(): 3rd (13)"
    log_name = "bochs.log"

    def __init__(self, settings, work):
        super().__init__(settings, work)
        self._log_position = 0
        self._log_tail = b""

    def command(self, serial):
        self.check_installed()
        self.check_cpu()
        if self.settings.firmware_lock:
            self.environment["LD_PRELOAD"] = str(self._compile_lock())
        rc = self.work / "bochsrc"
        rc.write_text(self.configuration(serial), encoding="utf-8")
        return [str(self.wrapper), str(rc)]

    def check_installed(self):
        if not (cache() / "bochs").is_dir():
            raise Failure("the emulator Bochs is missing; run scripts/setup")
        firmware()
        return str(self.wrapper)

    def known_cpus(self):
        command = [str(self.wrapper), os.devnull, "--help", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return re.findall(r"^([a-z]\w+)$", done.stdout + done.stderr, re.MULTILINE)

    def _compile_lock(self):
        source = ROOT / "tests" / "tools" / "firmware-lock.c"
        library = self.work / "firmware-lock.so"
        options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(library)]
        execute([program("gcc", "gcc"), *options, str(source)])
        return library

    def configuration(self, serial):
        settings = self.settings
        if isinstance(serial, SerialFile):
            com1 = f"mode=file, dev={serial.path}"
        else:
            com1 = f"mode=socket-client, dev=127.0.0.1:{serial.listen_tcp()}"
        memory = settings.memory // MIB
        host = min(settings.memory, self.host_memory_most) // MIB
        plugins = "unmapped=1, biosdev=1, speaker=0, parallel=0, serial=1, iodebug=1, fw_cfg=1"
        return "\n".join(
            [
                "config_interface: textconfig",
                'display_library: rfb, options="timeout=0"',
                f"plugin_ctrl: {plugins}",
                f"cpu: {self._cpu()}",
                f"memory: guest={memory}, host={host}",
                f"romimage: file={firmware()}, address=0xffc00000",
                f"vgaromimage: file={cache() / 'bochs' / 'share' / 'vgabios.bin'}",
                "vga: extension=vbe, update_freq=5, realtime=0",
                "pci: enabled=1, chipset=i440fx",
                "fw_cfg: enabled=1",
                f"clock: sync=none, time0={TIME0}",
                "ata0: enabled=1",
                f"ata0-master: type=disk, path={settings.image}, mode=flat",
                "boot: disk",
                f"com1: enabled=1, {com1}",
                "port_e9_hack: enabled=1",
                f"log: {self.work / self.log_name}",
                "panic: action=fatal",
                "error: action=report",
                "info: action=report",
                "debug: action=ignore",
                *settings.bochs_options,
                "",
            ]
        )

    def _cpu(self):
        settings = self.settings
        model = settings.cpu or self.default_cpu
        without = [*self.without, *settings.without]
        without = [name for name in dict.fromkeys(without) if name not in settings.with_]
        parts = [f"model={model}", f"count={self._count()}", f"ips={settings.ips or self.default_ips}"]
        parts += ["reset_on_triple_fault=0", "cpuid_freq=ips"]
        if without:
            parts.append(f'exclude_features="{",".join(without)}"')
        extra = [name for name in settings.with_ if name not in self.without]
        if extra:
            parts.append(f'add_features="{",".join(extra)}"')
        if model in self.newer_models:
            parts.append(f'msrs="{ROOT / "scripts" / "bochs" / "newer-models.msrs"}"')
        return ", ".join(parts)

    def _count(self):
        """Packages, cores, threads: one package."""
        threads = self.settings.threads
        return f"1:{self.settings.cpus // threads}:{threads}" if threads > 1 else self.settings.cpus

    def fault(self):
        """Bochs spins after a triple fault; only its log tells."""
        try:
            with open(self.work / self.log_name, "rb") as log:
                log.seek(self._log_position)
                data = log.read()
        except OSError:
            return None
        self._log_position += len(data)
        data = self._log_tail + data
        self._log_tail = data[-len(self.triple_fault) :]
        return "a triple fault on a physical CPU" if self.triple_fault in data else None

    def last_words(self):
        try:
            log = (self.work / self.log_name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            log = ""
        panics = [line.strip() for line in log.splitlines() if ">>PANIC<<" in line]
        return panics[-1] if panics else super().last_words()
