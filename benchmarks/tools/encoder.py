"""The encoder against its published form, and where its time goes.

    python -m benchmarks.tools.encoder [--size 64x112] [--repeats 3] [--stand-in] [--profile]

`--stand-in` puts a plain convolution in the place of every deformable one (offsets are still computed), which shows the
rest of the encoder alone. Seconds are the process's own, on one thread: other work on the machine shows less in them
than in the clock's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import vinr_engine as vinr
from benchmarks.cpu.cases import model as published_model
from vinr_engine import reference
from vinr_engine.models.layers.blocks import DeformConvPack

TOLERANCE = 1e-4  # of the largest value


def plain_convolution(
    x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int], mask: Tensor
) -> Tensor:
    return F.conv2d(x, weight, bias, padding=padding)


def plain_pack(self: DeformConvPack, x: Tensor, guide: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        self.conv_offset_mask(guide.float())
    return F.conv2d(x, self.weight, self.bias, padding=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="64x112", help="rows x columns of the low-resolution frames")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    h, w = map(int, options.size.split("x"))
    torch.set_num_threads(1)
    model = published_model()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    frames = torch.rand(1, 2, 3, h, w)
    x, weight = (torch.randn(s).to(memory_format=torch.channels_last) for s in ((1, 64, h, w), (64, 64, 3, 3)))
    deform: Callable[..., Tensor] = vinr.ops.deform_conv2d
    if options.stand_in:
        deform, DeformConvPack.forward = plain_convolution, plain_pack  # type: ignore[method-assign]

    def bfloat16() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model.encode(frames)

    tasks: dict[str, Callable[[], Tensor]] = {
        "F.conv2d 64 -> 64, channels last": lambda: F.conv2d(x, weight, padding=1),
        "published form": lambda: reference.encoder(parameters, frames, deform),
        "float32": lambda: model.encode(frames),
        "bfloat16": bfloat16,
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    with torch.inference_mode():
        published, ours = tasks["published form"](), tasks["float32"]()
        if not (published - ours).abs().max() <= TOLERANCE * published.abs().max():
            raise SystemExit("the encoder differs from its published form; no time is reported")
        for _ in range(options.repeats):
            for name, task in tasks.items():
                start = time.process_time()
                task()
                times[name].append(time.process_time() - start)
        if options.profile:
            for name in ("float32", "bfloat16"):
                with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                    tasks[name]()
                print(name, profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=10), sep="\n")
    unit = min(times["F.conv2d 64 -> 64, channels last"])
    for name, seconds in times.items():
        print(f"{name:34} fastest {min(seconds) * 1e3:9.1f} ms = {min(seconds) / unit:7.1f} convolutions")


if __name__ == "__main__":
    main()
