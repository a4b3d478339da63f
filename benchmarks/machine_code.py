"""What a compiled kernel takes of a GPU: registers, spills, shared memory, and instructions of its machine code.

    python -m benchmarks.machine_code --capability 90 [--match 'forward float16']

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
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import triton

TOOLS = pathlib.Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
MATRIX = re.compile(r"[A-Z]?(HMMA|HGMMA|QGMMA)|UTC[A-Z]*MMA")
USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
# An instruction's address, a predicate, its name with suffixes.
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", re.MULTILINE)


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

    @property
    def spills(self) -> bool:
        """Whether it keeps anything in local memory."""
        return self.stack > 0 or self.local_loads > 0 or self.local_stores > 0


def read(cubin: bytes) -> MachineCode:
    """Take apart the machine code of one kernel."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kernel.cubin")
        pathlib.Path(path).write_bytes(cubin)
        usage = USAGE.search(_output("cuobjdump", "-res-usage", path))
        names = INSTRUCTION.findall(_output("nvdisasm", "-c", path))
    if usage is None or not names:
        raise RuntimeError("cuobjdump and nvdisasm print another format than this reads")
    first = collections.Counter(name.split(".")[0] for name in names)
    return MachineCode(
        registers=int(usage[1]),
        stack=int(usage[2]) + int(usage[4]),
        instructions=len(names),
        local_loads=first["LDL"],
        local_stores=first["STL"],
        matrix=sum(n for name, n in first.items() if MATRIX.fullmatch(name)),
        special=first["MUFU"],
        global_loads=first["LDG"] + first["LDGSTS"],
        wide_global_loads=sum(name.startswith(("LDG.", "LDGSTS.")) and ".128" in name for name in names),
        barriers=first["BAR"],
    )


def _output(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def configurations(capability: int) -> Iterator[object]:
    """Every configuration that ships for a compute capability, of every Triton op."""
    from vinr_engine.kernels import deform_conv2d_compiled, query_compiled

    yield from deform_conv2d_compiled.configurations()
    yield from query_compiled.configurations(capability)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, default=90, help="compute capability times ten")
    parser.add_argument("--match", default="", help="a regular expression that names must contain")
    arguments = parser.parse_args()
    from vinr_engine.kernels import _compile

    for configuration in configurations(arguments.capability):
        if re.search(arguments.match, configuration.name):
            kernel = _compile.compile_for(configuration, arguments.capability)
            facts = asdict(read(kernel.asm["cubin"])) | {"shared": kernel.metadata.shared}
            about = {f: getattr(configuration, f) for f in ("name", "num_warps", "training", "matrix")}
            print(json.dumps({"capability": arguments.capability, "must_matrix": about.pop("matrix")} | about | facts))


if __name__ == "__main__":
    main()
