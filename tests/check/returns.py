# SPDX-License-Identifier: Apache-2.0
"""Behind a VM exit no RET runs that no CALL of ours pairs, until the return stack is filled: the guest left what it is
predicted by (vmx/enter.S). Found in the built kernel, since it is the compiler that decides where a function returns."""

import re
import shutil
from dataclasses import dataclass

import tree
from tree import Problem, Skip

# One line a backend: the code that enters the guest and that an exit comes back to, where it goes
# on, and in which function that is, whose loop fills the return stack where it is left.
LOOPS = [
    ("vmx_switch", "vmx_switched", "vmx_enter"),
    ("svm_switch", "svm_switched", "svm_enter"),
]

FILL_CALLS = 32  # mitigation_stuff_rsb
# mitigation.stuffs_rsb: whether this CPU needs it, compared with 0 or with 1.
FLAG = re.compile(r"^\$(?:0x)?([01]), .*<mitigation\+0x7>$")

INSTRUCTION = re.compile(r"^([0-9a-f]+):\s+(.*)$")
TARGET = re.compile(r"^0x([0-9a-f]+)\b")
RETURNS = re.compile(r"(?:rep\w* )?l?ret[qlw]?|iret[qlw]?|sysret[ql]?|sysexit[ql]?")
ENDS = {"ud2", "hlt"}


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    operands: str

    @property
    def target(self):
        """Of a direct jump or call; else None."""
        match = TARGET.match(self.operands)
        return int(match.group(1), 16) if match else None

    @property
    def is_return(self):
        return RETURNS.fullmatch(self.name) is not None

    @property
    def is_jump(self):
        return self.name.startswith("j")

    def __str__(self):
        return f"{self.address:x}: {self.name} {self.operands}".rstrip()


def parse(text):
    """Of a disassembly, without what only stops speculation."""
    for line in text.splitlines():
        if match := INSTRUCTION.match(line.strip()):
            name, _, operands = match.group(2).partition("\t")
            if name.strip() != "int3":
                yield Instruction(int(match.group(1), 16), name.strip(), operands.strip())


def is_fill(code, at):
    calls = code[at : at + FILL_CALLS]
    return len(code) > at + FILL_CALLS and all(
        one.name.startswith("call") and one.target == code[at + i + 1].address for i, one in enumerate(calls))


def find_fill(code):
    """Where the fill begins; None: nowhere."""
    return next((at for at in range(len(code)) if is_fill(code, at)), None)


def next_ones(code, i, index):
    """Where it goes on behind `i`. Of a jump that asks whether this CPU needs the fill only the way of those that do."""
    one = code[i]
    before = code[i - 1] if i > 0 else None
    asks = one.name in ("je", "jne") and before and before.name == "cmpb" and FLAG.search(before.operands)
    needs_jump = asks and (one.name == "je") == (asks[1] == "1")
    if not one.name.startswith("jmp") and not needs_jump:
        yield i + 1
    if one.is_jump and (needs_jump or not asks) and one.target in index:
        yield index[one.target]


def follow(code, start, fill, ways_back):
    """What is wrong on all ways from the instruction `start` to the fill. Calls come back, by a return that they pair."""
    index = {one.address: i for i, one in enumerate(code)}
    left, seen = [start], set()
    while left:
        i = left.pop()
        if i in seen or i >= len(code):  # behind the last one: a call that does not come back
            continue
        seen.add(i)
        one = code[i]
        if i == fill or one.name in ENDS:
            continue
        if one.is_return:
            yield f"{one}: before the fill"
            continue
        if one.is_jump and one.target not in index and one.target not in ways_back:
            yield f"{one}: leaves the function before the fill"
        left += next_ones(code, i, index)
    if fill not in seen:
        yield "no way leads to a fill"


def findings(switch, enter, switched):
    """`switch`, `enter`: instructions; `switched`: the address at which `enter` goes on."""
    own = {one.address for one in switch}
    for one in switch:
        if one.is_return:
            yield f"{one}: behind an exit"
        elif one.is_jump and one.target not in own | {switched}:
            yield f"{one}: leads elsewhere"
    fill = find_fill(enter)
    start = next((i for i, one in enumerate(enter) if one.address == switched), None)
    if fill is None or start is None:
        yield "there is no fill" if fill is None else "it does not go on in this function"
    else:
        yield from follow(enter, start, fill, {switch[0].address})


def read_symbols(kernel):
    """{name: (address, size)}"""
    rows = (line.split() for line in tree.run(["llvm-nm", "-S", kernel]).stdout.splitlines())
    return {row[3]: (int(row[0], 16), int(row[1], 16)) for row in rows if len(row) == 4}


def disassemble(kernel, address, size):
    bounds = [f"--start-address={address:#x}", f"--stop-address={address + size:#x}"]
    return list(parse(tree.run(["llvm-objdump", "-d", "--no-show-raw-insn", *bounds, kernel]).stdout))


def check_returns():
    if not (shutil.which("llvm-objdump") and shutil.which("llvm-nm")):
        raise Skip("there is no llvm-objdump to read the kernel with: run scripts/setup")
    if tree.make("-s", f"{tree.BUILD}/kernel.elf").returncode != 0:
        raise Skip("the kernel does not build")
    kernel = f"{tree.BUILD}/kernel.elf"
    symbols = read_symbols(kernel)
    bad = []
    for names in LOOPS:
        if not set(names) <= symbols.keys():
            bad.append(f"{names[2]}: not all of {', '.join(names)} are in {kernel}")
            continue
        switch, switched, enter = (symbols[name] for name in names)
        found = findings(disassemble(kernel, *switch), disassemble(kernel, *enter), switched[0])
        bad += [f"{names[2]}: {finding}" for finding in found]
    if bad:
        raise Problem(bad, "a RET behind a VM exit is predicted by what the guest left: fill the return stack before it")
    return f"behind an exit no RET runs before the return stack is filled ({', '.join(row[2] for row in LOOPS)})"
