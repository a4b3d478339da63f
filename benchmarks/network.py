"""The network's own time on this machine: encoder, deformable convolution and query of one pair of frames.

    python -m benchmarks.network [--size 64x112] [--scale 4] [--repeats 5] [--backends cpu,reference]

Backends are timed side by side in one process, interleaved, after a check of their results against each other; the
table shows medians and the spread between the fastest and the slowest run. The time of a channels-last 3x3 convolution
from the same run is the unit that tells one machine, or one hour, from another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

import vinr_engine as vinr
from vinr_engine import backends

TOLERANCE = 1e-4  # of the largest value


def random_model(seed: int = 0) -> vinr.VideoINR:
    """The published sizes, with offsets of some pixels: untrained ones are zero, which reads memory in order."""
    torch.manual_seed(seed)
    model = vinr.VideoINR().eval()
    for name, parameter in model.named_parameters():
        if "conv_offset_mask" in name:
            torch.nn.init.uniform_(parameter, -0.05, 0.05)
    return model


def interleaved(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run of every task; one run to warm up, then rounds in which each task runs once."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - start)
    return times


def run_on(name: str, task: Callable[[], object]) -> Callable[[], object]:
    """`task` on one backend; `cpu` stands for the automatic choice while it lacks some of the ops."""

    def call() -> object:
        with vinr.backend("auto" if name == "cpu" else name):
            return task()

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="64x112", help="rows x columns of the low-resolution frames")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backends", default="cpu,reference")
    options = parser.parse_args()
    h, w = map(int, options.size.split("x"))
    available = {s.name for s in backends.report() if s.available}
    names = [n for n in options.backends.split(",") if n in available]
    model = random_model()
    frames = torch.rand(1, 2, 3, h, w)
    out_size = (h * options.scale, w * options.scale)
    x, weight = torch.randn(1, 64, h, w), torch.randn(64, 64, 3, 3)
    offset, mask, bias = torch.randn(1, 144, h, w) * 2, torch.rand(1, 72, h, w), torch.randn(64)
    x_last, weight_last = (t.to(memory_format=torch.channels_last) for t in (x, weight))

    with torch.inference_mode():
        features = model.encode(frames)
        work: dict[str, Callable[[], object]] = {
            "encoder, one pair": lambda: model.encode(frames),
            "deform_conv2d 64 -> 64": lambda: vinr.ops.deform_conv2d(x, offset, weight, bias, padding=1, mask=mask),
            f"query, one {out_size[0]}x{out_size[1]} frame": lambda: model.query(features, frames, 0.5, out_size),
        }
        tasks = {"F.conv2d 64 -> 64, channels last": lambda: F.conv2d(x_last, weight_last, bias, padding=1)}
        for what, task in work.items():
            results = [run_on(n, task)() for n in names]
            errors = [(r - results[0]).abs().max().item() for r in results]  # type: ignore[operator]
            if not max(errors) <= TOLERANCE * results[0].abs().max().item():  # type: ignore[attr-defined]
                raise SystemExit(f"{what}: backends {names} differ by {errors}; no time is reported")
            tasks |= {f"{what} [{n}]": run_on(n, task) for n in names}
        times = interleaved(tasks, options.repeats)

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    print(f"low-resolution frames {h} x {w}, scale {options.scale}, float32, {options.repeats} runs")
    for name, seconds in times.items():
        spread = (max(seconds) - min(seconds)) * 1e3
        print(f"{name:48} {statistics.median(seconds) * 1e3:10.1f} ms   spread {spread:8.1f} ms")


if __name__ == "__main__":
    main()
