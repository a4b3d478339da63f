"""How often a warp executes each instruction of a kernel, followed through its machine code without a GPU.

Whole numbers that the code itself sets are known; what is loaded, shuffled or computed from that is not. A branch
whose condition is known is followed, so that loops with fixed trips run all of them. One that is not known is not
taken: what it would skip is counted, and a loop with an unknown end is gone through once. Counts are thus those of a
warp whose lanes all take part. A persistent kernel's loop over tiles has an unknown end, and should be the only one.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.static.machine_code import Code, Instruction, is_matrix

MASK = 0xFFFFFFFF
MOST_STEPS = 200_000
REGISTER = re.compile(r"[-~|]*(U?R\d+|U?RZ|SRZ)")
PREDICATE = re.compile(r"!?(U?P(?:\d+|T))")
LABEL = re.compile(r"`\((\.L\w+)\)")
WIDE = {".64": 2, ".128": 4, ".256": 8}
COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "EQ": lambda a, b: a == b, "NE": lambda a, b: a != b, "LT": lambda a, b: a < b,
    "LE": lambda a, b: a <= b, "GT": lambda a, b: a > b, "GE": lambda a, b: a >= b,
}  # fmt: skip


@dataclass(frozen=True)
class Trace:
    """counts: how often each instruction ran; loops: (first, last) instruction of loops whose end is not known."""

    code: Code
    counts: Mapping[int, int]
    loops: tuple[tuple[int, int], ...]

    def _outermost(self) -> tuple[int, int]:
        products = [i for i in self.counts if is_matrix(self.code.instructions[i].name)]
        around = [(a, b) for a, b in self.loops if products and a <= min(products) and max(products) <= b]
        return max(around, key=lambda loop: loop[1] - loop[0], default=(0, len(self.code.instructions)))

    def tile(self) -> Counter[str]:
        """Instructions by name that one turn of the outermost loop executes; of the whole code if there is none."""
        first, last = self._outermost()
        found: Counter[str] = Counter()
        for index, count in self.counts.items():
            if first <= index <= last:
                found[self.code.instructions[index].name] += count
        return found


def follow(code: Code) -> Trace:
    """Go through a kernel. Raises RuntimeError if it does not end within `MOST_STEPS`."""
    state = _State()
    counts: Counter[int] = Counter()
    loops: dict[tuple[int, int], None] = {}
    exits: dict[int, int] = {}  # branches of unknown condition that lead onwards -> where to
    at, end = 0, len(code.instructions)
    for _ in range(MOST_STEPS):
        if at >= end:
            break
        instruction = code.instructions[at]
        counts[at] += 1
        name = instruction.name.split(".")[0]
        if name == "EXIT":
            holds = state.holds(instruction.guard)
            if holds:
                break
            if holds is None:
                exits[at] = end
        if name in ("BRA", "UBRA") and ".DIV" not in instruction.name and (label := LABEL.search(instruction.operands)):
            target, taken = code.labels[label[1]], state.branches(instruction)
            if target == at:  # the trap behind the last instruction
                break
            out = [to for place, to in exits.items() if target <= place < at < to]
            if target > at and taken is None:
                exits[at] = target
            elif target < at and (taken is None or (taken and out)):  # a loop with an unknown end, below or inside
                loops[target, at] = None
                at = out[-1] if taken else at + 1
                continue
            at = target if taken else at + 1
            continue
        state.step(instruction)
        at += 1
    else:
        raise RuntimeError(f"the kernel does not end within {MOST_STEPS} instructions")
    return Trace(code, counts, tuple(loops))


class _State:
    """Registers and predicates; None, or none at all, for a value that is not known."""

    def __init__(self) -> None:
        self.registers: dict[str, int | None] = {}
        self.predicates: dict[str, bool | None] = {}

    def holds(self, predicate: str) -> bool | None:
        """A predicate such as "!P0"; an empty one holds."""
        name = predicate.lstrip("!")
        value = True if name in ("", "PT", "UPT") else self.predicates.get(name)
        return value if value is None or not predicate.startswith("!") else not value

    def branches(self, instruction: Instruction) -> bool | None:
        values = [self.holds(instruction.guard)]
        values += [self.holds(o) for o in _operands(instruction) if PREDICATE.fullmatch(o)]
        return False if False in values else None if None in values else True

    def value(self, operand: str) -> int | None:
        text = operand.replace(".reuse", "").strip()
        negative, inverted, text = text.startswith("-"), text.startswith("~"), text.lstrip("-~")
        if text in ("RZ", "URZ", "SRZ"):
            number: int | None = 0
        elif REGISTER.fullmatch(text):
            number = self.registers.get(text)
        elif re.fullmatch(r"0x[0-9a-f]+|\d+", text):
            number = int(text, 0)
        else:
            return None
        if number is None:
            return None
        return (-number if negative else ~number if inverted else number) & MASK

    def step(self, instruction: Instruction) -> None:
        """Set what an instruction writes."""
        guard = self.holds(instruction.guard)
        if guard is False:
            return
        operands = _operands(instruction)
        if "SETP" in instruction.name or "PLOP3" in instruction.name:
            self._compare(instruction.name, operands, guard)
            return
        while operands and PREDICATE.fullmatch(operands[0]):  # such as whether something was found
            self.predicates[operands.pop(0)] = None
        if not operands or not REGISTER.fullmatch(operands[0]):
            return
        name, to, sources = instruction.name, operands[0], operands[1:]
        carries = []
        while sources and PREDICATE.fullmatch(sources[0]) and not name.startswith("VOTE"):
            carries.append(sources.pop(0))
        result, carry = self._result(name, sources) if guard else (None, None)
        for out in carries:
            if out not in ("PT", "UPT"):
                self.predicates[out] = carry
        if not to.endswith("RZ"):  # "RZ", "URZ" or "-RZ" keep nothing
            self._clobber(name, to)
            self.registers[to] = result
            if name.startswith("CS2R") and ".32" not in name:
                self.registers[_next(to, 1)] = 0 if result == 0 else None

    def _clobber(self, name: str, to: str) -> None:
        first = name.split(".")[0]
        count = 4 if is_matrix(name) or first == "LDSM" else 2 if first == "CS2R" or ".WIDE" in name else 1
        count = max([count, *(n for suffix, n in WIDE.items() if suffix in name)])
        for i in range(count):
            self.registers[_next(to, i)] = None

    def _compare(self, name: str, operands: list[str], guard: bool | None) -> None:
        targets = [o for o in operands[:2] if PREDICATE.fullmatch(o)]
        values: list[bool | None] = [None, None]
        parts = name.split(".")
        if guard and "PLOP3" in name and len(operands) == 7:
            inputs = [self.holds(o) for o in operands[2:5]]
            values = [_lookup(inputs, int(table, 0)) for table in operands[5:]]
        if guard and parts[0] in ("ISETP", "UISETP") and parts[1] in COMPARE:
            a, b, third = self.value(operands[2]), self.value(operands[3]), self.holds(operands[4])
            if a is not None and b is not None:
                if "U32" not in parts:
                    a, b = _signed(a), _signed(b)
                true: bool | None = COMPARE[parts[1]](a, b)
                if "EX" in parts and a == b:  # the upper half of 64 bits: the lower half decided
                    true = self.holds(operands[5])
                if true is not None and "XOR" not in parts:
                    join = _either if "OR" in parts else _both
                    values = [join(true, third), join(not true, third)]
            elif "AND" in parts and third is False:
                values = [False, False]
        for target, value in zip(targets, values, strict=False):
            if target not in ("PT", "UPT"):
                self.predicates[target] = value

    def _result(self, name: str, sources: Sequence[str]) -> tuple[int | None, bool | None]:
        """What an instruction on 32-bit whole numbers gives, and its carry; None where it is not known."""
        first = name.split(".")[0].removeprefix("U")
        predicates = [self.holds(s) for s in sources if PREDICATE.fullmatch(s)]
        sources = [s for s in sources if not PREDICATE.fullmatch(s)]
        if name.startswith("HFMA2") and len(sources) == 4 and "RZ" in sources[0] and "RZ" in sources[1]:
            return _halves(sources[2], sources[3]), None
        numbers = [self.value(s) for s in sources]
        if first == "CS2R":
            return numbers[0], None
        if first == "SEL" and predicates and predicates[0] is not None:
            return numbers[0 if predicates[0] else 1], None
        if None in numbers or not numbers:
            return None, None
        known = [n for n in numbers if n is not None]
        if first in ("IADD3", "IADD", "VIADD"):
            if ".X" in name:
                if None in predicates:
                    return None, None
                known += [int(p) for p in predicates if p]
            return sum(known) & MASK, sum(known) > MASK
        if ".X" in name or ".HI" in name or ".WIDE" in name or ".64" in name:
            return None, None
        if first in ("MOV", "R2UR"):
            return known[0], None
        if first == "IMAD" and len(known) == 3:
            return (known[0] * known[1] + known[2]) & MASK, None
        if first == "SHF" and ".L" in name and len(known) >= 2 and known[1] < 32:
            return (known[0] << known[1]) & MASK, None
        if first == "LEA" and len(known) == 3:
            return ((known[0] << known[2]) + known[1]) & MASK, None
        if first == "LOP3" and len(known) >= 4:
            return _table(known[0], known[1], known[2], known[3]), None
        return None, None


def _operands(instruction: Instruction) -> list[str]:
    return [o.strip() for o in instruction.operands.split(",")] if instruction.operands else []


def _next(register: str, by: int) -> str:
    letters = register.rstrip("0123456789")
    return f"{letters}{int(register[len(letters) :]) + by}"


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def _both(a: bool, b: bool | None) -> bool | None:
    return False if not a else b


def _either(a: bool, b: bool | None) -> bool | None:
    return True if a else b


def _lookup(inputs: Sequence[bool | None], table: int) -> bool | None:
    """PLOP3: what the truth table says of three predicates, if it says the same for all values of unknown ones."""
    rows = itertools.product(*((False, True) if p is None else (p,) for p in inputs))
    found = {bool(table >> (4 * a + 2 * b + c) & 1) for a, b, c in rows}
    return found.pop() if len(found) == 1 else None


def _halves(high: str, low: str) -> int | None:
    """Two float16 numbers as printed, which stand for the halves of a whole number."""
    try:
        words = [int(np.float16(text).view(np.uint16)) for text in (high, low)]
    except ValueError:
        return None
    return words[0] << 16 | words[1]


def _table(a: int, b: int, c: int, table: int) -> int:
    """LOP3: bit by bit what the truth table says of three."""
    out = 0
    for i in range(8):
        if table >> i & 1:
            out |= (a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c)
    return out & MASK
