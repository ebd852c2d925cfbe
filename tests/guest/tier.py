# SPDX-License-Identifier: Apache-2.0
"""The guest tier: all tiny guests in one boot, on several CPU models; bad images in another;
machines that must be refused."""

import re
from itertools import zip_longest

from runner.job import BUILD, LOGS, ROOT, Job, failed, verdict
from runner.machine import HAS_ALL_AMD, QEMU_MODELS, machine_options, run_machine, slots

from . import code, images
from .cases import CASES, INITRD_BYTES, many
from .forgery import FORGERS, forgery_problem
from .hostile import hostile_cases
from .nodes import run_nodes
from .policies import policies_job
from .rates import run_unscaled, scaled_cases
from .report import report_job, server_job

TIER = "guest"
TIMEOUT = 900

# Model: the name that its results have. The first has all that VT-x offers, the second least; each
# has the local APIC on another level: posted interrupts, TPR shadow alone, the same with real mode,
# virtual registers and interrupt delivery, again without those but newer in the rest, and the
# newest. The last two have AMD-V: with next-RIP and flush-by-ASID, without decode assists; and with
# none of these, on processors that run at the same time.
MODELS = {
    "corei7_skylake_x": "skylake-x",
    "corei5_lynnfield_750": "lynnfield",
    "corei7_sandy_bridge_2600k": "sandy-bridge",
    "corei7_haswell_4770": "haswell",
    "corei3_cnl": "cannon-lake",
    "sapphire_rapids": "sapphire-rapids",
    "ryzen": "ryzen",
    "EPYC": "epyc",
}
if HAS_ALL_AMD:
    MODELS["phenom_8650_toliman"] = "toliman"  # the least of AMD-V that Bochs has
RESTRICTED = {"corei5_lynnfield_750"}  # no unrestricted guest

# What QEMU 7.2 does otherwise than a processor, so that these guests say nothing of the hypervisor
# there; on ryzen they do.
QEMU_OTHERWISE = {
    "absent": "FXRSTOR and LDMXCSR take reserved bits",
    "cr": "MOV to CR0 drops the upper half",
    "debug": "no DR7.GD, no INT1",
    "exceptions": "#GP for #SS, error codes of the IDT, no #XM",
    "msr-known": "WRMSR takes addresses that are not canonical",
    "paging": "reserved bits are reported as not present",
    "refused-instructions": "UMWAIT and TPAUSE are there",
    "tasks": "no T bit, no accessed bits of descriptors",
    # Time goes on while others run, for seconds when the host is busy: patience is counted in it.
    **dict.fromkeys(("tsc-rate", "wake", "timer-pit", "timer-lapic", "timer-x2apic"), "others run meanwhile"),
    **{case.name: "others run meanwhile" for case in CASES if case.name.startswith(("rtc", "smp-ioapic", "smp-timer", "smp-tsc"))},
    **dict.fromkeys(("h-irqoff", "h-kernel", "h-smp-endless"), "ends where VMRUN changed DR7 and then the guest does"),
    "h-control": "MOV to CR3 takes reserved bits, and DR7 as there",
    "h-edge": "ends where RIP is -1",
    **dict.fromkeys(("pvclock", "steal-a", "steal-b", "steal-c", "steal-d"), "no invariant TSC"),
}


def otherwise_on(model):
    """The guests that say nothing of the hypervisor on this model, with the reasons."""
    return QEMU_OTHERWISE if model in QEMU_MODELS else {}


def model_jobs(prefix, all_cases, weight):
    for model, name in MODELS.items():
        cases = [case for case in all_cases if case.name not in otherwise_on(model)]
        run = tiny_job(model, cases, is_audited=bool(prefix))
        yield Job(TIER, prefix + name, run, slots(model), [case.name for case in cases], weight)


def jobs():
    yield from model_jobs("", CASES, weight=90)
    yield from model_jobs("hostile-", hostile_cases(), weight=55)
    bounded = hostile_cases(is_bounded=True)
    run = tiny_job("corei7_skylake_x", bounded, is_audited=False)
    yield Job(TIER, "hostile-latency", run, tests=[case.name for case in bounded], weight=50)
    for word in APIC_LEVELS:
        tests = [case.name for case in APIC_CASES]
        yield Job(TIER, f"apic-{word}", apic_job(word), tests=tests, weight=40)
    yield Job(TIER, "mwait", run_mwait, tests=[case.name for case in APIC_CASES], weight=40)
    scaled = list(scaled_cases())
    run = tiny_job("corei7_skylake_x", scaled, is_audited=True)
    yield Job(TIER, "tsc-scaled", run, tests=[case.name for case in scaled], weight=70)
    yield Job(TIER, "tsc-unscaled", run_unscaled, weight=20)
    yield Job(TIER, "repeats", run_repeats, weight=50)
    yield Job(TIER, "many", many_job("corei7_skylake_x"), weight=100)
    yield Job(TIER, "many-ryzen", many_job("ryzen"), weight=40)
    yield Job(TIER, "many-epyc", many_job("EPYC"), slots("EPYC"), weight=60)
    yield Job(TIER, "cases", check_cases)
    yield Job(TIER, "bad-images", run_bad_images, weight=20)
    yield Job(TIER, "bad-manifest", run_bad_manifest, weight=12)
    yield Job(TIER, "policies", policies_job("corei7_skylake_x"), weight=15)
    yield Job(TIER, "policies-ryzen", policies_job("ryzen"), weight=15)
    yield Job(TIER, "nodes", run_nodes, slots("EPYC"), weight=30)
    yield Job(TIER, "report", report_job(machine_options("corei7_skylake_x")), weight=12)
    yield Job(TIER, "report-epyc", server_job(machine_options("EPYC")), slots("EPYC"), weight=15)
    for name, run in code.JOBS.items():
        yield Job(TIER, name, run, weight=12)
    for name, options, prefix, expected in REFUSALS:
        yield Job(TIER, name, refusal_job(name, options, prefix, expected), weight=12)


# Tiny guests


def tiny_vm(case):
    kernel = BUILD / "guests" / "tiny" / f"{case.guest}.elf"
    if case.elf32:
        kernel = images.elf32_of(kernel, LOGS / TIER / f"{case.guest}-elf32.elf")
    vm = {"name": case.name, "vcpus": case.vcpus, "memory": case.memory, "kernel": str(kernel)}
    if case.words:
        vm["cmdline"] = case.words
    if case.tsc_frequency:
        vm["tsc-frequency"] = case.tsc_frequency
    if case.initrd:
        vm["initrd"] = str(images.sequence(LOGS / TIER / "sequence.initrd", INITRD_BYTES))
    return vm


def judge(case, boot):
    """What is wrong with how a tiny guest ended, or None."""
    lines = boot.lines.get(case.name, [])
    failures = [line for line in lines if line.startswith("FAIL")]
    end = boot.end(case.name)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return failures[0].removeprefix("FAIL ") + more
    if not re.fullmatch(case.end or "debug-exit 0", end):
        return f"ended as '{end}', not '{case.end or 'debug-exit 0'}'"
    if not case.end and not any(line.startswith("PASS: ") for line in lines):
        return "no line 'PASS: ...'"
    missing = [line for line in case.prints if line not in lines]
    return f"did not print '{missing[0]}'" if missing else None


def audit_problem(boot, count):
    """What the auditor found behind the end of each of `count` VMs, or None."""
    for line in boot.host:
        if line.startswith("audit: "):
            return line
    if boot.stat("audit_errors") != 0 or (boot.stat("audits") or 0) < count:
        return f"{boot.stat('audits')} audits for {count} VMs, {boot.stat('audit_errors')} errors"
    return None


def boot_cases(context, cases, options, is_audited=False):
    """The boot of the cases' VMs, and the results."""
    cases = [case for case in cases if not context.pattern or context.pattern in case.name]
    vms = [tiny_vm(case) for case in cases]
    options = ["--cpus", 2, "--memory", "1536M", *options]
    options += ["--append-cmdline", "audit=on"] if is_audited else []
    boot = run_machine(context, context.log.stem, vms, options, TIMEOUT)
    results = [verdict(case.name, judge(case, boot)) for case in cases]
    results += [
        verdict(f"{case.name} is not believed", forgery_problem(boot, case.name)) for case in cases if case.name in FORGERS
    ]
    all_end_well = all(case.end in ("", "debug-exit 0", "powered off") for case in cases)
    results.append(verdict("host", boot.host_problem([0] if all_end_well else [0, 1])))
    if is_audited:
        results.append(verdict("audit", audit_problem(boot, len(cases))))
    return boot, results


def tiny_job(model, all_cases, is_audited):
    def run(context):
        cases = all_cases
        if model in RESTRICTED:
            cases = [case.on_restricted() for case in all_cases]
        return boot_cases(context, cases, machine_options(model), is_audited)[1]

    return run


# Interrupts on a processor that does less of a local APIC's work: by word on the command line. The
# best level is that of the first model above, TPR alone that of the second.

APIC_LEVELS = {
    "software": "software alone",
    "registers": "TPR shadow, virtual registers, interrupt delivery",
}
APIC_GUESTS = ("ipi-self", "x2apic", "delivery", "timer-lapic", "halt", "smp-ipi", "smp-nmi", "smp-halt", "smp-ioapic", "smp-timer")
APIC_CASES = [case for case in CASES if case.guest in APIC_GUESTS and case.vcpus <= 4]


def apic_job(word):
    def run(context):
        options = ["--append-cmdline", f"apic={word}"]
        boot, results = boot_cases(context, APIC_CASES, options)
        says = f"APIC: {APIC_LEVELS[word]}" in boot.host
        results.append(verdict("level", None if says else "no line of the host names the level"))
        return results

    return run


# Idle CPUs that wait by MWAIT: no wake is lost, and they do


def run_mwait(context):
    options = ["--cpu-with", "mwait", "--append-cmdline", "idle=mwait"]
    boot, results = boot_cases(context, APIC_CASES, options)
    says = any(line.startswith("idle CPUs wait by MWAIT, hint 0x") for line in boot.host)
    problem = None if says else "no line of the host names the hint"
    if not boot.stat("mwaits"):
        problem = "no CPU waited by MWAIT"
    results.append(verdict("waits", problem))
    return results


# The same image gives the same log, to the tick: the clocks' rates, counts of exits and times are
# in it


def run_repeats(context):
    options = ["--cpu", "corei7_sandy_bridge_2600k"]
    first, results = boot_cases(context, APIC_CASES, options, is_audited=True)
    again, _results = boot_cases(context, APIC_CASES, options, is_audited=True)
    pairs = enumerate(zip_longest(first.text.splitlines(), again.text.splitlines()), 1)
    other = next(((number, pair) for number, pair in pairs if pair[0] != pair[1]), None)
    problem = f"line {other[0]} is '{other[1][0]}', then '{other[1][1]}'" if other else None
    return [*results, verdict("repeats", problem)]


# More VMs than processors, by far, on four of them


def many_job(model):
    def run(context):
        options = [*machine_options(model), "--cpus", 4]
        return boot_cases(context, list(many(64, otherwise_on(model))), options, is_audited=True)[1]

    return run


# Bad images: the VM is refused by name, the others run


def run_bad_images(context):
    folder = LOGS / TIER / "images"
    folder.mkdir(parents=True, exist_ok=True)
    bad = images.bad_images(folder)
    good = {"name": "good", "vcpus": 1, "memory": "8M", "cmdline": "from the command line"}
    good["kernel"] = str(BUILD / "guests" / "tiny" / "hello.elf")
    twin = {**good, "name": "twin"}  # runs; the one among the bad is the second of the name
    vms = [twin] + [vm for vm, _reason in bad] + [good]
    options = ["--cpus", 2, "--no-size-checks", "--no-name-checks"]
    boot = run_machine(context, context.log.stem, vms, options, 300)
    results = []
    for vm, reason in bad:
        ends = list(boot.ends.get(vm["name"], ["(no line about it)"]))
        end = next((end for end in ends if end.startswith("refused")), ends[0])
        problem = None if re.fullmatch(f"refused: {reason}", end) else f"ended as '{end}'"
        results.append(verdict(vm["name"], problem))
    for name in ("twin", "good"):
        end = boot.end(name)
        problem = None if end == "debug-exit 0" else f"ended as '{end}'"
        results.append(verdict(f"{name} runs", problem))
    results.append(verdict("host", boot.host_problem([1])))
    return results


def run_bad_manifest(context):
    """A name that no manifest can have: the supervisor says so and the machine powers off."""
    vms = [{"name": "UPPER", "vcpus": 1, "memory": "8M"}]
    vms[0]["kernel"] = str(BUILD / "guests" / "tiny" / "hello.elf")
    boot = run_machine(context, context.log.stem, vms, ["--no-name-checks"], 120)
    if boot.status != 3:
        return [failed("bad-manifest", f"exit status {boot.status}, not 3: {boot.complaint}")]
    named = any("manifest" in line for line in boot.host)
    return [verdict("bad-manifest", None if named else "no line of the host names the manifest")]


# Machines that cannot run guests

# The machine starts and refuses the VM, or does not start.
NO_VMS, HALTED = "no virtual machines: ", "halted: "

REFUSALS = [
    ("no-vtx", ["--cpu-without", "vmx"], NO_VMS, "VT-x"),
    ("no-ept", ["--cpu", "core2_penryn_t9600"], NO_VMS, "EPT"),
    ("firmware-lock", ["--firmware-lock"], NO_VMS, "firmware"),
    ("no-svm", ["--target", "qemu", "--cpu-without", "svm"], NO_VMS, "AMD-V"),
    ("no-npt", ["--target", "qemu", "--cpu-without", "npt"], NO_VMS, "nested paging"),
]


def judge_refusal(boot, prefix, expected):
    status = 3 if prefix == HALTED else 1
    why = [line for line in boot.host if line.startswith(prefix)]
    if boot.status != status or not why:
        return f"exit status {boot.status}, not {status} behind a line '{prefix}': {boot.complaint}"
    if expected not in why[0]:
        return f"'{why[0]}' does not name {expected}"
    if prefix == NO_VMS and not any(line.startswith("vm hello: refused: ") for line in boot.host):
        return "no line says that the VM is refused"
    return None


def refusal_job(name, options, prefix, expected):
    def run(context):
        vm = {"name": "hello", "vcpus": 1, "memory": "8M"}
        vm["kernel"] = str(BUILD / "guests" / "tiny" / "hello.elf")
        boot = run_machine(context, context.log.stem, [vm], options, 120)
        return [verdict(name, judge_refusal(boot, prefix, expected))]

    return run


def check_cases(_context):
    """A guest that nobody runs tests nothing."""
    guests = {path.stem for path in (ROOT / "guests" / "tiny").glob("*.c")}
    unused = sorted(guests - {case.guest for case in [*CASES, *hostile_cases()]} - set(code.JOBS))
    problem = f"tests/guest/cases.py has no case of {', '.join(unused)}" if unused else None
    return [verdict("every tiny guest runs", problem)]
