# SPDX-License-Identifier: Apache-2.0
"""The machines: Bochs, QEMU emulating (TCG), QEMU on KVM.

    target = choose_target(name or None)
    machine = MACHINES[target](settings, work)
    machine.start(serial)       serial: SerialFile(path), or SerialSocket(work) to talk to
    machine.is_running(), machine.fault(), machine.stop(), machine.last_words()

Everything a machine writes lies in `work`, a fresh directory of the run, so several run at once.
With the serial port in a file, two runs on Bochs are equal to the tick: the clock starts at TIME0,
and neither RDRAND nor RDSEED is there. docs/run.md tells what each target lacks.
"""

import ctypes
import os
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .command import EXIT_USAGE, GIB, MIB, ROOT, Failure, execute, program

TIME0 = 1700000000
STOP_SECONDS = 3  # from the request to end to the kill


@dataclass
class Settings:
    image: Path
    cpu: str | None = None  # None: the target's default
    cpus: int = 2
    memory: int = GIB
    without: list[str] = field(default_factory=list)  # CPU features to leave out
    with_: list[str] = field(default_factory=list)  # CPU features to have, against the defaults
    ips: int = 50_000_000  # Bochs: instructions a second of emulated time
    firmware_lock: bool = False  # Bochs: the firmware has locked VT-x off
    bochs_options: list[str] = field(default_factory=list)  # further lines of its rc file
    qemu_options: list[str] = field(default_factory=list)  # further arguments


def choose_target(name):
    """The target by that name, or the best that works here; Failure when it can not work."""
    reason = kvm_obstacle() if name in (None, "kvm") else None
    if name == "kvm" and reason:
        raise Failure(f"target kvm can not work here: {reason}; use --target bochs")
    return name or ("bochs" if reason else "kvm")


def kvm_obstacle(root=Path("/")):
    """Why KVM can not run a hypervisor as its guest here, or None."""
    device = root / "dev/kvm"
    if not device.exists():
        return "there is no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by you (add yourself to the group kvm)"
    flags = set((root / "proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    for flag, module in (("vmx", "kvm_intel"), ("svm", "kvm_amd")):
        nested = root / "sys/module" / module / "parameters/nested"
        if flag in flags and nested.exists():
            if nested.read_text(encoding="ascii").strip() in ("Y", "1"):
                return None
            return f"nesting is off (load {module} with nested=1)"
    return "the processor offers neither VT-x nor AMD-V to KVM"


# The serial port COM1


class SerialFile:
    """COM1 goes to a file; nothing can be typed."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.touch()


class SerialSocket:
    """COM1 is a connection that the machine makes to us, so that no port has to be guessed."""

    def __init__(self, work):
        self.work = work
        self.listener = None

    def listen_tcp(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        return self.listener.getsockname()[1]

    def listen_local(self):
        path = self.work / "com1"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        return path

    def accept(self, machine):
        """The connection, as soon as the machine has made it."""
        self.listener.settimeout(0.2)
        while True:
            try:
                connection, _peer = self.listener.accept()
                self.listener.close()
                connection.settimeout(None)
                return connection
            except TimeoutError:
                if not machine.is_running():
                    words = machine.last_words()
                    raise Failure(f"the emulator ended at its start: {words}") from None


class Machine:
    """One emulator process."""

    name = "?"
    output_name = "emulator.out"

    def __init__(self, settings, work):
        self.settings = settings
        self.work = Path(work)
        self.environment = dict(os.environ)
        self.process = None

    def start(self, serial):
        argv = self.command(serial)
        with open(self.work / self.output_name, "wb") as output:
            self.process = subprocess.Popen(
                argv,
                cwd=self.work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the terminal's signals are not for it
                preexec_fn=_die_with_parent,
            )

    def command(self, serial):
        raise NotImplementedError

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def fault(self):
        """A fault that ends the machine though the emulator runs on, or None."""
        return None

    def stop(self):
        """Ends the emulator, if it still runs."""
        if not self.is_running():
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self):
        """The last lines of what the emulator itself printed."""
        try:
            text = (self.work / self.output_name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "(no output)"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " / ".join(lines[-3:]) or "(no output)"

    def describe(self):
        cpu = self.settings.cpu or self.default_cpu
        cpus = "1 CPU" if self.settings.cpus == 1 else f"{self.settings.cpus} CPUs"
        return f"{self.name}, {cpu}, {cpus}, {self.settings.memory // MIB}M"


def _die_with_parent():
    """In the child: when we are killed, so is the emulator."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def cache():
    """Where scripts/setup keeps what it brings."""
    if "BULKHEAD_CACHE" in os.environ:
        return Path(os.environ["BULKHEAD_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bulkhead"


def firmware():
    path = cache() / "ovmf" / "OVMF.fd"
    if not path.is_file():
        raise Failure("the firmware OVMF.fd is missing; run scripts/setup")
    return path


# Bochs


class Bochs(Machine):
    name = "bochs"
    default_cpu = "corei7_skylake_x"

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
        wrapper = ROOT / "scripts" / "bochs" / "bochs"
        if not (cache() / "bochs").is_dir():
            raise Failure("the emulator Bochs is missing; run scripts/setup")
        if self.settings.firmware_lock:
            self.environment["LD_PRELOAD"] = str(self._compile_lock())
        rc = self.work / "bochsrc"
        rc.write_text(self.configuration(serial), encoding="utf-8")
        return [str(wrapper), str(rc)]

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
            com1 = f"mode=socket-client, dev=localhost:{serial.listen_tcp()}"
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
        parts = [f"model={model}", f"count={settings.cpus}", f"ips={settings.ips}"]
        parts += ["reset_on_triple_fault=0", "cpuid_freq=ips"]
        if without:
            parts.append(f'exclude_features="{",".join(without)}"')
        extra = [name for name in settings.with_ if name not in self.without]
        if extra:
            parts.append(f'add_features="{",".join(extra)}"')
        if model in self.newer_models:
            parts.append(f'msrs="{ROOT / "scripts" / "bochs" / "newer-models.msrs"}"')
        return ", ".join(parts)

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


# QEMU


class Qemu(Machine):
    name = "qemu"
    default_cpu = "EPYC,+svm,+npt,-smap,-rdtscp,-monitor"
    accelerator = "tcg,thread=multi"

    def command(self, serial):
        settings = self.settings
        # Both halves of the firmware as one writable flash, in a copy of this run.
        flash = self.work / "OVMF.fd"
        flash.write_bytes(firmware().read_bytes())
        if isinstance(serial, SerialFile):
            chardev = f"file,id=com1,path={_comma(serial.path)}"
        else:
            chardev = f"socket,id=com1,path={_comma(serial.listen_local())}"
        features = [f"-{name}" for name in settings.without]
        features += [f"+{name}" for name in settings.with_]
        return [
            program("qemu-system-x86_64", "qemu-system-x86"),
            *("-machine", "q35", "-accel", self.accelerator),
            *("-cpu", ",".join([settings.cpu or self.default_cpu, *features])),
            *("-smp", str(settings.cpus), "-m", f"{settings.memory // MIB}M"),
            *("-drive", f"if=pflash,format=raw,file={_comma(flash)}"),
            *("-drive", f"if=ide,format=raw,snapshot=on,file={_comma(settings.image)}"),
            *("-chardev", chardev, "-serial", "chardev:com1"),
            *("-nodefaults", "-display", "none", "-vga", "std", "-monitor", "none"),
            *("-no-reboot", "-no-user-config", "-boot", "menu=off"),
            *settings.qemu_options,
        ]


class Kvm(Qemu):
    name = "kvm"
    default_cpu = "host"
    accelerator = "kvm"


def _comma(path):
    """A path within an option: QEMU wants its commas twice."""
    return str(path).replace(",", ",,")


MACHINES = {"bochs": Bochs, "qemu": Qemu, "kvm": Kvm}


def check_settings(target, settings):
    """Failure for what the emulator would only refuse in its own words."""
    if not 1 <= settings.cpus <= 255:
        raise Failure(f"--cpus {settings.cpus}: from 1 to 255 CPUs can be had", EXIT_USAGE)
    if settings.memory % MIB or settings.memory < 128 * MIB:
        raise Failure("--memory: give the machine at least 128M, in whole megabytes", EXIT_USAGE)
    if target != "bochs" and (settings.bochs_options or settings.firmware_lock):
        what = "--bochs-option and --firmware-lock go"
        raise Failure(f"{what} with --target bochs only", EXIT_USAGE)
    if target == "bochs" and settings.qemu_options:
        raise Failure("--qemu-option goes with --target qemu or kvm only", EXIT_USAGE)
    if target == "bochs" and " " in str(settings.image):
        raise Failure("Bochs takes no path with a space: use another directory", EXIT_USAGE)
