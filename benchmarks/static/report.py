"""Tables and files of the static report."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.common import hardware, machine
from benchmarks.static import estimate
from benchmarks.static.compiler import TRITON, Kernel


@dataclass(frozen=True)
class Table:
    """Cells as text; the first `left` columns are words, the others numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""


def _number(value: float | None, places: int = 0) -> str:
    return "-" if value is None else f"{value:.{places}f}"


def faults(kernel: Kernel) -> list[str]:
    """Why a kernel may not ship; empty if it may. One of Triton's for other widths than the published may spill."""
    may_spill = kernel.backend == TRITON and "any width" in kernel.name
    found = [fault for fault in kernel.faults() if not (may_spill and fault.startswith("spills"))]
    limit = hardware.LIMITS[kernel.target].block_shared
    if kernel.shared is not None and kernel.shared > limit:
        found.append(f"shared memory {kernel.shared} B, of which a block may have {limit} B")
    return found


def _row(kernel: Kernel) -> dict[str, float | int | str | None]:
    """What the tables and files say of a kernel, under the names that the files give it."""
    gpu, work = hardware.gpu_of(kernel.target), estimate.work_of(kernel)
    seconds = None
    if gpu is not None and work is not None:
        pixels = estimate.pixels(kernel)
        seconds = hardware.roofline(gpu, kernel.operands, work.operations * pixels, work.bytes * pixels)
    row = {name: value for name, value in vars(kernel).items() if name not in ("executed", "pixels")}
    return row | {
        "resident_warps": kernel.resident_warps,
        "most_warps": hardware.LIMITS[kernel.target].warps,
        "operations_per_pixel": work and work.operations,
        "bytes_per_pixel": work and work.bytes,
        "roofline_of": gpu.name if gpu and work else None,
        "roofline_ms": seconds and seconds * 1e3,
        "faults": "; ".join(faults(kernel)),
    }


def _short(kernel: Kernel) -> str:
    """A name of at most 60 columns."""
    name = re.sub(r", (\d+) pixels, (\d+) warps, (\d+) stages", r", \1 px, \2 w, \3 st", kernel.name)
    return name.replace("float32 tf32", "tf32").replace("float32 ieee", "ieee").replace(" deterministic", " fixed")


def _kernels(target: int, kernels: Sequence[Kernel]) -> Table:
    head = ("", "kernel", "regs", "stack", "LDL", "STL", "shared", "matrix", "MUFU", "warps")
    rows = []
    for kernel in kernels:
        numbers = (kernel.registers, kernel.stack, kernel.local_loads, kernel.local_stores, kernel.shared,
                   kernel.matrix, kernel.special, kernel.resident_warps)  # fmt: skip
        mark = "! " if faults(kernel) else ""
        rows.append((f"{mark}{kernel.backend} {kernel.compiler}".rstrip(), _short(kernel), *map(_number, numbers)))
    gpu, limits = hardware.gpu_of(target), hardware.LIMITS[target]
    title = f"sm_{target}" + (f" ({gpu.name})" if gpu else "")
    note = f"At most {limits.warps} warps, {limits.blocks} blocks and {limits.shared >> 10} KB of shared memory [G]."
    return Table(title, head, rows, 2, note)


def _work(kernels: Sequence[Kernel]) -> Table:
    """Launch configurations and targets do not matter: one row for each kind of pass."""
    head = ("backend", "pass", "op/pixel", "bytes/pixel", *(f"{gpu.name}, ms" for gpu in hardware.GPUS))
    rows = {}
    for kernel in kernels:
        work, name = estimate.work_of(kernel), _short(kernel).split(",")[0]
        if work is None or (kernel.backend, name) in rows:
            continue
        pixels = estimate.pixels(kernel)
        total = work.operations * pixels, work.bytes * pixels
        times = (f"{1e3 * hardware.roofline(gpu, kernel.operands, *total):.4f}" for gpu in hardware.GPUS)
        rows[kernel.backend, name] = (f"{work.operations:.0f}", f"{work.bytes:.0f}", *times)
    note = (
        "Operations, two a multiply-add, and the least bytes for an output pixel at scale 4; what the roofline of each "
        "card allows for a 1280x720 frame, for deform_conv2d its 320x180 maps."
    )
    return Table("Work and roofline", head, [(*key, *cells) for key, cells in sorted(rows.items())], 2, note)


def _peaks() -> Table:
    head = ("card", "target", "SMs", "GHz", "16-bit TFLOP/s", "tf32", "float32", "GB/s", "source")
    rows = [
        (g.name, f"sm_{g.capability}", str(g.multiprocessors), f"{g.clock / 1e9:.3f}",
         *(f"{g.peaks[name] / 1e12:.1f}" for name in ("float16", "tf32", "ieee")), f"{g.copy / 1e9:.0f}", g.source)
        for g in hardware.GPUS
    ]  # fmt: skip
    sources = (hardware.__doc__ or "").split("name:\n")[1].strip("\n")
    return Table("Peaks: dense products with float32 sums", head, rows, 2, sources)


def _query(kernels: Iterable[Kernel]) -> Table:
    head = (
        "card",
        "backend",
        "pass",
        "instr/px",
        "issue",
        "matrix",
        "float32",
        "MUFU",
        "shared",
        "memory",
        "ms",
    )
    rows: list[tuple[str, ...]] = []
    for gpu, *both in estimate.query(kernels):
        try:
            passes = [estimate.estimate(kernel, gpu) for kernel in both]
        except ValueError as error:  # new machine code, of loops that machine_trace does not follow
            rows.append((gpu.name, both[0].backend, f"none: {error}", *[""] * 8))
            continue
        for kernel, one in zip(both, passes, strict=True):
            parts = (one.issue, one.matrix, one.floats, one.special, one.shared, one.memory)
            times = (f"{part * 1e3:.3f}" for part in (*parts, one.seconds))
            count = sum(kernel.executed.values()) / kernel.pixels
            rows.append((gpu.name, kernel.backend, kernel.kernel.split()[0], f"{count:.1f}", *times))
        total = f"{sum(one.seconds for one in passes) * 1e3:.3f}"
        rows.append((gpu.name, both[0].backend, "both", *[""] * 7, total))
    note = (
        "ms by each part of the GPU alone, counted in machine code with all loops followed; the largest counts. An "
        "estimate and no measurement: it takes latency to be hidden. instr/px: of a warp. issue: one a cycle and "
        f"scheduler. matrix: dense peak, on the H100 {hardware.MMA_SYNC_REACHED:.0%} of it for mma.sync. shared: bytes "
        "to and from shared memory and the first cache, 128 a cycle; at most, since bytes that lanes share count for "
        "each. memory: 1.5 times the least bytes, to which tests/simt holds the sectors that the CUDA kernels touch."
    )
    height, width = estimate.FRAME
    return Table(f"The query, a {width}x{height} frame at scale 4, float16: static estimate", head, rows, 3, note)


def newest(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Those of one Triton alone, the newest: what the others do is the same work."""
    versions = tritons(kernels)
    return [k for k in kernels if k.backend != TRITON or k.compiler == versions[-1]]


def tritons(kernels: Sequence[Kernel]) -> list[str]:
    """The versions of Triton that compiled them, oldest first."""
    return sorted({k.compiler for k in kernels if k.backend == TRITON}, key=_parts)


def _parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def tables(kernels: Sequence[Kernel]) -> list[Table]:
    """Everything: a table a target, the query's estimate, and the peaks."""
    targets = sorted({k.target for k in kernels})
    found = [_kernels(target, [k for k in kernels if k.target == target]) for target in targets]
    query = _query(newest(kernels))
    return [*found, _work(newest(kernels)), *([query] if query.rows else []), _peaks()]


EXPLANATION = (
    "regs: registers a thread. stack: bytes. LDL, STL, matrix (HMMA, HGMMA, UTCHMMA) and MUFU: instructions as often "
    "as they stand in the code. shared: bytes a block. warps: that fit a multiprocessor, - where the launch decides. "
    "!: a fault. px, w, st: pixels and warps of a block, stages."
)


def show(kernels: Sequence[Kernel], console: Console) -> None:
    """On the screen, in 120 columns."""
    for table in tables(kernels):
        out = RichTable(title=table.title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
        for column, name in enumerate(table.head):
            out.add_column(name, justify="left" if column < table.left else "right", no_wrap=True)
        for row in table.rows:
            out.add_row(*row, style="red" if row[0].startswith("!") else None)
        console.print(out)
        if table.note:
            console.print(table.note, highlight=False, markup=False)
        console.print()
    console.print(EXPLANATION, highlight=False)


def _write_csv(path: Path, kernels: Sequence[Kernel]) -> None:
    text = io.StringIO()
    rows = [_row(k) for k in kernels]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    _write(path, text.getvalue())


def _write_json(path: Path, kernels: Sequence[Kernel]) -> None:
    both = [{"kernel": _row(k), "executed": k.executed} for k in kernels]
    _write(path, json.dumps({"made": _made(kernels), "kernels": both}, indent=1) + "\n")


def _made(kernels: Sequence[Kernel]) -> Mapping[str, str]:
    return {"commit": machine.commit(), "triton": " and ".join(tritons(kernels))}


def _write_markdown(path: Path, kernels: Sequence[Kernel]) -> None:
    made = _made(kernels)
    lines = [
        "# GPU kernels, by their machine code",
        "",
        f"Written by `python -m benchmarks.static` at commit {made['commit']}, Triton {made['triton']}.",
        "Compiled without a GPU: nothing here was measured on one. It holds what was compiled in that run,",
        f"{len(kernels)} kernels of {', '.join(f'sm_{t}' for t in sorted({k.target for k in kernels}))}.",
        "",
        EXPLANATION,
    ]
    for table in tables(kernels):
        rule = [":--" if i < table.left else "--:" for i in range(len(table.head))]
        cells = [table.head, rule, *table.rows]
        lines += ["", f"## {table.title}", "", *("| " + " | ".join(row) + " |" for row in cells)]
        lines += ["", *(f"{line.strip()}  " for line in table.note.splitlines())]
    _write(path, "\n".join(lines) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Sequence[Kernel]], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".md": _write_markdown,
}
