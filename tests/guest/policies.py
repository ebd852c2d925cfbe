# SPDX-License-Identifier: Apache-2.0
"""What the manifest says about CPUs and restarts, in one boot on two CPUs: who runs, who is refused in
which words, who starts again how often; and that the auditor has no complaint after any of them."""

from dataclasses import dataclass

from runner.job import BUILD, verdict
from runner.machine import machine_options, run_machine

TIMEOUT = 300
RUNS = "debug-exit 0"
CRASH = "crashed: triple fault"


@dataclass
class Policy:
    name: str
    keys: dict  # of [[vm]]
    says: list  # the hypervisor's lines about how it ended, in their order; of a refusal, its beginning
    guest: str = "hello"


POLICIES = [
    Policy("crash", {"restart": "on-failure", "restart-delay": "1ms", "restart-limit": 2},
           [f"{CRASH}; restart 1 in 1ms", f"{CRASH}; restart 2 in 2ms", CRASH,
            "no restart: the limit of 2 in a row is reached"], "triple-fault"),
    Policy("crash-once", {}, [CRASH], "triple-fault"),
    Policy("off", {"restart": "always", "restart-delay": "1ms", "restart-limit": 1},
           ["powered off; restart 1 in 1ms", "powered off",
            "no restart: the limit of 1 in a row is reached"], "power-off"),
    Policy("off-for-good", {"restart": "on-failure"}, ["powered off"], "power-off"),
    Policy("alone", {"schedule": "dedicated", "trust": "us"}, [RUNS]),
    Policy("alone-too", {"schedule": "dedicated"}, ["refused: its 1 vCPUs want whole cores"]),
    Policy("small", {"weight": 1, "cap": 50, "cpus": "0", "trust": "us"}, [RUNS]),
    Policy("often", {"schedule": "realtime", "budget": "8ms", "period": "10ms"}, [RUNS]),
    Policy("too-often", {"schedule": "realtime", "budget": "2ms", "period": "10ms"},
           ["refused: each of its 1 vCPUs wants 20 % of a CPU that is its own; free: CPU 0 10 %, "
            "CPU 1 0 %;"]),
    Policy("nowhere", {"cpus": "7"}, ["refused: \"cpus\" names none of this machine's 2;"]),
    Policy("ways", {"cache": 2}, ['this machine cannot partition its last-level cache: "cache" does nothing', RUNS]),
]


def policy_vm(policy):
    kernel = BUILD / "guests" / "tiny" / f"{policy.guest}.elf"
    vm = {"name": policy.name, "vcpus": 1, "memory": "8M", "kernel": str(kernel)}
    if policy.guest == "hello":
        vm["cmdline"] = "from the command line"
    return vm | policy.keys


def judge(policy, boot):
    """What is wrong, or None. Lines of a crash dump do not count."""
    head = f"vm {policy.name}: "
    said = [line.removeprefix(head) for line in boot.host if line.startswith(head)]
    words = ("crashed", "refused", "powered off", "debug-exit", "no restart", "this machine")
    said = [line for line in said if line.startswith(words)]
    is_right = len(said) == len(policy.says) and all(
        found.startswith(wanted) if wanted.startswith("refused") else found == wanted
        for found, wanted in zip(said, policy.says)
    )
    return None if is_right else f"said {said}, not {policy.says}"


def judge_usage(boot):
    """One line of usage for each life, and a dedicated VM ran."""
    lives = sum(line.startswith("usage ") for line in boot.host)
    wanted = sum(len([line for line in policy.says if line.startswith(("crashed", "powered", RUNS))])
                 for policy in POLICIES)
    if lives != wanted:
        return f"{lives} lines of usage, not {wanted}"
    usage = boot.usage("alone")
    return None if usage["run"] > 0 and usage["exits"] > 0 else f"usage of alone: {usage}"


def judge_audits(boot):
    audits, errors = boot.stat("audits"), boot.stat("audit_errors")
    lives = sum(line.startswith("usage ") for line in boot.host)
    return None if audits == lives and errors == 0 else f"{audits} audits with {errors} errors"


def policies_job(model):
    def run(context):
        vms = [policy_vm(policy) for policy in POLICIES]
        options = [*machine_options(model), "--cpus", 2, "--append-cmdline", "usage=on audit=on"]
        boot = run_machine(context, context.log.stem, vms, options, TIMEOUT)
        results = [verdict(policy.name, judge(policy, boot)) for policy in POLICIES]
        results.append(verdict("usage", judge_usage(boot)))
        results.append(verdict("audits", judge_audits(boot)))
        results.append(verdict("host", boot.host_problem([1])))
        return results

    return run
