"""A clip from file to file by `vinr.upscale`, and how long each of its stages is busy.

    python -m benchmarks.gpu.kit.clip --out FILE --folder DIR [--dry-run]

Reading and writing have threads of their own beside the network, so the slowest stage decides, and all stages together
are busy for longer than the whole takes. Pictures are a drawn pan; the published network has random weights, which
cost the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import vinr_engine as vinr
from benchmarks.common.files import write_json
from benchmarks.gpu.kit import pieces

FPS = 25


@dataclass
class Row:
    """One clip, one way. Seconds: of the whole, and in which reading and writing were busy."""

    name: str
    network: str
    input: str
    output: str
    time: int
    precision: str
    cuda_graphs: bool
    frames_in: int = 0
    frames_out: int = 0
    seconds: float = 0.0
    frames_per_second: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


def draw(path: Path, width: int, height: int, frames: int) -> None:
    """A video of a pan over smoothed noise."""
    import av

    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((1, 3, height // 8 + 2, (width + 4 * frames) // 8 + 2), dtype=np.float32))
    wide = torch.nn.functional.interpolate(coarse, (height, width + 4 * frames), mode="bicubic", align_corners=False)
    picture = (wide[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:, 4 * n : 4 * n + width]), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def measure(row: Row, source: Path, folder: Path, network: Any, device: str) -> None:
    """Fill a row in, from the second of two runs: kernels are compiled in the first."""
    for _ in range(2):
        summary = vinr.upscale(
            source, folder / "out.mp4", model=network, space=4, time=row.time, device=device, dtype=row.precision,
            cuda_graphs=row.cuda_graphs, cuts=False, overwrite=True,
        )  # fmt: skip
    row.frames_in, row.frames_out, row.seconds = summary.frames_in, summary.frames_out, summary.seconds
    row.frames_per_second = summary.frames_out / summary.seconds
    row.stages = {name: seconds for name, seconds in asdict(summary.stages).items() if name != "total"}


def plan(dry: bool) -> list[tuple[int, int, int]]:
    """Width, height and number of frames of the clips."""
    return [(32, 24, 3)] if dry else [(320, 180, 33), (640, 360, 17)]


def main(argv: Sequence[str] | None = None) -> int:
    options = pieces.arguments(__doc__).parse_args(argv)
    try:
        import av  # noqa: F401
    except ImportError as error:
        print(f"a clip needs PyAV: {error}")
        return 3
    device = "cpu" if options.dry_run else "cuda:0"
    torch.manual_seed(0)
    shorter = dict(front_blocks=0, back_blocks=0) if options.dry_run else {}
    networks = {"own": None, "published": vinr.VideoINR(**shorter).eval()}
    ways = [("float32", False)] if options.dry_run else [("float16", True), ("float16", False), ("float32", False)]
    rows: list[Row] = []
    errors: list[str] = []
    for width, height, frames in plan(options.dry_run):
        source = options.folder / f"{width}x{height}.mp4"
        draw(source, width, height, frames)
        for factor in (8, 2):
            for name, network in networks.items():
                for precision, graphs in ways:
                    output = f"{4 * width}x{4 * height}"
                    title = f"{name}, {output}, x{factor}, {precision}{', graphs' if graphs else ''}"
                    row = Row(title, name, f"{width}x{height}", output, factor, precision, graphs)
                    try:
                        measure(row, source, options.folder, network, device)
                    except vinr.BackendError as error:
                        errors.append(f"{title}: {error}")
                    except RuntimeError as error:
                        errors.append(f"{title}: {type(error).__name__}: {str(error).splitlines()[0]}")
                    else:
                        rows.append(row)
                        stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in row.stages.items())
                        print(f"{title}: {row.frames_per_second:.2f} frames/s in {row.seconds:.2f} s, {stages}")
                    write_json(options.out, {"rows": [asdict(r) for r in rows], "errors": errors})
    for text in errors:
        print(text)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
