"""The exported query beside a straight export of the published form, both in ONNX Runtime, in turn.

    python -m benchmarks.tools.onnx_query [--size 64x112] [--scale 4] [--repeats 9] [--profile] [--out FILE]

The published form (published.py) is exported as it stands, for one size and time; ours is the query graph of the
portable profile, with sizes and times left open. Ours reads maps that the encoder's graph projects once a pair: what
that takes is measured apart, and printed. Nothing is timed before both outputs agree. Three ways: with one thread; one
picture by all threads; and a picture for each thread at once, as the video tool has up to three, seconds each. ONNX
Runtime computes sines on one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

import vinr_engine as vinr
from benchmarks.common import machine, measure, published
from benchmarks.cpu import results
from vinr_engine.export.onnx import model as onnx_model
from vinr_engine.export.onnx.graphs import hoisted

TOLERANCE = 1e-4
FRAME_UPSAMPLE = 4
TIME = 0.5


class Straight(nn.Module):
    """The published query as a module of features and frames."""

    def __init__(self, model: vinr.VideoINR, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, features: Tensor, frames: Tensor) -> Tensor:
        networks = [getattr(self.model, name).layers() for name in ("feat_imnet", "flow_imnet", "encode_imnet")]
        return published.query(features, frames, TIME, self.size, networks, FRAME_UPSAMPLE)


def session(path: Path, threads: int, profile: bool = False) -> ort.InferenceSession:
    """A session as the video tool makes it, but for its number of threads."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = threads
    options.enable_profiling = profile
    options.profile_file_prefix = str(path.with_suffix(""))
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def export(model: vinr.VideoINR, folder: Path, features: Tensor, frames: Tensor, size: tuple[int, int]) -> list[Path]:
    """Both graphs: the straight one, and ours."""
    paths = [folder / "straight.onnx", folder / "ours.onnx"]
    with torch.no_grad(), onnx_model.quiet():
        straight = torch.onnx.export(
            Straight(model, size).eval(), (features, frames), dynamo=True, opset_version=20, verbose=False,
            input_names=["features", "frames"],
        )  # fmt: skip
    assert straight is not None
    straight.save(str(paths[0]), external_data=False)
    options = onnx_model.Options("portable", "grid_sample", "float32", FRAME_UPSAMPLE, None, None, 20, "blocks")
    onnx_model.export_query(model, options).save(str(paths[1]), external_data=False)
    return paths


def side_by_side(
    runs: Sequence[tuple[ort.InferenceSession, dict[str, Any]]], at_once: int, repeats: int
) -> list[float]:
    """Seconds a picture of each, medians of turns; `at_once` threads run a session together."""
    with ThreadPoolExecutor(at_once) as threads:

        def together(graph: ort.InferenceSession, feeds: dict[str, Any]) -> None:
            for done in [threads.submit(graph.run, None, feeds) for _ in range(at_once)]:
                done.result()

        tasks = {str(k): partial(together, *run) for k, run in enumerate(runs)}
        for task in tasks.values():
            task()  # the first run makes ready
        return [taken.median / at_once for taken in measure.interleaved(tasks, repeats).values()]


def by_operator(path: Path, feeds: dict[str, Any]) -> Counter[str]:
    """Milliseconds that each kind of node took in the second of two runs."""
    profiled = session(path, torch.get_num_threads(), profile=True)
    for _ in range(2):
        profiled.run(None, feeds)
    events = json.loads(Path(profiled.end_profiling()).read_text())
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    spent: Counter[str] = Counter()
    for event in nodes[len(nodes) // 2 :]:
        spent[event["args"]["op_name"]] += event["dur"] / 1e3
    return spent


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="64x112", help="rows x columns of the frames")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    parser.add_argument("--out", type=Path, default=results.FOLDER / "onnx_query.csv")
    options = parser.parse_args(argv)
    h, w = (int(n) for n in options.size.split("x"))
    size = (h * options.scale, w * options.scale)
    torch.manual_seed(0)
    model = vinr.VideoINR().eval().requires_grad_(False)
    features, frames = 0.1 * torch.randn(1, 3, 64, h, w), torch.rand(1, 2, 3, h, w)
    began = time.perf_counter()
    with torch.inference_mode():
        maps, colours = hoisted(model, features, frames, FRAME_UPSAMPLE).maps
    projecting = time.perf_counter() - began
    assert colours is not None
    numbers: list[dict[str, Any]] = [
        {"features": features.numpy(), "frames": frames.numpy()},
        {"maps": maps.numpy(), "colours": colours.numpy(), "times": np.array([TIME], np.float32),
         "lr_size": np.array([h, w]), "size": np.array(size)},
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        paths = export(model, Path(folder), features, frames, size)
        if options.profile:
            for path, feeds in zip(paths, numbers, strict=True):
                print(path.stem, ", ".join(f"{op} {ms:.1f} ms" for op, ms in by_operator(path, feeds).most_common(9)))
            return 0
        pictures = [
            session(p, 1).run(None, feeds)[0].reshape(3, *size) for p, feeds in zip(paths, numbers, strict=True)
        ]
        error = float(np.abs(pictures[0] - pictures[1]).max())
        if not error <= TOLERANCE:
            raise SystemExit(f"the two graphs differ by {error}")
        everything = torch.get_num_threads()
        measured = {}
        for threads, at_once in dict.fromkeys([(1, 1), (everything, 1), (everything, everything)]):
            runs = [(session(path, threads), feeds) for path, feeds in zip(paths, numbers, strict=True)]
            measured[threads, at_once] = side_by_side(runs, at_once, options.repeats)
    print(f"{h}x{w} x{options.scale}; projecting once a pair {projecting * 1e3:.0f} ms; largest difference {error:.1e}")
    where = machine.describe()
    head = ["rows", "columns", "scale", "runs", "session_threads", "at_once", "straight_s", "ours_s", "projecting_s",
            "error", "onnxruntime", *asdict(where)]  # fmt: skip
    lines = []
    for (threads, at_once), (straight, ours) in measured.items():
        print(
            f"{threads} threads, {at_once} at once: "
            f"straight {straight * 1e3:.0f} ms, ours {ours * 1e3:.0f} ms a picture, {straight / ours:.2f}x"
        )
        figures = (f"{n:.4g}" for n in (straight, ours, projecting, error))
        case = h, w, options.scale, options.repeats, threads, at_once
        lines.append([*case, *figures, ort.__version__, *astuple(where)])
    results.append_table(options.out, head, lines)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
