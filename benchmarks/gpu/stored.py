"""What the stored static report says that a case takes: nothing is compiled here, and nothing was measured.

benchmarks/results/gpu_static.csv has operations and bytes of each pass over pixels, of which a card's peaks make a
roofline; gpu_static.md has the query's time counted in machine code. Both are linear in pixels.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.cases import FRAME
from benchmarks.common import hardware
from benchmarks.gpu.cases import Case

RESULTS = Path(__file__).parents[1] / "results"
PIXELS = FRAME[0] * FRAME[1]  # of the frame that the counted times are of
COUNTED = "float16"  # operands that machine code was counted for
# Operands of each precision, of which a backend has the first that it has.
OPERANDS = {"float32": ("tf32x3", "ieee"), "default": ("tf32x3", "ieee"), "tf32": ("tf32",),
            "float16": ("float16",), "bfloat16": ("bfloat16",)}  # fmt: skip
OPS = {"deform_conv2d": ("forward",), "sampled_mlp": ("forward",), "query": ("decode", "colour")}
NAMES = {"query": "inr_query"}
OTHERS = ("any width", "no upsampling", "64-bit", "sine")  # kernels that the cases do not run


class Stored:
    """The report's figures of one compute capability, and of the card that stands for it there."""

    def __init__(self, capability: int, folder: Path = RESULTS) -> None:
        """Knows nothing of a capability that the report lacks, and without the report."""
        self.card = hardware.gpu_of(capability)
        self._passes: dict[tuple[str, str, str, str], tuple[float, float]] = {}
        self._counted: dict[str, float] = {}
        if self.card is None:
            return
        if (rows := folder / "gpu_static.csv").is_file():
            with rows.open(newline="", encoding="utf-8") as lines:
                self._read(row for row in csv.DictReader(lines) if row["target"] == str(capability))
        if (text := folder / "gpu_static.md").is_file():
            for line in text.read_text(encoding="utf-8").splitlines():
                cells = [cell.strip() for cell in line.strip("| ").split("|")]
                if len(cells) > 3 and cells[0] == self.card.name and cells[2] == "both":
                    self._counted[cells[1]] = float(cells[-1])

    def _read(self, rows: Iterable[Mapping[str, str]]) -> None:
        for row in rows:
            if row["operations_per_pixel"] and not any(other in row["kernel"] for other in OTHERS):
                key = row["backend"], row["op"], row["kernel"].split()[0], row["operands"]
                self._passes.setdefault(key, (float(row["operations_per_pixel"]), float(row["bytes_per_pixel"])))

    def roofline_ms(self, case: Case, form: str, precision: str) -> float | None:
        """What the card's peaks allow all passes of our kernels, one after the other; None where that is not stored."""
        if self.card is None or case.op not in OPS:
            return None
        total = 0.0
        for name in OPS[case.op]:
            for operands in OPERANDS[precision]:
                found = self._passes.get((form, NAMES.get(case.op, case.op), name, operands))
                if found is not None:
                    operations, moved = (each * case.pixels for each in found)
                    total += 1e3 * hardware.roofline(self.card, operands, operations, moved)
                    break
            else:
                return None
        return total

    def counted_ms(self, case: Case, form: str, precision: str) -> float | None:
        """By instructions counted in machine code, latency hidden; None where that is not stored."""
        if case.op != "query" or precision != COUNTED or form not in self._counted:
            return None
        return self._counted[form] * case.pixels / PIXELS
