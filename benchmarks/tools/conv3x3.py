"""The 3x3 convolution of the CPU against PyTorch's, channels-last, in turn: times, rates and errors.

    python -m benchmarks.tools.conv3x3 [--repeats 15] [--threads N]

A rate counts the multiplications and additions of the definition, whatever was done in their place; `into` writes to
memory that is there, as chains of layers do. Errors are root mean squares against float64, of the results' own.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common.markdown import table
from benchmarks.common.measure import Task, interleaved
from vinr_engine import reference
from vinr_engine.ops.conv3x3 import conv3x3, conv3x3_into

SHAPES = (  # batch, inputs, outputs, rows, columns
    (1, 64, 64, 16, 28),
    (1, 64, 64, 64, 112),
    (1, 128, 64, 64, 112),
    (1, 64, 216, 64, 112),
    (3, 64, 64, 64, 112),
    (1, 48, 48, 90, 160),
    (1, 64, 64, 180, 320),
    (1, 64, 64, 360, 640),
)


def last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


def tasks(x: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Task]:
    out = last(torch.empty(len(x), len(weight), *x.shape[2:]))
    low = [last(t).bfloat16() if t.dim() == 4 else t.bfloat16() for t in (x, weight, bias)]
    plain = last(weight)

    def rounding(task: Task) -> Task:
        def call() -> object:
            with torch.autocast("cpu", torch.bfloat16):
                return task()

        return call

    def ours() -> Tensor:
        return conv3x3(x, weight, bias)

    def into() -> Tensor:
        conv3x3_into(out, [x], weight, bias)
        return out

    return {
        "F.conv2d": lambda: F.conv2d(x, plain, bias, padding=1),
        "ours": ours,
        "into": into,
        "F.conv2d, bf16": lambda: F.conv2d(*low, padding=1),
        "ours, bf16": rounding(ours),
        "into, bf16": rounding(into),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    names: list[str] = []
    rows, errors = [], []
    with torch.inference_mode():
        for B, C, O, h, w in SHAPES:
            x, weight, bias = last(torch.randn(B, C, h, w)), torch.randn(O, C, 3, 3) / (3 * C**0.5), torch.randn(O)
            found = tasks(x, weight, bias)
            names = list(found)
            exact = reference.conv3x3([x.double()], weight.double(), bias.double())
            errors.append(
                [f"{((task() - exact).square().mean().sqrt() / exact.std()).item():.1e}" for task in found.values()]  # type: ignore[operator]
            )
            runs = interleaved(found, options.repeats)
            gflop = 2e-9 * B * h * w * 9 * C * O
            times = [runs[name].median for name in names]
            shape = f"{B} x {C} -> {O}, {h} x {w}"
            rows.append([shape, *(f"{1e3 * t:.2f} ms, {gflop / t:.0f}" for t in times)])
            errors[-1].insert(0, shape)
    print(f"{options.threads} threads; median time, GFLOP/s\n")
    print(table(["", *names], rows))
    print("\nerror\n")
    print(table(["", *names], errors))


if __name__ == "__main__":
    main()
