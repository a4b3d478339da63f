"""What a compiled kernel takes of a GPU: registers, spills, shared memory, and instructions of its machine code.

    python -m benchmarks.static.machine_code --capability 90 [--match 'forward float16']

compiles the Triton kernels that match and prints one JSON object a line for each. No GPU is needed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import triton

TOOLS = pathlib.Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
MATRIX = re.compile(r"[A-Z]?(HMMA|HGMMA|QGMMA)|UTC[A-Z]*MMA")
FUNCTION = re.compile(r"^ *Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", re.MULTILINE)
SECTION = re.compile(r"^\s*\.section\s+\.text\.([^,\s]+),.*$", re.MULTILINE)
# An instruction's address, a predicate, its name with suffixes, its operands; or a label. Some versions of nvdisasm
# print for compute capability 12.0 how it is scheduled too, as in "0x80 ?WAIT2_END_GROUP;".
LINE = re.compile(
    r"^(?:(\.L\w+):|\s+/\*[0-9a-f]+\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][A-Z0-9_.]*)\s*([^;?\n]*?)\s*(?:\?\w+\s*)*;)",
    re.MULTILINE,
)


class Instruction(NamedTuple):
    """guard: the predicate in front of it, such as "!P0", or ""; name: with suffixes; operands: as printed."""

    guard: str
    name: str
    operands: str


@dataclass(frozen=True)
class Code:
    """The instructions of a kernel in order, and where each label points."""

    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class MachineCode:
    """Registers and bytes of stack a thread; counts of instructions, each as often as it stands in the code."""

    registers: int
    stack: int
    instructions: int
    local_loads: int
    local_stores: int
    matrix: int
    special: int  # MUFU: reciprocals, exponentials, sines
    global_loads: int
    wide_global_loads: int  # of 16 bytes
    barriers: int
    static_shared: int  # bytes that the code declares, with what the system reserves from 9.0 on

    @property
    def spills(self) -> bool:
        """Whether it keeps anything in local memory."""
        return self.stack > 0 or self.local_loads > 0 or self.local_stores > 0


def is_matrix(name: str) -> bool:
    """Whether an instruction of this name is one of the tensor cores' products."""
    return MATRIX.fullmatch(name.split(".")[0]) is not None


def read(cubin: bytes) -> MachineCode:
    """Take apart the machine code of one kernel."""
    ((facts, _),) = read_all(cubin).values()
    return facts


def read_all(cubin: bytes) -> dict[str, tuple[MachineCode, Code]]:
    """Take apart the machine code of every kernel in a file, by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kernel.cubin")
        pathlib.Path(path).write_bytes(cubin)
        usage = {
            name: map(int, numbers) for name, *numbers in FUNCTION.findall(_output("cuobjdump", "-res-usage", path))
        }
        _, *sections = SECTION.split(_output("nvdisasm", "-c", path))
    codes = {name: _parse(text) for name, text in zip(sections[::2], sections[1::2], strict=True)}
    if not codes or codes.keys() != usage.keys():
        raise RuntimeError("cuobjdump and nvdisasm print another format than this reads")
    return {name: (_facts(codes[name], *usage[name]), codes[name]) for name in codes}


def _parse(text: str) -> Code:
    instructions: list[Instruction] = []
    labels = {}
    for label, guard, name, operands in LINE.findall(text):
        if label:
            labels[label] = len(instructions)
        else:
            instructions.append(Instruction(guard, name, operands))
    return Code(tuple(instructions), labels)


def _facts(code: Code, registers: int, stack: int, shared: int, local: int) -> MachineCode:
    names = [i.name for i in code.instructions]
    first = collections.Counter(name.split(".")[0] for name in names)
    return MachineCode(
        registers=registers,
        stack=stack + local,
        instructions=len(names),
        local_loads=first["LDL"],
        local_stores=first["STL"],
        matrix=sum(map(is_matrix, names)),
        special=first["MUFU"],
        global_loads=first["LDG"] + first["LDGSTS"],
        wide_global_loads=sum(name.startswith(("LDG.", "LDGSTS.")) and ".128" in name for name in names),
        barriers=first["BAR"],
        static_shared=shared,
    )


def _output(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, default=90, help="compute capability times ten")
    parser.add_argument("--match", default="", help="a regular expression that names must contain")
    arguments = parser.parse_args()
    from vinr_engine.kernels.common import aot

    for configuration in aot.configurations(arguments.capability):
        if re.search(arguments.match, configuration.name):
            kernel = aot.compile_for(configuration, arguments.capability)
            facts = asdict(read(kernel.asm["cubin"])) | {"shared": kernel.metadata.shared}
            about = {f: getattr(configuration, f) for f in ("name", "num_warps", "training", "matrix")}
            print(json.dumps({"capability": arguments.capability, "must_matrix": about.pop("matrix")} | about | facts))


if __name__ == "__main__":
    main()
