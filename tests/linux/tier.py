# SPDX-License-Identifier: Apache-2.0
"""The linux tier: the Debian guest checks itself on each CPU model, and somebody types at it.

A log line of one of the classes below fails, unless bare Bochs gives it as well
(guests/debian/bare-bochs-lines.txt). The self-check looks for them in the kernel's log; here they
are looked for on the console, which shows also what came before or after it.
"""

import re
import subprocess
import sys

from runner.job import BUILD, LOGS, ROOT, Job, failed, passed, verdict
from runner.machine import machine_options, run_command, run_machine, slots, write_manifest

TIER = "linux"
TIMEOUT = 900
DEBIAN = BUILD / "guests" / "debian"

# Model: name of its job, and how many vCPUs. The first is what Bochs plays unasked, the last what
# QEMU does.
MODELS = {
    "corei7_skylake_x": ("skylake-x", 4),
    "corei5_lynnfield_750": ("lynnfield", 1),
    "corei7_sandy_bridge_2600k": ("sandy-bridge", 1),
    "corei7_haswell_4770": ("haswell", 2),
    "broadwell_ult": ("broadwell", 1),
    "sapphire_rapids": ("sapphire-rapids", 1),
    "ryzen": ("ryzen", 2),
    "EPYC": ("epyc", 4),
}

# Where the processor can scale its TSC, one guest has such a TSC as a machine of today: it came
# from there, so to speak.
SCALED = {"sapphire_rapids": "2.4GHz"}

# What a stock kernel makes of the speculation controls that it finds: where the processor has them
# it uses them, and knows what the processor is free of; where it has none it helps itself.
VULNERABILITIES = {
    "sapphire_rapids": {
        "spectre_v2": "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional;",
        "meltdown": "Not affected",
        "l1tf": "Not affected",
        "spec_store_bypass": "Not affected",
        "mds": "Mitigation: Clear CPU buffers",
    },
    "corei7_skylake_x": {
        "spectre_v2": "Mitigation: Retpolines",
        "meltdown": "Mitigation: PTI",
        "spec_store_bypass": "Vulnerable",
    },
}

BAD_LINES = [
    "BUG:", "Oops", "WARNING", "Firmware Bug", "unchecked MSR", "Call Trace",
    "self-detected stall", "detected stalls", "kthread starved", "TSC unstable", "TSC warp",
    "timekeeping watchdog", "APIC error", "failed to become alive",
    "ACPI Error", "ACPI Warning", "Kernel panic",
]


def jobs():
    for model, (name, vcpus) in MODELS.items():
        yield Job(TIER, name, selfcheck_job(model, vcpus), slots(model), weight=90 + 30 * (vcpus - 1))
    yield Job(TIER, "unusual", unusual_job("corei7_skylake_x"), weight=130)
    yield Job(TIER, "unusual-epyc", unusual_job("EPYC"), slots("EPYC"), weight=60)
    yield Job(TIER, "typing", run_typing, weight=91)
    yield Job(TIER, "console", run_console, weight=60)


def load_jobs():
    yield Job("load", "eight", eight_job("corei7_skylake_x"), weight=500)
    yield Job("load", "eight-ryzen", eight_job("ryzen"), weight=500)
    yield Job("load", "eight-epyc", eight_job("EPYC"), slots("EPYC"), weight=300)
    yield Job("load", "stress", run_stress, weight=300)


def known_lines():
    text = (ROOT / "guests" / "debian" / "bare-bochs-lines.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def bad_line(lines):
    """The first line of a class that must not be there, or None."""
    known = known_lines()
    for line in lines:
        if any(bad in line for bad in BAD_LINES) and not any(good in line for good in known):
            return line
    return None


def judge_selfcheck(lines):
    said = [line for line in lines if line.startswith("selfcheck: ")]
    if not said:
        return "the self-check said nothing"
    return None if said[-1].startswith("selfcheck: PASS") else said[-1]


def judge_vulnerabilities(model, lines):
    found = dict(re.findall(r"^vulnerability (\S+): (.*)", "\n".join(lines), re.MULTILINE))
    for name, text in VULNERABILITIES[model].items():
        if not found.get(name, "").startswith(text):
            return f"{name}: '{found.get(name)}', not '{text}'"
    return None


def selfcheck_vm(vcpus, memory, words):
    words = f"console=ttyS0 panic=-1 {words} selfcheck.cpus={vcpus} selfcheck.mem={memory}"
    return {
        "name": "debian", "vcpus": vcpus, "memory": f"{memory}M", "kernel": str(DEBIAN / "vmlinuz"),
        "initrd": str(DEBIAN / "initrd.img"), "cmdline": words,
    }


def selfcheck_job(model, vcpus):
    def run(context):
        vm = selfcheck_vm(vcpus, 256, "selfcheck")
        if model in SCALED:
            vm["tsc-frequency"] = SCALED[model]
        options = [*machine_options(model), "--cpus", min(vcpus, 2)]
        boot = run_machine(context, context.log.stem, [vm], options, TIMEOUT)
        lines = boot.lines.get("debian", [])
        end = boot.end("debian")
        return [
            verdict("powers off", None if end == "powered off" else f"ended as '{end}'"),
            verdict("checks itself", judge_selfcheck(lines)),
            verdict("has a clean log", bad_line(lines) if lines else "it printed nothing"),
            *([verdict("protects itself", judge_vulnerabilities(model, lines))] if model in VULNERABILITIES else []),
            verdict("host", boot.host_problem([0])),
        ]

    return run


# What a PC's firmware left must do: no APIC, no ACPI, the resets of old, and what wakes from idle

UNUSUAL = {  # words of the command line, how it ends, and what it says
    "nolapic": ("nolapic reboot=b reset", "reset", r"reset: .* timer [1-9]\d*, DMI Virtual PC"),
    "acpi-off": ("acpi=off reboot=e reset", "reset", r"reset: .* timer [1-9]\d*, DMI Virtual PC"),
    "wake": ("wake=4", "powered off", r"wake: after ([3-9]|\d\d) s, 1 of 1, ACPI [1-9]"),
}


def unusual_job(model):
    def run(context):
        words = {name: f"console=ttyS0 panic=-1 quiet {words}" for name, (words, _end, _says) in UNUSUAL.items()}
        vms = [selfcheck_vm(1, 96, "") | {"name": name, "cmdline": words[name]} for name in UNUSUAL]
        next(vm for vm in vms if vm["name"] == "wake")["initrd"] = str(DEBIAN / "wake.img")  # with rtcwake
        boot = run_machine(context, context.log.stem, vms, [*machine_options(model), "--cpus", 2], TIMEOUT)
        results = []
        for name, (_words, expected, says) in UNUSUAL.items():
            lines, end = boot.lines.get(name, []), boot.end(name)
            problem = None if end == expected else f"ended as '{end}', not '{expected}'"
            if not problem and not any(re.fullmatch(says, line) for line in lines):
                problem = f"no line '{says}'"
            results.append(verdict(name, problem or bad_line(lines)))
        results.append(verdict("host", boot.host_problem([1])))
        return results

    return run


# Many at once: mixed numbers of vCPUs on two processors of the host, of which the first VM has one
# for itself

EIGHT = [1, 1, 1, 2, 2, 2, 4, 4]
EIGHT_MEMORY = 96  # MiB
STEAL_ALONE_MS = 100


def eight_vm(number, vcpus):
    schedule = "dedicated" if number == 1 else "shared"
    vm = selfcheck_vm(vcpus, EIGHT_MEMORY, "quiet selfcheck selfcheck.quick=1")
    return vm | {"name": f"debian-{number}", "schedule": schedule}


def steal_problem(schedule, lines):
    """Who shares processors has waited for them, and its own kernel says so; who has one for itself has not."""
    times = [int(ms) for line in lines for ms in re.findall(r"^selfcheck: PASS .* (\d+) ms stolen", line)]
    if not times:
        return "it did not say how much time was stolen"
    # On its own processor, too, a thread takes some microseconds from the wake-up until it runs.
    is_right = times[-1] < STEAL_ALONE_MS if schedule == "dedicated" else times[-1] > STEAL_ALONE_MS
    return None if is_right else f"{times[-1]} ms were stolen from a VM that is {schedule}"


def eight_job(model):
    def run(context):
        vms = [eight_vm(number, vcpus) for number, vcpus in enumerate(EIGHT, 1)]
        boot = run_machine(context, context.log.stem, vms, [*machine_options(model), "--cpus", 2], 2 * TIMEOUT)
        results = []
        for vm in vms:
            name = vm["name"]
            lines, end = boot.lines.get(name, []), boot.end(name)
            problem = None if end == "powered off" else f"ended as '{end}'"
            problem = judge_selfcheck(lines) or problem or bad_line(lines)
            results.append(verdict(name, problem or steal_problem(vm["schedule"], lines)))
        results.append(verdict("host", boot.host_problem([0])))
        return results

    return run


# A load of all kinds on four vCPUs


def run_stress(context):
    log = context.log.with_suffix(".log")
    command = ["scripts/run", "--batch", "--no-build", "--target", "bochs", "--cpus", 2]
    command += ["--manifest", DEBIAN / "stress.toml", "--log", log, "--timeout", TIMEOUT]
    boot = run_command(command, log, TIMEOUT + 60)
    lines, end = boot.lines.get("debian", []), boot.end("debian")
    said = [line for line in lines if line.startswith(("stress: FAIL", "hackbench: FAIL"))]
    if not said and "stress: PASS" not in lines:
        said = ["it did not say PASS"]
    return [
        verdict("powers off", None if end == "powered off" else f"ended as '{end}'"),
        verdict("does its work", said[0] if said else None),
        verdict("checks its log", judge_selfcheck(lines)),
        verdict("has a clean log", bad_line(lines) if lines else "it printed nothing"),
        verdict("host", boot.host_problem([0])),
    ]


# Somebody types, and reads the answers

SCRIPT = "uname -a\ncat /proc/cpuinfo\npoweroff\n"
ANSWERS = {
    "uname -a": r"Linux debian 6\.\S+ .*x86_64",
    "cat /proc/cpuinfo": r"(?s)model name\s*:.*flags\s*:.*\bhypervisor\b",
    "poweroff": r"vm debian: powered off|reboot: Power down",
}


def run_typing(context):
    log = context.log.with_suffix(".log")
    LOGS.mkdir(parents=True, exist_ok=True)
    command = ["scripts/run", "--no-build", "--target", "bochs", "--log", log]
    command += ["--manifest", DEBIAN / "manifest.toml", "--timeout", TIMEOUT]
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, input=SCRIPT.encode(), capture_output=True,
        timeout=TIMEOUT + 60, check=False,
    )
    text = done.stdout.decode(errors="replace").replace("\r", "")
    context.log.write_text(text, encoding="utf-8")
    results = []
    for typed, answer in ANSWERS.items():
        problem = None if re.search(answer, text) else f"no '{answer}' in what was printed"
        results.append(verdict(typed, problem))
    problem = f"exit status {done.returncode}: {done.stderr.decode()}" if done.returncode else None
    results.append(verdict("run ends well", problem))
    results.append(verdict("has a clean log", bad_line(text.splitlines())))
    return results


# The hypervisor's own console: keys and commands, typed by somebody who waits for each answer

CTRL_A = "\x01"
STEPS = [
    (r"debian:\S*# ", f"{CTRL_A}cvm"),  # leaves the VM for the console, and lists the VMs
    (r"debian[^\n]*running", "info"),
    (r"bulkhead> ", "vm top"),
    (r"(?s)debian +1 +\d+\.\d.*CPU +class.*\n +0 +shared +\d+\.\d", "vm exits debian"),
    (r"\d+/s +in all", "weight debian 300"),
    (r"bulkhead> ", "audit"),
    (r"audit: \d+ frames, \d+ mappings, \d+ tables: no error", "start hello"),
    (r"vm hello: debug-exit 0", "dump hello"),
    (r"debug-exit 0", "focus hello"),
    (r"PASS: \d+ checks", f"{CTRL_A}cstart sleeper"),  # what it printed was kept
    (r"bulkhead> ", "focus sleeper"),
    (r"waits for its power button", f"{CTRL_A}cpower-button sleeper"),
    (r"vm sleeper: debug-exit 0", f"{CTRL_A}1"),  # back to the first VM
    (r"", "echo still $((40 + 2)) here"),
    (r"still 42 here", "poweroff"),
    (r"vm debian: powered off", ""),
]


def run_console(context):
    debian = {"name": "debian", "vcpus": 1, "memory": "256M", "kernel": str(DEBIAN / "vmlinuz")}
    debian |= {"initrd": str(DEBIAN / "initrd.img"), "cmdline": "console=ttyS0 panic=-1"}
    hello = {"name": "hello", "vcpus": 1, "memory": "8M", "autostart": False}
    hello |= {"kernel": str(BUILD / "guests" / "tiny" / "hello.elf")}
    hello |= {"cmdline": "from the command line"}
    sleeper = hello | {"name": "sleeper", "cmdline": "button"}
    sleeper |= {"kernel": str(BUILD / "guests" / "tiny" / "wake.elf")}
    context.log.parent.mkdir(parents=True, exist_ok=True)
    manifest = context.log.with_suffix(".toml")
    write_manifest(manifest, [debian, hello, sleeper])
    typist = [sys.executable, "tests/setup/typist.py", context.log.with_suffix(".log"), TIMEOUT]
    command = ["scripts/run", "--no-build", "--target", "bochs", "--manifest", manifest]
    script = "".join(f"{pattern} -> {text}\n" for pattern, text in STEPS)
    done = subprocess.run(
        [str(word) for word in typist + command], cwd=ROOT, input=script, text=True,
        capture_output=True, timeout=TIMEOUT + 60, check=False,
    )
    context.log.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode != 0:
        return [failed("console", done.stdout.strip() or f"exit status {done.returncode}")]
    return [passed("console")]
